"""What a store must promise.

The truth is a `RecordStore`: every change of a cube gets the next number of that cube's log in the transaction that makes
it, so whoever has seen number n has seen everything up to n. Everything else follows that log (`vectors.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from memos_core.protocols.copying import Filling, Snapshot
from memos_core.protocols.uses import UseStore, UseTransaction
from memos_core.protocols.work import JobStore
from memos_core.types.access import Grant, Right
from memos_core.types.erasure import Erasing, ErasurePlan, ErasureRecord, Hold
from memos_core.types.jobs import Done, NewJob
from memos_core.types.work import (
    AuditEntry,
    Body,
    ChainCheck,
    ChainEnd,
    Checkpoint,
    CubeRow,
    Head,
    Put,
    Record,
    VectorBlobs,
)

Finish = Callable[[Sequence[tuple[int, str, Body]]], Sequence[VectorBlobs]]
Changes = Iterator[list[tuple[Record, VectorBlobs | None]]]


class Transaction(Protocol):
    """One unit of work on a store: all of it is kept when its block ends, or nothing."""

    @property
    def uses(self) -> UseTransaction:
        """Uses and working memories, in this transaction; not audited, no part of any cube's log."""

    def cube(self, name: str) -> CubeRow | None:
        """The cube, locked until the end; None where there is none. Lock several in order of name."""

    def setting(self, key: str) -> str | None:
        """A setting of the store, or None."""

    def create_cube(self, name: str, owner: str) -> CubeRow:
        """A new, empty cube; that its name is free must have been asked in this transaction."""

    def fork(self, source: CubeRow, name: str, owner: str, seq: int) -> CubeRow:
        """A new cube that has the first `seq` changes of another one, locked before; its name must be free.

        Texts and vectors are not copied. The new cube says where it comes from (`base`, `base_seq`), goes its own way from
        there, and its audit chain begins with an entry that commits to the other's.
        """

    def heads(self, cube: CubeRow, ids: Sequence[str]) -> dict[str, Head]:
        """Where these items stand, by id; unknown ids are left out."""

    def heads_by_key(self, cube: CubeRow, keys: Sequence[str]) -> dict[str, Head]:
        """Where the items that bear these keys stand, by key."""

    def heads_by_dedup(self, cube: CubeRow, identities: Sequence[int]) -> dict[int, Head]:
        """Where the items read from these messages or spans stand, by 64-bit identity."""

    def without_vectors(self, cube: CubeRow, ids: Sequence[str] | None = None) -> list[str]:
        """Ids of the items of a locked cube whose newest version search may find but has no vectors, in no order.

        Args:
            ids: only of these; None for all.
        """

    def reserve_positions(self, cube: CubeRow, conversation: str, count: int, at_least: int = 0) -> int:
        """The first of `count` places at the end of a conversation, now taken."""

    def put(self, cube: CubeRow, puts: Sequence[Put]) -> int:
        """Write versions, in order; returns the number of the first change.

        Raises:
            VersionConflict: an item has moved on since its `head` was read; nothing is kept.
        """

    def file(self, jobs: Sequence[NewJob]) -> list[int]:
        """File jobs, which are there when this is committed, and only then; the ids, in order."""

    def has_room(self, most: int) -> bool:
        """Whether fewer than so many jobs wait; those that are for later do not count, nor those with a key."""

    def end_jobs(self, done: Sequence[Done]) -> None:
        """End jobs together with everything else that this transaction does.

        Raises:
            JobStopped: one of them belongs to somebody else by now; nothing is kept.
        """

    def set_policy(self, cube: CubeRow, policy: str | None) -> None:
        """Set the policy of a cube (JSON; None for the usual one). Audited even where no item changes."""

    def note(self, cube: CubeRow, **detail: Any) -> None:
        """Add to the detail of the cube's audit entry, if there will be one: the reason, by which policy, what was read.

        Args:
            detail: JSON. Of what is noted twice, lists are joined and numbers by name (`redacted={"email": 1}`) added up;
                of all else the later one is taken.
        """

    def enter(self, cube: CubeRow, *, actor: str | None = None) -> None:
        """Write an audit entry for the cube even if none of its items changes; under another actor, if one is given."""

    def erase(self, what: Erasing, *, reason: str, confirm: str | None = None) -> ErasurePlan:
        """Erase the bytes of items, all versions of them, in this and in every cube that shares them.

        Before anything else is locked. What remains of a version is its number and its digest; a change "erase" accounts
        for that.

        Args:
            what: what to erase.
            reason: for the audit.
            confirm: the token of a plan; None erases whatever is found.

        Raises:
            OnHold: a legal hold covers some of it; nothing is erased.
            Conflict: what would go is not what was planned.
        """

    def hold(self, cube: CubeRow, target: str, reason: str) -> None:
        """Place a legal hold."""

    def release(self, cube: CubeRow, target: str, reason: str) -> bool:
        """Release a legal hold; whether there was one."""

    def held(self, cube: CubeRow, ids: Sequence[str]) -> dict[str, str]:
        """Those of these items that a legal hold covers, with a sentence that says so: they may not be deleted."""


class RecordStore(Protocol):
    """The truth: cubes, items, versions, vectors, grants and the audit chain. Safe to call from several threads."""

    @property
    def id(self) -> str:
        """Made once, with the store: tells it from others and from copies that went another way."""

    @property
    def name(self) -> str:
        """Where it is, for messages."""

    @property
    def jobs(self) -> JobStore:
        """Background work that is filed."""

    @property
    def uses(self) -> UseStore:
        """Uses and working memories, beside the truth."""

    def close(self) -> None:
        """Let go of everything. Doing it twice does nothing."""

    def change_token(self) -> int:
        """Differs from the last one exactly when somebody, in any process, has committed since.

        Takes microseconds, or (inside `operation`, the first time) one round trip to a server.
        """

    def rules_token(self) -> int:
        """Differs from the last one wherever cubes (but for the numbers of their changes), grants or settings may have
        changed since. `change_token` does; one that stays the same while only items are written saves asking for them.
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

    def reached(self, cube: CubeRow) -> tuple[int, int]:
        """Numbers of the cube's newest change, and of the newest one that erased bytes of earlier ones (0 for none).

        Whatever was made from changes before the second, and not from the store as it is now, holds what was erased.
        """

    def seq_at(self, cube: CubeRow, moment: datetime) -> int:
        """Number of the newest change committed at or before a moment; 0 where there was none."""

    def time_of(self, cube: CubeRow, seq: int) -> datetime:
        """When a change was committed; of change 0 when the cube was made.

        Raises:
            VersionNotFound: there is no such change.
        """

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

    @property
    def writing(self) -> bool:
        """Whether this thread is inside of a transaction of this object: another one would wait for it, and it for that."""

    def grants(self, cube: CubeRow) -> list[Grant]:
        """All grants on the cube, by grantee."""

    def share(
        self,
        cube: CubeRow,
        grantee: str,
        rights: frozenset[Right],
        *,
        by: str,
        until: datetime | None = None,
        reason: str | None = None,
    ) -> None:
        """Set the rights of a grantee on the cube (until a time, if one is given); an empty set takes them away.

        Args:
            reason: why `by` may, for the audit.
        """

    def stage(self, identity: str) -> tuple[int, int]:
        """Begin (or go on) to stage vectors of an embedder: how many versions take them, and how many have them staged."""

    def unstaged(self, identity: str, after: int, limit: int) -> tuple[list[tuple[int, str, Body]], int | None]:
        """Versions behind a place without staged vectors: (place, text, body), and how far was looked (None: the end).

        Raises:
            Conflict: vectors of another embedder are being staged, or those of this one are in place.
        """

    def put_staged(self, identity: str, rows: Sequence[tuple[int, VectorBlobs]]) -> None:
        """Stage vectors of the versions at these places; raises as `unstaged` does."""

    def switch_vectors(self, identity: str, key: str, value: str, finish: Finish | None = None) -> bool:
        """Put staged vectors in the place of the old ones, and set a setting, in one transaction.

        Args:
            identity: of the embedder; "" removes all vectors instead.
            key, value: the setting that says whose vectors they are.
            finish: makes vectors of versions (place, text, body) that have come in meanwhile, while everybody waits.

        Returns:
            Whether it was done; without `finish`, not if versions without staged vectors have come in meanwhile.

        Raises:
            Conflict: as for `unstaged`.
        """

    def audit(self, cube: CubeRow, after: int = 0) -> list[AuditEntry]:
        """Entries of the cube's audit chain after a number, oldest first."""

    def check_audit(self, cube: CubeRow) -> ChainCheck:
        """Whether the cube's audit chain, and the versions that it covers, are what was written."""

    def chain_ends(self) -> list[ChainEnd]:
        """The newest audit entry of every cube whose newest one is not signed, by number of the cube."""

    def chain_hashes(self, cube: int, numbers: Sequence[int]) -> dict[int, bytes]:
        """Hashes of these entries of a cube's chain, by number; those that there are not are left out."""

    def checkpoints(self) -> list[Checkpoint]:
        """All signed checkpoints, by cube and number."""

    def put_checkpoints(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Keep signed checkpoints. Of two of the same entry the later one is kept."""

    def watch(self, written: Callable[[Mapping[int, int]], None] | None) -> None:
        """Have this called after each commit of this object, with the numbers of the audit entries it wrote by cube."""

    def check(self, cube: CubeRow, dims: int | None) -> list[str]:
        """Every way in which the cube's rows contradict each other, as sentences; nothing when all is well."""

    def plan_erasure(self, what: Erasing) -> ErasurePlan:
        """What erasing would take; nothing is changed."""

    def check_erased(self, cube: CubeRow, ids: Collection[str] = ()) -> list[str]:
        """Every way in which rows of the cube hold what was erased, as sentences.

        Args:
            ids: of items that should have been erased.
        """

    def holds(self, cube: CubeRow) -> list[Hold]:
        """All legal holds on the cube, by target."""

    def held(self, cube: CubeRow, ids: Sequence[str]) -> dict[str, str]:
        """Those of these items that a legal hold covers, with a sentence that says so: they may not be deleted."""

    def erasures(self) -> ErasureRecord:
        """What the store remembers of its erasures."""

    def finish_erasures(self, record: ErasureRecord) -> bool:
        """Remember that files have been cleaned after all erasures up to this one; whether there was none since."""

    def everything_said(self) -> Iterator[str]:
        """What versions say that were not erased (texts, and bodies as JSON), and every name that is there."""

    def vectors_of_others(self, blobs: Collection[bytes]) -> set[bytes]:
        """Those of these vectors that something which was not erased has too."""

    def copies_of(
        self, identities: Collection[int], words: Collection[str], without: Collection[int]
    ) -> dict[int, list[str]]:
        """Ids of items that were read from the same messages or say the same words, by number of the cube.

        Args:
            identities: as `Put.dedup`.
            words: whole texts.
            without: numbers of cubes that do not count.
        """

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

    def vacuum(self, *, whole: bool = False) -> list[str]:
        """Give space that nothing uses back to the disk. Others may have the store open meanwhile.

        Args:
            whole: write all of it anew, so that nothing is left of what was erased, however long that takes.

        Returns:
            What may be left then, and what to do about it; a sentence each.

        Raises:
            StoreBusy: they kept it locked until the deadline.
            StoreFull: there is no room to do it.
        """


class Anchor(Protocol):
    """A place outside of the store, where signed checkpoints go and stay."""

    @property
    def name(self) -> str:
        """What it is called in messages; holds no secret."""

    @property
    def spec(self) -> str:
        """How it can be opened again; "" where only the application has it, or it holds a secret."""

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Keep these, durably, behind those that are there.

        Raises:
            AnchorUnavailable: it cannot be written.
        """

    def read(self) -> Sequence[Checkpoint | str] | None:
        """All it has, of any store, in order, and a sentence in the place of what cannot be read; None: it cannot be asked.

        Raises:
            AnchorUnavailable: it cannot be read.
        """

    def close(self) -> None:
        """Let go of everything."""
