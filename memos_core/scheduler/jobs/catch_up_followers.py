"""catch_up_followers: bring the index of a cube, and copies of its vectors that others keep, up to date. Twice does no harm."""

from __future__ import annotations

from typing import Final

from memos_core.scheduler.jobs.consolidating import cube_of, for_each_cube
from memos_core.scheduler.kinds import JobContext, JobKind

NAME: Final = "catch_up_followers"


def run(context: JobContext) -> object:
    """Do it, and say up to which change.

    Raises:
        FollowerUnavailable: whoever keeps a copy cannot be reached; it is tried again later.
    """
    row = context.cube
    assert row is not None
    return {"seq": cube_of(context, row).catch_up()}


CATCH_UP_FOLLOWERS = JobKind(name=NAME, run=for_each_cube(NAME, run), ordered=True, priority=-5)
