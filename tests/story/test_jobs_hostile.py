"""If these fail, one bad job or one wrong argument stops background work for everybody: a handler that returns what cannot be
kept, leaves by sys.exit or closes the store it works for, a payload that cannot be read again, a periodic job that cannot be
cancelled, an asynchronous add that waits for room and keeps everything else waiting."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memos_core import MOS
from memos_core.aio import AsyncMOS
from memos_core.errors import Conflict, InvalidConfig, InvalidInput, QueueFull, StoreBusy, StoreClosed
from memos_core.scheduler.clock import ManualClock
from memos_core.scheduler.kinds import JobContext, JobKind
from memos_core.types.jobs import NewJob


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def mos(tmp_path: Path, clock: ManualClock) -> Iterator[MOS]:
    with MOS.open(tmp_path / "memory", now=clock) as opened:
        opened.session("alice").add("hello")
        kind(opened, lambda context: "fine", "good")
        yield opened


def kind(mos: MOS, run: Callable[[JobContext], object], name: str = "own", **how: Any) -> None:
    mos.scheduler.register(JobKind(name=name, run=run, **how))


def until(done: Callable[[], object]) -> None:
    wait = threading.Event().wait
    for _ in range(3000):
        if done():
            return
        wait(0.01)
    raise AssertionError("it did not happen in 30 s")


class Panic(BaseException):
    """As native code raises when it panics."""


def panics(context: JobContext) -> object:
    raise Panic("quotes a memory")


def leaves(context: JobContext) -> object:
    raise SystemExit(3)


def no_json(context: JobContext) -> object:
    return {"found": object()}


def half_a_character(context: JobContext) -> object:
    return "quotes a memory \ud800"


@pytest.mark.parametrize("run", [panics, leaves, no_json, half_a_character])
def test_a_bad_handler_costs_its_own_job_and_no_thread(mos: MOS, run: Callable[[JobContext], object]) -> None:
    kind(mos, run, max_attempts=2, first_wait=0.0)
    mos.scheduler.start(2)
    bad, good = [mos.scheduler.submit("own") for _ in range(4)], [mos.scheduler.submit("good") for _ in range(4)]
    assert all(handle.wait(30) for handle in [*bad, *good])
    assert [handle.status() for handle in [*bad, *good]] == ["failed"] * 4 + ["done"] * 4
    assert [handle.jobs()[0].attempts for handle in bad] == [2] * 4
    assert not any("quotes" in (handle.error() or "") for handle in bad)


@pytest.mark.parametrize("run", [panics, no_json])
def test_nor_the_thread_that_calls_run_pending(mos: MOS, run: Callable[[JobContext], object]) -> None:
    kind(mos, run)
    bad, good = mos.scheduler.submit("own"), mos.scheduler.submit("good")
    assert mos.scheduler.run_pending() == 2
    assert (bad.status(), bad.jobs()[0].attempts, good.status()) == ("pending", 1, "done")


def test_leaving_the_program_from_the_main_thread_counts_as_an_attempt(mos: MOS, clock: ManualClock) -> None:
    kind(mos, leaves, max_attempts=2)
    good, bad = mos.scheduler.submit("good", priority=1), mos.scheduler.submit("own")
    for _ in range(2):
        with pytest.raises(SystemExit):
            mos.scheduler.run_pending()
        clock.go(60)
    assert (bad.status(), good.status(), good.jobs()[0].attempts) == ("failed", "done", 1)
    assert mos.scheduler.run_pending() == 0


@pytest.mark.parametrize("way", ["close", "stop"])
def test_a_job_cannot_close_what_it_runs_in(mos: MOS, way: str) -> None:
    kind(mos, lambda context: mos.close() if way == "close" else mos.scheduler.stop(), max_attempts=1)
    mos.scheduler.start(1)
    handle = mos.scheduler.submit("own")
    assert handle.wait(30)
    assert "Conflict: a job cannot" in (handle.error() or "")
    assert mos.scheduler.submit("good").wait(30)
    assert mos.scheduler.stop(30)
    assert [item.text for item in mos.session("alice").list()] == ["hello"]


def test_starting_while_another_thread_stops(mos: MOS) -> None:
    began, goes_on, stopped = threading.Event(), threading.Event(), []

    def run(context: JobContext) -> object:
        began.set()
        goes_on.wait(30)
        return None

    kind(mos, run)
    mos.scheduler.start(1)
    slow = mos.scheduler.submit("own")
    assert began.wait(30)
    stopping = threading.Thread(target=lambda: stopped.append(mos.scheduler.stop(30)))
    stopping.start()
    until(lambda: not mos.scheduler.running)
    mos.scheduler.start(1)
    goes_on.set()
    stopping.join(30)
    assert stopped == [True]
    assert slow.wait(30)
    assert mos.scheduler.submit("good").wait(30)


def test_jobs_that_take_long_together_keep_nobody_waiting(mos: MOS, clock: ManualClock) -> None:
    began, goes_on = threading.Event(), threading.Event()

    def run(context: JobContext) -> object:
        if context.payload["n"] < 3:
            clock.go(0.5)
        else:
            began.set()
            goes_on.wait(30)
        return None

    kind(mos, run)
    jobs = mos.store.jobs.enqueue([*(NewJob(kind="own", payload={"n": n}) for n in range(4)), NewJob(kind="good")])
    mos.scheduler.start(1)
    assert began.wait(30)
    mos.scheduler.start(2)
    until(lambda: mos.scheduler.job(jobs[-1]).state == "done")
    assert mos.scheduler.job(jobs[3]).state == "running"
    goes_on.set()


def test_a_periodic_job_that_is_cancelled_while_it_runs_does_not_come_back(mos: MOS, clock: ManualClock) -> None:
    runs = []

    def run(context: JobContext) -> object:
        runs.append(context.job.id)
        mos.scheduler.cancel(context.job.id)
        return None  # it did not look

    kind(mos, run)
    mos.scheduler.every("own", 10)
    for _ in range(5):
        mos.scheduler.run_pending()
        clock.go(11)
    assert len(runs) == 1
    assert mos.scheduler.jobs(states=["pending"]) == []


@pytest.mark.parametrize("payload", [["a"], "a", 3, {"a": object()}, {"a": "\ud800"}, {1: 2}, {"a": float("nan")}])
def test_a_payload_that_could_not_be_read_again_is_refused(mos: MOS, payload: Any) -> None:
    good = mos.scheduler.submit("good")
    with pytest.raises(InvalidInput, match="payload"):
        mos.scheduler.submit("good", payload)
    with pytest.raises(InvalidInput, match="payload"):
        mos.scheduler.every("good", 10, payload)
    assert (mos.scheduler.run_pending(), good.status()) == (1, "done")


def test_a_handler_cannot_file_one_either(mos: MOS) -> None:
    def run(context: JobContext) -> object:
        with context.transaction(action="own") as transaction:
            transaction.file([NewJob(kind="good", payload=["a"])])  # type: ignore[arg-type]
        return None

    kind(mos, run)
    bad, good = mos.scheduler.submit("own"), mos.scheduler.submit("good")
    mos.scheduler.run_pending()
    assert (bad.status(), good.status(), (bad.error() or "")[:15]) == ("pending", "done", "InvalidInput at")


@pytest.mark.parametrize(
    "wrong",
    [
        {"run_at": datetime(2026, 1, 1)},
        {"run_at": 3},
        {"priority": "high"},
        {"priority": 1.5},
        {"priority": True},
        {"priority": 10**18},
        {"key": 5},
        {"key": ""},
        {"key": "\x00"},
        {"cube": "nobody"},
    ],
    ids=str,
)
def test_arguments_that_mean_nothing_are_refused(mos: MOS, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        mos.scheduler.submit("good", **wrong)
    assert mos.scheduler.run_pending() == 0


def test_so_are_those_of_the_other_calls(mos: MOS) -> None:
    scheduler: Any = mos.scheduler
    for interval in (0, -1, float("inf"), float("nan"), 1e-9, 1e30, "1", None, True):
        with pytest.raises(InvalidInput):
            scheduler.every("good", interval)
    for threads in (0, 1.5, "2", None, True):
        with pytest.raises(InvalidInput):
            scheduler.start(threads)
    for ids in ("1", ["1"], True, 1.5):
        for call in (scheduler.retry, scheduler.cancel):
            with pytest.raises(InvalidInput):
                call(ids)
    for states in ("failed", ["fail"]):
        with pytest.raises(InvalidInput):
            scheduler.jobs(states=states)
    wrong = [{"name": ""}, {"run": None}, {"together": 0}, {"max_attempts": 0}, {"timeout": 0}, {"per_second": -1.0}]
    for how in wrong:
        with pytest.raises(InvalidConfig):
            scheduler.register(JobKind(**({"name": "x", "run": panics} | how)))
    with pytest.raises(InvalidConfig):
        scheduler.register(panics)
    alice: Any = mos.session("alice")
    for wait in (None, 0, 1, "no"):
        with pytest.raises(InvalidInput):
            alice.add("x", wait=wait)
    for timeout in (float("inf"), float("nan"), -1, "1", True):
        with pytest.raises(InvalidInput):
            alice.add("x", wait=False, timeout=timeout)
    assert len(alice.list()) == 1
    handle = mos.scheduler.submit("good")
    for timeout in (float("nan"), "1", True):
        for call in (handle.wait, handle.results, scheduler.stop):
            with pytest.raises(InvalidInput):
                call(timeout)
    for limit in (-1, 1.5, "2", True):
        with pytest.raises(InvalidInput):
            scheduler.run_pending(limit)


def test_an_awaited_add_that_waits_for_room_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def story() -> None:
        async with AsyncMOS.open(tmp_path / "memory", embedder="hashing", max_pending=1, workers=2) as mos:
            alice = await mos.session("alice")
            one = await alice.add("one", wait=False)
            with pytest.raises(TimeoutError, match=r"0\.01 s"):
                await one.result(timeout=0.01)
            waiting = [
                asyncio.create_task(alice.add((text for text in (f"two {n}",)), wait=False, timeout=30))
                for n in range(4)
            ]
            await asyncio.sleep(0.05)
            for _ in range(5):
                assert len(await asyncio.wait_for(alice.search("one"), 5)) == 1
            with pytest.raises(QueueFull):
                await alice.add("three", wait=False, timeout=0.05)
            waiting[0].cancel()
            while not all(task.done() for task in waiting):
                await asyncio.to_thread(mos.scheduler.run_pending)
            await asyncio.to_thread(mos.scheduler.run_pending)
            handles = [await task for task in waiting[1:]]
            assert [await handle.status() for handle in handles] == ["done"] * 3
            assert sorted(item.text for item in await alice.list()) == ["one", "two 1", "two 2", "two 3"]
            with pytest.raises(InvalidInput):
                await alice.add("four", wait=None)  # type: ignore[call-overload]

    asyncio.run(story())


class Awaited:
    """A host's embedder that can be awaited."""

    identity = "awaited-1"
    dims = 4

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        made: NDArray[np.float64] = np.random.default_rng(len(text)).random(4)
        return list(map(float, made))

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embed_documents(texts)

    async def aembed_query(self, text: str) -> list[float]:
        return self.embed_query(text)


@pytest.mark.parametrize("wait", [True, False])
def test_what_is_said_through_an_awaited_model_is_in_mind_too(tmp_path: Path, wait: bool) -> None:
    async def story() -> list[str]:
        async with AsyncMOS.open(tmp_path / "memory", embedder=Awaited()) as mos:
            alice = await mos.session("alice", conversation="thread")
            await alice.add("My dog is called Rex.", wait=wait)
            await asyncio.to_thread(mos.scheduler.run_pending)
            return [each.text for each in await alice.working()]

    assert asyncio.run(story()) == ["My dog is called Rex."]


def test_conflict_is_what_closing_from_within_raises(mos: MOS) -> None:
    seen: list[str] = []

    def run(context: JobContext) -> object:
        with pytest.raises(Conflict):
            mos.close()
        seen.append(mos.session("alice").list()[0].text)
        return None

    kind(mos, run)
    mos.scheduler.start(1)
    assert mos.scheduler.submit("own").wait(30)
    assert seen == ["hello"]


def test_a_forked_child_files_and_runs_whatever_the_threads_of_the_parent_held(mos: MOS) -> None:
    held, goes_on = threading.Event(), threading.Event()

    def hold() -> None:
        with mos.store.jobs.news._cond:  # type: ignore[attr-defined]
            held.set()
            goes_on.wait(30)

    mos.scheduler.start(1)
    holding = threading.Thread(target=hold)
    holding.start()
    assert held.wait(30)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(20)
            handle = mos.scheduler.submit("good")
            mos.scheduler.run_pending()
            code = 0 if handle.results(0) == ["fine"] else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    goes_on.set()
    holding.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_no_error_that_may_quote_a_memory_is_kept(mos: MOS) -> None:
    alice: Any = mos.session("alice")

    def run(context: JobContext) -> object:
        alice.add("x", metadata="my secret words")
        return None

    kind(mos, run)
    handle = mos.scheduler.submit("own")
    mos.scheduler.run_pending()
    assert (handle.error() or "").startswith("InvalidMetadata at ")


def test_one_that_takes_too_long_leaves_the_others_to_be_run(mos: MOS, clock: ManualClock) -> None:
    turned: list[int] = []

    def run(context: JobContext) -> object:
        turned.append(1)
        if len(turned) == 1:
            clock.go(1000)
            until(lambda: context.cancelled)
        return "back again"

    kind(mos, run, first_wait=0.0)
    slow, good = mos.scheduler.submit("own", priority=1), [mos.scheduler.submit("good") for _ in range(3)]
    mos.scheduler.run_pending()
    assert [each.status() for each in (slow, *good)] == ["done"] * 4
    assert slow.jobs()[0].attempts == 2


def test_old_jobs_are_forgotten_where_only_run_pending_is_called(tmp_path: Path, clock: ManualClock) -> None:
    for _ in range(2):
        with MOS.open(tmp_path / "memory", now=clock) as mos:
            for _ in range(3):
                kind(mos, lambda context: None)
                mos.scheduler.submit("own")
                mos.scheduler.run_pending()
                clock.go(5 * 86_400)
    with MOS.open(tmp_path / "memory", now=clock) as mos:
        mos.scheduler.run_pending()
        assert len(mos.scheduler.jobs()) == 1


@pytest.mark.parametrize("in_time", [True, False])
def test_closing_while_another_thread_runs_what_is_pending(tmp_path: Path, in_time: bool) -> None:
    began, goes_on, ran, answers = threading.Event(), threading.Event(), [], []

    def run(context: JobContext) -> object:
        ran.append(context.job.id)
        began.set()
        goes_on.wait(30)
        return None

    def call() -> None:
        try:
            answers.append(mos.scheduler.run_pending())
        except StoreClosed:
            answers.append(0)

    with MOS.open(tmp_path / "memory") as mos:
        kind(mos, run)
        handles = [mos.scheduler.submit("own") for _ in range(3)]
        calling = threading.Thread(target=call)
        calling.start()
        assert began.wait(30)
        if in_time:
            threading.Timer(0.2, goes_on.set).start()
        else:
            assert not mos.scheduler.stop(0.05)
    with MOS.open(tmp_path / "memory") as again:
        states = [again.scheduler.job(handle.job_ids[0]).state for handle in handles]
        assert states == ["done" if in_time else "pending", "pending", "pending"]
    goes_on.set()
    calling.join(30)
    assert (len(ran), len(answers)) == (1, 1)


def test_what_could_not_be_given_back_is_given_back_the_next_time(
    mos: MOS, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, goes_on, refused = threading.Event(), threading.Event(), []
    release = mos.store.jobs.release

    def busy(jobs: Any) -> None:
        if not refused:
            refused.append(len(jobs))
            raise StoreBusy("others keep writing")
        release(jobs)

    def run(context: JobContext) -> object:
        slow.set()
        goes_on.wait(60)
        return None

    monkeypatch.setattr(mos.store.jobs, "release", busy)
    kind(mos, run, timeout=1000.0)
    jobs = mos.store.jobs.enqueue([NewJob(kind="own"), *(NewJob(kind="good") for _ in range(5))])
    mos.scheduler.start(2)
    assert slow.wait(30)
    clock.go(2)
    until(lambda: [mos.scheduler.job(id).state for id in jobs] == ["running", *["done"] * 5])
    assert refused == [5]
    goes_on.set()
