"""Followers: who keeps copies of the vectors of the larger cubes, brought up to date in the background."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.errors import FollowerUnavailable, MemosError
from memos_core.filters import Filter
from memos_core.plaintext.embedding import Embedding
from memos_core.plaintext.indexes import Indexes
from memos_core.plaintext.verify import Finding
from memos_core.protocols.storage import RecordStore
from memos_core.stores.following import NOBODY_FOLLOWS, Following
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.index.moments import EVERYTHING, FINDABLE, Look
from memos_core.stores.vector_checks import differences
from memos_core.stores.vector_follower import Likely, VectorFollower
from memos_core.stores.waiting import Patience
from memos_core.types.work import CubeRow

log = logging.getLogger(__name__)
_WORTH_A_STEP: Final = 256  # changes that wait, before they are applied at once
_OFTEN: Final = 5.0  # seconds between steps for fewer changes than that
_END: Final = 3.0  # seconds that closing waits for a step, and for the table to be let go
_LONG: Final = 60.0  # seconds for a question that somebody waits for


class Asked(msgspec.Struct, frozen=True):
    """What came of asking a follower.

    Attributes:
        likely: candidates; None: the embedded index answers.
        degraded: why it could not answer although it was asked to, or None.
    """

    likely: Likely | None = None
    degraded: str | None = None


class Followers:
    """The followers of the cubes in use. One thread brings them up to date; searches never wait for it.

    Args:
        store: the truth.
        embedding: whose vectors.
        indexes: of the cubes.
        following: who keeps the copies, and when they are asked.
    """

    def __init__(
        self,
        store: RecordStore,
        embedding: Embedding,
        indexes: Indexes,
        following: Following = NOBODY_FOLLOWS,
    ) -> None:
        self._store = store
        self._embedding = embedding
        self._indexes = indexes
        self._tables = following.tables
        self._lacking = following.lacking
        self._least = following.least
        self._deadline = following.deadline
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._waiting: dict[int, VectorFollower] = {}
        self._last: dict[int, float] = {}
        self._followers: dict[int, VectorFollower] = {}
        self._thread: threading.Thread | None = None
        self._patience = Patience(self._tables.name if self._tables else "")

    @property
    def name(self) -> str | None:
        """Who keeps the copies; None for nobody."""
        return self._tables.name if self._tables else None

    # -- asking ---------------------------------------------------------------------------------------------------

    def ask(
        self,
        index: CubeIndex,
        vector: NDArray[np.float32],
        count: int,
        where: Filter | None,
        look: Look = EVERYTHING,
        *,
        least: int = 1,
    ) -> Asked:
        """Candidates for the nearest items of a cube now. No lock is held while somebody outside is waited for.

        Args:
            index: of the cube.
            vector: (dims,).
            count: how many items are looked for.
            where: only items that fulfil this.
            look: whose eyes look at them, when, and for what: only what search finds by default is looked for there.
            least: with fewer items than that nobody needs to be asked.
        """
        if (self._tables is None and self._lacking is None) or look.states != FINDABLE:
            return Asked()
        least = max(least, self._least, 1)
        with index.lock:
            index.catch_up()
            total = len(index.moment().rows)
            if total < least:
                return Asked()
            rows = index.matching(where, index.moment(None, look).rows)
            if len(rows) < least:
                return Asked()
            seqs = index.table["seq"][rows]
        if self._tables is None:
            return Asked(None, self._lacking)
        follower = self._follower(index.cube, index)
        if not follower.opened.is_set():
            self._wake(follower)
            if self._patience.resting is None:
                follower.opened.wait(self._deadline)
        try:
            likely = follower.likely(vector, count, seqs, total)
        except FollowerUnavailable as unavailable:
            self._wake(follower)
            return Asked(None, f"{unavailable}: the embedded index answers")
        self._wake_if_worth_it(follower)
        return Asked(likely)

    def _follower(self, cube: CubeRow, index: CubeIndex | None = None) -> VectorFollower:
        assert self._tables is not None
        record = self._embedding.record
        mark, dims = (record.mark, record.dims) if index is None else (index.embedder, index.dims)
        with self._lock:
            found = self._followers.get(cube.number)
            if found is None or found.mine.embedder != mark:
                found = self._followers[cube.number] = VectorFollower(
                    self._store,
                    cube,
                    embedder=mark,
                    dims=dims,
                    tables=self._tables,
                    index=lambda: self._indexes.get(cube),
                    patience=self._patience,
                    deadline=self._deadline,
                    stopped=self._stopped,
                )
            return found

    def _follows(self, cube: CubeRow) -> bool:
        """Whether a cube has enough items to be followed."""
        if self._tables is None or not self._embedding.record.dims:
            return False
        index = self._indexes.get(cube)
        with index.lock:
            index.catch_up()
            return len(index.moment().rows) >= max(self._least, 1)

    # -- in the background ----------------------------------------------------------------------------------------

    def _wake_if_worth_it(self, follower: VectorFollower) -> None:
        lag = follower.lagging()
        rested = time.monotonic() - self._last.get(follower.cube.number, 0.0) > _OFTEN
        if lag >= _WORTH_A_STEP or (lag and rested):
            self._wake(follower)

    def _wake(self, follower: VectorFollower) -> None:
        with self._lock:
            if self._stopped.is_set() or self._patience.resting is not None:
                return
            self._waiting[follower.cube.number] = follower
            if self._thread is None:
                own = weakref.ref(self)
                work = (own, self._woken, self._stopped)
                self._thread = threading.Thread(target=_work, args=work, name="memos-vectors", daemon=True)
                self._thread.start()
        self._woken.set()

    def step(self) -> bool:
        """Bring one follower that waits up to date; whether there was one. Called by the thread."""
        with self._lock:
            if not self._waiting:
                self._woken.clear()
                return False
            number = next(iter(self._waiting))
            follower = self._waiting.pop(number)
        try:
            follower.catch_up()
        except MemosError as error:
            log.warning("vectors of cube %s cannot follow: %s", follower.cube.name, error)
        except Exception:  # the thread must live on; searches say that the follower is not there
            log.exception("vectors of cube %s cannot follow", follower.cube.name)
        self._last[number] = time.monotonic()
        return True

    # -- looking after --------------------------------------------------------------------------------------------

    def catch_up(self, cube: CubeRow) -> None:
        """Bring the follower of a cube, if it has one, up to date, and wait for that.

        Raises:
            FollowerUnavailable: whoever keeps the copy cannot be reached, or is not to be trusted.
        """
        if self._follows(cube):
            self._follower(cube).catch_up()

    def reindex(self, cube: CubeRow) -> None:
        """Throw the copy of a cube's vectors away, and make it anew where the cube has enough items.

        Raises:
            FollowerUnavailable: as for `catch_up`.
        """
        if self._tables is None or not self._embedding.record.dims:
            return
        wanted = self._follows(cube)
        follower = self._follower(cube)
        if wanted or self._patience.ask(self._tables.table(follower.mine).mark, _LONG) is not None:
            follower.drop()
        for name in self._patience.ask(lambda: follower.tables.strays(follower.mine), _LONG):
            self._patience.ask(lambda name=name: follower.tables.remove(name), _LONG)  # type: ignore[misc]
        if wanted:
            follower.catch_up()

    def erase(self, cube: CubeRow) -> list[str]:
        """Remove the copy of a cube's vectors after something of it was erased; it is made anew in the background.

        Returns:
            What is left of it, or could not be reached, and what to do about it; a sentence each.
        """
        if self._tables is None:
            return [f"{self._lacking}; erase again (memos erase --finish) when it is there"] if self._lacking else []
        if not self._embedding.record.dims:
            return []
        try:
            left = self._follower(cube).erase()
        except FollowerUnavailable as unavailable:
            return [f"copies of vectors could not be erased: {unavailable}; then run: memos erase --finish"]
        return [left] if left else []

    def made_before(self, cube: CubeRow, erased: int) -> str | None:
        """Whether the copy of a cube's vectors was made before an erasure, as a sentence; None where it was not."""
        if self._tables is None:
            return self._lacking
        if not self._embedding.record.dims:
            return None
        follower = self._follower(cube)
        try:
            mark = self._patience.ask(follower.tables.table(follower.mine).mark, _LONG)
        except FollowerUnavailable as unavailable:
            return f"cannot be looked at: {unavailable}"
        if mark is not None and mark.seq < erased:
            return f"{self._tables.name} holds vectors from before change {erased}, which erased some"
        return None

    def verify(self, cube: CubeRow, *, repair: bool) -> list[Finding]:
        """Every difference between the copy of a cube's vectors and the truth."""
        if self._tables is None:
            return [Finding(cube.name, "vectors", f"cannot be compared: {self._lacking}")] if self._lacking else []
        if not self._embedding.record.dims:
            return []
        follower = self._follower(cube)
        found = list(differences(self._store, follower, self._patience, wanted=self._follows(cube)))
        repaired = False
        if found and repair:
            try:
                self.reindex(cube)
                repaired = True
            except FollowerUnavailable as unavailable:
                if not any(str(unavailable) in each for each in found):
                    found.append(f"cannot be built anew: {unavailable}")
        return [Finding(cube.name, "vectors", what, repaired) for what in found]

    def stats(self, cube: CubeRow) -> dict[str, Any] | None:
        """How far the copy of a cube's vectors has come; None for a cube that has none."""
        if not self._follows(cube):
            return None
        follower = self._follower(cube)
        return {
            "name": follower.tables.name,
            "seq": follower.seq,
            "asked": follower.asked,
            "resting": self._patience.resting,
        }

    # -- ending ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the thread after the step it is at, and let go of the tables; who stalls is left behind."""
        self._stopped.set()
        self._woken.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_END)
            self._patience.give_up()
            thread.join(_END)
        if self._tables is not None:
            with suppress(FollowerUnavailable):
                Patience(self._tables.name).ask(self._tables.close, _END)

    def after_fork(self) -> None:
        """In a forked child: the parent's thread and connections are left alone."""
        if self._tables is not None:
            self._tables.after_fork()
        self._begin()


def _work(followers: Callable[[], Followers | None], woken: threading.Event, stopped: threading.Event) -> None:
    """What the thread does, for as long as somebody has the followers."""
    while not stopped.is_set():
        if not woken.wait(1.0):
            if followers() is None:
                return
            continue
        owner = followers()
        if owner is None:
            return
        owner.step()
        del owner
