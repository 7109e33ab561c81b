"""Policies: each says which rights it gives an actor on a cube; what none gives is denied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from memos_core.types.access import EVERYBODY, ROLE_PREFIX, Actor, Grant, Right
from memos_core.types.work import CubeRow


class Policy(Protocol):
    """Gives rights; never takes any away."""

    @property
    def name(self) -> str:
        """What the audit calls it, where it is why somebody was let in."""

    def rights(self, actor: Actor, cube: CubeRow, grants: Sequence[Grant]) -> frozenset[Right]:
        """The rights that this policy gives the actor on the cube, whose grants (those that have not ended) are these."""


class OwnerPolicy:
    """A cube belongs to its owner, who may do everything with it."""

    name = "owner"

    def rights(self, actor: Actor, cube: CubeRow, grants: Sequence[Grant]) -> frozenset[Right]:
        """All rights for the owner, none for others."""
        return frozenset(Right) if actor.id == cube.owner else frozenset()


class RolePolicy:
    """Whoever has a role may do what the cube has been shared with that role for."""

    name = "role"

    def rights(self, actor: Actor, cube: CubeRow, grants: Sequence[Grant]) -> frozenset[Right]:
        """The rights of all grants to roles of the actor."""
        own = {ROLE_PREFIX + role for role in actor.roles}
        return frozenset[Right]().union(*(grant.rights for grant in grants if grant.grantee in own))


class SharePolicy:
    """An actor may do what the cube has been shared with it, or with everybody, for."""

    name = "share"

    def rights(self, actor: Actor, cube: CubeRow, grants: Sequence[Grant]) -> frozenset[Right]:
        """The rights of all grants to the actor itself and to everybody."""
        return frozenset[Right]().union(*(grant.rights for grant in grants if grant.grantee in (actor.id, EVERYBODY)))
