"""If this fails, who read what is not written down: lost, late, or at the reader's cost; or reading harms the process."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from servers import until

from memos_core.errors import StoreClosed, StoreError
from memos_core.governance.audit import MOST_IDS, AuditLog
from memos_core.stores.opening import open_sql
from memos_core.stores.sql.records import SqlStore
from memos_core.types.work import CubeRow

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    made = open_sql(tmp_path / "store", deadline=1.0)
    yield made
    made.close()


@pytest.fixture
def cube(store: SqlStore) -> CubeRow:
    return create(store, "ann")


def create(store: SqlStore, name: str) -> CubeRow:
    with store.begin(actor=name, action="create") as transaction:
        return transaction.create_cube(name, name)


@pytest.fixture
def log(store: SqlStore) -> Iterator[AuditLog]:
    made = AuditLog(store, now=lambda: AT)
    yield made
    made.close()


def told(store: SqlStore, cube: CubeRow) -> list[tuple[str, str, Any]]:
    """Actor, action and operations of the entries after the first."""
    return [(entry.actor, entry.action, entry.detail["operations"]) for entry in store.audit(cube)[1:]]


def test_reads_are_written_within_a_second_in_one_entry_an_actor(log: AuditLog, store: SqlStore, cube: CubeRow) -> None:
    other = create(store, "other")
    began = time.monotonic()
    log.read(cube, "bob", "search", ["a", "b"], "share")
    log.read(other, "bob", "get", ["x"], "role")
    log.read(cube, "bob", "get", ["a"], "share")
    log.read(cube, "ann", "list", [], "owner")
    assert time.monotonic() - began < 0.2
    assert told(store, cube) == [], "nobody waited for it"
    until(lambda: len(told(store, cube)) == 2 and told(store, other), "they are written")
    assert time.monotonic() - began < 1.5
    at = AT.isoformat()
    assert told(store, cube) == [
        (
            "bob",
            "read",
            [
                {"operation": "search", "ids": ["a", "b"], "at": at, "by": "share"},
                {"operation": "get", "ids": ["a"], "at": at, "by": "share"},
            ],
        ),
        ("ann", "read", [{"operation": "list", "ids": [], "at": at, "by": "owner"}]),
    ]
    assert told(store, other) == [("bob", "read", [{"operation": "get", "ids": ["x"], "at": at, "by": "role"}])]
    assert store.check(cube, None) == store.check(other, None) == []
    assert store.head_seq(cube) == 0, "reading does not move the change log"


def test_many_ids_are_counted(log: AuditLog, store: SqlStore, cube: CubeRow) -> None:
    ids = [f"i{n}" for n in range(MOST_IDS + 7)]
    log.read(cube, "bob", "list", ids, "share")
    log.flush()
    ((_, _, (operation,)),) = told(store, cube)
    assert (operation["ids"], operation["more"]) == (ids[:MOST_IDS], 7)


def test_a_strict_read_is_written_when_it_returns(log: AuditLog, store: SqlStore, cube: CubeRow) -> None:
    log.read(cube, "bob", "get", ["a"], "share", strict=True)
    assert len(told(store, cube)) == 1
    store.close()
    with pytest.raises(StoreError):
        log.read(cube, "bob", "get", ["b"], "share", strict=True)


def test_denials_that_are_seen_are_written_at_once_others_later(log: AuditLog, store: SqlStore, cube: CubeRow) -> None:
    log.denied(cube, "bob", "write", "only: read", visible=True)
    at = AT.isoformat()
    assert told(store, cube) == [("bob", "denied", [{"operation": "write", "at": at, "by": "only: read"}])]
    for _ in range(1000):
        log.denied(cube, "eve", "read", "no policy", visible=False)
    assert len(told(store, cube)) == 1
    log.flush()
    assert told(store, cube)[1:] == [
        ("eve", "denied", [{"operation": "read", "at": at, "by": "no policy", "times": 1000}])
    ]


def test_a_denial_inside_of_a_transaction_does_not_wait_for_it(log: AuditLog, store: SqlStore, cube: CubeRow) -> None:
    began = time.monotonic()
    with pytest.raises(RuntimeError), store.begin(actor="bob", action="add") as transaction:
        assert transaction.cube("ann")
        log.denied(cube, "bob", "write", "only: read", visible=True)
        raise RuntimeError
    assert time.monotonic() - began < 0.5
    assert not store.writing
    log.flush()
    assert [(actor, action) for actor, action, _ in told(store, cube)] == [("bob", "denied")]


def test_memory_is_bounded(store: SqlStore, cube: CubeRow) -> None:
    log = AuditLog(store, delay=60, most=100)
    for n in range(1050):
        log.read(cube, "bob", "get", [f"i{n}"], "share")
    written = sum(len(operations) for _, _, operations in told(store, cube))
    assert written == 1000, "whoever makes one too many writes them"
    log.close()
    operations = [each for _, _, each in told(store, cube)]
    assert [op["ids"][0] for each in operations for op in each] == [f"i{n}" for n in range(1050)]
    with pytest.raises(StoreClosed):
        log.read(cube, "bob", "get", ["x"], "share")


def test_nothing_is_lost_or_written_twice_by_many_threads(store: SqlStore, cube: CubeRow) -> None:
    log = AuditLog(store, delay=0.01, most=50)

    def read(who: int) -> None:
        for n in range(200):
            log.read(cube, f"actor {who}", "get", [f"{who}.{n}"], "share")
            if n % 50 == 0:
                log.flush()

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(read, who) for who in range(6)]:
            done.result(60)
    log.close()
    found = [(actor, op["ids"][0]) for actor, _, operations in told(store, cube) for op in operations]
    assert sorted(found) == sorted((f"actor {who}", f"{who}.{n}") for who in range(6) for n in range(200))
    for who in range(6):
        own = [id for actor, id in found if actor == f"actor {who}"]
        assert own == [f"{who}.{n}" for n in range(200)], "each actor's in order"


def test_what_cannot_be_written_is_kept_and_tried_again(store: SqlStore, cube: CubeRow, tmp_path: Path) -> None:
    log = AuditLog(store, delay=0.01)
    other = open_sql(tmp_path / "store", deadline=1.0)
    with other.begin(actor="ann", action="slow") as transaction:  # nobody else can write
        assert transaction.cube("ann")
        log.read(cube, "bob", "get", ["a"], "share")
        until(lambda: log.failed, "the failure is noticed", 20)
        log.read(cube, "bob", "get", ["b"], "share")
        with pytest.raises(StoreError):
            log.flush()
    until(lambda: sum(len(operations) for _, _, operations in told(store, cube)) == 2, "it is tried again", 20)
    ids = [op["ids"] for _, _, operations in told(store, cube) for op in operations]
    assert ids == [["a"], ["b"]]
    other.close()
    log.close()


def test_closing_says_in_the_log_what_could_not_be_written(
    store: SqlStore, cube: CubeRow, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has only read is not told by an error at the end: it would hide what they did."""
    log = AuditLog(store, delay=60)
    log.read(cube, "bob", "get", ["a"], "share")
    store.close()
    log.close()
    assert "1 reads of" in caplog.text
    assert "are in no audit" in caplog.text
    assert log.lost == 1
    log.close()


def test_the_thread_ends_when_nothing_is_read(monkeypatch: pytest.MonkeyPatch, store: SqlStore, cube: CubeRow) -> None:
    monkeypatch.setattr("memos_core.governance.audit._IDLE", 0.05)
    log = AuditLog(store, delay=0.01)

    def running() -> int:
        return sum(thread.name == "memos-audit" for thread in threading.enumerate())

    assert running() == 0, "none before the first read"
    for n in range(3):
        log.read(cube, "bob", "get", [f"{n}"], "share")
        assert running() == 1
        until(lambda: running() == 0, "it has ended")
    assert len(told(store, cube)) == 3
    log.close()


def test_a_cube_that_is_gone_takes_its_reads_with_it(log: AuditLog, store: SqlStore, cube: CubeRow) -> None:
    ghost = CubeRow(99, "ghost", "eve", 0, AT)
    log.read(ghost, "bob", "get", ["a"], "share")
    log.read(cube, "bob", "get", ["b"], "share")
    log.flush()
    assert len(told(store, cube)) == 1


def test_whoever_may_only_read_reads_and_that_is_said(
    postgres_url: str, postgres: Any, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    owner = open_sql(postgres_url, deadline=5.0)
    cube = create(owner, "ann")
    user = f"reader_{database}"
    with postgres.connect(database) as side:
        side.execute(f"CREATE USER {user}")
        side.execute(f"GRANT USAGE ON SCHEMA memos TO {user}")
        side.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA memos TO {user}")
    store = open_sql(postgres.url(database, user=user), deadline=5.0)
    log = AuditLog(store)
    with caplog.at_level("WARNING"):
        log.read(cube, "bob", "get", ["a"], "share")
        log.denied(cube, "eve", "write", "only: read", visible=True)
        log.flush()
    assert log.lost == 2
    assert sum("not audited" in record.message for record in caplog.records) == 1, "once, not for every read"
    with pytest.raises(StoreError):
        log.read(cube, "bob", "get", ["a"], "share", strict=True)
    log.close()
    store.close()
    owner.close()
    with postgres.connect(database) as side:
        side.execute(f"DROP OWNED BY {user}")
        side.execute(f"DROP USER {user}")


# -- processes ------------------------------------------------------------------------------------------------------------

_READER = """
import sys, time
from memos_core.governance.audit import AuditLog
from memos_core.stores.opening import open_sql
store = open_sql(sys.argv[1], deadline=5.0)
log = AuditLog(store)
(cube,) = store.cubes()
{work}
"""


def run(folder: Path, work: str, **how: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _READER.format(work=work), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **how)


def test_a_process_that_ends_without_closing_has_written_its_reads(
    store: SqlStore, cube: CubeRow, tmp_path: Path
) -> None:
    ended = run(tmp_path / "store", "log.read(cube, 'bob', 'get', ['a'], 'share')")
    began = time.monotonic()
    assert ended.wait(30) == 0
    assert time.monotonic() - began < 20, "the thread does not keep it"
    assert len(told(store, cube)) == 1


def test_a_process_that_is_killed_loses_its_last_second_at_most(store: SqlStore, cube: CubeRow, tmp_path: Path) -> None:
    work = """
for n in range(10**6):
    log.read(cube, 'bob', 'get', [str(n)], 'share')
    print(n, time.time(), flush=True)
    time.sleep(.005)
"""
    process = run(tmp_path / "store", work)
    assert process.stdout is not None
    seen: list[tuple[int, float]] = []
    end = time.monotonic() + 2.5
    for line in process.stdout:
        number, at = line.split()
        seen.append((int(number), float(at)))
        if time.monotonic() > end:
            break
    process.send_signal(signal.SIGKILL)
    killed = time.time()
    process.wait(30)
    process.stdout.close()
    written = {op["ids"][0] for _, _, operations in told(store, cube) for op in operations}
    lost = [at for number, at in seen if str(number) not in written]
    assert written, "some had been written"
    assert all(killed - at < 2.0 for at in lost), (
        f"the oldest that was lost: {killed - min(lost):.2f} s before the kill"
    )
    assert store.check(cube, None) == []


def _read_in_child(log: AuditLog, cube: CubeRow) -> None:
    log.after_fork()
    log.read(cube, "child", "get", ["c"], "share")
    log.flush()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_its_own_reads_and_not_its_parents(store: SqlStore, cube: CubeRow) -> None:
    log = AuditLog(store, delay=60)
    log.read(cube, "parent", "get", ["p"], "share")
    child = multiprocessing.get_context("fork").Process(target=_read_in_child, args=(log, cube))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    log.close()
    assert [(actor, operations[0]["ids"]) for actor, _, operations in told(store, cube)] == [
        ("child", ["c"]),
        ("parent", ["p"]),
    ]


def cost(work: Callable[[], None], times: int) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, (time.perf_counter() - began) / times)
    return best


def test_noting_a_read_takes_microseconds(store: SqlStore, cube: CubeRow) -> None:
    log = AuditLog(store, delay=60, most=10**6)
    ids = [f"{n:032x}" for n in range(10)]
    assert cost(lambda: log.read(cube, "bob", "search", ids, "share"), 2000) < 100e-6
    log.close()
