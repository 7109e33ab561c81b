"""LlamaIndex's MetadataFilters in memos' filter language."""

from __future__ import annotations

from llama_index.core.vector_stores.types import FilterCondition, MetadataFilter, MetadataFilters

from memos_core.errors import InvalidFilter
from memos_core.filters import MAX_DEPTH, Condition, Filter, Group, Where, condition, parse_where

_GROUPS = {FilterCondition.AND: "and", FilterCondition.OR: "or", FilterCondition.NOT: "not", None: "and"}


def joined(where: Where, filters: MetadataFilters | None) -> Filter | None:
    """What fulfils both: memos' own `where` and LlamaIndex's filters.

    Raises:
        InvalidFilter: one of them has no meaning.
    """
    own = parse_where(where)
    if filters is None:
        return own
    if not isinstance(filters, MetadataFilters):
        raise InvalidFilter(f"filters are MetadataFilters, not {filters!r}; memos' own filters are given as where=")
    theirs = parse_where(to_filter(filters))
    return theirs if own is None else Group("and", tuple(part for part in (own, theirs) if part is not None))


def to_filter(filters: MetadataFilters) -> Filter:
    """Filters as memos understands them.

    A key names what it names in memos' own dict form: a field of the item ("type", "speaker", "occurred_at"), else a place
    in its metadata, with dots for nested objects; "metadata.type" says metadata even where a field has that name. Filters
    without any members hold for everything, at every level, as in LlamaIndex. `== None` is fulfilled by what is absent,
    `!= None` by what is there. LlamaIndex's values are strings and numbers; for booleans use `where`.

    Raises:
        InvalidFilter: a value that its operator cannot use, or filters nested too deep.
    """
    return _group(filters, 0)


def _group(filters: MetadataFilters, depth: int) -> Group:
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"the filters are nested deeper than {MAX_DEPTH} levels")
    if not filters.filters:
        return Group("and", ())
    op = _GROUPS[filters.condition]
    parts = tuple(
        _group(part, depth + 1) if isinstance(part, MetadataFilters) else _condition(part) for part in filters.filters
    )
    return Group(op, parts)  # type: ignore[arg-type]


def _condition(part: MetadataFilter) -> Condition:
    operator = part.operator.value
    value = None if operator == "is_empty" else part.value  # LlamaIndex demands a value there, and ignores it
    return condition(tuple(part.key.split(".")), operator, value)
