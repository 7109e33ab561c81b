"""If these fail, the same `where` means one thing for one item and another for a whole memory: searches filtered by tenant,
date or tag return what they must not, or miss what they must return."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core import MOS, Draft, Session, SourceRef
from memos_core.filters import Condition, Filter, Group, matches, parse_time, parse_where

pytestmark = pytest.mark.soak

BIG = [2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**62, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 0.5, 1.0, 1e308, 5e-324, float(2**53), float(2**62), -1e300]
WORDS = [
    "",
    "a",
    "A",
    "ab",
    "b",
    "straße",
    "STRASSE",
    "1",
    "true",
    "2024-05-08",
    "2024-05-08T12:00:00+00:00",
    "0001-01-01",
]
TIMES = [
    datetime(2024, 5, 8, 12, tzinfo=UTC),
    datetime(2024, 5, 8, tzinfo=UTC),
    datetime(2024, 5, 8, 14, tzinfo=timezone(timedelta(hours=2))),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(BIG), st.sampled_from(FLOATS), st.sampled_from(WORDS)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "0"]), inner, max_size=2)
    ),
    max_leaves=5,
)
metadata = st.dictionaries(st.sampled_from(["m", "n", "o.p"]), values, max_size=3)
times = st.one_of(st.none(), st.sampled_from(TIMES))
names = st.one_of(st.none(), st.sampled_from(["Ann", "Bob"]))
drafts = st.builds(
    Draft,
    text=st.sampled_from(["some words", "Other words", "STRASSE"]),
    type=st.sampled_from(["fact", "note"]),
    payload=values,
    indexed=st.booleans(),
    occurred_at=times,
    confidence=st.sampled_from([0.0, 0.5, 1.0]),
    tags=st.lists(st.sampled_from(["a", "b", "ab"]), max_size=2).map(tuple),
    metadata=metadata,
    conversation=st.sampled_from([None, "thread", "other"]),
    source=st.one_of(
        st.none(),
        st.builds(
            SourceRef,
            role=st.sampled_from([None, "user"]),
            speaker=names,
            message_id=st.sampled_from([None, "m1"]),
            position=st.sampled_from([None, 0, 7]),
        ),
    ),
)
paths = st.one_of(
    st.sampled_from(
        [("m",), ("n",), ("metadata", "o.p"), ("metadata",), ("metadata", "m"), ("m", "a"), ("m", "0"), ("n", "b")]
    ),
    st.sampled_from(
        [
            *(("id",), ("text",), ("kind",), ("type",), ("key",), ("state",), ("version",), ("confidence",), ("tags",)),
            *(("occurred_at",), ("created_at",), ("updated_at",), ("conversation",), ("speaker",), ("role",), ("uri",)),
            *(
                ("position",),
                ("message_id",),
                ("entities",),
                ("language",),
                ("payload",),
                ("payload", "a"),
                ("payload", "0"),
            ),
            *(("occurred_at", "year"), ("text", "0"), ("tags", "0"), ("unknown",), ("unknown", "deep")),
        ]
    ),
)
wanted = st.one_of(values, st.sampled_from(TIMES))
conditions = st.one_of(
    st.tuples(paths, st.sampled_from(["==", "!=", "contains"]), wanted),
    st.tuples(paths, st.sampled_from(["in", "nin", "any", "all"]), st.lists(wanted, max_size=3)),
    st.tuples(
        paths,
        st.sampled_from([">", ">=", "<", "<="]),
        st.one_of(st.integers(-2, 2), st.sampled_from([*BIG, *FLOATS, *WORDS, *TIMES])),
    ),
    st.tuples(paths, st.sampled_from(["text_match", "text_match_insensitive"]), st.sampled_from(WORDS)),
    st.tuples(paths, st.just("is_empty"), st.none()),
).map(lambda each: Condition(*each))
filters = st.recursive(
    conditions,
    lambda inner: st.builds(Group, st.sampled_from(["and", "or", "not"]), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)


def usable(where: Filter) -> Filter | None:
    """The filter, unless it compares a time of the item with a word that is no time."""
    try:
        return parse_where(where)
    except ValueError:
        return None


@given(st.lists(drafts, min_size=1, max_size=9), st.lists(filters, min_size=12, max_size=12))
def test_columns_mean_what_one_item_means(things: list[Draft], wheres: list[Filter]) -> None:
    with MOS.open(":memory:") as mos:
        ann = mos.session("ann")
        ids = ann.add(things).ids
        for each in ids[::3]:
            ann.update(each, metadata={"m": [1, {"a": 2}], "n": 2**53 + 1})
        ann.delete(ids[1:2])
        items = ann.list()
        assert len(items) == len(ids) - len(ids[1:2])
        asked = [where for where in map(usable, wheres) if where is not None]
        for where in asked:
            expected = {item.id for item in items if matches(where, item)}
            assert {item.id for item in ann.list(where=where)} == expected, where
        check_search(ann, asked[:3])


def check_search(session: Session, wheres: list[Filter]) -> None:
    everything = session.search("some other words straße", top_k=100)
    for where in wheres:
        found = {hit.id for hit in session.search("some other words straße", top_k=100, where=where)}
        assert found == {hit.id for hit in everything if matches(where, hit.item)}, where


# -- the meaning, said once more in another way ----------------------------------------------------------------------------


def kind(value: Any) -> str:
    if isinstance(value, datetime):
        return "time"
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value).__name__
    return "number" if isinstance(value, int | float) else "object" if isinstance(value, Mapping) else "list"


def instant(value: Any) -> float | None:
    parsed = parse_time(value) if isinstance(value, str) else value
    return (parsed - TIMES[0]) / timedelta(microseconds=1) if isinstance(parsed, datetime) else None


def equal(left: Any, right: Any) -> bool:
    if "time" in (kind(left), kind(right)):
        return instant(left) is not None and instant(left) == instant(right)
    if kind(left) != kind(right):
        return False
    if kind(left) == "number":
        return Fraction(left) == Fraction(right)
    if kind(left) == "list":
        return len(left) == len(right) and all(equal(*pair) for pair in zip(left, right, strict=True))
    if kind(left) == "object":
        return set(left) == set(right) and all(equal(left[key], right[key]) for key in left)
    return bool(left == right)


def expected(op: str, found: Any, asked: Any) -> bool:
    if op in ("==", "!="):
        return equal(found, asked) is (op == "==")
    if op in ("in", "nin"):
        among = any(equal(found, each) for each in asked)
        return not among if op == "nin" else among
    if op == "is_empty":
        return found is None or found == "" or (kind(found) == "list" and len(found) == 0)
    if op in ("any", "all"):
        held = [any(equal(member, each) for member in found) for each in asked] if kind(found) == "list" else []
        return kind(found) == "list" and (any(held) if op == "any" else all(held))
    if op == "contains":
        if kind(found) == "list":
            return any(equal(member, asked) for member in found)
        return kind(found) == kind(asked) == "str" and asked in found
    if op.startswith("text_match"):
        change = str.casefold if op.endswith("insensitive") else str
        return kind(found) == "str" and change(asked) in change(found)
    if "time" in (kind(found), kind(asked)):
        left, right = instant(found), instant(asked)
    elif kind(found) == kind(asked) == "number":
        left, right = Fraction(found), Fraction(asked)
    elif kind(found) == kind(asked) == "str":
        left, right = found, asked
    else:
        return False
    if left is None or right is None:
        return False
    return {">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}[op]


@given(st.lists(values, min_size=1, max_size=6), st.lists(conditions, min_size=20, max_size=20))
def test_one_item_means_what_the_documentation_says(found: list[Any], asked: list[Condition]) -> None:
    with MOS.open(":memory:") as mos:
        ann = mos.session("ann")
        ids = ann.add([Draft(text="x", metadata={"m": value}) for value in found]).ids
        for each in asked:
            where = parse_where(Condition(("m",), each.op, each.value))
            assert isinstance(where, Condition)
            right = {i for i, value in zip(ids, found, strict=True) if expected(each.op, value, where.value)}
            assert {item.id for item in ann.list(where=where)} == right, (where, found)
