"""How often and how lately something was used, and what a conversation has in mind."""

from __future__ import annotations

from typing import Literal

import msgspec

from memos_core.types.items import MemoryItem

Kind = Literal["search", "context", "get", "add"]


class Use(msgspec.Struct, frozen=True):
    """The uses of one thing, in four numbers (see `memos_core.lifecycle.activation`).

    A use counts 1 where the thing was read or put into a prompt, and as much as its score where a search found it: how likely
    it was what was asked for.

    Attributes:
        total: how much it was used, all in all.
        newest: the part of that which was used last.
        first_at, last_at: when it was used first and last, microseconds since 1970.
    """

    total: float
    newest: float
    first_at: int
    last_at: int


def joined(one: Use, other: Use) -> Use:
    """The uses of both, in whatever order they come in."""
    first, last = sorted((one, other), key=lambda use: (use.last_at, use.newest))
    newest = last.newest + first.newest if first.last_at == last.last_at else last.newest
    total = first.total + last.total
    return Use(total, newest, min(first.first_at, last.first_at), last.last_at)


class Holder(msgspec.Struct, frozen=True):
    """Whose working memory: an actor in a conversation that reads from these cubes.

    Attributes:
        actor: id.
        conversation: its name.
        cubes: names, in order.
    """

    actor: str
    conversation: str
    cubes: tuple[str, ...]


class Noted(msgspec.Struct, frozen=True):
    """Something happened to items, to be counted later.

    Attributes:
        kind: what: a search found them, they were put into a prompt, read by id, or added.
        at: when, microseconds since 1970.
        holder: in which conversation; None outside of any.
        items: (cube, id, how much it was used, how relevant it was to a query).
    """

    kind: Kind
    at: int
    holder: Holder | None
    items: tuple[tuple[str, str, float, float], ...]


class Kept(msgspec.Struct, frozen=True):
    """What the store keeps of one item in a working memory.

    Attributes:
        item: the store's own number of it.
        cube: number of its cube.
        half: of a turn of the conversation, in which the item was touched last: 1, 3, 5, ... where something was asked, 2, 4,
            6, ... where something was said.
        relevance: to the queries up to then, in [0, 1].
        predicted: that the next turns need it, as was thought then; from 0, about 1 is a lot.
        use: of it within this conversation.
    """

    item: int
    cube: int
    half: int
    relevance: float
    predicted: float
    use: Use


class Remembered(msgspec.Struct, frozen=True):
    """An item in working memory, and why it is there.

    Attributes:
        item: as it is now.
        score: by which working memory is ordered, falling; what does not make it into the best few is let go.
        parts: what adds up to the score: "recent", "used", "relevant", "predicted", "pinned".
        expected: how likely this turn needs it, going by the turns before.
    """

    item: MemoryItem
    score: float
    parts: dict[str, float]
    expected: float

    @property
    def id(self) -> str:
        """The item's id."""
        return self.item.id

    @property
    def text(self) -> str:
        """The item's words."""
        return self.item.text
