"""What callers put in: messages and documents; and what reading makes of them: drafts of items."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from memos_core.types.items import Kind, LifecycleState, Link, Mentions, Metadata, SourceRef

# Reading puts what a picture shows in the place of the picture, as "[image: two dogs on a beach]".
IMAGE_MARK = "[image: "

DocumentFormat = Literal["text", "markdown", "html"]
Place = tuple[str, int | str]  # in a file that has such: ("page", 3), ("slide", 1), ("sheet", "Prices")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation.

    Attributes:
        content: the words.
        role: "user", "assistant", "system", "tool", or a role of your own.
        speaker: who says it; without one the role stands for the speaker.
        at: when it was said (naive times are taken as UTC); None when unknown.
        id: the id that the chat system gave it. The same id in the same conversation is the same message.
        position: place in the conversation, from 0; without one it is appended.
        metadata: any JSON object.
    """

    content: str
    role: str = "user"
    speaker: str | None = None
    at: datetime | None = None
    id: str | None = None
    position: int | None = None
    metadata: Metadata = {}


class Stretch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a stretch of a document's text is, where the file itself said so and not marks in the text.

    Attributes:
        start, end: characters of the text.
        kind: what it is.
        level: of a heading, 1 is the highest; 0 for everything else.
        place: where in the file it stands; pieces never reach from one place to the next, and carry it as metadata.
    """

    start: int
    end: int
    kind: Literal["heading", "paragraph", "item", "table"] = "paragraph"
    level: int = 0
    place: Place | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A text that is read in pieces.

    Attributes:
        text: the whole of it, as written.
        uri: what it is known by. The same uri read again replaces what has changed and keeps the rest.
        format: how structure is written in it.
        title: None takes the first heading, if any.
        author: who wrote it, if known.
        at: when it was written, if known.
        metadata: any JSON object; every piece gets it.
        layout: what each stretch of the text is, in order, in the place of `format`; () where the text itself shows it.
            Text outside of all stretches is not read.
    """

    text: str
    uri: str
    format: DocumentFormat = "text"
    title: str | None = None
    author: str | None = None
    at: datetime | None = None
    metadata: Metadata = {}
    layout: tuple[Stretch, ...] = ()


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An item as reading proposes it, before anybody has decided anything about it.

    Attributes:
        identity: what makes it the same thing when it comes in again (hashed, never shown); None: always new.
        context: words that say where it stands (heading path of a document's piece); they help to find it, and are not
            part of its text.
        private_to: the actor that alone may read it; a session sets it to its own.
        redacted: how much of each kind has been taken out of it.
        model, prompt_hash: of the language model that derived it, if one did; as in `Provenance`.
        state: "activated", or "generated" for what has to be validated before it is found.
        The others are as in `MemoryItem`.
    """

    text: str
    kind: Kind = "plaintext"
    type: str = "fact"
    id: str | None = None
    key: str | None = None
    payload: Any = None
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
    model: str | None = None
    prompt_hash: str | None = None
    state: LifecycleState = LifecycleState.ACTIVATED
    identity: tuple[str, ...] | None = None
