"""If this fails, a filter written for LlamaIndex finds other memories than it says, in the worst case somebody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from memos_core import MOS, F, Session
from memos_core.errors import InvalidFilter
from memos_core.filters import MAX_DEPTH, matches
from memos_llamaindex import MemosRetriever
from memos_llamaindex._filters import joined, to_filter

Metadata = Mapping[str, Any]

ITEMS: dict[str, dict[str, Any]] = {
    "home": {"tag": "home", "year": 2020, "rating": 4.5, "labels": ["a", "b"], "note": "Red house"},
    "work": {"tag": "work", "year": 2024, "rating": 3.0, "labels": ["b"], "note": "blue House"},
    "empty": {"tag": "", "labels": [], "nested": {"deep": {"level": 3}}},
    "bare": {},
}


def one(key: str, operator: str, value: Any) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=FilterOperator(operator))


def both(condition: str | None, *parts: MetadataFilter | MetadataFilters) -> MetadataFilters:
    return MetadataFilters(filters=list(parts), condition=None if condition is None else FilterCondition(condition))


# Every operator, and what it says, written out a second time.
OPERATORS: list[tuple[MetadataFilter, Callable[[Metadata], bool]]] = [
    (one("tag", "==", "home"), lambda m: m.get("tag") == "home"),
    (one("year", "==", 2024), lambda m: m.get("year") == 2024),
    (one("tag", "!=", "home"), lambda m: m.get("tag") != "home"),
    (one("year", ">", 2020), lambda m: m.get("year", 0) > 2020),
    (one("year", ">=", 2020), lambda m: m.get("year", 0) >= 2020),
    (one("rating", "<", 4.5), lambda m: m.get("rating", 9) < 4.5),
    (one("rating", "<=", 4.5), lambda m: m.get("rating", 9) <= 4.5),
    (one("tag", ">", "home"), lambda m: m.get("tag", "") > "home"),
    (one("tag", "in", ["home", "garden"]), lambda m: m.get("tag") in ("home", "garden")),
    (one("year", "nin", [2020, 2021]), lambda m: m.get("year") not in (2020, 2021)),
    (one("labels", "any", ["a", "z"]), lambda m: bool({"a", "z"} & set(m.get("labels", [])))),
    (one("labels", "all", ["a", "b"]), lambda m: {"a", "b"} <= set(m.get("labels", []))),
    (one("labels", "contains", "b"), lambda m: "b" in m.get("labels", [])),
    (one("note", "contains", "house"), lambda m: "house" in m.get("note", "")),
    (one("note", "text_match", "House"), lambda m: "House" in m.get("note", "")),
    (one("note", "text_match_insensitive", "HOUSE"), lambda m: "house" in m.get("note", "").lower()),
    (one("tag", "is_empty", None), lambda m: m.get("tag") in (None, "")),
    (one("labels", "is_empty", ""), lambda m: not m.get("labels")),
]
NESTED = both(
    "or",
    one("tag", "==", "work"),
    both("and", one("year", "<", 2022), both("not", one("labels", "contains", "z"), one("rating", "<", 4))),
)
GROUPS: list[tuple[MetadataFilters, Callable[[Metadata], bool]]] = [
    (both("and", one("labels", "contains", "b"), one("year", ">", 2020)), lambda m: m.get("year") == 2024),
    (both(None, one("labels", "contains", "b"), one("year", ">", 2020)), lambda m: m.get("year") == 2024),
    (both("or", one("tag", "==", "home"), one("year", "==", 2024)), lambda m: "year" in m),
    (both("not", one("tag", "==", "home"), one("year", "==", 2024)), lambda m: "year" not in m),
    (NESTED, lambda m: "year" in m),
    (both("and"), lambda m: True),
    (both("or"), lambda m: True),
    (both("not"), lambda m: True),
    (both("and", both("or"), one("tag", "==", "home")), lambda m: m.get("tag") == "home"),
    (both("not", both("and")), lambda m: False),
    (both("and", one("nested.deep.level", "==", 3)), lambda m: "nested" in m),
]
TABLE = [(both("and", part), says) for part, says in OPERATORS] + GROUPS


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with MOS.open(":memory:", embedder="hashing") as mos:
        made = mos.session("alice", conversation="thread")
        for name, metadata in ITEMS.items():
            made.add(f"a memory about {name}", key=name, metadata=metadata)
        yield made


def test_every_operator_is_in_the_table() -> None:
    assert {part.operator for part, _ in OPERATORS} == set(FilterOperator)


@pytest.mark.parametrize(("filters", "says"), TABLE)
def test_it_means_what_it_says(session: Session, filters: MetadataFilters, says: Callable[[Metadata], bool]) -> None:
    expected = {name for name, metadata in ITEMS.items() if says(metadata)}
    evaluated = {item.key for item in session.list() if matches(to_filter(filters), item)}
    found = {node.metadata["memory_id"] for node in MemosRetriever(session, filters=filters).retrieve("memory")}
    assert evaluated == expected
    assert found == {session.get(key=name).id for name in expected}


@pytest.mark.parametrize(("part", "says"), OPERATORS)
def test_it_means_what_llama_index_means(part: MetadataFilter, says: Callable[[Metadata], bool]) -> None:
    theirs = build_metadata_filter_fn(lambda name: ITEMS[name], both("and", part))
    assert {name for name in ITEMS if theirs(name)} == {name for name, metadata in ITEMS.items() if says(metadata)}


def test_keys_name_fields_of_the_item_first(session: Session) -> None:
    added = session.add({"role": "user", "content": "words of bob", "name": "bob", "metadata": {"type": "letter"}})
    try:
        for part in (one("speaker", "==", "bob"), one("metadata.type", "==", "letter"), one("type", "==", "message")):
            nodes = MemosRetriever(session, filters=both("and", part)).retrieve("words")
            assert [node.text for node in nodes] == ["words of bob"]
        later = one("created_at", ">", "2020-01-01T00:00:00+00:00")
        assert len(MemosRetriever(session, filters=both("and", later)).retrieve("words")) == len(ITEMS) + 1
    finally:
        session.delete(added.ids)


def test_both_kinds_of_filters_hold(session: Session) -> None:
    where = joined(F.year >= 2020, both("and", one("tag", "==", "home")))
    assert {item.key for item in session.list() if matches(where, item)} == {"home"}
    retriever = MemosRetriever(session, where={"year": {">=": 2020}}, filters=both("and", one("tag", "!=", "home")))
    assert [node.metadata["tag"] for node in retriever.retrieve("memory")] == ["work"]


def test_none_stands_for_absent(session: Session) -> None:
    for operator, expected in (("==", {"bare", "empty"}), ("!=", {"home", "work"})):
        where = to_filter(both("and", one("year", operator, None)))
        assert {item.key for item in session.list() if matches(where, item)} == expected


def test_what_has_no_meaning_is_refused_at_once(session: Session) -> None:
    with pytest.raises(InvalidFilter, match="list of values"):
        MemosRetriever(session, filters=both("and", one("tag", "in", "home")))
    with pytest.raises(InvalidFilter, match="MetadataFilters"):
        MemosRetriever(session, filters={"tag": "home"})  # type: ignore[arg-type]
    with pytest.raises(InvalidFilter, match="non-empty"):
        MemosRetriever(session, filters=both("and", one("a..b", "==", 1)))
    deep = both("and", one("tag", "==", "home"))
    for _ in range(MAX_DEPTH + 1):
        deep = both("and", deep)
    with pytest.raises(InvalidFilter, match="nested deeper"):
        MemosRetriever(session, filters=deep)
