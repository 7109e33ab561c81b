"""What an item was made from, and what was made from it: a graph, as text, Mermaid or Graphviz."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from memos_core.errors import InvalidInput, ItemNotFound
from memos_core.filters import F, Where
from memos_core.lifecycle.states import MERGED_INTO
from memos_core.types.items import LifecycleState, MemoryItem, Page

DEEPEST: Final = 50
_PAGE: Final = 1000
_SHOWN: Final = 60  # characters of a text


class Reads(Protocol):
    """Reads the items that somebody may see."""

    def get(self, id: str) -> MemoryItem:
        """The item, in whatever state; raises ItemNotFound."""

    def list(
        self,
        *,
        where: Where,
        include: frozenset[LifecycleState],
        newest_first: bool,
        limit: int,
        cursor: str | None,
    ) -> Page:
        """Items that fulfil a filter, in pages."""


class Edge(msgspec.Struct, frozen=True):
    """One item was made from another, or merged into it.

    Attributes:
        source: id of what was there before.
        target: id of what was made from it.
        relation: "derived" or "merged_into".
        version: of the source.
    """

    source: str
    target: str
    relation: str
    version: int | None = None


class Lineage(msgspec.Struct, frozen=True):
    """Where an item comes from and what became of it, as far as whoever asks may see.

    Attributes:
        id: of the item that was asked about.
        items: all that take part, by id.
        edges: from what was there before to what was made from it.
    """

    id: str
    items: dict[str, MemoryItem]
    edges: tuple[Edge, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {
            "id": self.id,
            "items": {id: item.to_dict() for id, item in self.items.items()},
            "edges": [msgspec.to_builtins(edge) for edge in self.edges],
        }

    def text(self) -> str:
        """As lines: what it was made from above, what was made from it below, each a step further to the right."""
        above = self._tree(self.id, lambda id: [(e.source, e) for e in self.edges if e.target == id], "<-")
        below = self._tree(self.id, lambda id: [(e.target, e) for e in self.edges if e.source == id], "->")
        return "\n".join([*above[:0:-1], *below])

    def _tree(self, root: str, steps: Callable[[str], list[tuple[str, Edge]]], arrow: str) -> list[str]:
        lines = [_described(self.items[root])]
        seen = {root}

        def walk(id: str, depth: int) -> None:
            for other, edge in steps(id):
                again = other in seen
                seen.add(other)
                lines.append(
                    f"{'  ' * depth}{arrow} {edge.relation}: {_described(self.items[other])}{' (again)' * again}"
                )
                if not again:
                    walk(other, depth + 1)

        walk(root, 1)
        return lines

    def mermaid(self) -> str:
        """As a Mermaid flowchart."""
        number = {id: f"n{place}" for place, id in enumerate(self.items)}
        lines = ["flowchart TD"]
        for id, item in self.items.items():
            label = (
                _described(item).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\n", " ")
            )
            lines.append(f'    {number[id]}["{label}"]')
        lines += [f"    {number[edge.source]} -->|{edge.relation}| {number[edge.target]}" for edge in self.edges]
        lines.append(f"    style {number[self.id]} stroke-width:3px")
        return "\n".join(lines)

    def graphviz(self) -> str:
        """As a directed graph in Graphviz' language."""
        number = {id: f"n{place}" for place, id in enumerate(self.items)}
        lines = ["digraph lineage {", "    node [shape=box];"]
        for id, item in self.items.items():
            label = _described(item).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
            lines.append(f'    {number[id]} [label="{label}"{", penwidth=3" if id == self.id else ""}];')
        lines += [
            f'    {number[edge.source]} -> {number[edge.target]} [label="{edge.relation}"];' for edge in self.edges
        ]
        return "\n".join([*lines, "}"])


def lineage_of(reads: Reads, id: str, depth: int = 10) -> Lineage:
    """The lineage of an item.

    Args:
        reads: what whoever asks may see; the rest is left out as if it were not there.
        depth: steps to go in each direction.

    Raises:
        ItemNotFound: there is no such item.
        InvalidInput: a depth outside 1 … 50.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= DEEPEST:
        raise InvalidInput(f"depth is a whole number from 1 to {DEEPEST}, not {depth!r}")
    items = {id: reads.get(id)}
    edges: dict[Edge, None] = {}
    for towards in (_sources, _made_from):
        now = [id]
        for _ in range(depth):
            following: list[str] = []
            for at in now:
                for edge, other in towards(reads, items[at]):
                    edges[edge] = None
                    if other.id not in items:
                        items[other.id] = other
                        following.append(other.id)
            now = following
    return Lineage(id, items, tuple(edges))


def _sources(reads: Reads, item: MemoryItem) -> Sequence[tuple[Edge, MemoryItem]]:
    found = []
    for source, version in item.provenance.derived_from:
        other = _seen(reads, source)
        if other is not None and other.id != item.id:
            merged = any(link.relation == MERGED_INTO and link.target == item.id for link in other.links)
            relation = MERGED_INTO if merged else "derived"
            found.append((Edge(source, item.id, relation, version), other))
    return found


def _made_from(reads: Reads, item: MemoryItem) -> Sequence[tuple[Edge, MemoryItem]]:
    into = {link.target for link in item.links if link.relation == MERGED_INTO}
    others: list[MemoryItem] = []
    cursor: str | None = None
    while True:
        page = reads.list(
            where=F.derived_from.contains(item.id),
            include=frozenset(LifecycleState),
            newest_first=False,
            limit=_PAGE,
            cursor=cursor,
        )
        others += page
        cursor = page.cursor
        if cursor is None:
            break
    found = []
    for other in others:
        version = dict(other.provenance.derived_from).get(item.id)
        relation = MERGED_INTO if other.id in into else "derived"
        found.append((Edge(item.id, other.id, relation, version), other))
    return found


def _seen(reads: Reads, id: str) -> MemoryItem | None:
    try:
        return reads.get(id)
    except ItemNotFound:
        return None


def _described(item: MemoryItem) -> str:
    text = " ".join(item.text.split())
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    state = "" if item.state is LifecycleState.ACTIVATED else f", {item.state}"
    return f"{item.id} (version {item.version}{state}) {shown}"
