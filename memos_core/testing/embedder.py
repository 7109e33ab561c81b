"""What every Embedder must do, asked of it directly and through a store that uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memos_core.errors import EmbedderMismatch
from memos_core.mos import MOS
from memos_core.protocols.models import Embedder, TokenEmbedder

Floats = NDArray[np.float32]

TEXTS = (
    "I moved to Lisbon in May.",
    "The cat sleeps on the warm radiator all afternoon.",
    "Quarterly revenue rose by four percent.",
    "ok",
)
HOSTILE = (
    "",
    " \n\t ",
    "?!…",
    "\U0001f600" * 3,
    "猫在沙发上睡觉",
    "zero\u200bwidth and \u202ebidi",
    "x" * 5000,
    "word " * 3000,
)
# a statement, another way to say it with hardly a word in common, and something else
MEANINGS = (
    ("She bought a new car.", "A vehicle was purchased by her recently.", "The soup needs more salt."),
    ("The children are afraid of dogs.", "Kids fear canines.", "Our train to Berlin leaves at nine."),
    ("He works as a physician.", "His job is being a doctor.", "Rain is expected on Thursday."),
)
_CLOSE = 1e-4  # between the same text alone and among others: arithmetic in another order, nothing more


class EmbedderContract:
    """Subclass it, say whether it `knows_meaning`, and write `make_embedder`.

    Attributes:
        knows_meaning: whether texts that mean the same are nearer to each other than to others, though their words differ.
    """

    knows_meaning: bool = True

    def make_embedder(self) -> Embedder:
        """An embedder; those made in one run are of the same model."""
        raise NotImplementedError

    @pytest.fixture
    def embedder(self) -> Embedder:
        """The embedder that is tested."""
        return self.make_embedder()

    # -- what it says of itself ---------------------------------------------------------------------------------------

    def test_it_has_the_methods_of_an_embedder(self, embedder: Embedder) -> None:
        assert isinstance(embedder, Embedder)

    def test_identity_is_a_name_that_does_not_change(self, embedder: Embedder) -> None:
        before = embedder.identity
        assert isinstance(before, str)
        assert before.strip()
        embedder.embed(TEXTS)
        assert embedder.identity == before == self.make_embedder().identity

    def test_dims_is_a_length_that_does_not_change(self, embedder: Embedder) -> None:
        before = embedder.dims
        assert isinstance(before, int)
        assert before > 0
        embedder.embed(TEXTS)
        assert embedder.dims == before == self.make_embedder().dims

    # -- vectors ------------------------------------------------------------------------------------------------------

    def test_each_text_gets_one_vector_of_that_length(self, embedder: Embedder) -> None:
        for count in (1, 2, len(TEXTS)):
            vectors = embedder.embed(TEXTS[:count])
            assert vectors.shape == (count, embedder.dims)
            assert vectors.dtype == np.float32
            assert np.isfinite(vectors).all()

    def test_no_texts_get_no_vectors(self, embedder: Embedder) -> None:
        embedder.embed(TEXTS[:1])  # a model that answers over a wire may learn its dims by its first answer
        assert embedder.embed([]).shape == (0, embedder.dims)

    def test_any_sequence_of_texts_will_do(self, embedder: Embedder) -> None:
        _same(embedder.embed(tuple(TEXTS)), embedder.embed(list(TEXTS)))

    def test_vectors_stand_in_the_order_of_their_texts(self, embedder: Embedder) -> None:
        _same(embedder.embed(TEXTS[::-1])[::-1], embedder.embed(TEXTS))

    def test_company_does_not_change_a_vector(self, embedder: Embedder) -> None:
        alone = np.concatenate([self.make_embedder().embed([text]) for text in TEXTS])
        _same(embedder.embed([*TEXTS, "word " * 200, *TEXTS])[: len(TEXTS)], alone)

    def test_the_same_text_twice_gets_the_same_vector_twice(self, embedder: Embedder) -> None:
        vectors = embedder.embed([TEXTS[0], TEXTS[1], TEXTS[0]])
        _same(vectors[2], vectors[0])
        _same(embedder.embed([TEXTS[0]])[0], vectors[0])
        _same(self.make_embedder().embed([TEXTS[0]])[0], vectors[0])

    def test_what_a_caller_does_to_an_answer_changes_no_later_one(self, embedder: Embedder) -> None:
        first = embedder.embed(TEXTS)
        kept = first.copy()
        first[:] = 7
        _same(embedder.embed(TEXTS), kept)
        question = embedder.embed_query(TEXTS[0])
        kept = question.copy()
        question[:] = 7
        _same(embedder.embed_query(TEXTS[0]), kept)

    def test_a_question_gets_one_vector_of_that_length(self, embedder: Embedder) -> None:
        vector = embedder.embed_query("where does she live?")
        assert vector.shape == (embedder.dims,)
        assert vector.dtype == np.float32
        assert np.isfinite(vector).all()
        _same(embedder.embed_query("where does she live?"), vector)

    @pytest.mark.parametrize("text", HOSTILE, ids=lambda text: f"{len(text)} of {text[:1]!a}")
    def test_strange_texts_get_finite_vectors(self, embedder: Embedder, text: str) -> None:
        vectors = embedder.embed([text, TEXTS[0]])
        assert np.isfinite(vectors).all()
        assert np.isfinite(embedder.embed_query(text)).all()
        _same(vectors[1], embedder.embed([TEXTS[0]])[0])

    def test_meaning_is_known_where_that_is_claimed(self, embedder: Embedder) -> None:
        if not self.knows_meaning:
            return
        for said, same, other in MEANINGS:
            question = embedder.embed_query(said)
            near, far = _cosines(question, embedder.embed([same, other]))
            assert near > far, f"{said!r} is nearer to {other!r} ({far:.2f}) than to {same!r} ({near:.2f})"

    def test_threads_get_the_answers_that_one_thread_gets(self, embedder: Embedder) -> None:
        texts = [f"{text} {number}" for number in range(8) for text in TEXTS]
        alone = self.make_embedder().embed(texts)
        with ThreadPoolExecutor(4) as pool:
            among = list(pool.map(lambda text: embedder.embed([text])[0], texts))
        _same(np.array(among), alone)

    # -- what it may have beyond that ---------------------------------------------------------------------------------

    def test_asynchronous_methods_answer_the_same(self, embedder: Embedder) -> None:
        for twin, plain, given in (("aembed", "embed", TEXTS), ("aembed_query", "embed_query", TEXTS[0])):
            method = getattr(embedder, twin, None)
            if method is not None:
                _same(asyncio.run(_awaited(method(given))), getattr(embedder, plain)(given))

    def test_token_vectors_belong_to_their_texts(self, embedder: Embedder) -> None:
        if not isinstance(embedder, TokenEmbedder) or not embedder.token_dims:
            return
        assert embedder.token_dims % 2 == 0
        vectors, tokens = embedder.embed_tokens(TEXTS)
        _same(vectors, embedder.embed(TEXTS))
        assert len(tokens) == len(TEXTS)
        for text, own in zip(TEXTS, tokens, strict=True):
            assert own.shape[1:] == (embedder.token_dims,)
            _same(np.linalg.norm(own, axis=1), np.ones(len(own)))
            _same(own, self._tokens(embedder, [text])[0])
        kept = [own.copy() for own in tokens]
        for own in tokens:
            own[:] = 7
        for own, before in zip(self._tokens(embedder, TEXTS), kept, strict=True):
            _same(own, before)

    def test_a_question_has_a_word_for_each_token(self, embedder: Embedder) -> None:
        if not isinstance(embedder, TokenEmbedder) or not embedder.token_dims:
            return
        vector, tokens, words = embedder.embed_question(TEXTS[0], TEXTS[1])
        _same(vector, embedder.embed_query(TEXTS[0]))
        _same(tokens, self._tokens(embedder, [TEXTS[1]])[0])
        kept = vector.copy(), tokens.copy()
        vector[:], tokens[:] = 7, 7
        for answer, before in zip(embedder.embed_question(TEXTS[0], TEXTS[1])[:2], kept, strict=True):
            _same(answer, before)
        assert len(words) == len(tokens)
        assert {"cat", "radiator"} <= set(words)

    # -- in a store ---------------------------------------------------------------------------------------------------

    def test_a_store_finds_each_text_by_its_own_words(self, embedder: Embedder) -> None:
        with MOS.open(":memory:", embedder=embedder) as mos:
            session = mos.session("ann")
            session.add(list(TEXTS))
            assert session.stats()["embedder"] == embedder.identity
            for text in TEXTS:
                (best, score), *_ = mos.cube("ann").nearest(embedder.embed([text])[0], 1)
                assert best.text == text
                assert score == pytest.approx(1, abs=1e-3)
                assert text in [hit.text for hit in session.search(text, top_k=len(TEXTS))]

    def test_a_store_knows_it_again(self, embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = tmp_path_factory.mktemp("store")
        with MOS.open(folder, embedder=embedder) as mos:
            mos.session("ann").add(TEXTS[0])
        with MOS.open(folder, embedder=self.make_embedder()) as mos:
            assert mos.session("ann").search(TEXTS[0])[0].text == TEXTS[0]
        other = "given:3" if embedder.identity != "given:3" else "given:5"
        with pytest.raises(EmbedderMismatch):
            MOS.open(folder, embedder=other)

    @staticmethod
    def _tokens(embedder: TokenEmbedder, texts: Sequence[str]) -> list[Floats]:
        return embedder.embed_tokens(texts)[1]


async def _awaited(answer: Coroutine[Any, Any, Floats]) -> Floats:
    return await answer


def _cosines(question: Floats, vectors: Floats) -> list[float]:
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(question)
    found: list[float] = (vectors @ question / np.where(lengths > 0, lengths, 1)).tolist()
    return found


def _same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, atol=_CLOSE, rtol=0)
