"""What a store must promise.

The truth is a `RecordStore`: every change of a cube gets the next number of that cube's log in the transaction that makes
it, so whoever has seen number n has seen everything up to n. Everything else follows that log (`Follower`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memos_core.protocols.copying import Filling, Snapshot
from memos_core.types.access import Grant, Right
from memos_core.types.work import AuditEntry, Body, CubeRow, Head, Put, Record, VectorBlobs

Changes = Iterator[list[tuple[Record, VectorBlobs | None]]]


class Transaction(Protocol):
    """One unit of work on a store: all of it is kept when its block ends, or nothing."""

    def cube(self, name: str) -> CubeRow | None:
        """The cube, locked until the end; None where there is none. Lock several in order of name."""

    def setting(self, key: str) -> str | None:
        """A setting of the store, or None."""

    def create_cube(self, name: str, owner: str) -> CubeRow:
        """A new, empty cube; that its name is free must have been asked in this transaction."""

    def heads(self, cube: CubeRow, ids: Sequence[str]) -> dict[str, Head]:
        """Where these items stand, by id; unknown ids are left out."""

    def heads_by_key(self, cube: CubeRow, keys: Sequence[str]) -> dict[str, Head]:
        """Where the items that bear these keys stand, by key."""

    def heads_by_dedup(self, cube: CubeRow, identities: Sequence[int]) -> dict[int, Head]:
        """Where the items read from these messages or spans stand, by 64-bit identity."""

    def reserve_positions(self, cube: CubeRow, conversation: str, count: int, at_least: int = 0) -> int:
        """The first of `count` places at the end of a conversation, now taken."""

    def put(self, cube: CubeRow, puts: Sequence[Put]) -> int:
        """Write versions, in order; returns the number of the first change.

        Raises:
            VersionConflict: an item has moved on since its `head` was read; nothing is kept.
        """


class RecordStore(Protocol):
    """The truth: cubes, items, versions, vectors, grants and the audit chain. Safe to call from several threads."""

    @property
    def id(self) -> str:
        """Made once, with the store: tells it from others and from copies that went another way."""

    @property
    def name(self) -> str:
        """Where it is, for messages."""

    def close(self) -> None:
        """Let go of everything. Doing it twice does nothing."""

    def change_token(self) -> int:
        """Differs from the last one exactly when somebody, in any process, has committed since.

        Takes microseconds, or (inside `operation`, the first time) one round trip to a server.
        """

    def operation(self) -> AbstractContextManager[None]:
        """One operation of a user: inside, `change_token` may go by what had been committed when the block began.

        Where asking takes a round trip to a server, it is then made once. This process's own commits are always seen.
        """

    def lineage(self) -> int:
        """Differs from the last one where what was read before may be gone: the server has failed over, say."""

    def setting(self, key: str) -> str | None:
        """A setting of the store, or None."""

    def put_setting(self, key: str, value: str, *, expect: str | None = None) -> bool:
        """Set a setting if it is still as expected (None: not set at all); whether it was."""

    def cubes(self) -> list[CubeRow]:
        """All cubes, by name."""

    def cube(self, name: str) -> CubeRow | None:
        """The cube of that name as it stands, or None."""

    def head_seq(self, cube: CubeRow) -> int:
        """Number of the cube's newest change; 0 before the first."""

    def seq_at(self, cube: CubeRow, moment: datetime) -> int:
        """Number of the newest change committed at or before a moment; 0 where there was none."""

    def counts(self, cube: CubeRow) -> dict[str, int]:
        """How many items, deleted items, versions, vectors and audit entries the cube has."""

    def heads(self, cube: CubeRow, ids: Sequence[str]) -> dict[str, Head]:
        """Where these items stand now, by id; unknown ids are left out."""

    def heads_by_key(self, cube: CubeRow, keys: Sequence[str]) -> dict[str, Head]:
        """Where the items that bear these keys stand now, by key."""

    def heads_by_dedup(self, cube: CubeRow, identities: Sequence[int]) -> dict[int, Head]:
        """Where the items read from these messages or spans stand now, by 64-bit identity."""

    def records(self, cube: CubeRow, seqs: Sequence[int]) -> dict[int, Record]:
        """The versions that these changes made, by number, ascending.

        Raises:
            StoreDamaged: a row is not what was written, or not there.
        """

    def history(self, cube: CubeRow, head: Head) -> list[Record]:
        """All versions of an item up to its head, oldest first."""

    def at(self, cube: CubeRow, head: Head, as_of: int) -> Record:
        """The version of an item that was current after change `as_of`.

        Raises:
            ItemNotFound: it did not exist then.
        """

    def digest(self, cube: CubeRow, seq: int) -> str:
        """What the truth says change `seq` was, as hexadecimal digits; "" where there is no such change."""

    def texts(self, cube: CubeRow, seqs: Sequence[int]) -> dict[int, str]:
        """Only the texts of these changes, by number."""

    def bodies(self, cube: CubeRow, after: int, until: int) -> Iterator[tuple[int, str, int, str, Body]]:
        """(change, id, version, state, body) of the changes after one number up to another; deletions are left out."""

    def vectors(self, cube: CubeRow, seqs: Sequence[int]) -> dict[int, VectorBlobs]:
        """Vectors stored by these changes, by number."""

    def dense_vectors(self, cube: CubeRow, seqs: Sequence[int]) -> dict[int, bytes]:
        """Only the float32 vectors stored by these changes, by number."""

    def changes(self, cube: CubeRow, after: int, until: int | None = None) -> Changes:
        """The change log: versions with the vectors that hold for them, in order, in slices."""

    def begin(self, *, actor: str, action: str) -> AbstractContextManager[Transaction]:
        """A transaction over any number of cubes, audited under this actor and action."""

    def grants(self, cube: CubeRow) -> list[Grant]:
        """All grants on the cube, by grantee."""

    def share(self, cube: CubeRow, grantee: str, rights: frozenset[Right], *, by: str) -> None:
        """Set the rights of a grantee on the cube; an empty set takes them away."""

    def stage(self, identity: str) -> tuple[int, int]:
        """Begin (or go on) to stage vectors of an embedder: how many versions take them, and how many have them staged."""

    def unstaged(self, identity: str, after: int, limit: int) -> tuple[list[tuple[int, str, Body]], int | None]:
        """Versions behind a place without staged vectors: (place, text, body), and how far was looked (None: the end).

        Raises:
            Conflict: vectors of another embedder are being staged, or those of this one are in place.
        """

    def put_staged(self, identity: str, rows: Sequence[tuple[int, VectorBlobs]]) -> None:
        """Stage vectors of the versions at these places; raises as `unstaged` does."""

    def switch_vectors(self, identity: str, key: str, value: str) -> bool:
        """Put staged vectors in the place of the old ones, and set a setting, in one transaction.

        Args:
            identity: of the embedder; "" removes all vectors instead.
            key, value: the setting that says whose vectors they are.

        Returns:
            Whether it was done; not if versions without staged vectors have come in meanwhile.

        Raises:
            Conflict: as for `unstaged`.
        """

    def audit(self, cube: CubeRow, after: int = 0) -> list[AuditEntry]:
        """Entries of the cube's audit chain after a number, oldest first."""

    def check(self, cube: CubeRow, dims: int | None) -> list[str]:
        """Every way in which the cube's rows contradict each other, as sentences; nothing when all is well."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """One moment of the whole store, to be copied while others go on."""

    def filling(self) -> AbstractContextManager[Filling]:
        """One transaction that fills this store, which must be empty, with a copy of another.

        Raises:
            AlreadyExists: it is not empty.
        """

    def facts(self) -> Mapping[str, str | int]:
        """What the database says of itself, for people: "database" (name and version), "bytes" on disk, settings that matter.

        Raises:
            StoreError: it cannot be asked.
        """

    def vacuum(self) -> None:
        """Give space that nothing uses back to the disk. Others may have the store open meanwhile.

        Raises:
            StoreBusy: they kept it locked until the deadline.
            StoreFull: there is no room to do it.
        """


class VectorIndex(Protocol):
    """Nearest items of one cube by vector. Derived: it follows the change log and can be dropped and rebuilt."""

    @property
    def seq(self) -> int:
        """Number of the last change it has applied."""

    def catch_up(self) -> None:
        """Apply what has been committed since."""

    def nearest(
        self, vector: NDArray[np.float32], count: int, *, among: Sequence[int] | None = None, as_of: int | None = None
    ) -> list[tuple[int, float]]:
        """The nearest items: (number of the change that made the version, cosine), best first, ties by number.

        Args:
            vector: (dims,), of any length but zero.
            among: only these changes; None for all current ones.
            as_of: as it was after this change; None for now.

        Raises:
            WrongDimension: the vector is of another length than the index's.
        """

    def drop(self) -> None:
        """Forget everything; the next `catch_up` starts from the first change."""
