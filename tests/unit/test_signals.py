"""If these fail, a search weighs other things than it says: a neighbour's words count too much or not at all, a rare word no
more than a common one, "in May" or "what did Anna say" changes nothing, or a signal that was turned off still decides.

Every signal is computed once more here, item by item in plain Python, from its description in `ranking`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count, pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core import MOS, Draft, Hits, SourceRef
from memos_core.plaintext.ranking import SIGNALS, TOKENS, UNRELATED, VECTORS, WORDS, Recipe, recipe_for
from memos_core.stores.index.stopwords import STOPWORDS
from memos_core.stores.index.tokens import encode_tokens

DIMS, TOKEN_DIMS = 12, 6
WORD = re.compile(r"[a-z0-9]+")


def words_in(text: str) -> list[str]:
    return WORD.findall(text.lower())


def unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


@cache
def direction(word: str, dims: int) -> np.ndarray:
    return unit(np.random.default_rng([dims, *word.encode()]).normal(size=dims) + 0.3)


@cache
def background_of(embedder: OneVector) -> tuple[float, float]:
    """Mean and spread of the cosines between texts that have nothing to do with each other."""
    unrelated = embedder.embed(UNRELATED).astype(float)
    cosines = [float(a @ b) for i, a in enumerate(unrelated) for j, b in enumerate(unrelated) if i != j]
    return float(np.mean(cosines)), float(np.std(cosines))


class OneVector:
    """An embedder to calculate with: each word has a direction, a text is the sum of its words."""

    identity, dims = "one-vector", DIMS

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        sums = [np.sum([direction(w, DIMS) for w in words_in(text)], axis=0) for text in texts]
        return unit(np.array([each if np.ndim(each) else np.zeros(DIMS) for each in sums]))

    def embed_query(self, text: str) -> np.ndarray:
        return self.embed([text])[0]


class ManyVectors(OneVector):
    """The same with a vector for each word that is no function word."""

    identity, token_dims = "many-vectors", TOKEN_DIMS

    def tokens(self, text: str) -> tuple[np.ndarray, list[str]]:
        words = [word for word in words_in(text) if word not in STOPWORDS["en"]]
        vectors = [direction(word, TOKEN_DIMS) for word in words]
        return np.array(vectors, dtype=np.float32).reshape(len(words), TOKEN_DIMS), words

    def embed_tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray]]:
        return self.embed(texts), [self.tokens(text)[0] for text in texts]

    def embed_question(self, text: str, late: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
        return self.embed_query(text), *self.tokens(late)


class Said(msgspec.Struct, frozen=True):
    """An item of the small world below: words that are their own stems, "Oslo" and "7" for salience."""

    words: tuple[str, ...]
    asks: bool
    thread: str | None
    speaker: str | None
    day: int | None  # days from 8 May 2024

    @property
    def text(self) -> str:
        return " ".join(self.words) + ("?" if self.asks else ".")

    @property
    def terms(self) -> list[str]:
        return words_in(self.text)

    def draft(self) -> Draft:
        at = None if self.day is None else EIGHTH_OF_MAY + timedelta(days=self.day, hours=10)
        source = SourceRef(role="user", speaker=self.speaker) if self.speaker else None
        return Draft(text=self.text, conversation=self.thread, occurred_at=at, source=source)


class Asked(msgspec.Struct, frozen=True):
    """A question of the small world."""

    lead: str
    names: tuple[str, ...]
    words: tuple[str, ...]
    governor: str  # "on", "before", "after" 8 May 2024, or none

    @property
    def text(self) -> str:
        date = f" {self.governor} 8 May 2024" if self.governor else ""
        return f"{self.lead} {' and '.join(self.names)} {' '.join(self.words)}{date}?"


EIGHTH_OF_MAY = datetime(2024, 5, 8, tzinfo=UTC)
VOCABULARY = ["bakol", "dumir", "fenat", "gorup", "hilav", "jotek", "kuzob", "lemid", "Oslo", "7"]
PEOPLE = ["Anna", "Bert"]
said = st.builds(
    Said,
    words=st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=5).map(lambda words: ("so", *words)),
    asks=st.booleans(),
    thread=st.sampled_from(["one", "one", "one", "two", None]),
    speaker=st.sampled_from([*PEOPLE, None]),
    day=st.sampled_from([None, -400, -9, -1, 0, 1, 3, 200]),
)
asked = st.builds(
    Asked,
    lead=st.sampled_from(["What about", "When did"]),
    names=st.sampled_from([(), (), ("Anna",), ("Bert",), ("Anna", "Bert")]),
    words=st.lists(st.sampled_from([*VOCABULARY, "zofup"]), min_size=1, max_size=3).map(tuple),
    governor=st.sampled_from(["", "", "on", "before", "after"]),
)


class Model:
    """What each signal must say of each item, as `ranking` describes it."""

    def __init__(self, items: list[Said], question: Asked, embedder: OneVector | None) -> None:
        self.items = items
        self.question = question
        self.embedder = embedder
        self.known = {each.speaker for each in items if each.speaker}
        self.dated = question.governor != "" and any(each.day is not None for each in items)
        undated = question.text.replace("8 May 2024", "") if self.dated else question.text
        self.late_text = undated
        self.dense_text = undated
        for name in self.known:
            self.dense_text = self.dense_text.replace(name, "I")
        content = [w for w in dict.fromkeys(words_in(undated)) if w not in STOPWORDS["en"]]
        names = {name.lower() for name in self.known}
        self.terms = [word for word in content if word not in names] or content
        self.weight = {term: self.idf(term) for term in self.terms}

    def idf(self, term: str) -> float:
        held = sum(term in each.terms for each in self.items)
        return math.log1p((len(self.items) + 100 - held + 0.5) / (held + 0.5))

    def around(self, place: int) -> dict[int, int]:
        """The neighbours of an item up to four away, itself among them, with their distance."""
        own = self.items[place].thread
        if own is None:
            return {place: 0}
        thread = [other for other, each in enumerate(self.items) if each.thread == own]
        here = thread.index(place)
        return {other: abs(there - here) for there, other in enumerate(thread) if abs(there - here) <= 4}

    # -- the signals

    def lexical(self, place: int) -> float:
        total = sum(self.weight.values())
        near = self.around(place)
        decay = {other: 0.6**far for other, far in near.items()}
        length = sum(decay[o] * self.length(o) for o in near) / sum(decay.values())
        average = np.mean([self.length(other) for other in range(len(self.items))])
        norm = 1.2 * (0.25 + 0.75 * length / average)
        found = 0.0
        for term, weight in self.weight.items():
            times = sum(decay[other] * self.items[other].terms.count(term) for other in near)
            found += weight / total * times / (times + norm)
        return found

    def length(self, place: int) -> int:
        return sum(term not in STOPWORDS["en"] for term in self.items[place].terms)

    def dense(self, place: int) -> float:
        assert self.embedder is not None
        mean, spread = background_of(self.embedder)
        query, own = self.embedder.embed([self.dense_text, self.items[place].text]).astype(float)
        return (float(query @ own) - mean) / spread * 0.073 + 0.054

    def near(self, place: int) -> float:
        return max(0.85**far * self.dense(other) for other, far in self.around(place).items())

    def late(self, place: int) -> float:
        assert isinstance(self.embedder, ManyVectors)
        vectors, words = self.embedder.tokens(self.late_text)
        weights = [self.weight.get(word, 0.0) for word in words]
        if not sum(weights):
            return 0.0
        total = 0.0
        for vector, weight in zip(vectors, weights, strict=True):
            best = max(0.85**far * self.best_token(vector, other) for other, far in self.around(place).items())
            total += weight / sum(weights) * best
        return total

    def best_token(self, vector: np.ndarray, place: int) -> float:
        assert isinstance(self.embedder, ManyVectors)
        own, _ = self.embedder.tokens(self.items[place].text)
        codes = np.frombuffer(encode_tokens(own), np.uint8).reshape(len(own), -1)
        stored = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(own), TOKEN_DIMS) - 7.5
        return float((unit(stored) @ vector).max(initial=-1.0)) if len(own) else 0.0

    def speaker(self, place: int) -> float:
        return float(self.items[place].speaker in set(self.question.names) & self.known)

    def date(self, place: int) -> float:
        day = self.items[place].day
        if day is None or not self.dated:
            return 0.0
        hours = 24.0 * day + 10
        if self.question.governor == "on":
            away = max(-hours, hours - 24, 0.0) / 24
            return 1.0 if not away else self.edge(away)
        if self.question.governor == "before":
            return 0.5 + 0.5 * math.exp(hours / 24 / 14) if hours < 0 else self.edge(hours / 24)
        return 0.5 + 0.5 * math.exp(-(hours - 24) / 24 / 14) if hours >= 24 else self.edge((24 - hours) / 24)

    @staticmethod
    def edge(days: float) -> float:
        value = 0.5 * math.exp(-days / 7)
        return value if value >= 1e-6 else 0.0

    def salience(self, place: int) -> float:
        own = self.items[place]
        names = min(own.words[1:].count("Oslo"), 2) / 2
        numbers = min(own.words.count("7"), 2) / 4
        rare = np.mean([self.idf(term) for term in set(own.terms)]) / self.idf("said by nobody")
        return float(names + numbers - own.asks + 5 * rare)

    def when(self, place: int) -> float:
        return float(self.question.lead == "When did" and "7" in self.items[place].words)

    def feedback(self, place: int, others: dict[int, float]) -> float:
        """Words that the five best share, by scores without this signal."""
        best = sorted(others, key=lambda each: (-np.float32(others[each]), each))[:5]
        shares = [math.exp(2 * (others[each] - others[best[0]])) for each in best]
        weights: Counter[str] = Counter()
        for each, share in zip(best, shares, strict=True):
            for term in set(self.items[each].terms):
                weights[term] += share / sum(shares) * self.idf(term) / self.idf("said by nobody")
        for term in (*self.terms, *(name.lower() for name in self.known)):
            weights.pop(term, None)
        kept = dict(weights.most_common(10))
        if not kept:
            return 0.0
        return max(
            0.6**far
            * sum(weight for term, weight in kept.items() if term in self.items[other].terms)
            / sum(kept.values())
            for other, far in self.around(place).items()
        )


numbers = count()


@pytest.fixture(scope="module", params=[None, OneVector(), ManyVectors()], ids=["words", "one vector", "token vectors"])
def world(request: pytest.FixtureRequest) -> Any:
    """A store for each kind of embedder, and the recipe that belongs to it."""
    recipe = {"NoneType": WORDS, "OneVector": VECTORS, "ManyVectors": TOKENS}[type(request.param).__name__]
    with MOS.open(":memory:", embedder=request.param, now=lambda: EIGHTH_OF_MAY) as mos:
        yield mos, request.param, recipe


def ask(mos: MOS, items: list[Said], question: Asked, without: set[str]) -> tuple[Hits, dict[str, int]]:
    session = mos.session(f"cube{next(numbers)}")
    ids = session.add([each.draft() for each in items]).ids
    return session.search(question.text, top_k=100, without=without), {id: place for place, id in enumerate(ids)}


@pytest.mark.soak
@given(st.lists(said, min_size=1, max_size=12), asked, st.sets(st.sampled_from(SIGNALS), max_size=3))
def test_every_signal_is_what_its_description_says(
    world: tuple[MOS, OneVector | None, Recipe], items: list[Said], question: Asked, without: set[str]
) -> None:
    mos, embedder, base = world
    hits, place_of = ask(mos, items, question, without)
    recipe = recipe_for(vectors=embedder is not None, tokens=base is TOKENS, without=without)
    model = Model(items, question, embedder)
    parts = {place_of[hit.id]: hit.parts for hit in hits}
    if recipe.name != "words":
        assert parts.keys() == place_of_all(items), "with vectors every item may be a hit"
    expected: dict[int, dict[str, float]] = {}
    for place in range(len(items)):
        own = {name: getattr(model, name)(place) for name in recipe.weights if name not in ("feedback", "usage")}
        expected[place] = own
        if recipe.name == "words" and not any(own.get(name, 0) > 1e-12 for name in ("lexical", "date", "speaker")):
            assert place not in parts, "what shares nothing with the question is no hit"
            continue
        for name, value in own.items():
            assert parts[place][name] == pytest.approx(recipe.weights[name] * value, abs=0.03), (name, items[place])
    check_order(hits)
    if "feedback" in recipe.weights and "lexical" in recipe.weights and parts.keys() == place_of_all(items):
        others = {place: sum(part for name, part in own.items() if name != "feedback") for place, own in parts.items()}
        ranked = sorted(others.values(), reverse=True)
        if all(a - b > 1e-6 for a, b in pairwise(ranked)):  # no ties: which five is certain
            for place in parts:
                value = recipe.weights["feedback"] * model.feedback(place, others)
                assert parts[place]["feedback"] == pytest.approx(value, abs=0.01), items[place]


def place_of_all(items: list[Said]) -> Any:
    return dict.fromkeys(range(len(items))).keys()


def check_order(hits: Hits) -> None:
    """The parts explain the order; the score falls along it."""
    sums = [sum(hit.parts.values()) for hit in hits]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(sums))
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    for hit in hits:
        assert [name for name in SIGNALS if name in hit.parts] == list(hit.parts)
