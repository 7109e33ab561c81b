"""Memory items, where they came from, and what a search answers with.

Everything here is frozen: to change an item, `update` it, which makes a new version. Times are aware and in UTC.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

Kind = Literal["plaintext", "activation", "parametric"]
Visibility = Literal["private", "shared"]
PINNED: Final = "pinned"  # a tag: in every context, and spared by retention
Metadata = dict[str, Any]


class LifecycleState(StrEnum):
    """Where an item stands in its life. Items that are added are activated at once; only those are found by default."""

    GENERATED = "generated"
    ACTIVATED = "activated"
    MERGED = "merged"
    ARCHIVED = "archived"
    FROZEN = "frozen"


class SourceRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The message or piece of a document that an item was read from.

    Attributes:
        role: "user", "assistant", "system", "tool", or None for a document.
        uri: where the document lies; None for a message.
        speaker: the person (or author) whose words these are.
        message_id: the id that the chat system gave the message.
        position: place in the conversation or document, from 0.
        at: when the message was sent.
        span: (start, end) in characters of the message or document.
    """

    role: str | None = None
    uri: str | None = None
    speaker: str | None = None
    message_id: str | None = None
    position: int | None = None
    at: datetime | None = None
    span: tuple[int, int] | None = None


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who did what to make this version of the item.

    Attributes:
        actor: who asked for it.
        operation: "add", "update", "restore", "delete", "ingest", ...
        conversation: the thread or document it belongs to.
        source: the message or span it was read from.
        derived_from: (item id, version) of what it was made from, in order.
        reason: why, where whoever did it said so.
        model: the language model that took part, if one did.
        prompt_hash: SHA-256 of what it was asked, as hexadecimal digits.
    """

    actor: str
    operation: str
    conversation: str | None = None
    source: SourceRef | None = None
    derived_from: tuple[tuple[str, int], ...] = ()
    reason: str | None = None
    model: str | None = None
    prompt_hash: str | None = None


class DateMention(msgspec.Struct, frozen=True, omit_defaults=True):
    """A date said in a text, resolved against the text's own time.

    Attributes:
        text: the words ("yesterday", "in May").
        start: first day, ISO (inclusive).
        end: last day, ISO (inclusive).
    """

    text: str
    start: str
    end: str


class Mentions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What reading noted in a text, without any model: dates, names, language.

    Attributes:
        dates: resolved dates, in order of appearance.
        entities: names as written (people, places, products, identifiers), each once, in order.
        says_time: whether a time is said at all ("in the morning", "for weeks"), also where it makes no date.
        language: ISO 639-1 code, or None when the text does not tell.
    """

    dates: tuple[DateMention, ...] = ()
    entities: tuple[str, ...] = ()
    says_time: bool = False
    language: str | None = None


class Link(msgspec.Struct, frozen=True):
    """A named, weighted edge from one item to another of the same cube."""

    relation: str
    target: str
    weight: float = 1.0


class MemoryItem(msgspec.Struct, frozen=True, kw_only=True):
    """One memory, at one version. Its identity is (cube_id, id); both never change.

    Attributes:
        cube_id: name of the cube that holds it.
        id: unique in the cube; given by memos (time-ordered) or by the caller.
        text: the words, exactly as given.
        kind: the tier: "plaintext", "activation" or "parametric".
        type: what it is: "fact", "message", "document", or a word of your own.
        payload: JSON that belongs to it beyond the text, or None.
        key: a name by which it is addressed, unique in the cube, or None.
        indexed: False keeps it out of every search.
        occurred_at: when what it says happened or was said; None when unknown.
        created_at: when its first version was committed.
        updated_at: when this version was committed.
        state: where it stands in its life.
        version: 1, 2, 3, ... of this item.
        seq: number of the change that made this version, in its cube.
        confidence: in [0, 1].
        tags: labels, in the order given.
        metadata: any JSON object.
        mentions: dates and names noted while reading.
        provenance: who, from what, how.
        links: edges to other items of the cube.
        expires_at: from this second on it is not found any more; None for never.
        private_to: the actor that alone may read it, besides those who administrate the cube; None: all that may read
            the cube.
        redacted: how much personal data of each kind was taken out of it before it was stored.
    """

    cube_id: str
    id: str
    text: str
    kind: Kind = "plaintext"
    type: str = "fact"
    payload: Any = None
    key: str | None = None
    indexed: bool = True
    occurred_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    state: LifecycleState = LifecycleState.ACTIVATED
    version: int
    seq: int
    confidence: float = 1.0
    tags: tuple[str, ...] = ()
    metadata: Metadata = {}
    mentions: Mentions = Mentions()
    provenance: Provenance
    links: tuple[Link, ...] = ()
    expires_at: datetime | None = None
    private_to: str | None = None
    redacted: dict[str, int] = {}

    @property
    def visibility(self) -> Visibility:
        """ "private" where only one actor (and administrators) may read it, else "shared"."""
        return "shared" if self.private_to is None else "private"

    @property
    def conversation(self) -> str | None:
        """The thread or document it belongs to."""
        return self.provenance.conversation

    @property
    def speaker(self) -> str | None:
        """Whose words these are, where that is known."""
        return self.provenance.source.speaker if self.provenance.source else None

    def to_dict(self) -> dict[str, Any]:
        """The item as plain JSON data; times as ISO 8601 in UTC."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of an item's history.

    Attributes:
        seq: number of the change in the cube.
        version: number of the version of the item.
        op: "add", "update", "delete", "restore", "move" (to another state), "erase" (its bytes are gone), or "scrub" (as it
            was, without what named something that was erased).
        actor: who did it.
        at: when it was committed.
        item: the item as it was, or None for a deletion.
    """

    seq: int
    version: int
    op: str
    actor: str
    at: datetime
    item: MemoryItem | None


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """An item found, and why.

    Attributes:
        item: the item, at the version that was found.
        score: calibrated relevance in [0, 1]: how likely the item is what was asked for.
        parts: what each signal added to the ranking, by name; they explain the order, not the score.
        cube_id: the cube it was found in.
        origins: every (cube, id) that holds these same words, this one first.
    """

    item: MemoryItem
    score: float
    parts: dict[str, float]
    cube_id: str
    origins: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """The item's words."""
        return self.item.text

    @property
    def id(self) -> str:
        """The item's id."""
        return self.item.id


class Hits(list[Hit]):
    """Hits, best first.

    Attributes:
        cursor: pass it as `cursor=` to get the next page; None after the last one.
        degraded: why fewer signals than usual took part ("no embedder: lexical search only"), or None.
    """

    def __init__(self, hits: Iterable[Hit] = (), *, cursor: str | None = None, degraded: str | None = None) -> None:
        super().__init__(hits)
        self.cursor = cursor
        self.degraded = degraded


class Page(list[MemoryItem]):
    """Items in the order asked for, with the cursor of the next page (None after the last one)."""

    def __init__(self, items: Iterable[MemoryItem] = (), *, cursor: str | None = None) -> None:
        super().__init__(items)
        self.cursor = cursor


class IdMaker:
    """Makes ids that sort by time of making: 12 hex digits of milliseconds, 20 of counter and chance.

    The same layout of time first as UUID version 7 (RFC 9562), so new ids append to the end of an index.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def make(self, count: int) -> list[str]:
        """`count` new ids, strictly increasing, also against those made before in this process."""
        with self._lock:
            first = max((time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(9)), self._last + (1 << 40))
            self._last = first + (count << 40)
        return [f"{first + (index << 40):032x}" for index in range(count)]
