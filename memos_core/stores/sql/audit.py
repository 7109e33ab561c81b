"""Digests of versions, and the audit chain of a cube: one entry per transaction. No personal data is in the chain itself.

A version's digest is a salted commitment to everything it says; erasing salt and text leaves a number that tells nothing,
and the chain above it still verifies. An entry holds the Merkle root (as in RFC 6962, without its leaf prefix: leaves are
digests already) over the digests its transaction wrote, the hash of the entry before it, and its seal: salted commitments
to who did it and to the detail (why it was allowed, what was read). Actor, detail and their salts can be erased, each by
itself; the seal stays, and with it the chain.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, and_, delete, select, update

from memos_core.errors import StoreDamaged
from memos_core.stores.sql import schema
from memos_core.types.work import AuditEntry

SALT_BYTES = 16
GENESIS = bytes(32)
NO_DETAIL = bytes(32)  # in a seal, in the place of a commitment
_SEALED = b"memos:sealed\0"  # keeps hashes of sealed entries apart from those of the first version
_encode = msgspec.json.Encoder(order="sorted").encode


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


def seal(salt: bytes, actor: str, detail_salt: bytes, detail: str | None) -> bytes:
    """The commitments to actor and detail, 32 bytes each. Each has a salt of its own, so each can be erased alone."""
    return commitment(salt, actor) + (NO_DETAIL if detail is None else commitment(detail_salt, detail))


def link(
    prev_hash: bytes, number: int, action: str, first: int, last: int, at: int, sealed: bytes, root: bytes
) -> bytes:
    """Hash of an entry of the first version, which sealed the commitment to the actor alone."""
    facts = f"{number}\x00{action}\x00{first}\x00{last}\x00{at}\x00".encode()
    return hashlib.sha256(prev_hash + facts + sealed + root).digest()


def sealed_link(
    prev_hash: bytes, cube: int, number: int, action: str, first: int, last: int, at: int, sealed: bytes, root: bytes
) -> bytes:
    """Hash of an entry."""
    facts = f"{cube}\x00{number}\x00{action}\x00{first}\x00{last}\x00{at}\x00".encode()
    return hashlib.sha256(_SEALED + prev_hash + facts + sealed + root).digest()


def encode_detail(detail: Mapping[str, Any]) -> str | None:
    """A detail as JSON; None for an empty one."""
    return _encode(detail).decode() if detail else None


def merged(detail: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Two details as one: lists are joined, numbers by name (counts) added up, of all else the later one is taken."""
    found = dict(detail)
    for name, value in more.items():
        old = found.get(name)
        if isinstance(old, list) and isinstance(value, list | tuple):
            found[name] = [*old, *value]
        elif isinstance(old, dict) and isinstance(value, Mapping):
            counts = {key: old[key] + value[key] for key in old.keys() & value.keys() if _count(old[key], value[key])}
            found[name] = {**old, **value, **counts}
        else:
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


def _count(*values: object) -> bool:
    return all(type(value) is int for value in values)


def new_salts(count: int) -> list[bytes]:
    """Independent salts, one a version."""
    pool = os.urandom(SALT_BYTES * count)
    return [pool[i : i + SALT_BYTES] for i in range(0, len(pool), SALT_BYTES)]


def rows_of(cube: int, at_least: int = 0) -> Select[Any]:
    """Entries of a cube's chain from a number on, in order, with `detail` and `detail_salt`."""
    b, d = schema.batches.c, schema.details.c
    joined = schema.batches.outerjoin(schema.details, and_(d.cube == b.cube, d.number == b.number))
    return (
        select(schema.batches, d.detail, d.salt.label("detail_salt"))
        .select_from(joined)
        .where(b.cube == cube, b.number >= at_least)
        .order_by(b.number)
    )


def decode_detail(encoded: str | None) -> dict[str, Any]:
    """A detail from its JSON.

    Raises:
        StoreDamaged: it is not what was written.
    """
    try:
        return {} if encoded is None else _decode(encoded)
    except msgspec.MsgspecError as error:
        raise StoreDamaged(
            f"the detail of an audit entry is not what was written ({error}); run `memos verify --audit`"
        ) from error


_decode = msgspec.json.Decoder(dict[str, Any]).decode


def erase(
    connection: Connection, cube: int, numbers: Sequence[int], *, actor: bool = True, detail: bool = True
) -> None:
    """Erase who did it, or the detail, of audit entries; the chain still verifies.

    Args:
        connection: inside a transaction that writes.
    """
    b, d = schema.batches.c, schema.details.c
    for number in numbers:
        here = (b.cube == cube, b.number == number)
        row = connection.execute(select(b.salt, b.actor, b.sealed).where(*here)).first()
        if row is not None and actor and row.salt is not None:
            sealed = commitment(row.salt, row.actor or "") if row.sealed is None else row.sealed
            connection.execute(update(schema.batches).where(*here).values(actor=None, salt=None, sealed=sealed))
        if detail:
            connection.execute(delete(schema.details).where(d.cube == cube, d.number == number))


def entries(connection: Connection, cube: int, name: str, after: int = 0) -> Iterator[tuple[AuditEntry, bytes | None]]:
    """Entries of a cube's chain with their salts, oldest first, `prev_hash` taken from the entry before."""
    query = rows_of(cube, after)
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
                    detail=decode_detail(row["detail"]),
                ),
                row["salt"],
            )
        previous = row["hash"]
