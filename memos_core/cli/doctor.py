"""`memos doctor`, `memos vacuum`: whether all is well with a store, and space given back to the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from memos_core.cli.bars import progress
from memos_core.cli.failures import DONE, NOT_FOUND
from memos_core.cli.opening import arguments_of, opened
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted, in_bytes

if TYPE_CHECKING:
    from memos_core.doctor import Check

_SIGNS: Final = {
    "ok": ("ok", "green"),
    "note": ("note", "cyan"),
    "warning": ("warning", "yellow"),
    "problem": ("PROBLEM", "red"),
}


@click.command("doctor", cls=Command, short_help="Is all well? What to do where it is not.")
@pass_settings
def doctor_command(settings: Settings) -> int:
    """Look at versions, disk, permissions, settings, clock, embedder and indexes, and try to write and to search.

    Leaves nothing behind. Exit code 1 where there is a problem. With --json each finding is a line: name, state ("ok",
    "note", "warning", "problem"), found, todo.
    """
    from memos_core.doctor import examine

    output = Output(settings)
    arguments = arguments_of(settings)
    found: list[Check] = []
    for check in examine(arguments["location"], embedder=arguments.get("embedder")):
        found.append(check)
        if output.as_json:
            output.document(check)
        elif not settings.quiet or check.state in ("warning", "problem"):
            _show(check, output)
    problems = sum(check.state == "problem" for check in found)
    warnings = sum(check.state == "warning" for check in found)
    said = f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}" if problems or warnings else "all is well"
    output.note(f"{counted(len(found), 'finding')}: {said}")
    return NOT_FOUND if problems else DONE


def _show(check: Check, output: Output) -> None:
    sign, colour = _SIGNS[check.state]
    if not output.terminal:
        output.fields(check.name, check.state, check.found, check.todo)
        return
    from rich.padding import Padding
    from rich.text import Text

    from memos_core.cli.output import printable

    output.show(Text.assemble((f"{sign:<8}", colour), (f"{check.name:<12}", "bold"), printable(check.found)))
    if check.todo:
        output.show(Padding(Text(f"-> {printable(check.todo)}", style="dim"), (0, 0, 0, 8)))


@click.command("vacuum", cls=Command, short_help="Give unused space back to the disk.")
@pass_settings
def vacuum_command(settings: Settings) -> None:
    """Give space that nothing uses back to the disk, and remove files of indexes that nobody needs.

    Others may use the store meanwhile; those who write wait. Where they keep it busy for too long it is refused, and
    nothing is changed. Takes about twice the size of the database of free space while it runs.
    """
    output = Output(settings)
    with opened(settings) as mos, progress("vacuuming", settings):
        done = mos.vacuum()
    if output.as_json:
        output.document({**{name: getattr(done, name) for name in done.__struct_fields__}, "freed": done.freed})
    else:
        output.done(
            f"{in_bytes(max(0, done.freed))} freed; the database has {in_bytes(done.database_after)} now "
            f"(before: {in_bytes(done.database_before)})"
        )
