"""If this fails, a store is filled with vectors of one kind and asked with vectors of another: nothing is found, or the wrong."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memos_core.models.hashing import HashingEmbedder
from memos_core.models.hosts import as_embedder
from memos_core.models.loading import load_embedder
from memos_core.models.minilm import MiniLM
from memos_core.models.onnx_bert import OnnxBert
from memos_core.protocols.models import Embedder
from memos_core.testing.embedder import HOSTILE, EmbedderContract

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))
from tiny_bert import export_onnx, make_folder


class TestHashing(EmbedderContract):
    knows_meaning = False

    def make_embedder(self) -> Embedder:
        return HashingEmbedder()


class TestMiniLM(EmbedderContract):
    def make_embedder(self) -> Embedder:
        return load_embedder("minilm")[0]


class TestMiniLMThroughOnnx(EmbedderContract):
    """A small one: that the real one gives the same vectors is tested beside it."""

    knows_meaning = False

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.made = make_folder(tmp_path / "model")
        export_onnx(self.made, self.made / "onnx" / "model.onnx")

    def make_embedder(self) -> Embedder:
        embedder = MiniLM(self.made)
        assert isinstance(embedder._encoder, OnnxBert)
        return embedder


class TestLangChain(EmbedderContract):
    knows_meaning = False

    def make_embedder(self) -> Embedder:
        embeddings = pytest.importorskip("langchain_core.embeddings")

        class Hashed(embeddings.Embeddings):  # type: ignore[misc, name-defined]
            model = "hashed"

            def __init__(self) -> None:
                self._hashing = HashingEmbedder(64)

            def embed_documents(self, texts: list[str]) -> Any:
                return self._hashing.embed(texts).tolist()

            def embed_query(self, text: str) -> Any:
                return self._hashing.embed_query(text).tolist()

        return as_embedder(Hashed())


class TestLlamaIndex(EmbedderContract):
    knows_meaning = False

    def make_embedder(self) -> Embedder:
        base = pytest.importorskip("llama_index.core.base.embeddings.base")

        class Hashed(base.BaseEmbedding):  # type: ignore[misc, name-defined]
            def _get_text_embedding(self, text: str) -> Any:
                return HashingEmbedder(64).embed_query(text).tolist()

            def _get_query_embedding(self, query: str) -> Any:
                return self._get_text_embedding(query)

            async def _aget_query_embedding(self, query: str) -> Any:
                return self._get_text_embedding(query)

        return as_embedder(Hashed(model_name="hashed"))


def test_the_embedder_that_contributing_shows_keeps_every_promise(tmp_path_factory: pytest.TempPathFactory) -> None:
    page = (Path(__file__).parent.parent.parent / "CONTRIBUTING.md").read_text("utf-8")
    (shown,) = (code for code in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "EmbedderContract" in code)
    names: dict[str, Any] = {}
    exec(shown, names)
    promises = names["TestLengthEmbedder"]()
    asked = 0
    for name in (name for name in dir(promises) if name.startswith("test_")):
        promise = getattr(promises, name)
        needed = inspect.signature(promise).parameters
        given = {"embedder": promises.make_embedder(), "tmp_path_factory": tmp_path_factory}
        for text in HOSTILE if "text" in needed else [""]:
            promise(**{each: {**given, "text": text}[each] for each in needed})
            asked += 1
    assert asked > 20


def test_what_stores_hold_already_means_the_same_for_ever() -> None:
    """Vectors made by an earlier release are compared with those of this one: under one identity they never change."""
    hashing = HashingEmbedder(16)
    assert hashing.identity == "hashing:1:16"
    assert np.rint(hashing.embed(["I moved to Lisbon.", "Über 猫 7"]) * 1000).astype(int).tolist() == [
        [267, 0, 134, 535, 0, 267, 0, -134, -134, 0, -401, 134, 0, -134, 401, 401],
        [0, -140, 0, 840, 140, 0, 0, 0, -140, -140, 0, -140, -420, 0, -140, 0],
    ]
    minilm, _ = load_embedder("minilm")
    assert isinstance(minilm, MiniLM)
    assert minilm.identity == "minilm:d480bd19774e5ade:384:64"
    vector, tokens, words = minilm.embed_question("I moved to Lisbon.", "I moved to Lisbon.")
    np.testing.assert_allclose(vector[:5], [0.1035, -0.0064, 0.0666, 0.0516, 0.0001], atol=1e-4)
    np.testing.assert_allclose(tokens[0][:5], [-0.1487, 0.159, -0.0575, -0.0243, -0.1811], atol=1e-4)
    assert words == ["moved", "lisbon"]


class _Broken(EmbedderContract):
    """The promises, asked of embedders that break them."""

    def __init__(self, kind: type[HashingEmbedder]) -> None:
        self.kind = kind

    def make_embedder(self) -> Embedder:
        return self.kind(64)


class Nameless(HashingEmbedder):
    identity = property(lambda self: str(id(self)))  # type: ignore[assignment]


class OtherDims(HashingEmbedder):
    dims = 63  # type: ignore[assignment]


class Double(HashingEmbedder):
    def embed(self, texts: Any) -> Any:
        return super().embed(texts).astype(np.float64)


class Sorted(HashingEmbedder):
    def embed(self, texts: Any) -> Any:
        return super().embed(sorted(texts))


class Sociable(HashingEmbedder):
    def embed(self, texts: Any) -> Any:
        return super().embed(texts) + np.float32(len(texts))


class NotANumber(HashingEmbedder):
    def embed(self, texts: Any) -> Any:
        return super().embed(texts) / np.float32([[len(text.split()) > 0] for text in texts])


class SomethingForNothing(HashingEmbedder):
    def embed(self, texts: Any) -> Any:
        return super().embed(texts or ["x"])


class Nested(HashingEmbedder):
    def embed_query(self, text: str) -> Any:
        return super().embed_query(text)[None]


class Moody(HashingEmbedder):
    calls = 0

    def embed(self, texts: Any) -> Any:
        self.calls += 1
        return super().embed(texts) * np.float32(self.calls)


class Sharing(HashingEmbedder):
    kept: dict[Any, Any] = {}  # noqa: RUF012

    def embed(self, texts: Any) -> Any:
        return self.kept.setdefault(tuple(texts), super().embed(texts))


class Unlike(HashingEmbedder):
    async def aembed_query(self, text: str) -> Any:
        return self.embed_query(text + "!x")


@pytest.mark.parametrize(
    ("kind", "promise", "more"),
    [
        (Nameless, "identity_is_a_name_that_does_not_change", ()),
        (OtherDims, "each_text_gets_one_vector_of_that_length", ()),
        (Double, "each_text_gets_one_vector_of_that_length", ()),
        (Sorted, "vectors_stand_in_the_order_of_their_texts", ()),
        (Sociable, "company_does_not_change_a_vector", ()),
        (NotANumber, "strange_texts_get_finite_vectors", ("",)),
        (SomethingForNothing, "no_texts_get_no_vectors", ()),
        (Nested, "a_question_gets_one_vector_of_that_length", ()),
        (Moody, "the_same_text_twice_gets_the_same_vector_twice", ()),
        (Sharing, "what_a_caller_does_to_an_answer_changes_no_later_one", ()),
        (Unlike, "asynchronous_methods_answer_the_same", ()),
        (HashingEmbedder, "meaning_is_known_where_that_is_claimed", ()),
    ],
)
def test_a_broken_promise_is_noticed(kind: type[HashingEmbedder], promise: str, more: tuple[str, ...]) -> None:
    promises = _Broken(kind)
    with np.errstate(all="ignore"), pytest.raises(AssertionError):
        getattr(promises, f"test_{promise}")(promises.make_embedder(), *more)
