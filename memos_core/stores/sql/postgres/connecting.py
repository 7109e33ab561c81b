"""Connections to a PostgreSQL server, set up the way the truth needs them."""

from __future__ import annotations

import inspect
from typing import Any, Final

import psycopg
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper
from psycopg.types.string import StrBinaryDumper, StrDumper

from memos_core.errors import StoreReadOnly, UnsupportedStore
from memos_core.stores.sql.postgres.faults import another_store, translate_connecting
from memos_core.stores.sql.postgres.url import PostgresUrl

OLDEST: Final = 130000  # the first that tells what a snapshot sees (pg_current_snapshot, xid8)
_CAN_TIME_OUT: Final = "timeout" in inspect.signature(psycopg.Connection.wait).parameters  # from psycopg 3.3 on
_TimedOut: type[Exception] = getattr(psycopg.errors, "_WaitTimeout", TimeoutError)
_VERSION = "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('server_encoding')"
# The history of a server: another system, or another timeline of it (after a failover, or from a backup), may lack what
# was read before.
_HISTORY = """SELECT (SELECT system_identifier FROM pg_control_system())::text,
    substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8),
    CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END"""


class BinaryCursor(psycopg.Cursor[Any]):
    """A cursor whose rows come in binary: vectors in hexadecimal would take twice the bytes and ten times the work."""

    def execute(
        self, query: Any, params: Any = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> Any:
        """As psycopg does it. Statements without values may be several at once, which exist only in text."""
        asked = binary if binary is not None or params is None else True
        return super().execute(query, params, prepare=prepare, binary=asked)


class Connection(psycopg.Connection[Any]):
    """A connection that gives up on a server that says nothing.

    Attributes:
        patience: seconds to wait for an answer; None for ever.
        history: which server this is, and which of its histories.
    """

    patience: float | None = None
    history: tuple[str, str] = ("", "")

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As psycopg does it; a connection whose server has not answered in time is closed."""
        limit = timeout if timeout is not None else self.patience
        if limit is None or not _CAN_TIME_OUT:
            return super().wait(gen, interval)
        try:
            return super().wait(gen, interval, limit)
        except _TimedOut as error:
            if timeout is not None:
                raise
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer for {limit:g} seconds") from error


class Connector:
    """Makes connections to one store.

    Args:
        url: where it is.
        deadline: seconds to wait for a lock, at most.
    """

    def __init__(self, url: PostgresUrl, deadline: float) -> None:
        self.url = url
        self.store_id: str | None = None  # once it is known: a server that holds another store is refused
        self.patience = url.answer_timeout or deadline + 30.0
        session = f"-c search_path={url.schema} -c lock_timeout={max(1, int(deadline * 1000))} -c jit=off"
        given = dict(url.parameters)
        self._parameters: dict[str, Any] = {
            "application_name": "memos",
            "connect_timeout": str(max(2, min(10, int(deadline)))),
            "tcp_user_timeout": str(int(self.patience * 1000)),
            **given,
            "client_encoding": "utf8",
            "options": f"{given.get('options', '')} {session}".strip(),
        }

    def __repr__(self) -> str:
        return f"Connector({self.url.name!r})"

    def __call__(self) -> Connection:
        """A connection, in autocommit mode, that looks into the store's schema.

        Raises:
            StoreUnreachable, StoreRefused, StoreBusy, UnsupportedStore: as the server says.
            StoreReadOnly: it is a standby.
            ForeignStore: it holds another store than before.
        """
        try:
            made = Connection.connect(
                **self._parameters,
                autocommit=True,
                cursor_factory=BinaryCursor,
                prepare_threshold=self.url.prepare_threshold,
            )
        except psycopg.Error as error:
            # without the cause, which may quote what must not be seen
            raise translate_connecting(error, self.url) from None
        try:
            made.patience = self.patience
            made.adapters.register_dumper(int, Int8Dumper)  # one type for all integers: one plan for each statement
            made.adapters.register_dumper(int, Int8BinaryDumper)
            made.adapters.register_dumper(str, StrDumper)
            made.adapters.register_dumper(str, StrBinaryDumper)
            self._greet(made)
        except psycopg.Error as error:
            made.close()
            raise translate_connecting(error, self.url) from None
        except BaseException:
            made.close()
            raise
        return made

    def _greet(self, connection: Connection) -> None:
        row = connection.execute(_VERSION).fetchone()
        assert row is not None
        version, standby, encoding = row
        name = self.url.name
        if version < OLDEST:
            raise UnsupportedStore(f"{name}: the server is PostgreSQL {version // 10000}; memos needs 13 or newer")
        if standby:
            raise StoreReadOnly(
                f"{name}: the server is a standby, which only reads; name the primary "
                "(or all of them, with ?target_session_attrs=read-write)"
            )
        if encoding != "UTF8":
            raise UnsupportedStore(
                f"{name}: the database's encoding is {encoding}, which cannot hold every text; make one with UTF8"
            )
        row = connection.execute(_HISTORY).fetchone()
        assert row is not None
        connection.history = (row[0], row[1])
        if self.store_id is None:
            return
        try:
            found = connection.execute("SELECT value FROM store WHERE key = 'id'").fetchone()
        except psycopg.errors.UndefinedTable:
            found = None
        if found is None or found[0] != self.store_id:
            raise another_store(self.url)
