"""prune: forget jobs that were done or cancelled a week ago. Twice does no harm."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from memos_core.scheduler.kinds import JobContext, JobKind
from memos_core.types.work import micros

KEPT: Final = timedelta(days=7)


def run(context: JobContext) -> object:
    """Forget them, and say how many there were."""
    return {"pruned": context.store.jobs.prune(micros(context.now() - KEPT))}


PRUNE = JobKind(name="prune", run=run, every=6 * 3600.0, priority=-5)
