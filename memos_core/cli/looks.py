"""How hits and items look in a terminal: what was said, and under it who, when, where, and the id to go on with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from memos_core.cli.excerpts import Marker, shorten
from memos_core.cli.output import moment, one_line, printable
from memos_core.types.items import Hit, MemoryItem

_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_BAR: Final = 8  # cells of a score's bar
_SMALL_BAR: Final = 6  # of a signal's
_LINES: Final = 3  # of a text, at most
_PLACE: Final = 12  # cells that a place is never made shorter than
_LIKELY, _POSSIBLE = 0.5, 0.2


def bar(share: float, cells: int) -> str:
    """A share of a whole as a bar, to an eighth of a cell; never empty for more than nothing."""
    eighths = round(max(0.0, min(1.0, share)) * cells * 8)
    if share > 0:
        eighths = max(1, eighths)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(cells)


def who(item: MemoryItem) -> str:
    """Whose words they are."""
    source = item.provenance.source
    return item.speaker or (source.role if source and source.role else "") or ""


def where(item: MemoryItem) -> str:
    """The conversation or document it belongs to."""
    return item.conversation or ""


def _nearby(place: str) -> str:
    """A path as seen from here, where that is shorter."""
    if not os.path.isabs(place):
        return place
    relative = os.path.relpath(place)
    return relative if len(relative) < len(place) and not relative.startswith("..") else place


def _heading(item: MemoryItem) -> str:
    """The heading that a piece of a document stands under."""
    headings = item.metadata.get("heading")
    return f"§ {headings[-1]}" if isinstance(headings, list) and headings else ""


def about(item: MemoryItem, *, cube: bool, width: int) -> Text:
    """Who, when, where and the id, in dim letters.

    Args:
        item: what it is about.
        cube: name its cube: several are looked at.
        width: room there is; the id is never broken.
    """
    place = " ".join(part for part in (_nearby(where(item)), _heading(item)) if part)
    facts = [
        who(item),
        moment(item.occurred_at) or f"stored {moment(item.created_at)}",
        place,
        " ".join(f"#{tag}" for tag in item.tags),
        f"key {item.key}" if item.key else "",
        f"v{item.version}" if item.version > 1 else "",
        f"cube {item.cube_id}" if cube else "",
    ]
    said = " · ".join(one_line(fact) for fact in facts if fact)
    beyond = cell_len(said) - width
    if beyond > 0 and cell_len(place) - beyond > _PLACE:
        said = said.replace(one_line(place), shorten(one_line(place), cell_len(place) - beyond))
    id = printable(item.id)
    between = " · " if cell_len(said) + 3 + cell_len(id) <= width else "\n"
    return Text.assemble((said + between, "dim"), (id, "dim cyan"), overflow="fold")


def _likely(score: float) -> str:
    return "<1%" if score < 0.005 else f"{score:.0%}"


def hits_table(hits: Sequence[Hit], *, question: str, width: int, parts: bool, full: bool) -> Table:
    """Hits, best first.

    Args:
        hits: what was found.
        question: its words are marked.
        width: of the terminal.
        parts: show what each signal added.
        full: show texts whole, as they are written.
    """
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    room = max(20, width - _BAR - 11)
    marker = Marker(question)
    several = len({hit.cube_id for hit in hits}) > 1
    most = max((value for hit in hits for value in hit.parts.values()), default=1.0)
    for number, hit in enumerate(hits, 1):
        text = Text(printable(hit.text)) if full else marker.excerpt(hit.text, _LINES * room - 6)
        colour = "green" if hit.score >= _LIKELY else "yellow" if hit.score >= _POSSIBLE else "dim"
        table.add_row(str(number), Text(bar(hit.score, _BAR), style=colour), _likely(hit.score), text)
        table.add_row("", "", "", about(hit.item, cube=several, width=room))
        for cube, id in hit.origins[1:]:
            table.add_row("", "", "", Text(printable(f"also in {cube} as {id}"), style="dim"))
        if parts:
            table.add_row("", "", "", Padding(parts_table(hit.parts, most, room), (0, 0, 1, 0)))
    return table


def parts_table(parts: Mapping[str, float], most: float, width: int) -> Table:
    """What each signal added to the ranking, strongest first, as many beside each other as fit.

    Args:
        parts: by signal.
        most: what a full bar stands for.
        width: room there is.
    """
    cells = [
        Text.assemble((f"{name:<9}", "dim"), (bar(value / most if most else 0.0, _SMALL_BAR), "blue"), f" {value:4.2f}")
        for name, value in sorted(parts.items(), key=lambda part: -part[1])
        if value > 0
    ]
    beside = max(1, (width + 2) // (9 + _SMALL_BAR + 7))
    table = Table.grid(padding=(0, 2, 0, 0))
    for first in range(0, len(cells), beside):
        table.add_row(*cells[first : first + beside])
    return table


def items_table(items: Sequence[MemoryItem], *, width: int, full: bool) -> Table:
    """Items, each as its text and what there is to know about it."""
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    several = len({item.cube_id for item in items}) > 1
    for item in items:
        text = Text(printable(item.text) if full else shorten(one_line(item.text), 2 * width - 8))
        table.add_row("▪", text)
        table.add_row("", about(item, cube=several, width=width - 2))
    return table
