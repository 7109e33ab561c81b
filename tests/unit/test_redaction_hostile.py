"""If this fails, a text that somebody built for it stops the process for minutes, makes it raise, or comes out different each
time it is redacted."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redaction_corpus import names, positives

from memos_core.governance.redaction.normalise import Folded
from memos_core.governance.redaction.redactor import Redactor

REDACTOR = Redactor(names=[*names(), "Ann Bee"])
LONG = 200_000
HOSTILE = """a@ @a.a 1␣ 12␣ 4111␣ 1 1- 1. -----BEGIN␣ -----BEGIN␣PRIVATE␣KEY----- -----BEGIN␣PRIVATE␣KEY-----AAAA␣ -----END␣ - a
password␣is␣ password␣for␣ pw: pw:a pin␣ bearer␣ key= token␣ eyJ eyJaaaaaaaaa. DE89␣ DE89 a: : :: +1␣ + 00␣1 (0
015␣12␣ call␣me␣12␣34␣
ann␣ [email] [ sk- sk-a1b2c3d4e5f6g7h8i9j0k␣ "@ a.b␣at␣b␣dot␣ ␣at␣ x://a: 王 王小 ﷺ Аa a1@b.com␣ 415-555-2671␣ 123-45-6789␣
a␣is␣my␣ AB␣12␣34␣ $1␣ =
4111␣1111␣1111␣1111␣ a@1.b:4␣- a␣dot␣ 1\u200b \u0301 é ［ｅ 1⃣ "\\' ST ~/. ya29. ghp_""".split()
UNITS = [unit.replace("␣", " ") for unit in HOSTILE] + ["\u200b", " ", "\n", "\u00a0"]


def seconds(unit: str, length: int) -> float:
    text = (unit * (length // len(unit) + 1))[:length]
    start = time.process_time()
    REDACTOR.find(text)
    return time.process_time() - start


def test_time_grows_with_length_alone(rounds: Callable[[int, int], int]) -> None:
    """A square would take a hundred times as long for ten times the text, and a thousand times for a cube."""
    short = rounds(2_000, LONG // 10)
    slow = []
    for unit in UNITS:
        few, many = seconds(unit, short), seconds(unit, short * 10)
        if many > 0.05 and many > 30 * few:  # measured again: somebody else may have used the processor
            few, many = max(few, seconds(unit, short)), min(many, seconds(unit, short * 10))
            if many > 30 * few:
                slow.append((unit, few, many))
    assert slow == []


def test_it_takes_no_more_steps_a_character_where_everything_looks_like_something() -> None:
    """Counted, not timed: how often the tables of numbers are asked."""
    asked = 0
    phones = next(each for each in Redactor(["phone"])._rules)
    tables = phones._tables  # type: ignore[attr-defined]

    class Counting:
        NumberParseException = tables.NumberParseException
        is_valid_number = staticmethod(tables.is_valid_number)
        is_possible_number = staticmethod(tables.is_possible_number)

        @staticmethod
        def parse(number: str, region: str | None) -> object:
            nonlocal asked
            asked += 1
            return tables.parse(number, region)

    phones._tables = Counting  # type: ignore[attr-defined]
    for unit in ("015 12 ", "+1 ", "00 1", "call 12345678 "):
        counts = []
        for length in (2_000, 4_000):
            asked = 0
            list(phones.find((unit * length)[:length]))
            counts.append(asked)
        assert counts[1] <= 2.2 * counts[0] + 20, (unit, counts)


# -- whatever it is given --------------------------------------------------------------------------------------------------

PIECES = (
    [turn.text for turn in positives("develop", 11, 8)]
    + UNITS
    + ["[password]", "[phone]", "]", "(2)", "\u2028", "İ", "ß"]
)
TEXTS = st.lists(
    st.one_of(st.sampled_from(PIECES), st.text(max_size=8), st.from_regex(r"[0-9+ ().\-]{1,20}")), max_size=12
)


def check(text: str) -> None:
    findings = REDACTOR.find(text)
    assert all(0 <= each.start < each.end <= len(text) for each in findings)
    assert all(one.end <= other.start for one, other in pairwise(findings))
    done = REDACTOR.redact(text)
    assert sum(done.counts.values()) == len(findings)
    assert REDACTOR.redact(done.text).text == done.text, text
    assert REDACTOR.find(done.text) == [], text


@given(TEXTS.map("".join))
def test_never_raises_and_redacting_twice_changes_nothing(text: str) -> None:
    check(text)


@given(st.text())
def test_any_text_at_all(text: str) -> None:
    check(text)
    folded = Folded(text)
    for place in range(len(folded.text)):
        start, end = folded.span(place, place + 1)
        assert 0 <= start < end <= len(text)


@given(TEXTS)
def test_any_json(texts: list[str]) -> None:
    value = {"list": texts, **{text: [index, {"deep": text}] for index, text in enumerate(texts)}}
    done, _ = REDACTOR.redact_json(value)
    assert len(done) == len(value)
    assert REDACTOR.redact_json(done) == (done, {})


@pytest.mark.parametrize("rounds_of_peeling", [1, 7, 8, 9, 30])
def test_what_appears_only_after_redacting_is_found_too(rounds_of_peeling: int) -> None:
    """A rule that finds the first x of what is left would find the next one each time."""

    class First:
        kind = "x"

        def find(self, text: str) -> list[tuple[int, int]]:
            place = text.find("x")
            return [(place, place + 1)] if place >= 0 else []

    redactor = Redactor([First()])
    done = redactor.redact("a" + "xa" * rounds_of_peeling).text
    assert "x" not in done.replace("[x]", "")
    if rounds_of_peeling < 8:  # after that, what is left goes as a whole
        assert done == "a" + "[x]a" * rounds_of_peeling
    assert redactor.redact(done).text == done
