"""`memos erase`, `export-subject`: the right to be forgotten, and the right to know what is held."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from memos_core.cli.failures import DONE, NOT_FOUND
from memos_core.cli.opening import actor_of, opened
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted
from memos_core.cli.values import parse_wheres

if TYPE_CHECKING:
    from memos_core.mos import MOS
    from memos_core.types.erasure import Erasure, ErasurePreview, Finished

_ERASE_EXAMPLES: Final = """
Examples:
  memos erase 01a1fea6e76e00c1826ac550c85ec7f1 --reason "asked for on 3 May" --preview
  memos erase --subject bob --reason "left the company" --yes
  memos erase --where "case = A-17" --reason "case closed" --derived
  memos erase --finish
"""


@click.command("erase", cls=Command, short_help="Erase items for good, bytes and all.", epilog=_ERASE_EXAMPLES)
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option("--subject", metavar="ACTOR", help="All that an actor wrote or said, and its name; in all cubes.")
@click.option(
    "--where", "wheres", metavar="CONDITION", multiple=True, help="Items that fulfil this, as for `memos search`."
)
@click.option("--reason", metavar="TEXT", help="Why; it is kept in the audit.")
@click.option("--derived", is_flag=True, help="Also what was derived from them.")
@click.option("--copies", is_flag=True, help="Also items that say the same, in other cubes that you administrate.")
@click.option("--preview", is_flag=True, help="Only show what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--finish", is_flag=True, help="Clean up after an erasure that was interrupted, or found others in the way."
)
@pass_settings
def erase_command(
    settings: Settings,
    ids: tuple[str, ...],
    subject: str | None,
    wheres: tuple[str, ...],
    reason: str | None,
    derived: bool,
    copies: bool,
    preview: bool,
    yes: bool,
    finish: bool,
) -> int:
    """Erase items for good: every version, vector and name. Nothing brings them back; `memos delete` can be undone.

    By ID and --where in the actor's own cube (or those of --cube), by --subject in all. Exit code 1 where bytes are left.
    """
    output = Output(settings)
    if finish:
        if ids or subject or wheres:
            raise click.UsageError("--finish stands alone")
        with opened(settings) as mos:
            return _tell(mos.finish_erasures(), output, "finished")
    if sum(map(bool, (ids, subject, wheres))) != 1:
        raise click.UsageError("name items by their IDs, or with --subject or --where, one of the three")
    if not preview and not (reason or "").strip():
        raise click.UsageError("say why with --reason; it is kept in the audit")
    what: dict[str, Any] = {"subject": subject, "where": parse_wheres(wheres), "derived": derived, "copies": copies}
    what |= {"ids": ids or None, "cubes": settings.cubes or None}
    if not subject:
        actor = actor_of(settings)
        what |= {"actor": actor, "cubes": settings.cubes or (actor,)}
    with opened(settings) as mos:
        found = mos.preview_erase(**what)
        if preview:
            _show(found, output)
            return DONE
        if not yes:
            _confirm(found, output)
        done = mos.erase(**what, reason=str(reason), confirm=found.token)
    return _tell(done, output, f"erased {counted(done.items, 'item')}, {counted(done.versions, 'version')}")


def _confirm(found: ErasurePreview, output: Output) -> None:
    """Ask, on stderr: an answer in JSON stays one."""
    if output.as_json:
        raise click.UsageError("with --json nobody is asked: say --yes, after --preview")
    for name, value in _pairs(found):
        click.echo(f"{name}: {value}", err=True)
    click.confirm("Erase this for good?", abort=True, err=True)


def _pairs(found: ErasurePreview) -> list[tuple[str, str]]:
    return [
        ("items", f"{len(found.items):,}"),
        ("versions", f"{found.versions:,}"),
        ("vectors", f"{found.vectors:,}"),
        ("cubes", ", ".join(found.cubes)),
        ("share bytes", ", ".join(found.shared_with)),
        ("lose links", f"{found.naming:,}" if found.naming else ""),
        ("derived, stay", f"{found.derived:,}" if found.derived else ""),
        ("copies, stay", f"{found.copies:,}" if found.copies else ""),
        ("on hold", "; ".join(found.holds)),
    ]


def _show(found: ErasurePreview, output: Output) -> None:
    if output.as_json:
        output.document(found)
        return
    output.pairs(_pairs(found))
    output.table(("cube", "item"), found.items)


def _tell(done: Erasure | Finished, output: Output, said: str) -> int:
    if output.as_json:
        output.document(done)
    else:
        output.done(said)
        for what in done.remains:
            output.note(f"left: {what}")
        for what in done.beyond:
            output.note(f"out of reach: {what}")
    return DONE if done.complete else NOT_FOUND


@click.command("export-subject", cls=Command, short_help="Everything held on somebody, as files.")
@click.argument("subject")
@click.argument("folder", type=click.Path(path_type=Path))
@pass_settings
def export_subject_command(settings: Settings, subject: str, folder: Path) -> None:
    """Write everything that is held on SUBJECT into a new FOLDER: subject.json, and subject.md to read.

    All cubes; with --as only those that this actor administrates.
    """
    output = Output(settings)
    with opened(settings) as mos:
        made = mos.export_subject(subject, folder, actor=settings.actor)
    if output.as_json:
        output.document(made)
    else:
        output.done(
            f"{counted(made.items, 'item')}, {counted(made.versions, 'version')} and {made.entries:,} audit entries "
            f"written to {made.folder}"
        )


def verify_erased(mos: MOS, settings: Settings, ids: tuple[str, ...], texts: tuple[str, ...], output: Output) -> int:
    """`memos verify --erased`: whether what was erased is gone."""
    names = settings.cubes or (None,)
    found = [finding for name in names for finding in mos.verify_erased(ids, texts=texts, cube=name)]
    if output.as_json:
        for each in found:
            output.document(each)
    else:
        output.table(("cube", "part", "left"), [(each.cube, each.part, each.what) for each in found])
        output.note(f"erased: {counted(len(found), 'finding') if found else 'nothing is left'}")
    return NOT_FOUND if found else DONE
