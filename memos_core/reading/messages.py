"""Messages to drafts: one each, in order; only very long ones are cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from memos_core.errors import InvalidInput
from memos_core.reading.chunking import estimate_tokens, pack
from memos_core.reading.message_shapes import to_message
from memos_core.reading.plain_text import plain_blocks
from memos_core.types.inputs import Draft, Message
from memos_core.types.items import SourceRef

LONG: Final = 2000  # tokens from which on a message is read like a document, in pieces


def read_messages(messages: Iterable[object], *, conversation: str | None, now: datetime) -> list[Draft]:
    """Drafts of messages, in order.

    A draft's text is the message's words as they are; pieces of a message of more than 2,000 tokens have the span they
    come from. Messages of assistants and tools without any words (calls of tools) are left out.

    What makes a message the same when it comes again: its id; without one its place, speaker and words; without a
    place its time, speaker and words (and the how many-th of its kind in this call it is). With none of these it is
    always new. Equal words at two times are two messages.

    Args:
        messages: each a `Message`, a mapping with `role` and `content` (a string, or parts), a string, or a message
            object of LangChain or LlamaIndex. Of a mapping, `speaker`, `name` or `author`; `at`, `time`, `timestamp`,
            `ts`, `created_at` or `date`; `id` or `message_id`; `position`; `caption` and `metadata` are understood, and
            every other key becomes metadata. One message may be passed as it is.
        conversation: the thread they belong to.
        now: what a time in words ("yesterday") is counted from.

    Raises:
        InvalidText: a message without words, or with words that cannot be stored; its index is named.
        InvalidInput: a message of another shape, or with a time, id or position that is none; its index is named.
    """
    # A message object of a framework may be iterable, too (over its fields).
    if isinstance(messages, (str, Mapping, Message)) or hasattr(messages, "content"):
        messages = [messages]
    elif isinstance(messages, (bytes, bytearray)) or not isinstance(messages, Iterable):
        raise InvalidInput(f"messages is of type {type(messages).__name__}; pass a list of messages")
    drafts: list[Draft] = []
    equal: Counter[tuple[str, ...]] = Counter()
    for index, given in enumerate(messages):
        message = to_message(given, index, now=now)
        if message is None:
            continue
        for text, span in _pieces(message.content):
            drafts.append(_draft(message, text, span, conversation, equal))
    return drafts


def _pieces(text: str) -> list[tuple[str, tuple[int, int] | None]]:
    """The text, or if it is very long, its pieces with their spans."""
    if len(text) <= LONG or estimate_tokens(text) <= LONG:  # no token is shorter than a character
        return [(text, None)]
    return [(piece.text, piece.span) for piece in pack(plain_blocks(text))]


def _draft(
    message: Message,
    text: str,
    span: tuple[int, int] | None,
    conversation: str | None,
    equal: Counter[tuple[str, ...]],
) -> Draft:
    return Draft(
        text=text,
        type="message",
        occurred_at=message.at,
        metadata=message.metadata,
        conversation=conversation,
        source=SourceRef(
            role=message.role,
            speaker=message.speaker,
            message_id=message.id or None,
            position=message.position,
            at=message.at,
            span=span,
        ),
        identity=_identity(message, text, span, conversation or "", equal),
    )


def _identity(
    message: Message,
    text: str,
    span: tuple[int, int] | None,
    conversation: str,
    equal: Counter[tuple[str, ...]],
) -> tuple[str, ...] | None:
    """What makes it the same message when it comes again; None if nothing does."""
    where = (f"{span[0]}-{span[1]}",) if span is not None else ()
    if message.id:
        return ("message", conversation, message.id, *where)
    speaker = message.speaker or message.role
    if message.position is not None:
        return ("message", conversation, "position", str(message.position), speaker, text, *where)
    if message.at is None:
        return None
    key = ("message", conversation, "at", message.at.isoformat(), speaker, text, *where)
    count = equal[key]
    equal[key] += 1
    return (*key, str(count))
