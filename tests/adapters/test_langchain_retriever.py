"""If this fails, a LangChain chain gets the wrong memories, or does not learn what they are and how sure memos is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnablePassthrough
from langchain_tests.integration_tests import RetrieversIntegrationTests

from memos_core import MOS, F, Session
from memos_core import Document as Text
from memos_core.errors import InvalidFilter, InvalidInput, InvalidText, StoreClosed
from memos_langchain import MemosRetriever

FACTS = ["My dog is called Rex.", "I moved to Lisbon in May.", "I work as a nurse.", "I play the violin."]


@pytest.fixture
def mos() -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing") as made:
        made.session("alice", conversation="talk").add(FACTS)
        yield made


@pytest.fixture
def alice(mos: MOS) -> Session:
    return mos.session("alice", conversation="talk")


class TestStandard(RetrieversIntegrationTests):
    """LangChain's own suite."""

    @pytest.fixture(autouse=True)
    def _give_session(self, alice: Session) -> None:
        self.session = alice

    @property
    def retriever_constructor(self) -> type[MemosRetriever]:
        return MemosRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"session": self.session}

    @property
    def retriever_query_example(self) -> str:
        return "what is the dog called?"


# -- what a document says -----------------------------------------------------------------------------------------------


def test_documents_are_the_hits_of_a_search(alice: Session) -> None:
    documents = MemosRetriever(session=alice, k=3).invoke("what is the dog called?")
    hits = alice.search("what is the dog called?", top_k=3)
    assert [document.page_content for document in documents] == [hit.text for hit in hits]
    for document, hit in zip(documents, hits, strict=True):
        assert document.id == hit.id
        said = document.metadata
        assert (said["id"], said["score"], said["cube"], said["parts"]) == (hit.id, hit.score, "alice", hit.parts)
        assert said["origins"] == [["alice", hit.id]]
        assert said["provenance"]["actor"] == "alice"
        assert said["provenance"]["operation"] == "add"
        assert said["conversation"] == "talk"
        assert "degraded" not in said


def test_metadata_of_the_item_is_kept_and_fields_win_as_in_filters(alice: Session) -> None:
    alice.add(
        "The meeting is on Tuesday.", metadata={"room": "4b", "type": "appointment", "tags": ["x"]}, tags=["work"]
    )
    (document,) = MemosRetriever(session=alice, k=1).invoke("when is the meeting?")
    assert document.metadata["room"] == "4b"
    assert (document.metadata["type"], document.metadata["tags"]) == ("fact", ["work"])
    assert document.metadata["metadata"] == {"room": "4b", "type": "appointment", "tags": ["x"]}


def test_pieces_of_documents_name_their_source(alice: Session) -> None:
    alice.add(Text(text="The pump runs at 40 litres a minute.", uri="manual.txt", author="Kim"))
    (document,) = MemosRetriever(session=alice, k=1).invoke("how fast does the pump run?")
    assert document.metadata["source"] == "manual.txt"
    assert document.metadata["speaker"] == "Kim"


def test_a_document_is_json_and_changing_it_changes_no_memory(alice: Session) -> None:
    alice.add(
        {"role": "user", "content": "The pool opens at nine.", "at": "2024-05-08T10:00:00Z", "metadata": {"a": [1]}}
    )
    retriever = MemosRetriever(session=alice, k=1)
    (document,) = retriever.invoke("when does the pool open?")
    assert document.metadata["occurred_at"] == "2024-05-08T10:00:00Z"
    assert Document.model_validate_json(document.model_dump_json()) == document
    document.metadata["a"].append(2)
    document.metadata["provenance"]["actor"] = "mallory"
    (again,) = retriever.invoke("when does the pool open?")
    assert (again.metadata["a"], again.metadata["provenance"]["actor"]) == ([1], "alice")


def test_a_lexical_store_says_so_in_its_documents() -> None:
    with MOS.open(":memory:") as mos:
        alice = mos.session("alice")
        alice.add("My dog is called Rex.")
        (document,) = MemosRetriever(session=alice).invoke("dog")
        assert "lexical" in document.metadata["degraded"]


# -- options ------------------------------------------------------------------------------------------------------------


def test_options_of_the_retriever_and_of_the_call(alice: Session) -> None:
    alice.add("The dog sleeps.", tags=["night"])
    alice.add("The dog barks.", tags=["night", "loud"])
    retriever = MemosRetriever(session=alice, k=2, where=F.tags.contains("night"))

    def texts(**options: Any) -> list[str]:
        return sorted(document.page_content for document in retriever.invoke("dog", **options))

    assert texts() == ["The dog barks.", "The dog sleeps."]
    assert texts(where=F.tags.contains("loud")) == ["The dog barks."]
    assert texts(where={"tags": {"contains": "loud"}}) == ["The dog barks."]
    assert texts(where={"type": "message"}) == []
    assert texts(where={"type": "fact"}, k=9) == texts(), "a call narrows the filter of the retriever, never widens it"
    assert len(texts(k=1)) == 1
    assert texts(min_score=1.0) == []
    assert MemosRetriever(session=alice, min_score=1.0).invoke("dog") == []


def test_signals_can_be_turned_off(alice: Session) -> None:
    (document,) = MemosRetriever(session=alice, k=1, without=("dense", "near", "late")).invoke("dog")
    assert "dense" not in document.metadata["parts"]
    (document,) = MemosRetriever(session=alice, k=1).invoke("dog", without=["lexical"])
    assert "lexical" not in document.metadata["parts"]


def test_as_of_finds_what_was_there_then() -> None:
    now = [datetime(2024, 1, 1, tzinfo=UTC)]
    with MOS.open(":memory:", now=lambda: now[0]) as mos:
        alice = mos.session("alice")
        alice.add("The dog is called Rex.")
        now[0] += timedelta(days=2)
        alice.add("The dog is called Max.")
        before = now[0] - timedelta(days=1)
        assert len(MemosRetriever(session=alice).invoke("dog")) == 2
        assert len(MemosRetriever(session=alice, as_of=before).invoke("dog")) == 1
        assert len(MemosRetriever(session=alice).invoke("dog", as_of=before)) == 1
        assert len(MemosRetriever(session=alice).invoke("dog", as_of=0)) == 0


def test_wrong_options_are_refused_not_ignored(alice: Session) -> None:
    retriever = MemosRetriever(session=alice)
    with pytest.raises(TypeError, match="top_k"):
        retriever.invoke("dog", top_k=3)
    with pytest.raises(InvalidInput, match="top_k"):
        retriever.invoke("dog", k=0)
    with pytest.raises(InvalidInput, match="no such signal"):
        retriever.invoke("dog", without=["magic"])
    with pytest.raises(InvalidFilter):
        MemosRetriever(session=alice, where={"n": {">": [1]}}).invoke("dog")
    with pytest.raises(InvalidText):
        retriever.invoke({"question": "dog"})  # type: ignore[arg-type]
    with pytest.raises(InvalidText):
        retriever.invoke("dog\x00")
    assert retriever.invoke("") == []
    assert retriever.invoke("dog", verbose=False, k=1)


def test_one_of_session_and_session_for(alice: Session) -> None:
    with pytest.raises(ValueError, match="session_for"):
        MemosRetriever()
    with pytest.raises(ValueError, match="session_for"):
        MemosRetriever(session=alice, session_for=lambda _: alice)


def test_a_closed_store_is_an_error_not_an_empty_list(mos: MOS, alice: Session) -> None:
    retriever = MemosRetriever(session=alice)
    mos.close()
    with pytest.raises(StoreClosed):
        retriever.invoke("dog")


# -- in LangChain -------------------------------------------------------------------------------------------------------


class Seen(BaseCallbackHandler):
    """What LangChain tells its callbacks."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.started: list[dict[str, Any]] = []
        self.found: list[int] = []
        self.errors: list[BaseException] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.prompts.append("\n".join(message.text for message in messages[0]))

    def on_retriever_start(self, serialized: Any, query: str, *, metadata: Any = None, **kwargs: Any) -> None:
        self.started.append(
            {"query": query, **(metadata or {}), "name": kwargs.get("name"), "tags": kwargs.get("tags")}
        )

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.found.append(len(documents))

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self.errors.append(error)


def test_a_chain_puts_memories_into_its_prompt(alice: Session) -> None:
    def as_text(documents: list[Document]) -> str:
        return "\n".join(document.page_content for document in documents)

    chain = (
        {"memories": MemosRetriever(session=alice, k=1) | as_text, "question": RunnablePassthrough()}
        | ChatPromptTemplate.from_messages([("system", "You remember:\n{memories}"), ("human", "{question}")])
        | FakeListChatModel(responses=["In Lisbon."])
        | StrOutputParser()
    )
    seen = Seen()
    assert chain.invoke("which city did I move to?", {"callbacks": [seen]}) == "In Lisbon."
    assert "".join(chain.stream("which city did I move to?", {"callbacks": [seen]})) == "In Lisbon."
    assert seen.prompts == ["You remember:\nI moved to Lisbon in May.\nwhich city did I move to?"] * 2


def test_stream_and_configurable_fields(alice: Session) -> None:
    retriever = MemosRetriever(session=alice)
    assert list(retriever.stream("dog")) == [retriever.invoke("dog")]
    chosen = retriever.configurable_fields(k=ConfigurableField(id="how_many"))
    assert len(chosen.invoke("dog", {"configurable": {"how_many": 2}})) == 2


def test_callbacks_and_tracing_see_it(alice: Session) -> None:
    seen = Seen()
    retriever = MemosRetriever(session=alice, k=2, tags=["memory"], metadata={"team": "a"})
    retriever.invoke("dog", {"callbacks": [seen], "run_name": "recall"})
    (start,) = seen.started
    assert (start["query"], start["name"], start["tags"], start["team"]) == ("dog", "recall", ["memory"], "a")
    assert (start["ls_retriever_name"], start["ls_vector_store_provider"]) == ("memos", "memos")
    assert start["ls_embedding_model"].startswith("hashing")
    assert seen.found == [2]
    with pytest.raises(InvalidInput, match="top_k"):
        retriever.invoke("dog", {"callbacks": [seen]}, k=-1)
    assert [type(error) for error in seen.errors] == [InvalidInput]
