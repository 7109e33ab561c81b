"""Chat exports of other systems as conversations: JSON, or JSON lines with a message or a conversation a line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, Final

import msgspec

from memos_core.errors import InvalidInput, ReadingFailed
from memos_core.reading.chat_formats import Chat, chats_in, is_message, kind_of, message_in, name_of, names_thread
from memos_core.reading.decoding import decode, read_bytes

_LINES: Final = frozenset({".jsonl", ".ndjson", ".jsonlines"})
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def load_chats(path: str | os.PathLike[str]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The conversations in an export, each with its id and its messages in order, ready for `read_messages`.

    Understood are ChatGPT's conversations.json (the branch that was shown last), Claude's export, LangChain's
    `message_to_dict`, ShareGPT, the day files of Slack, a list of messages, `{"messages": [...]}`, lists of such, and
    JSON lines with a message or a conversation each. Messages have their place in the export as `position` (those of
    Slack their time stamp as id instead, since a channel goes on in the next file), so reading an export twice gives
    the same identities. Messages without words are left out.

    The id of a conversation is that in the export, else its title, else the name of the file (of Slack's day files:
    of their folder), with a number where there are several.

    Raises:
        ReadingFailed: the file cannot be read, is not JSON, or holds something else; says where and what.
    """
    name = os.fspath(path)
    pure = PurePath(name)
    stem = pure.parent.name if _DAY.fullmatch(pure.stem) and pure.parent.name else pure.stem
    if pure.suffix.lower() in _LINES:
        return _named(_from_lines(path, name, stem), stem)
    text = decode(read_bytes(path), name)
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        if _first_line_is_json(text):
            return _named(_from_lines(path, name, stem), stem)
        raise ReadingFailed(f"{name!r} is not JSON: {error}") from error
    return _named(chats_in(value, f"{name!r}"), stem)


def _from_lines(path: str | os.PathLike[str], name: str, stem: str) -> Iterator[Chat]:
    """Conversations of JSON lines; messages on lines of their own belong to the thread that they name, or to one."""
    threads: dict[str, Chat] = {}
    for number, line in _lines(path, name):
        where = f"{name!r}, line {number}"
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ReadingFailed(f"{where}: not JSON: {error}") from error
        if not is_message(value):
            yield from chats_in(value, where)
            continue
        thread = names_thread(value) or stem
        chat = threads.get(thread)
        if chat is None:
            chat = threads[thread] = Chat(thread if thread != stem else None, [])
            yield chat  # its messages come later, but it has the place of its first one
        try:
            chat.add(message_in(value))
        except InvalidInput as error:
            raise ReadingFailed(f"{where}: {error}") from error


def _lines(path: str | os.PathLike[str], name: str) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers, one at a time: an export can be larger than memory likes."""
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                bare = (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip()
                if bare.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise ReadingFailed(f"{name!r} is in UTF-16; save it as UTF-8, as JSON lines must be")
                if bare:
                    yield number, bare
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ReadingFailed(f"{name!r} cannot be read: {reason}") from error


def _first_line_is_json(text: str) -> bool:
    """Whether what is no JSON as a whole can be JSON lines under another ending."""
    first, _, rest = text.strip().partition("\n")
    if not rest.strip():
        return False
    try:
        return kind_of(msgspec.json.decode(first)) != "nothing known"
    except (msgspec.DecodeError, RecursionError):
        return False


def _named(chats: Iterator[Chat], stem: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """Conversations that have messages, under names that differ."""
    found = [chat for chat in list(chats) if chat.messages]
    taken = {chat.name for chat in found if chat.name}
    used: set[str] = set()
    named: list[tuple[str, list[dict[str, Any]]]] = []
    for number, chat in enumerate(found, 1):
        name = chat.name or (name_of(stem) or "chat") + (f"#{number}" if len(found) > 1 else "")
        while name in used or (chat.name is None and name in taken):
            name = f"{name}#{number}"
        used.add(name)
        named.append((name, chat.messages))
    return named
