"""If these fail, the command line reads a condition otherwise than it is written, or shows a change that was none."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from memos_core.cli.diffs import with_little_around
from memos_core.cli.excerpts import Marker, shorten
from memos_core.cli.looks import bar
from memos_core.cli.output import in_bytes, one_line, printable
from memos_core.cli.values import parse_metadata, parse_moment, parse_time, parse_wheres
from memos_core.errors import InvalidMetadata
from memos_core.filters import Condition, F, Group, condition
from memos_core.types.differences import stretches

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
SIGNS = {"=": "==", "==": "==", "!=": "!=", "contains": "contains"}


@given(st.from_regex(r"[a-z_]{1,8}(\.[a-z0-9]{1,5}){0,2}", fullmatch=True), st.sampled_from(sorted(SIGNS)), SCALARS)
def test_a_condition_means_what_it_says(path: str, sign: str, value: object) -> None:
    if path.split(".", maxsplit=1)[0].endswith("_at"):
        path = "x" + path
    found = parse_wheres([f"{path} {sign} {json.dumps(value)}"])
    assert found == condition(tuple(path.split(".")), SIGNS[sign], value)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("tag = home", F.tag == "home"),
        ("tag=home office", F.tag == "home office"),
        ("zip = 02139", F.zip == "02139"),  # no number in JSON, so a string
        ("n = 3", F.n == 3),
        ('n = "3"', F.n == "3"),
        ("done = true", F.done == True),  # noqa: E712 - that is what is meant
        ("tag in a, b,c", F.tag.in_(["a", "b", "c"])),
        ("n in [1, 2]", F.n.in_([1, 2])),
        ("n in 1,2", F.n.in_([1, 2])),
        ("text text_match 2021", F.text.text_match("2021")),
        ("url = http://x/?a=b", F.url == "http://x/?a=b"),
        ("a.b.0 contains 中文", F.a.b["0"].contains("中文")),
        ("key is_empty", F.key.is_empty()),
        ('{"a": {">": 1}}', F.a > 1),
    ],
)
def test_conditions_as_people_write_them(text: str, meaning: Condition) -> None:
    assert parse_wheres([text]) == meaning


def test_several_conditions_must_all_hold() -> None:
    assert parse_wheres([]) is None
    assert parse_wheres(["a = 1", "b = 2"]) == Group("and", (F.a == 1, F.b == 2))


def test_moments_are_numbers_of_changes_or_times() -> None:
    assert parse_moment(None) is None
    assert parse_moment("17") == 17
    assert parse_moment("2024-05-08T12:00+02:00") == parse_time("2024-05-08T10:00", "")


def test_metadata_of_pairs() -> None:
    assert parse_metadata(["a=1", "b=x=y", "c=", 'd="1"'], '{"a": 0, "z": [1]}') == {
        "a": 1,
        "z": [1],
        "b": "x=y",
        "c": "",
        "d": "1",
    }
    with pytest.raises(InvalidMetadata):
        parse_metadata(["=1"])


WORDS = st.lists(st.sampled_from(["the", "dog", "Rex", "Max", "swims", ".", "\n", " ", "中"]), max_size=40)


@given(WORDS, WORDS)
def test_differences_hold_both_texts(before: list[str], after: list[str]) -> None:
    old, new = " ".join(before), " ".join(after)
    found = list(stretches(old, new))
    assert "".join(text for op, text in found if op != "new") == old
    assert "".join(text for op, text in found if op != "gone") == new
    kept = [(op, text) for op, text in with_little_around(iter(found)) if op != "same"]
    assert kept == [(op, text) for op, text in found if op != "same"]


def test_very_long_texts_are_compared_line_by_line() -> None:
    lines = [f"line {number} of many\n" for number in range(5000)]
    new = [*lines[:2500], "another line\n", *lines[2500:]]
    assert [text for op, text in stretches("".join(lines), "".join(new)) if op != "same"] == ["another line\n"]


def test_an_excerpt_shows_the_words_in_question() -> None:
    text = "nothing of interest. " * 50 + "The lighthouses were painted red." + " more of nothing" * 50
    excerpt = Marker("who painted the lighthouse?").excerpt(text, 100)
    assert "The lighthouses were painted red." in excerpt.plain
    assert excerpt.plain.startswith("… ")
    assert cell_len(excerpt.plain) <= 100
    marked = {excerpt.plain[span.start : span.end] for span in excerpt.spans}
    assert marked == {"lighthouses", "painted"}


@given(st.text(), st.integers(10, 60))
def test_an_excerpt_always_fits_and_is_one_line(text: str, cells: int) -> None:
    excerpt = Marker("the red lighthouse 灯塔").excerpt(text, cells)
    assert cell_len(excerpt.plain) <= cells
    assert "\n" not in excerpt.plain
    for span in excerpt.spans:
        assert 0 <= span.start < span.end <= len(excerpt.plain)


def test_words_of_other_scripts_are_marked() -> None:
    assert Marker("灯塔是什么颜色").spans("红色的灯塔") != []
    assert Marker("Wo sind die Häuser?").spans("das HAUS") == [(4, 8)]


@given(st.text())
def test_what_is_printed_commands_nothing(text: str) -> None:
    shown = printable(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert "\n" not in one_line(text)
    assert "\t" not in one_line(text)
    if text.isprintable():
        assert shown == text


def test_bars_and_sizes() -> None:
    assert bar(0, 4) == "    "
    assert bar(0.001, 4) == "▏   "
    assert bar(0.5, 4) == "██  "
    assert bar(7, 4) == "████"
    assert shorten("abcdef", 4) == "abc…"
    assert [in_bytes(size) for size in (0, 999, 1500, 410_000, 2.5e9)] == ["0 B", "999 B", "1.5 kB", "410 kB", "2.5 GB"]
