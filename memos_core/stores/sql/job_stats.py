"""How jobs stand: counts, ages, and how long they waited and ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from memos_core.stores.sql.job_rows import READY, SECOND, J
from memos_core.types.jobs import STATES, JobStats

_RECENT = 1000  # finished jobs of each kind that percentiles are taken of
_COUNTED = 50_000  # finished jobs that are counted to say how many a second
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
    rates = _rates(connection, now)
    found = []
    for kind in sorted(counts):
        own = _last(connection, kind) if counts[kind]["done"] else []
        found.append(
            JobStats(
                kind=kind,
                counts=counts[kind],
                oldest=None if kind not in oldest else max(0.0, (now - oldest[kind]) / SECOND),
                late=late.get(kind, 0),
                wait=_percentiles([row[1] - row[0] for row in own]),
                run=_percentiles([row[2] - row[1] for row in own]),
                per_second=rates.get(kind, 0.0),
            )
        )
    return found


def _last(connection: Connection, kind: str) -> Sequence[Any]:
    """When the last jobs of a kind that were done could run, were begun, and ended."""
    query = select(J.run_at, J.started, J.finished).where(J.kind == kind, J.state == "done", J.finished.is_not(None))
    return connection.execute(query.order_by(J.finished.desc()).limit(_RECENT)).fetchall()


def _rates(connection: Connection, now: int) -> dict[str, float]:
    """Jobs done per second, by kind, over the window; where more were done than are counted, over as long as those took."""
    done = select(J.kind, J.finished).where(J.finished > now - _WINDOW, J.finished.is_not(None), J.state == "done")
    newest = done.order_by(J.finished.desc()).limit(_COUNTED).subquery()
    query = select(newest.c.kind, func.count(), func.min(newest.c.finished)).group_by(newest.c.kind)
    rows = connection.execute(query).fetchall()
    span = _WINDOW
    if sum(row[1] for row in rows) == _COUNTED:
        span = max(now - min(row[2] for row in rows), SECOND // 10)
    return {row[0]: row[1] * SECOND / span for row in rows}


def _percentiles(values: Sequence[int]) -> tuple[float, float, float] | None:
    """Median, 95th and 99th percentile, in seconds."""
    if not values:
        return None
    ordered = sorted(max(0, value) for value in values)
    last = len(ordered) - 1
    return ordered[last // 2] / SECOND, ordered[last * 95 // 100] / SECOND, ordered[last * 99 // 100] / SECOND
