"""Values on the command line: filters, moments, times, metadata."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from memos_core.errors import InvalidFilter, InvalidInput, InvalidMetadata

if TYPE_CHECKING:
    from memos_core.filters import Filter

_SIGN: Final = re.compile(r"\s*([^\s=!<>]+)\s*(==|!=|>=|<=|=|>|<)\s*(.*)", re.DOTALL)
_WORD: Final = re.compile(r"\s*(\S+)\s+([a-z_]+)(?:\s+(.*))?", re.DOTALL)
_LISTS: Final = frozenset({"in", "nin", "not_in", "any", "all"})


def parse_wheres(texts: Sequence[str]) -> Filter | None:
    """Conditions as one filter: all of them must hold.

    Args:
        texts: each `path operator value` ("year >= 2020", "tags contains x", "key is_empty"), or a JSON object as
            `parse_where` takes it. A value is read as JSON where it is JSON (2020, true, "2020"), else as a string.

    Raises:
        InvalidFilter: what is wrong with which of them.
    """
    from memos_core.filters import Group

    parts = [part for text in texts if (part := _parse_one(text)) is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    return Group("and", tuple(parts))


def _parse_one(text: str) -> Filter | None:
    from memos_core.filters import OPERATORS, condition, parse_where

    if text.lstrip().startswith("{"):
        try:
            return parse_where(json.loads(text))
        except json.JSONDecodeError as error:
            raise InvalidFilter(f"{text!r} begins like JSON, but is none: {error}") from error
    found = _SIGN.fullmatch(text) or _WORD.fullmatch(text)
    if found is None:
        raise InvalidFilter(
            f'{text!r} is no condition; write \'path operator value\' ("year >= 2020", "tags contains home") or JSON; '
            f"operators are: = {' '.join(OPERATORS)}"
        )
    path, operator, value = found.groups()
    if operator == "is_empty":
        if value:
            raise InvalidFilter(f"{text!r}: is_empty takes no value")
        return condition(tuple(path.split(".")), operator, None)
    if not value:
        raise InvalidFilter(f"{text!r} has no value; for an empty string, write {path} {operator} '\"\"'")
    return condition(
        tuple(path.split(".")), operator, _list(value) if operator in _LISTS else _literal(value, operator)
    )


def _literal(text: str, operator: str = "=") -> Any:
    """JSON where it is JSON, else the text itself; what is matched as text is text."""
    text = text.strip()
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, str) or not operator.startswith("text_match") else text


def _list(text: str) -> list[Any]:
    """A JSON list, or values between commas."""
    value = _literal(text)
    if isinstance(value, list):
        return value
    return [_literal(part) for part in text.split(",") if part.strip()]


def parse_moment(text: str | None) -> int | datetime | None:
    """The number of a change, or a time.

    Raises:
        InvalidInput: neither.
    """
    if text is None:
        return None
    return int(text) if text.strip().isascii() and text.strip().isdecimal() else parse_time(text, "--as-of")


def parse_time(text: str, what: str) -> datetime:
    """An ISO 8601 time; without a zone it is UTC, as all times that memos shows.

    Raises:
        InvalidInput: it is none.
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        number = " or the number of a change" if what == "--as-of" else ""
        raise InvalidInput(
            f"{what} {text!r} is no time (ISO 8601: 2024-05-08 or 2024-05-08T12:30+02:00){number}"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def parse_metadata(pairs: Sequence[str], whole: str | None = None) -> dict[str, Any]:
    """Metadata from `name=value` pairs (values are read as JSON where they are JSON) over a JSON object.

    Raises:
        InvalidMetadata: a pair without a name, or no JSON object.
    """
    metadata: dict[str, Any] = {}
    if whole is not None:
        try:
            value = json.loads(whole)
        except json.JSONDecodeError as error:
            raise InvalidMetadata(f"--metadata {whole!r} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise InvalidMetadata(f"--metadata is a JSON object, not {whole!r}")
        metadata.update(value)
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name.strip():
            raise InvalidMetadata(f"--meta {pair!r}: write name=value")
        metadata[name.strip()] = _literal(value)
    return metadata


def text_or_stdin(text: str) -> str:
    """The text; for "-" what stands on standard input, without the line break at its end."""
    if text != "-":
        return text
    data = sys.stdin.buffer.read()
    from memos_core.reading.decoding import decode

    return decode(data, "standard input").removesuffix("\n").removesuffix("\r")


def words(text: str) -> list[str]:
    """Words separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]
