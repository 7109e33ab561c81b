"""Options that every command takes, before or after its name, and the commands and groups that take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import click


@dataclass
class Settings:
    """What the common options say; filled while the command line is read.

    Attributes:
        store: folder or URL of the store; None: not said.
        config: a memos.toml; None: not said.
        actor: on whose behalf; None: not said.
        cubes: to read from and write to; () for the actor's own.
        embedder: by name; None: not said.
        vectors: who keeps copies of the vectors; None: not said.
        as_json: answer in JSON.
        no_color: no colours, even on a terminal.
        quiet: answers and errors only.
        debug: show the traceback of an error.
    """

    store: str | None = None
    config: str | None = None
    actor: str | None = None
    cubes: tuple[str, ...] = ()
    embedder: str | None = None
    vectors: str | None = None
    as_json: bool = False
    no_color: bool = False
    quiet: bool = False
    debug: bool = False


class CommonOption(click.Option):
    """An option that is kept in the settings, wherever it stands on the command line."""

    def __init__(self, *names: str, **attributes: Any) -> None:
        super().__init__(names, expose_value=False, callback=_keep, **attributes)


def _keep(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Only what is said is kept: a command must not undo what stands before it."""
    if value not in (None, (), False):
        setattr(context.ensure_object(Settings), str(option.name), value)


def _common_options() -> list[click.Parameter]:
    return [
        CommonOption("--store", metavar="PLACE", help="Folder or URL of the store (else $MEMOS_STORE, else ./memory)."),
        CommonOption("--config", metavar="FILE", help="A memos.toml that says where the store is, and its embedder."),
        CommonOption(
            "--as", "actor", metavar="ACTOR", help="On whose behalf (else $MEMOS_ACTOR, else your login name)."
        ),
        CommonOption(
            "--cube", "cubes", metavar="NAME", multiple=True, help="Read and write there (else the actor's own cube)."
        ),
        CommonOption(
            "--embedder",
            metavar="SPEC",
            help="For a new store: minilm, minilm:FOLDER, hashing, none. It is remembered.",
        ),
        CommonOption(
            "--vectors", metavar="SPEC", help="Who keeps copies of vectors: chroma, chroma:URL, none. It is remembered."
        ),
        CommonOption("--json", "as_json", is_flag=True, help="Answer in JSON (lists: a line each)."),
        CommonOption("--no-color", "no_color", is_flag=True, help="No colours."),
        CommonOption("--quiet", "-q", "quiet", is_flag=True, help="Answers and errors only."),
        CommonOption("--debug", "debug", is_flag=True, help="Show the traceback of an error."),
    ]


class Command(click.Command):
    """A command that takes the common options; its help names them in one line."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params += _common_options()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its own options in full, the common ones by name."""
        write_options(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, as they are written."""
        write_as_is(self.epilog, formatter)


class Group(click.Group):
    """A command with commands of its own, all of which take the common options."""

    command_class = Command

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params += _common_options()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its own options in full, the common ones by name, then its commands."""
        write_options(self.get_params(ctx), ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, as they are written."""
        write_as_is(self.epilog, formatter)


def write_options(params: Sequence[click.Parameter], context: click.Context, formatter: click.HelpFormatter) -> None:
    """The help of a command's own options; the names of the common ones."""
    own = [
        record
        for param in params
        if isinstance(param, click.Option)
        and not isinstance(param, CommonOption)
        and (record := param.get_help_record(context)) is not None
    ]
    with formatter.section("Options"):
        formatter.write_dl(own)
    names = "  ".join(option.opts[0] for option in params if isinstance(option, CommonOption))
    with formatter.section("Common options (memos --help explains them)"):
        formatter.write_text(names)


def write_as_is(text: str | None, formatter: click.HelpFormatter) -> None:
    """A text with its own line breaks, under the help."""
    if text:
        formatter.write_paragraph()
        for line in text.strip("\n").splitlines():
            formatter.write(f"{line}\n")


pass_settings: Final = click.make_pass_decorator(Settings)
