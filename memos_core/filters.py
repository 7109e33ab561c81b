"""The filter language: what a `where` means.

Three ways to write the same condition::

    (F.tag == "home") & (F.year >= 2020)
    {"tag": "home", "year": {">=": 2020}}
    {"and": [{"tag": "home"}, {"year": {">=": 2020}}]}

A path names a field of the item itself (`FIELDS`) or a place in its metadata: `F.tag` is `metadata["tag"]`, `F["a"]["b"]`
and `"a.b"` reach into nested objects, and `F.metadata[...]` says metadata even where a field has that name.

`matches` is the meaning for one item, and the reference: the columns of an index must agree with it (`Column.mask`).
Keys and values are data; nothing here becomes text of another query language.

Semantics: a field that is absent (or null) fails every operator but `!=`, `nin` and `is_empty`, and `== None` and `in`
with None among its values, which ask for just that. Values of different
kinds are never equal and never ordered: 1 is not "1", and True is not 1. Dates (`datetime`, `date`) compare with times
of the item and with ISO 8601 strings in metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Final, Literal, cast, get_args

import msgspec

from memos_core.errors import InvalidFilter
from memos_core.types.items import MemoryItem

Operator = Literal[
    "==",
    "!=",
    ">",
    ">=",
    "<",
    "<=",
    "in",
    "nin",
    "any",
    "all",
    "contains",
    "text_match",
    "text_match_insensitive",
    "is_empty",
]
OPERATORS: Final[tuple[str, ...]] = get_args(Operator)
_ALIASES: Final = {"=": "==", "eq": "==", "ne": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "not_in": "nin"}
_TAKES_LIST: Final = frozenset({"in", "nin", "any", "all"})
_ORDERED: Final = frozenset({">", ">=", "<", "<="})
_TEXTUAL: Final = frozenset({"text_match", "text_match_insensitive"})
MAX_DEPTH: Final = 50
_DEEPEST_VALUE: Final = 100  # as deep as metadata may be

Path = tuple[str, ...]

TIME_FIELDS: Final = frozenset({"occurred_at", "created_at", "updated_at", "expires_at"})
FIELDS: Final[dict[str, Callable[[MemoryItem], Any]]] = {
    "cube": lambda item: item.cube_id,
    "id": lambda item: item.id,
    "text": lambda item: item.text,
    "kind": lambda item: item.kind,
    "type": lambda item: item.type,
    "key": lambda item: item.key,
    "state": lambda item: str(item.state),
    "version": lambda item: item.version,
    "confidence": lambda item: item.confidence,
    "tags": lambda item: list(item.tags),
    "occurred_at": lambda item: item.occurred_at,
    "created_at": lambda item: item.created_at,
    "updated_at": lambda item: item.updated_at,
    "expires_at": lambda item: item.expires_at,
    "visibility": lambda item: item.visibility,
    "conversation": lambda item: item.conversation,
    "speaker": lambda item: item.speaker,
    "role": lambda item: item.provenance.source and item.provenance.source.role,
    "uri": lambda item: item.provenance.source and item.provenance.source.uri,
    "position": lambda item: item.provenance.source and item.provenance.source.position,
    "message_id": lambda item: item.provenance.source and item.provenance.source.message_id,
    "entities": lambda item: list(item.mentions.entities),
    "language": lambda item: item.mentions.language,
    "derived_from": lambda item: [id for id, _ in item.provenance.derived_from],
    "payload": lambda item: item.payload,
    "metadata": lambda item: item.metadata,
}


class Condition(msgspec.Struct, frozen=True):
    """One path, one operator, one value (already checked and normalised)."""

    path: Path
    op: Operator
    value: Any = None

    def __and__(self, other: Filter) -> Group:
        return Group("and", (self, other))

    def __or__(self, other: Filter) -> Group:
        return Group("or", (self, other))

    def __invert__(self) -> Group:
        return Group("not", (self,))

    def __bool__(self) -> bool:
        raise InvalidFilter("a filter has no truth value: join filters with & | ~, not with and, or, not")


class Group(msgspec.Struct, frozen=True):
    """Filters joined: "and" (all of them), "or" (one of them), "not" (none of them)."""

    op: Literal["and", "or", "not"]
    parts: tuple[Filter, ...]

    def __and__(self, other: Filter) -> Group:
        return Group("and", (self, other))

    def __or__(self, other: Filter) -> Group:
        return Group("or", (self, other))

    def __invert__(self) -> Group:
        return Group("not", (self,))

    def __bool__(self) -> bool:
        raise InvalidFilter("a filter has no truth value: join filters with & | ~, not with and, or, not")


Filter = Condition | Group
Where = Filter | Mapping[str, Any] | None


class Field:
    """A path, waiting for an operator. Made by `F`."""

    __slots__ = ("_path",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Field:
        if name.startswith("__"):
            raise AttributeError(name)
        return Field((*self._path, name))

    def __getitem__(self, name: str | int) -> Field:
        return Field((*self._path, str(name)))

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return condition(self._path, "==", other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return condition(self._path, "!=", other)

    def __gt__(self, other: Any) -> Condition:
        return condition(self._path, ">", other)

    def __ge__(self, other: Any) -> Condition:
        return condition(self._path, ">=", other)

    def __lt__(self, other: Any) -> Condition:
        return condition(self._path, "<", other)

    def __le__(self, other: Any) -> Condition:
        return condition(self._path, "<=", other)

    def in_(self, values: Iterable[Any]) -> Condition:
        """The value is one of these."""
        return condition(self._path, "in", values)

    def nin(self, values: Iterable[Any]) -> Condition:
        """The value is none of these, or absent."""
        return condition(self._path, "nin", values)

    def any(self, values: Iterable[Any]) -> Condition:
        """The value is a list that shares a member with these."""
        return condition(self._path, "any", values)

    def all(self, values: Iterable[Any]) -> Condition:
        """The value is a list that has all of these."""
        return condition(self._path, "all", values)

    def contains(self, value: Any) -> Condition:
        """The value is a list with this member, or a string with this part."""
        return condition(self._path, "contains", value)

    def text_match(self, text: str, *, case: bool = True) -> Condition:
        """The value is a string with this part; `case=False` folds case on both sides."""
        return condition(self._path, "text_match" if case else "text_match_insensitive", text)

    def is_empty(self) -> Condition:
        """The value is absent, null, "" or []."""
        return condition(self._path, "is_empty", None)


class _Root:
    """`F`: the start of every path. `F.tag`, `F["tag"]`, `F.metadata["odd name"]`, `F.occurred_at`."""

    def __getattr__(self, name: str) -> Field:
        if name.startswith("__"):
            raise AttributeError(name)
        return Field((name,))

    def __getitem__(self, name: str) -> Field:
        return Field((name,))


F: Final = _Root()


def condition(path: Path, op: str, value: Any) -> Condition:
    """A checked condition.

    Raises:
        InvalidFilter: an unknown operator, an empty path, or a value that the operator cannot use.
    """
    name = _ALIASES.get(op, op)
    if name not in OPERATORS:
        raise InvalidFilter(f"{op!r} is no operator; operators are: {', '.join(OPERATORS)}")
    if not path or not all(isinstance(part, str) and part for part in path):
        raise InvalidFilter(f"a path is one or more non-empty names, not {path!r}")
    where = ".".join(path)
    if name in _TAKES_LIST:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise InvalidFilter(f"{where} {name} needs a list of values, not {value!r}")
        value = tuple(_value(path, member) for member in value)
    elif name in _TEXTUAL:
        if not isinstance(value, str):
            raise InvalidFilter(f"{where} {name} needs a string, not {value!r}")
    elif name == "is_empty":
        if value not in (None, True):
            raise InvalidFilter(f"{where} is_empty takes no value, not {value!r}; negate it with not")
        value = None
    else:
        value = _value(path, value)
        if name in _ORDERED and (value is None or isinstance(value, bool | tuple | Mapping)):
            raise InvalidFilter(f"{where} {name} needs a number, a string or a date, not {value!r}")
    return Condition(path, cast("Operator", name), value)


def _value(path: Path, value: Any, depth: int = 0) -> Any:
    if depth > _DEEPEST_VALUE:
        raise InvalidFilter(f"{'.'.join(path)}: the value is nested deeper than {_DEEPEST_VALUE} levels")
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        if path[0] in TIME_FIELDS and len(path) == 1:
            parsed = parse_time(value)
            if parsed is None:
                raise InvalidFilter(f"{path[0]} compares with a date; {value!r} is not one (ISO 8601: 2024-05-08)")
            return parsed
        return value
    if isinstance(value, list | tuple):
        return tuple(_value(path, member, depth + 1) for member in value)
    if isinstance(value, Mapping):
        return {str(key): _value(path, member, depth + 1) for key, member in value.items()}
    raise InvalidFilter(f"{'.'.join(path)} cannot be compared with a {type(value).__name__}: {value!r}")


def parse_time(value: str) -> datetime | None:
    """An ISO 8601 date or time as aware UTC, or None where the string is something else."""
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # the latter: a time that UTC has no date for
        return None


def parse_where(where: Where) -> Filter | None:
    """A `where` in any of its forms as a checked filter; None where there is nothing to check.

    Raises:
        InvalidFilter: what is wrong, and where.
    """
    return _parse(where, 0)


def _parse(where: Any, depth: int) -> Filter | None:
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"the filter is nested deeper than {MAX_DEPTH} levels")
    if where is None:
        return None
    if isinstance(where, Condition):
        return condition(where.path, where.op, where.value)
    if isinstance(where, Group):
        return _group(where.op, where.parts, depth)
    if isinstance(where, Mapping):
        parts: list[Filter] = []
        for key, value in where.items():
            if not isinstance(key, str):
                raise InvalidFilter(f"a filter's keys are strings, not {key!r}")
            if key in ("and", "or", "not", "$and", "$or", "$not"):
                members = [value] if isinstance(value, Mapping | Condition | Group) else value
                if isinstance(members, str) or not isinstance(members, Sequence):
                    raise InvalidFilter(f"{key} joins a list of filters, not {value!r}")
                parts.append(_group(key.removeprefix("$"), members, depth))
            else:
                parts.extend(_field(key, value))
        return parts[0] if len(parts) == 1 else Group("and", tuple(parts)) if parts else None
    raise InvalidFilter(f"a filter is made with F or is a dict, not a {type(where).__name__}: {where!r}")


def _group(op: str, members: Sequence[Any], depth: int) -> Group:
    parts = tuple(part for part in (_parse(member, depth + 1) for member in members) if part is not None)
    return Group(cast("Literal['and', 'or', 'not']", op), parts)


def _field(key: str, value: Any) -> list[Filter]:
    path = tuple(key.split("."))
    if isinstance(value, Mapping) and value:
        operators = [str(name).removeprefix("$") for name in value]
        if any(_ALIASES.get(name, name) in OPERATORS for name in operators):
            return [condition(path, name, member) for name, member in zip(operators, value.values(), strict=True)]
    return [condition(path, "==", value)]


def matches(where: Filter | None, item: MemoryItem) -> bool:
    """Whether the item fulfils the filter. An empty "and" and an empty "not" hold, an empty "or" does not."""
    if where is None:
        return True
    if isinstance(where, Group):
        if where.op == "and":
            return all(matches(part, item) for part in where.parts)
        if where.op == "or":
            return any(matches(part, item) for part in where.parts)
        return not any(matches(part, item) for part in where.parts)
    return test(where.op, value_at(item, where.path), where.value)


def value_at(item: MemoryItem, path: Path) -> Any:
    """The value that a path leads to in an item; None where it leads nowhere."""
    field = FIELDS.get(path[0])
    return walk(item.metadata, path) if field is None else walk(field(item), path[1:])


def walk(value: Any, path: Path) -> Any:
    """Follow names into nested objects (and numbers into lists); None where there is nothing."""
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list | tuple) and len(part) < 10 and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def test(op: Operator, found: Any, wanted: Any) -> bool:
    """Whether one value fulfils one operator: the meaning that every faster way must agree with."""
    if op == "==":
        return _same(found, wanted)
    if op == "!=":
        return not _same(found, wanted)
    if op == "nin":
        return not any(_same(found, member) for member in wanted)
    if op == "is_empty":
        return found is None or found == "" or found in ([], ())
    if op == "in":
        return any(_same(found, member) for member in wanted)
    if found is None:
        return False
    if op in _ORDERED:
        return _ordered(op, found, wanted)
    if op == "any":
        return isinstance(found, list | tuple) and any(_has(found, member) for member in wanted)
    if op == "all":
        return isinstance(found, list | tuple) and all(_has(found, member) for member in wanted)
    if op == "contains":
        if isinstance(found, str):
            return isinstance(wanted, str) and wanted in found
        return isinstance(found, list | tuple) and _has(found, wanted)
    if not isinstance(found, str):
        return False
    return wanted in found if op == "text_match" else wanted.casefold() in found.casefold()


def _has(found: Sequence[Any], wanted: Any) -> bool:
    return any(_same(member, wanted) for member in found)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, datetime) or isinstance(found, datetime):
        left, right = _as_time(found), _as_time(wanted)
        return left is not None and left == right
    if isinstance(found, list | tuple) and isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        return found.keys() == wanted.keys() and all(_same(found[key], wanted[key]) for key in found)
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


def _ordered(op: Operator, found: Any, wanted: Any) -> bool:
    if isinstance(wanted, datetime) or isinstance(found, datetime):
        found, wanted = _as_time(found), _as_time(wanted)
        if found is None or wanted is None:
            return False
    elif isinstance(found, bool) or not (
        (isinstance(found, str) and isinstance(wanted, str))
        or (isinstance(found, int | float) and isinstance(wanted, int | float))
    ):
        return False
    if op == ">":
        return bool(found > wanted)
    if op == ">=":
        return bool(found >= wanted)
    return bool(found < wanted) if op == "<" else bool(found <= wanted)


def _as_time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    return parse_time(value) if isinstance(value, str) else None
