"""If this fails, a LlamaIndex query engine over memos answers from the wrong memories, shows none of their sources, leaks
another user's, or stops the event loop while it searches."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from llama_index.core import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import MetadataMode, QueryBundle
from llama_index.core.tools import RetrieverTool
from llama_index.core.workflow import Context, StartEvent, StopEvent, Workflow, step
from pydantic import BaseModel, ConfigDict

from memos_core import MOS, AsyncMOS, Document, F, Session
from memos_core.errors import CubeNotFound, InvalidFilter, InvalidInput, NotFound, StoreClosed
from memos_llamaindex import MemosMemoryBlock, MemosRetriever, _live
from memos_llamaindex._convert import to_chat_message, to_turns

MAY = datetime(2026, 5, 8, 9, 30, tzinfo=UTC)


class Idle(Workflow):
    """A workflow to have a context of."""

    @step
    async def rest(self, ev: StartEvent) -> StopEvent:
        return StopEvent()


@pytest.fixture
def mos(tmp_path: Path) -> Iterator[MOS]:
    with MOS.open(tmp_path / "memory", embedder="hashing") as made:
        yield made


@pytest.fixture
def alice(mos: MOS) -> Session:
    session = mos.session("alice", conversation="thread-1")
    session.add(
        [
            {
                "role": "user",
                "content": "My dog Rex loves swimming",
                "name": "Alice",
                "at": MAY,
                "metadata": {"mood": "glad"},
            },
            {"role": "assistant", "content": "How old is he?", "at": MAY},
            {"role": "user", "content": "He turned three yesterday", "name": "Alice", "at": MAY},
        ]
    )
    session.add(Document(text="# Pump\n\nOpen the valve before starting the pump.", uri="pump.md", format="markdown"))
    return session


def test_nodes_are_the_hits(alice: Session) -> None:
    hits = alice.search("Rex swimming", top_k=3)
    nodes = MemosRetriever(alice, similarity_top_k=3).retrieve("Rex swimming")
    assert [(node.node_id, node.text, node.score) for node in nodes] == [(hit.id, hit.text, hit.score) for hit in hits]
    best = nodes[0].metadata
    assert best["cube"] == "alice"
    assert best["memory_id"] == hits[0].id
    assert best["type"] == "message"
    assert best["speaker"] == "Alice"
    assert best["conversation"] == "thread-1"
    assert best["occurred_at"] == "2026-05-08T09:30:00Z"
    assert datetime.fromisoformat(best["created_at"]) == hits[0].item.created_at
    assert best["provenance"]["actor"] == "alice"
    assert best["provenance"]["source"]["position"] == 0
    assert best["parts"] == hits[0].parts
    assert best["mood"] == "glad"
    json.dumps([node.to_dict() for node in nodes])


def test_documents_know_their_source(alice: Session) -> None:
    (node,) = MemosRetriever(alice, where=F.type == "document").retrieve("start the pump")
    assert node.node.ref_doc_id == "pump.md"
    assert node.metadata["uri"] == "pump.md"


def test_the_model_is_shown_words_and_not_bookkeeping(alice: Session) -> None:
    node = MemosRetriever(alice).retrieve("Rex swimming")[0].node
    shown = node.get_content(MetadataMode.LLM)
    assert "My dog Rex loves swimming" in shown
    assert "speaker: Alice" in shown
    assert "mood: glad" in shown
    assert not any(word in shown for word in ("parts", "memory_id", "provenance", "cube", "version"))


def test_metadata_with_the_name_of_a_field_is_kept(alice: Session) -> None:
    alice.add("a letter about whales", metadata={"type": "letter", "page": 2})
    node = MemosRetriever(alice, similarity_top_k=1).retrieve("letter about whales")[0]
    assert node.metadata["type"] == "fact"
    assert node.metadata["page"] == 2
    assert node.metadata["metadata"] == {"type": "letter", "page": 2}


def test_options_reach_the_search(mos: MOS, alice: Session) -> None:
    before = alice.stats()["cubes"]["alice"]["changes"]
    alice.add("Rex the dog died")
    assert "Rex the dog died" in [node.text for node in MemosRetriever(alice).retrieve("Rex dog")]
    assert "Rex the dog died" not in [node.text for node in MemosRetriever(alice, as_of=before).retrieve("Rex dog")]
    likely = alice.search("Rex dog")[0].score
    assert all(node.score >= likely for node in MemosRetriever(alice, min_score=likely).retrieve("Rex dog"))
    parts = MemosRetriever(alice, without=("lexical",)).retrieve("Rex dog")[0].metadata["parts"]
    assert parts
    assert "lexical" not in parts
    assert MemosRetriever(alice).retrieve("   ") == []


def test_an_embedding_of_another_model_takes_no_part(alice: Session) -> None:
    retriever = MemosRetriever(alice)
    foreign = QueryBundle("Rex swimming", embedding=[0.5] * 7)
    assert [n.node_id for n in retriever.retrieve(foreign)] == [n.node_id for n in retriever.retrieve("Rex swimming")]


def test_versions_of_two_cubes_both_come_out(mos: MOS) -> None:
    mos.create_cube("team", owner="alice")
    writes = mos.session("alice", write_to=["alice", "team"])
    id_ = writes.add("The launch is on Monday").id
    mos.session("alice", write_to=["team"]).update(id_, text="The launch is on Tuesday")
    nodes = MemosRetriever(writes).retrieve("When is the launch?")
    assert {(node.metadata["memory_id"], node.metadata["cube"], node.text) for node in nodes} == {
        (id_, "alice", "The launch is on Monday"),
        (id_, "team", "The launch is on Tuesday"),
    }
    assert nodes[0].node_id == id_
    assert nodes[1].node_id == f"{id_}@{nodes[1].metadata['cube']}"


def test_in_a_query_engine(alice: Session) -> None:
    engine = RetrieverQueryEngine.from_args(MemosRetriever(alice, similarity_top_k=1), llm=MockLLM())
    response = engine.query("Rex swimming")  # the mock model answers with its prompt
    assert "My dog Rex loves swimming" in str(response)
    assert [node.metadata["cube"] for node in response.source_nodes] == ["alice"]


async def test_in_a_query_engine_asynchronously(alice: Session) -> None:
    engine = RetrieverQueryEngine.from_args(MemosRetriever(alice, similarity_top_k=1), llm=MockLLM())
    assert "My dog Rex loves swimming" in str(await engine.aquery("Rex swimming"))


async def test_as_a_tool_and_fused_with_another(mos: MOS, alice: Session) -> None:
    mos.session("bob").add("Bob's cat is called Tom")
    tool = RetrieverTool.from_defaults(MemosRetriever(alice, similarity_top_k=1), description="memory")
    assert "My dog Rex loves swimming" in str((await tool.acall("Rex swimming")).content)
    retrievers = [MemosRetriever(alice, similarity_top_k=1), MemosRetriever(mos.session("bob"), similarity_top_k=1)]
    fusion = QueryFusionRetriever(retrievers, llm=MockLLM(), num_queries=1, similarity_top_k=4, use_async=False)
    assert {node.metadata["cube"] for node in fusion.retrieve("Rex swimming cat")} == {"alice", "bob"}


async def test_sync_and_async_find_the_same_from_either_session(tmp_path: Path) -> None:
    async with AsyncMOS.open(tmp_path / "memory", embedder="hashing") as mos:
        session = await mos.session("alice")
        await session.add(["I like tea", "I like coffee", "My bicycle is red"])
        expected = [hit.id for hit in session.sync.search("what do I drink: tea?")]
        for made in (MemosRetriever(session), MemosRetriever(session.sync)):
            assert [node.node_id for node in await made.aretrieve("what do I drink: tea?")] == expected
            assert [node.node_id for node in made.retrieve("what do I drink: tea?")] == expected  # in a running loop


async def test_with_an_embedding_model_of_llama_index(tmp_path: Path) -> None:
    with MOS.open(tmp_path / "memory", embedder=MockEmbedding(embed_dim=8)) as mos:
        session = mos.session("alice")
        session.add("Rex loves swimming")
        retriever = MemosRetriever(session)
        assert [node.text for node in retriever.retrieve("swimming")] == ["Rex loves swimming"]
        assert [node.text for node in await retriever.aretrieve("swimming")] == ["Rex loves swimming"]
        assert "degraded" not in retriever.retrieve("swimming")[0].metadata
    with MOS.open(tmp_path / "plain") as mos:
        mos.session("alice").add("Rex loves swimming")
        assert "lexical" in MemosRetriever(mos.session("alice")).retrieve("swimming")[0].metadata["degraded"]


class Waiting:
    """An embedder that embeds a question only once the event loop has turned: were the loop blocked, it never would."""

    identity, dims = "waiting", 4

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 4), dtype=np.float32)

    def embed_query(self, text: str) -> np.ndarray:
        turned = threading.Event()
        self.loop.call_soon_threadsafe(turned.set)
        assert turned.wait(20), "the event loop stood still"
        return np.ones(4, dtype=np.float32)


async def test_the_event_loop_goes_on_while_it_searches(tmp_path: Path) -> None:
    with MOS.open(tmp_path / "memory", embedder=Waiting()) as mos:
        session = mos.session("alice")
        session.add("Rex loves swimming")
        nodes = await MemosRetriever(session).aretrieve("swimming")
    assert [node.text for node in nodes] == ["Rex loves swimming"]


def test_two_users_do_not_see_each_other(mos: MOS, alice: Session) -> None:
    assert MemosRetriever(mos.session("bob")).retrieve("Rex swimming") == []
    with pytest.raises(CubeNotFound):
        mos.session("bob", read_from=["alice"])


async def test_errors_are_errors(mos: MOS, alice: Session) -> None:
    with pytest.raises(InvalidInput, match="session"):
        MemosRetriever(mos)  # type: ignore[arg-type]
    with pytest.raises(InvalidFilter):
        MemosRetriever(alice, where={"year": {">": None}})
    with pytest.raises(InvalidInput, match="top_k"):
        MemosRetriever(alice, similarity_top_k=0).retrieve("Rex")
    with pytest.raises(InvalidInput, match="no such signal"):
        MemosRetriever(alice, without=("luck",)).retrieve("Rex")
    retriever = MemosRetriever(alice)
    mos.close()
    with pytest.raises(StoreClosed):
        retriever.retrieve("Rex")
    with pytest.raises(StoreClosed):
        await retriever.aretrieve("Rex")


async def test_it_comes_through_contexts_and_copies(alice: Session) -> None:
    class Holder(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        retriever: MemosRetriever

    retriever = MemosRetriever(alice, where=F.type == "message", similarity_top_k=1)
    context = Context(Idle())
    await context.store.set("retriever", retriever)
    written = json.dumps(context.to_dict())
    assert "alice" not in written  # a context that is edited outside cannot name another actor
    restored = Context.from_dict(Idle(), json.loads(written))
    again = await restored.store.get("retriever")
    holder = Holder(retriever=retriever).model_copy(deep=True)
    for each in (again, copy.deepcopy(retriever), holder.retriever):
        assert [node.text for node in each.retrieve("Rex swimming")] == ["My dog Rex loves swimming"]
    with pytest.raises(NotFound, match="make a new MemosRetriever"):
        MemosRetriever.from_dict({"class_name": "MemosRetriever", "ticket": "0" * 32})


def test_tickets_are_bounded_and_stay_the_same(alice: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_live, "MOST", 2)
    retrievers = [MemosRetriever(alice) for _ in range(3)]
    tickets = [retriever.to_dict() for retriever in retrievers]
    assert retrievers[2].to_dict() == tickets[2]
    assert [MemosRetriever.from_dict(ticket) for ticket in tickets[1:]] == retrievers[1:]
    with pytest.raises(NotFound):
        MemosRetriever.from_dict(tickets[0])
    with pytest.raises(NotFound):
        MemosMemoryBlock.from_dict(tickets[1])


def test_items_are_messages_again(alice: Session) -> None:
    first, second, _ = sorted(alice.list(where=F.type == "message"), key=lambda item: item.provenance.source.position)
    message = to_chat_message(first)
    assert (message.role.value, message.content) == ("user", "My dog Rex loves swimming")
    assert message.additional_kwargs["name"] == "Alice"
    assert to_chat_message(second).role.value == "assistant"
    (turn,) = to_turns([message], roles=["user"], user="somebody")
    assert (turn["name"], turn["content"], turn["metadata"]["mood"]) == ("Alice", message.content, "glad")
    assert datetime.fromisoformat(turn["timestamp"]) == MAY
