"""Who may do what on which cube, as rows."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from memos_core.stores.sql import schema
from memos_core.stores.sql.statements import Statements
from memos_core.types.access import Grant, Right
from memos_core.types.work import from_micros


def grants_on(connection: Connection, statements: Statements, cube: int, name: str) -> list[Grant]:
    """All grants on a cube, by grantee."""
    table = schema.grants.c
    rows = statements.run(
        connection,
        "grants",
        lambda: select(schema.grants).where(table.cube == bindparam("cube")).order_by(table.grantee),
        {"cube": cube},
    ).by_name()
    return [
        Grant(
            cube_id=name,
            grantee=row["grantee"],
            rights=frozenset(Right(word) for word in row["rights"].split(",")),
            granted_by=row["granted_by"],
            granted_at=from_micros(row["granted_at"]),
            expires_at=None if row["expires_at"] is None else from_micros(row["expires_at"]),
        )
        for row in rows
    ]


def put_grant(
    connection: Connection, cube: int, grantee: str, rights: frozenset[Right], by: str, at: int, until: int | None
) -> None:
    """Set the rights of a grantee; those it had are replaced."""
    drop_grant(connection, cube, grantee)
    words = ",".join(sorted(rights))
    values = {
        "cube": cube,
        "grantee": grantee,
        "rights": words,
        "granted_by": by,
        "granted_at": at,
        "expires_at": until,
    }
    connection.execute(schema.grants.insert().values(values))


def drop_grant(connection: Connection, cube: int, grantee: str) -> bool:
    """Take all rights of a grantee away; whether there were any."""
    table = schema.grants.c
    return connection.execute(schema.grants.delete().where(table.cube == cube, table.grantee == grantee)).rowcount > 0
