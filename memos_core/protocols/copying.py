"""What a store must promise so that it can be backed up, restored, and moved to another database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from memos_core.types.copies import (
    ChangeCopy,
    CheckpointCopy,
    ConversationCopy,
    CubeCopy,
    EntryCopy,
    GrantCopy,
    HoldCopy,
    JobCopy,
)


class Snapshot(Protocol):
    """One moment of a whole store. Others go on reading and writing; what they do is not in it."""

    @property
    def settings(self) -> Mapping[str, str]:
        """All settings that mean something in a copy, the store's id among them."""

    @property
    def cubes(self) -> Sequence[CubeCopy]:
        """All cubes, by number."""

    def changes(self, cube: CubeCopy, after: int) -> Iterator[list[ChangeCopy]]:
        """The cube's changes behind a number, in order, in slices.

        Raises:
            StoreDamaged: a row is missing, or not what was written.
        """

    def entries(self, cube: CubeCopy, after: int) -> Iterator[list[EntryCopy]]:
        """The cube's audit entries behind a number, in order, in slices."""

    def entry_hash(self, cube: CubeCopy, number: int) -> bytes | None:
        """Hash of one entry of the cube's audit chain; None where there is no such entry."""

    def conversations(self, cube: CubeCopy) -> list[ConversationCopy]:
        """All conversations of the cube, by name."""

    def grants(self, cube: CubeCopy) -> list[GrantCopy]:
        """All grants on the cube, by grantee."""

    def holds(self, cube: CubeCopy) -> list[HoldCopy]:
        """All legal holds on the cube, by target."""

    def checkpoints(self, cube: CubeCopy) -> list[CheckpointCopy]:
        """All signed checkpoints of the cube's audit chain, by number."""

    def jobs(self) -> list[JobCopy]:
        """All jobs of the store, by number."""


class Filling(Protocol):
    """An empty store being filled with a copy. All of it is kept when its block ends, or nothing."""

    def cube(self, cube: CubeCopy) -> None:
        """Make a cube, as it shall be in the end; its changes and entries follow."""

    def changes(self, cube: CubeCopy, rows: Sequence[ChangeCopy]) -> None:
        """Add changes of a cube, in order, behind those that are there."""

    def entries(self, cube: CubeCopy, rows: Sequence[EntryCopy]) -> None:
        """Add audit entries of a cube, in order; the changes that they cover have come before."""

    def conversations(self, cube: CubeCopy, rows: Sequence[ConversationCopy]) -> None:
        """Add the conversations of a cube."""

    def grants(self, cube: CubeCopy, rows: Sequence[GrantCopy]) -> None:
        """Add the grants on a cube."""

    def holds(self, cube: CubeCopy, rows: Sequence[HoldCopy]) -> None:
        """Add the legal holds on a cube."""

    def checkpoints(self, cube: CubeCopy, rows: Sequence[CheckpointCopy]) -> None:
        """Add the signed checkpoints of a cube's audit chain."""

    def jobs(self, rows: Sequence[JobCopy]) -> None:
        """Add jobs."""

    def finish(self, settings: Mapping[str, str], dims: int | None) -> None:
        """Set the settings, the store's id among them, and read everything back: rows, vectors, audit chains.

        Args:
            settings: of the store that was copied.
            dims: length of its vectors; None where it has no embedder.

        Raises:
            StoreDamaged: something is not what was written there; nothing is kept.
        """
