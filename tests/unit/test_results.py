"""If these fail, a large memory shows some hits twice and others never, ends its pages long before the end, or overlooks what a
small one would have found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from memos_core import MOS, Draft, F, Hits, Session
from memos_core.plaintext import ranking

DIMS = 8
COUNT = 6000
WORDS = [
    f"{a}{b}" for a in ("bak", "dum", "fen", "gor", "hil", "jot", "kuz") for b in ("ol", "ir", "at", "up", "av", "ek")
]
QUESTION = "bakol dumir fenat"


def drafts(count: int, seed: int) -> tuple[list[Draft], np.ndarray]:
    """Texts of a few words each, two in a hundred with one of those asked for, and vectors without any order."""
    rng = np.random.default_rng(seed)
    frequent = np.array([0.004 if word in QUESTION else 1.0 for word in WORDS])
    said = rng.choice(WORDS, size=(count, 6), p=frequent / frequent.sum())
    texts = [f"{' '.join(own)} {number}" for number, own in enumerate(said)]
    made = [Draft(text=text, conversation="thread", metadata={"n": n}) for n, text in enumerate(texts)]
    return made, rng.normal(size=(count, DIMS)).astype(np.float32)


@pytest.fixture(scope="module")
def mos() -> Iterator[MOS]:
    with MOS.open(":memory:", embedder=f"given:{DIMS}") as mos:
        for cube, count, seed in (("big/one", COUNT, 0), ("big/two", 300, 1)):
            made, vectors = drafts(count, seed)
            mos.session("big", write_to=[cube]).add(made, vectors=vectors)
        yield mos


def session(mos: MOS, *cubes: str) -> Session:
    return mos.session("big", read_from=[f"big/{cube}" for cube in cubes])


def pages(search: Callable[..., Hits], size: int) -> Iterator[Hits]:
    cursor = None
    while True:
        page = search(top_k=size, cursor=cursor)
        yield page
        cursor = page.cursor
        if cursor is None:
            return


def asking(mos: MOS, *cubes: str, vector: bool = True, **arguments: Any) -> Callable[..., Hits]:
    given = np.ones(DIMS) if vector else None
    return lambda **page: session(mos, *cubes).search(QUESTION, vector=given, **arguments, **page)


@pytest.mark.parametrize("cubes", [("one",), ("one", "two")], ids=["one cube", "with a small one"])
@pytest.mark.parametrize("size", [170, 1000])
def test_pages_of_a_large_memory_show_every_hit_once(mos: MOS, cubes: tuple[str, ...], size: int) -> None:
    shown = list(pages(asking(mos, *cubes), size))
    ids = [(hit.cube_id, hit.id) for page in shown for hit in page]
    assert len(ids) == len(set(ids)) == COUNT + 300 * (len(cubes) - 1)
    assert all(len(page) == size for page in shown[:-1])
    assert shown[-1]
    scores = [hit.score for page in shown for hit in page]
    assert all(later <= earlier for earlier, later in pairwise(scores))


@pytest.mark.parametrize("vector", [True, False], ids=["vectors", "words"])
def test_pages_that_go_far_behind_the_first_choice(mos: MOS, monkeypatch: pytest.MonkeyPatch, vector: bool) -> None:
    """However bad the cheap first score was, what comes later changes nothing of what was shown."""
    monkeypatch.setattr(ranking, "FULL_ROWS", 50)
    monkeypatch.setattr(ranking, "POOL", 4)
    for size in (1, 3, 10):
        ids = [hit.id for page in pages(asking(mos, "two", vector=vector), size) for hit in page]
        assert len(set(ids)) == len(ids)
        assert len(ids) == 300 or not vector
    assert len(list(pages(asking(mos, "two", vector=vector, min_score=0.0), 7))) == -(-len(ids) // 7)


def test_pages_of_words_alone_end_with_what_shares_words(mos: MOS) -> None:
    shown = [hit for page in pages(asking(mos, "one", vector=False), 50) for hit in page]
    assert len({hit.id for hit in shown}) == len(shown)
    everything = {item.metadata["n"]: item.text for item in session(mos, "one").list(limit=10_000)}
    said = [number for number, text in everything.items() if set(QUESTION.split()) & set(text.split())]
    near = {other for number in said for other in range(number - 4, number + 5) if other in everything}
    assert {hit.item.metadata["n"] for hit in shown} == near
    assert session(mos, "one").search("zofup") == []
    assert session(mos, "one").search("zofup", where=F.n >= 0) == []


def test_a_min_score_ends_the_pages(mos: MOS) -> None:
    everything = asking(mos, "one")(top_k=500)
    threshold = everything[300].score
    assert threshold < everything[0].score
    shown = [hit.id for page in pages(asking(mos, "one", min_score=threshold), 60) for hit in page]
    assert len(set(shown)) == len(shown)
    assert {hit.id for hit in everything[:50]} <= set(shown)


def test_a_filter_and_a_past_moment_hold_on_every_page(mos: MOS) -> None:
    past = COUNT - 400
    shown = [hit for page in pages(asking(mos, "one", where=F.n >= 100, as_of=past), 400) for hit in page]
    assert sorted(hit.item.metadata["n"] for hit in shown) == list(range(100, past))


@pytest.mark.parametrize("vector", [True, False], ids=["vectors", "words"])
def test_a_filter_that_leaves_few_has_all_of_them_weighed(mos: MOS, vector: bool) -> None:
    """It narrows before the best are chosen: the order is that of the full scores, as in a small memory."""
    hits = asking(mos, "one", vector=vector, where=F.n >= COUNT - 1000)(top_k=1000)
    assert len(hits) == 1000 or not vector
    sums = [sum(hit.parts.values()) for hit in hits]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(sums))
    assert hits[0].parts["feedback"] > 0


@pytest.mark.parametrize("vector", [True, False], ids=["vectors", "words"])
def test_what_is_looked_at_closer_has_the_signals_of_a_full_search(
    mos: MOS, vector: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first score only chooses; those it chooses are weighed as in a small cube, and hardly a good one is overlooked."""
    quick = asking(mos, "one", vector=vector)(top_k=10)
    monkeypatch.setattr(ranking, "FULL_ROWS", COUNT)
    full = asking(mos, "one", vector=vector)(top_k=10)
    assert len({hit.id for hit in quick} & {hit.id for hit in full}) >= 9
    everything = {hit.id: hit.parts for hit in asking(mos, "one", vector=vector)(top_k=10_000)}
    for hit in quick:
        for name, part in hit.parts.items():
            if name != "feedback":
                assert part == pytest.approx(everything[hit.id][name]), name


def test_every_signal_of_the_first_score_brings_an_item_into_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a large memory, what only its speaker, its date or a neighbour speaks for is still found."""
    monkeypatch.setattr(ranking, "FULL_ROWS", 50)
    monkeypatch.setattr(ranking, "POOL", 10)
    from datetime import UTC, datetime

    from memos_core import Message

    with MOS.open(":memory:") as mos:
        ann = mos.session("ann")
        ann.add([Message(content=f"entry {n}", speaker="Bo", at=datetime(2023, 1, 5, tzinfo=UTC)) for n in range(200)])
        ann.add(Message(content="hello there", speaker="Cy", at=datetime(2023, 1, 5, tzinfo=UTC)))
        ann.add(Message(content="good morning", speaker="Bo", at=datetime(2024, 3, 5, tzinfo=UTC)))
        ann.add([Message(content="How was Lisbon?"), Message(content="Wonderful!")], conversation="trip")
        assert [hit.text for hit in ann.search("What did Cy say?", top_k=2)] == ["hello there"]
        assert [hit.text for hit in ann.search("what was said in March 2024?", top_k=1)] == ["good morning"]
        assert [hit.text for hit in ann.search("Lisbon", top_k=2)] == ["How was Lisbon?", "Wonderful!"]
