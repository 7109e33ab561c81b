"""Records of the truth: what a store keeps for each version, and what it is asked to put there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from memos_core.types.items import (
    Kind,
    LifecycleState,
    Link,
    MemoryItem,
    Mentions,
    Metadata,
    Provenance,
    SourceRef,
    Version,
)

Op = Literal["add", "update", "delete", "restore", "move", "embed", "erase", "scrub"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


def micros(at: datetime) -> int:
    """An aware time as whole microseconds since 1970, the way stores keep it."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def from_micros(value: int) -> datetime:
    """The aware UTC time of a number of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything of a version that is neither its text nor its place in the log. Stored as JSON.

    Attributes:
        context: words that say where the text stands (heading path of a document's piece); they help to find it.
        The others are as in `MemoryItem`.
    """

    kind: Kind = "plaintext"
    type: str = "fact"
    payload: Any = None
    key: str | None = None
    indexed: bool = True
    occurred_at: datetime | None = None
    confidence: float = 1.0
    tags: tuple[str, ...] = ()
    metadata: Metadata = {}
    mentions: Mentions = Mentions()
    conversation: str | None = None
    source: SourceRef | None = None
    derived_from: tuple[tuple[str, int], ...] = ()
    links: tuple[Link, ...] = ()
    context: str = ""
    expires_at: datetime | None = None
    private_to: str | None = None
    redacted: dict[str, int] = {}
    reason: str | None = None
    model: str | None = None
    prompt_hash: str | None = None


class CubeRow(msgspec.Struct, frozen=True):
    """A cube as the store knows it.

    Attributes:
        number: the store's own number for it; never reused.
        name: unique in the store.
        owner: the actor it belongs to.
        seq: number of its newest change when this was read; 0 before the first. What governance answers with was read when
            its rules last changed: ask `RecordStore.head_seq` there.
        created_at: when it was made.
        base: number of the cube it was forked from; 0 for none.
        base_seq: its changes 1 to this number are those of that cube.
        policy: its rules as JSON (`memos_core.types.cube_policy`); None for the usual ones.
        erased: number of the newest change that erased bytes of earlier ones; 0 for none.
    """

    number: int
    name: str
    owner: str
    seq: int
    created_at: datetime
    base: int = 0
    base_seq: int = 0
    policy: str | None = None
    erased: int = 0


class Head(msgspec.Struct, frozen=True):
    """Where an item stands now.

    Attributes:
        item: the store's own number of the item.
        id: its id.
        seq: number of its newest change.
        version: number of its newest version.
        deleted: whether that change is a deletion.
    """

    item: int
    id: str
    seq: int
    version: int
    deleted: bool


class VectorBlobs(msgspec.Struct, frozen=True):
    """The vectors of one version, as bytes: what the embedder's codec made of them.

    Attributes:
        dense: little-endian float32, `dims` numbers of unit length.
        tokens: encoded vectors of its tokens, or None.
    """

    dense: bytes
    tokens: bytes | None = None


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """One version to write.

    Attributes:
        id: of the item.
        op: what happens: "add" makes the item, the others need its `head`. "embed" repeats the version that `head` is at, with
            `vectors`: it is a change of the log, so that everybody who follows it learns of the vectors, but no version.
        text: None for a deletion.
        body: None for a deletion.
        state: after the change.
        head: where the item stood when this was decided; None for "add".
        vectors: new vectors; None keeps those of `vectors_of`.
        vectors_of: number of the change whose vectors still hold; 0 for none.
        dedup: 64-bit identity of the message or span it was read from, or None.
    """

    id: str
    op: Op
    text: str | None
    body: Body | None
    state: LifecycleState = LifecycleState.ACTIVATED
    head: Head | None = None
    vectors: VectorBlobs | None = None
    vectors_of: int = 0
    dedup: int | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One version, as read from the truth (its digest has been checked).

    Attributes:
        cube: name of the cube.
        seq: number of the change in the cube.
        item: the store's own number of the item.
        id: of the item.
        version: of the item, from 1. Changes that only bring vectors repeat it.
        op: what made it.
        prev: number of the change of the item before; 0 for the first.
        state: after the change.
        vectors_of: number of the change that holds its vectors; 0 for none.
        text: None for a deletion.
        body: None for a deletion.
        actor: who did it.
        action: as what ("add", "ingest", "update", ...).
        at: when it was committed, microseconds since 1970.
        created: when the item's first version was committed, microseconds since 1970.
    """

    cube: str
    seq: int
    item: int
    id: str
    version: int
    op: Op
    prev: int
    state: LifecycleState
    vectors_of: int
    text: str | None
    body: Body | None
    actor: str
    action: str
    at: int
    created: int

    def to_item(self) -> MemoryItem:
        """The memory item at this version. Only for versions that hold one (not deletions)."""
        body = self.body
        if body is None or self.text is None:
            raise AssertionError(f"change {self.seq} of cube {self.cube} is a deletion and holds no item")
        return MemoryItem(
            cube_id=self.cube,
            id=self.id,
            text=self.text,
            kind=body.kind,
            type=body.type,
            payload=body.payload,
            key=body.key,
            indexed=body.indexed,
            occurred_at=body.occurred_at,
            created_at=from_micros(self.created),
            updated_at=from_micros(self.at),
            state=self.state,
            version=self.version,
            seq=self.seq,
            confidence=body.confidence,
            tags=body.tags,
            metadata=body.metadata,
            mentions=body.mentions,
            provenance=Provenance(
                actor=self.actor,
                operation=self.action,
                conversation=body.conversation,
                source=body.source,
                derived_from=body.derived_from,
                reason=body.reason,
                model=body.model,
                prompt_hash=body.prompt_hash,
            ),
            links=body.links,
            expires_at=body.expires_at,
            private_to=body.private_to,
            redacted=body.redacted,
        )

    def to_version(self) -> Version:
        """The entry of the item's history."""
        return Version(
            seq=self.seq,
            version=self.version,
            op=self.op,
            actor=self.actor,
            at=from_micros(self.at),
            item=self.to_item() if self.body is not None else None,
        )


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One link of a cube's audit chain: one transaction.

    Attributes:
        cube: name of the cube.
        number: 1, 2, 3, ... in the cube.
        actor: who.
        action: what.
        first_seq, last_seq: the changes it covers; 0, 0 where it changed no item.
        at: when, microseconds since 1970.
        root: Merkle root over the digests of those changes.
        prev_hash, hash: the chain.
        detail: why it was allowed, what was read, ...; empty where there is none, or it was erased.
    """

    cube: str
    number: int
    actor: str
    action: str
    first_seq: int
    last_seq: int
    at: int
    root: bytes
    prev_hash: bytes
    hash: bytes
    detail: dict[str, Any] = {}


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far a cube's audit chain had got, signed.

    Attributes:
        store: id of the store.
        cube: the store's own number of the cube (its name may be somebody's).
        number, hash: of the newest entry.
        at: when, microseconds since 1970.
        after: number of the entry that the checkpoint before is of; 0 for the first.
        key: fingerprint of the public key that the signature is of.
        signature: Ed25519, 64 bytes.
    """

    store: str
    cube: int
    number: int
    hash: bytes
    at: int
    after: int
    key: str
    signature: bytes


class ChainEnd(msgspec.Struct, frozen=True):
    """The newest entry of a cube's audit chain: number of the cube, its number, its hash; and that of the newest signed one."""

    cube: int
    number: int
    hash: bytes
    signed: int = 0


class ChainCheck(msgspec.Struct, frozen=True):
    """What is found in a cube's audit chain and the versions that it covers.

    Attributes:
        wrong: a sentence for every way in which what is there is not what was written.
        erased: numbers of entries whose actor or detail has been erased.
        end: number of the newest entry.
    """

    wrong: list[str]
    erased: list[int]
    end: int
