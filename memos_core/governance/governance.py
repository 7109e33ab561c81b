"""Governance: the one place that every read and write asks first."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from memos_core.errors import AccessDenied, CubeNotFound
from memos_core.governance.policies import GrantPolicy, OwnerPolicy, Policy
from memos_core.protocols.storage import RecordStore
from memos_core.types.access import OPERATOR, Actor, Grant, Right
from memos_core.types.work import CubeRow

DEFAULT_POLICIES: tuple[Policy, ...] = (OwnerPolicy(), GrantPolicy())


class Governance:
    """Decides by policies; remembers cubes and grants until anybody commits anything.

    Args:
        store: where cubes and grants are.
        policies: asked in turn; their rights add up, and what none gives is denied.
    """

    def __init__(self, store: RecordStore, *, policies: Sequence[Policy] = DEFAULT_POLICIES) -> None:
        self._store = store
        self._policies = tuple(policies)
        self._lock = threading.Lock()
        self._token: int | None = None
        self._known: dict[str, tuple[CubeRow, list[Grant]] | None] = {}

    def after_fork(self) -> None:
        """In a forked child: a lock that a thread of the parent held would never be released."""
        self._lock = threading.Lock()
        self._token = None

    def require(self, actor: Actor, name: str, right: Right) -> CubeRow:
        """The cube, if the actor has the right on it.

        Raises:
            CubeNotFound: there is no such cube, or the actor may not even read it; the two look the same.
            AccessDenied: the actor may read it, but has not this right.
        """
        found = self._find(name)
        rights = frozenset() if found is None else self._rights(actor, *found)
        if found is None or Right.READ not in rights:
            raise CubeNotFound(f"no cube {name!r} that {actor.id!r} may read; ask its owner to share it")
        if right not in rights:
            held = ", ".join(sorted(rights))
            raise AccessDenied(f"{actor.id!r} has no right to {right} on cube {name!r} (only: {held})")
        return found[0]

    def may(self, actor: Actor, name: str, right: Right) -> bool:
        """Whether the actor has a right on a cube; False where there is no such cube."""
        found = self._find(name)
        return found is not None and right in self._rights(actor, *found)

    def exists(self, name: str) -> bool:
        """Whether there is such a cube. Only for the store's own decisions: never tell an actor."""
        return self._find(name) is not None

    def _rights(self, actor: Actor, cube: CubeRow, grants: list[Grant]) -> frozenset[Right]:
        if actor == OPERATOR:
            return frozenset(Right)
        return frozenset().union(*(policy.rights(actor, cube, grants) for policy in self._policies))

    def _find(self, name: str) -> tuple[CubeRow, list[Grant]] | None:
        token = self._store.change_token()
        with self._lock:
            if token != self._token:
                self._known.clear()
                self._token = token
            if name in self._known:
                return self._known[name]
        cube = self._store.cube(name)
        found = None if cube is None else (cube, self._store.grants(cube))
        with self._lock:
            if token == self._token:
                self._known[name] = found
        return found
