"""Values that come in with an item: what is taken as what, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

from memos_core.errors import InvalidInput, InvalidMetadata
from memos_core.types.names import check_text

_DEEPEST: Final = 100
_BITS: Final = 2**63


def in_utc(at: datetime) -> datetime:
    """A time as aware UTC; naive ones are taken as UTC.

    Raises:
        InvalidInput: no time.
    """
    if not isinstance(at, datetime):
        raise InvalidInput(f"a time is a datetime, not {at!r}")
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


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
    if isinstance(tags, str):
        raise InvalidInput(f"tags is a list of strings; for one, give [{tags!r}]")
    return tuple(dict.fromkeys(check_text(tag, "tag") for tag in tags))


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
