"""What the statements need of a database: the one seam between SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

_T = TypeVar("_T")
Kept = Callable[[Connection], bool]
CopyIn = Callable[[Connection, str, Sequence[tuple[str, str]], Sequence[Any]], None]


class Answer:
    """All rows that a statement answers with, as tuples.

    Args:
        rows: in the order of the statement.
        names: of their columns.
    """

    __slots__ = ("_names", "rows")

    def __init__(self, rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> None:
        self.rows = rows
        self._names = names

    def first(self) -> tuple[Any, ...] | None:
        """The first row; None where there is none."""
        return self.rows[0] if self.rows else None

    def value(self) -> Any:
        """What stands in the first column of the first row; None where there is no row."""
        return self.rows[0][0] if self.rows else None

    def by_name(self) -> list[dict[str, Any]]:
        """The rows, by the names of their columns."""
        return [dict(zip(self._names, row, strict=True)) for row in self.rows]


class SqlDatabase(Protocol):
    """An open database; what is behind it is said in `engine.py` (SQLite) and `postgres/database.py`."""

    name: str

    @property
    def copy_in(self) -> CopyIn | None:
        """Inserts many rows of a table, given (name, type) of its columns; None where `INSERT` is as good."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees one moment of the database, whatever others write meanwhile."""

    def asking(self) -> AbstractContextManager[Connection]:
        """A connection for one statement."""

    def writing(
        self, *, alone: bool = False, kept: Kept | None = None, same_rules: Callable[[], bool] | None = None
    ) -> AbstractContextManager[Connection]:
        """A connection inside a transaction; committed at the end, rolled back on any error.

        Args:
            alone: nobody else may write to the store meanwhile.
            kept: whether the transaction was committed, asked over another connection if this one is lost just then.
            same_rules: whether cubes, grants and settings stay what they were, asked after the commit; None: they may not.
        """

    def repeated(self, work: Callable[[], _T]) -> _T:
        """What some work answers that may be done twice, tried again while the database is away for a moment."""

    def settings(self, connection: Connection) -> dict[str, str] | None:
        """All settings as they stay until the transaction ends, if it changes none; None where they must be asked for."""

    def run(self, connection: Connection, text: str, values: Sequence[Any]) -> Answer:
        """Run a statement in the words of the driver, inside the connection's transaction: what it answers, all of it."""

    def run_each(self, connection: Connection, text: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement that answers nothing once for each of these rows of values."""

    def later(self, connection: Connection, text: str, rows: Sequence[Sequence[Any]]) -> bool:
        """Run a statement that answers nothing, for each of these rows, some time before anything else is asked, or all is
        committed; whether that was taken on (else: run it now).
        """

    def lock(self, connection: Connection, what: str) -> bool:
        """Have others wait who lock the same until the transaction ends; whether what was read may have changed."""

    def new_cube_number(self, connection: Connection) -> int:
        """A number that no cube has had."""

    def numbers_taken(self, connection: Connection) -> None:
        """Cubes have been put in with their numbers: new ones get others."""

    def change_token(self) -> int:
        """Differs from the last one exactly when anybody has committed since."""

    def rules_token(self) -> int:
        """Differs from the last one wherever cubes, grants or settings may have changed since."""

    def wait_for_commit(self, seconds: float, sooner: threading.Event) -> None:
        """Return when anybody may have committed, when an event is set, or after so many seconds."""

    def lineage(self) -> int:
        """Differs from the last one where what was read before may be gone."""

    def operation(self, *, anew: bool = False) -> AbstractContextManager[None]:
        """Inside, `change_token` goes by what had been committed when the block began, and by this process's own commits."""

    def belongs_to(self, store_id: str) -> None:
        """The id of the store that was found, so that another one is not taken for it later."""

    def facts(self) -> dict[str, str | int]:
        """Name and version, bytes on disk ("bytes"), settings that matter."""

    def vacuum(self, *, whole: bool = False) -> list[str]:
        """Give space that nothing uses back; `whole` writes every table anew. Answers what may be left then."""

    def close(self) -> None:
        """Let go of everything."""
