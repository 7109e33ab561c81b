"""What keeps count of uses must promise. None of it is part of the truth: it may be lost, and what is lost is forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from memos_core.types.uses import Holder, Kept, Noted, Use
from memos_core.types.work import CubeRow

Place = tuple[str, str]  # of an item: (cube, id)


class Used(msgspec.Struct, frozen=True):
    """The uses of a cube's items.

    Attributes:
        changed: which writing of them was the newest: 0 before the first.
        items: by the store's own numbers of the items.
    """

    changed: int
    items: dict[int, Use]


class UseTransaction(Protocol):
    """One writing of uses: all of it is kept when its block ends, or nothing."""

    def places(self, items: Sequence[Place]) -> dict[Place, tuple[int, int]]:
        """(number of the item, number of its cube) of those that there are."""

    def add(self, uses: Mapping[int, Use]) -> None:
        """Add uses of items, by number, to those that are counted already, and to those of their cubes."""

    def working(self, holder: Holder) -> list[Kept]:
        """What is in a working memory."""

    def keep(self, holder: Holder, kept: Sequence[Kept]) -> None:
        """Put this in the place of what was in a working memory."""


class UseStore(Protocol):
    """Uses and working memories, beside the truth."""

    def used(self, cube: CubeRow, after: int = 0) -> Used:
        """Uses of the cube's items that have been written after a writing, and which was the newest."""

    def used_items(self, items: Sequence[int]) -> dict[int, Use]:
        """Uses of these items, by number; those never used are left out."""

    def used_cube(self, cube: CubeRow) -> Use | None:
        """Uses of all items of the cube together; None before the first."""

    def holders(self, actor: str) -> list[Holder]:
        """The working memories of an actor, by conversation."""

    def working(self, holder: Holder) -> list[Kept]:
        """What is in a working memory."""

    def ids(self, items: Sequence[int]) -> dict[int, Place]:
        """(cube, id) of items that are not deleted, by number."""

    def forget(self, items: Sequence[int]) -> int:
        """Remove all that is kept of items, by number; returns how many rows that were."""


class UseRecorder(Protocol):
    """Takes notes of uses on the path of a read, in microseconds."""

    def note(self, noted: Noted) -> None:
        """Something was used. Never waits, never fails."""
