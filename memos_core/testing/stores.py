"""What the contracts of stores share: a clock that stands still, vectors, and a store with a second way into its data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from memos_core.protocols.storage import RecordStore
from memos_core.types.access import Right
from memos_core.types.work import Body, CubeRow, Op, Put, Record, VectorBlobs

DIMS = 8


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def go(self, seconds: float) -> datetime:
        """Go on by so many seconds; the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now


def vector(seed: int, dims: int = DIMS) -> VectorBlobs:
    """Some vector of unit length."""
    values = np.random.default_rng(seed).standard_normal(dims).astype("<f4")
    return VectorBlobs((values / np.linalg.norm(values)).astype("<f4").tobytes())


class StoreTests:
    """Two objects on the data of one store, and short ways to write."""

    def make_store(self, folder: Path, clock: Clock) -> RecordStore:
        """A store on the data in a folder (empty at first); called twice for one folder, both see the same data."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> Clock:
        """The store's clock."""
        return Clock()

    @pytest.fixture
    def store(self, tmp_path: Path, clock: Clock) -> Iterator[RecordStore]:
        """The store that is tested."""
        made = self.make_store(tmp_path, clock)
        yield made
        made.close()

    @pytest.fixture
    def other(self, store: RecordStore, tmp_path: Path, clock: Clock) -> Iterator[RecordStore]:
        """A second object on the same data: the side door."""
        made = self.make_store(tmp_path, clock)
        yield made
        made.close()

    @staticmethod
    def create(store: RecordStore, name: str = "alice", owner: str = "alice") -> CubeRow:
        """A new cube."""
        with store.begin(actor=owner, action="create") as transaction:
            assert transaction.cube(name) is None
            return transaction.create_cube(name, owner)

    @staticmethod
    def write(store: RecordStore, cube: CubeRow, *puts: Put, actor: str = "alice", action: str = "add") -> int:
        """Write versions in one transaction; the number of the first change."""
        with store.begin(actor=actor, action=action) as transaction:
            locked = transaction.cube(cube.name)
            assert locked is not None
            return transaction.put(locked, puts)

    def edit(
        self, store: RecordStore, cube: CubeRow, id: str, text: str | None, vectors: VectorBlobs | None = None
    ) -> int:
        """Write the next version of an item; None deletes it."""
        head = store.heads(cube, [id])[id]
        body = None if text is None else Body()
        op: Op = "delete" if text is None else "restore" if head.deleted else "update"
        return self.write(store, cube, Put(id=id, op=op, text=text, body=body, head=head, vectors=vectors))

    @staticmethod
    def share(store: RecordStore, cube: CubeRow, grantee: str, *rights: Right, by: str = "alice") -> None:
        """Set the rights of a grantee; none at all takes them away."""
        store.share(cube, grantee, frozenset(rights), by=by)

    @staticmethod
    def log(store: RecordStore, cube: CubeRow, after: int = 0) -> list[tuple[Record, VectorBlobs | None]]:
        """The whole change log after a number."""
        return [change for piece in store.changes(cube, after) for change in piece]
