"""If these fail, background work stands still, is done twice, or goes on for ever: a handler that fails, hangs or is unknown, a
clock that jumps, a store that is closed while it works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from memos_core import MOS
from memos_core.errors import InvalidConfig, InvalidInput, JobNotFound, JobStopped, StoreClosed, StoreFull
from memos_core.scheduler.clock import ManualClock
from memos_core.scheduler.kinds import JobContext, JobKind
from memos_core.types.jobs import NewJob

ran: list[Any] = []


def note(context: JobContext) -> object:
    """A kind that is found by its import path."""
    ran.append(context.payload)
    return {"n": len(ran)}


NOTE = JobKind(name="test_scheduler:NOTE", run=note)
NO_KIND = 3


@pytest.fixture
def clock() -> ManualClock:
    ran.clear()
    return ManualClock()


@pytest.fixture
def mos(tmp_path: Path, clock: ManualClock) -> Iterator[MOS]:
    with MOS.open(tmp_path / "memory", now=clock) as opened:
        opened.session("alice").add("hello")
        yield opened


def kind(mos: MOS, run: Callable[[JobContext], object], name: str = "own", **how: Any) -> JobKind:
    made = JobKind(name=name, run=run, **how)
    mos.scheduler.register(made)
    return made


def state_of(mos: MOS, id: int) -> str:
    return mos.scheduler.job(id).state


def test_a_job_is_run_and_its_result_is_kept(mos: MOS) -> None:
    handle = mos.scheduler.submit("test_scheduler:NOTE", {"ids": ["a"]}, cube="alice")
    assert (handle.status(), mos.scheduler.run_pending(), handle.status()) == ("pending", 1, "done")
    assert (ran, handle.results(0)) == ([{"ids": ["a"]}], [{"n": 1}])
    assert mos.scheduler.run_pending() == 0


def test_its_effect_and_its_end_are_one(mos: MOS) -> None:
    def run(context: JobContext) -> object:
        assert context.cube is not None
        with context.transaction(action="tag") as transaction:
            row = transaction.cube(context.cube.name)
            assert row is not None
            transaction.note(row, reason="by a job")
            transaction.enter(row)
            context.returns({"done": True})
        return "is not taken"

    kind(mos, run)
    handle = mos.scheduler.submit("own", cube="alice")
    mos.scheduler.run_pending()
    assert handle.results(0) == [{"done": True}]
    entry = mos.cube("alice").audit()[-1]
    assert entry.action in ("tag", "read")
    assert [each.actor for each in mos.cube("alice").audit() if each.action == "tag"] == ["memos:scheduler"]


def test_one_that_always_fails_is_given_up_and_can_be_tried_again(
    mos: MOS, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    times = []

    def run(context: JobContext) -> object:
        times.append(clock())
        raise ValueError("quotes a memory")

    kind(mos, run, max_attempts=4, first_wait=10.0, longest_wait=30.0)
    handle = mos.scheduler.submit("own")
    other = mos.scheduler.submit("test_scheduler:NOTE")
    with caplog.at_level(logging.DEBUG):
        for _ in range(100):
            mos.scheduler.run_pending()
            clock.go(2)
    assert (handle.status(), other.status()) == ("failed", "done")
    waits = [(b - a).total_seconds() for a, b in pairwise(times)]
    assert len(waits) == 3
    assert all(low <= wait <= high + 2 for wait, (low, high) in zip(waits, [(5, 10), (10, 20), (15, 30)], strict=True))
    assert "quotes a memory" not in f"{handle.error()}{caplog.text}"
    assert (handle.error() or "").startswith("ValueError")
    assert mos.scheduler.retry() == handle.job_ids
    mos.scheduler.run_pending()
    assert len(times) == 5


def test_of_an_unknown_kind_nothing_is_lost(mos: MOS) -> None:
    with pytest.raises(InvalidConfig, match="nobody_knows_me"):
        mos.scheduler.submit("nobody_knows_me")
    wrong = ["nobody_knows_me", "test_scheduler:NO_KIND", "test_scheduler:NOTHING", "no.such.module:X"]
    ids = mos.store.jobs.enqueue([NewJob(kind=name) for name in wrong])
    mos.scheduler.run_pending()
    for id, name in zip(ids, wrong, strict=True):
        job = mos.scheduler.job(id)
        assert (job.state, name in (job.error or "")) == ("failed", True)
    kind(mos, lambda context: 1, "nobody_knows_me")
    assert mos.scheduler.retry(ids[0]) == ids[:1]
    mos.scheduler.run_pending()
    assert state_of(mos, ids[0]) == "done"


def test_one_that_hangs_is_taken_over_and_cannot_finish(mos: MOS, clock: ManualClock) -> None:
    hangs, goes_on, turns, stopped = threading.Event(), threading.Event(), [], []

    def run(context: JobContext) -> object:
        turns.append(context.job.fence)
        if len(turns) > 1:
            return "the second"
        hangs.set()
        goes_on.wait(60)
        try:
            with context.transaction(action="late"):
                pass
        except JobStopped as error:
            stopped.append(str(error))
            raise
        return "the first"

    kind(mos, run, timeout=100.0, first_wait=1.0)
    kind(mos, lambda context: 1, "short")
    mos.scheduler.start(1)
    handle = mos.scheduler.submit("own")
    assert hangs.wait(30)
    behind = mos.scheduler.submit("short")
    clock.go(101)
    until(lambda: mos.scheduler.job(handle.job_ids[0]).error)
    assert "TimeoutError" in (handle.error() or "")
    assert behind.wait(30), "another thread has taken the place of the one that hangs"
    clock.go(2)
    assert handle.wait(30)
    goes_on.set()
    until(lambda: stopped)
    assert handle.results(30) == ["the second"]
    assert [entry.action for entry in mos.cube("alice").audit() if entry.action == "late"] == []


def until(done: Callable[[], object]) -> None:
    wait = threading.Event().wait
    for _ in range(3000):
        if done():
            return
        wait(0.01)
    raise AssertionError("it did not happen in 30 s")


def test_a_slow_one_keeps_nobody_waiting(mos: MOS, clock: ManualClock) -> None:
    slow, goes_on = threading.Event(), threading.Event()

    def run(context: JobContext) -> object:
        slow.set()
        goes_on.wait(60)
        return 1

    kind(mos, run, timeout=1000.0)
    kind(mos, lambda context: 1, "short")
    jobs = mos.store.jobs.enqueue([NewJob(kind="own"), *(NewJob(kind="short") for _ in range(5))])
    mos.scheduler.start(2)
    assert slow.wait(30)
    clock.go(2)
    until(lambda: [state_of(mos, id) for id in jobs] == ["running", *["done"] * 5])
    goes_on.set()
    until(lambda: state_of(mos, jobs[0]) == "done")


def test_one_that_runs_can_be_cancelled(mos: MOS, clock: ManualClock) -> None:
    began, told = threading.Event(), []

    def run(context: JobContext) -> object:
        began.set()
        until(lambda: context.cancelled)
        told.append(True)
        context.check()
        return 1

    kind(mos, run, timeout=10_000.0)
    mos.scheduler.start(1)
    handle = mos.scheduler.submit("own")
    assert began.wait(30)
    assert mos.scheduler.cancel(handle.job_ids) == handle.job_ids
    clock.go(30)  # its worker asks every twenty seconds
    assert handle.wait(30)
    assert (handle.status(), told) == ("cancelled", [True])
    waits = mos.scheduler.submit("own", run_at=clock.go(60))
    clock.go(-120)
    assert mos.scheduler.cancel(waits.job_ids) == waits.job_ids
    assert waits.status() == "cancelled"


def test_priority_order_and_lanes(mos: MOS) -> None:
    order: list[int] = []
    kind(mos, lambda context: order.append(context.payload["n"]), ordered=True)
    for n in range(30):
        mos.scheduler.submit("own", {"n": n}, cube="alice", priority=n % 3)
    assert mos.scheduler.run_pending() == 30
    assert order == list(range(30)), "of one cube and lane, the order of filing is kept whatever their priority"
    order.clear()
    kind(mos, lambda context: order.append(context.payload["n"]), "free")
    for n in range(9):
        mos.scheduler.submit("free", {"n": n}, priority=n // 3)
    mos.scheduler.run_pending()
    assert order == [6, 7, 8, 3, 4, 5, 0, 1, 2]


def test_in_a_lane_those_behind_wait_for_one_that_failed(mos: MOS, clock: ManualClock) -> None:
    order: list[int] = []

    def run(context: JobContext) -> object:
        order.append(context.payload["n"])
        if order == [0, 1]:
            raise ValueError
        return None

    kind(mos, run, ordered=True, first_wait=10.0)
    for n in range(4):
        mos.scheduler.submit("own", {"n": n}, cube="alice")
    mos.scheduler.run_pending()
    assert order == [0, 1]
    clock.go(11)
    mos.scheduler.run_pending()
    assert order == [0, 1, 1, 2, 3]


def test_only_so_many_a_second(mos: MOS, clock: ManualClock) -> None:
    order: list[str] = []
    kind(mos, lambda context: order.append("own"), per_second=3.0)
    kind(mos, lambda context: order.append("free"), "free")
    for _ in range(10):
        mos.scheduler.submit("own")
        mos.scheduler.submit("free")
    mos.scheduler.run_pending()
    assert (order.count("own"), order.count("free")) == (3, 10)
    clock.go(1)
    mos.scheduler.run_pending()
    assert order.count("own") == 6
    clock.go(-3600)
    mos.scheduler.run_pending()
    clock.go(1)
    mos.scheduler.run_pending()
    assert 6 < order.count("own") <= 10, "a clock that goes back stops it for a moment at most"


def test_a_limit_is_kept_by_all_threads_of_a_process_together(tmp_path: Path, clock: ManualClock) -> None:
    """Each kind has a limit of its own, and each process keeps it for itself, on one file or not."""
    with MOS.open(tmp_path / "one", now=clock) as first, MOS.open(tmp_path / "one", now=clock) as second:
        begun: dict[str, list[str]] = {"slow": [], "fast": [], "free": []}
        for name, mos in (("first", first), ("second", second)):
            for each, limit in (("slow", 2.0), ("fast", 5.0), ("free", 0.0)):
                run = lambda context, name=name: begun[context.job.kind].append(name)  # noqa: E731
                kind(mos, run, each, per_second=limit)
        ids = [first.scheduler.submit(each).job_ids[0] for _ in range(20) for each in begun]
        first.scheduler.start(3)
        until(lambda: [len(begun[each]) for each in begun] == [2, 5, 20])
        threading.Event().wait(0.3)
        assert [len(begun[each]) for each in begun] == [2, 5, 20], "three threads begin no more than one"
        second.scheduler.run_pending()
        assert [len(begun[each]) for each in begun] == [4, 10, 20], "another process has a limit of its own"
        clock.go(1)
        until(lambda: [begun[each].count("first") for each in ("slow", "fast")] == [4, 10])
        first.scheduler.stop()
        for _ in range(20):
            clock.go(1)
            first.scheduler.run_pending()
        assert {job.state for job in first.store.jobs.get(ids).values()} == {"done"}
        assert [len(begun[each]) for each in begun] == [20, 20, 20], "each once"


def test_again_and_again(mos: MOS, clock: ManualClock) -> None:
    times: list[float] = []
    kind(mos, lambda context: times.append(clock().timestamp()))
    first = mos.scheduler.every("own", 60)
    assert mos.scheduler.every("own", 60) == first
    for _ in range(50):
        mos.scheduler.run_pending()
        clock.go(10)
    assert len(times) == 9
    changed = mos.scheduler.every("own", 3600)
    assert len(mos.scheduler.jobs(states=["pending"])) == 1
    assert mos.scheduler.job(changed).interval == 3_600_000_000
    with pytest.raises(InvalidInput):
        mos.scheduler.every("own", 0)


def test_a_clock_that_jumps_does_no_harm(mos: MOS, clock: ManualClock) -> None:
    order: list[int] = []
    kind(mos, lambda context: order.append(context.payload["n"]), ordered=True)
    mos.scheduler.every("own", 60, {"n": -1}, cube="alice")
    mos.scheduler.run_pending()
    year = 365 * 86400
    for n, jump in enumerate([0, -year, 2 * year, -5, year, -3 * year]):
        clock.go(jump)
        mos.scheduler.submit("own", {"n": n}, cube="alice")
        mos.scheduler.run_pending()
    for _ in range(5):
        clock.go(61)
        mos.scheduler.run_pending()
    assert [n for n in order if n >= 0] == list(range(6)), "each once, in order"
    assert len(mos.scheduler.jobs(states=["pending"])) == 1
    assert order.count(-1) >= 4, "the periodic one has not stopped"
    assert not mos.scheduler.jobs(states=["running"])


def test_closing_while_busy(tmp_path: Path) -> None:
    began = threading.Event()
    goes_on = threading.Event()

    def run(context: JobContext) -> object:
        began.set()
        goes_on.wait(30)
        return "finished"

    with MOS.open(tmp_path / "busy", scheduler=True) as mos:
        kind(mos, run)
        handle = mos.scheduler.submit("own")
        assert began.wait(30)
        later = mos.scheduler.submit("own")
        threading.Timer(0.2, goes_on.set).start()
    with MOS.open(tmp_path / "busy") as again:
        assert again.scheduler.job(handle.job_ids[0]).result == "finished"
        waits = again.scheduler.job(later.job_ids[0])
        assert (waits.state, waits.attempts) in {("pending", 0), ("done", 1)}
    with pytest.raises(StoreClosed):
        mos.scheduler.stats()


def test_what_does_not_stop_in_time_is_given_back(tmp_path: Path) -> None:
    began, goes_on, ended = threading.Event(), threading.Event(), []

    def run(context: JobContext) -> object:
        began.set()
        goes_on.wait(30)
        ended.append(context.cancelled)
        return "too late"

    with MOS.open(tmp_path / "busy") as mos:
        kind(mos, run)
        mos.scheduler.start(1)
        handle = mos.scheduler.submit("own")
        assert began.wait(30)
        assert not mos.scheduler.stop(0.05)
        assert (handle.status(), mos.scheduler.job(handle.job_ids[0]).attempts) == ("pending", 0)
        kind(mos, lambda context: "again")
        assert mos.scheduler.run_pending() == 1
        goes_on.set()
        until(lambda: ended)
        assert (handle.results(0), ended) == (["again"], [True])
        mos.scheduler.start(1)
        assert mos.scheduler.submit("own").wait(30), "it can be started again"


def test_an_interrupt_gives_back_what_is_held(mos: MOS) -> None:
    def run(context: JobContext) -> object:
        if not ran:
            ran.append(1)
            raise KeyboardInterrupt
        return None

    kind(mos, run)
    ids = [mos.scheduler.submit("own").job_ids[0] for _ in range(3)]
    with pytest.raises(KeyboardInterrupt):
        mos.scheduler.run_pending()
    assert [(job.state, job.attempts) for job in mos.store.jobs.get(ids).values()] == [("pending", 0)] * 3
    assert mos.scheduler.run_pending() == 3


def test_one_that_there_is_no_room_for_is_tried_until_there_is(mos: MOS, clock: ManualClock) -> None:
    full = True

    def run(context: JobContext) -> object:
        if full:
            raise StoreFull("no space left")
        return "it fits"

    kind(mos, run, max_attempts=2)
    handle = mos.scheduler.submit("own")
    others = [mos.scheduler.submit("test_scheduler:NOTE") for _ in range(3)]
    for _ in range(5):
        with pytest.raises(StoreFull):
            mos.scheduler.run_pending()
        job = mos.scheduler.job(handle.job_ids[0])
        assert (job.state, job.attempts) == ("pending", 0)
        assert (job.error or "").startswith("StoreFull")
        mos.scheduler.run_pending()
        assert {each.status() for each in others} == {"done"}, "it keeps no others from being done"
        clock.go(11)
    full = False
    assert mos.scheduler.run_pending() == 1
    assert handle.results(0) == ["it fits"]


def test_what_the_store_does_not_take_is_said_again(
    mos: MOS, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The store refuses every change for a while, right after a job has done its work."""
    refusing, times = threading.Event(), []
    writing = mos.store._database.writing  # type: ignore[attr-defined]

    def refused(**how: Any) -> Any:
        if refusing.is_set():
            raise StoreFull("no space left")
        return writing(**how)

    def run(context: JobContext) -> object:
        times.append(context.payload["n"])
        if context.payload["n"] == 1:
            refusing.set()
        return times[-1]

    kind(mos, run)
    monkeypatch.setattr(mos.store._database, "writing", refused)  # type: ignore[attr-defined]
    jobs = mos.store.jobs.enqueue([NewJob(kind="own", payload={"n": n}) for n in range(5)])
    mos.scheduler.start(1)
    until(lambda: "jobs cannot be run for now: no space left" in caplog.text)
    assert {state_of(mos, id) for id in jobs} == {"running"}
    refusing.clear()
    until(lambda: {state_of(mos, id) for id in jobs} == {"done"})
    assert times == [0, 1, 2, 3, 4], "each once, long before leases run out"
    assert {mos.scheduler.job(id).attempts for id in jobs} == {1}
    until(lambda: "jobs can be run again" in caplog.text)


def test_a_limit_of_one_call(mos: MOS) -> None:
    for _ in range(5):
        mos.scheduler.submit("test_scheduler:NOTE")
    assert [mos.scheduler.run_pending(2) for _ in range(4)] == [2, 2, 1, 0]


def test_old_jobs_are_forgotten(mos: MOS, clock: ManualClock) -> None:
    handle = mos.scheduler.submit("test_scheduler:NOTE")
    mos.scheduler.run_pending()
    mos.scheduler.start(1)
    mos.scheduler.stop(30)
    assert [job.kind for job in mos.scheduler.jobs(states=["pending"])] == ["prune"]
    clock.go(8 * 86400)
    mos.scheduler.run_pending()
    with pytest.raises(JobNotFound):
        mos.scheduler.job(handle.job_ids[0])
    with pytest.raises(JobNotFound):
        handle.status()


def test_a_cube_that_is_gone_or_none(mos: MOS) -> None:
    seen: list[object] = []
    kind(mos, lambda context: seen.append(context.cube and context.cube.name))
    with pytest.raises(InvalidInput, match="nobody"):
        mos.scheduler.submit("own", cube="nobody")
    mos.store.jobs.enqueue([NewJob(kind="own", cube=999)])
    mos.scheduler.submit("own")
    mos.scheduler.submit("own", cube="alice")
    mos.scheduler.run_pending()
    assert sorted(map(str, seen)) == ["None", "None", "alice"]
