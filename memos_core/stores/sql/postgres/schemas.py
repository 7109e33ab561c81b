"""The schema that a store is: whether it is there, and making it."""

from __future__ import annotations

import psycopg
from psycopg import sql

from memos_core.errors import StoreRefused
from memos_core.stores.sql.postgres.connecting import Connection, Connector
from memos_core.stores.sql.postgres.faults import translate
from memos_core.stores.sql.postgres.url import PostgresUrl


def prepare_schema(connector: Connector, lock: int) -> None:
    """Make the store's schema if there is none.

    Args:
        connector: to the store.
        lock: key of the advisory lock under which several do not make it at once.

    Raises:
        StoreRefused: the user may not use it, or not make it.
    """
    url = connector.url
    connection = connector()
    try:
        query = "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = %s"
        found = connection.execute(query, (url.schema,)).fetchone()
        if found is None:
            _make(connection, url, lock)
        elif not found[0]:
            raise StoreRefused(
                f"{url.name}: schema {url.schema!r} belongs to somebody else; "
                "have it granted (GRANT USAGE, CREATE ON SCHEMA), or name another one with ?schema="
            )
    except psycopg.Error as error:
        raise translate(error, url) from error
    finally:
        connection.close()


def _make(connection: Connection, url: PostgresUrl, lock: int) -> None:
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(url.schema)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreRefused(
            f"{url.name}: there is no schema {url.schema!r}, and this user may not make one; have its owner say "
            f'CREATE SCHEMA "{url.schema}" AUTHORIZATION the user'
        ) from error


def store_exists(url: PostgresUrl, *, deadline: float) -> bool:
    """Whether there is a store behind a URL; nothing is made."""
    connection = Connector(url, deadline)()
    try:
        row = connection.execute("SELECT to_regclass('store') IS NOT NULL").fetchone()
    finally:
        connection.close()
    return bool(row and row[0])
