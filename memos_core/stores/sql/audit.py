"""Digests of versions, and the audit chain of a cube: one entry per transaction.

A version's digest is a salted commitment to everything it says; erasing salt and text leaves a number that tells nothing,
and the chain above it still verifies. An entry holds the Merkle root (as in RFC 6962, without its leaf prefix: leaves are
digests already) over the digests its transaction wrote, and the hash of the entry before it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, select

from memos_core.stores.sql import schema
from memos_core.types.work import AuditEntry

SALT_BYTES = 16
GENESIS = bytes(32)


def digest(salt: bytes, header: str, text: str | None, body: str | None) -> bytes:
    """The commitment to one version.

    Args:
        salt: 16 random bytes, kept beside the text.
        header: what else the row says (`header_of`).
        text: None for a deletion.
        body: its JSON as stored; None for a deletion.
    """
    words = "" if text is None else text
    rest = "" if body is None else body
    sizes = f"{header}\x00{-1 if text is None else len(words)}\x00{-1 if body is None else len(rest)}\x00"
    return hashlib.sha256(salt + (sizes + words + rest).encode()).digest()


def header_of(id: str, version: int, op: str, state: str, prev: int) -> str:
    """The part of a version's row beside text and body that its digest commits to (vectors are derived)."""
    return f"{id}\x00{version}\x00{op}\x00{state}\x00{prev}"


def merkle_root(digests: Sequence[bytes]) -> bytes:
    """Root over digests in order; 32 zero bytes for none. An odd one at a level moves up unchanged."""
    level = list(digests)
    if not level:
        return GENESIS
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def commitment(salt: bytes, actor: str) -> bytes:
    """What the chain holds of the actor."""
    return hashlib.sha256(salt + actor.encode()).digest()


def link(
    prev_hash: bytes, number: int, action: str, first: int, last: int, at: int, actor: bytes, root: bytes
) -> bytes:
    """Hash of an entry. `actor` is its commitment."""
    facts = f"{number}\x00{action}\x00{first}\x00{last}\x00{at}\x00".encode()
    return hashlib.sha256(prev_hash + facts + actor + root).digest()


def new_salts(count: int) -> list[bytes]:
    """Independent salts, one a version."""
    pool = os.urandom(SALT_BYTES * count)
    return [pool[i : i + SALT_BYTES] for i in range(0, len(pool), SALT_BYTES)]


def entries(connection: Connection, cube: int, name: str, after: int = 0) -> Iterator[tuple[AuditEntry, bytes | None]]:
    """Entries of a cube's chain with their salts, oldest first, `prev_hash` taken from the entry before."""
    table = schema.batches.c
    query = select(schema.batches).where(table.cube == cube, table.number >= after).order_by(table.number)
    previous = GENESIS
    for row in connection.execute(query).mappings():
        if row["number"] > after:
            yield (
                AuditEntry(
                    cube=name,
                    number=row["number"],
                    actor=row["actor"] or "",
                    action=row["action"],
                    first_seq=row["first_seq"],
                    last_seq=row["last_seq"],
                    at=row["at"],
                    root=row["root"],
                    prev_hash=previous,
                    hash=row["hash"],
                ),
                row["salt"],
            )
        previous = row["hash"]
