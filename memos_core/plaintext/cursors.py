"""Cursors: where a page ended, and of what. Opaque to callers, checked when they come back."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated

import msgspec

from memos_core.errors import InvalidCursor


class Cursor(msgspec.Struct, frozen=True):
    """The end of a page.

    Attributes:
        of: digest of everything that was asked; a cursor serves only the same search.
        seqs: for each cube the number of the change that was newest: later pages see the same moment.
        after: sort key of the last entry shown: (number, cube, number).
        tier: of that entry, where entries are looked at tier by tier (`Asking.pool`).
        wanted: how many hits the first page asked for, which decides what the tiers are.
        counted: for each cube which counting of uses was the newest.
        at: time of the first page, in microseconds: what had not expired then is on later pages too.
    """

    of: str
    seqs: dict[str, Annotated[int, msgspec.Meta(ge=0)]]
    after: tuple[float, str, int]
    tier: Annotated[int, msgspec.Meta(ge=0, le=32)] = 0  # the pool grows with its power: a forged one must not hang us
    wanted: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)] = 0
    at: int | None = None
    counted: dict[str, int] = {}


def digest_of(*asked: object) -> str:
    """A digest of what was asked."""
    return hashlib.blake2b(repr(asked).encode("utf-8", "replace"), digest_size=8).hexdigest()


def encode(cursor: Cursor) -> str:
    """The cursor as a string of URL-safe characters."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode()


def decode(text: str, asked: str) -> Cursor:
    """The cursor that a string holds.

    Raises:
        InvalidCursor: it is no cursor, or of another search.
    """
    try:
        cursor = msgspec.json.decode(base64.urlsafe_b64decode(text), type=Cursor)
    except (binascii.Error, ValueError, TypeError, msgspec.MsgspecError) as error:
        raise InvalidCursor(f"{text!r} is no cursor of memos; pass the .cursor of the page before") from error
    if cursor.of != asked:
        raise InvalidCursor(
            "the cursor belongs to another search: repeat the question, filter and cubes it was made with"
        )
    return cursor
