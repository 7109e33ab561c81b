"""If these fail, memory stops a server's event loop, or a request that was given up leaves half a memory behind."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from telling import texts

from memos_core import MOS, AsyncMOS
from memos_core.models.hashing import HashingEmbedder


class Gated(HashingEmbedder):
    """Works like a slow model: each call waits on its thread until it is let through."""

    def __init__(self) -> None:
        super().__init__(64)
        self.called, self.gate = threading.Event(), threading.Event()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.called.set()
        assert self.gate.wait(60)
        return super().embed(texts)


@pytest.fixture
async def mos(tmp_path: Path) -> AsyncIterator[AsyncMOS]:
    async with AsyncMOS.open(tmp_path, embedder="hashing") as mos:
        yield mos


async def happened(event: threading.Event, task: asyncio.Future[Any]) -> None:
    """Go round the loop until something has happened on another thread, which a task is to bring about."""
    while not event.is_set():
        await asyncio.sleep(0)
        assert not task.done(), task.exception()


# -- the loop goes on ---------------------------------------------------------------------------------------------------


async def ticks_during(work: Coroutine[Any, Any, Any], called: threading.Event, gate: threading.Event) -> int:
    """How often the loop goes round while a call is known to be at work; it is let through only then."""
    task = asyncio.ensure_future(work)
    ticks = 0
    await happened(called, task)
    for _ in range(1000):
        await asyncio.sleep(0)
        ticks += not task.done()
    gate.set()
    await asyncio.wait_for(task, 60)
    return ticks


async def test_the_loop_ticks_while_a_model_works() -> None:
    """The model is let through only by the loop itself: a call that stopped the loop would never come to an end."""
    embedder = Gated()
    embedder.gate.set()
    async with AsyncMOS.open(":memory:", embedder=embedder) as mos:
        alice = await mos.session("alice")
        id = (await alice.add("the first")).id
        for work in (
            lambda: alice.add("a new one"),
            lambda: alice.search("which one?"),
            lambda: alice.context("which one?"),
            lambda: alice.update(id, text="another one"),
            lambda: mos.reembed(embedder),
        ):
            embedder.called.clear()
            embedder.gate.clear()
            assert await ticks_during(work(), embedder.called, embedder.gate) == 1000


async def test_the_loop_ticks_during_catch_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that first has to read what others have written."""
    from memos_core.stores.sql.records import SqlStore

    with MOS.open(tmp_path, embedder="hashing") as other:
        other.session("alice").add([f"fact {number}" for number in range(50)])
        called, gate = threading.Event(), threading.Event()
        read = SqlStore.changes

        def slowly(*args: Any, **kwargs: Any) -> Any:
            called.set()
            assert gate.wait(60)
            return read(*args, **kwargs)

        async with AsyncMOS.open(tmp_path) as mos:
            alice = await mos.session("alice")
            monkeypatch.setattr(SqlStore, "changes", slowly)
            assert await ticks_during(alice.search("fact 7"), called, gate) == 1000
            other.session("alice").add("fact 51")
            called.clear()
            gate.clear()
            assert await ticks_during(alice.list(), called, gate) == 1000


async def test_the_loop_ticks_while_the_store_is_locked_by_another(tmp_path: Path) -> None:
    with MOS.open(tmp_path) as other:
        other.session("alice").add("x")
        async with AsyncMOS.open(tmp_path) as mos:
            alice = await mos.session("alice")
            with other._store.begin(actor="bob", action="hold"):
                task = asyncio.ensure_future(alice.add("y"))
                for _ in range(1000):
                    await asyncio.sleep(0)
                assert not task.done()
                assert texts(await alice.search("x")) == ["x"]  # readers do not wait
            await task
            assert len(await alice.list()) == 2


async def test_the_loop_is_never_held_for_long_by_ordinary_work(mos: AsyncMOS) -> None:
    """Many adds and searches at once; between two rounds of the loop most of them have no time to end."""
    alice = await mos.session("alice")
    await alice.add([f"fact {number}" for number in range(100)])
    work = [alice.add([f"more {number} {part}" for part in range(20)]) for number in range(10)]
    work += [alice.search(f"fact {number}") for number in range(30)]
    tasks = [asyncio.ensure_future(each) for each in work]
    ended, most = 0, 0
    while ended < len(tasks):
        await asyncio.sleep(0)
        now = sum(task.done() for task in tasks)
        most = max(most, now - ended)
        ended = now
    assert most <= 16  # the pool has eight threads: nothing is worked off within the loop itself
    assert not [task.exception() for task in tasks if task.exception()]
    assert len(await alice.list(limit=1000)) == 300


# -- cancelling -------------------------------------------------------------------------------------------------------


async def test_a_cancelled_add_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    embedder = Gated()
    embedder.gate.set()
    async with AsyncMOS.open(tmp_path, embedder=embedder) as mos:
        both = await mos.session("alice", write_to=["alice", "alice/copy"])
        await both.add("the first")
        embedder.gate.clear()
        embedder.called.clear()
        task = asyncio.ensure_future(both.add(["one", "two", "three"]))
        await happened(embedder.called, task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        embedder.gate.set()
        await both.add("the last")  # nothing is stuck
    with MOS.open(tmp_path, embedder=HashingEmbedder(64)) as again:
        held = [sorted(texts(again.session("alice", read_from=[cube]).list())) for cube in both.write_to]
        assert held[0] == held[1]
        assert {"the first", "the last"} <= set(held[0])
        assert len(held[0]) in (2, 5)
        assert again.verify() == []


async def test_many_cancelled_calls_break_nothing(tmp_path: Path) -> None:
    async with AsyncMOS.open(tmp_path, embedder="hashing", workers=2) as mos:
        alice = await mos.session("alice")
        kept = (await alice.add("kept")).id
        for number in range(30):
            tasks = [
                asyncio.ensure_future(alice.add([f"{number} one", f"{number} two"])),
                asyncio.ensure_future(alice.search("one")),
                asyncio.ensure_future(alice.update(kept, metadata={"n": number})),
            ]
            for _ in range(number * 3):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await alice.add("the last")
        words = texts(await alice.list(limit=1000))
        for number in range(30):
            assert (f"{number} one" in words) == (f"{number} two" in words)
        assert await mos.verify() == []


async def test_an_abandoned_call_ends_before_the_store_is_closed(tmp_path: Path) -> None:
    embedder = Gated()
    embedder.gate.set()
    async with AsyncMOS.open(tmp_path, embedder=embedder) as mos:
        alice = await mos.session("alice")
        await alice.add("x")
        embedder.gate.clear()
        embedder.called.clear()
        task = asyncio.ensure_future(alice.add("y"))
        await happened(embedder.called, task)
        task.cancel()
        closing = asyncio.ensure_future(mos.close())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not closing.done()
        embedder.gate.set()
        await closing
    with MOS.open(tmp_path, embedder=HashingEmbedder(64)) as again:
        assert sorted(texts(again.session("alice").list())) == ["x", "y"]
        assert again.verify() == []


async def test_at_most_so_many_calls_run_at_once(tmp_path: Path) -> None:
    running, most, lock = 0, 0, threading.Lock()

    class Counting(HashingEmbedder):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            found = super().embed(texts)
            with lock:
                running -= 1
            return found

    async with AsyncMOS.open(tmp_path, embedder=Counting(64), workers=2) as mos:
        alice = await mos.session("alice")
        await alice.add("x")
        call: Callable[[int], Coroutine[Any, Any, Any]] = functools.partial(lambda number: alice.add(f"fact {number}"))
        await asyncio.gather(*(call(number) for number in range(20)))
        assert len(await alice.list()) == 21
    assert most <= 2
