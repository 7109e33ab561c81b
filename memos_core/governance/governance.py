"""Governance: the one place that every read and write asks first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from memos_core.errors import AccessDenied, CubeNotFound
from memos_core.governance.audit import AuditLog
from memos_core.governance.policies import OwnerPolicy, Policy, RolePolicy, SharePolicy
from memos_core.protocols.storage import RecordStore
from memos_core.types.access import OPERATOR, Actor, Grant, Right
from memos_core.types.cube_policy import decode_policy
from memos_core.types.work import CubeRow, utc_now

_NO_CUBE = CubeRow(0, "", "", 0, datetime.fromtimestamp(0, UTC))
DEFAULT_POLICIES: tuple[Policy, ...] = (OwnerPolicy(), RolePolicy(), SharePolicy())


class Decision(msgspec.Struct, frozen=True):
    """What an actor may do with a cube, and why.

    Attributes:
        cube: which; the numbers of its changes may be those of a while ago.
        rights: all that the actor has on it.
        reason: names of the policies that give the right asked for.
    """

    cube: CubeRow
    rights: frozenset[Right]
    reason: str


class Governance:
    """Decides by policies; remembers cubes and grants as long as nobody can have changed them.

    Args:
        store: where cubes and grants are.
        policies: asked in turn; their rights add up, and what none gives is denied.
        now: the clock, by which grants end.
        audit: is told of denials and of reads; None for nobody.
    """

    def __init__(
        self,
        store: RecordStore,
        *,
        policies: Sequence[Policy] = DEFAULT_POLICIES,
        now: Callable[[], datetime] = utc_now,
        audit: AuditLog | None = None,
    ) -> None:
        self._audit = audit
        self._store = store
        self._now = now
        self._policies = tuple(policies)
        self._lock = threading.Lock()
        self._token: int | None = None
        self._known: dict[str, tuple[CubeRow, list[Grant]] | None] = {}

    def after_fork(self) -> None:
        """In a forked child: a lock that a thread of the parent held would never be released."""
        self._lock = threading.Lock()
        self._token = None

    def require(self, actor: Actor, name: str, right: Right) -> CubeRow:
        """The cube, if the actor has the right on it; raises as `decide` does."""
        return self.decide(actor, name, right).cube

    def decide(self, actor: Actor, name: str, right: Right) -> Decision:
        """What the actor may do with the cube, if it has this right on it.

        Raises:
            CubeNotFound: there is no such cube, or the actor may not even read it; the two look the same.
            AccessDenied: the actor may read it, but has not this right.
        """
        found = self._find(name)
        given = {} if found is None else self._given(actor, *found)
        rights = frozenset[Right]().union(*given.values())
        if found is None or Right.READ not in rights:
            if found is not None and self._audit is not None:
                self._audit.denied(found[0], actor.id, right, "may not even read", visible=False)
            raise CubeNotFound(f"no cube {name!r} that {actor.id!r} may read; ask its owner to share it")
        if right not in rights:
            held = ", ".join(sorted(rights))
            if self._audit is not None:
                self._audit.denied(found[0], actor.id, right, f"may only {held}", visible=True)
            raise AccessDenied(f"{actor.id!r} has no right to {right} on cube {name!r} (only: {held})")
        return Decision(found[0], rights, ", ".join(name for name, own in given.items() if right in own))

    def require_until(self, actor: Actor, name: str, right: Right, until: datetime | None) -> None:
        """Make sure that the actor has a right, and keeps it until a time (None: for good): nobody gives for longer.

        Raises:
            CubeNotFound, AccessDenied: as `decide` says, or its right ends before.
        """
        row = self.require(actor, name, right)
        found = self._find(name)
        grants = [] if found is None else found[1]
        lasting = [
            each for each in grants if each.expires_at is None or (until is not None and until <= each.expires_at)
        ]
        if not any(right in own for own in self._given(actor, row, lasting).values()):
            if self._audit is not None:
                self._audit.denied(row, actor.id, right, "would give for longer than its own", visible=True)
            raise AccessDenied(
                f"the right of {actor.id!r} to {right} on cube {name!r} ends before that; give it until then at most"
            )

    def read(self, actor: Actor, name: str, operation: str, ids: Sequence[str]) -> None:
        """Have the audit know what an actor has read: within a second, or now where the cube's reads are strict.

        Raises:
            CubeNotFound: the actor may not read it (any more).
            StoreError: strict, and it cannot be written.
        """
        if self._audit is not None:
            decision = self.decide(actor, name, Right.READ)
            strict = decode_policy(decision.cube.policy).strict_reads
            self._audit.read(decision.cube, actor.id, operation, ids, decision.reason, strict=strict)

    def rights(self, actor: Actor, name: str) -> frozenset[Right]:
        """All rights of an actor on a cube; none where there is no such cube. Nobody is refused, and nothing audited."""
        found = self._find(name)
        return frozenset() if found is None else frozenset[Right]().union(*self._given(actor, *found).values())

    def reason(self, actor: Actor, name: str, right: Right) -> str:
        """Names of the policies that give an actor a right on a cube; "" where none does. Nobody is refused."""
        found = self._find(name)
        given = {} if found is None else self._given(actor, *found)
        return ", ".join(policy for policy, own in given.items() if right in own)

    def may(self, actor: Actor, name: str, right: Right) -> bool:
        """Whether the actor has a right on a cube; False where there is no such cube."""
        found = self._find(name)
        return found is not None and any(right in own for own in self._given(actor, *found).values())

    def exists(self, name: str) -> bool:
        """Whether there is such a cube. Only for the store's own decisions: never tell an actor."""
        return self._find(name) is not None

    def _given(self, actor: Actor, cube: CubeRow, grants: list[Grant]) -> dict[str, frozenset[Right]]:
        """The rights that each policy gives, by its name."""
        if actor == OPERATOR:
            return {"operator": frozenset(Right)}
        if any(grant.expires_at is not None for grant in grants):
            now = self._now()
            grants = [grant for grant in grants if grant.expires_at is None or now < grant.expires_at]
        return {policy.name: policy.rights(actor, cube, grants) for policy in self._policies}

    def _find(self, name: str) -> tuple[CubeRow, list[Grant]] | None:
        token = self._store.rules_token()
        with self._lock:
            if token != self._token:
                self._known.clear()
                self._token = token
            if name in self._known:
                return self._known[name]
        cube = self._store.cube(name)
        grants = self._store.grants(cube or _NO_CUBE)  # asked in any case: "not there" takes as long as "not yours"
        found = None if cube is None else (cube, grants)
        with self._lock:
            if token == self._token:
                self._known[name] = found
        return found
