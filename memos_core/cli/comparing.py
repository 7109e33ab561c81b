"""`memos diff`: what differs between two versions of an item, or between two moments of a cube."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from memos_core.cli.opening import actor_of, opened, reading
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted, one_line, printable
from memos_core.cli.search import item_json
from memos_core.cli.values import parse_moment

if TYPE_CHECKING:
    from rich.text import Text

    from memos_core.types.differences import CubeDiff, ItemDiff
    from memos_core.types.items import MemoryItem

_INDENT: Final = 4
_EXAMPLES: Final = """
Examples:
  memos diff 01a1fea6e76e00c1826ac550c85ec7f1
  memos diff --key rent 1 3
  memos diff --since 2026-11-01
  memos diff --since 120 --until 160 --cube team --json

Without colours, [-words-] went and {+words+} came.
"""


@click.command("diff", cls=Command, short_help="Compare versions, or moments of a cube.", epilog=_EXAMPLES)
@click.argument("id_and_versions", metavar="[ID] [OLD [NEW]]", nargs=-1)
@click.option("--key", metavar="NAME", help="Of the item, in the place of its id.")
@click.option("--since", metavar="WHEN", help="Compare the cube as it was after a change, or at a time ...")
@click.option("--until", metavar="WHEN", help="... with how it was then; else with now.")
@click.option("--full", is_flag=True, help="Show texts whole, not only what stands around a change.")
@pass_settings
def diff_command(
    settings: Settings,
    id_and_versions: tuple[str, ...],
    key: str | None,
    since: str | None,
    until: str | None,
    full: bool,
) -> None:
    """Show what differs between two versions of an item (else: the newest and the one before).

    With --since: between two moments of a cube.
    """
    output = Output(settings)
    if since is not None or until is not None:
        if id_and_versions or key is not None or since is None:
            raise click.UsageError(
                "--since (and --until) compare moments of a cube; leave out the item and its versions"
            )
        with opened(settings) as mos:
            name = settings.cubes[0] if settings.cubes else actor_of(settings)
            old = parse_moment(since)
            assert old is not None
            found = mos.cube(name, actor=actor_of(settings)).diff(old, parse_moment(until))
        return _tell_cube(found, output, full)
    names = list(id_and_versions)
    id = names.pop(0) if key is None and names else None
    if (id is None) == (key is None) or len(names) > 2 or not all(name.isdecimal() for name in names):
        raise click.UsageError("give the ID (or --key) of one item, then the numbers of one or two versions")
    old, new = (*(int(name) for name in names), None, None)[:2]
    with reading(settings) as session:
        change = session.diff(id, old, new, key=key)
    if output.as_json:
        output.document(_item_json(change))
    else:
        output.texts(_paragraphs(change, output, full))
    return None


def _tell_cube(found: CubeDiff, output: Output, full: bool) -> None:
    if output.as_json:
        output.document(
            {
                "added": [item_json(item) for item in found.added],
                "removed": [item_json(item) for item in found.removed],
                "changed": [_item_json(change) for change in found.changed],
            }
        )
        return
    output.texts(_cube_paragraphs(found, output, full))
    counts = {"added": found.added, "removed": found.removed, "changed": found.changed}
    output.note(", ".join(f"{counted(len(items), 'item')} {what}" for what, items in counts.items()))


def _cube_paragraphs(found: CubeDiff, output: Output, full: bool) -> Iterator[tuple[int, Text]]:
    from rich.text import Text

    def headed(sign: str, item: MemoryItem) -> Iterator[tuple[int, Text]]:
        yield 0, Text.assemble((f"{sign} ", "bold"), (item.id, "dim"))
        yield _INDENT, Text(printable(item.text))

    for item in found.added:
        yield from headed("+", item)
    for item in found.removed:
        yield from headed("-", item)
    for change in found.changed:
        yield 0, Text.assemble(("~ ", "bold"), (change.id, "dim"))
        yield from ((_INDENT, text) for _, text in _paragraphs(change, output, full))


def _paragraphs(change: ItemDiff, output: Output, full: bool) -> Iterator[tuple[int, Text]]:
    from rich.text import Text

    from memos_core.cli.history import text_change

    colour = output.terminal and not output.console.no_color
    if not change:
        yield 0, Text("they say the same", style="dim")
    if change.new is None:
        yield 0, Text("deleted", style="red" if colour else "")
        return
    if any(op != "same" for op, _ in change.text):
        yield 0, text_change("" if change.old is None else change.old.text, change.new.text, full, colour)
    if change.old is not None:
        for field in change.fields:
            old, new = (
                one_line(str(value)) if value not in (None, (), {}, "") else "(none)"
                for value in (field.old, field.new)
            )
            yield 0, Text(f"{field.name}: {old} → {new}")


def _item_json(change: ItemDiff) -> dict[str, Any]:
    return {
        "id": change.id,
        "old": None if change.old is None else change.old.version,
        "new": None if change.new is None else change.new.version,
        "text": [{"op": op, "text": text} for op, text in change.text],
        "fields": {field.name: {"old": field.old, "new": field.new} for field in change.fields},
    }
