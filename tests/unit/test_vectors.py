"""If these fail, search by meaning misses its nearest memories: the quick first look throws away what an exact look would
have ranked best."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from memos_core.stores.index.vectors import QueryVector, best, normalise, quantise

Floats = NDArray[np.float32]
DIMS = 24
numbers = st.one_of(
    st.floats(-1, 1, width=32),
    st.sampled_from([0.0, 1.0, -1.0, 1e-38, 1e-45, 1e38, -3e38, 1e-20, 1e20, 127.5 / 128]),
)
matrices = arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(DIMS)), elements=numbers)


@pytest.mark.soak
@given(matrices)
def test_unit_length_whatever_the_size_of_the_numbers(vectors: Floats) -> None:
    made = normalise(vectors)
    assert made.dtype == np.float32
    exact = vectors.astype(np.float64)
    exact /= np.where((peak := np.abs(exact).max(axis=1)) > 0, peak, 1)[:, None]  # 1e-45 squared is no double either
    lengths = np.linalg.norm(exact, axis=1)
    expected = exact / np.where(lengths > 0, lengths, 1)[:, None]
    assert np.allclose(made, expected, atol=1e-6)
    assert np.isfinite(made).all()


@pytest.mark.soak
@given(matrices, matrices)
def test_the_error_of_the_first_look_is_within_its_bound(rows: Floats, queries: Floats) -> None:
    vectors = normalise(rows)
    codes, scales, errors = quantise(vectors)
    restored = codes * scales[:, None]
    assert np.allclose(errors, np.linalg.norm(vectors.astype(np.float64) - restored, axis=1), atol=1e-6)
    for raw in normalise(queries):
        query = QueryVector(raw)
        exact = vectors.astype(np.float64) @ query.exact.astype(np.float64)
        bound = errors + (1 + errors) * query.error + 1e-5
        assert (np.abs(query.first_pass(codes, scales) - exact) <= bound).all()


def test_quantising_uses_the_whole_range() -> None:
    vectors = normalise(np.random.default_rng(1).standard_normal((100, 384)).astype(np.float32))
    codes, scales, errors = quantise(vectors)
    assert (np.abs(codes).max(axis=1) == 127).all()
    assert (errors < 0.02).all()
    zero = quantise(np.zeros((1, 4), dtype=np.float32))
    assert [part.tolist() for part in zero] == [[[0, 0, 0, 0]], [1.0], [0.0]]
    assert QueryVector(vectors[0]).first_pass(codes[:0], scales[:0]).shape == (0,)


@pytest.mark.soak
@given(
    st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.25, 0.5, 1.0]), max_size=700),
    st.sampled_from([1, 2, 3, 10, 128, 600]),
)
def test_the_best_are_chosen_as_a_full_sort_would(values: list[float], count: int) -> None:
    scores = np.array(values, dtype=np.float32)
    expected = sorted((n for n, value in enumerate(values) if value > -np.inf), key=lambda n: (-values[n], n))
    assert best(scores, count).tolist() == expected[:count]


@pytest.mark.parametrize("size", [1, 127, 128, 129, 1000, 12_800, 12_801, 50_000])
def test_the_best_of_many(size: int) -> None:
    scores = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    scores[:: max(size // 7, 1)] = np.float32(1.5)  # ties
    for count in (1, 7, 100, size):
        expected = np.lexsort((np.arange(size), -scores))[:count]
        assert np.array_equal(best(scores, count), expected)
