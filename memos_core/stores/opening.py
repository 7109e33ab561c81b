"""Opening the truth at a location. The database library loads here, when a store is first opened."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from memos_core.errors import StoreNotFound, UnsupportedStore
from memos_core.protocols.storage import RecordStore

IN_MEMORY: Final = ":memory:"
DATABASE: Final = "memos.db"


def open_sqlite(folder: Path, *, deadline: float, now: Callable[[], datetime]) -> RecordStore:
    """The store in a folder, made if there is none.

    Args:
        folder: holds the database file.
        deadline: seconds to wait at most while other processes write.
        now: the clock.

    Raises:
        StoreReadOnly, ForeignStore, NewerSchema, StoreDamaged, StoreFull, StoreBusy: it cannot be used.
    """
    from memos_core.stores.sql.engine import Database
    from memos_core.stores.sql.records import SqlStore

    database = Database(folder / DATABASE, deadline=deadline)
    try:
        return SqlStore(database, now=now)
    except BaseException:
        database.close()
        raise


def require_sqlite(folder: Path) -> None:
    """Make sure that there is a store in a folder.

    Raises:
        StoreNotFound: there is none.
    """
    if not (folder / DATABASE).exists():
        raise StoreNotFound(f"there is no store at {folder} (no {DATABASE} in it)")


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
        raise UnsupportedStore(f"{scheme!r} stores are not supported; give a folder (or sqlite:///FOLDER)")
    path = Path(location).expanduser()
    if path.is_file():
        raise UnsupportedStore(f"{path} is a file; give the folder that holds (or shall hold) {DATABASE}")
    return path
