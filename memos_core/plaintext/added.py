"""Added: what became of the things that were given to `add`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload

from memos_core.errors import InvalidInput
from memos_core.plaintext.commit import Outcome
from memos_core.types.items import MemoryItem


class Added(Sequence[MemoryItem]):
    """What became of the things that were given to `add`: their items, in order. Items are read when first looked at.

    Things that were known and are deleted here have no item; their ids are among `ids` and `known`.

    Attributes:
        ids: the id of each thing given, in order.
        new: ids that are stored for the first time.
        known: ids of things that were stored before, and say the same.
        changed: ids of things that were stored before, and now say something else.
        removed: ids of pieces that are no longer in their document.
        seqs: for each cube written to, the number of the newest change these are part of.
    """

    def __init__(
        self,
        outcomes: dict[str, list[Outcome]],
        first: str,
        load: Callable[[Sequence[int]], list[MemoryItem]],
    ) -> None:
        own = outcomes[first]
        given = [outcome for outcome in own if outcome.status != "removed"]
        self.ids = [outcome.id for outcome in given]
        self.new = [outcome.id for outcome in own if outcome.status == "added"]
        self.known = [outcome.id for outcome in own if outcome.status == "known"]
        self.changed = [outcome.id for outcome in own if outcome.status == "changed"]
        self.removed = [outcome.id for outcome in own if outcome.status == "removed"]
        self.seqs = {cube: max((each.seq for each in its), default=0) for cube, its in outcomes.items()}
        self._places = [outcome.seq for outcome in given if outcome.seq]
        self._load = load
        self._items: list[MemoryItem] | None = None

    @property
    def items(self) -> list[MemoryItem]:
        """The items, in order."""
        if self._items is None:
            self._items = self._load(self._places)
        return self._items

    @property
    def id(self) -> str:
        """The id, where just one thing was given.

        Raises:
            InvalidInput: none or several were.
        """
        if len(self.ids) != 1:
            raise InvalidInput(f"{len(self.ids)} things were added; use .ids")
        return self.ids[0]

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[MemoryItem]:
        return iter(self.items)

    @overload
    def __getitem__(self, place: int) -> MemoryItem: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[MemoryItem]: ...
    def __getitem__(self, place: int | slice) -> MemoryItem | Sequence[MemoryItem]:
        return self.items[place]

    def __repr__(self) -> str:
        counts = {"new": self.new, "known": self.known, "changed": self.changed, "removed": self.removed}
        said = ", ".join(f"{len(ids)} {what}" for what, ids in counts.items() if ids)
        return f"Added({said or 'nothing'})"
