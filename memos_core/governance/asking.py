"""Filters as they may be put to a cube: none finds out what whoever asks would not be shown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

from memos_core.errors import AccessDenied
from memos_core.filters import FIELDS, Condition, Filter, Group
from memos_core.governance.redacting import Rules

NOTHING_HOLDS: Final = Group("or", ())
_BY_PARTS: Final = frozenset({"contains", "text_match", "text_match_insensitive", ">", ">=", "<", "<="})


def need_unmasked(where: Filter, rules: Rules) -> None:
    """Make sure that a filter does not spell out what is masked for whoever asks.

    Whole values of metadata may be asked for, as long as they hold nothing that is masked; parts of them may not: one could
    be guessed letter by letter.

    Raises:
        AccessDenied: it might.
    """
    redactor = rules.redactor()
    for condition in _conditions(where):
        first = condition.path[0]
        if first in ("text", "payload"):
            raise AccessDenied(
                "parts of these texts are masked for you, so that no filter on text or payload is answered"
            )
        texts = list(_texts(condition.value))
        in_metadata = first == "metadata" or first not in FIELDS
        if (in_metadata and texts and condition.op in _BY_PARTS) or any(redactor.find(text) for text in texts):
            raise AccessDenied(
                f"parts of these memories are masked for you, so that the filter {'.'.join(condition.path)} "
                f"{condition.op} ... is not answered"
            )


def with_seen_sources(where: Filter, seen: Callable[[Sequence[str]], Collection[str]]) -> Filter:
    """A filter by which what is hidden is among the sources of no item.

    Args:
        seen: those of some ids that whoever asks may see.

    Raises:
        AccessDenied: it asks for sources in another way than by their ids.
    """
    if isinstance(where, Group):
        return Group(where.op, tuple(with_seen_sources(part, seen) for part in where.parts))
    if where.path[0] != "derived_from":
        return where
    if len(where.path) > 1 or where.op not in ("contains", "any", "all"):
        raise AccessDenied(
            "you may not see everything here, so that derived_from is asked for by ids only: with contains, any or all"
        )
    wanted = [where.value] if where.op == "contains" else list(where.value)
    there = set(seen([each for each in wanted if isinstance(each, str)]))
    if where.op == "any":
        return Condition(where.path, "any", tuple(each for each in wanted if each in there))
    return where if all(isinstance(each, str) and each in there for each in wanted) else NOTHING_HOLDS


def asks_for_sources(where: Filter) -> bool:
    """Whether a filter asks what items were made from."""
    return any(condition.path[0] == "derived_from" for condition in _conditions(where))


def _conditions(where: Filter) -> Iterator[Condition]:
    if isinstance(where, Condition):
        yield where
    else:
        for part in where.parts:
            yield from _conditions(part)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _texts(each)
