"""How jobs stand: counts, ages, and how long they waited and ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from memos_core.stores.sql.job_rows import READY, SECOND, J
from memos_core.types.jobs import STATES, JobStats

_RECENT = 5000  # finished jobs that percentiles are taken of
_WINDOW = 300 * SECOND


def statistics(connection: Connection, now: int) -> list[JobStats]:
    """How the jobs of each kind stand, by name of the kind."""
    counts: dict[str, dict[str, int]] = {}
    for kind, state, count in connection.execute(select(J.kind, J.state, func.count()).group_by(J.kind, J.state)):
        counts.setdefault(kind, dict.fromkeys(STATES, 0))[state] = count
    query = select(J.kind, func.min(J.run_at)).where(READY, J.run_at <= now).group_by(J.kind)
    oldest: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
    expired = select(J.kind, func.count()).where(J.state == "running", J.leased_until < now).group_by(J.kind)
    late: dict[str, int] = {row[0]: row[1] for row in connection.execute(expired)}
    finished = (
        select(J.kind, J.run_at, J.started, J.finished)
        .where(J.finished.is_not(None), J.state == "done")
        .order_by(J.finished.desc())
        .limit(_RECENT)
    )
    rows: dict[str, list[Any]] = {}
    for row in connection.execute(finished):
        rows.setdefault(row[0], []).append(row)
    found = []
    for kind in sorted(counts):
        own = rows.get(kind, [])
        recent = [row for row in own if row[3] > now - _WINDOW]
        # where there were more than are looked at, they cover less than the whole window
        span = max(now - recent[-1][3], SECOND) if len(own) == _RECENT and recent else _WINDOW
        found.append(
            JobStats(
                kind=kind,
                counts=counts[kind],
                oldest=None if kind not in oldest else max(0.0, (now - oldest[kind]) / SECOND),
                late=late.get(kind, 0),
                wait=_percentiles([row[2] - row[1] for row in own]),
                run=_percentiles([row[3] - row[2] for row in own]),
                per_second=len(recent) * SECOND / span,
            )
        )
    return found


def _percentiles(values: Sequence[int]) -> tuple[float, float, float] | None:
    """Median, 95th and 99th percentile, in seconds."""
    if not values:
        return None
    ordered = sorted(max(0, value) for value in values)
    last = len(ordered) - 1
    return ordered[last // 2] / SECOND, ordered[last * 95 // 100] / SECOND, ordered[last * 99 // 100] / SECOND
