"""Messages in whatever shape they come: ours, OpenAI's, LangChain's, LlamaIndex's, plain strings.

Frameworks are recognised by what their objects have, so none of them is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgspec

from memos_core.errors import InvalidInput, InvalidMetadata, InvalidText
from memos_core.reading.message_content import read_content
from memos_core.reading.times import read_time
from memos_core.types.inputs import Message
from memos_core.types.names import check_text

_ROLES: Final = {
    "human": "user",
    "ai": "assistant",
    "bot": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function": "tool",
    "HumanMessageChunk": "user",
    "AIMessageChunk": "assistant",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
}
_TYPES_THAT_ARE_ROLES: Final = frozenset({*_ROLES, "user", "assistant", "system", "tool", "developer", "chat"})
_SPEAKER: Final = ("speaker", "name", "author")
_AT: Final = ("at", "time", "timestamp", "ts", "created_at", "date")
_ID: Final = ("id", "message_id")
_MOST_POSITION: Final = 2**31 - 1
# What framework objects have beyond role and content, as far as it is worth remembering.
_ATTRIBUTES: Final = (
    "id",
    "name",
    "tool_call_id",
    "tool_calls",
    "additional_kwargs",
    "response_metadata",
    "usage_metadata",
)
_EXPECTED: Final = 'pass a Message, a string, or a mapping such as {"role": "user", "content": "Hello"}'


def to_message(given: object, index: int, *, now: datetime) -> Message | None:
    """A message in our own form, its time aware and in UTC; None if there is nothing in it to remember.

    Nothing to remember is in messages of an assistant or a tool without words: those that only call tools.

    Args:
        given: a Message, a mapping, a string, or an object with role (or type) and content.
        index: its place in what was passed, for errors.
        now: what a time in words is counted from.

    Raises:
        InvalidText: no words in it, or words that cannot be stored.
        InvalidInput: a shape nobody knows, or a value that does not fit.
    """
    if isinstance(given, Message):
        message = given
    elif isinstance(given, str):
        message = Message(content=given)
    elif isinstance(given, Mapping):
        message = _from_mapping(given, index)
    else:
        message = _from_mapping(_as_mapping(given, index), index)
    return _checked(message, index, now)


def _checked(message: Message, index: int, now: datetime) -> Message | None:
    content = check_text(message.content, f"content of message {index}")
    if not content or content.isspace():
        if message.role in ("assistant", "tool"):
            return None
        raise InvalidText(f"message {index} (role {message.role!r}) has no words under 'content'; leave it out")
    role = check_text(message.role, f"role of message {index}")
    if message.speaker is not None:
        check_text(message.speaker, f"speaker of message {index}")
    if message.id is not None:
        check_text(message.id, f"id of message {index}")
    if message.position is not None:
        _check_position(message.position, index)
    if message.metadata:
        _check_metadata(message.metadata, index)
    at = message.at
    if at is not None:
        try:
            at = read_time(at, now=now)
        except InvalidInput as error:
            raise InvalidInput(f"time of message {index}: {error}") from error
    if at is message.at:
        return message
    return Message(
        content=content,
        role=role,
        speaker=message.speaker,
        at=at,
        id=message.id,
        position=message.position,
        metadata=message.metadata,
    )


def _check_position(position: object, index: int) -> None:
    if isinstance(position, bool) or not isinstance(position, int) or not 0 <= position <= _MOST_POSITION:
        raise InvalidInput(
            f"position of message {index} is {position!r}; it must be a whole number from 0 to {_MOST_POSITION}"
        )


def _check_metadata(metadata: object, index: int) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(key, str) for key in metadata):
        raise InvalidMetadata(f"metadata of message {index} must be a JSON object: a dict with strings as keys")
    try:
        msgspec.json.encode(metadata)
    except (TypeError, ValueError, RecursionError, UnicodeError) as error:
        raise InvalidMetadata(f"metadata of message {index} is not JSON: {error}") from error


def _from_mapping(given: Mapping[Any, Any], index: int) -> Message:
    """A message from keys as OpenAI, LangChain's `message_to_dict` and others name them; the rest becomes metadata."""
    entries: dict[Any, Any] = dict(given)
    data = entries.get("data")
    if isinstance(data, Mapping) and "content" in data and "content" not in entries:
        del entries["data"]
        entries = {**data, **entries}  # LangChain: {"type": "human", "data": {...}}
    role = _role(entries, index)
    parts = read_content(entries.pop("content", None) or entries.pop("text", None), entries.pop("caption", None), index)
    extra = entries.pop("additional_kwargs", None)
    said = entries.pop("metadata", None) or {}
    if not isinstance(said, Mapping):
        raise InvalidMetadata(f"metadata of message {index} is of type {type(said).__name__}; it must be a JSON object")
    metadata = dict(said)
    speaker = _text(_first(entries, _SPEAKER), "speaker", index)
    at = _first(entries, _AT)
    if at is None and isinstance(extra, Mapping):
        at = _first(dict(extra), _AT)
    id_ = _text(_first(entries, _ID), "id", index)
    position = entries.pop("position", None)
    if extra:
        entries["additional_kwargs"] = extra
    if parts.unknown:
        entries["parts"] = parts.unknown
    for key, value in entries.items():
        if value is not None and value not in ([], {}):
            metadata.setdefault(key, value)
    # The time is checked and made a datetime in one place for all shapes, in `_checked`.
    return Message(content=parts.text, role=role, speaker=speaker, at=at, id=id_, position=position, metadata=metadata)


def _role(entries: dict[Any, Any], index: int) -> str:
    """Who speaks; `type` counts only where it names a role."""
    role = entries.pop("role", None)
    kind = entries.get("type")
    if isinstance(kind, str) and kind in _TYPES_THAT_ARE_ROLES:
        del entries["type"]
        role = role or kind
    if isinstance(role, Enum):
        role = role.value
    if role is None:
        return "user"
    if not isinstance(role, str) or not role:
        raise InvalidInput(f"role of message {index} is {role!r}; it must be a word such as 'user' or 'assistant'")
    return _ROLES.get(role, role)


def _first(entries: dict[Any, Any], keys: Iterable[str]) -> Any:
    """Take out the first of the keys that has a value; the others stay where they are."""
    for key in keys:
        value = entries.get(key)
        if value is not None and value != "":
            return entries.pop(key)
    return None


def _text(value: object, what: str, index: int) -> str | None:
    """A name or id as text; numbers and UUIDs are written out."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, UUID)) and not isinstance(value, bool):
        return str(value)
    raise InvalidInput(f"{what} of message {index} is of type {type(value).__name__}; it must be a string")


def _as_mapping(given: object, index: int) -> dict[str, Any]:
    """What the objects of LangChain, LlamaIndex and OpenAI hold."""
    role = getattr(given, "role", None) or getattr(given, "type", None)
    content = getattr(given, "content", None) or getattr(given, "blocks", None)
    if isinstance(role, Enum):
        role = role.value
    if not isinstance(role, str) or not (hasattr(given, "content") or hasattr(given, "blocks")):
        raise InvalidInput(f"message {index} is of type {type(given).__name__}; {_EXPECTED}")
    entries: dict[str, Any] = {"role": role, "content": content}
    for name in _ATTRIBUTES:
        value = getattr(given, name, None)
        if value:
            entries[name] = msgspec.to_builtins(value, enc_hook=_plain, str_keys=True)
    return entries


def _plain(value: Any) -> Any:
    """An object inside of a framework's message as JSON data."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else str(value)
