"""SqlJobs: the JobStore in the tables of the records.

Which job is next. A job's rank is the time from which it may run, less a minute for each step of priority: so the lowest
rank is the one of highest priority among those that wait equally long, and whoever waits long enough goes first. Half of
what a worker takes goes by rank. The other half is taken from one cube after the other, so that a cube that files a hundred
thousand jobs keeps the others waiting for a few leases at most.

Of a lane only the first job may be taken; those behind it bear `waiting`, and are not even looked at.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Collection, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from memos_core.events import event
from memos_core.stores.sql import schema
from memos_core.stores.sql.databases import SqlDatabase
from memos_core.stores.sql.job_rows import COLUMNS, READY, SECOND, STEP, J, JobRows, job_of
from memos_core.stores.sql.job_stats import statistics
from memos_core.stores.sql.statements import Statements
from memos_core.types.jobs import Done, Failure, Job, JobState, JobStats, NewJob
from memos_core.types.work import micros

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_LEASE: Final = 600.0  # seconds; a lease that lasts longer was made under a clock that has gone back since
_LOST: Final = "LeaseLost: whoever had it did not say for too long that it is still at it"
_TURNS: Final = 8  # cubes that get their turn with one lease
_SKEW: Final = 5 * SECOND  # by which the clocks of several machines may differ


class SqlJobs:
    """The jobs of one store.

    Args:
        database: of the records.
        statements: compiled ones of it.
        now: the clock.
    """

    def __init__(self, database: SqlDatabase, statements: Statements, now: Callable[[], datetime]) -> None:
        self._database = database
        self._statements = statements
        self._now = now
        self._seen: int | None = None  # when somebody leased last
        self._turn = -1  # the cube that had its turn last
        self.news = threading.Event()  # set where this process has filed, or put back
        own = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _begin_anew(own()))

    @contextmanager
    def _rows(self) -> Iterator[JobRows]:
        with self._database.writing() as connection:
            yield JobRows(connection, self._statements, self._database, micros(self._now()))

    def enqueue(self, jobs: Sequence[NewJob]) -> list[int]:
        """File jobs; the ids, in order. For one whose key waits already it is the id of that one."""
        with self._rows() as rows:
            ids = rows.file(jobs)
        self.news.set()
        return ids

    # -- leasing ------------------------------------------------------------------------------------------------------

    def lease(
        self,
        worker: str,
        count: int,
        *,
        seconds: float,
        kinds: Collection[str] | None = None,
        without: Collection[str] = (),
    ) -> list[Job]:
        """Take up to so many jobs that may run now, in the order in which to run them; as `JobStore.lease` says."""
        now = micros(self._now())
        until = now + int(min(seconds, LONGEST_LEASE) * SECOND)
        wanted = _of_kinds(kinds, without)
        jumped = self._jumped(now)
        if not (jumped or self._worth_it(now, wanted)):
            return []
        with self._database.writing() as connection:
            rows = JobRows(connection, self._statements, self._database, now)
            if jumped:
                self._after_a_jump(connection, now)
            self._recover(connection, rows, now)
            chosen = self._chosen(connection, now, count, wanted)
            chosen = self._with_lanes(connection, chosen, now, count)
            if not chosen:
                return []
            values = {
                "state": "running",
                "worker": worker,
                "leased_until": until,
                "started": now,
                "fence": J.fence + 1,
                "attempts": J.attempts + 1,
                "cancelling": 0,
            }
            ids = [job.id for job in chosen]
            connection.execute(update(schema.jobs).where(J.job.in_(ids)).values(**values))
            taken = rows.get(ids)
        with event("memos.lease", jobs=len(taken), worker=worker):
            return [taken[id] for id in ids]

    def _worth_it(self, now: int, wanted: Sequence[ColumnElement[bool]]) -> bool:
        """Whether there is anything to do, asked without keeping writers out."""
        with self._database.reading() as connection:
            if connection.execute(select(J.job).where(READY, J.run_at <= now, *wanted).limit(1)).first():
                return True
            return connection.execute(select(J.job).where(*_expired(now)).limit(1)).first() is not None

    def _jumped(self, now: int) -> bool:
        """Whether there are jobs from a time that is still to come: the clock has gone back since.

        That is looked for where this process sees it go back, and the first time.
        """
        seen, self._seen = self._seen, now
        if seen is not None and now >= seen - _SKEW:
            return False
        with self._database.reading() as connection:
            query = select(J.job).where(J.state == "pending", J.created > now + _SKEW).limit(1)
            return connection.execute(query).first() is not None

    def _after_a_jump(self, connection: Connection, now: int) -> None:
        """The clock has gone back since jobs were filed: have those run that would have run by the old time."""
        due = (J.run_at <= J.created) | (J.attempts > 0) | ((J.every > 0) & (J.run_at > now + J.every))
        connection.execute(
            update(schema.jobs)
            .where(J.state == "pending", J.run_at > now, due)
            .values(run_at=now, rank=now - J.priority * STEP)
        )
        connection.execute(update(schema.jobs).where(J.created > now).values(created=now))

    def _recover(self, connection: Connection, rows: JobRows, now: int) -> None:
        """Have jobs wait again whose worker has not been heard of."""
        query = select(J.job, J.cube, J.lane).where(*_expired(now)).limit(1000)
        found = connection.execute(query).fetchall()
        if not found:
            return
        rows.lock((cube, lane) for _, cube, lane in found)  # first of all, as who ends a job does: else both would wait
        still = select(*COLUMNS).where(J.job.in_([row[0] for row in found]), *_expired(now))
        oldest_first = still.order_by(J.job)  # of two with the same key that one waits again
        lost = [job_of(row) for row in connection.execute(oldest_first.with_for_update(skip_locked=True))]
        for job in lost:
            rows.put_back(job, _LOST, now if job.attempts < job.max_attempts else None)
        rows.settle((job.cube, job.lane) for job in lost)

    def _chosen(self, connection: Connection, now: int, count: int, wanted: Sequence[ColumnElement[bool]]) -> list[Job]:
        ready = select(*COLUMNS).where(READY, J.run_at <= now, *wanted)
        by_rank = ready.order_by(J.rank, J.job).limit(count).with_for_update(skip_locked=True)
        first = [job_of(row) for row in connection.execute(by_rank)]
        if len(first) == count and len({job.cube for job in first}) < count:
            turns = max(1, min(_TURNS, count // 2))
            others = self._in_turn(connection, ready, {job.id for job in first}, turns)
            first = others + first[: count - len(others)] if self._turn % 2 or count > 1 else first
        if first and first[0].attempts:
            return first[:1]
        return [job for job in first if not job.attempts] or first[:1]

    def _in_turn(self, connection: Connection, ready: Any, known: set[int], turns: int) -> list[Job]:
        """One job each of the cubes whose turn it is."""
        found: list[Job] = []
        seen: set[int] = set()
        for _ in range(turns):
            query = ready.where(J.cube > self._turn).order_by(J.cube, J.rank, J.job)
            row = connection.execute(query.limit(1).with_for_update(skip_locked=True)).first()
            if row is None:
                if self._turn < 0:
                    break
                self._turn = -1
                continue
            job = job_of(row)
            if job.cube in seen:
                break
            self._turn = job.cube
            seen.add(job.cube)
            if job.id not in known:
                found.append(job)
        return found

    def _with_lanes(self, connection: Connection, chosen: Sequence[Job], now: int, count: int) -> list[Job]:
        """The jobs, each that is first in a lane followed by those that may run right behind it."""
        found: list[Job] = []
        for place, job in enumerate(chosen):
            found.append(job)
            room = count - len(found) - (len(chosen) - place - 1)
            if not job.lane or job.attempts or room < 1:
                continue
            query = (
                select(*COLUMNS)
                .where(J.cube == job.cube, J.lane == job.lane, J.state == "pending", J.job > job.id, J.waiting == 1)
                .order_by(J.job)
                .limit(room)
                .with_for_update(skip_locked=True)
            )
            for row in connection.execute(query):
                behind = job_of(row)
                if not behind.attempts and behind.created < behind.run_at > now:
                    continue  # it is for later, and lets the others go first
                if behind.attempts or behind.run_at > now:
                    break
                found.append(behind)
        return found

    # -- while they run, and after ------------------------------------------------------------------------------------

    def heartbeat(self, jobs: Sequence[Job], *, seconds: float) -> tuple[list[int], list[int]]:
        """Hold jobs for so many seconds from now on: ids of those still held, and of those to be cancelled."""
        until = micros(self._now()) + int(min(seconds, LONGEST_LEASE) * SECOND)
        with self._rows() as rows:
            held = rows.held(jobs)
            rows.hold(list(held), until)
        return list(held), [id for id, job in held.items() if job.cancelling]

    def finish(self, done: Sequence[Done]) -> list[int]:
        """End jobs; ids of those that were still held. The others belong to somebody else by now."""
        with self._rows() as rows:
            return rows.finish(done)

    def fail(self, failures: Sequence[Failure]) -> list[int]:
        """Put jobs back, or give them up; ids of those that were still held."""
        with self._rows() as rows:
            return rows.fail(failures)

    def release(self, jobs: Sequence[Job]) -> None:
        """Give jobs back that have not been begun: as if they had never been leased."""
        with self._rows() as rows:
            rows.lock((job.cube, job.lane) for job in jobs)
            held = rows.held(jobs)
            for job in held.values():
                rows.put_back(job, job.error, job.run_at, begun=False)
            rows.settle((job.cube, job.lane) for job in held.values())
        self.news.set()

    def cancel(self, ids: Sequence[int]) -> list[int]:
        """Cancel jobs: those that wait at once, those that run are told. Ids of those that had not ended."""
        with self._rows() as rows:
            return rows.cancel(ids)

    def retry(self, ids: Sequence[int]) -> list[int]:
        """Have jobs that failed or were cancelled wait again, as if new; ids of those that do."""
        with self._rows() as rows:
            tried = rows.retry(ids)
        self.news.set()
        return tried

    # -- looking ------------------------------------------------------------------------------------------------------

    def get(self, ids: Sequence[int]) -> dict[int, Job]:
        """Jobs by id; those that there are not are left out."""

        def ask() -> dict[int, Job]:
            with self._database.reading() as connection:
                return JobRows(connection, self._statements, self._database, 0).get(ids)

        return self._database.repeated(ask)

    def next_at(self, kinds: Collection[str] | None = None) -> int | None:
        """When the next job may run or a lease runs out, microseconds since 1970; None where there is none."""
        with self._database.reading() as connection:
            waits = connection.execute(select(func.min(J.run_at)).where(READY, *_of_kinds(kinds, ()))).scalar()
            ends = connection.execute(select(func.min(J.leased_until)).where(J.state == "running")).scalar()
        return min((int(each) for each in (waits, ends) if each is not None), default=None)

    def stats(self) -> list[JobStats]:
        """How the jobs of each kind stand, by name of the kind."""
        with self._database.reading() as connection:
            return statistics(connection, micros(self._now()))

    def prune(self, before: int) -> int:
        """Forget jobs that were done or cancelled before a time; how many. Those that failed are kept."""
        old = (J.finished < before, J.finished.is_not(None), J.state.in_(["done", "cancelled"]))
        with self._database.reading() as connection:
            if connection.execute(select(J.job).where(*old).limit(1)).first() is None:
                return 0
        with self._database.writing() as connection:
            return connection.execute(delete(schema.jobs).where(*old)).rowcount

    def wait_for_news(self, seconds: float) -> None:
        """Return when somebody may have filed a job, at the latest after so many seconds."""
        self._database.wait_for_commit(seconds, self.news)
        self.news.clear()

    def wake(self) -> None:
        """Have `wait_for_news` return now."""
        self.news.set()

    def list(
        self,
        *,
        states: Collection[JobState] | None = None,
        kinds: Collection[str] | None = None,
        cube: int | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Jobs, newest first."""
        query = select(*COLUMNS).order_by(J.job.desc()).limit(limit)
        if states is not None:
            query = query.where(J.state.in_(states))
        if kinds is not None:
            query = query.where(J.kind.in_(kinds))
        if cube is not None:
            query = query.where(J.cube == cube)

        def ask() -> list[Job]:
            with self._database.reading() as connection:
                return [job_of(row) for row in connection.execute(query)]

        return self._database.repeated(ask)


def _begin_anew(jobs: SqlJobs | None) -> None:
    """In a forked child: a lock that a thread of the parent held just then would never be released."""
    if jobs is not None:
        jobs.news = threading.Event()


def _expired(now: int) -> Sequence[ColumnElement[bool]]:
    """Jobs that run under a lease that has run out, or was made under a clock that has gone back since."""
    last = now + int(2 * LONGEST_LEASE * SECOND)
    gone = func.coalesce(J.leased_until, 0)
    return J.state == "running", (gone < now) | (gone > last)


def _of_kinds(kinds: Collection[str] | None, without: Collection[str]) -> Sequence[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if kinds is not None:
        conditions.append(J.kind.in_(sorted(kinds)))
    if without:
        conditions.append(J.kind.not_in(sorted(without)))
    return conditions
