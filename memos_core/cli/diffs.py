"""What changed from one text to the next, word by word (long texts: line by line)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Final, Literal

Op = Literal["same", "gone", "new"]

_TOKENS: Final = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_TOKENS: Final = 3000  # comparing takes time with the square of this
_SHOWN: Final = 60  # characters on either side of a change


def differences(old: str, new: str) -> Iterator[tuple[Op, str]]:
    """Stretches that stayed, went and came, in the order of the texts."""
    before, after = _TOKENS.findall(old), _TOKENS.findall(new)
    if max(len(before), len(after)) > _MOST_TOKENS:
        before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    for op, i1, i2, j1, j2 in difflib.SequenceMatcher(None, before, after).get_opcodes():
        if op == "equal":
            yield "same", "".join(before[i1:i2])
            continue
        if i1 < i2:
            yield "gone", "".join(before[i1:i2])
        if j1 < j2:
            yield "new", "".join(after[j1:j2])


def with_little_around(stretches: Iterator[tuple[Op, str]]) -> Iterator[tuple[Op, str]]:
    """The same, with what stayed cut down to what stands next to a change."""
    found = list(stretches)
    for place, (op, text) in enumerate(found):
        head = text[:_SHOWN] if place > 0 else ""
        tail = text[-_SHOWN:] if place < len(found) - 1 else ""
        if op == "same" and len(head) + len(tail) + 3 < len(text):
            yield op, f"{head} … {tail}" if head and tail else f"{head} …" if head else f"… {tail}"
        else:
            yield op, text
