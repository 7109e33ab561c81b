"""If these fail, a prompt's memory does not fit where it should, or is cut in the middle of a sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.context import Context, build, line
from memos_core.errors import InvalidInput
from memos_core.reading.chunking import estimate_tokens
from memos_core.types.items import MemoryItem, Provenance, SourceRef

START = datetime(2024, 5, 8, 12, 0, tzinfo=UTC)


def item(number: int, text: str = "x", **changes: Any) -> MemoryItem:
    source = changes.pop("source", None)
    fields: dict[str, Any] = {
        "cube_id": "alice",
        "id": f"i{number}",
        "text": text,
        "created_at": START + timedelta(minutes=number),
        "updated_at": START,
        "version": 1,
        "seq": number + 1,
        "provenance": Provenance(actor="alice", operation="add", source=source),
        **changes,
    }
    return MemoryItem(**fields)


@pytest.mark.parametrize(
    ("given_item", "expected"),
    [
        (item(1, "likes tea"), "- likes tea"),
        (item(1, "likes tea", occurred_at=START), "- [2024-05-08] likes tea"),
        (item(1, "likes tea", source=SourceRef(speaker="Ann", role="user")), "- Ann: likes tea"),
        (item(1, "likes tea", source=SourceRef(role="assistant")), "- assistant: likes tea"),
        (item(1, " a\n\n b\t c\r\n", occurred_at=START, source=SourceRef(speaker="Ann")), "- [2024-05-08] Ann: a b c"),
    ],
)
def test_a_line_says_when_who_and_what(given_item: MemoryItem, expected: str) -> None:
    assert line(given_item) == expected


WORDS = st.text(alphabet="ab ", min_size=1, max_size=30).filter(lambda text: text.strip())
COUNTERS = st.sampled_from([len, lambda text: len(text.split()), estimate_tokens, lambda text: -(-len(text) // 4)])


@given(st.lists(WORDS, max_size=8), st.lists(WORDS, max_size=8), st.integers(1, 300), COUNTERS)
def test_it_always_fits_and_says_whole_memories_only(pins: list[str], hits: list[str], limit: int, count: Any) -> None:
    pinned = [item(number, text) for number, text in enumerate(pins)]
    found = [item(100 + number, text) for number, text in enumerate(hits)] + pinned[::2]
    context = build(pinned, found, max_tokens=limit, count_tokens=count)
    assert count(context.text) <= limit
    assert count(context.stable) * 2 <= limit
    lines = context.text.splitlines()
    assert lines == [line(each) for each in context.items]
    assert len({each.id for each in context.items}) == len(context.items)
    stable = context.stable.splitlines()
    assert [line(each) for each in pinned if each in context.items[: len(stable)]] == stable
    whole = build(pinned, found, max_tokens=10**6, count_tokens=count)
    assert {each.id for each in whole.items} == {each.id for each in [*pinned, *found]}


def test_the_best_come_in_first_and_stand_in_order_of_time() -> None:
    found = [item(3, "c" * 10), item(1, "a" * 10), item(2, "b" * 10)]
    two = build([], found, max_tokens=26, count_tokens=len)
    assert [each.id for each in two.items] == ["i1", "i3"]
    said_earlier = [item(1, "a"), item(2, "b", occurred_at=START - timedelta(days=1))]
    assert [each.id for each in build([], said_earlier, max_tokens=99).items] == ["i2", "i1"]


def test_what_is_too_long_is_left_out_and_the_next_one_tried() -> None:
    found = [item(1, "long " * 100), item(2, "short")]
    assert [each.id for each in build([], found, max_tokens=20, count_tokens=len).items] == ["i2"]
    assert build([], found[:1], max_tokens=20, count_tokens=len) == Context("", "", (), 0)


def test_one_item_in_two_cubes_is_two_memories() -> None:
    twins = [item(1, "x", cube_id=cube) for cube in ("a", "b")]
    assert len(build(twins[:1], twins, max_tokens=100).items) == 2


@pytest.mark.parametrize("limit", [0, -1, True, 1.0, "8", None])
def test_limits_that_are_none_are_refused(limit: Any) -> None:
    with pytest.raises(InvalidInput, match="max_tokens is a whole number from 1 on"):
        build([], [], max_tokens=limit)
