"""If these fail, processes that share a store block each other or fail for no reason, other users of the machine can read a
user's memory, or an error says nothing that helps."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from memos_core import MOS, MemosError
from memos_core.errors import StoreBusy, StoreClosed, StoreDamaged, StoreError, StoreFull, StoreReadOnly
from memos_core.stores.index import cube_index
from memos_core.stores.sql.engine import Database, translate

NOBODY = 65534


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program writes, and does not come to an end."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_a_writer_that_waits_too_long_is_told_and_loses_nothing(tmp_path: Path) -> None:
    with MOS.open(tmp_path, deadline=0.2) as mos:
        ann = mos.session("ann")
        ann.add("First.")
        with locked(tmp_path / "memos.db"):
            start = time.monotonic()
            with pytest.raises(StoreBusy, match=r"memos\.db.*other processes.*try again"):
                ann.add("Second.")
            assert 0.15 < time.monotonic() - start < 0.9, "the deadline is what was asked for"
            assert [hit.text for hit in ann.search("first second")] == ["First."], "reading goes on"
        ann.add("Third.")
        assert sorted(item.text for item in ann.list()) == ["First.", "Third."]
        assert mos.verify() == []


def test_a_writer_waits_until_the_other_one_has_finished(tmp_path: Path) -> None:
    with MOS.open(tmp_path, deadline=20) as mos, ThreadPoolExecutor(1) as pool:
        ann = mos.session("ann")
        ann.add("First.")
        with locked(tmp_path / "memos.db"):
            waiting = pool.submit(ann.add, "Second.")
            with pytest.raises(TimeoutError):
                waiting.result(1.5)  # longer than SQLite itself waits
        assert waiting.result(20).new
        assert len(ann.list()) == 2


def test_a_store_can_be_opened_while_another_process_writes(tmp_path: Path) -> None:
    with MOS.open(tmp_path) as mos:
        mos.session("ann").add("First.")
    with locked(tmp_path / "memos.db"):
        mos = MOS.open(tmp_path, deadline=0.2)
        assert mos.session("ann").search("first")[0].text == "First."
    mos.close()  # and the audit of what was read is written, now that it can be


def test_a_new_store_that_another_process_is_making_is_waited_for(tmp_path: Path) -> None:
    Database(tmp_path / "memos.db").close()
    with locked(tmp_path / "memos.db"), pytest.raises(StoreBusy):
        MOS.open(tmp_path, deadline=0.2)
    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path / "memos.db"):
            opening = pool.submit(MOS.open, tmp_path)
            with pytest.raises(TimeoutError):
                opening.result(0.3)
        opening.result(20).close()


def test_a_thread_that_waits_too_long_for_another_is_told(tmp_path: Path) -> None:
    database = Database(tmp_path / "memos.db", deadline=0.2)
    inside, enough = threading.Event(), threading.Event()

    def write() -> None:
        with database.writing():
            inside.set()
            assert enough.wait(20)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        assert inside.wait(20)
        with pytest.raises(StoreBusy, match="another thread"), database.writing():
            pass
        with database.reading() as connection:
            connection.exec_driver_sql("SELECT 1")
        enough.set()
        writing.result(20)
    with database.writing():
        pass
    database.close()


def test_more_readers_than_connections_wait_their_turn(tmp_path: Path) -> None:
    with MOS.open(tmp_path) as mos:
        ann = mos.session("ann")
        ann.add([f"Thing number {n}." for n in range(20)])
        with ThreadPoolExecutor(80) as pool:
            found = list(pool.map(lambda n: ann.search(f"number {n % 20}", top_k=1)[0].text, range(160)))
        assert found == [f"Thing number {n % 20}." for n in range(160)]


# -- transactions -----------------------------------------------------------------------------------------------------


def test_a_reader_sees_one_moment_while_others_write(tmp_path: Path) -> None:
    database, other = Database(tmp_path / "memos.db"), Database(tmp_path / "memos.db")
    with other.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
    with database.reading() as reading:
        with other.writing() as connection:
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        assert reading.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
    with database.reading() as reading:
        assert reading.exec_driver_sql("SELECT count(*) FROM t").scalar() == 1
    database.close()
    other.close()


def test_an_error_inside_rolls_back_and_comes_out_as_it_was(tmp_path: Path) -> None:
    database = Database(tmp_path / "memos.db")
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER PRIMARY KEY)")
    for error in (KeyError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)), database.writing() as connection:
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")
            raise error
    with pytest.raises(StoreError, match="UNIQUE") as caught, database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (2), (2)")
    assert caught.value.__cause__ is not None, "the driver's own error is kept"
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
    database.close()


def test_what_sqlite_has_rolled_back_by_itself_is_not_taken_for_kept(tmp_path: Path) -> None:
    """On a full disk it does that; whoever goes on behind such an error has lost what it wrote before."""
    database = Database(tmp_path / "memos.db")
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
        full = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + 1

    def write(more: str, same_rules: Callable[[], bool] | None) -> None:
        with database.writing(same_rules=same_rules) as connection:
            database.run(connection, "INSERT INTO t VALUES (1)", ())
            connection.exec_driver_sql(f"PRAGMA max_page_count={full}")
            with suppress(sqlite3.OperationalError):
                database.run(connection, "INSERT INTO t VALUES (?)", (b"x" * 1_000_000,))
            raw = connection.connection.dbapi_connection
            assert isinstance(raw, sqlite3.Connection)
            raw.execute("PRAGMA max_page_count=1000000")
            if more == "built":
                connection.exec_driver_sql("INSERT INTO t VALUES (6)")
            if more == "one":
                database.run(connection, "INSERT INTO t VALUES (2)", ())
            if more == "several":
                database.run_each(connection, "INSERT INTO t VALUES (?)", [(3,), (4,)])

    for more in ("none", "built", "one", "several"):
        for same_rules in (None, lambda: True):
            with pytest.raises(StoreError, match="nothing of it was kept"):
                write(more, same_rules)
            with database.reading() as connection:
                assert database.run(connection, "SELECT x FROM t", ()).rows == [], more
    with database.writing() as connection:
        database.run(connection, "INSERT INTO t VALUES (5)", ())
    with database.reading() as connection:
        assert database.run(connection, "SELECT x FROM t", ()).rows == [(5,)]
    database.close()


def test_commits_survive_a_power_cut(tmp_path: Path) -> None:
    database = Database(tmp_path / "memos.db")
    with database.reading() as connection:
        for pragma, expected in (("journal_mode", "wal"), ("synchronous", 2), ("secure_delete", 1)):
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == expected, pragma
    database.close()


def test_the_change_token_moves_with_commits_only(tmp_path: Path) -> None:
    database, other = Database(tmp_path / "memos.db"), Database(tmp_path / "memos.db")
    with other.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
    tokens = [database.change_token()]
    with other.writing() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        assert database.change_token() == tokens[-1]
    tokens.append(database.change_token())
    with database.reading() as connection:
        connection.exec_driver_sql("SELECT * FROM t").fetchall()
    assert database.change_token() == tokens[-1]
    with database.writing() as connection:  # one's own commits count too: other parts of this process must see them
        connection.exec_driver_sql("INSERT INTO t VALUES (2)")
    tokens.append(database.change_token())
    assert len(set(tokens)) == 3
    database.close()
    other.close()


def put(database: Database, *, same_rules: Callable[[], bool] | None = None) -> None:
    with database.writing(same_rules=same_rules) as connection:
        database.run(connection, "INSERT INTO t VALUES (1)", ())


def test_what_is_known_of_the_rules_holds_across_own_commits_of_items_only(tmp_path: Path) -> None:
    database, other = Database(tmp_path / "memos.db"), Database(tmp_path / "memos.db")
    with other.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")

    def moved(do: Callable[[], object]) -> bool:
        before, token = database.rules_token(), database.change_token()
        do()
        after = database.rules_token()
        assert database.change_token() != token
        assert database.rules_token() == after
        return after != before

    def interrupted() -> bool:
        put(other)  # behind the commit, and before anybody has looked what it made of the token
        return True

    def before_it() -> None:
        put(other, same_rules=lambda: True)
        put(database, same_rules=lambda: True)

    assert not moved(lambda: put(database, same_rules=lambda: True))
    assert not moved(lambda: [put(database, same_rules=lambda: True) for _ in range(3)])
    assert moved(lambda: put(database, same_rules=lambda: False))
    assert moved(lambda: put(database))
    assert moved(lambda: put(other, same_rules=lambda: True)), "what others commit is not known"
    assert moved(before_it)
    assert moved(lambda: put(database, same_rules=interrupted))
    assert not moved(lambda: put(database, same_rules=lambda: True))
    database.close()
    other.close()


def test_an_operation_goes_by_what_it_found_and_by_the_commits_of_its_own_process(tmp_path: Path) -> None:
    database, other = Database(tmp_path / "memos.db"), Database(tmp_path / "memos.db")
    with other.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
    put(other)
    with database.operation():
        token, rules = database.change_token(), database.rules_token()
        put(other)
        assert (database.change_token(), database.rules_token()) == (token, rules)
        with database.operation():
            assert database.change_token() == token
        with database.operation(anew=True):
            anew = database.change_token()
        assert anew != token
        assert database.change_token() == token
        thread = threading.Thread(target=lambda: put(database, same_rules=lambda: True))
        thread.start()
        thread.join()
        assert database.change_token() not in (token, anew)
        assert database.rules_token() != rules, "the other one's commit is among those seen now"
        token = database.change_token()
    put(other)
    assert database.change_token() != token
    database.close()
    other.close()


@pytest.mark.parametrize("using", ["reading", "writing"])
def test_a_read_that_breaks_off_keeps_no_moment_open(tmp_path: Path, using: str) -> None:
    """Whoever keeps the error (a log, a debugger) keeps what it was raised in: not the moment that was being read."""
    database, other = Database(tmp_path / "memos.db", deadline=0.3), Database(tmp_path / "memos.db")
    with other.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x TEXT)")
        connection.exec_driver_sql(
            "INSERT INTO t VALUES ('well'), (CAST(x'736563726574ff' AS TEXT)), ('never reached')"
        )
    with pytest.raises(StoreDamaged) as kept, getattr(database, using)() as connection:
        database.run(connection, "SELECT x FROM t", ())
    put(other)
    with database.reading() as connection:
        assert database.run(connection, "SELECT count(*) FROM t", ()).value() == 4, "what others have written since"
    put(database)
    with closing(sqlite3.connect(tmp_path / "memos.db")) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0, "the log can be emptied"
    assert kept.tb is not None
    assert "secret" not in str(kept.value), "what is damaged is somebody's memory"
    database.close()
    other.close()


def test_a_closed_database_says_so(tmp_path: Path) -> None:
    database = Database(tmp_path / "memos.db")
    database.change_token()
    database.close()
    database.close()
    for use in (database.reading, database.writing):
        with pytest.raises(StoreClosed, match=r"memos\.db is closed"), use():
            pass
    with pytest.raises(StoreClosed):
        database.change_token()


def test_a_forked_child_has_connections_of_its_own(tmp_path: Path) -> None:
    code = f"""
import os
from memos_core import MOS
mos = MOS.open({str(tmp_path)!r})
ann = mos.session("ann")
ann.add("Before.")
child = os.fork()
for n in range(20):
    ann.add(f"{{'child' if child == 0 else 'parent'}} {{n}}")
    assert ann.search("before")[0].text == "Before."
if child == 0:
    mos.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert len(ann.list()) == 41
assert len(ann.search("child", top_k=50)) == 20
assert mos.verify() == []
mos.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_child_forked_while_a_thread_was_writing_is_not_stuck(tmp_path: Path) -> None:
    code = f"""
import os, threading
from memos_core import MOS
mos = MOS.open({str(tmp_path)!r}, deadline=20)
ann = mos.session("ann")
ann.add("Before.")
inside, enough = threading.Event(), threading.Event()
def write():
    with mos._store.begin(actor="ann", action="add"):
        inside.set()
        enough.wait()
thread = threading.Thread(target=write)
thread.start()
inside.wait()
threading.Timer(0.3, enough.set).start()
child = os.fork()
if child == 0:
    ann.add("After.")
    os._exit(0)
thread.join()
assert os.waitpid(child, 0)[1] == 0
assert sorted(item.text for item in ann.list()) == ["After.", "Before."]
mos.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("leaving", ["at the end", "by an error"])
def test_a_child_forked_inside_of_a_change_leaves_it_to_its_parent(tmp_path: Path, leaving: str) -> None:
    code = f"""
import os, sys
from pathlib import Path
from memos_core.errors import StoreError
from memos_core.stores.sql.engine import Database
database = Database(Path({str(tmp_path / "memos.db")!r}))
def put(connection, text, count):
    for _ in range(count):
        database.run(connection, "INSERT INTO t VALUES (?)", (text * 500,))
def count(connection):
    return database.run(connection, "SELECT x, count(*) FROM t GROUP BY x", ()).rows
with database.writing() as connection:
    connection.exec_driver_sql("CREATE TABLE t (x TEXT)")
child = None
try:
    with database.writing() as connection:
        connection.exec_driver_sql("PRAGMA cache_size=10")  # what is written goes to the log before it is committed
        put(connection, "parent", 500)
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            assert count(connection) == [("parent" * 500, 500)]
            put(connection, "parent", 500)
        elif {leaving == "by an error"}:
            raise StoreError("a fork")
except StoreError as error:
    assert child == 0 and "fork" in str(error), error
    assert database.rules_token()
    with database.reading() as connection:
        assert count(connection) == []
    sys.exit()  # all that there is goes away
with database.writing() as connection:
    put(connection, "later", 1)
with database.reading() as connection:
    assert count(connection) == [("later" * 500, 1), ("parent" * 500, 1000)]
    assert database.run(connection, "PRAGMA integrity_check", ()).value() == "ok"
database.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_forked_childs_token_is_none_that_its_parent_had(tmp_path: Path) -> None:
    """It keeps what its parent knew under a token: others may have committed since."""
    database, other = Database(tmp_path / "memos.db"), Database(tmp_path / "memos.db")
    with other.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")
    had = {database.change_token()}
    for _ in range(5):
        put(other)
        had.add(database.change_token())
    with database.operation():
        had.add(database.change_token())
        child = os.fork()
        if child == 0:
            try:
                found = {database.change_token()}
                for _ in range(7):
                    put(database)
                    found.add(database.change_token())
                os._exit(0 if len(found) == 8 and not found & had else 1)
            finally:
                os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    database.close()
    other.close()


@pytest.mark.parametrize(
    ("code", "kind", "saying"),
    [
        (sqlite3.SQLITE_BUSY, StoreBusy, "try again"),
        (sqlite3.SQLITE_BUSY_RECOVERY, StoreBusy, "try again"),
        (sqlite3.SQLITE_LOCKED, StoreBusy, "try again"),
        (sqlite3.SQLITE_FULL, StoreFull, "Free some space"),
        (sqlite3.SQLITE_READONLY_DBMOVED, StoreReadOnly, "permissions"),
        (sqlite3.SQLITE_CANTOPEN, StoreReadOnly, "permissions"),
        (sqlite3.SQLITE_CORRUPT, StoreDamaged, "Restore a backup"),
        (sqlite3.SQLITE_NOTADB, StoreDamaged, "Restore a backup"),
        (sqlite3.SQLITE_IOERR_WRITE, StoreError, "disk failed"),
        (sqlite3.SQLITE_CONSTRAINT, StoreError, "the words of the driver"),
    ],
)
def test_the_drivers_errors_in_our_words(code: int, kind: type[StoreError], saying: str) -> None:
    error = sqlite3.OperationalError("the words of the driver")
    error.sqlite_errorcode = code
    ours = translate(error, "/some/memos.db")
    assert type(ours) is kind
    for part in ("/some/memos.db", "the words of the driver", saying):
        assert part in str(ours)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_files_are_private_whatever_the_umask(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cube_index, "SMALL_ROWS", 0)
    before = os.umask(umask)
    try:
        (tmp_path / "made before").mkdir(mode=0o755)
        for folder in (tmp_path / "new", tmp_path / "made before"):
            with MOS.open(folder, embedder="given:2") as mos:
                mos.session("ann").add(["a", "b"], vectors=np.eye(2))
                mos.session("ann").search("a")
                check_private(folder)
                mos.reindex()
            check_private(folder)
            assert list(folder.glob("index/*/*.segment")), "the index has files too"
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    finally:
        os.umask(before)


def check_private(folder: Path) -> None:
    for path in folder.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path.relative_to(folder)}: {mode:o}"


def as_nobody(folder: Path, code: str) -> str:
    """What a process prints that may not write to a folder; root, to whom everything is allowed, becomes nobody first."""
    become = f"import os; os.getuid() == 0 and os.setuid({NOBODY})"
    lines = ["from memos_core import MOS, MemosError", "import sqlalchemy.dialects.sqlite, sqlite3, numpy"]
    lines.append("import memos_core.mos, memos_core.stores.sql.records, memos_core.reading.reader, tempfile, uuid")
    lines.append(become)  # last: it may not be able to read this interpreter's own files
    body = f"folder = {str(folder)!r}\n{textwrap.dedent(code)}"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*lines, body])], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that other users can reach."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_a_folder_that_cannot_be_written_is_refused_in_words(open_to_all: Path) -> None:
    with MOS.open(open_to_all / "store") as mos:
        mos.session("ann").add("First.")
    (open_to_all / "empty").mkdir()
    for path in [open_to_all / "store", open_to_all / "empty", *(open_to_all / "store").rglob("*")]:
        os.chmod(path, 0o555 if path.is_dir() else 0o444)
    said = as_nobody(
        open_to_all,
        """
        for name in ("store", "empty", "new"):
            try:
                MOS.open(folder + "/" + name)
            except MemosError as error:
                print(type(error).__name__, error)
        """,
    ).splitlines()
    assert len(said) == 3
    assert all(line.startswith("StoreReadOnly") and "permission" in line.lower() for line in said), said
    assert sorted(os.listdir(open_to_all)) == ["empty", "store"]
    assert os.listdir(open_to_all / "empty") == []
    assert os.listdir(open_to_all / "store") == ["memos.db"]


def test_a_folder_of_another_user_says_nothing_about_what_is_in_it(tmp_path: Path, open_to_all: Path) -> None:
    with MOS.open(open_to_all / "private") as mos:
        mos.session("ann").add("First.")
    assert "StoreReadOnly" in as_nobody(
        open_to_all / "private",
        """
        try:
            MOS.open(folder)
        except MemosError as error:
            print(type(error).__name__, error)
        """,
    )


def test_a_store_whose_index_cannot_be_written_still_answers(open_to_all: Path) -> None:
    """The folder of the index belongs to somebody else: it stays in memory, and nothing stale in it is believed."""
    store = open_to_all / "store"
    store.mkdir()
    os.chmod(store, 0o777)
    (store / "index").mkdir(mode=0o555)
    said = as_nobody(
        store,
        """
        from memos_core.stores.index import cube_index
        cube_index.SMALL_ROWS = 0
        for n in (1, 2):
            with MOS.open(folder) as mos:
                ann = mos.session("ann")
                ann.add(f"Thing number {n}.")
                print(len(ann.search("number")), mos.reindex(), mos.verify())
        """,
    ).splitlines()
    assert said == ["1 {'ann': 1} []", "2 {'ann': 2} []"]
    assert os.listdir(store / "index") == []


def test_errors_of_a_store_are_of_one_tree() -> None:
    assert issubclass(StoreError, MemosError)
