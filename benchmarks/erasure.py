"""Erasing: what it costs to take items out of a store for good, by how large it is and how many they are.

    python benchmarks/erasure.py [1000 10000 100000] [--save]

The whole of it, from the call to the answer: finding the rows, blanking them, writing the database anew, reading every file for
what has gone. Beside it the time of the one transaction among that, in which others who write wait; and of the first search
afterwards, which builds the index anew.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from made_up import MadeUp
from measure import report  # first: it sets the number of threads

from memos_core import MOS


def run(count: int, folder: Path) -> list[dict[str, Any]]:
    """Rows of figures: one item, and a thousand at once."""
    made_up = MadeUp(count)
    query = np.random.default_rng(1).standard_normal(384).astype(np.float32)
    rows = []
    with MOS.open(folder, embedder="given:384") as mos:
        session = mos.session("alice")
        ids: list[str] = []
        for texts, vectors in made_up.pieces():
            ids += session.add(texts, vectors=vectors).ids
        mos.cube("alice").nearest(query, 10)
        for items in (1, min(1000, count // 10)):
            going = [ids.pop(len(ids) // 2) for _ in range(items)]
            cpu, wall = time.process_time(), time.perf_counter()
            done = session.erase(going, reason="a measurement")
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            assert done.complete, done.remains
            again = time.perf_counter()
            mos.cube("alice").nearest(query, 10)
            again = time.perf_counter() - again
            vacuum = time.perf_counter()
            mos.store.vacuum(whole=True)
            vacuum = time.perf_counter() - vacuum
            rows.append(
                {
                    "items": count,
                    "erased": items,
                    "wall s": wall,
                    "CPU s": cpu,
                    "of it VACUUM s": vacuum,
                    "first search s": again,
                    "database MB": int(mos.store.facts()["bytes"]) / 1e6,
                }
            )
    return rows


def main() -> None:
    sizes = [int(word) for word in sys.argv[1:] if word.isdecimal()] or [1000, 10_000, 100_000]
    found = []
    for count in sizes:
        with tempfile.TemporaryDirectory() as place:
            found += run(count, Path(place))
    report("erasure", found, "vectors of 384 numbers, 31 words an item; SQLite; VACUUM measured by itself afterwards")


if __name__ == "__main__":
    main()
