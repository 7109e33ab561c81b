"""`memos history`: every version of an item, and what changed from one to the next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from memos_core.cli.listing import require_one
from memos_core.cli.opening import reading
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, moment, one_line, printable
from memos_core.cli.search import item_json

if TYPE_CHECKING:
    from rich.text import Text

    from memos_core.types.items import MemoryItem, Version

_INDENT: Final = 4
_EXAMPLES: Final = """
Examples:
  memos history 01a1fea6e76e00c1826ac550c85ec7f1
  memos history --key rent
  memos history --key rent --json | jq -r '[.version, .at, .item.text] | @tsv'

Without colours, [-words-] went and {+words+} came.
"""


@click.command("history", cls=Command, short_help="Show the versions of an item, and what changed.", epilog=_EXAMPLES)
@click.argument("id", required=False)
@click.option("--key", metavar="NAME", help="Of the item, in the place of its id.")
@click.option("--full", is_flag=True, help="Show texts whole, not only what stands around a change.")
@pass_settings
def history_command(settings: Settings, id: str | None, key: str | None, full: bool) -> None:
    """Show all versions of an item, oldest first: who made them, when, and what changed. Deletions are among them."""
    output = Output(settings)
    require_one(id, key)
    with reading(settings) as session:
        versions = session.history(id, key=key)
    if output.as_json:
        for version in versions:
            output.document(_version_json(version))
        return
    output.texts(_paragraphs(versions, full, colour=output.terminal and not output.console.no_color))


def _version_json(version: Version) -> dict[str, Any]:
    return {
        "version": version.version,
        "op": version.op,
        "actor": version.actor,
        "at": version.at,
        "seq": version.seq,
        "item": None if version.item is None else item_json(version.item),
    }


def _paragraphs(versions: Sequence[Version], full: bool, *, colour: bool) -> Iterator[tuple[int, Text]]:
    """What to say of each version, with how far it is set in."""
    from rich.text import Text

    before: MemoryItem | None = None
    for version in versions:
        operation = version.op if version.item is None else version.item.provenance.operation
        facts = f"  {operation} by {printable(version.actor)}, {moment(version.at)}, change {version.seq}"
        yield 0, Text.assemble((f"v{version.version}", "bold"), (facts, "dim"))
        item = version.item
        if item is None:
            yield _INDENT, Text("deleted", style="red" if colour else "")
            continue
        if before is None:
            yield _INDENT, Text(printable(item.text))
        elif before.text != item.text:
            yield _INDENT, text_change(before.text, item.text, full, colour)
        changes = [] if before is None else list(_field_changes(before, item))
        for name, old, new in changes:
            yield _INDENT, Text(f"{name}: {one_line(old) or '(none)'} → {one_line(new) or '(none)'}")
        if before is not None and before.text == item.text and not changes:
            yield _INDENT, Text("as before", style="dim")
        before = item


def text_change(old: str, new: str, full: bool, colour: bool) -> Text:
    """A text with what went and what came marked; unless it is to be shown in full, only what stands around that."""
    from rich.text import Text

    from memos_core.cli.diffs import with_little_around
    from memos_core.types.differences import stretches

    found = stretches(printable(old), printable(new))
    changed = Text()
    for op, text in found if full else with_little_around(found):
        if op == "same":
            changed.append(text)
        elif colour:
            changed.append(text, "strike red" if op == "gone" else "green")
        else:
            changed.append(f"[-{text}-]" if op == "gone" else f"{{+{text}+}}")
    return changed


def _field_changes(before: MemoryItem, item: MemoryItem) -> Iterator[tuple[str, str, str]]:
    """(name, old, new) of everything but the text that is different."""
    old, new = _fields(before), _fields(item)
    yield from ((name, old[name], new[name]) for name in new if old[name] != new[name])


def _fields(item: MemoryItem) -> dict[str, str]:
    return {
        "type": item.type,
        "key": item.key or "",
        "tags": ", ".join(item.tags),
        "metadata": json.dumps(item.metadata, ensure_ascii=False) if item.metadata else "",
        "payload": "" if item.payload is None else json.dumps(item.payload, ensure_ascii=False),
        "occurred": moment(item.occurred_at),
        "confidence": f"{item.confidence:g}",
        "search": "" if item.indexed else "kept out",
        "state": str(item.state),
        "links": ", ".join(f"{link.relation} {link.target}" for link in item.links),
    }
