"""`memos backup`, and `memos restore --from`: a whole store into a folder of backups, and out of it again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from memos_core.cli.bars import progress
from memos_core.cli.opening import DEADLINE, arguments_of, require_store
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted, in_bytes, moment

if TYPE_CHECKING:
    from memos_core.operations.backup import Backup

_EXAMPLES: Final = """
Examples:
  memos backup /mnt/safe/memory
  memos backup /mnt/safe/memory --list
  memos backup /mnt/safe/memory --check
  memos restore --from /mnt/safe/memory --store ./memory-again
  memos restore --from /mnt/safe/memory --to 12 --store ./memory-then
"""


@click.command("backup", cls=Command, short_help="Back the store up, also while it is in use.", epilog=_EXAMPLES)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--list", "listed", is_flag=True, help="Only show which backups there are.")
@click.option("--check", "checked", is_flag=True, help="Only read a backup and compare every byte with its checksums.")
@click.option("--number", type=click.IntRange(1), metavar="N", help="Which backup to check; else the newest.")
@pass_settings
def backup_command(settings: Settings, folder: Path, listed: bool, checked: bool, number: int | None) -> None:
    """Bring a folder of backups up to date: the first holds everything, later ones what is new since.

    Others may go on using the store. The folder must be empty or one of backups of this store; keep it on another disk.
    `memos restore --from FOLDER` makes a store of it again.
    """
    if listed and checked:
        raise click.UsageError("--list and --check are two things; ask for one of them")
    if number is not None and not checked:
        raise click.UsageError("--number says which backup to --check")
    output = Output(settings)
    if listed:
        _list(folder, output)
    elif checked:
        _check(folder, number, settings, output)
    else:
        _back_up(folder, settings, output)


def _back_up(folder: Path, settings: Settings, output: Output) -> None:
    # Not through MOS.open: that would load the embedder, and a store whose embedder is gone needs a backup too.
    from memos_core.operations.backup import backup
    from memos_core.stores.opening import open_store
    from memos_core.types.work import utc_now

    require_store(settings)
    arguments = arguments_of(settings)
    deadline = float(arguments.get("deadline", DEADLINE))
    with (
        closing(open_store(arguments["location"], deadline=deadline, now=utc_now)) as store,
        progress("backing up", settings) as advance,
    ):
        made = backup(store, folder, progress=advance)
    if output.as_json:
        output.document(made)
    elif made.new_bytes:
        output.done(
            f"backup {made.number}: {counted(made.new_changes, 'change')} new, {in_bytes(made.new_bytes)} written; "
            f"{counted(made.changes, 'change')} in {counted(made.cubes, 'cube')} are safe in {folder}"
        )
    else:
        output.done(f"nothing is new since backup {made.number} ({moment(made.made_at)} UTC)")


def _list(folder: Path, output: Output) -> None:
    from memos_core.operations.backup import backups

    found = backups(folder)
    if output.as_json:
        for each in found:
            output.document(each)
        return
    columns = ("number", "made (UTC)", "cubes", "changes", "vectors", "")
    output.table(columns, [_row(each) for each in found])


def _row(each: Backup) -> tuple[Any, ...]:
    return (
        each.number,
        moment(each.made_at),
        each.cubes,
        each.changes,
        each.vectors,
        "whole" if each.whole else "adds to those before",
    )


def _check(folder: Path, number: int | None, settings: Settings, output: Output) -> None:
    from memos_core.operations.restore import check

    with progress("reading the backup", settings, in_bytes=True) as advance:
        found = check(folder, number, progress=advance)
    if output.as_json:
        output.document(found)
    else:
        output.done(
            f"backup {found.number} is sound: {counted(found.changes, 'change')} in {counted(found.cubes, 'cube')}, "
            f"{in_bytes(found.bytes)} read"
        )


def restore_store(settings: Settings, folder: Path, number: int | None) -> None:
    """Make a store from a backup, at the place that the settings name, where there is none yet."""
    from memos_core.operations.restore import restore_to
    from memos_core.stores.opening import named

    output = Output(settings)
    arguments = arguments_of(settings)
    with progress("restoring", settings, in_bytes=True) as advance:
        deadline = float(arguments.get("deadline", 30.0))
        made = restore_to(folder, arguments["location"], number, deadline=deadline, progress=advance)
    if output.as_json:
        output.document(made)
    else:
        output.done(
            f"backup {made.number} restored to {named(arguments['location'])}: {counted(made.changes, 'change')} in "
            f"{counted(made.cubes, 'cube')}, digests and audit chains verified"
        )
