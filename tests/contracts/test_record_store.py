"""If this fails, what a user stored is not what they get back: versions, numbers, transactions, grants or audit are wrong."""

from __future__ import annotations

from pathlib import Path

from memos_core.stores.sql.engine import Database
from memos_core.stores.sql.records import SqlStore
from memos_core.testing.record_store import Clock, RecordStoreContract


class TestSqlite(RecordStoreContract):
    def make_store(self, folder: Path, clock: Clock) -> SqlStore:
        return SqlStore(Database(folder / "memos.db"), now=clock)
