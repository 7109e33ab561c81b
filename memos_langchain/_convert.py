"""LangChain's messages and documents to those of memos, and back. Nothing here asks a store."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage

from memos_core.errors import InvalidInput
from memos_core.reading.message_content import read_content
from memos_core.types.inputs import Message
from memos_core.types.items import Hit, Hits

_OWN_FIELDS = ("id", "version", "type", "occurred_at", "provenance", "metadata")


def to_documents(hits: Hits) -> list[Document]:
    """Hits as documents, best first."""
    return [_to_document(hit, hits.degraded) for hit in hits]


def _to_document(hit: Hit, degraded: str | None) -> Document:
    """A hit as a document: JSON data of its own, so that whoever changes it changes nobody else's.

    As in filters, a name that is a field of the item means that field, and "metadata" reaches what the item itself says
    under that name.
    """
    item = hit.item.to_dict()
    source = item["provenance"].get("source", {})
    metadata: dict[str, Any] = {
        **({"source": source["uri"]} if "uri" in source else {}),  # where LangChain looks for what to cite
        **item["metadata"],
        **{name: item[name] for name in _OWN_FIELDS},
        "tags": list(hit.item.tags),
        "speaker": hit.item.speaker,
        "conversation": hit.item.conversation,
        "cube": hit.cube_id,
        "score": hit.score,
        "parts": dict(hit.parts),
        "origins": [list(origin) for origin in hit.origins],
    }
    if degraded is not None:
        metadata["degraded"] = degraded
    return Document(id=hit.id, page_content=hit.text, metadata=metadata)


def words_of(value: object, what: str) -> str:
    """The words of what goes into or comes out of a chain: a string, a message, or the parts of a message.

    Args:
        value: what a chain has under some key.
        what: names it in errors.

    Raises:
        InvalidInput: it is none of these.
    """
    content = value.content if isinstance(value, BaseMessage) else value
    if isinstance(content, list) and any(isinstance(part, BaseMessage) for part in content):
        raise InvalidInput(f"{what} is a list of messages; memory takes one at a time: the one that is new")
    if not isinstance(content, str | list):
        raise InvalidInput(f"{what} is of type {type(content).__name__}; memory takes a string or a message")
    return str(read_content(content, None, 0).text)  # chains hand on a kind of string that is no JSON


def to_message(value: object, what: str, *, role: str, speaker: str | None, at: datetime) -> Message | None:
    """What goes into or comes out of a chain as a message to store; None for one of the system, or without words.

    Args:
        value: a string, a message, or the parts of a message.
        what: names it in errors.
        role: whose words a string is.
        speaker: who says it, unless the message has a name.
        at: when it was said.

    Raises:
        InvalidInput: something else.
    """
    text = words_of(value, what)
    if not text.strip() or isinstance(value, SystemMessage):
        return None
    if isinstance(value, BaseMessage):
        role, speaker = _role_of(value), value.name or speaker
    # With an id of its own each message is a new one, also where a clock stands still, and its pieces stay together.
    return Message(content=text, role=role, speaker=speaker, at=at, id=uuid4().hex)


def _role_of(message: BaseMessage) -> str:
    if isinstance(message, HumanMessage):
        return "user"
    if isinstance(message, AIMessage):
        return "assistant"
    return message.role if isinstance(message, ChatMessage) else "tool"


def to_langchain(role: str | None, text: str) -> BaseMessage:
    """A stored message as one of LangChain's."""
    if role == "user":
        return HumanMessage(text)
    return AIMessage(text) if role == "assistant" else ChatMessage(content=text, role=role or "unknown")
