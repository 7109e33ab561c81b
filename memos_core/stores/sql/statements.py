"""SQLAlchemy statements compiled once and run at the driver's level.

Building and compiling a statement costs more than running it. So each is compiled the first time it is used, for the
dialect in hand, and afterwards runs as text with a tuple of values. Values are always bound, never part of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Select, TableClause, Update, bindparam
from sqlalchemy.sql.elements import BindParameter

from memos_core.stores.sql.databases import Answer, SqlDatabase

Statement = Select[Any] | Insert | Update | Delete
_Compiled = tuple[str, tuple[str, ...], dict[str, Any]]

# Lists of values are bound in one of these sizes, the rest filled up with the last value, so that few texts exist.
_SIZES = (1, 4, 16, 64, 256)
_MANY = 12  # rows, from which on copying them in is faster than inserting them
MEMBERS_AT_ONCE = _SIZES[-1]
_MEMBERS = tuple(f"m{place}" for place in range(_SIZES[-1]))


class Statements:
    """Compiled statements of one database, by name.

    Args:
        database: what they run on.
    """

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self._compiled: dict[object, _Compiled] = {}

    def run(
        self, connection: Connection, key: object, build: Callable[[], Statement], values: dict[str, Any]
    ) -> Answer:
        """Run the statement that `build` makes (once) under `key`, with these values by name."""
        text, names, constants = self._get(connection, key, build)
        bound = tuple([values[name] if name in values else constants[name] for name in names])
        return self._database.run(connection, text, bound)

    def run_list(
        self,
        connection: Connection,
        key: object,
        build: Callable[[list[BindParameter[Any]]], Statement],
        members: Sequence[Any],
        values: dict[str, Any] | None = None,
    ) -> Iterator[Any]:
        """Rows of a statement with `column.in_(parameters)`, run for all members in slices."""
        for start in range(0, len(members), _SIZES[-1]):
            piece = list(members[start : start + _SIZES[-1]])
            size = next(size for size in _SIZES if size >= len(piece))
            piece.extend(piece[-1:] * (size - len(piece)))
            bound: dict[str, Any] = dict(zip(_MEMBERS, piece, strict=False))

            def sized(size: int = size) -> Statement:
                return build([bindparam(name) for name in _MEMBERS[:size]])

            bound.update(values or {})
            yield from self.run(connection, (key, size), sized, bound).rows

    def write_list(
        self,
        connection: Connection,
        key: object,
        build: Callable[[list[BindParameter[Any]]], Statement],
        members: Sequence[Any],
        values: dict[str, Any],
    ) -> None:
        """As `run_list`, for a statement that answers nothing; doing the same to a member twice must do no harm."""
        for start in range(0, len(members), _SIZES[-1]):
            piece = list(members[start : start + _SIZES[-1]])
            size = next(size for size in _SIZES if size >= len(piece))
            piece.extend(piece[-1:] * (size - len(piece)))

            def sized(size: int = size) -> Statement:
                return build([bindparam(name) for name in _MEMBERS[:size]])

            self.run_each(connection, (key, size), sized, [{**dict(zip(_MEMBERS, piece, strict=False)), **values}])

    def insert(self, connection: Connection, table: TableClause, columns: tuple[str, ...], rows: Iterable[Any]) -> None:
        """Insert rows given as tuples in the order of `columns`."""
        rows = rows if isinstance(rows, list) else list(rows)
        if not rows:
            return
        if self._database.copy_in is not None and len(rows) >= _MANY:
            types = [(name, str(table.c[name].type)) for name in columns]
            self._database.copy_in(connection, table.name, types, rows)
            return

        def build() -> Statement:
            return table.insert().values({name: bindparam(name) for name in columns})

        text, names, _ = self._get(connection, (table.name, columns), build)
        if names != columns:
            order = [columns.index(name) for name in names]
            rows = [tuple(row[i] for i in order) for row in rows]
        self._run_rows(connection, text, rows)

    def run_each(
        self, connection: Connection, key: object, build: Callable[[], Statement], values: Sequence[dict[str, Any]]
    ) -> None:
        """Run a statement that answers nothing once for each of these values by name."""
        if values:
            text, names, _ = self._get(connection, key, build)
            self._run_rows(connection, text, [tuple(each[name] for name in names) for each in values])

    def _run_rows(self, connection: Connection, text: str, rows: list[Any]) -> None:
        if not self._database.later(connection, text, rows):
            self._database.run_each(connection, text, rows)

    def _get(self, connection: Connection, key: object, build: Callable[[], Statement]) -> _Compiled:
        found = self._compiled.get(key)
        if found is None:
            compiled = build().compile(dialect=connection.dialect)
            # A parameter that is not among the given values is a constant of the statement ("deleted = 0").
            found = (str(compiled), tuple(compiled.positiontup or ()), dict(compiled.params))
            self._compiled[key] = found
        return found
