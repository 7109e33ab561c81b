"""If these fail, somebody's next page belongs to another question, or a made-up cursor breaks the search."""

from __future__ import annotations

import base64
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.errors import InvalidCursor
from memos_core.plaintext.cursors import Cursor, decode, digest_of, encode

CURSORS = st.builds(
    Cursor,
    of=st.text(alphabet="0123456789abcdef", min_size=16, max_size=16),
    seqs=st.dictionaries(st.text(max_size=8), st.integers(0, 2**53), max_size=3),
    after=st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8), st.integers(0, 2**62)),
)


@given(CURSORS)
def test_a_cursor_comes_back_as_it_went(cursor: Cursor) -> None:
    """Scores to the last bit: two entries may differ by no more."""
    text = encode(cursor)
    assert decode(text, cursor.of) == cursor
    assert set(text) <= set(string.ascii_letters + string.digits + "-_=")


@given(CURSORS)
def test_a_cursor_of_another_search_is_refused(cursor: Cursor) -> None:
    with pytest.raises(InvalidCursor, match="belongs to another search"):
        decode(encode(cursor), cursor.of[::-1] + "x")


@given(st.one_of(st.text(max_size=40), st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor, match=r"is no cursor of memos; pass the \.cursor of the page before"):
        decode(text, "0")


def forged(**changes: object) -> str:
    fields = {"of": "x", "seqs": {"a": 1}, "after": [-0.5, "a", 1], **changes}
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


def test_a_forged_one_that_fits_is_taken() -> None:
    assert decode(forged(), "x").after == (-0.5, "a", 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"of": None},
        {"seqs": []},
        {"seqs": {"a": "1"}},
        {"seqs": {"a": 1.5}},
        {"after": None},
        {"after": [1, "a"]},
        {"after": ["1", "a", 1]},
        {"after": [1.0, 2, 3]},
        {"seqs": {"a": -1}},
        {"tier": -1},
        {"tier": 10**9},
        {"wanted": -1},
        {"wanted": 10**12},
    ],
)
def test_a_forged_one_that_does_not_fit_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidCursor):
        decode(forged(**changes), "x")


def test_digests_tell_questions_apart() -> None:
    asked = [
        (),
        ("a",),
        ("a", "b"),
        ("ab",),
        ("a, b",),
        ("a", None),
        ("a", "None"),
        ("a", 1),
        ("a", "1"),
        ("a", 1.0),
        ("a", True),
        ("a", ["b"]),
        ("a", ["b", "c"]),
        ("a\ud800",),
    ]
    assert len({digest_of(*each) for each in asked}) == len(asked)
    assert digest_of("a", ["b"]) == digest_of("a", ["b"])
