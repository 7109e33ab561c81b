"""Policies: each says which rights it gives an actor on a cube; what none gives is denied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from memos_core.types.access import Actor, Grant, Right
from memos_core.types.work import CubeRow


class Policy(Protocol):
    """Gives rights; never takes any away."""

    def rights(self, actor: Actor, cube: CubeRow, grants: Sequence[Grant]) -> frozenset[Right]:
        """The rights that this policy gives the actor on the cube, whose grants are these."""


class OwnerPolicy:
    """A cube belongs to its owner, who may do everything with it."""

    def rights(self, actor: Actor, cube: CubeRow, grants: Sequence[Grant]) -> frozenset[Right]:
        """All rights for the owner, none for others."""
        return frozenset(Right) if actor.id == cube.owner else frozenset()


class GrantPolicy:
    """Others may do what the cube has been shared for: with them, with a role of theirs, or with everybody."""

    def rights(self, actor: Actor, cube: CubeRow, grants: Sequence[Grant]) -> frozenset[Right]:
        """The rights of all grants whose grantee the actor is."""
        own = set(actor.grantees)
        given = [grant.rights for grant in grants if grant.grantee in own]
        return frozenset().union(*given) if given else frozenset()
