"""MemScheduler: runs background jobs, in threads of this process or in the calling thread."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from memos_core.errors import Conflict, InvalidInput, JobNotFound, MemosError, StoreClosed, StoreFull
from memos_core.plaintext.general import GeneralTextMemory
from memos_core.plaintext.later import JobHandle
from memos_core.plaintext.search import Searcher
from memos_core.protocols.storage import RecordStore
from memos_core.scheduler.context import RunningJobs
from memos_core.scheduler.jobs.prune import KEPT, PRUNE
from memos_core.scheduler.kinds import BUILT_IN, JobKind, check_kind, find_kind
from memos_core.scheduler.worker import BATCH, Worker
from memos_core.types.checks import as_json, checked_wait
from memos_core.types.jobs import STATES, Job, JobState, JobStats, NewJob
from memos_core.types.work import CubeRow, micros

log = logging.getLogger(__name__)
_TICK: Final = 0.5  # seconds between two looks at what runs, and at what may run by now
_IDLE: Final = 5.0  # seconds after which a thread looks for itself
_LONGEST_PAUSE: Final = 30.0  # seconds, while the database cannot be reached
_LONGEST: Final = 1e10  # seconds from one run to the next: some 300 years
_SAY_AGAIN: Final = 60.0  # seconds after which what is still wrong is said once more
_PERIODIC: Final = "periodic"  # key of a periodic job


class _Call:
    """A call of `run_pending` that goes on.

    Args:
        workers: the one that works for it; another one takes its place when its handler has taken too long.
    """

    def __init__(self, workers: list[Worker]) -> None:
        self.workers = workers
        self.thread = threading.current_thread()
        self.over = threading.Event()
        self.stopping = False


class MemScheduler:
    """Background work of one open store. Made by MOS; nothing runs before `start` or `run_pending`.

    Args:
        store: whose jobs.
        memory: what its cubes hold.
        searcher: asks them.
        now: the clock.
        first: called before jobs are looked for; may file some.
    """

    def __init__(
        self,
        store: RecordStore,
        memory: GeneralTextMemory,
        searcher: Searcher,
        now: Callable[[], datetime],
        first: Callable[[], object] = lambda: None,
    ) -> None:
        self._first = first
        self._store = store
        self._memory = memory
        self._searcher = searcher
        self._now = now
        self._kinds: dict[str, JobKind] = {}
        self._left: dict[str, None] = {}
        self._names: dict[int, str] = {}  # of cubes, by number
        self._forgot: datetime | None = None
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._news = threading.Condition()
        self._generation = 0
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._workers: list[Worker] = []
        self._calls: list[_Call] = []
        self._watcher: threading.Thread | None = None
        self._unfiled = False  # whether periodic jobs are still to be filed
        self._numbers = itertools.count(1)
        self._tokens: dict[str, tuple[float, int]] = {}  # kind -> how many may be begun, as of when
        self._said: dict[str, float] = {}  # what cannot be done -> when that was said

    # -- kinds --------------------------------------------------------------------------------------------------------

    def register(self, kind: JobKind) -> None:
        """Have this process know a kind of job. One of the same name takes the place of the one before.

        Raises:
            InvalidConfig: it is no JobKind, or has a setting that means nothing.
        """
        self._kinds[check_kind(kind).name] = kind
        self._left.pop(kind.name, None)

    def leave(self, kind: str) -> None:
        """Have this process leave the jobs of a kind to others: they wait for one that can do them. `register` ends it."""
        self._left[kind] = None

    def kind(self, name: str) -> JobKind:
        """The kind of that name.

        Raises:
            InvalidConfig: nobody here knows it.
        """
        found = self._kinds.get(name)
        if found is None:
            found = self._kinds[name] = find_kind(name)
        return found

    def limited(self) -> Sequence[str]:
        """Kinds of which only so many a second are begun, or none at all."""
        return [*self._paced(), *self._left]

    def _paced(self) -> Sequence[str]:
        return [kind.name for kind in list(self._kinds.values()) if kind.per_second > 0]

    def take(self, kind: str, limit: int) -> int:
        """How many jobs of a kind with a limit of its own may be leased now; they count as begun.

        What is taken is gone at once: two threads that ask together must not both get it.
        """
        if kind in self._left:
            return 0
        per_second, now = self._kinds[kind].per_second, micros(self._now())
        most = max(1.0, per_second)
        with self._lock:
            tokens, then = self._tokens.get(kind, (most, now))
            tokens = min(most, tokens + max(0, now - then) / 1e6 * per_second)
            taken = min(limit, max(0, int(tokens)))
            self._tokens[kind] = (tokens - taken, now)
        return taken

    def put_back(self, kind: str, count: int) -> None:
        """So many of those that were taken have not been leased."""
        if count:
            with self._lock:
                tokens, then = self._tokens[kind]
                self._tokens[kind] = (tokens + count, then)

    # -- filing -------------------------------------------------------------------------------------------------------

    def submit(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        cube: str | None = None,
        key: str | None = None,
        priority: int | None = None,
        run_at: datetime | None = None,
    ) -> JobHandle:
        """File a job.

        Args:
            kind: its name.
            payload: a small JSON object: ids and numbers, never words of a memory.
            cube: name of the cube it is about.
            key: of jobs of this kind and cube with the same key, one waits at most; the handle is then of that one.
            priority: None takes that of the kind.
            run_at: not before this time (aware).

        Raises:
            InvalidConfig: nobody here knows the kind.
            InvalidInput: there is no such cube, or a job cannot be kept with these arguments.
        """
        if run_at is not None and (not isinstance(run_at, datetime) or run_at.tzinfo is None):
            raise InvalidInput(f"run_at={run_at!r} should be an aware time (in UTC, say)")
        job = self.kind(kind).new(
            _payload(payload),
            cube=self._number_of(cube),
            key=key,
            priority=priority,
            run_at=0 if run_at is None else micros(run_at),
        )
        return JobHandle(self._store.jobs, self._store.jobs.enqueue([job]))

    def every(
        self, kind: str, interval: float, payload: dict[str, Any] | None = None, *, cube: str | None = None
    ) -> int:
        """Have a kind of job run again and again; the id of the job that waits for the next run.

        Args:
            kind: its name.
            interval: seconds from the end of one run to the next; another one than before takes its place.
            payload, cube: as for `submit`.
        """
        if isinstance(interval, bool) or not isinstance(interval, int | float) or not 1e-6 <= interval <= _LONGEST:
            raise InvalidInput(f"interval={interval!r} should be a number of seconds")
        job = self.kind(kind).new(
            _payload(payload), cube=self._number_of(cube), key=_PERIODIC, interval=int(interval * 1e6), run_at=0
        )
        return self._file_periodic(job)

    def _file_periodic(self, job: NewJob) -> int:
        jobs = self._store.jobs
        (id,) = jobs.enqueue([job])
        filed = jobs.get([id]).get(id)
        if filed is not None and (filed.interval, filed.payload) != (job.interval, job.payload):
            jobs.cancel([id])
            (id,) = jobs.enqueue([job])
        return id

    def _file_own(self) -> None:
        """File the periodic jobs of kinds that are periodic by themselves, unless they wait already."""
        waiting = {
            job.kind for job in self._store.jobs.list(states=["pending", "running"], limit=10_000) if job.interval
        }
        for name in (*BUILT_IN, *self._kinds):
            kind = self.kind(name)
            if kind.every > 0 and name not in waiting:
                first = micros(self._now()) + int(kind.every * 1e6)
                self._store.jobs.enqueue([kind.new(key=_PERIODIC, interval=int(kind.every * 1e6), run_at=first)])
        self._unfiled = False

    def _number_of(self, cube: str | None) -> int:
        if cube is None:
            return 0
        row = self._store.cube(cube)
        if row is None:
            raise InvalidInput(f"there is no cube {cube!r}")
        return row.number

    # -- running ------------------------------------------------------------------------------------------------------

    def context(self, jobs: Sequence[Job]) -> RunningJobs:
        """What the handler of these jobs gets."""
        return RunningJobs(
            jobs,
            self._cube(jobs[0].cube),
            store=self._store,
            memory=self._memory,
            searcher=self._searcher,
            now=self._now,
        )

    def _cube(self, number: int) -> CubeRow | None:
        if not number:
            return None
        for _ in range(2):
            row = self._store.cube(self._names[number]) if number in self._names else None
            if row is not None and row.number == number:
                return row
            self._names = {row.number: row.name for row in self._store.cubes()}
        return None

    def _worker(self) -> Worker:
        name = f"{socket.gethostname()}:{os.getpid()}:{next(self._numbers)}"
        return Worker(name, jobs=self._store.jobs, office=self, now=self._now)

    def run_pending(self, limit: int | None = None) -> int:
        """Run what may run now, in the calling thread; how many jobs were run. Jobs that these file are run too.

        Args:
            limit: at most so many; None for all.
        """
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise InvalidInput(f"limit={limit!r} should be a number of jobs, or None for all")
        self._first()
        call, count = _Call([self._worker()]), 0
        workers = call.workers
        beating = threading.Thread(target=self._beat_until, args=(call,), name="memos-jobs-beat", daemon=True)
        beating.start()
        with self._lock:
            self._calls.append(call)
        try:
            while not call.stopping and (limit is None or count < limit):
                taken = workers[0].work(BATCH if limit is None else limit - count)
                count += taken
                if not taken:
                    break
                if workers[0].hung:  # its handler took too long, and has come back after all
                    workers[0] = self._worker()
            if not call.stopping:
                self._forget_old()
            return count
        finally:
            with self._lock:
                self._calls = [each for each in self._calls if each is not call]
            call.over.set()
            beating.join()

    def _forget_old(self) -> None:
        """Forget old jobs now and then, where no thread is there to do it."""
        now = self._now()
        if self._forgot is None or not timedelta() <= now - self._forgot < timedelta(seconds=PRUNE.every):
            self._forgot = now
            self._store.jobs.prune(micros(now - KEPT))

    def _beat_until(self, call: _Call) -> None:
        while not call.over.wait(_TICK):
            self._beat(call.workers)

    def _beat(self, workers: Collection[Worker]) -> None:
        for worker in workers:
            try:
                worker.beat()
            except Exception as error:  # noqa: BLE001 - the next time, perhaps; else leases run out, and others do the work
                self._say("held", error)

    def _say(self, what: str, error: Exception) -> None:
        """Say what cannot be done with jobs for now: once, and again every minute, however often it is tried."""
        now = time.monotonic()
        if now >= self._said.get(what, -_SAY_AGAIN) + _SAY_AGAIN:
            self._said[what] = now
            log.warning("jobs cannot be %s for now: %s", what, _told(error))

    def _well(self, what: str) -> None:
        """Say that it can be done again, where it was said that it cannot."""
        if self._said.pop(what, None) is not None:
            log.warning("jobs can be %s again", what)

    def start(self, threads: int = 2) -> None:
        """Run jobs in threads of this process from now on, until `stop`; more threads where some run already.

        Args:
            threads: how many.
        """
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise InvalidInput(f"threads={threads!r} should be at least 1")
        self._unfiled = True
        try:
            self._file_own()
        except StoreFull as error:  # whoever opens a store to read must not need space; the watcher tries again
            self._say("filed", error)
        with self._lock:
            if self._watcher is None:
                stopping = self._stopping = threading.Event()  # of its own: another thread may be stopping those before
                watch = functools.partial(self._watch, stopping)
                self._watcher = threading.Thread(target=watch, name="memos-jobs-watch", daemon=True)
                self._watcher.start()
            while len(self._threads) < threads:
                self._start_thread()

    @property
    def running(self) -> bool:
        """Whether it runs jobs in threads."""
        return self._watcher is not None

    def _start_thread(self) -> None:
        worker = self._worker()
        loop = functools.partial(self._loop, worker, self._stopping)
        thread = threading.Thread(target=loop, name=f"memos-jobs-{worker.name}", daemon=True)
        self._workers.append(worker)
        self._threads.append(thread)
        thread.start()

    def _loop(self, worker: Worker, stopping: threading.Event) -> None:
        pause = 0.1
        while not stopping.is_set() and not worker.hung:
            seen, owed = self._generation, worker.busy
            try:
                taken = worker.work()
            except StoreClosed:
                return
            except Exception as error:  # noqa: BLE001 - said; a thread that ended would leave jobs to nobody
                self._say("run", error)
                stopping.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            if taken or owed:  # the store was told something, and took it
                pause = 0.1
                self._well("run")
            else:
                self._idle(seen, stopping)
        if worker.busy and not worker.hung:
            worker.let_go()

    def _idle(self, seen: int, stopping: threading.Event) -> None:
        """Wait for news later than those seen."""
        with self._news:
            self._news.wait_for(lambda: self._generation != seen or stopping.is_set(), _IDLE)

    def _watch(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                self._store.jobs.wait_for_news(_TICK)
                self._first()
                if self._unfiled:
                    self._file_own()
                    self._well("filed")
                due = self._store.jobs.next_at()
                if due is not None and due <= micros(self._now()):
                    self._tell()
                self._well("looked at")
            except StoreClosed:
                return
            except Exception as error:  # noqa: BLE001 - said, and tried again; without it no lease would be held any more
                self._say("looked at", error)
                stopping.wait(_TICK)
            self._beat(list(self._workers))
            self._replace_hung()

    def _tell(self) -> None:
        with self._news:
            self._generation += 1
            self._news.notify_all()

    def _replace_hung(self) -> None:
        """A thread whose handler hangs is not waited for: another one takes its place."""
        with self._lock:
            for place, worker in reversed(list(enumerate(self._workers))):
                if worker.hung and not self._stopping.is_set():
                    del self._workers[place], self._threads[place]
                    self._start_thread()

    def stop(self, timeout: float = 10.0) -> bool:
        """Stop running jobs, `run_pending` of other threads among it: what runs is finished, what was only leased is given back.

        Args:
            timeout: seconds; what still runs then is given back too, and loses its right to finish.

        Returns:
            Whether everything was finished in time.

        Raises:
            Conflict: it is called by a job that runs in one of these threads, which would wait for itself.
        """
        self.need_outside()
        timeout = checked_wait(timeout)
        with self._lock:
            threads, workers, watcher = self._threads, self._workers, self._watcher
            self._threads, self._workers, self._watcher = [], [], None
            calls = [call for call in self._calls if call.thread is not threading.current_thread()]
            self._stopping.set()
        for call in calls:
            call.stopping = True
        for worker in (*workers, *(call.workers[0] for call in calls)):
            worker.stopping = True
        self._tell()
        self._store.jobs.wake()
        until = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        late = [worker for thread, worker in zip(threads, workers, strict=True) if thread.is_alive()]
        late += [call.workers[0] for call in calls if not call.over.wait(max(0.0, until - time.monotonic()))]
        for worker in late:
            try:
                worker.abandon()
            except MemosError as error:
                log.warning("what runs could not be given back, its lease will run out: %s", error)
        if watcher is not None:
            watcher.join(max(_TICK, until - time.monotonic()))  # it may be waiting for the database; it ends by itself
        return not late

    def need_outside(self) -> None:
        """Refuse to go on in one of the scheduler's own threads.

        Raises:
            Conflict: a job that runs there cannot end what runs it.
        """
        if threading.current_thread() in self._threads:
            raise Conflict("a job cannot stop the scheduler that runs it, or close its store; do that from outside")

    def after_fork(self) -> None:
        """In a forked child: the threads are the parent's."""
        self._begin()

    # -- looking ------------------------------------------------------------------------------------------------------

    def stats(self) -> list[JobStats]:
        """How the jobs of each kind stand, by name of the kind."""
        return self._store.jobs.stats()

    def jobs(
        self,
        *,
        states: Collection[JobState] | None = None,
        kinds: Collection[str] | None = None,
        cube: str | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Jobs, newest first.

        Raises:
            InvalidInput: a state that there is not, a string instead of several, or no such cube.
        """
        for name, given in (("states", states), ("kinds", kinds)):
            if isinstance(given, str):
                raise InvalidInput(f"{name} is a list; for one, give [{given!r}]")
        unknown = sorted({*(states or ())} - {*STATES})
        if unknown:
            raise InvalidInput(f"a job is never {', '.join(map(repr, unknown))}; it is {', '.join(STATES)}")
        number = None if cube is None else self._number_of(cube)
        return self._store.jobs.list(states=states, kinds=kinds, cube=number, limit=limit)

    def job(self, id: int) -> Job:
        """One job.

        Raises:
            JobNotFound: there is none.
        """
        found = self._store.jobs.get([id]).get(id)
        if found is None:
            raise JobNotFound(f"there is no job {id}; it may have been done long ago, and forgotten")
        return found

    def retry(self, ids: int | Sequence[int] | None = None) -> list[int]:
        """Have jobs that failed or were cancelled wait again, as if new.

        Args:
            ids: None for all that failed.

        Returns:
            Ids of those that do.
        """
        if ids is None:
            ids = [job.id for job in self._store.jobs.list(states=["failed"], limit=1_000_000)]
        return self._store.jobs.retry(_numbers(ids))

    def cancel(self, ids: int | Sequence[int]) -> list[int]:
        """Cancel jobs: those that wait at once, those that run are told. Ids of those that had not ended."""
        return self._store.jobs.cancel(_numbers(ids))


def _payload(given: object) -> dict[str, Any]:
    found: dict[str, Any] = {} if given is None else as_json(given, "the payload of a job")
    return found


def _numbers(ids: int | Sequence[int]) -> list[int]:
    numbers = list(ids) if isinstance(ids, Iterable) else [ids]
    for id in numbers:
        if isinstance(id, bool) or not isinstance(id, int):
            raise InvalidInput(f"a job is named by its number, not by {id!r}")
    return numbers


def _told(error: Exception) -> str:
    """An error for the log: our own words of our own, the type alone of others, whose words may quote anything."""
    return str(error) if isinstance(error, MemosError) else type(error).__name__
