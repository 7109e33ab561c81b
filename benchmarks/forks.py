"""Forking: what it costs to make a cube that shares the history of another, by how large that one is.

    python benchmarks/forks.py [1000 10000 100000] [--save]

Time of the one transaction that makes the fork (others who write wait that long), of now and of a moment long past (half of the
changes after it are later versions of items that it has), and the bytes by which the database grows, beside those that it has.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from made_up import MadeUp
from measure import report  # first: it sets the number of threads

from memos_core import MOS
from memos_core.types.work import Body, Put


def run(count: int, folder: Path) -> list[dict[str, Any]]:
    """Rows of figures: a fork of now, and one of the moment before a tenth of the items were changed."""
    made_up = MadeUp(count)
    rows = []
    with MOS.open(folder, embedder="given:384") as mos:
        session = mos.session("alice")
        for texts, vectors in made_up.pieces():
            session.add(texts, vectors=vectors)
        ids = [item.id for item in session.list(limit=min(10_000, count // 10))]
        with mos.store.begin(actor="alice", action="update") as transaction:
            cube = transaction.cube("alice")
            assert cube is not None
            heads = transaction.heads(cube, ids)
            puts = [
                Put(id=id, op="update", text="other words", body=Body(), head=head, vectors_of=head.seq)
                for id, head in heads.items()
            ]
            transaction.put(cube, puts)
        mos.vacuum()
        for name, as_of in (("now", None), ("past", count)):
            before = int(mos.store.facts()["bytes"])
            cpu, wall = time.process_time(), time.perf_counter()
            mos.fork("alice", f"alice/{name}", as_of=as_of)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            mos.vacuum()
            grown = int(mos.store.facts()["bytes"]) - before
            rows.append(
                {
                    "items": count,
                    "of": name,
                    "wall ms": 1e3 * wall,
                    "CPU ms": 1e3 * cpu,
                    "CPU us an item": 1e6 * cpu / count,
                    "bytes an item": grown / count,
                    "share of the database": grown / before,
                }
            )
    return rows


def main() -> None:
    sizes = [int(each) for each in sys.argv[1:] if each.isdecimal()] or [1000, 10_000, 100_000]
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows += run(size, Path(folder) / "memory")
    report("forks", rows, "vectors of 384 numbers, 31 words an item; SQLite")


if __name__ == "__main__":
    main()
