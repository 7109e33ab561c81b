"""Moving a whole store to another database, row by row: numbers, ids, digests, audit chain and vectors stay what they are.

Rows go over in slices, each in a transaction of its own, in the order of their keys, so what has arrived tells where to go
on after an interruption. A marker among the target's settings says whose rows they are and keeps everybody else from using
the target meanwhile; it goes, and the source's settings come, in one last transaction, when both sides have been read
back and compared. The source is locked against writers as long as that takes, and is not changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, TableClause, delete, func, select, tuple_

from memos_core.errors import AlreadyExists, Conflict, StoreDamaged
from memos_core.stores.sql import schema
from memos_core.stores.sql.databases import SqlDatabase
from memos_core.stores.sql.keeping import STAGED
from memos_core.stores.sql.records import MOVING, SqlStore
from memos_core.stores.sql.statements import Statements

Progress = Callable[[int, int], None]


class _Moved(NamedTuple):
    """A table that is moved, the columns of its key, and how many rows go over at once."""

    table: TableClause
    keys: tuple[str, ...]
    rows: int = 2000


# `store` is moved in the end, `migrations` and `staged_vectors` are the target's own business.
TABLES: Final = (
    _Moved(schema.cubes, ("cube",)),
    _Moved(schema.items, ("item",)),
    _Moved(schema.versions, ("place",)),
    _Moved(schema.vectors, ("place",), 500),
    _Moved(schema.conversations, ("cube", "name")),
    _Moved(schema.links, ("cube", "item", "relation", "target")),
    _Moved(schema.batches, ("cube", "number")),
    _Moved(schema.details, ("cube", "number")),
    _Moved(schema.checkpoints, ("cube", "number")),
    _Moved(schema.jobs, ("job",)),
    _Moved(schema.grants, ("cube", "grantee")),
    _Moved(schema.holds, ("cube", "target")),
    _Moved(schema.usage, ("item",)),
    _Moved(schema.working, ("actor", "conversation", "cubes", "item")),
)
_s = schema.store.c


class _Marker(msgspec.Struct, frozen=True):
    """Whose rows a target holds: id of the source, and a digest of what it held."""

    source: str
    state: str


def move(source: SqlStore, target: SqlStore, progress: Progress | None = None) -> dict[str, int]:
    """Copy everything a store holds into an empty one, and compare both.

    Args:
        source: nobody can write to it meanwhile; it stays as it is.
        target: empty, or with part of the same source in it from a run that was interrupted.
        progress: called with (rows done, rows in all); every row is copied and compared.

    Returns:
        How many rows each table has.

    Raises:
        AlreadyExists: the target is not empty.
        Conflict: another move into the same target has begun meanwhile.
        StoreDamaged: what arrived is not what was sent.
    """
    with source.database.writing(alone=True) as reading:
        counts = {each.table.name: _count(reading, each.table) for each in TABLES}
        marker = _Marker(source.id, _state(reading))
        _prepare(target.database, source.name, target.name, marker)
        told = _Told(progress, 2 * sum(counts.values()))
        for each in TABLES:
            _copy(reading, target.database, each, marker, told)
        with target.database.reading() as arrived:
            for each in TABLES:
                if _digest(reading, each, told) != _digest(arrived, each, None):
                    raise StoreDamaged(
                        f"{target.name}: table {each.table.name!r} is not what {source.name} holds; "
                        "nothing uses it yet: remove it and move again"
                    )
        settings = [(key, value) for key, value in _settings(reading) if key not in (STAGED, MOVING)]
        with target.database.writing(alone=True) as connection:
            _confirm(connection, marker)
            connection.execute(delete(schema.store))
            connection.execute(schema.store.insert(), [{"key": key, "value": value} for key, value in settings])
            target.database.numbers_taken(connection)
        target.id = source.id
        target.database.belongs_to(source.id)
        return counts


class _Told:
    """How much is done."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._done, self._total = 0, total

    def more(self, rows: int) -> None:
        self._done += rows
        if self._progress is not None and rows:
            self._progress(self._done, self._total)


def _settings(connection: Connection) -> list[tuple[str, str]]:
    rows = connection.execute(select(_s.key, _s.value).order_by(_s.key))
    return [(str(key), str(value)) for key, value in rows]


def _state(connection: Connection) -> str:
    """A digest of what a store holds: the audit chains cover cubes, items and grants, a setting says whose the vectors are."""
    columns = [schema.cubes.c[name] for name in ("cube", "name", "owner", "seq", "batches", "chain", "checkpointed")]
    cubes = [tuple(row) for row in connection.execute(select(*columns).order_by(schema.cubes.c.cube))]
    jobs = [tuple(row) for row in connection.execute(select(schema.jobs).order_by(schema.jobs.c.job))]
    return hashlib.sha256(msgspec.msgpack.encode([cubes, jobs, _settings(connection)])).hexdigest()


def _prepare(database: SqlDatabase, source: str, target: str, marker: _Marker) -> None:
    """Have the target bear the marker, empty unless it does already."""
    with database.writing(alone=True) as connection:
        found = _found(connection)
        if found == marker:
            return
        if found is not None and found.source != marker.source:
            raise AlreadyExists(
                f"{target}: another store is being moved there; name another target, or remove that one"
            )
        if found is not None:  # the same store, but it has been written to since: what arrived is of no use
            for each in TABLES:
                connection.execute(delete(each.table))
        elif any(connection.execute(select(1).select_from(each.table).limit(1)).first() for each in TABLES):
            raise AlreadyExists(f"{target} is not empty; {source} can only be moved to an empty store")
        connection.execute(delete(schema.store).where(_s.key == MOVING))
        connection.execute(schema.store.insert().values(key=MOVING, value=msgspec.json.encode(marker).decode()))


def _found(connection: Connection) -> _Marker | None:
    value = connection.execute(select(_s.value).where(_s.key == MOVING)).scalar()
    return None if value is None else msgspec.json.decode(value, type=_Marker)


def _confirm(connection: Connection, marker: _Marker) -> None:
    if _found(connection) != marker:
        raise Conflict("another move into the same store has begun, or has finished; look at it before you try again")


def _copy(reading: Connection, target: SqlDatabase, moved: _Moved, marker: _Marker, told: _Told) -> None:
    """Copy what has not arrived yet of a table."""
    keys = [moved.table.c[name] for name in moved.keys]
    columns = tuple(column.name for column in moved.table.c)
    with target.reading() as arrived:
        last = arrived.execute(select(*keys).order_by(*(key.desc() for key in keys)).limit(1)).first()
        told.more(_count(arrived, moved.table))
    statements = Statements(target)
    for rows in _slices(reading, moved, tuple(last) if last else None):
        with target.writing() as connection:
            target.lock(connection, "moving")
            _confirm(connection, marker)
            statements.insert(connection, moved.table, columns, rows)
        told.more(len(rows))


def _slices(
    connection: Connection, moved: _Moved, after: Sequence[Any] | None = None
) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of a table behind a key, in order."""
    keys = [moved.table.c[name] for name in moved.keys]
    places = [list(moved.table.c).index(key) for key in keys]
    while True:
        query = select(*moved.table.c).order_by(*keys).limit(moved.rows)
        if after is not None:
            query = query.where(tuple_(*keys) > tuple_(*after) if len(keys) > 1 else keys[0] > after[0])
        rows = [tuple(row) for row in connection.execute(query)]
        if rows:
            yield rows
            after = [rows[-1][place] for place in places]
        if len(rows) < moved.rows:
            return


def _digest(connection: Connection, moved: _Moved, told: _Told | None) -> tuple[int, str]:
    """How many rows a table has, and a digest over all of them in order."""
    count, digest = 0, hashlib.sha256()
    encoder = msgspec.msgpack.Encoder()
    for rows in _slices(connection, moved):
        count += len(rows)
        for row in rows:
            digest.update(encoder.encode(row))
        if told is not None:
            told.more(len(rows))
    return count, digest.hexdigest()


def _count(connection: Connection, table: TableClause) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())
