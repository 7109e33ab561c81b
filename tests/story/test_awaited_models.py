"""If these fail, a model that is awaited is called from a foreign loop, or its bad answers get into the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from telling import texts

from memos_core import AsyncMOS
from memos_core.errors import EmbeddingFailed
from memos_core.models.hashing import HashingEmbedder


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
