"""retain: put away what has had its time, as the cube's policy says. Twice does no harm."""

from __future__ import annotations

from typing import Final

from memos_core.scheduler.jobs.consolidating import cube_of, for_each_cube
from memos_core.scheduler.kinds import JobContext, JobKind

NAME: Final = "retain"


def run(context: JobContext) -> object:
    """Do it, and say how many items by why."""
    row = context.cube
    assert row is not None
    return {why: len(ids) for why, ids in cube_of(context, row).retain().items()}


RETAIN = JobKind(name=NAME, run=for_each_cube(NAME, run), ordered=True, priority=-5)
