"""The latest turns of a conversation: from stored messages to exchanges, each begun by what the user said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from langchain_core.messages import BaseMessage

from memos_core.types.items import MemoryItem, SourceRef
from memos_langchain._convert import to_langchain

ROLES = ("user", "assistant")


class Exchange(NamedTuple):
    """What was said from one message of the user up to the next.

    Attributes:
        messages: in order.
        ids: of the items they are stored in.
    """

    messages: list[BaseMessage]
    ids: list[str]


def exchanges_of(items: Iterable[MemoryItem]) -> list[Exchange]:
    """Exchanges, oldest first. Before the user's first message there may be one without: a greeting.

    Args:
        items: messages of one conversation, in any order; pieces of a long message become one again.
    """
    found: list[Exchange] = []
    for message in _messages(sorted(items, key=_place)):
        role = _source(message[0]).role
        if role == "user" or not found:
            found.append(Exchange([], []))
        found[-1].messages.append(to_langchain(role, "\n".join(piece.text for piece in message)))
        found[-1].ids.extend(piece.id for piece in message)
    return found


def that_fit(
    exchanges: Sequence[Exchange], tokens: int, count: Callable[[Exchange], int]
) -> tuple[list[Exchange], int]:
    """The newest exchanges that fit, oldest first, and the tokens that are left.

    None is left out in between: where one does not fit, those before it do not count either.
    """
    kept: list[Exchange] = []
    for exchange in reversed(exchanges):
        needed = count(exchange)
        if needed > tokens:
            break
        kept.insert(0, exchange)
        tokens -= needed
    return kept, tokens


def _messages(items: Iterable[MemoryItem]) -> list[list[MemoryItem]]:
    """The items of each message, in order."""
    found: list[list[MemoryItem]] = []
    for item in items:
        if found and _goes_on(_source(found[-1][-1]), _source(item)):
            found[-1].append(item)
        else:
            found.append([item])
    return found


def _goes_on(before: SourceRef, after: SourceRef) -> bool:
    """Whether two pieces are of one message: its later words begin where the earlier ones have ended."""
    if before.span is None or after.span is None or before.span[1] > after.span[0]:
        return False
    same = ("role", "speaker", "message_id", "at")
    return all(getattr(before, name) == getattr(after, name) for name in same)


def _place(item: MemoryItem) -> tuple[float, int, int]:
    position = _source(item).position
    return (item.created_at.timestamp(), -1 if position is None else position, item.seq)


def _source(item: MemoryItem) -> SourceRef:
    return item.provenance.source or SourceRef()
