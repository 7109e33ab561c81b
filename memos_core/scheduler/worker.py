"""Worker: takes jobs in batches, runs their handlers one after the other, ends them in batches.

The only place that catches whatever a handler raises: it is recorded with the job, which is tried again later.
"""

from __future__ import annotations

import logging
import random
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

from memos_core.errors import AnswerRefused, InvalidConfig, InvalidInput, JobStopped, MemosError, ModelError, StoreFull
from memos_core.events import JOB, event
from memos_core.protocols.work import JobStore
from memos_core.scheduler.context import RunningJobs
from memos_core.scheduler.kinds import JobKind
from memos_core.types.jobs import Done, Failure, Job
from memos_core.types.work import micros

log = logging.getLogger(__name__)
BATCH: Final = 64
LEASE: Final = 60.0  # seconds
_HOGGED: Final = 1.0  # seconds after which jobs that wait behind slow ones are given back, for others to take
_FLUSH: Final = 0.05  # seconds that ended jobs may wait for others to be ended along
_WORDS: Final = 400  # of an error
_NO_ROOM: Final = 10.0  # seconds before a job is tried again that the disk had no room for


class Office(Protocol):
    """What a worker needs to know; the scheduler is one."""

    def kind(self, name: str) -> JobKind:
        """The kind of that name; raises InvalidConfig where nobody knows it."""

    def take(self, kind: str, limit: int) -> int:
        """How many jobs of a kind with a limit of its own may be leased now; they count as begun."""

    def put_back(self, kind: str, count: int) -> None:
        """So many of those that were taken have not been leased."""

    def limited(self) -> Sequence[str]:
        """Kinds with a limit of their own."""

    def context(self, jobs: Sequence[Job]) -> RunningJobs:
        """What the handler of these jobs gets."""


class Worker:
    """One thread's worth of work.

    Args:
        name: under which it leases.
        jobs: where jobs are.
        office: what it needs to know.
        now: the clock.
    """

    def __init__(self, name: str, *, jobs: JobStore, office: Office, now: Callable[[], datetime]) -> None:
        self.name = name
        self.hung = False  # its handler has taken too long: nothing more is expected of this thread
        self.stopping = False
        self._jobs = jobs
        self._office = office
        self._now = now
        self._ending = threading.Lock()  # held while the store is told of ends: what it is told is not given back
        self._lock = threading.Lock()  # over everything below; never held while the store is asked
        self._queue: deque[Job] = deque()
        self._held: dict[int, Job] = {}
        self._done: list[Done] = []
        self._failed: list[Failure] = []
        self._current: RunningJobs | None = None
        self._began = 0
        self._leased = 0
        self._flushed = 0
        self._beaten = 0

    # -- working ------------------------------------------------------------------------------------------------------

    def work(self, limit: int = BATCH) -> int:
        """Lease up to so many jobs and run them; how many were leased.

        Raises:
            StoreError: the database is away, or its disk is full. What had ended then is ended with the next call.
        """
        if self.busy:  # since a call that the store did not listen to
            self._settle()
        leased = self._lease(min(limit, BATCH))
        if not leased:
            return 0
        with self._lock:
            self._queue.extend(leased)
            self._held = {job.id: job for job in leased}
            self._leased = self._flushed = self._beaten = micros(self._now())
        try:
            while not self.hung:
                group = self._next()
                if not group:
                    break
                self._run(group)
                self._flush(self._now_micros() - self._flushed > _FLUSH * 1e6)
            if self.stopping and not self.hung:
                self.give_back()
            self._flush(not self.hung)
        except BaseException:  # the database is away or full, or an interrupt: what is held is given back, or lost
            self.let_go()
            raise
        return len(leased)

    def _now_micros(self) -> int:
        return micros(self._now())

    def _lease(self, limit: int) -> list[Job]:
        limited = self._office.limited()
        for kind in limited:
            room = self._office.take(kind, limit)
            leased: list[Job] = []
            try:
                if room:
                    leased = self._jobs.lease(self.name, room, seconds=LEASE, kinds=[kind])
            finally:
                self._office.put_back(kind, room - len(leased))
            if leased:
                return leased
        return self._jobs.lease(self.name, limit, seconds=LEASE, without=limited)

    def _next(self) -> list[Job]:
        """The next jobs to run: one, or several of one kind and cube that are done together."""
        with self._lock:
            if self.stopping or not self._queue:
                return []
            first = self._queue.popleft()
            group = [first]
        try:
            together = self._office.kind(first.kind).together if first.attempts == 1 else 1
        except InvalidConfig:
            return group
        with self._lock:
            others = list(self._queue)
            for job in others:
                if len(group) >= together or first.lane:
                    break
                if (job.kind, job.cube, job.attempts) == (first.kind, first.cube, 1):
                    self._queue.remove(job)
                    group.append(job)
        return group

    def _run(self, group: Sequence[Job]) -> None:
        first = group[0]
        try:
            kind = self._office.kind(first.kind)
        except InvalidConfig as error:
            self._ended([], [Failure(job, _words(error), None) for job in group])
            return
        context = self._office.context(group)
        with self._lock:
            self._current, self._began = context, self._now_micros()
            if self._began - self._leased > _FLUSH * 1e6:  # of others it is near enough, and costs nothing
                context.began = self._began
            if any(job.id not in self._held for job in group):  # lost while they waited here
                context.stopped = "belongs to another worker by now"
        failures: list[Failure] = []
        kept: object = None
        full: StoreFull | None = None
        facts = {"job": first.id, "kind": first.kind, "cube": first.cube or None, "attempt": first.attempts}
        try:
            with event(JOB, jobs=len(group), **facts):
                context.check()
                result = kind.run(context)
                kept = result if context.result is None else context.result
                if not context.finished:
                    _need_json(kept, kind)
        except JobStopped as error:
            failures = [Failure(job, _words(error), self._retry_at(kind, job)) for job in group]
        except StoreFull as error:  # no fault of the job's: it must not be given up for it, and others fare no better
            full = error
            again = self._now_micros() + int(_NO_ROOM * random.uniform(0.5, 1.0) * 1e6)
            failures = [Failure(job, _words(error), again, counts=False) for job in group]
        except BaseException as error:  # also sys.exit() and the like of a handler: else it would take the thread along
            if isinstance(error, KeyboardInterrupt) and _in_main_thread():
                raise
            log.warning("job %s (%s) failed: %s", first.id, first.kind, type(error).__name__)
            failures = [Failure(job, _words(error), self._retry_at(kind, job)) for job in group]
            if isinstance(error, SystemExit) and _in_main_thread():  # perhaps a signal's: the caller wants to end
                self._ended([], [] if context.finished else failures)
                raise
        with self._lock:
            self._current = None
        if context.finished:
            self._forget(group)
        elif not self.hung:
            ended = None if context.began is None else self._now_micros()
            done = [] if failures else [Done(job, kept, context.began, ended) for job in group]
            self._ended(done, failures)
            if full is not None:
                raise full

    def _retry_at(self, kind: JobKind, job: Job) -> int | None:
        """When a job that went wrong is tried again; None: never."""
        if job.attempts >= job.max_attempts:
            return None
        wait = min(kind.longest_wait, kind.first_wait * 2.0 ** (job.attempts - 1), 86_400.0)
        return self._now_micros() + int(wait * random.uniform(0.5, 1.0) * 1e6)

    def _ended(self, done: Sequence[Done], failures: Sequence[Failure]) -> None:
        with self._lock:
            self._done += [each for each in done if each.job.id in self._held]
            self._failed += [each for each in failures if each.job.id in self._held]
        if failures and any(each.job.lane for each in failures):
            self._after_failure(failures[0].job)

    def _after_failure(self, job: Job) -> None:
        """Jobs of the same lane that wait here must not go before the one that failed."""
        with self._lock:
            behind = [each for each in self._queue if (each.cube, each.lane) == (job.cube, job.lane)]
            for each in behind:
                self._queue.remove(each)
        self._flush(True)
        self._release(behind)

    def _flush(self, now: bool) -> None:
        """End what has come to its end; what the store does not take stays noted."""
        if not now:
            return
        with self._ending:
            with self._lock:
                done, failed = self._done, self._failed
                self._done, self._failed = [], []
            try:
                if done:
                    self._jobs.finish(done)
                    self._forget([each.job for each in done])
                    done = []
                if failed:
                    self._jobs.fail(failed)
                    self._forget([each.job for each in failed])
            except BaseException:
                with self._lock:
                    self._done[:0], self._failed[:0] = done, failed
                raise
        self._flushed = self._now_micros()

    def _forget(self, jobs: Sequence[Job]) -> None:
        with self._lock:
            for job in jobs:
                self._held.pop(job.id, None)

    def _release(self, jobs: Sequence[Job]) -> None:
        if jobs:
            self._jobs.release(jobs)
            self._forget(jobs)

    def give_back(self) -> None:
        """Give back what has not been begun."""
        with self._lock:
            waiting = list(self._queue)
            self._queue.clear()
        try:
            self._release(waiting)
        except BaseException:  # the store does not listen: they are run here, or given back later
            with self._lock:
                self._queue.extendleft(job for job in reversed(waiting) if job.id in self._held)
            raise

    def _settle(self) -> None:
        """End what has come to its end, give back the rest."""
        with self._lock:
            self._queue.clear()
            self._current = None
        self._flush(True)
        with self._lock:
            rest = list(self._held.values())
        self._release(rest)

    def let_go(self) -> None:
        """Hold nothing any more. What the store cannot be told now it is told before more is leased, or leases run out."""
        try:
            self._settle()
        except MemosError as error:
            log.warning("%d jobs could not be given back for now: %s", len(self._held), error)

    # -- called by another thread while it works ----------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether it holds any job."""
        with self._lock:
            return bool(self._held)

    def beat(self) -> None:
        """Hold what it holds, and see to it that a slow handler keeps nobody else waiting."""
        now = self._now_micros()
        with self._lock:
            current, began, leased = self._current, self._began, self._leased
            beaten, held = self._beaten, list(self._held.values())
        if not held:
            return
        if current is not None and now - leased > _HOGGED * 1e6:
            self._flush(True)
            self.give_back()
            if now - began > self._office.kind(current.job.kind).timeout * 1e6:
                self._give_up(current)
                return
        if not beaten <= now < beaten + int(LEASE / 3 * 1e6):
            kept, cancelling = self._jobs.heartbeat(held, seconds=LEASE)
            self._beaten = now
            self._lost({job.id for job in held} - set(kept), "belongs to another worker by now")
            self._lost(set(cancelling), "is to be cancelled", held=True)

    def _lost(self, ids: set[int], why: str, *, held: bool = False) -> None:
        """Some jobs are not to be gone on with.

        Args:
            held: they are still ours to end.
        """
        if not ids:
            return
        with self._lock:
            waiting = [job for job in self._queue if job.id in ids]
            for job in waiting:
                self._queue.remove(job)
            if self._current is not None and any(job.id in ids for job in self._current.jobs):
                self._current.stopped = why
            if not held:
                for id in ids:
                    self._held.pop(id, None)
        if held and waiting:
            self._jobs.fail([Failure(job, "cancelled", None) for job in waiting])
            self._forget(waiting)

    def _give_up(self, current: RunningJobs) -> None:
        """The handler hangs: its jobs are for others, its thread is not waited for."""
        self.hung = True
        current.stopped = "has taken too long"
        kind = self._office.kind(current.job.kind)
        error = f"TimeoutError: it took longer than {kind.timeout:g} s"
        log.warning("job %s (%s) has taken too long", current.job.id, current.job.kind)
        self._jobs.fail([Failure(job, error, self._retry_at(kind, job)) for job in current.jobs])
        self._forget(current.jobs)

    def abandon(self) -> None:
        """Give everything back, what runs too: it loses its right to finish."""
        self.hung = True
        with self._lock:
            if self._current is not None:
                self._current.stopped = "was given back: the scheduler has been stopped"
        self.let_go()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _need_json(result: object, kind: JobKind) -> None:
    """Refuse what cannot be kept as a job's result. What is wrong with it is not quoted: it may hold words."""
    try:
        msgspec.json.encode(result)
    except (TypeError, ValueError, RecursionError):
        raise InvalidConfig(
            f"what the handler of {kind.name!r} returned cannot be kept as JSON; return ids and numbers, or None"
        ) from None


def _words(error: BaseException) -> str:
    """An error as it is kept: what it says where that is ours, else where it was raised: words may quote what was passed in."""
    quotes = isinstance(error, ModelError | InvalidInput) and not isinstance(error, AnswerRefused | InvalidConfig)
    if isinstance(error, MemosError) and not quotes:
        return f"{type(error).__name__}: {error}"[:_WORDS]
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "nowhere"
    cause = f" from {type(error.__cause__).__name__}" if error.__cause__ is not None else ""
    return f"{type(error).__name__}{cause} at {where}"
