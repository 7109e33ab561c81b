"""rebuild_stale: build anew what is derived from a cube where it differs from the truth. Twice does no harm."""

from __future__ import annotations

from typing import Final

from memos_core.plaintext.verify import verify_cube
from memos_core.scheduler.jobs.consolidating import for_each_cube
from memos_core.scheduler.kinds import JobContext, JobKind

NAME: Final = "rebuild_stale"


def run(context: JobContext) -> object:
    """Look, repair, and say how many differences there were. The truth itself is never changed."""
    row, memory = context.cube, context.memory
    assert row is not None
    found = verify_cube(context.store, memory.embedding, memory.indexes, row, repair=True)
    found += memory.followers.verify(row, repair=True)
    return {"found": len(found)}


REBUILD_STALE = JobKind(name=NAME, run=for_each_cube(NAME, run), ordered=True, priority=-5)
