"""A made-up corpus for measuring redaction: carrier sentences with a value each, hard negatives, and how both are scored."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from redaction_values import MAKERS, NAMES, UPPER, digits, some

FOLDER = Path(__file__).parents[1] / "data" / "redaction"
KINDS = tuple(MAKERS)
ZERO_WIDTH = [
    "\u200b",
    "\u200c",
    "\u2060",
    "\u00ad",
    "\ufeff",
]  # zero-width space, non-joiner, word joiner, soft hyphen, BOM


class Turn(NamedTuple):
    """A made-up turn. `values` are (kind, start, end)."""

    text: str
    values: tuple[tuple[str, int, int], ...]
    disguise: str


def carriers(part: str) -> list[tuple[str, str]]:
    """(kind, sentence) of "develop" or "held_out"."""
    lines = (FOLDER / f"{part}.txt").read_text("utf-8").splitlines()
    cut = [line.split("\t", 1) for line in lines if line and not line.startswith("#")]
    return [(kind, sentence.replace("\\n", "\n")) for kind, sentence in cut]


def disguised(random: Random, value: str, kind: str) -> tuple[str, str]:
    """The value so that a person reads the same, and the name of the trick."""
    trick = random.choice(["none"] * 7 + ["full-width", "zero-width", "no-break space", "combining"])
    if trick == "full-width":
        letters = kind in ("iban", "national-id", "password", "api-key")
        return "".join(
            chr(ord(c) + 0xFEE0) if c.isdigit() or (letters and "!" <= c <= "~") else c for c in value
        ), trick
    if trick == "zero-width":
        return "".join(c + (random.choice(ZERO_WIDTH) if random.random() < 0.3 else "") for c in value[:-1]) + value[
            -1
        ], trick
    if trick == "no-break space" and " " in value and kind != "private-key":
        return value.replace(" ", random.choice(["\u00a0", "\u202f", "\u2007"])), trick
    if trick == "combining":
        at = random.randrange(len(value))
        return value[: at + 1] + random.choice(["\u0332", "\u0336", "\u20e3"]) + value[at + 1 :], trick
    return value, "none"


def positives(part: str, seed: int, count: int) -> list[Turn]:
    """So many turns of each kind; one in five says two things."""
    random = Random(f"{part} {seed}")
    held, sentences = part == "held_out", carriers(part)
    of = {kind: [sentence for each, sentence in sentences if each == kind] for kind in KINDS}
    turns = []
    for kind in KINDS:
        for _ in range(count):
            text, values, tricks = "", [], []
            for each in [kind, random.choice(KINDS)] if random.random() < 0.2 else [kind]:
                text += " " if text else ""
                value, trick = disguised(random, MAKERS[each](random, held), each)
                before, _, after = random.choice(of[each]).rpartition("{}")
                values.append((each, len(text) + len(before), len(text) + len(before) + len(value)))
                text += before + value + after
                tricks.append(trick)
            turns.append(Turn(text, tuple(values), "+".join(tricks)))
    return turns


def blanks(random: Random) -> dict[str, str]:
    """What is put into the hard negatives."""
    r = random
    year, month, day, hour, minute = (
        r.randint(1900, 2039),
        r.randint(1, 12),
        r.randint(1, 28),
        r.randint(0, 23),
        r.randint(0, 59),
    )
    dates = [
        f"{year}-{month:02d}-{day:02d}",
        f"{day:02d}.{month:02d}.{year}",
        f"{month}/{day}/{year}",
        f"{day}/{month}/{year % 100:02d}",
    ]
    dates += [
        f"{year}/{month:02d}/{day:02d}",
        f"{day}. {month}. {year}",
        f"{day:02d}-{month:02d}-{year}",
        f"{year}{month:02d}{day:02d}",
    ]
    prices = [
        f"${r.randint(1, 9999)}.{r.randint(0, 99):02d}",
        f"{r.randint(1, 999)},{r.randint(0, 99):02d} €",
        f"{r.randint(1, 9)},{digits(r, 3)},{digits(r, 3)} USD",
    ]
    prices += [
        f"{r.randint(1, 99)}.{digits(r, 3)}.{digits(r, 3)},00 EUR",
        f"¥{r.randint(100, 99999)}",
        f"{r.randint(1, 99)} {digits(r, 3)} {digits(r, 3)} kr",
    ]
    versions = [
        f"{r.randint(0, 20)}.{r.randint(0, 30)}.{r.randint(0, 99)}",
        f"{r.randint(1, 130)}.0.{r.randint(1000, 9999)}.{r.randint(1, 250)}",
    ]
    versions += [
        f"{r.randint(1, 9)}.{r.randint(0, 9)}.{r.randint(0, 9)}.{r.randint(0, 9)}",
        f"{r.randint(1, 9)}.{r.randint(0, 9)}rc{r.randint(1, 4)}",
    ]
    orders = [
        digits(r, r.choice([6, 8, 9, 12])),
        f"{digits(r, 3)}-{digits(r, 7)}-{digits(r, 7)}",
        some(r, UPPER, 2) + digits(r, 8),
        f"{year}-{digits(r, 5)}",
    ]
    isbn = "978" + digits(r, 9)
    isbn += str(-sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(isbn)) % 10)
    ten = digits(r, 9)
    ten += "0123456789X"[sum(int(d) * (i + 1) for i, d in enumerate(ten)) % 11]
    isbns = [
        isbn,
        f"{isbn[:3]}-{isbn[3]}-{isbn[4:8]}-{isbn[8:12]}-{isbn[12]}",
        f"{ten[0]}-{ten[1:4]}-{ten[4:9]}-{ten[9]}",
        ten,
    ]
    hexa = "0123456789abcdef"
    uuid = "-".join(some(r, hexa, count) for count in (8, 4, 4, 4, 12))
    return {
        "date": r.choice(dates),
        "time": r.choice(
            [
                f"{hour}:{minute:02d}",
                f"{hour:02d}:{minute:02d}:59",
                f"{hour % 12 + 1}.{minute:02d} pm",
                f"{hour}h{minute:02d}",
            ]
        ),
        "price": r.choice(prices),
        "version": r.choice(versions),
        "order": r.choice(orders),
        "isbn": r.choice(isbns),
        "score": r.choice(
            [f"{r.randint(0, 9)}:{r.randint(0, 9)}", f"{r.randint(60, 130)}-{r.randint(60, 130)}", "6-4 3-6 7-6 6-2"]
        ),
        "coordinates": r.choice(
            [
                f"{r.uniform(-90, 90):.6f}, {r.uniform(-180, 180):.6f}",
                f"{r.randint(0, 89)}°{minute}'{r.randint(0, 59)}\"N",
            ]
        ),
        "commit": some(r, hexa, r.choice([7, 8, 40])),
        "uuid": uuid,
        "small": str(r.randint(1, 99)),
        "big": r.choice(
            [f"{r.randint(1, 999)},{digits(r, 3)}", f"{r.randint(1, 99)} {digits(r, 3)} {digits(r, 3)}", digits(r, 5)]
        ),
        "mac": ":".join(some(r, hexa, 2) for _ in range(6)),
        "tracking": r.choice(
            ["1Z" + some(r, UPPER + "0123456789", 16), some(r, UPPER, 2) + digits(r, 9) + "US", digits(r, 12)]
        ),
        "year": str(year),
        "sha256": some(r, hexa, 64),
        "epoch": r.choice([f"17{digits(r, 8)}", f"17{digits(r, 11)}"]),
    }


def negatives(part: str, seed: int, count: int) -> list[str]:
    """So many turns with nothing to redact in them."""
    random = Random(f"{part} negatives {seed}")
    lines = (FOLDER / f"{part}_negatives.txt").read_text("utf-8").splitlines()
    sentences = [line for line in lines if line and not line.startswith("#")]
    made = []
    for number in range(count):
        text = sentences[number % len(sentences)]
        while "{" in text:
            for blank, value in blanks(random).items():
                text = text.replace("{" + blank + "}", value, 1)
        made.append(text)
    return made


class Score(NamedTuple):
    """Per kind (found, planted); turns of negatives with a finding; all misses and false findings, to be looked at."""

    found: dict[str, tuple[int, int]]
    missed: list[tuple[str, str, str]]
    beside: list[str]

    @property
    def recall(self) -> float:
        return sum(found for found, _ in self.found.values()) / sum(planted for _, planted in self.found.values())


def score(redactor: Any, turns: Iterable[Turn]) -> Score:
    """A value is found when findings cover all of it, one of its own kind among them."""
    found = {kind: [0, 0] for kind in KINDS}
    missed, beside = [], []
    for turn in turns:
        findings = redactor.find(turn.text)
        for kind, start, end in turn.values:
            covering = [each for each in findings if each.start < end and each.end > start]
            covered = sum(min(each.end, end) - max(each.start, start) for each in covering)
            hit = covered == end - start and any(each.kind == kind for each in covering)
            found[kind][0] += hit
            found[kind][1] += 1
            if not hit:
                missed.append((kind, turn.disguise, turn.text))
        if any(all(each.end <= start or each.start >= end for _, start, end in turn.values) for each in findings):
            beside.append(turn.text)
    return Score({kind: (hits, planted) for kind, (hits, planted) in found.items()}, missed, beside)


def names() -> list[str]:
    """The list of names that the redactor is given."""
    return list(NAMES)
