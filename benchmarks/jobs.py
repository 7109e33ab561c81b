"""Background jobs: how many a CPU second does, how long one waits, and what adding without waiting costs.

    python benchmarks/jobs.py [5000] [--save]

Jobs: small ones whose handler does nothing, filed a hundred at a time, leased and ended up to 64 at a time, in one thread;
CPU time of all of it, and of leasing and ending alone. "lanes" are ordered jobs of ten cubes, "one by one" leases and ends each
alone. Latency: wall time from filing to its end, of one job at a time, with workers in threads of the same process.

Adding: `add(text, wait=False)` to a cube of a thousand items beside the very rows that it writes (item, version, audit entry,
conversation, counter, job), written in one transaction into copies of the database: with bare sqlite3, and with SQLAlchemy Core
(statements made once, compiled ones cached by it). In turns, on the same
disk, both with synchronous=FULL: so wall time (less what other processes had the CPU for), most of which is the disk's, is
compared as well as CPU time. "disk" is how long it takes to keep 8 kB. What a slower disk makes of it can be tried with

    strace -f --seccomp-bpf -e trace=fdatasync -e inject=fdatasync:delay_exit=1000 python benchmarks/jobs.py 500
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from made_up import MadeUp
from measure import at, report  # first: it sets the number of threads
from sqlalchemy import Connection, Engine, MetaData, Table, create_engine, event, insert, update

from memos_core import MOS
from memos_core.scheduler.kinds import JobKind
from memos_core.types.jobs import Done, NewJob

ADDS = 300
NOTHING = JobKind(name="nothing", run=lambda context: None)
TABLES = {"items": "item", "versions": "place", "batches": "number", "details": "number", "jobs": "job"}


def jobs_a_second(mos: MOS, count: int) -> dict[str, float]:
    """Jobs a CPU second: of anybody, of lanes, one by one."""
    jobs, found = mos.store.jobs, {}
    mos.scheduler.register(NOTHING)
    for name, lane, cubes in (("", "", 1), ("lanes ", "lane", 10)):
        start = time.process_time()
        for _ in range(count // 100):
            jobs.enqueue([NewJob(kind="nothing", cube=n % cubes, lane=lane, payload={"n": n}) for n in range(100)])
        filed = time.process_time()
        assert mos.scheduler.run_pending() == count
        end = time.process_time()
        found[f"{name}run, jobs/CPU s"] = count / (end - filed)
        found[f"{name}filed and run, jobs/CPU s"] = count / (end - start)
    single = count // 10
    jobs.enqueue([NewJob(kind="nothing") for _ in range(single)])
    start = time.process_time()
    for _ in range(single):
        jobs.finish([Done(job) for job in jobs.lease("w", 1, seconds=60)])
    found["one by one, jobs/CPU s"] = single / (time.process_time() - start)
    return found


def latency(mos: MOS) -> dict[str, float]:
    """Milliseconds from filing a job to its end, while nothing else is done."""
    mos.scheduler.start(2)
    waits = []
    for _ in range(100):
        start = time.perf_counter()
        handle = mos.scheduler.submit("nothing")
        while handle.status() != "done":
            time.sleep(0.0005)
        waits.append(1e3 * (time.perf_counter() - start))
    mos.scheduler.stop()
    return {"latency p50 ms": at(sorted(waits), 0.5), "latency p99 ms": at(sorted(waits), 0.99)}


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall milliseconds; wall time without what others had the CPU for."""
    waited, cpu, wall = _queued(), time.process_time(), time.perf_counter()
    call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return 1e3 * cpu, 1e3 * (wall - (_queued() - waited))


def _queued() -> float:
    """Seconds that this thread has been ready to run while others did (Linux; elsewhere 0)."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def disk(folder: Path) -> float:
    """Milliseconds until 8 kB are kept, most often, in a file that does not grow (as a log of SQLite most often does not)."""
    taken = []
    with (folder / "disk").open("w+b") as file:
        for _ in range(51):
            file.seek(0)
            file.write(b"x" * 8192)
            file.flush()
            start = time.perf_counter()
            getattr(os, "fdatasync", os.fsync)(file.fileno())
            taken.append(1e3 * (time.perf_counter() - start))
    return at(sorted(taken[1:]), 0.5)


def adding(folder: Path) -> dict[str, float]:
    """Adding without waiting, beside the same rows written by hand."""
    texts = next(iter(MadeUp(1000 + ADDS).pieces()))[0]
    texts = texts + next(iter(MadeUp(1000, seed=2).pieces()))[0]
    with MOS.open(folder / "memory", embedder="hashing", max_pending=1_000_000) as mos:
        alice = mos.session("alice", conversation="talk")
        alice.add(texts[:1000])
        for text in texts[1000 : 1000 + 20]:
            alice.add(text, wait=False)
        copy = folder / "copy.db"
        source = folder / "memory" / "memos.db"
        with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(copy)) as made:
            made.execute("PRAGMA page_size=8192")
            read.backup(made)
        hand = sqlite3.connect(copy, isolation_level=None)
        look = sqlite3.connect(source, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "wal_autocheckpoint=8000"):
            hand.execute(f"PRAGMA {pragma}")
        core, tables = by_core(copy, folder / "core.db")
        costs: list[tuple[float, float]] = []
        floors: list[tuple[float, float]] = []
        cores: list[tuple[float, float]] = []
        for n in range(ADDS):
            before = {table: _newest(look, table) for table in TABLES}
            text = f"{texts[1020 + n % 900]} {n}"
            costs.append(timed(lambda text=text: alice.add(text, wait=False)))
            rows = {table: _new(look, table, newest) for table, newest in before.items()}
            moved = look.execute("SELECT seq, batches, chain, changed, cube FROM cubes").fetchone()
            place = look.execute("SELECT next_position, cube, name FROM conversations").fetchone()
            floors.append(timed(lambda rows=rows, moved=moved, place=place: _write(hand, rows, moved, place)))
            named = {
                name: [dict(zip(tables[name].c.keys(), row, strict=True)) for row in new] for name, new in rows.items()
            }
            cores.append(
                timed(lambda rows=named, moved=moved, place=place: write_by_core(core, tables, rows, moved, place))
            )
        hand.close()
        core.dispose()
        look.close()
    cpu, wall = (sorted(each[n] for each in costs) for n in (0, 1))
    floor_cpu, floor_wall = (sorted(each[n] for each in floors) for n in (0, 1))
    core_cpu, core_wall = (sorted(each[n] for each in cores) for n in (0, 1))
    return {
        "add CPU p50 ms": at(cpu, 0.5),
        "add CPU p99 ms": at(cpu, 0.99),
        "add wall p50 ms": at(wall, 0.5),
        "by hand CPU p50 ms": at(floor_cpu, 0.5),
        "by hand wall p50 ms": at(floor_wall, 0.5),
        "by Core CPU p50 ms": at(core_cpu, 0.5),
        "by Core wall p50 ms": at(core_wall, 0.5),
        "disk p50 ms": disk(folder),
        "wall, add/by Core": at(wall, 0.5) / at(core_wall, 0.5),
        "wall, add/by hand": at(wall, 0.5) / at(floor_wall, 0.5),
    }


def _newest(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT coalesce(max({TABLES[table]}), 0) FROM {table}").fetchone()[0])


def _new(connection: sqlite3.Connection, table: str, newest: int) -> list[Any]:
    return connection.execute(f"SELECT * FROM {table} WHERE {TABLES[table]} > ?", (newest,)).fetchall()


def _write(connection: sqlite3.Connection, rows: dict[str, list[Any]], moved: Any, place: Any) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for table, new in rows.items():
        for row in new:
            connection.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
    connection.execute("UPDATE cubes SET seq=?, batches=?, chain=?, changed=? WHERE cube=?", moved)
    connection.execute("UPDATE conversations SET next_position=? WHERE cube=? AND name=?", place)
    connection.execute("COMMIT")


def by_core(source: Path, copy: Path) -> tuple[Engine, dict[str, Table]]:
    """A copy of a database, opened with SQLAlchemy, and its tables."""
    shutil.copy(source, copy)
    engine = create_engine(f"sqlite:///{copy}", connect_args={"isolation_level": None})

    @event.listens_for(engine, "connect")
    def connected(raw: Any, _: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "wal_autocheckpoint=8000"):
            raw.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    found = MetaData()
    found.reflect(engine, only=[*TABLES, "cubes", "conversations"])
    return engine, dict(found.tables)


def write_by_core(engine: Engine, tables: dict[str, Table], rows: dict[str, Any], moved: Any, place: Any) -> None:
    cubes, conversations = tables["cubes"], tables["conversations"]
    with engine.begin() as connection:
        for name, new in rows.items():
            if new:
                connection.execute(insert(tables[name]), new)
        seq, batches, chain, changed, cube = moved
        counters = {"seq": seq, "batches": batches, "chain": chain, "changed": changed}
        connection.execute(update(cubes).where(cubes.c.cube == cube).values(**counters))
        end, of_cube, name = place
        where = (conversations.c.cube == of_cube) & (conversations.c.name == name)
        connection.execute(update(conversations).where(where).values(next_position=end))


def main() -> None:
    count = next((int(each) for each in sys.argv[1:] if each.isdecimal()), 5000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with MOS.open(folder / "jobs") as mos:
            rows = [{"jobs": count, **jobs_a_second(mos, count), **latency(mos)}]
        shutil.rmtree(folder / "jobs")
        rows.append(adding(folder))
    report("jobs", rows[:1], "SQLite; handlers that do nothing")
    report("jobs-adding", rows[1:], "SQLite; hashing embedder; a cube of 1,000 items")


if __name__ == "__main__":
    main()
