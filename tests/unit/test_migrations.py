"""If these fail, upgrading memos loses a user's memory or leaves it half changed, an older memos writes into what it does not
understand, or memos takes over a database that belongs to another program."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, TableClause

from memos_core import MOS
from memos_core.errors import ForeignStore, NewerSchema, StoreDamaged, StoreError
from memos_core.stores.sql import schema
from memos_core.stores.sql.engine import APPLICATION_ID, Database
from memos_core.stores.sql.migrations import MIGRATIONS, applied, pending, upgrade
from memos_core.stores.sql.records import SqlStore

NAMES = [name for name, _ in MIGRATIONS]


def raw(path: Path, *statements: str) -> None:
    """Run SQL on a database as another program would."""
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    lines = [*connection.iterdump(), str(connection.execute("PRAGMA application_id").fetchone())]
    connection.close()
    return lines


def tables(path: Path) -> dict[str, str]:
    connection = sqlite3.connect(path)
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    connection.close()
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def had(path: Path, count: int) -> Path:
    """A database that has had the first so many migrations."""
    database = Database(path)
    with database.writing() as connection:
        upgrade(connection, MIGRATIONS[:count])
    database.close()
    return path


# -- upgrading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(len(MIGRATIONS) + 1))
def test_a_store_of_any_earlier_version_is_brought_up_to_date(tmp_path: Path, count: int) -> None:
    old = had(tmp_path / "old" / "memos.db", count)
    with MOS.open(tmp_path / "old") as mos, MOS.open(tmp_path / "new"):
        ann = mos.session("ann")
        ann.add("Hello there.")
        assert ann.search("hello")[0].text == "Hello there."
        assert mos.verify() == []
    assert tables(old) == tables(tmp_path / "new" / "memos.db")
    connection = sqlite3.connect(old)
    assert [row[0] for row in connection.execute("SELECT name FROM migrations ORDER BY name")] == NAMES
    connection.close()


def test_migrations_run_in_order_once_and_are_recorded(tmp_path: Path) -> None:
    path = tmp_path / "memos.db"
    database = Database(path)
    with database.reading() as connection:
        assert applied(connection) is None
        assert [name for name, _ in pending(connection)] == NAMES == sorted(NAMES)
    with database.writing() as connection:
        assert upgrade(connection) == NAMES
        assert upgrade(connection) == []
    with database.reading() as connection:
        assert applied(connection) == NAMES
        assert pending(connection) == []
        times = [row[0] for row in connection.exec_driver_sql("SELECT applied_at FROM migrations").fetchall()]
    assert all(10**15 < at < 10**17 for at in times), "microseconds since 1970"
    database.close()
    before = dump(path)
    MOS.open(tmp_path).close()
    assert [line for line in dump(path) if "migrations" in line] == [line for line in before if "migrations" in line]


def test_queries_name_just_the_columns_that_there_are(tmp_path: Path) -> None:
    path = had(tmp_path / "memos.db", len(MIGRATIONS))
    connection = sqlite3.connect(path)
    for table in schema.__dict__.values():
        if isinstance(table, TableClause) and table.name != "staged_vectors":
            there = {row[1] for row in connection.execute(f"PRAGMA table_info({table.name})")}
            assert {column.name for column in table.columns} == there, table.name
    connection.close()


def _halfway(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE added (x INTEGER)")
    connection.exec_driver_sql("ALTER TABLE cubes ADD COLUMN colour TEXT")
    connection.exec_driver_sql("UPDATE cubes SET owner = 'nobody'")
    connection.exec_driver_sql("DROP TABLE links")
    raise RuntimeError("the migration failed")


def _fine(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE fine (x INTEGER)")


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    with MOS.open(tmp_path) as mos:
        mos.session("ann").add("Hello there.")
    path = tmp_path / "memos.db"
    before = dump(path)
    database = Database(path)
    known = [*MIGRATIONS, ("m998_fine", _fine), ("m999_fails", _halfway)]
    with pytest.raises(RuntimeError, match="the migration failed"):
        _upgrade(database, known)
    database.close()
    assert dump(path) == before, "not even the migrations before it, which ran in the same transaction"
    with MOS.open(tmp_path) as mos:
        assert mos.session("ann").search("hello")[0].text == "Hello there."
        assert mos.verify() == []


def _upgrade(database: Database, known: list[tuple[str, Callable[[Connection], None]]]) -> None:
    with database.writing() as connection:
        upgrade(connection, known)


def test_a_process_that_dies_while_it_makes_the_tables_leaves_none(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from memos_core.stores.sql.engine import Database
from memos_core.stores.sql.migrations import m001_ground_floor as first, upgrade

class Halfway(str):
    def format_map(self, words):
        os.kill(os.getpid(), signal.SIGKILL)

first.TABLES = (*first.TABLES[:9], Halfway())
with Database(Path({str(tmp_path)!r}) / "memos.db").writing() as connection:
    upgrade(connection, [("m001_ground_floor", first.upgrade)])
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert tables(tmp_path / "memos.db") == {}
    with MOS.open(tmp_path) as mos:
        mos.session("ann").add("Hello there.")
        assert mos.verify() == []


def test_many_that_open_a_new_store_at_once_have_the_same_one(tmp_path: Path) -> None:
    def open_it(_: int) -> str:
        store = SqlStore(Database(tmp_path / "memos.db"))
        try:
            return store.id
        finally:
            store.close()

    with ThreadPoolExecutor(6) as pool:
        ids = set(pool.map(open_it, range(12)))
    assert len(ids) == 1
    assert len(ids.pop()) == 32


# -- what is not ours -------------------------------------------------------------------------------------------------


def refused(folder: Path, error: type[StoreError], saying: str) -> None:
    """Opening is refused, and not a byte in the folder has changed."""
    before = contents(folder)
    for _ in range(2):
        with pytest.raises(error, match=saying):
            MOS.open(folder)
        assert contents(folder) == before


def test_a_store_of_a_newer_memos_is_left_alone(tmp_path: Path) -> None:
    with MOS.open(tmp_path) as mos:
        mos.session("ann").add("Hello there.")
    raw(tmp_path / "memos.db", "INSERT INTO migrations VALUES ('m999_from_the_future', 1)", "CREATE TABLE future (x)")
    refused(tmp_path, NewerSchema, r"m999_from_the_future.*pip install -U memoskit")


def test_databases_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    made = {
        "tables": ["CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('mine')"],
        "marked": ["PRAGMA application_id=1234"],
        "looks like ours": ["CREATE TABLE store (key, value)", "CREATE TABLE migrations (name)"],
        "a view": ["CREATE VIEW one AS SELECT 1"],
    }
    for name, statements in made.items():
        (tmp_path / name).mkdir()
        raw(tmp_path / name / "memos.db", *statements)
        refused(tmp_path / name, ForeignStore, "another program.*folder of its own")
    (tmp_path / "claimed").mkdir()
    raw(
        tmp_path / "claimed" / "memos.db",
        "PRAGMA journal_mode=WAL",
        f"PRAGMA application_id={APPLICATION_ID}",
        "CREATE TABLE notes (text)",
    )
    refused(tmp_path / "claimed", ForeignStore, "notes.*of its own")


def test_files_that_are_no_database_are_left_alone(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(20_000)
    made = {
        "a word": b"Hi\n",
        "a note": b"Dear diary, this is not a database.\n",
        "much text": b"All work and no play makes Jack a dull boy.\n" * 500,
        "noise": noise,
        "the right start": b"SQLite format 3\x00" + noise,
    }
    for name, data in made.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "memos.db").write_bytes(data)
        refused(tmp_path / name, StoreDamaged, "not readable as a database.*nothing was changed")


def test_a_folder_in_the_place_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "memos.db").mkdir()
    refused(tmp_path, StoreError, "memos.db")
    assert os.listdir(tmp_path / "memos.db") == []
