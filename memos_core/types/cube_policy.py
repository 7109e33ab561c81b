"""The policy of a cube: how long and how much it keeps, how reads are audited, what is redacted."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec

from memos_core.errors import InvalidConfig


class CubePolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What holds in one cube. Whoever administrates it sets it (`MemCube.set_policy`); it is kept with the cube.

    Retention spares what is frozen or tagged "pinned".

    Attributes:
        max_age_days: items older than this (by when they were added) are put away by `retain`; None keeps them.
        max_items: of more than so many items that search finds, the oldest are put away by `retain`; None keeps all.
        when_over: what becomes of those, and of expired ones: "archive" or "delete".
        duplicates: what the job "deduplicate" does with items that say exactly the same: "merge" them, "propose" that to
            somebody, or "keep" them.
        archive_below: the job "archive_cold" puts away what has less activation than this (docs/working.md); None: nothing.
        archive_after_days: and was added at least so many days ago.
        strict_reads: every read is in the audit chain before it is answered.
        redact: kinds of personal data that are taken out before anything is stored ("email", "card", ...; see
            `memos_core.governance.redaction`), or import paths of rules of your own.
        mask: kinds that are stored, and shown only to those who administrate the cube or have one of `unmasked_roles`.
        unmasked_roles: roles that read what is masked.
        names: names that the kind "name" looks for.
    """

    max_age_days: float | None = None
    max_items: int | None = None
    when_over: Literal["archive", "delete"] = "archive"
    duplicates: Literal["merge", "propose", "keep"] = "merge"
    archive_below: float | None = None
    archive_after_days: float = 90.0
    strict_reads: bool = False
    redact: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    unmasked_roles: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def check(self) -> CubePolicy:
        """Itself, if it has a meaning.

        Raises:
            InvalidConfig: which part of it has none.
        """
        if self.max_age_days is not None and not 0 < self.max_age_days < 1e6:
            raise InvalidConfig(f"max_age_days is a number of days above 0, not {self.max_age_days!r}")
        if self.max_items is not None and self.max_items < 1:
            raise InvalidConfig(f"max_items is a whole number from 1, not {self.max_items!r}")
        if not 0 <= self.archive_after_days < 1e6:
            raise InvalidConfig(f"archive_after_days is a number of days from 0, not {self.archive_after_days!r}")
        checked = decode_policy(encode_policy(self))
        if checked.names and "name" not in (*checked.redact, *checked.mask):
            raise InvalidConfig('names are looked for by the kind "name", which is neither in redact nor in mask')
        if checked.unmasked_roles and not checked.mask:
            raise InvalidConfig("unmasked_roles see what is masked, and mask names nothing")
        return checked


def encode_policy(policy: CubePolicy) -> str:
    """A policy as the store keeps it."""
    return msgspec.json.encode(policy).decode()


@lru_cache(maxsize=256)
def decode_policy(stored: str | None) -> CubePolicy:
    """The policy that a store keeps; the usual one for None.

    Raises:
        InvalidConfig: it has a setting that does not exist, or does not fit.
    """
    if stored is None:
        return CubePolicy()
    try:
        return msgspec.json.decode(stored, type=CubePolicy)
    except msgspec.MsgspecError as error:
        raise InvalidConfig(
            f"the policy of a cube has something in it that this version does not know: {error}"
        ) from error
