"""Context for a prompt: what an actor's memory says to a question, as text, in as many tokens as there are.

What stays the same from turn to turn stands first and is byte-identical as long as the pinned memories and the preferences are,
so that the front of the prompt can be kept as a KV prefix; what this question needs follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from memos_core.errors import InvalidInput
from memos_core.reading.chunking import estimate_tokens
from memos_core.types.items import MemoryItem

STABLE_SHARE = 0.5  # of the tokens, at most, for what stays the same
PREFERENCE_SHARE = 0.25  # of the tokens, at most, for preferences among it


class Context(msgspec.Struct, frozen=True):
    """Memory as text for a prompt.

    Attributes:
        stable: pinned memories, then preferences, oldest first; the same bytes as long as they are the same.
        volatile: what the question needs, oldest first, so that the newest stands nearest to the question.
        items: the memories in `stable`, then those in `volatile`.
        tokens: how many both take together.
    """

    stable: str
    volatile: str
    items: tuple[MemoryItem, ...]
    tokens: int

    @property
    def text(self) -> str:
        """Both, one after the other."""
        return "\n".join(part for part in (self.stable, self.volatile) if part)

    def __str__(self) -> str:
        return self.text


def line(item: MemoryItem) -> str:
    """A memory as one line: when, who, what."""
    when = f"[{item.occurred_at:%Y-%m-%d}] " if item.occurred_at else ""
    source = item.provenance.source
    said_by = item.speaker or (source.role if source else None)
    who = f"{said_by}: " if said_by else ""
    return f"- {when}{who}{' '.join(item.text.split())}"


def build(
    pinned: Sequence[MemoryItem],
    found: Sequence[MemoryItem],
    *,
    max_tokens: int,
    count_tokens: Callable[[str], int] = estimate_tokens,
    preferences: Sequence[MemoryItem] = (),
) -> Context:
    """A context out of pinned memories, preferences and what was found, best first; whole memories only.

    Args:
        pinned: oldest first.
        found: best first.
        max_tokens: for all together; at most half of them for the pinned and the preferences, a quarter for the latter.
        preferences: those first that are wanted most; they are told oldest first.
        count_tokens: tokens of a text.

    Raises:
        InvalidInput: fewer than one token.
    """
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
        raise InvalidInput(f"max_tokens is a whole number from 1 on, not {max_tokens!r}")
    stable = _fitting(pinned, int(max_tokens * STABLE_SHARE), count_tokens)
    used = sum(count_tokens(line(item)) + 1 for item in stable)
    known = {(item.cube_id, item.id) for item in stable}
    left = min(int(max_tokens * STABLE_SHARE) - used, int(max_tokens * PREFERENCE_SHARE))
    liked = _fitting([item for item in preferences if (item.cube_id, item.id) not in known], left, count_tokens)
    stable += sorted(liked, key=lambda item: (item.created_at, item.cube_id, item.id))
    used += sum(count_tokens(line(item)) + 1 for item in liked)
    known |= {(item.cube_id, item.id) for item in liked}
    fresh = [item for item in found if (item.cube_id, item.id) not in known]
    chosen = _fitting(fresh, max_tokens - used, count_tokens)
    volatile = sorted(chosen, key=lambda item: (item.occurred_at or item.created_at, item.seq, item.id))
    texts = ["\n".join(line(item) for item in part) for part in (stable, volatile)]
    return Context(texts[0], texts[1], (*stable, *volatile), sum(count_tokens(text) for text in texts if text))


def _fitting(items: Sequence[MemoryItem], tokens: int, count_tokens: Callable[[str], int]) -> list[MemoryItem]:
    """As many as fit, in the order given; one that is too long is left out and the next one tried."""
    chosen: list[MemoryItem] = []
    for item in items:
        needed = count_tokens(line(item)) + 1  # its line break
        if needed <= tokens:
            chosen.append(item)
            tokens -= needed
    return chosen
