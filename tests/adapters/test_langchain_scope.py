"""If this fails, a retriever searches somebody else's memory, or blocks the event loop while it searches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import create_retriever_tool
from langchain_talk import Gated

from memos_core import MOS, AsyncMOS, F, Session
from memos_core.errors import CubeNotFound, EmbeddingFailed, InvalidInput, StoreClosed
from memos_langchain import MemosRetriever

FACTS = {
    "alice": ["My dog is called Rex.", "I moved to Lisbon in May.", "I work as a nurse.", "I play the violin."],
    "bob": ["My dog is called Bella.", "I moved to Oslo in June.", "I work as a baker.", "I play the drums."],
}


@pytest.fixture
def mos() -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing") as made:
        for actor, facts in FACTS.items():
            made.session(actor, conversation=f"of {actor}").add(facts)
        yield made


@pytest.fixture
def alice(mos: MOS) -> Session:
    return mos.session("alice", conversation="of alice")


# -- whose memory -------------------------------------------------------------------------------------------------------


def names_of_dogs(documents: list[Document]) -> set[str]:
    return {name for name in ("Rex", "Bella") for document in documents if name in document.page_content}


@pytest.fixture
def anybody(mos: MOS) -> MemosRetriever:
    return MemosRetriever(session_for=lambda configurable: mos.session(configurable["user_id"]), k=4)


def of(user: str) -> RunnableConfig:
    return {"configurable": {"user_id": user}}


def test_the_application_decides_by_config_whose_memory(anybody: MemosRetriever) -> None:
    assert names_of_dogs(anybody.invoke("dog", of("alice"))) == {"Rex"}
    assert names_of_dogs(anybody.invoke("dog", of("bob"))) == {"Bella"}
    assert names_of_dogs(anybody.with_config(of("bob")).invoke("dog")) == {"Bella"}
    found = anybody.batch(["dog"] * 6, [of(user) for user in ("alice", "bob") * 3])
    assert [names_of_dogs(each) for each in found] == [{"Rex"}, {"Bella"}] * 3


def test_nobody_named_is_nobodys_memory(anybody: MemosRetriever) -> None:
    with pytest.raises(KeyError, match="user_id"):
        anybody.invoke("dog")
    with pytest.raises(InvalidInput, match="actor is empty"):
        anybody.invoke("dog", of(""))


@pytest.mark.parametrize(
    "key", ["session", "session_for", "user_id", "actor", "memos_actor", "read_from", "configurable"]
)
def test_no_config_changes_whose_memory_a_given_session_is(mos: MOS, alice: Session, key: str) -> None:
    retriever = MemosRetriever(session=alice, where=F.text.contains("dog"))
    for value in ("bob", mos.session("bob"), {"user_id": "bob"}, ["bob"]):
        found = retriever.invoke("dog", {"configurable": {key: value, "where": None}})
        assert names_of_dogs(found) == {"Rex"}


def test_scope_does_not_come_in_beside_the_config(anybody: MemosRetriever) -> None:
    with pytest.raises(InvalidInput, match="config"):
        anybody.invoke("dog", of("alice"), configurable={"user_id": "bob"})


def test_governance_still_decides(mos: MOS) -> None:
    retriever = MemosRetriever(session_for=lambda given: mos.session("alice", read_from=given["cubes"]))
    with pytest.raises(CubeNotFound):
        retriever.invoke("dog", {"configurable": {"cubes": ["bob"]}})
    mos.share("bob", with_="alice")
    found = retriever.invoke("dog", {"configurable": {"cubes": ["alice", "bob"]}})
    assert names_of_dogs(found) == {"Rex", "Bella"}
    assert {document.metadata["cube"] for document in found} == {"alice", "bob"}


def test_scope_reaches_through_chains_functions_and_tools(anybody: MemosRetriever) -> None:
    sequence = RunnableLambda(lambda given: given["question"]) | anybody
    within: Runnable[str, list[Document]] = RunnableLambda(lambda question: list(anybody.invoke(question)))  # no config
    tool = create_retriever_tool(anybody, "recall", "what is remembered")
    called = RunnableLambda(lambda question: tool.invoke({"query": question}))
    for user, dog, other in (("alice", "Rex", "Bella"), ("bob", "Bella", "Rex")):
        assert names_of_dogs(sequence.invoke({"question": "dog"}, of(user))) == {dog}
        assert names_of_dogs(within.invoke("dog", of(user))) == {dog}
        said = called.invoke("dog", of(user))
        assert dog in said
        assert other not in said


def test_something_else_than_a_session_is_refused(mos: MOS) -> None:
    with pytest.raises(InvalidInput, match="made a MOS"):
        MemosRetriever(session_for=lambda _: mos).invoke("dog")  # type: ignore[arg-type, return-value]
    with pytest.raises(InvalidInput, match="made a NoneType"):
        MemosRetriever(session_for=lambda _: None).invoke("dog")  # type: ignore[arg-type, return-value]


# -- asynchronous -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["session", "session_for"])
async def test_the_loop_ticks_while_it_searches(kind: str) -> None:
    gate = Gated()
    with MOS.open(":memory:", embedder=gate) as mos:
        alice, done = mos.session("alice"), asyncio.Event()
        given: dict[str, Any] = {"session": alice} if kind == "session" else {"session_for": lambda _: alice}
        retriever = MemosRetriever(**given, k=1)

        async def search() -> list[Document]:
            await asyncio.to_thread(alice.add, FACTS["alice"])
            try:
                return await retriever.ainvoke("the dog is called")
            finally:
                done.set()

        documents, waits = await asyncio.gather(search(), gate.tick(done))
        assert names_of_dogs(documents) == {"Rex"}
        assert waits >= 2, "the embedder went on only because the loop did"


async def test_the_loop_ticks_while_the_application_makes_a_session(mos: MOS) -> None:
    gate, done = Gated(), asyncio.Event()

    def session_for(configurable: Mapping[str, Any]) -> Session:
        gate.wait()
        return mos.session(configurable["user_id"])

    async def search() -> list[Document]:
        try:
            return await MemosRetriever(session_for=session_for).ainvoke("dog", of("bob"))
        finally:
            done.set()

    documents, waits = await asyncio.gather(search(), gate.tick(done))
    assert names_of_dogs(documents) == {"Bella"}
    assert waits == 1


async def test_sessions_of_an_async_store_serve_both_roads() -> None:
    async with AsyncMOS.open(":memory:", embedder="hashing") as mos:
        alice = await mos.session("alice")
        await alice.add(FACTS["alice"])
        retriever = MemosRetriever(session=alice, k=2)
        assert await retriever.ainvoke("dog") == await asyncio.to_thread(retriever.invoke, "dog")
        assert [names_of_dogs(each) for each in await retriever.abatch(["dog", "my dog"])] == [{"Rex"}] * 2
        assert [each async for each in retriever.astream("dog")] == [await retriever.ainvoke("dog")]


async def test_a_coroutine_may_make_the_session() -> None:
    async with AsyncMOS.open(":memory:", embedder="hashing") as mos:
        for actor, facts in FACTS.items():
            await (await mos.session(actor)).add(facts)

        async def session_for(configurable: Mapping[str, Any]) -> Any:
            return await mos.session(configurable["user_id"])

        for made in (session_for, lambda configurable: mos.session(configurable["user_id"])):
            retriever = MemosRetriever(session_for=made)
            found = await retriever.abatch(["dog"] * 4, [of(user) for user in ("alice", "bob") * 2])
            assert [names_of_dogs(each) for each in found] == [{"Rex"}, {"Bella"}] * 2
            with pytest.raises(InvalidInput, match="use ainvoke"):
                retriever.invoke("dog", of("alice"))
            with pytest.raises(KeyError):
                await retriever.ainvoke("dog")


async def test_errors_come_through_the_asynchronous_road(mos: MOS, alice: Session, anybody: MemosRetriever) -> None:
    retriever = MemosRetriever(session=alice)
    with pytest.raises(InvalidInput, match="top_k"):
        await retriever.ainvoke("dog", k=0)
    with pytest.raises(TypeError, match="top_k"):
        await retriever.ainvoke("dog", top_k=1)
    with pytest.raises(InvalidInput, match="config"):
        await anybody.ainvoke("dog", configurable={"user_id": "bob"})
    with pytest.raises(InvalidInput, match="made a MOS"):
        await MemosRetriever(session_for=lambda _: mos).ainvoke("dog")  # type: ignore[arg-type, return-value]
    mos.close()
    with pytest.raises(StoreClosed):
        await retriever.ainvoke("dog")


async def test_a_failing_model_is_an_error_not_an_empty_list() -> None:
    class Moody(Embeddings):
        well = True

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[float(len(text)), 1.0] for text in texts]

        def embed_query(self, text: str) -> list[float]:
            if not self.well:
                raise ConnectionError("no answer")
            return [1.0, 1.0]

    model = Moody()
    with MOS.open(":memory:", embedder=model) as mos:
        alice = mos.session("alice")
        alice.add(FACTS["alice"])
        retriever = MemosRetriever(session=alice)
        assert len(await retriever.ainvoke("dog")) == 4
        model.well = False
        with pytest.raises(EmbeddingFailed, match="no answer"):
            retriever.invoke("dog")
        with pytest.raises(EmbeddingFailed, match="no answer"):
            await retriever.ainvoke("dog")
