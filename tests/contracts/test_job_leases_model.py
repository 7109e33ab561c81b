"""If this fails, some sequence of leases, crashes, failures and cancellations loses a job, does one twice, or gives it to two."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from memos_core.scheduler.clock import ManualClock
from memos_core.stores.sql.engine import Database
from memos_core.stores.sql.records import SqlStore
from memos_core.types.jobs import Done, Failure, Job, NewJob
from memos_core.types.work import micros

LEASE = 30.0
MOST = 3


class Known(msgspec.Struct):
    """What must be true of a job."""

    cube: int
    lane: str
    key: str | None
    state: str = "pending"
    attempts: int = 0
    run_at: int = 0
    until: int = 0
    cancelling: bool = False


class Leases(RuleBasedStateMachine):
    """A store, and beside it what must be true of each job."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.store = SqlStore(Database(Path(self.folder.name) / "memos.db"), now=self.clock)
        self.known: dict[int, Known] = {}
        self.leases: list[Job] = []  # all there ever were, lost ones too
        self.holds: dict[int, int] = {}  # job -> fence of whoever holds it
        self.ended: Counter[int] = Counter()

    @property
    def now(self) -> int:
        return micros(self.clock())

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(
        cube=st.integers(0, 2),
        lane=st.sampled_from(["", "a"]),
        key=st.sampled_from([None, None, "k"]),
        priority=st.integers(-1, 1),
    )
    def file(self, cube: int, lane: str, key: str | None, priority: int) -> None:
        new = NewJob(kind="x", cube=cube, lane=lane, key=key, priority=priority, max_attempts=MOST)
        (id,) = self.store.jobs.enqueue([new])
        twin = [n for n, k in self.known.items() if key and (k.cube, k.key, k.state) == (cube, key, "pending")]
        if twin:
            assert [id] == twin
        else:
            assert id not in self.known
            self.known[id] = Known(cube, lane, key, run_at=self.now)

    @rule(cube=st.integers(0, 1), many=st.integers(2, 4), count=st.integers(2, 5))
    def file_and_lease_a_stretch(self, cube: int, many: int, count: int) -> None:
        """Several jobs of one lane, leased together: what most mistakes about lanes take."""
        for _ in range(many):
            self.file(cube, "a", None, 0)
        self.lease(count)

    @rule(seconds=st.integers(1, 40))
    def time_goes_on(self, seconds: int) -> None:
        self.clock.go(seconds)

    def _lose(self) -> None:
        """Leases that have run out, as the next one who looks finds them: in the order of their ids."""
        for id, job in sorted(self.known.items()):
            if job.state == "running" and job.until < self.now:
                self.holds.pop(id, None)
                self._back(id, job, self.now if job.attempts < MOST else None)

    def _back(self, id: int, job: Known, retry_at: int | None) -> None:
        twin = any(
            k.state == "pending" and job.key and (k.cube, k.key) == (job.cube, job.key) for k in self.known.values()
        )
        if job.cancelling:
            job.state = "cancelled"
        elif retry_at is None:
            job.state = "failed"
        elif twin:
            job.state = "cancelled"
        else:
            job.state, job.run_at = "pending", retry_at

    @rule(count=st.integers(1, 5))
    def lease(self, count: int) -> None:
        self._lose()
        leased = self.store.jobs.lease("w", count, seconds=LEASE)
        assert len(leased) <= count
        may = {
            id
            for id, job in self.known.items()
            if job.state == "pending" and job.run_at <= self.now and not self._must_wait(id, job)
        }
        assert bool(leased) == bool(may), "what may run is given, and nothing else"
        assert not (len(leased) > 1 and any(job.attempts > 1 for job in leased))
        for one in leased:
            job = self.known[one.id]
            assert job.state == "pending"
            assert job.run_at <= self.now
            taken = [each.id for each in leased]
            running = [n for n in self._in_lane(job) if self.known[n].state == "running" and n not in taken]
            assert not running, "of a lane, only what one worker has leased together runs"
            assert all(n in taken for n in self._ahead(one.id, job)), "one of its lane comes first"
            job.state, job.attempts, job.until = "running", job.attempts + 1, self.now + int(LEASE * 1e6)
            job.cancelling = False
            assert one.attempts == job.attempts
            self.holds[one.id] = one.fence
            self.leases.append(one)

    def _in_lane(self, job: Known) -> list[int]:
        """The jobs of its lane that have not ended."""
        return [
            n
            for n, k in self.known.items()
            if job.lane and (k.cube, k.lane) == (job.cube, job.lane) and k.state in ("pending", "running")
        ]

    def _ahead(self, id: int, job: Known) -> list[int]:
        return [n for n in self._in_lane(job) if n < id]

    def _must_wait(self, id: int, job: Known) -> bool:
        return any(n < id or self.known[n].state == "running" for n in self._in_lane(job))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.leases))
        held = self.holds.get(one.id) == one.fence
        assert bool(self.store.jobs.finish([Done(one)])) == held, "only who holds it ends it"
        if held:
            del self.holds[one.id]
            self.known[one.id].state = "done"
            self.ended[one.id] += 1

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), wait=st.sampled_from([0, 0, 5, None]))
    def fail(self, data: st.DataObject, wait: int | None) -> None:
        one = data.draw(st.sampled_from(self.leases))
        held = self.holds.get(one.id) == one.fence
        retry_at = None if wait is None else self.now + wait * 1_000_000
        assert bool(self.store.jobs.fail([Failure(one, "E: x", retry_at)])) == held
        if held:
            del self.holds[one.id]
            self._back(one.id, self.known[one.id], retry_at)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.leases))
        kept, cancelling = self.store.jobs.heartbeat([one], seconds=LEASE)
        held = self.holds.get(one.id) == one.fence
        job = self.known[one.id]
        assert (bool(kept), bool(cancelling)) == (held, held and job.cancelling)
        if held:
            job.until = self.now + int(LEASE * 1e6)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.leases))
        held = self.holds.get(one.id) == one.fence
        self.store.jobs.release([one])
        if held:
            del self.holds[one.id]
            job = self.known[one.id]
            self._back(one.id, job, job.run_at)
            if job.state == "pending":
                job.attempts -= 1

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.known)))
        job = self.known[id]
        found = self.store.jobs.cancel([id])
        assert bool(found) == (job.state in ("pending", "running"))
        if job.state == "pending":
            job.state = "cancelled"
        elif job.state == "running":
            job.cancelling = True

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.known)))
        job = self.known[id]
        twin = any(
            k.state == "pending" and job.key and (k.cube, k.key) == (job.cube, job.key) for k in self.known.values()
        )
        tried = self.store.jobs.retry([id])
        assert bool(tried) == (job.state in ("failed", "cancelled") and not twin)
        if tried:
            job.state, job.attempts, job.run_at, job.cancelling = "pending", 0, self.now, False

    @invariant()
    def nothing_is_lost_and_nothing_is_done_twice(self) -> None:
        found = self.store.jobs.get(sorted(self.known))
        assert {id: job.state for id, job in found.items()} == {id: job.state for id, job in self.known.items()}
        assert {id: job.attempts for id, job in found.items()} == {id: job.attempts for id, job in self.known.items()}
        assert all(count == 1 for count in self.ended.values())


TestLeases = Leases.TestCase
