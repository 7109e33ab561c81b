"""If these fail, two jobs of one cube and lane run at the same time, or workers block each other, when somebody files or retries
at the very moment in which a worker takes a job."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection

from memos_core.stores.sql.job_rows import JobRows
from memos_core.stores.sql.postgres.database import PostgresDatabase
from memos_core.stores.sql.postgres.url import PostgresUrl
from memos_core.stores.sql.records import SqlStore
from memos_core.testing.stores import Clock
from memos_core.types.jobs import Done, Failure, NewJob


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stores(postgres_url: str, clock: Clock) -> Iterator[tuple[SqlStore, SqlStore]]:
    url = PostgresUrl(f"{postgres_url}?schema=lanes")
    one = SqlStore(PostgresDatabase(url), now=clock)
    other = SqlStore(PostgresDatabase(url), now=clock)
    yield one, other
    one.close()
    other.close()


class Paused:
    """Another thread's call, held up just before it commits (or at a step) until it may go on."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.there, self.go_on, self.result = threading.Event(), threading.Event(), []
        self.thread = threading.Thread(target=lambda: self.result.append(call()), daemon=True)

    def stop_here(self) -> None:
        if threading.current_thread() is self.thread:
            self.there.set()
            assert self.go_on.wait(30)

    def end(self) -> Any:
        self.go_on.set()
        self.thread.join(30)
        return self.result[0]


def before_commit(store: SqlStore, paused: list[Paused], monkeypatch: pytest.MonkeyPatch) -> None:
    database = store.jobs._database
    writing = database.writing

    @contextmanager
    def held_up(**how: Any) -> Iterator[Connection]:
        with writing(**how) as connection:
            yield connection
            for each in paused:
                each.stop_here()

    monkeypatch.setattr(database, "writing", held_up)


def test_a_retry_at_the_moment_of_a_lease_starts_nothing_beside_it(
    stores: tuple[SqlStore, SqlStore], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = stores
    first, second = one.jobs.enqueue([NewJob(kind="a", cube=1, lane="a") for _ in range(2)])
    (held,) = one.jobs.lease("w", 1, seconds=60)
    one.jobs.fail([Failure(held, "E: x", None)])
    leasing = Paused(lambda: one.jobs.lease("w", 1, seconds=60))
    before_commit(one, [leasing], monkeypatch)
    leasing.thread.start()
    assert leasing.there.wait(30)
    retrying = threading.Thread(target=lambda: other.jobs.retry([first]), daemon=True)
    retrying.start()
    retrying.join(0.3)
    assert [job.id for job in leasing.end()] == [second]
    retrying.join(30)
    assert other.jobs.lease("x", 1, seconds=60) == [], "the other one of the lane runs"
    assert other.jobs.finish([Done(each) for each in leasing.result[0]]) == [second]
    assert [job.id for job in other.jobs.lease("x", 1, seconds=60)] == [first]


def test_who_finishes_late_and_who_takes_over_do_not_block_each_other(
    stores: tuple[SqlStore, SqlStore], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = stores
    one.jobs.enqueue([NewJob(kind="a", cube=1, lane="a")])
    (held,) = one.jobs.lease("w", 1, seconds=60)
    clock.go(61)
    finishing = Paused(lambda: other.jobs.finish([Done(held)]))
    lock = JobRows.lock

    def locked(self: JobRows, lanes: Any) -> None:
        lock(self, lanes)
        finishing.stop_here()

    monkeypatch.setattr(JobRows, "lock", locked)
    finishing.thread.start()
    assert finishing.there.wait(30)
    taken: list[Any] = []
    taking = threading.Thread(target=lambda: taken.append(one.jobs.lease("x", 1, seconds=60)), daemon=True)
    taking.start()
    taking.join(0.3)
    assert finishing.end() == [held.id], "it was first"
    taking.join(30)
    assert taken == [[]]
    assert one.jobs.get([held.id])[held.id].state == "done"
