"""The truth as it is copied: every row as a value, for backups and for moving a store to another database.

Rows are exact: what a copy is filled with has the same numbers, salts, digests and hashes, so its audit chain is the same
chain. Times are microseconds since 1970, as stores keep them. What can be derived (heads of items, links, checksums) is not
copied.
"""

from __future__ import annotations

import msgspec


class CubeCopy(msgspec.Struct, frozen=True, array_like=True):
    """A cube, and how far it has got.

    Attributes:
        number: the store's own number for it.
        name, owner: as in `CubeRow`.
        seq: number of its newest change.
        entries: number of its newest audit entry.
        chain: hash of that entry.
        created, changed: when it was made, and when its newest audit entry was.
        base, base_seq, policy: as in `CubeRow`.
        checkpointed: number of the newest audit entry that is signed.
        erased: as in `CubeRow`.
    """

    number: int
    name: str
    owner: str
    seq: int
    entries: int
    chain: bytes
    created: int
    changed: int
    base: int = 0
    base_seq: int = 0
    policy: str | None = None
    checkpointed: int = 0
    erased: int = 0


class ChangeCopy(msgspec.Struct, frozen=True, array_like=True):
    """One version of an item, with the vectors it brought.

    Attributes:
        seq: number of the change in its cube.
        first: number of the change that made the item.
        id, version, op, state, prev, vectors_of, text: as in `Record`.
        entry: number of the audit entry that covers it.
        dedup: 64-bit identity of the item; only with its first version.
        body: as JSON, exactly as stored.
        salt, digest: the commitment to what it says.
        dense, tokens: vectors of its own; None for none.
    """

    seq: int
    first: int
    id: str
    version: int
    op: str
    state: str
    prev: int
    entry: int
    vectors_of: int
    dedup: int | None
    text: str | None
    body: str | None
    salt: bytes | None
    digest: bytes
    dense: bytes | None
    tokens: bytes | None


class EntryCopy(msgspec.Struct, frozen=True, array_like=True):
    """One entry of a cube's audit chain.

    Attributes:
        salt: of its actor.
        sealed: the commitments to its actor and its detail; None in entries of the first version of memos.
        detail, detail_salt: its detail as JSON, as stored; None where it has none, or it was erased.
        The others are as in `AuditEntry`.
    """

    number: int
    actor: str | None
    action: str
    first_seq: int
    last_seq: int
    at: int
    salt: bytes | None
    root: bytes
    hash: bytes
    sealed: bytes | None = None
    detail: str | None = None
    detail_salt: bytes | None = None


class CheckpointCopy(msgspec.Struct, frozen=True, array_like=True):
    """A signed checkpoint of a cube's audit chain; the attributes are those of `Checkpoint`."""

    number: int
    hash: bytes
    at: int
    after: int
    key: str
    signature: bytes


class ConversationCopy(msgspec.Struct, frozen=True, array_like=True):
    """A conversation of a cube, and the next free place in it."""

    name: str
    next_position: int


class GrantCopy(msgspec.Struct, frozen=True, array_like=True):
    """Rights on a cube, as words separated by commas."""

    grantee: str
    rights: str
    granted_by: str
    granted_at: int
    expires_at: int | None = None


class JobCopy(msgspec.Struct, frozen=True, array_like=True):
    """Work that is filed. Who has leased it is not copied: nobody has, where the copy is."""

    job: int
    kind: str
    key: str | None
    cube: int
    state: str
    priority: int
    attempts: int
    run_at: int
    payload: str
    error: str | None
    created: int
    lane: str = ""
    waiting: int = 0
    rank: int = 0
    max_attempts: int = 1
    every: int = 0
    fence: int = 0
    cancelling: int = 0
    result: str | None = None
    started: int | None = None
    finished: int | None = None


class HoldCopy(msgspec.Struct, frozen=True, array_like=True):
    """A legal hold on a cube, as in `Hold`."""

    target: str
    reason: str
    by: str
    at: int
