"""If these fail, search by words finds items that do not say them, misses ones that do, or weighs words by wrong counts."""

from __future__ import annotations

from collections import Counter
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.stores.index import postings
from memos_core.stores.index.postings import SortedPostings, TailPostings, join, moved, term_hash, term_name
from memos_core.stores.index.vocabulary import Vocabulary

Texts = list[list[str]]
texts = st.lists(st.lists(st.sampled_from([*"abcdefgh", "ü", "你好", ""]), max_size=12), max_size=25)


def tail_of(rows: Texts, at_once: int = 4) -> TailPostings:
    """Rows as they come in, some at once."""
    made = TailPostings()
    vocabulary = Vocabulary()
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        numbers = [vocabulary.number(term) for terms in some for term in terms]
        starts = np.cumsum([0, *map(len, some)])
        names = made.add(np.array(numbers, dtype=np.int64), starts, vocabulary.hashes)
        for terms, low, high in zip(some, names.starts[:-1], names.starts[1:], strict=True):
            own = names.entries["names"][low:high].tolist()
            assert own == [term_name(term) for term in dict.fromkeys(terms)], "in order of first appearance"
    return made


def mapped(made: TailPostings | SortedPostings, rows: int) -> SortedPostings:
    return SortedPostings(*join(made.runs()), rows)


def said(found: tuple[np.ndarray, np.ndarray] | None) -> dict[int, int]:
    if found is None:
        return {}
    assert (np.diff(found[0]) > 0).all(), "rows ascend, each once"
    return dict(zip(found[0].tolist(), found[1].tolist(), strict=True))


def check(made: TailPostings | SortedPostings, rows: Texts) -> None:
    everything = {term for row in rows for term in row} | {"absent"}
    expected = {term: {n: c for n, row in enumerate(rows) if (c := Counter(row)[term])} for term in everything}
    for term in everything:
        assert said(made.lookup(term_hash(term))) == expected[term]
        assert said(made.named(term_name(term))) == expected[term]
    names = sorted((term_name(term), term) for term in everything)
    for until in {0, 1, len(rows) // 2, len(rows), len(rows) + 3}:
        held = made.held(np.array([name for name, _ in names], dtype=np.uint32), until)
        assert held.tolist() == [sum(row < until for row in expected[term]) for _, term in names]
    assert made.held(np.zeros(0, dtype=np.uint32), 5).tolist() == []
    triples: list[tuple[int, int, int]] = []
    for hashes, starts, own, counts in made.runs():
        triples += zip(np.repeat(hashes, np.diff(starts)).tolist(), own.tolist(), counts.tolist(), strict=True)
    triples.sort()
    assert triples == sorted((term_hash(term), n, c) for term in everything for n, c in expected[term].items())


@pytest.mark.soak
@given(texts)
def test_postings_say_what_the_texts_say_in_memory_and_in_files(rows: Texts) -> None:
    made = tail_of(rows)
    check(made, rows)
    check(mapped(made, len(rows)), rows)
    check(mapped(mapped(made, len(rows)), len(rows)), rows)


def test_long_postings_are_counted_without_gathering_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postings, "_GATHERED", 3)
    rows = [["a", "b"] if n % 3 else ["a", "a", "c"] for n in range(40)]
    check(mapped(tail_of(rows), 40), rows)


def test_postings_of_several_parts_become_one() -> None:
    left, right = [["a", "b"], [], ["b", "b"]], [["c"], ["a", "c", "c"]]
    runs = [moved(run, np.arange(2, 5, dtype=np.int32)) for run in tail_of(left).runs()]
    both = SortedPostings(*join([*runs, *tail_of(right).runs()]), 5)
    check(both, [*right, *left])


def test_a_word_said_very_often_is_counted_as_often_as_fits() -> None:
    rows = [["a"] * 254, ["a"] * 255, ["a"] * 256, ["a"] * 100_000]
    for made in (tail_of(rows), mapped(tail_of(rows), 4)):
        assert said(made.lookup(term_hash("a"))) == {0: 254, 1: 255, 2: 255, 3: 255}


def twins() -> tuple[str, str]:
    """Two words with one 32-bit name. Nobody has to invent them: among a hundred thousand words there are some."""
    known: dict[int, str] = {}
    for number in count():
        word = f"word{number}"
        other = known.setdefault(term_name(word), word)
        if other != word:
            return other, word
    raise AssertionError


def test_two_words_of_one_name_are_kept_apart_where_words_are_asked_for() -> None:
    one, two = twins()
    rows = [[one], [two, two], [one, two], ["other"], [one] * 200 + [two] * 200]
    tail = tail_of(rows)
    for made in (tail, mapped(tail, 5)):
        assert said(made.lookup(term_hash(one))) == {0: 1, 2: 1, 4: 200}
        assert said(made.lookup(term_hash(two))) == {1: 2, 2: 1, 4: 200}
        assert said(made.named(term_name(one))) == {0: 1, 1: 2, 2: 2, 4: 255}, "by name both answer"
        names = np.sort(np.array([term_name(one), term_name("other")], dtype=np.uint32))
        for until, both in ((5, 6), (2, 2), (0, 0)):
            counts = dict(zip(names.tolist(), made.held(names, until).tolist(), strict=True))
            assert counts[term_name(one)] == both


def test_hashes_are_the_same_on_every_machine() -> None:
    """They are stored in files: another function, and every stored word would be lost."""
    assert term_hash("lisbon") == 8560487722268418183
