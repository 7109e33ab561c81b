"""archive_cold: put away what was added long ago and hardly used since, where the cube's policy wants it. Twice does no harm."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from memos_core.lifecycle.consolidation import is_cold
from memos_core.scheduler.jobs.consolidating import AT_ONCE, cube_of, for_each_cube, living, not_held
from memos_core.scheduler.kinds import JobContext, JobKind
from memos_core.types.cube_policy import decode_policy
from memos_core.types.items import LifecycleState
from memos_core.types.work import Record, micros

NAME: Final = "archive_cold"


def run(context: JobContext) -> object:
    """Archive up to so many at once; what is frozen, pinned, a preference or has been used lately stays."""
    row = context.cube
    assert row is not None
    policy, cube = decode_policy(row.policy), cube_of(context, row)
    if policy.archive_below is None:
        return {"archived": 0}
    now = context.now()
    before = micros(now - timedelta(days=policy.archive_after_days))
    cold: list[Record] = []
    for piece in living(context, row, states=frozenset({LifecycleState.ACTIVATED})):
        used = context.store.uses.used_items([record.item for record in piece])
        cold += [
            record
            for record in not_held(context, row, piece)
            if is_cold(record, used.get(record.item), below=policy.archive_below, before=before, now=micros(now))
        ]
        if len(cold) > AT_ONCE:
            break
    some = cold[:AT_ONCE]
    context.returns({"archived": len(some)})
    with context.transaction(action="archive") as transaction:
        if some:
            cube.move(
                transaction, some, LifecycleState.ARCHIVED, reason=f"hardly used (below {policy.archive_below:g})"
            )
        if len(cold) > AT_ONCE:
            transaction.file([ARCHIVE_COLD.new(cube=row.number, key="more")])
    return None


ARCHIVE_COLD = JobKind(name=NAME, run=for_each_cube(NAME, run), ordered=True, priority=-5)
