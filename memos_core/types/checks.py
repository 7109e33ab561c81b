"""Values that come in with an item: what is taken as what, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec

from memos_core.errors import InvalidInput, InvalidMetadata, InvalidText
from memos_core.types.inputs import Document, Draft
from memos_core.types.items import LifecycleState, Link, SourceRef
from memos_core.types.names import check_name, check_text

_DEEPEST: Final = 100
_BITS: Final = 2**63
_MOST_POSITION: Final = 2**31 - 1
_FORMATS: Final = ("text", "markdown", "html")


def in_utc(at: datetime) -> datetime:
    """A time as aware UTC; naive ones are taken as UTC.

    Raises:
        InvalidInput: no time, or one that UTC has no date for (before the year 1, after 9999).
    """
    if not isinstance(at, datetime):
        raise InvalidInput(f"a time is a datetime, not {at!r}")
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError as error:
        raise InvalidInput(f"{at!r} lies outside of the years 1 to 9999 in UTC") from error


def checked_confidence(value: float) -> float:
    """A confidence in [0, 1].

    Raises:
        InvalidInput: something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidInput(f"confidence is from 0 to 1, not {value!r}")
    return float(value)


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags, each once, in order.

    Raises:
        InvalidInput: one string instead of several, or something that is no string.
    """
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise InvalidInput(f"tags is a list of strings, not {tags!r}; for one, give it in a list")
    return tuple(dict.fromkeys(check_text(tag, "tag") for tag in tags))


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Metadata as a JSON object; empty for None.

    Raises:
        InvalidMetadata: no mapping, or something in it that JSON cannot say.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidMetadata(f"metadata is a JSON object (a dict), not {metadata!r}")
    found: dict[str, Any] = as_json(metadata, "metadata")
    return found


def checked_links(links: Iterable[Link]) -> tuple[Link, ...]:
    """Links, in order.

    Raises:
        InvalidInput: something that is no `Link`, or a link whose parts cannot be stored.
    """
    if not isinstance(links, Iterable):
        raise InvalidInput(f"links is a list of Link, not {links!r}")
    found = tuple(links)
    for link in found:
        if not isinstance(link, Link):
            raise InvalidInput(f"a link is Link(relation, target, weight), not {link!r}")
        check_text(link.relation, "relation of a link")
        check_text(link.target, "target of a link")
        weight = link.weight
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise InvalidInput(f"the weight of a link is a finite number, not {weight!r}")
    return found


def checked_flag(value: object, what: str) -> bool:
    """True or False.

    Raises:
        InvalidInput: something else.
    """
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} is True or False, not {value!r}")
    return value


def checked_wait(value: float | None) -> float:
    """Seconds to wait at most; 0 for None. Never for ever.

    Raises:
        InvalidInput: no number, below 0, or no end.
    """
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InvalidInput(f"timeout is a number of seconds, not {value!r}; nothing is waited for without end")
    return float(value)


def checked_patience(value: float | None) -> float | None:
    """Seconds to wait at most; None for as long as it takes.

    Raises:
        InvalidInput: no number.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value)):
        raise InvalidInput(f"timeout is a number of seconds, or None to wait for ever, not {value!r}")
    return value


def checked_visibility(value: object) -> str:
    """ "private" or "shared".

    Raises:
        InvalidInput: something else.
    """
    if value not in ("private", "shared"):
        raise InvalidInput(f'visibility is "private" or "shared", not {value!r}')
    return str(value)


def checked_first_state(value: object) -> LifecycleState:
    """The state that an item begins in.

    Raises:
        InvalidInput: no state, or one that an item only gets to later.
    """
    if value not in (LifecycleState.GENERATED, LifecycleState.ACTIVATED):
        raise InvalidInput(f'an item begins as "activated" or "generated", not {value!r}')
    return LifecycleState(str(value))


def checked_version(value: object, what: str) -> int:
    """The number of a version.

    Raises:
        InvalidInput: no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"{what} is the number of a version (1, 2, 3, ...), not {value!r}")
    return value


def checked_document(document: Document) -> Document:
    """The document, if it can be read and what is read of it stored.

    Raises:
        InvalidInput: which part of it cannot.
    """
    if not check_text(document.uri, "uri of a document").strip():
        raise InvalidInput("the uri of a document is empty; it is what the document is known by")
    for name, value in (("title", document.title), ("author", document.author)):
        if value is not None:
            check_text(value, f"{name} of document {document.uri!r}")
    if document.format not in _FORMATS:
        raise InvalidInput(
            f"format of document {document.uri!r} is one of {', '.join(_FORMATS)}, not {document.format!r}"
        )
    if document.at is not None:
        in_utc(document.at)
    checked_metadata(document.metadata)
    end = 0
    for stretch in document.layout:
        if not end <= stretch.start <= stretch.end <= len(document.text):
            raise InvalidInput(
                f"layout of document {document.uri!r}: the stretch from {stretch.start} to {stretch.end} is out of order, or "
                f"reaches beyond the {len(document.text)} characters of the text"
            )
        end = stretch.end
    return document


def _plain(value: object) -> str:
    """What JSON says for a value of a class of its own: strings of hosts are often of a subclass of str."""
    if isinstance(value, str):
        return str.__str__(value)
    raise NotImplementedError(f"a {type(value).__name__} cannot be stored")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
_decode = msgspec.json.Decoder(Draft).decode


def checked_draft(draft: Draft) -> Draft:
    """The draft as it will be read back: times in UTC, metadata and payload as JSON data.

    What the store cannot read back must never get into it: one such item would make its whole cube unreadable.

    Raises:
        InvalidInput: which part of it cannot be stored.
    """
    for name, value in (("item id", draft.id), ("key", draft.key)):
        if value is not None:
            check_name(value, name)
    if draft.conversation is not None and not check_text(draft.conversation, "conversation").strip():
        raise InvalidInput("conversation is empty; leave it out where there is none")
    checked_confidence(draft.confidence)
    checked_links(draft.links)
    source = draft.source
    draft = msgspec.structs.replace(
        draft,
        payload=None if draft.payload is None else as_json(draft.payload, "payload"),
        metadata=checked_metadata(draft.metadata),
        occurred_at=None if draft.occurred_at is None else in_utc(draft.occurred_at),
        source=None if source is None else _checked_source(source),
    )
    try:
        encoded = _encode(draft)
        read_back = _decode(encoded)
    except UnicodeEncodeError as error:
        raise InvalidText(f"a lone surrogate cannot be stored: {error}") from error
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"a draft that cannot be stored: {error}") from error
    if b"\\u0000" in encoded:  # written so by JSON; also in texts that only speak of it
        _refuse_nul(msgspec.to_builtins(draft))
    return read_back


def _checked_source(source: SourceRef) -> SourceRef:
    if not isinstance(source, SourceRef):
        raise InvalidInput(f"the source of a draft is a SourceRef, not {source!r}")
    position = source.position
    if position is not None and (
        isinstance(position, bool) or not isinstance(position, int) or not 0 <= position <= _MOST_POSITION
    ):
        raise InvalidInput(f"a position is a whole number from 0 to {_MOST_POSITION}, not {position!r}")
    return source if source.at is None else msgspec.structs.replace(source, at=in_utc(source.at))


def _refuse_nul(value: Any) -> None:
    if isinstance(value, str):
        check_text(value, "a part of a draft")
    elif isinstance(value, Mapping):
        for key, member in value.items():
            _refuse_nul(key)
            _refuse_nul(member)
    elif isinstance(value, list | tuple):
        for member in value:
            _refuse_nul(member)


def as_json(value: Any, what: str) -> Any:
    """JSON data equal to a value: dates as ISO 8601 strings in UTC, tuples as lists.

    Raises:
        InvalidMetadata: something that JSON cannot say, and where it is.
    """
    return _as_json(value, what, 0)


def _as_json(value: Any, where: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise InvalidMetadata(f"{where} is nested deeper than {_DEEPEST} levels")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return check_text(value, where)
    if isinstance(value, int):
        if not -_BITS <= value < _BITS:
            raise InvalidMetadata(f"{where}: {value} does not fit 64 bits; give it as a string")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidMetadata(f"{where}: {value} is no number that JSON knows; give None or a string")
        return float(value)
    if isinstance(value, datetime):
        return in_utc(value).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            raise InvalidMetadata(f"{where}: the key {wrong!r} is no string")
        return {check_text(k, where): _as_json(v, f"{where}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(member, f"{where}[{place}]", depth + 1) for place, member in enumerate(value)]
    raise InvalidMetadata(f"{where}: a {type(value).__name__} is not JSON; give strings, numbers, lists, dicts")
