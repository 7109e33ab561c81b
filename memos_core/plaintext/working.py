"""Working memory: the few items that a conversation has in mind, how they come in, and how they are let go.

Pure functions. A turn has two halves: what is asked, and what is said. Items that one of them touches are marked with its
number; everything else only grows older. Nothing is thrown away at a refresh: scores fade, and an item is gone when others
have pushed it out of the best few.

The score of an item is the weighted sum of

- recent: .8 ^ (turns since it was touched last);
- used: how likely it is to be needed again by its uses in this conversation (`memos_core.lifecycle.activation`);
- relevant: how well it answered the last few queries: the best of its scores, each .6 of what it was for every turn since;
- predicted: what the scheduler thought the next turns need (`memos_core.plaintext.prefetching`), half of it a turn later;
- pinned: 1 where it is tagged "pinned".

The weights are round numbers; benchmarks/prefetch.py measures what they are worth. `expected` turns the score, without the
pin, into how likely the next turn needs the item: a straight line in log odds, fitted on the development conversations of
LoCoMo, on the scale of `hit.score`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from memos_core.lifecycle.activation import likelihood
from memos_core.types.uses import Kept, Kind, Use, joined

SIZE: Final = 20
Part = Literal["recent", "used", "relevant", "predicted", "pinned"]
WEIGHTS: Final[dict[Part, float]] = {"recent": 0.3, "used": 0.1, "relevant": 1.0, "predicted": 1.0, "pinned": 1.0}
ODDS: Final = (-5.4, 3.9)
RECENT: Final = 0.8
RELEVANT: Final = 0.6
PREDICTED: Final = 0.5
SPARE: Final = 2  # so many times SIZE are kept, so that what drops out of sight (archived, say) leaves no hole


class Touch(msgspec.Struct, frozen=True):
    """An item that a turn touched.

    Attributes:
        item: the store's own number of it.
        cube: number of its cube.
        amount: how much it was used.
        relevance: to the query of the turn, as `hit.score`; 0 where none found it.
    """

    item: int
    cube: int
    amount: float
    relevance: float


def half_of(kept: Iterable[Kept]) -> int:
    """Number of the last half of a turn: odd where something was asked, even where something was said; 0 before the first."""
    return max((each.half for each in kept), default=0)


def next_half(half: int, kind: Kind) -> int:
    """The half of a turn that something belongs to, which comes after this one. What is read belongs to what goes on."""
    if kind == "get":
        return max(half, 1)
    return half + 1 if (half % 2 == 0) == (kind != "add") else half + 2


def refreshed(kept: Sequence[Kept], touched: Sequence[Touch], kind: Kind, at: int) -> list[Kept]:
    """Working memory after something more was asked or said.

    Args:
        kept: before it.
        touched: by it; nothing changes where that is nothing.
        kind: what was done.
        at: when, microseconds since 1970.
    """
    if not touched:
        return list(kept)
    half = next_half(half_of(kept), kind)
    now = {each.item: each for each in kept}
    for each in touched:
        own = now.get(each.item)
        use = Use(each.amount, each.amount, at, at)
        before = 0.0 if own is None else relevance(own, half)
        now[each.item] = Kept(
            each.item,
            each.cube,
            half,
            max(before, each.relevance),
            0.0 if own is None else predicted(own, half),
            use if own is None else joined(own.use, use),
        )
    return list(now.values())


def foreseen(kept: Sequence[Kept], likely: Mapping[tuple[int, int], float], at: int) -> list[Kept]:
    """Working memory with what the next turns are thought to need in it.

    Args:
        kept: as it is.
        likely: what is predicted, by (number of the item, of its cube); predictions of before are replaced.
        at: when, microseconds since 1970.
    """
    half = half_of(kept)
    now = {each.item: msgspec.structs.replace(each, predicted=0.0) for each in kept}
    for (item, cube), how in likely.items():
        own = now.get(item)
        if own is None:  # nobody has touched it: only the prediction holds it
            own = Kept(item, cube, half, 0.0, 0.0, Use(0.0, 0.0, at, at))
        # what is kept fades with the turns since the item was touched; a prediction is of this turn
        now[item] = msgspec.structs.replace(own, predicted=how / _faded(PREDICTED, own, half))
    return list(now.values())


def _faded(rate: float, kept: Kept, half: int) -> float:
    return float(rate ** ((half - kept.half) / 2))


def relevance(kept: Kept, half: int) -> float:
    """How relevant an item is in a turn, going by the turns before."""
    return kept.relevance * _faded(RELEVANT, kept, half)


def predicted(kept: Kept, half: int) -> float:
    """How much of a prediction is left in a turn."""
    return kept.predicted * _faded(PREDICTED, kept, half)


def parts_of(kept: Kept, half: int, now: int, *, pinned: bool = False) -> dict[str, float]:
    """What each part adds to the score of an item.

    Args:
        kept: the item.
        half: the newest half of a turn.
        now: microseconds since 1970.
        pinned: whether it is tagged so.
    """
    touched = kept.use.total > 0
    values: dict[Part, float] = {
        "recent": _faded(RECENT, kept, half) if touched else 0.0,
        "used": likelihood(kept.use, now) if touched else 0.0,
        "relevant": relevance(kept, half),
        "predicted": predicted(kept, half),
        "pinned": float(pinned),
    }
    return {name: WEIGHTS[name] * value for name, value in values.items() if value}


def expected(parts: Mapping[str, float]) -> float:
    """How likely the next turn needs an item with these parts, on the scale of `hit.score`."""
    base, slope = ODDS
    score = sum(value for name, value in parts.items() if name != "pinned")
    return 1.0 / (1.0 + math.exp(-(base + slope * score)))


def best(kept: Sequence[Kept], now: int, size: int = SPARE * SIZE) -> list[Kept]:
    """The few that are kept, best first; pins are not known here, they are asked for when it is looked at."""
    half = half_of(kept)
    order = sorted(kept, key=lambda each: (-sum(parts_of(each, half, now).values()), each.item))
    return order[:size]
