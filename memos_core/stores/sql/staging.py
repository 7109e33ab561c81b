"""Vectors of another embedder, put beside the old ones batch by batch, and then in their place in one transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, func, inspect, select, text, update
from sqlalchemy.sql.elements import ColumnElement

from memos_core.errors import Conflict
from memos_core.stores.sql import schema
from memos_core.stores.sql.changes import VECTOR_COLUMNS, decode_body
from memos_core.stores.sql.migrations.m001_ground_floor import WORDS
from memos_core.stores.sql.schema import SEQ_BITS
from memos_core.stores.sql.statements import Statements
from memos_core.types.work import Body

_v = schema.versions.c
_TABLE = """CREATE TABLE staged_vectors (
    place {int} PRIMARY KEY, crc {int} NOT NULL, dense {blob} NOT NULL, tokens {blob}
)"""


def prepare(connection: Connection, identity: str, key: str) -> None:
    """Make the staging table, empty unless it holds vectors of the same embedder already.

    Args:
        identity: of the embedder.
        key: of the setting that remembers it.
    """
    c = schema.store.c
    staged_by = connection.execute(select(c.value).where(c.key == key)).scalar()
    there = inspect(connection).has_table("staged_vectors")
    if there and staged_by == identity:
        return
    if there:
        connection.execute(text("DROP TABLE staged_vectors"))
    connection.exec_driver_sql(_TABLE.format_map(WORDS[connection.dialect.name]))
    if connection.dialect.name == "postgresql":
        for name in ("dense", "tokens"):  # as in the table whose place it will take
            connection.exec_driver_sql(f"ALTER TABLE staged_vectors ALTER COLUMN {name} SET STORAGE EXTERNAL")
    connection.execute(delete(schema.store).where(c.key == key))
    connection.execute(schema.store.insert().values(key=key, value=identity))


def confirm(connection: Connection, identity: str, key: str) -> None:
    """Make sure that the staging table is still that of this embedder.

    Raises:
        Conflict: another re-embedding has finished, or one with another embedder has begun.
    """
    c = schema.store.c
    staged_by = connection.execute(select(c.value).where(c.key == key)).scalar()
    if staged_by != identity:
        found = f"{staged_by!r} is being put in" if staged_by else "another run has finished"
        raise Conflict(f"re-embedding with {identity!r} was overtaken: {found}; look at the store, then start it anew")


def put(connection: Connection, statements: Statements, rows: list[tuple[Any, ...]]) -> None:
    """Stage vectors; those that another run with the same embedder has staged already are not needed twice."""
    places = [row[0] for row in rows]
    c = schema.staged_vectors.c.place
    there = {
        row[0]
        for row in statements.run_list(connection, "staged", lambda members: select(c).where(c.in_(members)), places)
    }
    fresh = [row for row in rows if row[0] not in there]
    statements.insert(connection, schema.staged_vectors, VECTOR_COLUMNS, fresh)


def _own() -> ColumnElement[bool]:
    """Versions that hold vectors of their own, or would if the store had any."""
    return _v.text.is_not(None) & ((_v.vectors_of == 0) | (_v.vectors_of == _v.place % (1 << SEQ_BITS)))


def count(connection: Connection) -> tuple[int, int]:
    """How many versions take vectors, and how many of them have staged ones already."""
    total = connection.execute(select(func.count()).select_from(schema.versions).where(_own())).scalar_one()
    staged = connection.execute(select(func.count()).select_from(schema.staged_vectors)).scalar_one()
    return int(total), int(staged)


def missing(connection: Connection, after: int, limit: int) -> tuple[list[tuple[int, str, Body]], int | None]:
    """Versions behind a place that have no staged vectors yet: (place, text, body), and how far was looked.

    Items that no search may find, and that have no vectors, are passed over. The second is None when the end was reached.
    """
    staged = schema.staged_vectors
    query = (
        select(_v.place, _v.text, _v.body, _v.vectors_of)
        .select_from(schema.versions)
        .outerjoin(staged, staged.c.place == _v.place)
        .where(_own(), _v.place > after, staged.c.place.is_(None))
        .order_by(_v.place)
        .limit(limit)
    )
    rows = connection.execute(query).fetchall()
    found = [(place, words, decode_body(body), bool(vectors_of)) for place, words, body, vectors_of in rows]
    seen = rows[-1][0] if len(rows) == limit else None
    return [(place, words, body) for place, words, body, held in found if body.indexed or held], seen


def switch(connection: Connection) -> None:
    """Put the staged vectors in the place of the old ones."""
    staged = select(schema.staged_vectors.c.place)
    connection.execute(
        update(schema.versions)
        .where(_v.vectors_of == 0, _v.place.in_(staged))
        .values(vectors_of=_v.place % (1 << SEQ_BITS))
    )
    connection.execute(text("DROP TABLE vectors"))
    connection.execute(text("ALTER TABLE staged_vectors RENAME TO vectors"))


def remove(connection: Connection) -> None:
    """Remove all vectors, staged ones too."""
    connection.execute(update(schema.versions).values(vectors_of=0))
    connection.execute(delete(schema.vectors))
    if inspect(connection).has_table("staged_vectors"):
        connection.execute(text("DROP TABLE staged_vectors"))
