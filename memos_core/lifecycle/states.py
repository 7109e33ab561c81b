"""The table of allowed moves: from which state to which, who may make them, and what they do to retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from memos_core.errors import InvalidInput, StateConflict
from memos_core.types.access import Right
from memos_core.types.items import LifecycleState

_S = LifecycleState


class Move(msgspec.Struct, frozen=True):
    """One allowed move.

    Attributes:
        name: of the move, as the audit records it.
        source, target: the states.
        right: that whoever makes it needs on the cube.
        retrieval: what it does to search.
    """

    name: str
    source: LifecycleState
    target: LifecycleState
    right: Right
    retrieval: str


# `add` makes an item generated and activates it in the same transaction: one version, activated.
MOVES: Final[tuple[Move, ...]] = (
    Move("activate", _S.GENERATED, _S.ACTIVATED, Right.WRITE, "validated: found from now on"),
    Move("archive", _S.GENERATED, _S.ARCHIVED, Right.WRITE, "rejected: found only when asked for"),
    Move("merge", _S.GENERATED, _S.MERGED, Right.WRITE, "what replaces it is found"),
    Move("archive", _S.ACTIVATED, _S.ARCHIVED, Right.WRITE, "found only when asked for"),
    Move("merge", _S.ACTIVATED, _S.MERGED, Right.WRITE, "what replaces it is found"),
    Move("freeze", _S.ACTIVATED, _S.FROZEN, Right.ADMIN, "found as before; nobody changes it"),
    Move("activate", _S.ARCHIVED, _S.ACTIVATED, Right.WRITE, "found again"),
    Move("merge", _S.ARCHIVED, _S.MERGED, Right.WRITE, "what replaces it is found"),
    Move("activate", _S.MERGED, _S.ACTIVATED, Right.WRITE, "found again, beside what had replaced it"),
    Move("unfreeze", _S.FROZEN, _S.ACTIVATED, Right.ADMIN, "found as before; may be changed again"),
)
_BY_ENDS: Final = {(move.source, move.target): move for move in MOVES}
MERGED_INTO: Final = "merged_into"  # relation of the link from a merged item to what replaced it


def move_between(source: LifecycleState, target: LifecycleState, item: str) -> Move:
    """The move from one state to another.

    Args:
        item: what the message calls it.

    Raises:
        StateConflict: it is not allowed; the message says which moves are.
    """
    found = _BY_ENDS.get((source, target))
    if found is None:
        allowed = [str(move.target) for move in MOVES if move.source == source]
        raise StateConflict(
            f"{item} is {source} and cannot become {target}; from there it may become: {', '.join(allowed)}"
        )
    return found


def need_changeable(state: LifecycleState, item: str) -> None:
    """Make sure that an item may be changed.

    Raises:
        StateConflict: it is frozen.
    """
    if state is LifecycleState.FROZEN:
        raise StateConflict(
            f"{item} is frozen; somebody with the right to administrate the cube must unfreeze it first"
        )


def as_states(names: Sequence[str | LifecycleState]) -> frozenset[LifecycleState]:
    """States by name.

    Raises:
        InvalidInput: one string instead of several, or a word that is no state.
    """
    if isinstance(names, str) or not isinstance(names, Sequence | frozenset | set):
        raise InvalidInput(f"states are given as a list, not {names!r}; states are: {', '.join(LifecycleState)}")
    wrong = next((name for name in names if name not in set(LifecycleState)), None)
    if wrong is not None:
        raise InvalidInput(f"{wrong!r} is no state; states are: {', '.join(LifecycleState)}")
    return frozenset(LifecycleState(name) for name in names)
