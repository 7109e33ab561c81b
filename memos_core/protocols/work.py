"""What a store of jobs must promise.

Jobs are in the database of the records: `Transaction.file` files them in the transaction that causes them, and
`Transaction.finish` ends them in the transaction that has their effect. Whoever leases a job holds it until the lease runs
out; then another may have it, and the first can change nothing any more (its fence is an old one).

A job therefore has its effect exactly once where the effect is part of the finishing transaction. Any other effect may come
more than once (a worker may die between it and the finish), so handlers must be such that twice does no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from memos_core.types.jobs import Done, Failure, Job, JobState, JobStats, NewJob


class JobStore(Protocol):
    """The jobs of a store. Every method is one transaction and may be called from any thread."""

    def enqueue(self, jobs: Sequence[NewJob]) -> list[int]:
        """File jobs; the ids, in order. For one whose key waits already it is the id of that one."""

    def lease(
        self,
        worker: str,
        count: int,
        *,
        seconds: float,
        kinds: Collection[str] | None = None,
        without: Collection[str] = (),
    ) -> list[Job]:
        """Take up to so many jobs that may run now, in the order in which to run them.

        A job that has been begun before, and was not finished, is given alone: if it takes its worker down with it, it takes
        nobody else's jobs along. Of a lane, jobs are given in order, and to one worker at a time.

        Args:
            worker: whose they are then.
            seconds: how long.
            kinds: only these; None for all.
            without: none of these.
        """

    def heartbeat(self, jobs: Sequence[Job], *, seconds: float) -> tuple[list[int], list[int]]:
        """Hold jobs for so many seconds from now on: ids of those that are still held, and of those to be cancelled."""

    def finish(self, done: Sequence[Done]) -> list[int]:
        """End jobs; ids of those that were still held. The others belong to somebody else by now."""

    def fail(self, failures: Sequence[Failure]) -> list[int]:
        """Put jobs back, or give them up; ids of those that were still held."""

    def release(self, jobs: Sequence[Job]) -> None:
        """Give jobs back that have not been begun: as if they had never been leased."""

    def cancel(self, ids: Sequence[int]) -> list[int]:
        """Cancel jobs: those that wait at once, those that run are told. Ids of those that had not ended."""

    def retry(self, ids: Sequence[int]) -> list[int]:
        """Have jobs that failed or were cancelled wait again, as if new; ids of those that do."""

    def get(self, ids: Sequence[int]) -> dict[int, Job]:
        """Jobs by id; those that there are not are left out."""

    def next_at(self, kinds: Collection[str] | None = None) -> int | None:
        """When the next job may run or a lease runs out, microseconds since 1970; None where there is none."""

    def stats(self) -> list[JobStats]:
        """How the jobs of each kind stand, by name of the kind."""

    def prune(self, before: int) -> int:
        """Forget jobs that were done or cancelled before a time; how many. Those that failed are kept."""

    def wait_for_news(self, seconds: float) -> None:
        """Return when somebody may have filed a job, at the latest after so many seconds."""

    def wake(self) -> None:
        """Have `wait_for_news` return now."""

    def list(
        self,
        *,
        states: Collection[JobState] | None = None,
        kinds: Collection[str] | None = None,
        cube: int | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Jobs, newest first."""
