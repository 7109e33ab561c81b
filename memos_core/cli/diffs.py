"""What changed from one text to the next, cut down to what a person wants to see of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from memos_core.types.differences import Stretch

_SHOWN: Final = 60  # characters on either side of a change


def with_little_around(stretches: Iterator[Stretch]) -> Iterator[Stretch]:
    """The same, with what stayed cut down to what stands next to a change."""
    found = list(stretches)
    for place, (op, text) in enumerate(found):
        head = text[:_SHOWN] if place > 0 else ""
        tail = text[-_SHOWN:] if place < len(found) - 1 else ""
        if op == "same" and len(head) + len(tail) + 3 < len(text):
            yield op, f"{head} … {tail}" if head and tail else f"{head} …" if head else f"… {tail}"
        else:
            yield op, text
