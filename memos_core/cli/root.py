"""The command `memos` itself: its commands, loaded when they are asked for, and what happens when one fails."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from memos_core.cli.failures import DONE, STOPPED_READING, tell, tell_interrupted
from memos_core.cli.options import CommonOption, Group, Settings, write_as_is
from memos_core.errors import MemosError

_SECTIONS: Final = {
    "Remember": {"add": "add", "ingest": "ingest", "import": "imports"},
    "Find": {
        "search": "search",
        "context": "search",
        "working": "working",
        "preferences": "preferences",
        "list": "listing",
        "show": "listing",
    },
    "Look back": {"history": "history", "diff": "comparing", "fork": "forks"},
    "Change": {"update": "changes", "delete": "changes", "restore": "changes", "rollback": "changes"},
    "Live": {
        "archive": "states",
        "activate": "states",
        "freeze": "states",
        "unfreeze": "states",
        "merge": "states",
        "explain": "explaining",
        "lineage": "explaining",
    },
    "Govern": {"cubes": "cubes", "policy": "policy", "retain": "policy"},
    "Forget": {
        "erase": "erasing",
        "export-subject": "erasing",
        "hold": "holds",
        "release": "holds",
        "holds": "holds",
    },
    "Look after": {
        "backup": "backup",
        "doctor": "doctor",
        "jobs": "jobs",
        "worker": "jobs",
        "vacuum": "doctor",
        "stats": "upkeep",
        "verify": "upkeep",
        "audit": "audit",
        "reindex": "upkeep",
        "reembed": "reembed",
        "migrate": "migrate",
        "models": "models",
        "version": "models",
    },
}
_MODULES: Final = {name: module for section in _SECTIONS.values() for name, module in section.items()}

_HELP: Final = (
    "Memory for LLM applications: put in conversations, documents and facts; find what matters, with reasons."
)
_EPILOG: Final = """
Examples:
  memos add "I moved to Lisbon in May." --tag home
  memos ingest notes/ chats/export.json
  memos search "where does she live?" --parts
  memos search "budget" --where "year >= 2024" --json | jq .hits

Exit codes: 0 done, 1 not found (or differences left), 2 usage, 3 access, 4 conflict,
5 store, 6 model, 130 interrupted. Times are in UTC.
"""


class Root(Group):
    """`memos`. Commands are imported one by one, so that none pays for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order of the help."""
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, loaded."""
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        found = getattr(import_module(f"memos_core.cli.{module}"), f"{cmd_name.replace('-', '_')}_command")
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; a name that there is not gets the nearest one that there is."""
        if args and args[0] not in _MODULES:
            near = difflib.get_close_matches(args[0], _MODULES, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!r}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The common options in full, then the commands by what they are for."""
        records = [(param, param.get_help_record(ctx)) for param in self.get_params(ctx)]
        with formatter.section("Common options (before or after the command)"):
            formatter.write_dl([record for param, record in records if record and isinstance(param, CommonOption)])
        with formatter.section("Options"):
            formatter.write_dl([record for param, record in records if record and not isinstance(param, CommonOption)])
        width = max(map(len, _MODULES))
        for section, names in _SECTIONS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(section):
                formatter.write_dl(
                    [(name.ljust(width), each.get_short_help_str(100)) for name, each in commands if each is not None]
                )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples and exit codes, as they are written."""
        write_as_is(self.epilog, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for.

        A reader that went away is met here: click itself would answer it with exit code 1, which means something else.
        """
        try:
            answer = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:
            _let_go_of_stdout()
            return STOPPED_READING
        return answer

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; ends the process with the exit code (or returns it, where not standalone)."""
        arguments = list(sys.argv[1:] if args is None else args)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # what a terminal cannot write is shown as an escape, not as a crash
                stream.reconfigure(errors="backslashreplace")
        settings = Settings()
        try:
            answer = super().main(
                arguments, prog_name or "memos", complete_var, standalone_mode=False, obj=settings, **extra
            )
            code = answer if isinstance(answer, int) else DONE
        except (MemosError, click.ClickException, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, MemosError):
                _let_go_of_stdout()
            as_json = settings.as_json or "--json" in arguments  # it may stand behind what could not be understood
            code = tell(error, as_json=as_json, debug=settings.debug)
        except (click.Abort, KeyboardInterrupt):
            code = tell_interrupted(as_json=settings.as_json, quiet=settings.quiet)
        if standalone_mode:
            sys.exit(code)
        return code


def _let_go_of_stdout() -> None:
    """Python flushes once more when it ends; what cannot be written any more must not fail again then."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


main: Final = Root("memos", help=_HELP, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})


def _show_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from memos_core import __version__

        click.echo(f"memos {__version__}")
        context.exit()


main.params.append(
    click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version."
    )
)
