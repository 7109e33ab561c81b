"""Writing: one durable add, and adding in bulk, beside a bare sqlite3 script that writes text and vector and nothing else.

    python benchmarks/writes.py [1000 10000 100000] [--url postgresql://USER@HOST:PORT/DATABASE] [--save]

Vectors are given. CPU time of one thread; both sides write to a database of the same settings (WAL, synchronous=FULL,
8 kB pages) on the same disk, in transactions of a thousand. memos writes items, versions, change numbers, digests, the
audit chain and what reading notes, asks governance first, and recognises messages it has seen.

With `--url`, memos writes to a new store (schema `benchmark`) on that server, which has to run on this machine: CPU time is
that of the client and of all processes of the server together.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from made_up import MadeUp
from measure import PostgresCpu, at, each_cpu_ms, option, report  # first: it sets the number of threads

from memos_core import MOS

SINGLES = 400


def bare(path: Path, made_up: MadeUp) -> float:
    """CPU seconds for text and vector alone."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("page_size=8192", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE memories (id INTEGER PRIMARY KEY, text TEXT NOT NULL, vector BLOB NOT NULL)")
    pieces = list(made_up.pieces())
    start = time.process_time()
    for texts, vectors in pieces:
        connection.execute("BEGIN IMMEDIATE")
        rows = [(text, vector.tobytes()) for text, vector in zip(texts, vectors, strict=True)]
        connection.executemany("INSERT INTO memories (text, vector) VALUES (?, ?)", rows)
        connection.execute("COMMIT")
    taken = time.process_time() - start
    connection.close()
    return taken


def fresh(url: str) -> str:
    """The URL of a new store on that server."""
    import psycopg

    plain = url.replace("+psycopg", "").partition("?")[0]
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS benchmark CASCADE")
        connection.execute("CHECKPOINT")
    return f"{plain}?schema=benchmark"


def run(count: int, folder: Path, url: str | None) -> dict[str, float]:
    """One row of figures: bulk up to this many items, then single adds on top of them."""
    made_up = MadeUp(count)
    floor = bare(folder / "bare.db", made_up)
    pieces = list(made_up.pieces())
    server = PostgresCpu(url) if url else None

    def cpu() -> float:
        return time.process_time() + (server.seconds() if server else 0.0)

    place = fresh(url) if url else folder / "memory"
    with MOS.open(place, embedder="given:384", cache=folder / "cache") as mos:
        alice = mos.session("alice", conversation="bulk")
        start, own = cpu(), time.process_time()
        for texts, vectors in pieces:
            alice.add(texts, vectors=vectors)
        client = time.process_time() - own
        facts = cpu() - start

        bob = mos.session("bob", conversation="bulk")
        messages = [
            [
                {"role": "user", "content": text, "speaker": "Bob", "id": f"{number}-{place}"}
                for place, text in enumerate(texts)
            ]
            for number, (texts, _) in enumerate(pieces[:10])
        ]
        start = cpu()
        for batch, (_, vectors) in zip(messages, pieces, strict=False):
            bob.add(batch, vectors=vectors)
        taken = cpu() - start
        said = sum(map(len, messages)) / taken

        ((texts, vectors),) = list(MadeUp(SINGLES, seed=2).pieces())
        one = [
            lambda text=text, vector=vector: alice.add(text, vectors=vector[None, :])
            for text, vector in zip(texts, vectors, strict=True)
        ]
        start = cpu()
        singles = each_cpu_ms(one)
        both = cpu() - start
    return {
        "items": count,
        **(
            {"of that, the client's share": client / facts, "one add, both sides, mean ms": both / SINGLES * 1e3}
            if url
            else {}
        ),
        "bare, items/CPU s": count / floor,
        "facts, items/CPU s": count / facts,
        "messages, items/CPU s": said,
        "bulk/bare": facts / floor,
        "one add p50 ms": at(singles, 0.5),
        "one add p99 ms": at(singles, 0.99),
        "one add max ms": singles[-1],
    }


if __name__ == "__main__":
    counts = [int(each) for each in sys.argv[1:] if each.isdecimal()] or [1000, 10_000, 100_000]
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(count, Path(folder), option("--url")))
    names = list(rows[0])
    report(
        "writes-postgres" if option("--url") else "writes",
        [{"figure": name, **{f"{row['items']}": row[name] for row in rows}} for name in names],
    )
