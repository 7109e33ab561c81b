"""What governance costs a search and an add: with the audit of reads and reasons, and without, in turns in one run.

    python benchmarks/governance.py [600 10000] [--save]

CPU time of one thread, the writing of the audit (in the background, or at the next transaction) included: each round is so
many searches, or adds, and then the writing of what they left. Vectors are given. "Without" has nobody told of reads, and
transactions forget what is noted; everything else is the same.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from made_up import MadeUp
from measure import report  # first: it sets the number of threads

from memos_core import MOS
from memos_core.stores.sql.changes import WriteTransaction

ROUNDS = 15
SEARCHES = 100  # in a round
ADDS = 40


@contextmanager
def without(mos: MOS) -> Any:
    """Nobody is told of reads, and nothing is noted."""
    audit, note = mos._governance._audit, WriteTransaction.note
    mos._governance._audit = None
    WriteTransaction.note = lambda self, cube, **detail: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        mos._governance._audit = audit
        WriteTransaction.note = note  # type: ignore[method-assign]


def taken(mos: MOS, work: Callable[[], None]) -> float:
    """CPU seconds of some work, and of writing what it left in the audit."""
    start = time.process_time()
    work()
    mos._audit.flush()
    return time.process_time() - start


def ratio(mos: MOS, work: Callable[[int], None], each: int) -> tuple[float, float, float]:
    """CPU milliseconds of one without and with, and their ratio: medians over rounds, in turns."""
    pairs = []
    work(-1)
    mos._audit.flush()
    for round_ in range(ROUNDS):
        with without(mos):
            bare = taken(mos, lambda at=2 * round_: work(at))
        pairs.append((bare, taken(mos, lambda at=2 * round_ + 1: work(at))))
    bare, full = (sorted(side)[ROUNDS // 2] / each * 1e3 for side in zip(*pairs, strict=True))
    return bare, full, full / bare


def run(count: int, folder: Path) -> dict[str, float]:
    """One row of figures, for a cube of this many items."""
    with MOS.open(folder / "memory", embedder="given:384") as mos:
        alice = mos.session("alice", conversation="bulk")
        pieces = list(MadeUp(count).pieces())
        for texts, vectors in pieces:
            alice.add(texts, vectors=vectors)
        texts, vectors = pieces[0]
        alice.search(texts[0], vector=vectors[0])

        def search(_: int) -> None:
            for place in range(SEARCHES):
                where = place % len(texts)
                alice.search(texts[where], vector=vectors[where])

        searched = ratio(mos, search, SEARCHES)
        more = list(MadeUp(ADDS * (2 * ROUNDS + 1), seed=3).pieces())
        new = [(text, vector) for own, its in more for text, vector in zip(own, its, strict=True)]

        def add(round_: int) -> None:
            start = (round_ + 1) * ADDS
            for text, vector in new[start : start + ADDS]:
                alice.add(text, vectors=vector[None, :])

        added = ratio(mos, add, ADDS)
        start = time.perf_counter()
        for _ in range(1000):
            mos._governance.read(alice.actor, "alice", "search", ["0" * 32] * 10)
        noted = time.perf_counter() - start
    return {
        "items": count,
        "search without, ms": searched[0],
        "search with, ms": searched[1],
        "search, with / without": searched[2],
        "add without, ms": added[0],
        "add with, ms": added[1],
        "add, with / without": added[2],
        "noting one read, us": noted * 1e3,
    }


if __name__ == "__main__":
    counts = [int(each) for each in sys.argv[1:] if each.isdecimal()] or [600, 10_000]
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(count, Path(folder)))
    names = list(rows[0])
    report("governance", [{"figure": name, **{f"{row['items']}": row[name] for row in rows}} for name in names])
