"""If this fails, working memory forgets what was just said, or keeps what nobody needs: follow-up questions go unanswered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.plaintext.working import (
    SIZE,
    SPARE,
    Touch,
    best,
    expected,
    foreseen,
    half_of,
    next_half,
    parts_of,
    refreshed,
)
from memos_core.types.uses import Kept

SECOND = 1_000_000
AT = 1_700_000_000 * SECOND


def found(item: int, score: float) -> Touch:
    return Touch(item, 1, score, score)


def said(item: int) -> Touch:
    return Touch(item, 1, 1.0, 0.0)


def scores(kept: list[Kept]) -> dict[int, float]:
    half = half_of(kept)
    return {each.item: sum(parts_of(each, half, AT).values()) for each in kept}


def test_a_question_and_what_is_said_to_it_are_one_turn() -> None:
    assert [next_half(0, "search"), next_half(1, "add"), next_half(2, "context"), next_half(3, "add")] == [1, 2, 3, 4]
    assert [next_half(1, "search"), next_half(2, "add")] == [3, 4], "two questions, or two sayings, are two turns"
    assert [next_half(0, "get"), next_half(1, "get"), next_half(4, "get")] == [1, 1, 4]


def test_what_answered_a_question_is_expected_and_fades_turn_by_turn() -> None:
    kept = refreshed([], [found(1, 0.9), found(2, 0.2)], "search", AT)
    before = scores(kept)
    assert before[1] > before[2]
    kept = refreshed(kept, [said(3)], "add", AT)
    kept = refreshed(kept, [found(4, 0.5)], "search", AT)
    after = scores(kept)
    assert 0 < after[1] < before[1], "it is still there, and fades"
    assert parts_of(kept[0], half_of(kept), AT)["relevant"] == pytest.approx(0.9 * 0.6)


def test_nothing_is_thrown_away_at_a_refresh_but_by_better_ones() -> None:
    kept: list[Kept] = []
    for item in range(100):
        kept = best(refreshed(kept, [found(item, 0.5)], "search", AT), AT)
    assert len(kept) == SPARE * SIZE
    assert {each.item for each in kept} == set(range(100 - SPARE * SIZE, 100)), "of equals the latest"
    kept = best(refreshed(kept, [found(0, 0.9)], "search", AT), AT)
    assert kept[0].item == 0


def test_a_turn_that_touches_nothing_is_none() -> None:
    kept = refreshed([], [found(1, 0.9)], "search", AT)
    assert refreshed(kept, [], "search", AT) == kept


def test_predictions_are_replaced_and_what_they_alone_hold_goes_with_them() -> None:
    kept = refreshed([], [found(1, 0.9)], "search", AT)
    kept = foreseen(kept, {(2, 1): 0.7, (1, 1): 0.2}, AT)
    assert scores(kept)[2] == pytest.approx(0.7), "it is neither recent nor used"
    kept = best(foreseen(kept, {(3, 1): 0.7}, AT), AT)
    assert scores(kept)[2] == 0
    assert scores(kept)[3] == pytest.approx(0.7)


def test_a_prediction_says_the_same_of_old_and_new_items() -> None:
    kept = refreshed(refreshed([], [found(1, 0.9)], "search", AT), [found(2, 0.9)], "search", AT)
    kept = foreseen(kept, {(1, 1): 0.5, (2, 1): 0.5}, AT)
    half = half_of(kept)
    assert [parts_of(each, half, AT)["predicted"] for each in kept] == pytest.approx([0.5, 0.5])
    later = refreshed(kept, [found(9, 0.1)], "search", AT)
    assert [parts_of(each, half_of(later), AT)["predicted"] for each in later[:2]] == pytest.approx([0.25, 0.25])


def test_a_pin_counts_but_makes_nothing_likelier() -> None:
    (one,) = refreshed([], [found(1, 0.4)], "search", AT)
    plain, pinned = parts_of(one, 1, AT), parts_of(one, 1, AT, pinned=True)
    assert sum(pinned.values()) == pytest.approx(sum(plain.values()) + 1)
    assert expected(plain) == expected(pinned)


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0, 1), st.sampled_from(["search", "add", "get", "context"]))))
def test_whatever_happens_scores_are_finite_and_likelihoods_are_ones(steps: list[tuple[int, float, str]]) -> None:
    kept: list[Kept] = []
    for item, score, kind in steps:
        before = half_of(kept)
        kept = best(refreshed(kept, [found(item, score)], kind, AT), AT)  # type: ignore[arg-type]
        assert half_of(kept) >= before
        assert len({each.item for each in kept}) == len(kept) <= SPARE * SIZE
    half = half_of(kept)
    for each in kept:
        parts = parts_of(each, half, AT)
        assert 0 <= sum(parts.values()) <= 3
        assert 0 < expected(parts) < 1
        assert 0 <= each.relevance <= 1
