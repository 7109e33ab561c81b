"""Cubes, and where items stand, asked by id, key or identity: the same inside and outside a writing transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, select

from memos_core.errors import StoreDamaged
from memos_core.stores.sql import schema
from memos_core.stores.sql.statements import Statements
from memos_core.types.work import CubeRow, Head, from_micros, micros

_FIRST, _LAST = (micros(edge.replace(tzinfo=UTC)) for edge in (datetime.min, datetime.max))


def whole_numbers(*values: object) -> bool:
    """Whether all of these are numbers, as they were when they were written: a page that has rotted may give anything."""
    return all(type(value) is int for value in values)


def times(*values: object) -> bool:
    """Whether all of these are microseconds that a calendar has a date for."""
    return all(type(value) is int and _FIRST <= value <= _LAST for value in values)


def cube_row(row: Mapping[Any, Any]) -> CubeRow:
    """A cube from its row.

    Raises:
        StoreDamaged: they are not what was written.
    """
    number, name, owner, seq = row["cube"], row["name"], row["owner"], row["seq"]
    created, base, base_seq, policy = row["created"], row["base"], row["base_seq"], row["policy"]
    erased = row["erased"]
    if (
        not whole_numbers(number, seq, base, base_seq, erased)
        or not times(created)
        or not isinstance(name, str)
        or not isinstance(owner, str)
    ):
        raise StoreDamaged(f"the row of cube {name!r} is not what was written; restore this store from a backup")
    return CubeRow(number, name, owner, seq, from_micros(created), base, base_seq, policy, erased)


def heads_by(
    connection: Connection,
    statements: Statements,
    cube: int,
    column: Literal["id", "key", "dedup"],
    members: Sequence[Any],
) -> dict[Any, Head]:
    """Heads of the items of a cube whose column has one of these values, by that value; unknown values are left out.

    Raises:
        StoreDamaged: a row is not what was written.
    """
    if not members:
        return {}
    c = schema.items.c
    rows = statements.run_list(
        connection,
        ("heads", column),
        lambda bound: select(c[column], c.item, c.id, c.head, c.version, c.deleted).where(
            c.cube == bindparam("cube"), c[column].in_(bound)
        ),
        members,
        {"cube": cube},
    )
    heads = {row[0]: Head(row[1], row[2], row[3], row[4], bool(row[5])) for row in rows}
    for name, head in heads.items():
        if not whole_numbers(head.seq, head.version):
            raise StoreDamaged(
                f"item {name!r} is not what was written; run `memos verify`, restore this store from a backup"
            )
    return heads
