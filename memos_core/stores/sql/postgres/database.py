"""Transactions on a PostgreSQL server, with the manners of the SQLite engine and a deadline for everything.

Several may write at once: a cube is locked by its counter row, the store as a whole by an advisory lock that ordinary
writers share and that work which must be alone takes for itself (migrations, settings, replacing all vectors).

What may be done twice is tried again until the deadline when the connection is lost: whole reads, and the beginning of a
transaction. A transaction that is under way fails, and nothing of it is kept. If the connection is lost while it commits,
the server is asked, over another one, what became of it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final, TypeVar, cast

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from memos_core.errors import CommitUnknown, StoreBusy, StoreClosed, StoreUnreachable
from memos_core.stores.sql.databases import Answer
from memos_core.stores.sql.postgres.cleaning import write_anew
from memos_core.stores.sql.postgres.connecting import Connection as Raw
from memos_core.stores.sql.postgres.connecting import Connector
from memos_core.stores.sql.postgres.faults import GONE, coming_back, translate, words_of
from memos_core.stores.sql.postgres.freshness import Freshness
from memos_core.stores.sql.postgres.listening import Listening
from memos_core.stores.sql.postgres.schemas import prepare_schema
from memos_core.stores.sql.postgres.url import PostgresUrl

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {}({})"
_SETTINGS: Final = "; SELECT key, value FROM store; "  # nobody changes them while others write
_LATER: Final = "memos later"  # in a connection's `info`: statements that answer nothing, not sent yet
_KNOWN: Final = "memos settings"
_BEGUN: Final = "memos begun"
_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TYPES: Final = {"BIGINT": "int8", "TEXT": "text", "BLOB": "bytea", "FLOAT": "float8", "BYTEA": "bytea"}
TABLES: Final = (
    "store",
    "cubes",
    "items",
    "versions",
    "vectors",
    "conversations",
    "links",
    "batches",
    "details",
    "checkpoints",
    "jobs",
    "grants",
    "holds",
)
Kept = Callable[[Connection], bool]


class PostgresDatabase:
    """A store's schema on a server. Use `reading()`, `asking()` and `writing()`.

    Args:
        url: where it is; the schema is made if there is none.
        deadline: seconds that a caller waits at most, for others or for the server to come back.

    Raises:
        StoreUnreachable, StoreRefused, StoreReadOnly, UnsupportedStore, ...: it cannot be used.
    """

    def __init__(self, url: PostgresUrl, *, deadline: float = 30.0) -> None:
        self.url = url
        self.name = url.name
        self._deadline = deadline
        self._connector = Connector(url, deadline)
        self._channel = f"memos.{url.schema}"
        self._everything = self._key("everything")
        self._closed = False
        self.repeated(lambda: prepare_schema(self._connector, self._everything), coming_back)
        self.freshness = Freshness(
            self._connector, name=self.name, channel=self._channel, poll=url.poll if url.eventual else None
        )
        self._listening = Listening(self._connector, self._channel)
        # A writer may read beside its transaction: half of the connections stay free for that.
        self._writers = self._free_writers()
        self.engine = self._make_engine()
        own = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget_connections(own()))

    def _free_writers(self) -> threading.BoundedSemaphore:
        return threading.BoundedSemaphore(max(1, (self.url.pool_size + self.url.max_overflow) // 2))

    # -- transactions -------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one moment of the database, whatever others write meanwhile."""
        with self._translated():
            connection = self._begun(_READ)
            try:
                yield connection
                _raw(connection).execute("COMMIT")
            except BaseException:
                self._roll_back(connection)
                raise
            finally:
                connection.close()

    @contextmanager
    def asking(self) -> Iterator[Connection]:
        """A connection for one statement, which by itself sees one moment: two round trips less than `reading`."""
        with self._translated():
            connection = self._begun("")
            try:
                yield connection
            except BaseException:
                self._roll_back(connection)
                raise
            finally:
                connection.close()

    @contextmanager
    def writing(
        self, *, alone: bool = False, kept: Kept | None = None, same_rules: Callable[[], bool] | None = None
    ) -> Iterator[Connection]:
        """A connection inside a transaction; committed at the end, rolled back on any error.

        Args:
            alone: nobody else may write to the store meanwhile.
            kept: whether the transaction was committed, asked over another connection if this one is lost just then.
            same_rules: not asked: an operation asks the server once what is new, whatever that is.

        Raises:
            StoreBusy: others kept a lock until the deadline.
            StoreUnreachable: the connection was lost; nothing is kept.
            CommitUnknown: it was lost while committing, and the server cannot be asked what became of it.
        """
        if not self._writers.acquire(timeout=self._deadline):
            raise StoreBusy(f"{self.name}: other threads have been writing for over {self._deadline:g} s")
        try:
            with self._translated():
                connection = self._begun_to_write(alone=alone)
                try:
                    if alone:
                        _raw(connection).patience = None  # replacing all vectors takes what it takes
                    yield connection
                    self._commit(connection, kept)
                except BaseException:
                    self._roll_back(connection)
                    raise
                finally:
                    if not connection.invalidated:
                        _raw(connection).patience = self._connector.patience
                        connection.info.pop(_KNOWN, None)
                        connection.info.pop(_LATER, None)
                    connection.close()
        finally:
            self._writers.release()

    def _begun_to_write(self, *, alone: bool) -> Connection:
        """A connection on which a writing transaction has begun.

        Settings, and whether others have committed since, come in the same round trip.
        """
        asked: list[tuple[str, int] | None] = []
        function = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
        begin = _BEGIN.format(function, self._everything)

        def statement(raw: Raw) -> str:
            asked[:] = [None if alone else self.freshness.question(raw)]
            return begin if alone or self._connector.store_id is None else begin + _SETTINGS + (asked[0] or ("", 0))[0]

        connection = self._begun(statement)
        cursor: Any = connection.info.pop(_BEGUN)
        if cursor is not None and not alone and self._connector.store_id is not None:
            cursor.nextset()
            cursor.nextset()
            connection.info[_KNOWN] = dict(cursor.fetchall())
            if asked[0] is not None and cursor.nextset():
                self.freshness.answered(cursor.fetchone(), asked[0][1])
        connection.info[_LATER] = []
        return connection

    def _begun(self, begin: str | Callable[[Raw], str]) -> Connection:
        """A connection on which a transaction has begun. Nothing is lost if that takes several attempts."""

        def attempt() -> Connection:
            if self._closed:
                raise StoreClosed(f"{self.name} is closed")
            with self._translated():
                connection = self.engine.connect()
                try:
                    if callable(begin):
                        connection.info[_BEGUN] = _raw(connection).execute(begin(_raw(connection)))
                    elif begin:
                        _raw(connection).execute(begin)
                    elif _raw(connection).broken:
                        raise psycopg.OperationalError("the connection was closed")
                except BaseException as error:
                    self._roll_back(connection)
                    connection.close()
                    if isinstance(error, psycopg.Error) and _is_lost(error):
                        self.engine.dispose()  # the others in the pool are as old as this one
                    raise
                return connection

        return self.repeated(attempt)

    def repeated(self, work: Callable[[], _T], worth_it: Callable[[StoreUnreachable], bool] = lambda error: True) -> _T:
        """What some work answers that may be done twice, tried again until the deadline while the server is away.

        Args:
            worth_it: whether it may help to try again.
        """
        until = time.monotonic() + self._deadline
        pause = 0.01
        while True:
            try:
                return work()
            except CommitUnknown:
                raise
            except StoreUnreachable as error:
                if self._closed or time.monotonic() + pause > until or not worth_it(error):
                    raise
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, 0.5)

    def _commit(self, connection: Connection, kept: Kept | None) -> None:
        raw = _raw(connection)
        if raw.info.transaction_status != psycopg.pq.TransactionStatus.INTRANS:
            raise psycopg.InternalError("a statement of the transaction failed before")
        commit: psycopg.Cursor[Any] | None = None
        try:
            with raw.pipeline():
                # What was put off goes first. If it fails the server passes over the rest of the pipeline: COMMIT too.
                self._send_later(connection)
                commit = raw.execute("COMMIT", prepare=False)
                # Telling others is a transaction of its own: within the first it would hold a lock that all who tell
                # anything must take in turn, while the commit waits for the disk.
                raw.execute(sql.SQL("NOTIFY {}").format(sql.Identifier(self._channel)), prepare=False)
        except psycopg.Error as error:
            if commit is not None and commit.statusmessage == "COMMIT":  # only the notification went wrong
                log.warning("%s: others could not be told of a write: %s", self.name, words_of(error, self.url))
            elif commit is None or not _is_lost(error):
                raise
            else:
                self._ask_what_became(connection, kept, error)
        self.freshness.committed()

    def _ask_what_became(self, connection: Connection, kept: Kept | None, error: psycopg.Error) -> None:
        """Find out whether a transaction was committed whose connection was lost meanwhile; return if it was."""
        connection.invalidate()
        unknown = (
            f"{self.name}: the connection was lost while a change was committed, and whether it was kept cannot be found "
            "out; look before you try again"
        )
        if kept is None:
            raise CommitUnknown(unknown) from error

        def ask() -> bool:
            with self._translated():
                other = self._begun("BEGIN ISOLATION LEVEL READ COMMITTED")
                try:
                    return kept(other)
                finally:
                    self._roll_back(other)
                    other.close()

        try:
            if self.repeated(ask):
                return
        except (StoreUnreachable, StoreBusy) as failure:
            raise CommitUnknown(f"{unknown} ({failure})") from error
        raise error

    def _roll_back(self, connection: Connection) -> None:
        if connection.invalidated or connection.closed:
            return
        raw = _raw(connection)
        if raw.closed or raw.broken:
            connection.invalidate()
            return
        try:
            raw.patience = self._connector.patience
            raw.rollback()
        except psycopg.Error:
            connection.invalidate()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, psycopg.Error) as error:
            raise translate(error, self.url) from error
        except PoolTimeout as error:
            raise StoreBusy(
                f"{self.name}: all connections of this process are in use (pool_size, max_overflow)"
            ) from error

    # -- what the statements need of this database --------------------------------------------------------------------

    def lock(self, connection: Connection, what: str) -> bool:
        """Have others wait who lock the same until this transaction ends; what was read before may have changed."""
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (self._key(what),))
        return True

    def _key(self, what: str) -> int:
        digest = hashlib.blake2b(f"memos\x00{self.url.schema}\x00{what}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)

    def settings(self, connection: Connection) -> dict[str, str] | None:
        """All settings, as they stay until this transaction ends."""
        return cast("dict[str, str] | None", connection.info.get(_KNOWN))

    def run(self, connection: Connection, text: str, values: Sequence[Any]) -> Answer:
        """Run a statement in the words of the driver: what it answers, all of it."""
        result = connection.exec_driver_sql(text, tuple(values))
        if not result.returns_rows:
            return Answer((), ())
        names = list(result.keys())
        return Answer([tuple(row) for row in result], names)

    def run_each(self, connection: Connection, text: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement that answers nothing once for each of these rows of values."""
        connection.exec_driver_sql(text, [tuple(row) for row in rows] if len(rows) > 1 else tuple(rows[0]))

    def later(self, connection: Connection, text: str, rows: Sequence[Sequence[Any]]) -> bool:
        """Put a statement off that answers nothing until something else is asked, or all is committed: one round trip
        instead of many. Whether it was; outside `writing` it is not.
        """
        waiting = connection.info.get(_LATER)
        if waiting is None:
            return False
        waiting.append((text, rows))
        return True

    def _send_later(self, connection: Connection) -> None:
        waiting = connection.info.get(_LATER) or []
        for text, rows in waiting:
            for row in rows:
                _raw(connection).execute(text, row)
        waiting.clear()

    def _send_before(self, connection: Connection, *_: object) -> None:
        """What was put off is sent before anything that may look at it."""
        if connection.info.get(_LATER):
            with _raw(connection).pipeline():
                self._send_later(connection)

    def new_cube_number(self, connection: Connection) -> int:
        """A number that no cube has had."""
        return int(connection.exec_driver_sql("SELECT nextval('cube_numbers')").scalar_one())

    def numbers_taken(self, connection: Connection) -> None:
        """Cubes have been put in with their numbers: new ones get others. Plans are made for what is there now."""
        connection.exec_driver_sql(
            "SELECT setval('cube_numbers', (SELECT coalesce(max(cube), 0) + 1 FROM cubes), false)"
        )
        connection.exec_driver_sql(
            "SELECT setval(pg_get_serial_sequence('jobs', 'job'), (SELECT coalesce(max(job), 0) + 1 FROM jobs), false)"
        )
        for table in TABLES:
            connection.exec_driver_sql(f"ANALYZE {table}")

    def copy_in(
        self, connection: Connection, table: str, types: Sequence[tuple[str, str]], rows: Sequence[Any]
    ) -> None:
        """Insert many rows at once, in binary.

        Args:
            types: (name, type) of each column, in the order of the values.
        """
        columns = sql.SQL(", ").join(sql.Identifier(name) for name, _ in types)
        query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table), columns)
        self._send_before(connection)
        with _raw(connection).cursor() as cursor, cursor.copy(query) as copy:
            copy.set_types([_TYPES[kind] for _, kind in types])
            for row in rows:
                copy.write_row(row)

    # -- changes of others --------------------------------------------------------------------------------------------

    def rules_token(self) -> int:
        """As `change_token`: a server that is asked at all may as well be asked everything."""
        return self.change_token()

    def change_token(self) -> int:
        """Differs from the last one exactly when anybody has committed since (see `freshness`)."""

        def ask() -> int:
            with self._translated():
                return self.freshness.token()

        return self.repeated(ask)

    def wait_for_commit(self, seconds: float, sooner: threading.Event) -> None:
        """Return when anybody may have committed, when an event is set, or after so many seconds."""
        if self._closed:
            raise StoreClosed(f"{self.name} is closed")
        self._listening.wait(seconds, sooner)

    def lineage(self) -> int:
        """Differs from the last one where what was read before may be gone: after a failover, say."""
        return self.freshness.lineage()

    def operation(self, *, anew: bool = False) -> AbstractContextManager[None]:
        """Inside, others' commits are asked for once."""
        return self.freshness.operation(anew=anew)

    # -- opening and closing ------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, str | int]:
        """What the server says of itself and of this store."""
        settings = ("server_version", "synchronous_commit", "fsync", "full_page_writes")
        asked = ", ".join(f"current_setting('{name}')" for name in settings)
        size = """SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"""
        with self.reading() as connection:
            version, *values = connection.exec_driver_sql(f"SELECT {asked}").one()
            taken = int(connection.exec_driver_sql(size).scalar_one())
        return {"database": f"PostgreSQL {version}", **dict(zip(settings[1:], values, strict=True)), "bytes": taken}

    def vacuum(self, *, whole: bool = False) -> list[str]:
        """Have the server use the space again that old rows take, and plan by what is there. Nobody waits for that.

        Args:
            whole: write every table anew, and the statistics, which quote what is in them; others wait meanwhile.

        Returns:
            What may be left then.
        """
        if whole:
            return write_anew(self, TABLES, self._deadline)
        with self.asking() as connection:
            for table in TABLES:
                connection.exec_driver_sql(f"VACUUM (ANALYZE) {table}")
        return []

    def belongs_to(self, store_id: str) -> None:
        """Refuse servers that hold another store, from now on."""
        self._connector.store_id = store_id

    def _make_engine(self) -> Engine:
        engine = create_engine(
            "postgresql+psycopg://",
            creator=self._connector,
            paramstyle="format",
            isolation_level="AUTOCOMMIT",  # transactions are begun and ended here
            pool_size=self.url.pool_size,
            max_overflow=self.url.max_overflow,
            pool_timeout=self._deadline,
            skip_autocommit_rollback=True,
            use_native_hstore=False,
            hide_parameters=True,  # they are people's memories
        )
        event.listen(engine, "before_cursor_execute", self._send_before)
        return engine

    def close(self) -> None:
        """Close every connection. Doing it twice does nothing."""
        self._closed = True
        with suppress(psycopg.Error):
            self.freshness.close()
            self._listening.close()
        self.engine.dispose()

    def after_fork(self) -> None:
        """Forget all connections without closing them."""
        self._writers = self._free_writers()
        self.freshness.after_fork()
        self._listening.after_fork()
        self.engine.dispose(close=False)


def _raw(connection: Connection) -> Raw:
    return cast(Raw, connection.connection.dbapi_connection)


def _is_lost(error: psycopg.Error) -> bool:
    """Whether an error means that the server, or the way to it, is gone."""
    state = error.sqlstate or ""
    return state.startswith(GONE) or (
        not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    )


def _forget_connections(database: PostgresDatabase | None) -> None:
    """In a forked child: the parent's connections must not be used or closed here."""
    if database is not None:
        database.after_fork()
