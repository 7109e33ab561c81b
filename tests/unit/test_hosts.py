"""If these fail, an application's own embedding model is called wrongly, or its bad answers get into the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from memos_core import MOS
from memos_core.errors import EmbedderMismatch, EmbeddingFailed, InvalidConfig
from memos_core.models.hashing import HashingEmbedder
from memos_core.models.hosts import HostEmbedder, as_embedder
from memos_core.models.loading import load_embedder


class LangChain:
    """The methods of LangChain's Embeddings; each call is noted."""

    def __init__(self, answer: Callable[[list[str]], Any] | None = None, **names: Any) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._answer = answer or (lambda texts: HashingEmbedder(16).embed(texts).tolist())
        for name, value in names.items():
            setattr(self, name, value)

    def embed_documents(self, texts: list[str]) -> Any:
        self.calls.append(("embed_documents", texts))
        return self._answer(texts)

    def embed_query(self, text: str) -> Any:
        self.calls.append(("embed_query", text))
        return self._answer([text])[0]


class AwaitedLangChain(LangChain):
    async def aembed_documents(self, texts: list[str]) -> Any:
        self.calls.append(("aembed_documents", texts))
        return self._answer(texts)

    async def aembed_query(self, text: str) -> Any:
        self.calls.append(("aembed_query", text))
        return self._answer([text])[0]


class LlamaIndex:
    """The methods of LlamaIndex's BaseEmbedding."""

    model_name = "hashed"

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def get_text_embedding_batch(self, texts: list[str]) -> Any:
        self.calls.append(("get_text_embedding_batch", texts))
        return HashingEmbedder(16).embed(texts).tolist()

    def get_query_embedding(self, query: str) -> Any:
        self.calls.append(("get_query_embedding", query))
        return HashingEmbedder(16).embed_query(query).tolist()

    async def aget_text_embedding_batch(self, texts: list[str]) -> Any:
        raise AssertionError("many models compute in it, and would stop the loop")

    async def aget_query_embedding(self, query: str) -> Any:
        raise AssertionError("many models compute in it, and would stop the loop")


# -- which method is called -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "many", "one"),
    [
        (LangChain(), "embed_documents", "embed_query"),
        (LlamaIndex(), "get_text_embedding_batch", "get_query_embedding"),
    ],
    ids=["langchain", "llama-index"],
)
def test_documents_and_questions_go_to_their_own_methods(model: Any, many: str, one: str) -> None:
    embedder = as_embedder(model)
    expected = HashingEmbedder(16).embed(["a", "b"])
    np.testing.assert_allclose(embedder.embed(("a", "b")), expected, atol=1e-6)
    np.testing.assert_allclose(embedder.embed_query("b"), expected[1], atol=1e-6)
    assert model.calls == [(many, ["a", "b"]), (one, "b")]
    assert isinstance(model.calls[0][1], list)  # hosts ask for a list
    assert embedder.embed([]).shape == (0, 16)
    assert len(model.calls) == 2


def test_the_length_is_asked_for_once() -> None:
    model = LangChain()
    embedder = as_embedder(model)
    assert embedder.dims == embedder.dims == 16
    assert model.calls == [("embed_query", "memos")]


def test_asynchronous_methods_are_awaited_where_there_are_some() -> None:
    for kind, expected in (
        (AwaitedLangChain, ["aembed_documents", "aembed_query"]),
        (LangChain, ["embed_documents", "embed_query"]),
        (LlamaIndex, ["get_text_embedding_batch", "get_query_embedding"]),
    ):
        model = kind()
        embedder = as_embedder(model)
        assert isinstance(embedder, HostEmbedder)

        async def ask(embedder: HostEmbedder = embedder) -> tuple[Any, Any, Any]:
            return await embedder.aembed(["a", "b"]), await embedder.aembed_query("b"), await embedder.aembed([])

        many, one, none = asyncio.run(ask())
        assert [name for name, _ in model.calls] == expected
        np.testing.assert_allclose(many, HashingEmbedder(16).embed(["a", "b"]), atol=1e-6)
        np.testing.assert_allclose(one, many[1])
        assert none.shape == (0, 16)


# -- what it is called ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "identity"),
    [
        ({"model_name": "large"}, "langchain:LangChain:large"),
        ({"model": "text-3"}, "langchain:LangChain:text-3"),
        ({"model": object(), "model_id": "x/y"}, "langchain:LangChain:x/y"),
        ({"deployment": "mine"}, "langchain:LangChain:mine"),
        ({"size": 64}, "langchain:LangChain:64"),
        ({"model": "", "size": True}, f"langchain:{__name__}.LangChain"),
        ({}, f"langchain:{__name__}.LangChain"),
    ],
)
def test_identity_is_the_class_and_the_model_s_name(names: dict[str, Any], identity: str) -> None:
    assert as_embedder(LangChain(**names)).identity == identity


def test_another_model_of_the_same_class_is_another_embedder(tmp_path: Any) -> None:
    with MOS.open(tmp_path, embedder=LangChain(model="small")) as mos:
        mos.session("ann").add("I moved to Lisbon.")
    with MOS.open(tmp_path, embedder=LangChain(model="small")) as mos:
        assert mos.session("ann").search("Lisbon").degraded is None
    with pytest.raises(EmbedderMismatch, match="LangChain:small"):
        MOS.open(tmp_path, embedder=LangChain(model="large"))


@pytest.mark.parametrize("thing", [object(), 7, [], {}, lambda text: [1.0], LangChain, HashingEmbedder])
def test_what_is_no_embedder_is_refused(thing: Any) -> None:
    with pytest.raises(InvalidConfig, match="is no embedder"):
        load_embedder(thing)
    with pytest.raises(InvalidConfig, match="is no embedder"):
        MOS.open(":memory:", embedder=thing)


def test_an_embedder_of_memos_own_is_taken_as_it_is() -> None:
    embedder = HashingEmbedder()
    assert as_embedder(embedder) is embedder


# -- bad answers ----------------------------------------------------------------------------------------------------------

ANSWERS: dict[str, Callable[[list[str]], Any]] = {
    "too few": lambda texts: [[1.0] * 16 for _ in texts[1:]] or [[[1.0]]],
    "too many": lambda texts: [[1.0] * 16 for _ in [*texts, "x"]],
    "nothing": lambda texts: [],
    "no list": lambda texts: [None for _ in texts],
    "empty vectors": lambda texts: [[] for _ in texts],
    "ragged": lambda texts: [[1.0] * 3, *([1.0] * 16 for _ in texts)][: len(texts)],
    "nan": lambda texts: [[float("nan")] * 16 for _ in texts],
    "infinite": lambda texts: [[float("inf")] * 16 for _ in texts],
    "too large for float32": lambda texts: [[1e300] * 16 for _ in texts],
    "words": lambda texts: [["a"] * 16 for _ in texts],
    "nested": lambda texts: [[[1.0] * 16] for _ in texts],
    "a dict": lambda texts: [{"vector": [1.0]} for _ in texts],
}


@pytest.mark.parametrize("what", ANSWERS)
def test_bad_answers_are_errors_and_nothing_is_stored(what: str) -> None:
    good = LangChain(model="m")
    with MOS.open(":memory:", embedder=good) as mos:
        session = mos.session("ann")
        session.add("good")
        good._answer = ANSWERS[what]
        with pytest.raises(EmbeddingFailed, match="langchain:LangChain:m"):
            as_embedder(good).embed(["one", "two"])  # the model's own dims are not known yet
        with pytest.raises(EmbeddingFailed, match="langchain:LangChain:m"):
            session.add(["one", "two"])
        if what != "too many":  # a question takes the first answer
            with pytest.raises(EmbeddingFailed, match="langchain:LangChain:m"):
                session.search("one")
        good._answer = LangChain()._answer
        assert [item.text for item in session.list()] == ["good"]
        assert session.add("one").new
        assert mos.verify() == []


class Own:
    """An embedder of somebody's own, with memos' methods."""

    identity = "own:1"
    dims = 16
    token_dims = 4

    def embed(self, texts: Any) -> Any:
        return HashingEmbedder(16).embed(texts)

    def embed_query(self, text: str) -> Any:
        return self.embed([text])[0]

    def embed_tokens(self, texts: Any) -> Any:
        return self.embed(texts), [np.eye(4, dtype=np.float32) for _ in texts]

    def embed_question(self, text: str, late: str) -> Any:
        return self.embed_query(text), np.eye(4, dtype=np.float32), ["a", "b", "c", "d"]


EYE = np.eye(4, dtype=np.float32)
BAD_TEXTS: list[Callable[[int], Any]] = [
    lambda count: (np.full((count, 16), np.nan), [EYE] * count),
    lambda count: (np.ones((count, 15)), [EYE] * count),
    lambda count: (np.ones((count + 1, 16)), [EYE] * count),
    lambda count: ([None] * count, [EYE] * count),
    lambda count: (np.ones((count, 16)), [EYE] * (count - 1)),
    lambda count: (np.ones((count, 16)), [EYE + np.inf] * count),
    lambda count: (np.ones((count, 16)), [EYE[:, 1:]] * count),
    lambda count: (np.ones((count, 16)), [EYE[0]] * count),
    lambda count: (np.ones((count, 16)), [[["x"] * 4]] * count),
]
BAD_QUESTIONS: list[Any] = [
    (np.full(16, np.nan), EYE, ["w"] * 4),
    (np.ones(15), EYE, ["w"] * 4),
    (np.ones((1, 16)), EYE, ["w"] * 4),
    (None, EYE, ["w"] * 4),
    (np.ones(16), EYE + np.inf, ["w"] * 4),
    (np.ones(16), EYE[:, 1:], ["w"] * 4),
    (np.ones(16), EYE, ["w"] * 3),
]


@pytest.mark.parametrize("bad", [*BAD_TEXTS, *BAD_QUESTIONS], ids=range(len(BAD_TEXTS) + len(BAD_QUESTIONS)))
def test_an_embedder_of_one_s_own_is_not_trusted_either(bad: Any) -> None:
    embedder: Any = Own()
    with MOS.open(":memory:", embedder=embedder) as mos:
        session = mos.session("ann")
        session.add("good words")
        if callable(bad):
            embedder.embed_tokens = lambda texts: bad(len(texts))
            with pytest.raises(EmbeddingFailed, match="own:1"):
                session.add(["one", "two"])
        else:
            embedder.embed_question = lambda *_: bad
            with pytest.raises(EmbeddingFailed, match="own:1"):
                session.search("one")
        assert [item.text for item in session.list()] == ["good words"]
        assert mos.verify() == []


def test_vectors_of_another_length_than_before_are_refused() -> None:
    model = LangChain(model="m")
    embedder = as_embedder(model)
    embedder.embed(["a"])
    model._answer = lambda texts: [[1.0] * 17 for _ in texts]
    with pytest.raises(EmbeddingFailed, match="17 dimensions, before 16"):
        embedder.embed(["a"])


@pytest.mark.parametrize("method", ["embed", "embed_query", "aembed", "aembed_query"])
def test_a_model_s_own_error_is_kept_as_the_cause(method: str) -> None:
    def fail(texts: list[str]) -> Any:
        raise ConnectionError("no route to host")

    embedder = as_embedder(AwaitedLangChain(fail, model="m"))
    call = getattr(embedder, method)
    given: Any = "a" if method.endswith("query") else ["a"]

    async def awaited() -> None:
        await call(given)

    with pytest.raises(EmbeddingFailed, match="langchain:AwaitedLangChain:m failed: no route") as caught:
        asyncio.run(awaited()) if method.startswith("a") else call(given)
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_numbers_of_any_kind_become_float32() -> None:
    for answer in (
        lambda texts: np.ones((len(texts), 4), np.float64),
        lambda texts: tuple((1, 1, 1, 1) for _ in texts),
        lambda texts: [np.ones(4, np.float16) for _ in texts],
    ):
        vectors = as_embedder(LangChain(answer)).embed(["a", "b"])
        assert vectors.dtype == np.float32
        assert vectors.tolist() == [[1] * 4] * 2


def test_a_model_that_is_changed_later_does_not_change_what_it_answered() -> None:
    kept = np.ones((1, 16), np.float32)
    vectors = as_embedder(LangChain(lambda texts: kept)).embed(["a"])
    kept[:] = 0
    assert vectors.min() == 1
