"""VectorFollower: vectors of one cube, kept by somebody else, as an index that can be relied on.

The table follows the change log through the columns of the embedded index, under a lease, and remembers in its mark how far
it has come. What a search gets from it are candidates only: those that are no longer current are left out, everything newer
than the mark is added, and scores are exact, from the vectors of the truth. So an answer is right however late the table
is; a table that cannot be reached or trusted costs the deadline, and the embedded index answers.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.errors import FollowerUnavailable, ForeignStore, WrongDimension
from memos_core.protocols.storage import RecordStore
from memos_core.protocols.vectors import Abilities, Mark, Nearest, VectorTable, VectorTables
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.index.vectors import normalise
from memos_core.stores.leases import Lease
from memos_core.stores.waiting import Patience
from memos_core.types.work import CubeRow

log = logging.getLogger(__name__)
Seqs = NDArray[np.int64]
Floats = NDArray[np.float32]

BATCH: Final = 1000  # vectors handed over at once
STEP_SECONDS: Final = 60.0  # for one step of catching up, before the outsider counts as stalled
_MOST_LAG: Final = 0.2  # share of the vectors that may be missing in the table while it is asked
_LAG_ROWS: Final = 4096  # so many may be missing in any case: scoring them here costs next to nothing
_BROAD: Final = 0.5  # from this share of the rows on, a filter is applied to more candidates than needed
_SPARE: Final = 1.3  # how many more
_TIES: Final = 16  # candidates on top of those asked for, so that equal vectors at the end tie by number


class Likely(msgspec.Struct, frozen=True):
    """Candidates for the nearest items.

    Attributes:
        seqs: changes that made them, in no order; some may not be current any more.
        after: everything newer than this change is a candidate too.
    """

    seqs: Seqs
    after: int

    def rows(self, index: CubeIndex, allowed: Seqs) -> Seqs:
        """Those of the allowed rows (ascending) of a locked index that are candidates."""
        if not len(allowed):
            return allowed
        named = np.unique(index.table.rows_of(self.seqs))
        places = np.minimum(np.searchsorted(allowed, named), len(allowed) - 1)
        newer = allowed[index.table["seq"][allowed] > self.after]
        chosen: Seqs = np.union1d(named[allowed[places] == named], newer)
        return chosen


class VectorFollower:
    """A `VectorIndex` on a table of vectors that somebody else keeps.

    Args:
        store: the truth.
        cube: whose vectors.
        embedder: what tells them from those that the store had before all were replaced.
        dims: their length.
        tables: where the table is.
        index: gives the embedded index of the cube.
        patience: asks the outsider; shared by all cubes that it keeps.
        deadline: seconds a search waits for it.
        least: where fewer rows may be hits, the embedded index answers: it is faster there.
        stopped: set when the store closes; catching up ends at the next step then.
    """

    def __init__(
        self,
        store: RecordStore,
        cube: CubeRow,
        *,
        embedder: str,
        dims: int,
        tables: VectorTables,
        index: Callable[[], CubeIndex],
        patience: Patience,
        deadline: float = 0.5,
        least: int = 0,
        stopped: threading.Event | None = None,
    ) -> None:
        self.cube = cube
        self.mine = Mark(store.id, cube.number, embedder, dims, born="")
        self.tables = tables
        self.index = index
        self.opened = threading.Event()  # whether somebody has looked for the table, with whatever outcome
        self._store = store
        self._patience = patience
        self._deadline = deadline
        self._least = least
        self._stopped = stopped or threading.Event()
        self._working = threading.Lock()
        self._held: tuple[VectorTable, Mark] | None = None  # replaced as a whole: searches read it while others write
        self._checked = False
        self._rebuilt = False
        self._why = ""  # it could not be opened, as far as that is known
        self.asked = 0  # questions that the table has answered

    @property
    def abilities(self) -> Abilities:
        """Approximate, and it waits."""
        return Abilities(exact=False, waits=True)

    @property
    def seq(self) -> int:
        """Number of the last change that its table is known to have; 0 where none is known."""
        held = self._held
        return 0 if held is None else held[1].seq

    @property
    def held(self) -> VectorTable | None:
        """The table that searches ask; None where it is not open, or not to be trusted."""
        held = self._held
        return None if held is None else held[0]

    @property
    def mark(self) -> Mark:
        """What is known of the table's mark."""
        held = self._held
        return self.mine if held is None else held[1]

    # -- asking ---------------------------------------------------------------------------------------------------

    def nearest(
        self,
        vector: Floats,
        count: int,
        *,
        among: Sequence[int] | None = None,
        as_of: int | None = None,
        deadline: float | None = None,
    ) -> Nearest[tuple[int, float]]:
        """As `VectorIndex.nearest` says; the past is answered by the embedded index."""
        if len(vector) != self.mine.dims:
            raise WrongDimension(f"the query's vector has {len(vector)} dimensions, the store's have {self.mine.dims}")
        index, degraded = self.index(), None
        if as_of is None and count > 0:
            with index.lock:
                index.catch_up()
                rows = index.moment().rows
                allowed = rows if among is None else _among(index, rows, among)
                seqs, total = index.table["seq"][allowed], len(rows)
            try:
                likely = self.likely(vector, count, seqs, total, deadline)
            except FollowerUnavailable as unavailable:
                likely, degraded = None, str(unavailable)
            if likely is not None:
                with index.lock:
                    index.catch_up()
                    rows = index.moment().rows
                    allowed = rows if among is None else _among(index, rows, among)
                    chosen = likely.rows(index, allowed)
                    if len(chosen) >= min(count, len(allowed)):
                        return Nearest(index.nearest_rows(vector, chosen, count))
        found = index.nearest(vector, count, among=among, as_of=as_of)
        return Nearest(found, degraded=degraded)

    def likely(
        self, vector: Floats, count: int, seqs: Seqs, total: int, deadline: float | None = None
    ) -> Likely | None:
        """Candidates for the nearest of some current items; None where the embedded index finds them faster.

        Args:
            vector: (dims,).
            count: how many items are looked for.
            seqs: changes that made the items which may be hits.
            total: how many current items there are.
            deadline: seconds to wait; None for the follower's own.

        Raises:
            FollowerUnavailable: nobody answers, or what there is is not to be trusted.
        """
        if len(seqs) < max(self._least, 1):
            return None
        held = self._held
        if held is None:
            raise FollowerUnavailable(self._patience.resting or self._why or f"{self.tables.name} is being opened")
        table, mark = held
        old = seqs[seqs <= mark.seq]
        lag = len(seqs) - len(old)
        if lag > max(_LAG_ROWS, _MOST_LAG * len(seqs)):
            raise FollowerUnavailable(
                f"{self.tables.name} is catching up: {len(old):,} of {len(seqs):,} vectors so far"
            )
        if not len(old):
            return Likely(old, mark.seq)
        abilities = table.abilities
        share = len(seqs) / max(total, 1)
        wanted = min(len(old), count + max(_TIES, count // 4))
        among: list[int] | None = None
        if share < _BROAD:
            if len(old) > abilities.among:
                return None
            among = old.tolist()
        elif share < 1:
            wanted = int(wanted / share * _SPARE) + 8
        wanted += lag  # as many may have been replaced since
        query = normalise(vector[None, :])[0]
        try:
            found = self._patience.ask(
                lambda: table.nearest(query, wanted, among), self._deadline if deadline is None else deadline
            )
        except FollowerUnavailable as unavailable:
            if unavailable.__cause__ is not None:  # it failed; one that is only slow is still what it was
                self._forget(held)
            raise
        self.asked += 1
        return Likely(np.array(found, dtype=np.int64), mark.seq)

    def lagging(self) -> int:
        """How many changes there are that the table is not known to have."""
        return max(0, self.index().seq - self.seq)

    # -- following ------------------------------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Apply what has been committed since, unless somebody else is doing so.

        Raises:
            FollowerUnavailable: as `VectorIndex.catch_up` says.
        """
        with self._working:
            try:
                table, mark = self._open()
                if table.abilities.shared:
                    with Lease(self._store, self._lease_key) as lease:
                        if lease.take():
                            self._follow(table, mark, lease)
                else:
                    self._follow(table, mark, None)
                self._why = ""
            except BaseException as error:
                self._forget(self._held)
                self._why = str(error)
                raise
            finally:
                self.opened.set()

    @property
    def _lease_key(self) -> str:
        return f"vectors.lease.{self.tables.name}.{self.cube.number}"

    def _ask(self, call: Callable[[], object]) -> None:
        self._patience.ask(call, STEP_SECONDS)

    def _open(self) -> tuple[VectorTable, Mark | None]:
        """The table and its mark, if that is to be believed."""
        held = self._held
        if held is not None and held[1].seq < self._store.reached(self.cube)[1]:
            held = self._held = None
        if held is not None:
            found = self._patience.ask(held[0].mark, STEP_SECONDS)
            if found is not None and (found.born, found.seq) == (held[1].born, held[1].seq):
                return held
        table = self.tables.table(self.mine)
        mark = self._patience.ask(table.mark, STEP_SECONDS)
        if mark is not None and not mark.belongs_with(self.mine):
            raise ForeignStore(
                f"{self.tables.name} has vectors of something else under the name of cube {self.cube.name!r}; "
                "`memos reindex` (or mos.reindex) builds them anew"
            )
        if mark is not None and mark.seq < (erased := self._store.reached(self.cube)[1]):
            self._erase(table, erased)
            mark = None
        if mark is not None and mark.seq and not self._store.digest(self.cube, mark.seq).startswith(mark.digest or "-"):
            self._allow_rebuild("is of a truth that has gone another way since")
            mark = None
        self._held = None if mark is None else (table, mark)
        self._checked = self._checked and self._held is not None
        self.opened.set()
        return table, mark

    def _follow(self, table: VectorTable, mark: Mark | None, lease: Lease | None) -> None:
        index = self.index()
        if mark is None:
            mark = self._create(table)
        while not self._stopped.is_set():
            index.catch_up()
            step = _Step.plan(index, mark.seq)
            if step is None:
                break
            self._checked = False
            if lease is not None and not lease.renew():
                return
            mark = self._apply(table, mark, step)
        if not self._checked and not self._stopped.is_set() and not self._complete(table, mark):
            self._follow(table, None, lease)

    def _create(self, table: VectorTable) -> Mark:
        mark = msgspec.structs.replace(self.mine, born=uuid.uuid4().hex[:4])
        self._ask(lambda: table.create(mark))
        self._held = (table, mark)
        for name in self._patience.ask(lambda: self.tables.strays(self.mine), STEP_SECONDS):
            self._ask(lambda name=name: self.tables.remove(name))  # type: ignore[misc]
        return mark

    def _apply(self, table: VectorTable, mark: Mark, step: _Step) -> Mark:
        if len(step.born):
            vectors = self._vectors(step.born, step.vectors_of)
            self._ask(lambda: table.upsert(step.born.tolist(), vectors))
        if len(step.dead):
            self._ask(lambda: table.delete(step.dead.tolist()))
        moved = msgspec.structs.replace(mark, seq=step.until, digest=self._store.digest(self.cube, step.until))
        self._ask(lambda: table.put_mark(moved))
        self._held = (table, moved)
        return moved

    def _vectors(self, seqs: Seqs, vectors_of: Seqs) -> Floats:
        stored = self._store.dense_vectors(self.cube, np.unique(vectors_of).tolist())
        missing = [seq for seq, of in zip(seqs.tolist(), vectors_of.tolist(), strict=True) if of not in stored]
        if missing:
            raise FollowerUnavailable(
                f"vectors of change {missing[0]} of cube {self.cube.name!r} are not in the store (memos verify)"
            )
        joined = b"".join(stored[of] for of in vectors_of.tolist())
        return np.frombuffer(joined, dtype="<f4").reshape(len(seqs), self.mine.dims)

    def _complete(self, table: VectorTable, mark: Mark) -> bool:
        """Whether it holds as many vectors as it should; put right where it did not, False where only anew helps."""
        expected, vectors_of = current(self.index(), mark.seq)
        count = self._patience.ask(table.count, STEP_SECONDS)
        if count is not None and count != len(expected):
            said = f"holds {count:,} vectors, should hold {len(expected):,}"
            log.warning("%s, cube %s: %s; it is put right", self.tables.name, self.cube.name, said)
            if table.abilities.lists:
                self._reconcile(table, expected, vectors_of)
                count = self._patience.ask(table.count, STEP_SECONDS)
            if count != len(expected):
                self._allow_rebuild(said)
                self._held = None
                return False
        self._checked = True
        return True

    def _reconcile(self, table: VectorTable, expected: Seqs, vectors_of: Seqs) -> None:
        """Hand over what is missing in the table, and take out what should not be there."""
        listed = np.array(self._patience.ask(table.seqs, STEP_SECONDS), dtype=np.int64)
        extra = np.setdiff1d(listed, expected)
        missing = np.flatnonzero(~np.isin(expected, listed))
        for first in range(0, len(extra), BATCH):
            piece = extra[first : first + BATCH].tolist()
            self._ask(lambda piece=piece: table.delete(piece))  # type: ignore[misc]
        for first in range(0, len(missing), BATCH):
            places = missing[first : first + BATCH]
            own, vectors = expected[places].tolist(), self._vectors(expected[places], vectors_of[places])
            self._ask(lambda own=own, vectors=vectors: table.upsert(own, vectors))  # type: ignore[misc]

    def _allow_rebuild(self, what: str) -> None:
        """Building anew once is a repair; a second time it is a quarrel, with another copy of the store perhaps."""
        message = f"{self.tables.name}: what it holds of cube {self.cube.name!r} {what}"
        if self._rebuilt:
            raise FollowerUnavailable(
                f"{message}, again after it was built anew; does a copy of this store follow into the same place? "
                "`memos reindex` builds it anew once more"
            )
        self._rebuilt = True
        log.warning("%s; it is built anew", message)

    def _forget(self, held: tuple[VectorTable, Mark] | None) -> None:
        """Look for the table again before it is next asked."""
        if self._held is held:
            self._held = None

    def drop(self) -> None:
        """Remove the table; the next `catch_up` starts from the first change.

        Raises:
            FollowerUnavailable: whoever keeps it cannot be reached.
        """
        with self._working:
            self._held = None
            self._checked = self._rebuilt = False
            self._ask(self.tables.table(self.mine).drop)

    def erase(self) -> str | None:
        """Remove the table and all that is left of it, after something of the cube was erased; it is made anew later.

        Returns:
            What is left where it was, and what to do about it; None for nothing.

        Raises:
            FollowerUnavailable: whoever keeps it cannot be reached.
        """
        with self._working:
            self._checked = self._rebuilt = False
            return self._erase(self.tables.table(self.mine), self._store.reached(self.cube)[1])

    def _erase(self, table: VectorTable, erased: int) -> str | None:
        self._held = None
        self._ask(table.drop)
        for name in self._patience.ask(lambda: self.tables.strays(self.mine), STEP_SECONDS):
            self._ask(lambda name=name: self.tables.remove(name))  # type: ignore[misc]
        left: str | None = self._patience.ask(self.tables.purge, STEP_SECONDS)
        if left:
            log.warning(
                "%s: after the erasure of change %d of cube %s: %s", self.tables.name, erased, self.cube.name, left
            )
        return left


class _Step(msgspec.Struct, frozen=True):
    """A piece of catching up: what has come and what has gone up to a change."""

    until: int
    born: Seqs
    vectors_of: Seqs
    dead: Seqs

    @classmethod
    def plan(cls, index: CubeIndex, after: int) -> _Step | None:
        """The next step behind a change; None where there is none. What has come and gone meanwhile is left out."""
        with index.lock:
            head = index.seq
            if head <= after:
                return None
            seqs, until, of = (index.table[name] for name in ("seq", "until", "vectors_of"))
            rows = index.moment().rows
            rows = rows[(seqs[rows] > after) & (of[rows] > 0)]
            rows = rows[np.argsort(seqs[rows], kind="stable")][:BATCH]
            last = head if len(rows) < BATCH else int(seqs[rows[-1]])
            dead = seqs[(seqs <= after) & (until > after) & (until <= last)]
            return cls(last, seqs[rows].copy(), of[rows].copy(), dead.copy())


def current(index: CubeIndex, until: int) -> tuple[Seqs, Seqs]:
    """Changes up to a number whose items can be found after it and have vectors, and the changes that hold those."""
    with index.lock:
        rows = index.moment(until).rows
        rows = rows[index.table["vectors_of"][rows] > 0]
        return index.table["seq"][rows].copy(), index.table["vectors_of"][rows].copy()


def _among(index: CubeIndex, rows: Seqs, seqs: Sequence[int]) -> Seqs:
    chosen: Seqs = np.intersect1d(rows, index.table.rows_of(np.array(seqs, dtype=np.int64)))
    return chosen
