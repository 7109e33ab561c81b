"""If this fails, background work is lost, done twice, done in the wrong order, or waits for ever."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from memos_core.stores.sql.engine import Database
from memos_core.stores.sql.postgres.database import PostgresDatabase
from memos_core.stores.sql.postgres.url import PostgresUrl
from memos_core.stores.sql.records import SqlStore
from memos_core.testing.job_store import JobStoreContract
from memos_core.testing.stores import Clock


class TestSqlite(JobStoreContract):
    def make_store(self, folder: Path, clock: Clock) -> SqlStore:
        return SqlStore(Database(folder / "memos.db"), now=clock)


class TestPostgres(JobStoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, postgres_url: str) -> None:
        self.url = postgres_url

    def make_store(self, folder: Path, clock: Clock) -> SqlStore:
        schema = f"f{hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()}"
        return SqlStore(PostgresDatabase(PostgresUrl(f"{self.url}?schema={schema}")), now=clock)
