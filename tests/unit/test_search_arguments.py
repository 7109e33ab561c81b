"""If these fail, a search takes an argument and ignores it, answers nonsense with an empty list, breaks on what somebody typed,
or pages through memories with some shown twice and some never."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core import MOS, F, Hits, Message, Session
from memos_core.errors import InvalidCursor, InvalidFilter, InvalidInput, InvalidText, WrongDimension
from memos_core.plaintext.ranking import SIGNALS

NOON = datetime(2024, 5, 8, 12, tzinfo=UTC)
FRUIT = "apple plum fig quince pear grape lemon".split()


@pytest.fixture(scope="module")
def mos() -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing:64", now=lambda: NOON) as mos:
        yield mos


@pytest.fixture(scope="module")
def ann(mos: MOS) -> Session:
    """Sixty messages about fruit in one cube, twenty in another, some of them the same."""
    session = mos.session("ann", conversation="market", read_from=["ann", "ann/more"])
    for cube, count in (("ann", 60), ("ann/more", 20)):
        said = [
            Message(
                content=f"I bought {number} {FRUIT[number % 7]}s and a {FRUIT[number % 5]}",
                speaker="Bo" if number % 3 else "Cy",
                at=NOON - timedelta(days=number),
                metadata={"n": number},
            )
            for number in range(count)
        ]
        mos.session("ann", conversation="market", write_to=[cube]).add(said)
    return session


def ids(hits: Hits) -> list[str]:
    return [hit.id for hit in hits]


# -- how many --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top_k", [0, -1, 10_001, 2.0, "5", None, True, float("nan")])
def test_a_top_k_that_is_no_number_of_hits_is_refused(ann: Session, top_k: Any) -> None:
    with pytest.raises(InvalidInput, match="top_k is a whole number from 1 to 10000"):
        ann.search("apple", top_k=top_k)


@pytest.mark.parametrize("top_k", [1, 2, 59, 60, 61, 10_000])
def test_top_k_is_how_many_there_are_at_most(mos: MOS, ann: Session, top_k: int) -> None:
    own = mos.session("ann")
    hits = own.search("apple", top_k=top_k)
    assert len(hits) == min(top_k, 60)
    assert (hits.cursor is None) == (top_k >= 60)
    assert ids(hits) == ids(own.search("apple", top_k=10_000))[:top_k]


# -- how likely ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("min_score", [-0.01, 1.01, float("nan"), float("inf"), "0.5", None])
def test_a_min_score_that_is_no_probability_is_refused(ann: Session, min_score: Any) -> None:
    with pytest.raises(InvalidInput, match="min_score is from 0 to 1"):
        ann.search("apple", min_score=min_score)


def test_min_score_cuts_the_ranking_where_it_falls_below(ann: Session) -> None:
    everything = ann.search("who bought 12 quinces?", top_k=100)
    scores = [hit.score for hit in everything]
    assert scores[0] > scores[-1]
    for threshold in (0, scores[-1], scores[5], scores[0], 1):
        cut = ann.search("who bought 12 quinces?", top_k=100, min_score=threshold)
        assert ids(cut) == [hit.id for hit in everything if hit.score >= threshold]
        assert cut.cursor is None
        assert ids(ann.search("who bought 12 quinces?", top_k=3, min_score=threshold)) == ids(cut)[:3]
        assert ids(paged(ann, "who bought 12 quinces?", 3, min_score=threshold)) == ids(cut)
    assert ann.search("who bought 12 quinces?", min_score=1) == []


# -- pages -----------------------------------------------------------------------------------------------------------------


def paged(session: Session, query: str, size: int, **arguments: Any) -> Hits:
    """All hits, page by page."""
    found: list[Any] = []
    cursor = None
    for _ in range(1000):
        page = session.search(query, top_k=size, cursor=cursor, **arguments)
        assert len(page) <= size
        assert page.cursor is None or len(page) == size, "only the last page is short"
        found += page
        cursor = page.cursor
        if cursor is None:
            return Hits(found)
    raise AssertionError("pages without end")


@pytest.mark.parametrize("size", [1, 2, 7, 59, 60, 79])
@pytest.mark.parametrize("cubes", [["ann"], ["ann", "ann/more"]], ids=["one cube", "two cubes"])
def test_pages_one_after_the_other_are_one_long_page(mos: MOS, ann: Session, cubes: list[str], size: int) -> None:
    session = mos.session("ann", read_from=cubes)
    for arguments in ({}, {"where": F.n > 7}, {"without": ["lexical", "salience"]}, {"min_score": 1e-4}):
        long = session.search("figs and quinces", top_k=1000, **arguments)
        assert len(long) > 7
        found = paged(session, "figs and quinces", size, **arguments)
        assert ids(found) == ids(long)
        assert [hit.score for hit in found] == [hit.score for hit in long]
        assert [hit.parts for hit in found] == [hit.parts for hit in long]


def test_later_pages_see_the_moment_of_the_first(mos: MOS) -> None:
    eve = mos.session("eve")
    old = eve.add([f"{fruit} jam number {number}" for fruit in FRUIT for number in range(3)]).ids
    first = eve.search("fig jam", top_k=5)
    long = ids(eve.search("fig jam", top_k=100))
    eve.add([f"fig jam, fresh, number {number}" for number in range(9)])
    eve.update(long[7], text="nothing about preserves")
    eve.delete(long[8])
    rest, cursor = [], first.cursor
    while cursor:
        page = eve.search("fig jam", top_k=5, cursor=cursor)
        rest += page
        cursor = page.cursor
    assert ids(first) + ids(Hits(rest)) == long
    assert set(long) == set(old)
    assert next(hit for hit in rest if hit.id == long[7]).text != "nothing about preserves"


@pytest.mark.parametrize("cursor", ["", "nonsense", "e30=", "\u00e9", "AAAA" * 100])
def test_a_cursor_that_is_none_is_refused(ann: Session, cursor: str) -> None:
    with pytest.raises(InvalidCursor, match="is no cursor of memos"):
        ann.search("apple", cursor=cursor)


def test_a_cursor_serves_only_the_search_it_came_from(mos: MOS, ann: Session) -> None:
    cursor = ann.search("apple", top_k=3, where=F.n > 3).cursor
    assert cursor is not None
    ann.search(
        "apple", top_k=9, where={"n": {">": 3}}, cursor=cursor
    )  # the page's size may change, and how it is written
    for query, arguments in (
        ("apples", {"where": F.n > 3}),
        ("apple", {}),
        ("apple", {"where": F.n > 4}),
        ("apple", {"where": F.n > 3, "min_score": 0.1}),
        ("apple", {"where": F.n > 3, "without": ["dense"]}),
    ):
        with pytest.raises(InvalidCursor, match="belongs to another search"):
            ann.search(query, cursor=cursor, **arguments)
    with pytest.raises(InvalidCursor, match="belongs to another search"):
        mos.session("ann", read_from=["ann"]).search("apple", where=F.n > 3, cursor=cursor)


# -- signals ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("without", [["bm25"], ["late", "Late"], [""], {"dense": 1, "vectors": 2}])
def test_a_signal_that_does_not_exist_is_refused_and_those_that_do_are_named(ann: Session, without: Any) -> None:
    with pytest.raises(InvalidInput, match=r"no such signal: .*signals are: late, dense, near"):
        ann.search("apple", without=without)


@pytest.mark.parametrize("without", ["late", b"late", 3, None, [3], [["late"]]])
def test_signals_are_given_as_a_list(ann: Session, without: Any) -> None:
    with pytest.raises(InvalidInput, match="without is a list of signals"):
        ann.search("apple", without=without)


def test_with_all_signals_turned_off_there_is_nothing_to_search_by(ann: Session) -> None:
    with pytest.raises(InvalidInput, match="no signal is left to search by"):
        ann.search("apple", without=SIGNALS)


def test_without_signals_of_meaning_the_model_is_not_asked(mos: MOS, ann: Session) -> None:
    hits = ann.search("apple", without=["late", "dense", "near"])
    assert hits.degraded is None, "as it was asked for"
    assert hits[0].parts.keys().isdisjoint({"late", "dense", "near"})


# -- questions -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", " ", "\n\t ", "\u3000"])
def test_an_empty_question_finds_nothing(ann: Session, query: str) -> None:
    hits = ann.search(query)
    assert hits == []
    assert hits.cursor is None


@pytest.mark.parametrize("query", ["the", "?!", "—", "\u200b", "🍎", "of and the"])
def test_a_question_without_words_of_its_own_is_no_error(ann: Session, query: str) -> None:
    for hit in ann.search(query, top_k=100):
        assert 0 <= hit.score <= 1


def test_an_empty_question_with_a_vector_is_a_question(mos: MOS, ann: Session) -> None:
    vector = np.random.default_rng(0).normal(size=64)
    assert len(ann.search("", vector=vector, top_k=5)) == 5
    assert ids(ann.search("", vector=vector, top_k=5)) == ids(ann.search("", vector=vector * 7, top_k=5))


@pytest.mark.parametrize("query", [None, 5, b"apple", ["apple"]])
def test_a_question_is_a_string(ann: Session, query: Any) -> None:
    with pytest.raises(InvalidText):
        ann.search(query)


@pytest.mark.parametrize("query", ["apple\0", "\ud800 apple"])
def test_a_question_that_could_not_be_stored_is_refused(ann: Session, query: str) -> None:
    with pytest.raises(InvalidText):
        ann.search(query)


@pytest.mark.parametrize("vector", [[1.0, 2.0], np.zeros((1, 64)), np.full(64, np.nan), "apple", [None] * 64])
def test_a_vector_of_another_shape_is_refused(ann: Session, vector: Any) -> None:
    with pytest.raises(WrongDimension):
        ann.search("apple", vector=vector)


HOSTILE = [
    *(
        '"',
        "'; DROP TABLE items; --",
        "apple AND NOT plum",
        "NEAR(apple, on)",
        "apple*",
        "apple^+",
        "text:apple",
        "(apple",
    ),
    *(
        "a" * 5000,
        "apple " * 3000,
        "\u202eelppa\u202c",
        "ａｐｐｌｅ",
        "APPLE",
        "äpple",
        "<b>apple</b>",
        "{{apple}}",
        "%s %d",
    ),
    *("apple\r\nplum", "a\u0301" * 300, "../../etc/passwd", "$(rm -rf)", "\\", "{", "[[", "0", "-1", "1e999", "NaN"),
]


@pytest.mark.parametrize("query", HOSTILE, ids=lambda query: ascii(query)[:20])
def test_nothing_in_a_question_is_an_operator(mos: MOS, ann: Session, query: str) -> None:
    hits = ann.search(query, top_k=100)
    assert len({(hit.cube_id, hit.id) for hit in hits}) == len(hits)
    assert all(0 <= hit.score <= 1 for hit in hits)
    words = mos.session("ann").search(query, top_k=100, without=["late", "dense", "near"])
    if "apple" in query.casefold() and "a" * 50 not in query:
        assert "apple" in words[0].text, "its words are looked for"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80))
def test_any_text_can_be_asked(ann: Session, query: str) -> None:
    hits = ann.search(query, top_k=100, min_score=0.0)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert len(hits) in (0, len(ann.search("apple", top_k=100))), "with vectors, all or (nothing asked) none"


# -- the same words twice --------------------------------------------------------------------------------------------------


def test_the_same_words_in_several_cubes_are_one_hit_with_every_origin(mos: MOS) -> None:
    for cube in ("dup/a", "dup/b", "dup/c"):
        own = mos.session("dup", write_to=[cube])
        own.add("The spare key hangs behind the clock.", occurred_at=NOON, id=f"key-{cube[-1]}")
        own.add(f"The clock has {ord(cube[-1])} wheels.", id=f"only-{cube[-1]}")
    hits = mos.session("dup", read_from=["dup/b", "dup/a", "dup/c"]).search("spare key clock", top_k=10)
    assert sorted(hits[0].origins) == [("dup/a", "key-a"), ("dup/b", "key-b"), ("dup/c", "key-c")]
    assert hits[0].origins[0] == (hits[0].cube_id, hits[0].id) == (hits[0].item.cube_id, hits[0].item.id)
    assert sorted(ids(hits)[1:]) == ["only-a", "only-b", "only-c"]
    session = mos.session("dup", read_from=["dup/b", "dup/a", "dup/c"])
    assert ids(paged(session, "spare key clock", 1)) == ids(hits), "folded across pages, too"
    assert ids(paged(session, "spare key clock", 3)) == ids(hits)


def test_the_same_words_of_another_speaker_or_time_are_another_memory(mos: MOS) -> None:
    for cube, by, at in (("two/a", "Bo", NOON), ("two/b", "Cy", NOON), ("two/c", "Bo", NOON + timedelta(days=1))):
        said = Message(content="I have the spare key.", speaker=by, at=at)
        mos.session("two", write_to=[cube]).add(said)
    hits = mos.session("two", read_from=["two/a", "two/b", "two/c"]).search("spare key")
    assert len(hits) == 3
    assert all(hit.origins == ((hit.cube_id, hit.id),) for hit in hits)


def test_the_same_words_twice_in_one_cube_are_two_memories(mos: MOS) -> None:
    one = mos.session("one")
    one.add(["Milk is out."], occurred_at=NOON)
    one.add(["Milk is out."], occurred_at=NOON)
    assert len(one.search("milk")) == 2


# -- where there is nothing ------------------------------------------------------------------------------------------------


def test_a_cube_that_nothing_was_written_to_has_no_hits(mos: MOS) -> None:
    nobody = mos.session("nobody")
    assert nobody.search("apple") == []
    assert nobody.search("apple", where=F.n > 3, as_of=NOON) == []
    assert nobody.list() == []


def test_a_wrong_question_is_refused_where_there_is_nothing_too(mos: MOS) -> None:
    nobody = mos.session("nobody")
    with pytest.raises(InvalidInput):
        nobody.search("apple", top_k=0)
    with pytest.raises(InvalidInput):
        nobody.search("", without=["bm25"])
    with pytest.raises(InvalidFilter):
        nobody.search("apple", where={"n": {">": None}})


@pytest.mark.parametrize("as_of", [-1, True, 1.5, "yesterday", datetime(2024, 5, 8)])
def test_a_moment_that_is_none_is_refused(mos: MOS, ann: Session, as_of: Any) -> None:
    with pytest.raises(InvalidInput):
        mos.session("ann").search("apple", as_of=as_of)


def test_the_number_of_a_change_means_nothing_for_several_cubes(ann: Session) -> None:
    with pytest.raises(InvalidInput, match="give a time"):
        ann.search("apple", as_of=3)
    assert len(ann.search("apple", as_of=NOON + timedelta(days=1), top_k=100)) == 60
    assert ann.search("apple", as_of=NOON - timedelta(days=1)) == []
