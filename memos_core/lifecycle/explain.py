"""The story of an item, told from what is recorded: where it comes from, who did what to it and why, where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from memos_core.lifecycle.lineage import Lineage
from memos_core.lifecycle.states import MERGED_INTO
from memos_core.types.items import LifecycleState, MemoryItem, SourceRef, Version
from memos_core.types.preferences import PREFERENCE
from memos_core.types.uses import Remembered, Use
from memos_core.types.work import from_micros

_DONE: Final = {"add": "added", "update": "changed", "delete": "deleted", "restore": "restored"}
_MOVED: Final = {
    LifecycleState.ACTIVATED: "activated",
    LifecycleState.ARCHIVED: "archived",
    LifecycleState.FROZEN: "frozen",
    LifecycleState.MERGED: "merged into another",
    LifecycleState.GENERATED: "generated",
}
_MEANS: Final = {
    LifecycleState.GENERATED: "waits to be validated; search finds it only with include=['generated']",
    LifecycleState.ACTIVATED: "search finds it",
    LifecycleState.MERGED: "search finds what it was merged into",
    LifecycleState.ARCHIVED: "put away; search finds it only with include=['archived']",
    LifecycleState.FROZEN: "search finds it; nobody may change it",
}


class Explanation(msgspec.Struct, frozen=True):
    """An item, and its story.

    Attributes:
        item: as it is.
        versions: all that whoever asks may see, oldest first.
        lineage: what it was made from, and what was made from it.
        use: what is counted of its uses; None where it never was used.
        working: its place in the working memory of the conversation that asks; None where it has none.
    """

    item: MemoryItem
    versions: tuple[Version, ...]
    lineage: Lineage
    use: Use | None = None
    working: Remembered | None = None

    @property
    def story(self) -> Sequence[str]:
        """Sentences."""
        return list(self._tell())

    def __str__(self) -> str:
        return "\n".join(self.story)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {
            "item": self.item.to_dict(),
            "versions": [msgspec.to_builtins(version) for version in self.versions],
            "lineage": self.lineage.to_dict(),
            "story": self.story,
            "use": None if self.use is None else msgspec.to_builtins(self.use),
            "working": None if self.working is None else {"score": self.working.score, "parts": self.working.parts},
        }

    def _tell(self) -> Iterator[str]:
        item = self.item
        yield f"{item.type} {item.id!r} of cube {item.cube_id!r}: {item.text}"
        yield from _origin(item)
        for version in self.versions:
            yield _told(version)
        sources = [edge for edge in self.lineage.edges if edge.target == item.id]
        if sources:
            yield "It was made from " + ", ".join(f"{edge.source!r} (version {edge.version})" for edge in sources) + "."
        if item.provenance.model:
            asked = (
                f", asked with a prompt of SHA-256 {item.provenance.prompt_hash}" if item.provenance.prompt_hash else ""
            )
            yield f"The language model {item.provenance.model!r} took part{asked}."
        made = [edge for edge in self.lineage.edges if edge.source == item.id and edge.relation != MERGED_INTO]
        if made:
            yield "From it were made: " + ", ".join(repr(edge.target) for edge in made) + "."
        into = [link.target for link in item.links if link.relation == MERGED_INTO]
        if into:
            yield f"It was merged into {into[-1]!r}."
        yield f"It is {item.state}: {_MEANS[item.state]}."
        if item.private_to is not None:
            yield f"It is private to {item.private_to!r}; besides, those who administrate the cube may read it."
        if item.expires_at is not None:
            yield f"It expires at {_time(item.expires_at)}."
        if self.use is not None:
            last = _time(from_micros(self.use.last_at))
            yield f"It was used {self.use.total:.3g} times (a hit counts as much as its score), last at {last}."
        if self.working is not None:
            parts = ", ".join(f"{name} {value:.2f}" for name, value in self.working.parts.items())
            yield f"It is in the working memory of this conversation, with {self.working.score:.2f}: {parts}."
        if item.redacted:
            kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(item.redacted.items()))
            yield f"Before it was stored, personal data was taken out of it: {kinds}."


def _origin(item: MemoryItem) -> Iterator[str]:
    source = item.provenance.source or SourceRef()
    if source.uri is not None:
        piece = f", characters {source.span[0]} to {source.span[1]}" if source.span else ""
        yield f"It was read from the document {source.uri!r}{piece}."
    elif item.type == PREFERENCE and source.role is None and source.speaker is not None:
        yield f"It is a preference of {source.speaker!r}."
    elif source.role is not None or source.speaker is not None:
        who = source.speaker or source.role
        where = f" in the conversation {item.conversation!r}" if item.conversation else ""
        place = f", message {source.message_id!r}" if source.message_id else ""
        place += f", place {source.position}" if source.position is not None else ""
        when = f", {_time(source.at)}" if source.at else ""
        yield f"{who} said it{where}{place}{when}."
    elif item.conversation:
        yield f"It belongs to the conversation {item.conversation!r}."
    if item.occurred_at is not None:
        yield f"What it says happened at {_time(item.occurred_at)}."


def _told(version: Version) -> str:
    item = version.item
    done = _DONE.get(version.op, version.op)
    if version.op == "move" and item is not None:
        done = _MOVED[item.state]
    why = f": {item.provenance.reason}" if item is not None and item.provenance.reason else ""
    return f"Version {version.version} (change {version.seq}): {done} by {version.actor!r} at {_time(version.at)}{why}."


def _time(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
