"""MemScheduler: runs background jobs, in threads of this process or in the calling thread."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Final

from memos_core.errors import InvalidInput, JobNotFound, MemosError, StoreClosed, StoreFull
from memos_core.plaintext.general import GeneralTextMemory
from memos_core.plaintext.later import JobHandle
from memos_core.plaintext.search import Searcher
from memos_core.protocols.storage import RecordStore
from memos_core.scheduler.context import RunningJobs
from memos_core.scheduler.kinds import BUILT_IN, JobKind, find_kind
from memos_core.scheduler.worker import BATCH, Worker
from memos_core.types.jobs import Job, JobState, JobStats, NewJob
from memos_core.types.work import CubeRow, micros

log = logging.getLogger(__name__)
_TICK: Final = 0.5  # seconds between two looks at what runs, and at what may run by now
_IDLE: Final = 5.0  # seconds after which a thread looks for itself
_LONGEST_PAUSE: Final = 30.0  # seconds, while the database cannot be reached
_SAY_AGAIN: Final = 60.0  # seconds after which what is still wrong is said once more
_PERIODIC: Final = "periodic"  # key of a periodic job


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
        self._names: dict[int, str] = {}  # of cubes, by number
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._news = threading.Condition()
        self._generation = 0
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._workers: list[Worker] = []
        self._watcher: threading.Thread | None = None
        self._unfiled = False  # whether periodic jobs are still to be filed
        self._numbers = itertools.count(1)
        self._tokens: dict[str, tuple[float, int]] = {}  # kind -> how many may be begun, as of when
        self._said: dict[str, float] = {}  # what cannot be done -> when that was said

    # -- kinds --------------------------------------------------------------------------------------------------------

    def register(self, kind: JobKind) -> None:
        """Have this process know a kind of job. One of the same name takes the place of the one before."""
        self._kinds[kind.name] = kind

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
        """Kinds of which only so many a second are begun."""
        return [kind.name for kind in list(self._kinds.values()) if kind.per_second > 0]

    def take(self, kind: str, limit: int) -> int:
        """How many jobs of a kind with a limit of its own may be leased now; they count as begun.

        What is taken is gone at once: two threads that ask together must not both get it.
        """
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
            InvalidInput: there is no such cube.
        """
        job = self.kind(kind).new(
            payload,
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
        if not interval > 0:
            raise InvalidInput(f"interval={interval!r} should be a number of seconds")
        job = self.kind(kind).new(
            payload, cube=self._number_of(cube), key=_PERIODIC, interval=int(interval * 1e6), run_at=0
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
        self._first()
        worker, count, over = self._worker(), 0, threading.Event()
        beating = threading.Thread(target=self._beat_until, args=(worker, over), name="memos-jobs-beat", daemon=True)
        beating.start()
        try:
            while limit is None or count < limit:
                taken = worker.work(BATCH if limit is None else limit - count)
                count += taken
                if not taken or worker.hung:
                    return count
            return count
        finally:
            over.set()
            beating.join()

    def _beat_until(self, worker: Worker, over: threading.Event) -> None:
        while not over.wait(_TICK):
            self._beat([worker])

    def _beat(self, workers: Collection[Worker]) -> None:
        for worker in workers:
            try:
                worker.beat()
            except MemosError as error:  # the next time, perhaps; else leases run out, and others do the work
                self._say("held", error)

    def _say(self, what: str, error: Exception) -> None:
        """Say what cannot be done with jobs for now: once, and again every minute, however often it is tried."""
        now = time.monotonic()
        if now >= self._said.get(what, -_SAY_AGAIN) + _SAY_AGAIN:
            self._said[what] = now
            words = str(error) if isinstance(error, MemosError) else type(error).__name__  # others may quote a memory
            log.warning("jobs cannot be %s for now: %s", what, words)

    def _well(self, what: str) -> None:
        """Say that it can be done again, where it was said that it cannot."""
        if self._said.pop(what, None) is not None:
            log.warning("jobs can be %s again", what)

    def start(self, threads: int = 2) -> None:
        """Run jobs in threads of this process from now on, until `stop`; more threads where some run already.

        Args:
            threads: how many.
        """
        if threads < 1:
            raise InvalidInput(f"threads={threads!r} should be at least 1")
        self._unfiled = True
        try:
            self._file_own()
        except StoreFull as error:  # whoever opens a store to read must not need space; the watcher tries again
            self._say("filed", error)
        with self._lock:
            self._stopping.clear()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="memos-jobs-watch", daemon=True)
                self._watcher.start()
            while len(self._threads) < threads:
                self._start_thread()

    @property
    def running(self) -> bool:
        """Whether it runs jobs in threads."""
        return self._watcher is not None

    def _start_thread(self) -> None:
        worker = self._worker()
        thread = threading.Thread(target=self._loop, args=(worker,), name=f"memos-jobs-{worker.name}", daemon=True)
        self._workers.append(worker)
        self._threads.append(thread)
        thread.start()

    def _loop(self, worker: Worker) -> None:
        pause = 0.1
        while not self._stopping.is_set() and not worker.hung:
            seen, owed = self._generation, worker.busy
            try:
                taken = worker.work()
            except StoreClosed:
                return
            except Exception as error:  # noqa: BLE001 - said; a thread that ended would leave jobs to nobody
                self._say("run", error)
                self._stopping.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            if taken or owed:  # the store was told something, and took it
                pause = 0.1
                self._well("run")
            else:
                self._idle(seen)
        if worker.busy and not worker.hung:
            worker.let_go()

    def _idle(self, seen: int) -> None:
        """Wait for news later than those seen."""
        with self._news:
            self._news.wait_for(lambda: self._generation != seen or self._stopping.is_set(), _IDLE)

    def _watch(self) -> None:
        while not self._stopping.is_set():
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
            except Exception as error:  # noqa: BLE001 - said, and tried again
                self._say("looked at", error)
                self._stopping.wait(_TICK)
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
        """Stop running jobs: what runs is finished, what was only leased is given back.

        Args:
            timeout: seconds; what still runs then is given back too, and loses its right to finish.

        Returns:
            Whether everything was finished in time.
        """
        with self._lock:
            threads, workers, watcher = self._threads, self._workers, self._watcher
            self._threads, self._workers, self._watcher = [], [], None
            self._stopping.set()
        for worker in workers:
            worker.stopping = True
        self._tell()
        self._store.jobs.wake()
        until = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        late = [worker for thread, worker in zip(threads, workers, strict=True) if thread.is_alive()]
        for worker in late:
            try:
                worker.abandon()
            except MemosError as error:
                log.warning("what runs could not be given back, its lease will run out: %s", error)
        if watcher is not None:
            watcher.join()
        return not late

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
        """Jobs, newest first."""
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
        return self._store.jobs.retry([ids] if isinstance(ids, int) else list(ids))

    def cancel(self, ids: int | Sequence[int]) -> list[int]:
        """Cancel jobs: those that wait at once, those that run are told. Ids of those that had not ended."""
        return self._store.jobs.cancel([ids] if isinstance(ids, int) else list(ids))
