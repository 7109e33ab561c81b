"""If these fail, search by meaning misses its nearest memories: the quick first look throws away what an exact look would
have ranked best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from memos_core.stores.index import cube_files
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.index.tokens import decode_codes, encode_tokens, unpack
from memos_core.stores.index.vectors import QueryVector, best, normalise, quantise
from memos_core.stores.opening import open_sqlite
from memos_core.testing.stores import Clock, StoreTests, vector
from memos_core.types.work import Body, Put, VectorBlobs

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


# -- token vectors ----------------------------------------------------------------------------------------------------

TOKEN_DIMS = 16


def tokens_of(seed: int, count: int) -> Floats:
    return normalise(np.random.default_rng(seed).standard_normal((count, TOKEN_DIMS)).astype(np.float32))


def test_token_vectors_in_four_bits_are_near_what_they_were() -> None:
    vectors = tokens_of(1, 500)
    blob = encode_tokens(vectors)
    assert len(blob) == 500 * TOKEN_DIMS // 2
    restored = unpack(decode_codes(blob, TOKEN_DIMS))
    assert np.allclose(np.linalg.norm(restored, axis=1), 1, atol=1e-5)
    assert (np.einsum("td,td->t", restored, vectors) > 0.95).all()
    edges = normalise(np.array([np.eye(TOKEN_DIMS)[0], -np.eye(TOKEN_DIMS)[1], np.ones(TOKEN_DIMS)]))
    assert np.isfinite(unpack(decode_codes(encode_tokens(edges), TOKEN_DIMS))).all()
    assert encode_tokens(vectors[:0]) == b""
    assert decode_codes(b"", TOKEN_DIMS).shape == (0, TOKEN_DIMS // 2)


@pytest.mark.parametrize("flush_rows", [3, 1000])
def test_the_best_token_of_each_text_is_found(tmp_path: Path, flush_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory, in files, and in files that were merged and have lost their dead rows, the tokens are those of their text."""
    monkeypatch.setattr(cube_files, "_WORTH_MOVING", 3)
    store = open_sqlite(tmp_path / "store", deadline=30, now=Clock())
    cube = StoreTests.create(store)
    settings = {"embedder": "x", "dims": DIMS, "token_dims": TOKEN_DIMS}
    index = CubeIndex(store, cube, folder=tmp_path / "files", flush_rows=flush_rows, **settings)
    said: dict[int, bytes] = {}
    chance = np.random.default_rng(flush_rows)
    for seq in range(1, 61):
        tokens = encode_tokens(tokens_of(seq, int(chance.integers(0, 6)))) or None
        blobs = VectorBlobs(vector(seq, DIMS).dense, tokens)
        heads = store.heads(cube, [f"i{chance.integers(1, 40)}"])
        head = next(iter(heads.values()), None)
        if head is not None and not head.deleted:
            put = Put(id=head.id, op="update", text="t", body=Body(), head=head, vectors=blobs)
        else:
            put = Put(id=f"i{seq}", op="add", text="t", body=Body(), vectors=blobs)
        StoreTests.write(store, cube, put)
        said[seq] = tokens or b""
        index.catch_up()
    question = tokens_of(99, 4)
    fresh = CubeIndex(store, cube, **settings)
    fresh.catch_up()
    for each in (index, fresh, CubeIndex(store, cube, folder=tmp_path / "files", **settings)):
        each.catch_up()
        rows = np.arange(len(each.table))
        found = each.token_matches(rows, question)
        for row, seq in enumerate(each.table["seq"].tolist()):
            own = unpack(decode_codes(said[seq], TOKEN_DIMS))
            best_of = (own @ question.T).max(axis=0) if len(own) else np.zeros(len(question))
            assert np.allclose(found[row], best_of, atol=1e-5), f"change {seq}"
        some = rows[::3]
        assert np.array_equal(each.token_matches(some, question), found[some])
    store.close()
