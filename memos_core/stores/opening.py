"""Opening the truth at a location. The database library loads here, when a store is first opened."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from memos_core.errors import StoreNotFound, UnsupportedStore
from memos_core.protocols.storage import RecordStore
from memos_core.types.work import utc_now

if TYPE_CHECKING:
    from memos_core.stores.sql.records import SqlStore

IN_MEMORY: Final = ":memory:"
DATABASE: Final = "memos.db"
INDEXES: Final = "index"


def open_sqlite(folder: Path, *, deadline: float, now: Callable[[], datetime]) -> RecordStore:
    """The store in a folder, made if there is none; as `open_store`."""
    return open_sql(folder, deadline=deadline, now=now)


def open_store(
    location: str | Path, *, deadline: float, now: Callable[[], datetime], create: bool = True
) -> RecordStore:
    """The store at a location.

    Args:
        location: a folder, or the URL of a PostgreSQL store.
        deadline: seconds to wait at most for others, or for a server to come back.
        now: the clock.
        create: make it if there is none.

    Raises:
        StoreNotFound: there is none, and none shall be made.
        UnsupportedStore: a URL of something else.
        StoreUnreachable, StoreRefused: the server is not there, or does not let us in.
        StoreReadOnly, ForeignStore, NewerSchema, StoreDamaged, StoreFull, StoreBusy: it cannot be used.
    """
    if not create and not store_exists(location, deadline=deadline):
        raise StoreNotFound(f"there is no store at {shown(location)}")
    return open_sql(location, deadline=deadline, now=now)


def open_sql(
    location: str | Path, *, deadline: float, now: Callable[[], datetime] = utc_now, moving: bool = False
) -> SqlStore:
    """As `open_store`, for what looks into the tables.

    Args:
        moving: also if a store is being moved there that has not arrived as a whole.
    """
    from memos_core.stores.sql.databases import SqlDatabase
    from memos_core.stores.sql.records import SqlStore

    database: SqlDatabase
    if is_server(location):
        from memos_core.stores.sql.postgres.url import PostgresUrl

        url = PostgresUrl(str(location))
        from memos_core.stores.sql.postgres.database import PostgresDatabase

        database = PostgresDatabase(url, deadline=deadline)
    else:
        from memos_core.stores.sql.engine import Database

        database = Database(folder_of(location) / DATABASE, deadline=deadline)
    try:
        return SqlStore(database, now=now, moving=moving)
    except BaseException:
        database.close()
        raise


def is_server(location: str | Path) -> bool:
    """Whether a location is the URL of a store on a server."""
    scheme, separator, _ = str(location).partition("://")
    return bool(separator) and scheme.partition("+")[0] in ("postgresql", "postgres")


def store_exists(location: str | Path, *, deadline: float) -> bool:
    """Whether there is a store at a location; nothing is made.

    Raises:
        UnsupportedStore, StoreUnreachable, StoreRefused: as for `open_store`.
    """
    if not is_server(location):
        return (folder_of(location) / DATABASE).exists()
    from memos_core.stores.sql.postgres.url import PostgresUrl

    url = PostgresUrl(str(location))
    from memos_core.stores.sql.postgres import schemas

    return schemas.store_exists(url, deadline=deadline)


def named(location: str | Path) -> str:
    """A location for messages: without a password."""
    if not is_server(location):
        return str(location)
    from memos_core.stores.sql.postgres.url import PostgresUrl

    return PostgresUrl(str(location)).name


def shown(location: str | Path) -> str:
    """A location for messages: without a password, and with what is missing there if there is nothing."""
    if not is_server(location):
        return f"{location} (no {DATABASE} in it)"
    from memos_core.stores.sql.postgres.url import PostgresUrl

    url = PostgresUrl(str(location))
    return f"{url.name} (no memos tables in its schema {url.schema!r})"


def index_folder(location: str | Path, store: RecordStore, cache: str | Path | None) -> Path:
    """Where the indexes of a store's cubes lie.

    Args:
        cache: a folder for what is derived; None has it beside the database, or in the user's cache for one on a server.
    """
    if cache is None and not is_server(location):
        return folder_of(location) / INDEXES
    if cache is None:
        import platformdirs

        cache = platformdirs.user_cache_path("memos") / INDEXES
    # Two stores may have the same id (one was moved, or restored elsewhere): the name keeps their folders apart.
    where = hashlib.sha256(store.name.encode()).hexdigest()[:8]
    return Path(cache).expanduser() / f"{store.id}-{where}"


def folder_of(location: str | Path) -> Path:
    """The folder that a location names.

    Raises:
        UnsupportedStore: it is a URL of a database that is not supported.
    """
    text = str(location)
    if not text.strip():
        raise UnsupportedStore("the location is empty; give a folder")
    scheme, separator, rest = text.partition("://")
    if separator:
        if scheme == "sqlite" and rest.startswith("/"):
            return Path(rest[1:])
        raise UnsupportedStore(
            f"{scheme!r} stores are not supported; give a folder (or sqlite:///FOLDER), or postgresql://USER@HOST:PORT/DATABASE"
        )
    path = Path(location).expanduser()
    if path.is_file():
        raise UnsupportedStore(f"{path} is a file; give the folder that holds (or shall hold) {DATABASE}")
    return path
