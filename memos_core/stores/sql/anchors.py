"""An anchor in another database: a table to which rows are added, and from which the database itself lets none be taken."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text, create_engine, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from memos_core.errors import AnchorUnavailable, InvalidConfig, MissingPackage
from memos_core.stores.anchors import Line
from memos_core.types.work import Checkpoint

_LOCK: Final = 0x6D656D6F73
anchors = Table(
    "memos_anchors",
    MetaData(),
    Column("place", BigInteger, primary_key=True),
    *(
        Column(name, Text if name not in ("cube", "number", "at", "after") else BigInteger)
        for name in Line.__struct_fields__
    ),
)

_COLUMNS: Final = (
    "store TEXT NOT NULL, cube BIGINT NOT NULL, number BIGINT NOT NULL, hash TEXT NOT NULL, at BIGINT NOT NULL, "
    "after BIGINT NOT NULL, key TEXT NOT NULL, signature TEXT NOT NULL"
)
_SQLITE: Final = (
    f"CREATE TABLE memos_anchors (place INTEGER PRIMARY KEY AUTOINCREMENT, {_COLUMNS})",
    "CREATE TRIGGER memos_anchors_no_update BEFORE UPDATE ON memos_anchors "
    "BEGIN SELECT RAISE(ABORT, 'anchors are never changed'); END",
    "CREATE TRIGGER memos_anchors_no_delete BEFORE DELETE ON memos_anchors "
    "BEGIN SELECT RAISE(ABORT, 'anchors are never deleted'); END",
)
_POSTGRESQL: Final = (
    f"CREATE TABLE memos_anchors (place BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {_COLUMNS})",
    "CREATE FUNCTION memos_anchors_keep() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'anchors are never changed or deleted'; END $$",
    "CREATE TRIGGER memos_anchors_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON memos_anchors "
    "FOR EACH STATEMENT EXECUTE FUNCTION memos_anchors_keep()",
    "REVOKE UPDATE, DELETE, TRUNCATE ON memos_anchors FROM PUBLIC",
)


class TableAnchor:
    """The table `memos_anchors` of a database.

    Args:
        url: postgresql://USER@HOST/DATABASE or sqlite:///FILE. The table is made, with triggers that keep its rows, if there
            is none; give the URL of a user who owns it to make it, and of one who may only insert and select afterwards.

    Raises:
        InvalidConfig: it is no such URL.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            if parsed.drivername in ("postgresql", "postgres"):
                parsed = parsed.set(drivername="postgresql+psycopg")
            if parsed.get_backend_name() not in ("postgresql", "sqlite"):
                raise InvalidConfig(f"an anchor is in PostgreSQL or SQLite, not in {parsed.get_backend_name()!r}")
            if parsed.get_backend_name() == "sqlite":
                parsed = parsed.set(database=_private(parsed.database or ""))
            self._engine = create_engine(parsed, poolclass=NullPool)
        except (ArgumentError, NoSuchModuleError) as error:
            raise InvalidConfig(
                f"the anchor is no URL of a database that can be opened: {type(error).__name__}"
            ) from error
        except ImportError as error:
            raise MissingPackage("psycopg", "postgres", "an anchor in PostgreSQL") from error
        self.name = parsed.set(query={}).render_as_string(hide_password=True)
        secret = parsed.password is not None or "password" in parsed.query
        self.spec = "" if secret else parsed.render_as_string()  # what is secret is not remembered
        self._made = False

    @contextmanager
    def _connection(self, what: str) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            raise AnchorUnavailable(f"the anchor {self.name} cannot be {what}: {reason}") from error

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Add them in one transaction."""
        with self._connection("written") as connection:
            self._make(connection)
            connection.execute(anchors.insert(), [msgspec.structs.asdict(Line.of(one)) for one in checkpoints])

    def _make(self, connection: Connection) -> None:
        if self._made:
            return
        if not inspect(connection).has_table("memos_anchors"):
            server = connection.dialect.name == "postgresql"
            if server:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if not server or not inspect(connection).has_table("memos_anchors"):
                for statement in _POSTGRESQL if server else _SQLITE:
                    connection.exec_driver_sql(statement)
        self._made = True

    def read(self) -> list[Checkpoint | str]:
        """All checkpoints, in order; a sentence in the place of one that cannot be read."""
        with self._connection("read") as connection:
            if not inspect(connection).has_table("memos_anchors"):
                raise AnchorUnavailable(f"the anchor {self.name} has no table memos_anchors (any more)")
            rows = connection.execute(select(anchors).order_by(anchors.c.place)).mappings().fetchall()
        found: list[Checkpoint | str] = []
        for row in rows:
            try:
                line = msgspec.convert({name: row[name] for name in Line.__struct_fields__}, Line)
                found.append(line.checkpoint())
            except (msgspec.ValidationError, ValueError):
                found.append(f"row {row['place']} of the anchor is no checkpoint: it was altered")
        return found

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()


def _private(path: str) -> str:
    """The file of an SQLite anchor, made for its owner alone if there is none.

    Raises:
        InvalidConfig: no file was named.
        AnchorUnavailable: it cannot be made.
    """
    if not path or path == ":memory:":
        raise InvalidConfig("an anchor has to stay: give a file, sqlite:///FILE")
    place = Path(path).expanduser().absolute()
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(place, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise AnchorUnavailable(f"the anchor {place} cannot be made: {error.strerror or error}") from error
    return str(place)
