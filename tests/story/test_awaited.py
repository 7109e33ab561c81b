"""If these fail, memory stops a server's event loop, or the awaited methods are not those of the plain ones."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from telling import snapshot, texts

from memos_core import MOS, AsyncMOS, AsyncSession, Session
from memos_core.errors import AlreadyExists, EmbeddingFailed, InvalidInput, StoreClosed
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


class Awaited:
    """LangChain's methods; the asynchronous ones are awaited in the caller's loop."""

    model_name = "awaited"

    def __init__(self) -> None:
        self.loops: list[object] = []
        self._hashing = HashingEmbedder(64)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.loops.append(None)
        found: list[list[float]] = self._hashing.embed(texts).tolist()
        return found

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        self.loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        found: list[list[float]] = self._hashing.embed(texts).tolist()
        return found

    async def aembed_query(self, text: str) -> list[float]:
        return (await self.aembed_documents([text]))[0]


class Other(HashingEmbedder):
    """Vectors of the same length that mean something else."""

    identity = "other"

    def __init__(self) -> None:
        super().__init__(64)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return super().embed(texts)[:, ::-1].copy()


class AwaitedOther(Other):
    """The same, with asynchronous methods of memos' own."""

    async def aembed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.embed(texts)

    async def aembed_query(self, text: str) -> NDArray[np.float32]:
        return self.embed_query(text)


@pytest.fixture
async def mos(tmp_path: Path) -> AsyncIterator[AsyncMOS]:
    async with AsyncMOS.open(tmp_path, embedder="hashing") as mos:
        yield mos


# -- the same methods ---------------------------------------------------------------------------------------------------


def public(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


def call_of(method: Any) -> list[tuple[str, Any]]:
    """What a caller may pass: names, kinds and defaults."""
    signature = inspect.signature(method)
    return [(each.name, each.kind, each.default) for each in list(signature.parameters.values())[1:]]


# What needs no awaiting, or has another way: the clock, and objects that reach the store themselves.
NOT_AWAITED = {Session: {"now", "view"}, MOS: {"cube", "after_fork", "open", "from_config"}}


@pytest.mark.parametrize(("plain", "awaited"), [(Session, AsyncSession), (MOS, AsyncMOS)])
def test_every_method_has_an_awaited_twin_with_the_same_arguments(plain: type, awaited: type) -> None:
    for name, method in public(plain).items():
        if name in NOT_AWAITED[plain]:
            continue
        twin = public(awaited).get(name)
        assert twin is not None, f"{awaited.__name__}.{name} is missing"
        if isinstance(method, property):
            assert isinstance(twin, property), name
            continue
        assert inspect.iscoroutinefunction(twin), name
        assert twin.__doc__, name
        if not any(
            each.kind is each.VAR_KEYWORD for each in inspect.signature(twin, follow_wrapped=False).parameters.values()
        ):
            assert call_of(twin) == call_of(method), name
    for name in ("__aenter__", "__aexit__") if plain is MOS else ():
        assert hasattr(awaited, name)


@pytest.mark.parametrize("name", ["add", "search", "context"])
async def test_twins_that_take_options_take_the_same_ones(mos: AsyncMOS, name: str) -> None:
    session = await mos.session("alice")
    with pytest.raises(TypeError, match="bogus"):
        await getattr(session, name)("x", bogus=1)
    options = inspect.signature(getattr(Session, name)).parameters
    given = {each.name: each.default for each in options.values() if each.kind is each.KEYWORD_ONLY}
    await getattr(session, name)("x", **given)


async def test_a_whole_story_awaited(tmp_path: Path) -> None:
    async with AsyncMOS.open(tmp_path, embedder="hashing") as mos:
        alice = await mos.session("alice", conversation="t")
        assert (alice.actor.id, alice.conversation) == ("alice", "t")
        assert (alice.read_from, alice.write_to) == (["alice"], ["alice"])
        assert repr(alice) == "AsyncSession('alice', reads ['alice'], writes ['alice'])"
        added = await alice.add(["lives in Porto", "has a dog"], tags=["x"])
        one, two = added.ids
        assert texts(added) == ["lives in Porto", "has a dog"]
        assert texts(await alice.read("y")) == ["y"]  # type: ignore[arg-type]
        assert (await alice.update(one, text="lives in Lisbon", expect_version=1)).version == 2
        assert texts(await alice.search("who lives in Lisbon?", top_k=1)) == ["lives in Lisbon"]
        assert "lives in Lisbon" in (await alice.context("Lisbon", max_tokens=100)).text
        assert await alice.delete([two]) == 1
        assert (await alice.restore(two)).version == 3
        assert (await alice.rollback(one, 1)).text == "lives in Porto"
        assert [version.version for version in await alice.history(one)] == [1, 2, 3]
        assert (await alice.get(one)).text == "lives in Porto"
        assert len(await alice.list(limit=1)) == 1
        assert (await alice.stats())["cubes"]["alice"]["items"] == 2
        await mos.create_cube("team", owner="alice")
        await mos.share("team", with_="bob")
        assert [info.name for info in await mos.cubes()] == ["alice", "team"]
        bob = await mos.session("bob", read_from=["team"], write_to=[])
        assert await bob.search("x") == []
        await mos.unshare("team", with_="bob")
        assert await mos.verify() == []
        assert await mos.reindex("alice") == {"alice": 5}  # versions, deletions apart
        assert await mos.reembed("hashing:64") > 0
        assert (await mos.stats())["dims"] == 64
        before = snapshot(mos.sync)
    with MOS.open(tmp_path) as sync:
        assert snapshot(sync) == before


async def test_errors_come_through_as_they_are(mos: AsyncMOS) -> None:
    alice = await mos.session("alice")
    await alice.add("x", id="i1")
    with pytest.raises(AlreadyExists):
        await alice.add("y", id="i1")
    with pytest.raises(InvalidInput):
        await alice.search("x", top_k=0)


async def test_a_store_must_be_entered_first(tmp_path: Path) -> None:
    mos = AsyncMOS.open(tmp_path)
    with pytest.raises(RuntimeError, match="async with"):
        _ = mos.sync
    assert not (tmp_path / "memos.db").exists()
    async with mos, mos:  # entering twice opens once
        await (await mos.session("alice")).add("x")
    await mos.close()


async def test_plain_and_awaited_share_a_store() -> None:
    with MOS.open(":memory:") as sync:
        session = sync.session("alice")
        session.add("written plainly")
        assert texts(await AsyncSession.of(session).list()) == ["written plainly"]
        async with AsyncMOS.of(sync, workers=1) as mos:
            await (await mos.session("alice")).add("written awaited")
            assert len(session.list()) == 2
        with pytest.raises(StoreClosed):
            session.list()


async def test_from_config(tmp_path: Path) -> None:
    (tmp_path / "memos.toml").write_text('location = "here"\nembedder = "hashing:64"\n')
    async with AsyncMOS.from_config(tmp_path / "memos.toml") as mos:
        await (await mos.session("alice")).add("x")
        assert (await mos.stats())["embedder"] == "hashing:1:64"
    assert (tmp_path / "here" / "memos.db").is_file()


# -- the loop goes on ---------------------------------------------------------------------------------------------------


async def happened(event: threading.Event, task: asyncio.Future[Any]) -> None:
    """Go round the loop until something has happened on another thread, which a task is to bring about."""
    while not event.is_set():
        await asyncio.sleep(0)
        assert not task.done(), task.exception()


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


# -- models that can be awaited -------------------------------------------------------------------------------------------


async def test_a_model_s_own_asynchronous_methods_are_awaited_in_the_caller_s_loop() -> None:
    model = Awaited()
    async with AsyncMOS.open(":memory:", embedder=model) as mos:
        alice = await mos.session("alice")
        await alice.add(["lives in Porto", "has a dog"])
        model.loops.clear()
        added = await alice.add(["likes tea", "likes rain"], metadata={"n": 1})
        hits = await alice.search("who likes tea?", top_k=1)
        context = await alice.context("who likes tea?")
        assert model.loops == [asyncio.get_running_loop()] * 3
        assert texts(hits) == ["likes tea"]
        assert "likes tea" in context.text
        assert {"dense", "near"} <= set(hits[0].parts)
        plain = mos.sync.session("alice").search("who likes tea?", top_k=1)
        assert [(hit.id, hit.score) for hit in plain] == [(hit.id, hit.score) for hit in hits]
        (best, cosine), *_ = mos.sync.cube("alice").nearest(HashingEmbedder(64).embed_query("likes rain"), 1)
        assert best.id == added.ids[1]
        assert cosine == pytest.approx(1, abs=1e-5)
        assert await mos.verify() == []


async def test_what_is_known_or_not_indexed_is_not_embedded() -> None:
    model = Awaited()
    async with AsyncMOS.open(":memory:", embedder=model) as mos:
        alice = await mos.session("alice")
        said = {"content": "likes tea", "id": "m1"}
        await alice.add(said)
        model.loops.clear()
        assert (await alice.add(said)).known
        assert (await alice.add("hidden", indexed=False)).new
        assert model.loops == []


async def test_vectors_of_the_caller_need_no_model() -> None:
    model = Awaited()
    async with AsyncMOS.open(":memory:", embedder=model) as mos:
        alice = await mos.session("alice")
        await alice.add("x")
        model.loops.clear()
        vector = HashingEmbedder(64).embed_query("likes tea")
        added = await alice.add("y", vectors=[vector])
        hits = await alice.search("z", vector=vector, top_k=1)
        assert hits[0].id == added.id
        assert model.loops == []


@pytest.mark.parametrize("wrong", ["raises", "too few", "too long", "nan", "nothing"])
async def test_a_model_that_fails_stores_nothing(wrong: str) -> None:
    class Failing(Awaited):
        async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
            found = await super().aembed_documents(texts)
            if wrong == "raises":
                raise ConnectionError("no route")
            if wrong == "too few":
                return found[1:]
            if wrong == "too long":
                return [[*each, 1.0] for each in found]
            return [[float("nan")] * 64 for _ in found] if wrong == "nan" else None  # type: ignore[return-value]

    async with AsyncMOS.open(":memory:", embedder=Failing()) as mos:
        alice = await mos.session("alice")
        mos.sync.session("alice").add("x")
        for work in (alice.add(["y", "z"]), alice.search("y"), alice.context("y")):
            with pytest.raises(EmbeddingFailed, match="langchain:Failing:awaited"):
                await work
        assert texts(await alice.list()) == ["x"]


@pytest.mark.parametrize("comes", [HashingEmbedder(128), Other(), AwaitedOther()], ids=["longer", "as long", "awaited"])
async def test_who_adds_while_another_model_comes_in_is_not_turned_away(comes: Any) -> None:
    """The model has been awaited; before its vectors are stored, all vectors of the store are replaced."""

    class Slow(Awaited):
        hold = False

        async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
            found = await super().aembed_documents(texts)
            if self.hold:
                self.hold = False
                await mos.reembed(comes)
            return found

    model = Slow()
    async with AsyncMOS.open(":memory:", embedder=model) as mos:
        alice = await mos.session("alice")
        await alice.add("lives in Porto")
        model.hold = True
        assert (await alice.add("likes tea")).new
        hits = await alice.search("likes tea", top_k=1)
        assert texts(hits) == ["likes tea"]
        assert hits.degraded is None
        (_, cosine), *_ = mos.sync.cube("alice").nearest(comes.embed_query("likes tea"), 1)
        assert cosine == pytest.approx(1, abs=1e-5)
        assert await mos.verify() == []


@pytest.mark.parametrize("dims", [64, 128])
async def test_who_asks_while_another_model_comes_in_is_answered_by_that(dims: int) -> None:
    class Slow(Awaited):
        hold = False

        async def aembed_query(self, text: str) -> list[float]:
            if self.hold:
                self.hold = False
                await mos.reembed(f"hashing:{dims}")
            return [-each for each in await super().aembed_query(text)]  # points away from what is asked for

    model = Slow()
    async with AsyncMOS.open(":memory:", embedder=model) as mos:
        alice = await mos.session("alice")
        await alice.add(["likes tea", "has a dog"])
        model.hold = True
        hits = await alice.search("likes tea", top_k=1)
        assert texts(hits) == ["likes tea"]
        assert hits[0].parts["dense"] > 0.1


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
