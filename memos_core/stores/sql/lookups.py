"""Where items stand, asked by id, key or identity: the same look-ups inside and outside a writing transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, select

from memos_core.stores.sql import schema
from memos_core.stores.sql.statements import Statements
from memos_core.types.work import Head


def heads_by(
    connection: Connection,
    statements: Statements,
    cube: int,
    column: Literal["id", "key", "dedup"],
    members: Sequence[Any],
) -> dict[Any, Head]:
    """Heads of the items of a cube whose column has one of these values, by that value; unknown values are left out."""
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
    return {row[0]: Head(row[1], row[2], row[3], row[4], bool(row[5])) for row in rows}
