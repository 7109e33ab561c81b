"""If these fail, `where=` lets through items that the user excluded, hides ones that belong, or takes a wrong filter for a
right one: a tenant's or a date's border is crossed without anybody noticing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from memos_core import F, MemoryItem, MemosError, Provenance, SourceRef
from memos_core.errors import InvalidFilter
from memos_core.filters import OPERATORS, Condition, Group, Where, matches, parse_where
from memos_core.types.items import Mentions

MAY = datetime(2024, 5, 8, 12, tzinfo=UTC)


def item(text: str = "words", **fields: Any) -> MemoryItem:
    provenance = fields.pop("provenance", Provenance(actor="ann", operation="add"))
    times = {"created_at": MAY, "updated_at": MAY + timedelta(days=1)}
    base = {"cube_id": "c", "id": "i", "text": text, "version": 3, "seq": 9, "provenance": provenance}
    return MemoryItem(**{**base, **times, **fields})


def holds(where: Where, **fields: Any) -> bool:
    return matches(parse_where(where), item(**fields))


META = {
    "tag": "home",
    "n": 3,
    "x": 2.5,
    "big": 2**60 + 1,
    "yes": True,
    "null": None,
    "empty": "",
    "none": [],
    "list": [1, "a", True, [2]],
    "nested": {"deep": {"n": 1}, "list": [{"name": "Ann"}]},
    "day": "2024-05-08",
    "at": "2024-05-08T14:00:00+02:00",
    "a.b": "dotted",
}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"tag": "home"}, True),
        ({"tag": "Home"}, False),
        ({"n": 3}, True),
        ({"n": 3.0}, True),
        ({"n": "3"}, False),
        ({"n": True}, False),
        ({"yes": True}, True),
        ({"yes": 1}, False),
        ({"yes": {">": 0}}, False),
        ({"null": None}, True),
        ({"unknown": None}, True),
        ({"unknown": {"!=": "x"}}, True),
        ({"unknown": {"nin": ["x"]}}, True),
        ({"unknown": {"nin": ["x", None]}}, False),
        ({"unknown": {"in": [None]}}, True),
        ({"unknown": {"<": 5}}, False),
        ({"unknown": {"contains": "x"}}, False),
        ({"n": {">": 2, "<=": 3}}, True),
        ({"n": {">": 3}}, False),
        ({"n": {"gte": 3}}, True),
        ({"n": {"$lt": 3.5}}, True),
        ({"tag": {">": 2}}, False),
        ({"tag": {">": "garden"}}, True),
        ({"big": {">": 2**60}}, True),
        ({"big": float(2**60)}, False),
        ({"big": 2**60 + 1}, True),
        ({"tag": {"in": ["garden", "home"]}}, True),
        ({"n": {"in": [1, 3.0]}}, True),
        ({"yes": {"in": [1]}}, False),
        ({"list": {"any": ["z", "a"]}}, True),
        ({"list": {"any": []}}, False),
        ({"list": {"all": []}}, True),
        ({"list": {"all": [1, "a"]}}, True),
        ({"list": {"all": [1, "b"]}}, False),
        ({"list": {"contains": [2]}}, True),
        ({"list": {"contains": 2}}, False),
        ({"list": [1, "a", True, [2]]}, True),
        ({"list": [1, "a", 1, [2]]}, False),
        ({"tag": {"contains": "om"}}, True),
        ({"tag": {"contains": 1}}, False),
        ({"tag": {"any": ["home"]}}, False),
        ({"tag": {"text_match": "HOM"}}, False),
        ({"tag": {"text_match_insensitive": "HOM"}}, True),
        ({"n": {"text_match": "3"}}, False),
        ({"empty": {"is_empty": None}}, True),
        ({"none": {"is_empty": True}}, True),
        ({"unknown": {"is_empty": None}}, True),
        ({"tag": {"is_empty": None}}, False),
        ({"nested": {"is_empty": None}}, False),
        ({"nested.deep.n": 1}, True),
        ({"nested.list.0.name": "Ann"}, True),
        ({"nested.list.1.name": "Ann"}, False),
        ({"nested.list.name": "Ann"}, False),
        ({"nested": {"deep": {"n": 1}, "list": [{"name": "Ann"}]}}, True),
        ({"tag.0": "h"}, False),
        ({"day": {">=": date(2024, 5, 8)}}, True),
        ({"day": datetime(2024, 5, 8, tzinfo=UTC)}, True),
        ({"at": MAY}, True),
        ({"at": {"<": MAY}}, False),
        ({"tag": {">": MAY}}, False),
        (F.metadata["a.b"] == "dotted", True),
        ({"a.b": "dotted"}, False),
        (F["nested"]["deep"].n <= 1, True),
        (F.list[1] == "a", True),
        ({"list." + "9" * 5000: 1}, False),
    ],
)
def test_a_condition_on_metadata(where: Where, expected: bool) -> None:
    assert holds(where, metadata=META) is expected
    assert holds({"not": where}, metadata=META) is not expected


def test_fields_of_the_item_come_before_metadata_of_the_same_name() -> None:
    fields = {
        "type": "note",
        "key": "k",
        "tags": ("a", "b"),
        "confidence": 0.5,
        "payload": {"p": [1]},
        "occurred_at": MAY,
        "mentions": Mentions(entities=("Lisbon",), language="en"),
        "metadata": {"type": "other", "tags": "x"},
        "provenance": Provenance(
            actor="ann",
            operation="add",
            conversation="thread",
            source=SourceRef(role="user", speaker="Ann", message_id="m", position=4, uri="u"),
        ),
    }
    for where in (
        F.type == "note",
        F.metadata["type"] == "other",
        F.key == "k",
        F.tags.contains("a"),
        F.tags.all(["a", "b"]),
        F.confidence < 0.6,
        F.payload["p"].contains(1),
        F.occurred_at == MAY,
        F.occurred_at == "2024-05-08T12:00:00Z",
        F.occurred_at == datetime(2024, 5, 8, 14, tzinfo=timezone(timedelta(hours=2))),
        F.occurred_at >= date(2024, 5, 8),
        F.updated_at > MAY,
        F.conversation == "thread",
        F.speaker == "Ann",
        F.role == "user",
        F.uri == "u",
        F.position == 4,
        F.message_id == "m",
        F.entities.contains("Lisbon"),
        F.language == "en",
        F.state == "activated",
        F.version >= 3,
        F.id == "i",
        F.kind == "plaintext",
        F.text.text_match("WORDS", case=False),
    ):
        assert holds(where, **fields), where


def test_groups() -> None:
    yes, no = F.tag == "home", F.tag == "garden"
    for where, expected in (
        (yes & yes, True),
        (yes & no, False),
        (yes | no, True),
        (no | no, False),
        (~no, True),
        (~(yes & no) & (yes | no), True),
        ({"and": []}, True),
        ({"or": []}, False),
        ({"not": []}, True),
        ({"not": [{"tag": "garden"}, {"tag": "home"}]}, False),  # none of them
        ({"or": [{"tag": "garden"}, {"n": 3, "yes": True}]}, True),
        ({"$and": [{"tag": "home"}], "$or": [{"n": 3}]}, True),
        ({"not": {"tag": "home"}}, False),
        ({}, True),
        (None, True),
    ):
        assert holds(where, metadata=META) is expected, where


def test_python_keywords_between_filters_are_refused() -> None:
    with pytest.raises(InvalidFilter, match="join filters with"):
        _ = (F.a == 1) and (F.b == 2)
    with pytest.raises(InvalidFilter, match="join filters with"):
        _ = not ((F.a == 1) | (F.b == 2))


@pytest.mark.parametrize(
    "where",
    [
        5,
        "tag = 'home'",
        [],
        [{"a": 1}],
        {5: 1},
        {"": 1},
        {"a..b": 1},
        {"a": {">": 1, "unheard": 2}},
        {"a": {"in": "abc"}},
        {"a": {"in": 5}},
        {"a": {"any": {"b": 1}}},
        {"a": {">": True}},
        {"a": {">": None}},
        {"a": {">": [1]}},
        {"a": {"text_match": 5}},
        {"a": {"is_empty": False}},
        {"a": object()},
        {"a": b"bytes"},
        {"a": {1, 2}},
        {"and": "a"},
        {"and": 5},
        {"or": [5]},
        {"occurred_at": {">": "soon"}},
        {"occurred_at": {">": "0001-01-01T00:00:00+05:00"}},
        F.tag,
        Condition((), "==", 1),
        Condition(("a",), "~", 1),  # type: ignore[arg-type]
        Group("and", (5,)),  # type: ignore[arg-type]
    ],
)
def test_what_has_no_meaning_is_refused(where: Any) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_where(where)
    assert isinstance(caught.value, MemosError)
    assert str(caught.value)


def test_hostile_depth_is_refused_without_running_out_of_stack() -> None:
    where: Any = {"a": 1}
    for _ in range(100_000):
        where = {"not": where}
    with pytest.raises(InvalidFilter, match="deeper"):
        parse_where(where)
    chain: Any = F.a == 1
    for _ in range(10_000):
        chain = ~chain
    with pytest.raises(InvalidFilter, match="deeper"):
        parse_where(chain)
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidFilter, match="deeper"):
        parse_where({"a": value})
    del value, chain, where


def test_the_deepest_metadata_can_still_be_asked_for() -> None:
    value: Any = 1
    for _ in range(90):
        value = [value]
    assert holds({"a": value}, metadata={"a": value})


def test_a_time_that_no_calendar_has_is_just_a_string() -> None:
    metadata = {"at": "0001-01-01T00:00:00+05:00"}
    assert not holds(F.at < MAY, metadata=metadata)
    assert holds(F.at == "0001-01-01T00:00:00+05:00", metadata=metadata)


def test_every_operator_is_tested_above() -> None:
    assert set(OPERATORS) == {
        *("==", "!=", ">", ">=", "<", "<=", "in", "nin", "any", "all", "contains"),
        *("text_match", "text_match_insensitive", "is_empty"),
    }
