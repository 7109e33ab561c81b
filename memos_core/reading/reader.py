"""From whatever is given to `add` to drafts: facts, messages, documents, with the dates and names they mention noted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Literal

import msgspec

from memos_core.errors import InvalidInput, InvalidText
from memos_core.reading.dates import find_dates
from memos_core.reading.documents import read_document
from memos_core.reading.entities import find_entities
from memos_core.reading.messages import read_messages
from memos_core.reading.time_words import says_time
from memos_core.stores.index.analysis import detect_language, fold, words_of
from memos_core.types.checks import in_utc
from memos_core.types.inputs import Document, Draft, Message
from memos_core.types.items import Mentions
from memos_core.types.names import check_text

_Sort = Literal["fact", "message", "document", "draft"]


def read(content: object, *, conversation: str | None, now: datetime) -> list[Draft]:
    """Drafts of anything that can be remembered, in order.

    Args:
        content: a string (a fact), a message (`Message`, a mapping with "content", or a message object of LangChain or
            LlamaIndex), a `Document`, a `Draft`, or a list of any of these.
        conversation: the thread that facts and messages belong to.
        now: what "yesterday" is counted from where a text has no time of its own.

    Raises:
        InvalidText: nothing to read, or text that cannot be stored.
        InvalidInput: something of another kind.
    """
    drafts: list[Draft] = []
    for sort, group in groupby(_each(content), key=_sort):
        things: list[Any] = list(group)
        if sort == "message":
            drafts.extend(read_messages(things, conversation=conversation, now=now))
        elif sort == "document":
            for document in things:
                drafts.extend(read_document(document, now=now))
        elif sort == "draft":
            drafts.extend(things)
        else:
            drafts.extend(Draft(text=text, conversation=conversation) for text in things)
    return [with_mentions(draft, now) for draft in drafts]


def with_mentions(draft: Draft, now: datetime) -> Draft:
    """The draft with the dates, names and language of its text noted, unless it brings its own notes.

    Raises:
        InvalidText: it has no words, or some that cannot be stored.
        InvalidInput: its time is none.
    """
    check_text(draft.text)
    if not draft.text.strip():
        raise InvalidText("the text has no words; there is nothing to remember")
    if draft.mentions != Mentions():
        return draft
    if draft.occurred_at is not None:
        in_utc(draft.occurred_at)  # only asked whether it is a time: "yesterday" is counted where it was said
    # A fact or message without a time is said now; a document without one may be of any time.
    at = draft.occurred_at or (None if draft.type == "document" else now)
    return msgspec.structs.replace(draft, mentions=mentions_of(draft.text, at))


def mentions_of(text: str, at: datetime | None) -> Mentions:
    """Dates, names and language of a text.

    Args:
        at: what "yesterday" is counted from; None leaves such words out.
    """
    folded = fold(text)
    words = words_of(folded)
    language = detect_language(folded, words)
    return Mentions(
        dates=find_dates(text, at=at, language=language),
        entities=find_entities(text, language=language),
        says_time=says_time(text, words, language),
        language=language,
    )


def _each(content: object) -> Sequence[object]:
    if isinstance(content, str | Mapping | Message | Document | Draft) or hasattr(content, "content"):
        return [content]
    if isinstance(content, bytes | bytearray) or not isinstance(content, Iterable):
        raise InvalidInput(
            f"a {type(content).__name__} cannot be remembered: give a string, a Message (or a dict with role and "
            "content), a Document, a Draft, or a list of them"
        )
    return list(content)


def _sort(thing: object) -> _Sort:
    if isinstance(thing, str):
        return "fact"
    if isinstance(thing, Document):
        return "document"
    if isinstance(thing, Draft):
        return "draft"
    if isinstance(thing, Message | Mapping) or hasattr(thing, "content"):
        return "message"
    raise InvalidInput(
        f"a {type(thing).__name__} cannot be remembered: give a string, a Message (or a dict with role and content), a "
        "Document, a Draft, or a list of them"
    )
