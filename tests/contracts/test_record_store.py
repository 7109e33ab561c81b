"""If this fails, what a user stored is not what they get back: versions, numbers, transactions, grants or audit are wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from memos_core.stores.sql.engine import Database
from memos_core.stores.sql.postgres.database import PostgresDatabase
from memos_core.stores.sql.postgres.url import PostgresUrl
from memos_core.stores.sql.records import SqlStore
from memos_core.testing.record_store import Clock, RecordStoreContract


class TestSqlite(RecordStoreContract):
    def make_store(self, folder: Path, clock: Clock) -> SqlStore:
        return SqlStore(Database(folder / "memos.db"), now=clock)


class TestPostgres(RecordStoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, postgres_url: str) -> None:
        self.url = postgres_url

    def make_store(self, folder: Path, clock: Clock) -> SqlStore:
        schema = f"f{hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()}"
        return SqlStore(PostgresDatabase(PostgresUrl(f"{self.url}?schema={schema}")), now=clock)
