"""Working memory: the few items that a conversation has in mind, how they come in, and how they are let go.

Pure functions. After each turn the items that it touched are marked with the number of the turn; everything else only grows
older. Nothing is thrown away at a refresh: scores fade, and an item is gone when others have pushed it out of the best few.

The score of an item is the weighted sum of

- recent: .8 ^ (turns since it was touched last);
- used: how likely it is to be needed again by its uses in this conversation (`memos_core.lifecycle.activation`);
- relevant: how well it answered the last few queries: the best of its scores, each .6 of what it was for every turn since;
- pinned: 1 where it is tagged "pinned";
- predicted: how likely the next turns need it, as the scheduler thought (`memos_core.plaintext.prefetching`); it fades twice
  as fast as it came.

What a turn is expected to need is the larger of `relevant` and `predicted`: both are on the scale of `hit.score`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from memos_core.lifecycle.activation import likelihood
from memos_core.types.uses import Kept, Use, joined

SIZE: Final = 20
Part = Literal["recent", "used", "relevant", "pinned", "predicted"]
WEIGHTS: Final[dict[Part, float]] = {"recent": 1.0, "used": 0.5, "relevant": 1.0, "pinned": 1.0, "predicted": 0.6}
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


def turn_of(kept: Iterable[Kept]) -> int:
    """Number of the last turn; 0 before the first."""
    return max((each.turn for each in kept), default=0)


def refreshed(kept: Sequence[Kept], touched: Sequence[Touch], at: int) -> list[Kept]:
    """Working memory after one more turn.

    Args:
        kept: before it.
        touched: by the turn; with nothing it is no turn.
        at: when, microseconds since 1970.
    """
    if not touched:
        return list(kept)
    turn = turn_of(kept) + 1
    now = {each.item: each for each in kept}
    for each in touched:
        own = now.get(each.item)
        use = Use(each.amount, each.amount, at, at)
        before = 0.0 if own is None else relevance(own, turn)
        now[each.item] = Kept(
            each.item,
            each.cube,
            turn,
            max(before, each.relevance),
            0.0 if own is None else predicted(own, turn),
            use if own is None else joined(own.use, use),
        )
    return list(now.values())


def foreseen(kept: Sequence[Kept], likely: Mapping[tuple[int, int], float], at: int) -> list[Kept]:
    """Working memory with what the next turns are thought to need in it.

    Args:
        kept: as it is.
        likely: how likely, by (number of the item, of its cube); predictions of before are replaced.
        at: when, microseconds since 1970.
    """
    turn = turn_of(kept)
    now = {each.item: msgspec.structs.replace(each, predicted=0.0) for each in kept}
    for (item, cube), how in likely.items():
        own = now.get(item)
        if own is None:  # it has not been touched: only the prediction holds it, and it is not recent
            own = Kept(item, cube, turn, 0.0, 0.0, Use(0.0, 0.0, at, at))
        # what is kept fades with the turns since it was touched; a prediction is of this turn
        now[item] = msgspec.structs.replace(own, predicted=min(1.0, how / PREDICTED ** (turn - own.turn)))
    return list(now.values())


def relevance(kept: Kept, turn: int) -> float:
    """How relevant an item is in a turn, going by the turns before."""
    return kept.relevance * RELEVANT ** (turn - kept.turn)


def predicted(kept: Kept, turn: int) -> float:
    """How much of a prediction is left in a turn."""
    return kept.predicted * PREDICTED ** (turn - kept.turn)


def parts_of(kept: Kept, turn: int, now: int, *, pinned: bool = False) -> dict[str, float]:
    """What each part adds to the score of an item.

    Args:
        kept: the item.
        turn: the newest.
        now: microseconds since 1970.
        pinned: whether it is tagged so.
    """
    touched = kept.use.total > 0
    values: dict[Part, float] = {
        "recent": RECENT ** (turn - kept.turn) if touched else 0.0,
        "used": likelihood(kept.use, now) if touched else 0.0,
        "relevant": relevance(kept, turn),
        "pinned": float(pinned),
        "predicted": predicted(kept, turn),
    }
    return {name: WEIGHTS[name] * value for name, value in values.items() if value}


def expected(kept: Kept, turn: int) -> float:
    """How likely the turn after this one needs an item, on the scale of `hit.score`."""
    return max(relevance(kept, turn + 1), predicted(kept, turn))


def best(kept: Sequence[Kept], now: int, size: int = SPARE * SIZE) -> list[Kept]:
    """The few that are kept, best first; pins are not known here, they are asked for when it is looked at."""
    turn = turn_of(kept)
    order = sorted(kept, key=lambda each: (-sum(parts_of(each, turn, now).values()), each.item))
    return order[:size]
