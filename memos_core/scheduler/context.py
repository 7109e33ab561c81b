"""What a handler gets: its jobs, the store, the time, and the transaction in which it finishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from memos_core.errors import JobStopped
from memos_core.plaintext.general import GeneralTextMemory
from memos_core.plaintext.search import Searcher
from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.types.access import RESERVED_PREFIX
from memos_core.types.jobs import Done, Job
from memos_core.types.work import CubeRow

SCHEDULER: Final = RESERVED_PREFIX + "scheduler"


class RunningJobs:
    """One run of a handler: a job, or several that are done together. The attributes are those of `JobContext`.

    Args:
        jobs: as leased.
        cube: the cube they are about; None for none.
        store, memory, searcher: what handlers work with.
        now: the clock.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        cube: CubeRow | None,
        *,
        store: RecordStore,
        memory: GeneralTextMemory,
        searcher: Searcher,
        now: Callable[[], datetime],
    ) -> None:
        self.job = jobs[0]
        self.jobs: Sequence[Job] = tuple(jobs)
        self.payload = self.job.payload
        self.cube = cube
        self.store = store
        self.memory = memory
        self.searcher = searcher
        self.began: int | None = None  # where that is long after the lease
        self.finished = False  # in a transaction of the handler's own
        self.stopped: str | None = None  # why it should not go on
        self._now = now
        self._result: Any = None

    def now(self) -> datetime:
        """What time it is (aware, UTC)."""
        return self._now()

    @property
    def cancelled(self) -> bool:
        """Whether it should not go on."""
        return self.stopped is not None

    def check(self) -> None:
        """Go on only if that is wanted.

        Raises:
            JobStopped: it is to be cancelled, has taken too long, or belongs to another worker by now.
        """
        if self.stopped is not None:
            raise JobStopped(f"job {self.job.id} ({self.job.kind}) {self.stopped}")

    def returns(self, result: Any) -> None:
        """What the job has as its result."""
        self._result = result

    @property
    def result(self) -> Any:
        """What the handler said that the job has as its result."""
        return self._result

    @contextmanager
    def transaction(self, *, action: str, actor: str = "") -> Iterator[Transaction]:
        """The transaction in which the job is finished, all or nothing. At most once, as the last step.

        Raises:
            JobStopped: the job belongs to another worker by now; nothing is kept.
        """
        if self.finished:
            raise RuntimeError(f"job {self.job.id} ({self.job.kind}) is finished; write all in one transaction")
        self.check()
        with self.store.begin(actor=actor or SCHEDULER, action=action) as transaction:
            yield transaction
            transaction.end_jobs([Done(job, self._result, self.began) for job in self.jobs])
        self.finished = True
