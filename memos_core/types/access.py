"""Who asks, and what they may do."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec

from memos_core.errors import InvalidInput, InvalidName
from memos_core.types.names import check_name

EVERYBODY = "*"
ROLE_PREFIX = "role:"
RESERVED_PREFIX = "memos:"


class Right(StrEnum):
    """A right on a cube. WRITE and SHARE include READ; ADMIN includes all."""

    READ = "read"
    WRITE = "write"
    SHARE = "share"
    ADMIN = "admin"


_INCLUDED = {
    Right.READ: frozenset({Right.READ}),
    Right.WRITE: frozenset({Right.READ, Right.WRITE}),
    Right.SHARE: frozenset({Right.READ, Right.SHARE}),
    Right.ADMIN: frozenset(Right),
}


def rights_of(wanted: str | Right | Iterable[str | Right]) -> frozenset[Right]:
    """The rights named, and those they include.

    Args:
        wanted: one right, several separated by commas, or an iterable of them.

    Raises:
        InvalidInput: none at all, or a word that is no right.
    """
    if not isinstance(wanted, Iterable):
        raise InvalidInput(f"{wanted!r} is no right; rights are: {', '.join(Right)}")
    words = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    found: set[Right] = set()
    for word in words:
        try:
            found |= _INCLUDED[Right(str(word).strip())]
        except ValueError as error:
            raise InvalidInput(f"{word!r} is no right; rights are: {', '.join(Right)}") from error
    if not found:
        raise InvalidInput(f"no rights given; rights are: {', '.join(Right)}")
    return frozenset(found)


class Actor(msgspec.Struct, frozen=True):
    """Somebody (a user, an agent, a service) on whose behalf memory is read or written."""

    id: str
    roles: tuple[str, ...] = ()

    @staticmethod
    def of(who: str | Actor) -> Actor:
        """An actor from its id, checked.

        Raises:
            InvalidName: an id or role that could be mistaken for another one, or that looks like a role.
        """
        actor = who if isinstance(who, Actor) else Actor(who)
        check_name(actor.id, "actor")
        if actor.id.startswith(ROLE_PREFIX):
            raise InvalidName(f"actor {actor.id!r} looks like a role; roles are given as Actor(id, roles=(...))")
        if actor.id.startswith(RESERVED_PREFIX):
            raise InvalidName(f"actor {actor.id!r} is reserved for memos itself")
        if not isinstance(actor.roles, tuple):  # one string would be taken for a role per letter
            raise InvalidName(f"roles are given as a tuple of names, not {actor.roles!r}")
        for role in actor.roles:
            check_name(role, "role")
        return actor

    @property
    def grantees(self) -> tuple[str, ...]:
        """The names under which grants apply to this actor: its id, its roles, everybody."""
        return (self.id, *(ROLE_PREFIX + role for role in self.roles), EVERYBODY)


# Whoever holds the store itself (MOS, the command line) acts under this name. `Actor.of` refuses it from outside.
OPERATOR = Actor(RESERVED_PREFIX + "operator")


class Grant(msgspec.Struct, frozen=True):
    """Rights on one cube, for an actor id, a role ("role:team") or everybody ("*").

    Attributes:
        expires_at: they hold before this time; None for as long as nobody takes them away.
    """

    cube_id: str
    grantee: str
    rights: frozenset[Right]
    granted_by: str
    granted_at: datetime
    expires_at: datetime | None = None


def check_grantee(value: str) -> str:
    """A grantee as grants store it: "*", an actor id, or "role:" and a role's name."""
    if value == EVERYBODY:
        return value
    check_name(value.removeprefix(ROLE_PREFIX) if isinstance(value, str) else value, "grantee")
    return value
