"""What all that reads and writes the tables of one store stands on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from memos_core.stores.sql.databases import SqlDatabase
from memos_core.stores.sql.spans import Spans, own_spans, spans_of
from memos_core.stores.sql.statements import MEMBERS_AT_ONCE, Statements
from memos_core.types.work import CubeRow

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T", bound="SqlTables")


def repeatable(read: Callable[Concatenate[_T, _P], _R]) -> Callable[Concatenate[_T, _P], _R]:
    """A read that is tried again while the database is away for a moment. Doing it twice does no harm."""

    @wraps(read)
    def again(store: _T, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return store._database.repeated(lambda: read(store, *args, **kwargs))

    return again


class SqlTables:
    """The tables of one store.

    Args:
        database: they are in.
    """

    def __init__(self, database: SqlDatabase) -> None:
        self.id = ""  # of the store
        self._database = database
        self._statements = Statements(database)
        self._forked: dict[tuple[int, int, int, int], Spans] = {}  # of forks, as they were found

    @property
    def name(self) -> str:
        """Where the store is, for messages."""
        return self._database.name

    @property
    def database(self) -> SqlDatabase:
        """What the tables are in."""
        return self._database

    def _spans(self, cube: CubeRow) -> Spans:
        """Where the changes of a cube lie. That never changes, and is asked once."""
        if not cube.base_seq:
            return own_spans(cube.number)
        key = (self._database.lineage(), cube.number, cube.base, cube.base_seq)
        found = self._forked.get(key)
        if found is None:
            with self._database.asking() as connection:
                found = self._forked[key] = spans_of(connection, self._statements, cube)
        return found

    def _looking(self, members: Sequence[object]) -> AbstractContextManager[Connection]:
        """A connection to look so many things up at one moment."""
        return self._database.asking() if len(members) <= MEMBERS_AT_ONCE else self._database.reading()
