"""If this fails, how much something was used is counted wrong: what is used daily sinks in the ranking, or what was looked at
once stays on top for ever, and the wrong items are archived.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.lifecycle.activation import DECAY, LEAST, UNIT, base_level, base_levels, likelihood, likelihoods
from memos_core.types.uses import Use, joined

DAY = UNIT
NOW = 1000 * DAY


def used(*days_ago: float) -> Use:
    """One use each."""
    total = None
    for ago in days_ago:
        at = NOW - round(ago * DAY)
        one = Use(1.0, 1.0, at, at)
        total = one if total is None else joined(total, one)
    assert total is not None
    return total


def exactly(*days_ago: float) -> float:
    """The law itself, every use kept."""
    return math.log(sum(max(ago, LEAST) ** -DECAY for ago in days_ago))


@pytest.mark.parametrize("ago", [0.05, 1, 2, 30, 365])
def test_one_use_is_counted_exactly(ago: float) -> None:
    assert base_level(used(ago), NOW) == pytest.approx(-0.5 * math.log(ago))


def test_known_values() -> None:
    assert base_level(used(1), NOW) == pytest.approx(0.0)
    assert base_level(used(1, 1, 1, 1), NOW) == pytest.approx(math.log(4))
    assert base_level(used(4, 1), NOW) == pytest.approx(math.log(1 + 2 * (2 - 1) / 3))
    # the newest exactly, the rest evenly between the first and the last: 2 (sqrt first - sqrt last) / (first - last) each
    assert base_level(used(9, 4, 1), NOW) == pytest.approx(math.log(1 + 2 * 0.5))
    assert likelihood(used(1), NOW) == pytest.approx(0.5)


@given(st.integers(2, 60), st.integers(1, 30))
def test_evenly_spaced_uses_come_near_the_law(count: int, every: int) -> None:
    """One per cent, or so, is what Petrov found for the hybrid approximation; a tenth is what ranking could ever notice."""
    days = [every * (place + 1) for place in range(count)]
    assert base_level(used(*days), NOW) == pytest.approx(exactly(*days), abs=0.25)


times = st.lists(st.floats(0.05, 300), min_size=1, max_size=12)


@given(times, times)
def test_the_order_in_which_uses_are_joined_does_not_matter(some: list[float], others: list[float]) -> None:
    one, other = used(*some), used(*others)
    assert joined(one, other) == joined(other, one)
    assert joined(one, other).total == len(some) + len(others)


@given(times, st.floats(0.05, 300))
def test_another_use_never_lowers_what_the_law_says(some: list[float], more: float) -> None:
    """More exactly: a use that is newer than all others adds what it says, the others keep at least half."""
    before, newest = used(*some), min(some)
    if more <= newest:
        after = joined(before, used(more))
        assert math.exp(base_level(after, NOW)) >= max(more, LEAST) ** -DECAY


@given(times, st.floats(0, 100), st.floats(0, 100))
def test_it_fades_with_time(some: list[float], sooner: float, later: float) -> None:
    first, second = sorted((sooner, later))
    use = used(*some)
    assert base_level(use, NOW + round(first * DAY)) >= base_level(use, NOW + round(second * DAY)) - 1e-9


def test_clocks_that_differ_do_no_harm() -> None:
    tomorrow = Use(3.0, 1.0, NOW + DAY, NOW + 2 * DAY)
    assert base_level(tomorrow, NOW) == pytest.approx(math.log(3 * LEAST**-0.5))


def test_many_at_once_are_what_each_of_them_is() -> None:
    uses = [used(1), used(1, 5, 20), used(300), used(0.001, 0.002)]
    columns = np.array([(use.total, use.newest, use.first_at, use.last_at) for use in uses], dtype=np.float64).T
    together = base_levels(*columns, NOW)
    assert together.tolist() == pytest.approx([base_level(use, NOW) for use in uses])
    assert likelihoods(np.array([-math.inf, -1000.0, 0.0, 1000.0])).tolist() == pytest.approx([0, 0, 0.5, 1])
