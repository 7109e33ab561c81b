"""Searching: vector and hybrid, filtered, as of a past moment, catching up, reopening; beside a float32 numpy scan.

    python benchmarks/search.py [600 10000 100000] [--no-simd] [--save]

All times are CPU milliseconds of one thread in one process; `scan` is what numpy takes in the same run to multiply all
float32 vectors with the question's. The question's embedding is not counted (its vector is given).
"""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path

import numpy as np
from made_up import MadeUp
from measure import at, cpu_ms, each_cpu_ms, report, resident_mb  # first: it sets the number of threads

from memos_core import MOS, Draft, F, SourceRef
from memos_core.stores.index import vectors
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.sql.engine import Database
from memos_core.stores.sql.records import SqlStore

QUESTIONS = 60


def fill(folder: Path, made_up: MadeUp) -> None:
    """A store with the made-up memories: turns of conversations of 200, with metadata to filter by."""
    with MOS.open(folder, embedder=f"given:{made_up.dims}") as mos:
        alice = mos.session("alice")
        number = 0
        for texts, vectors in made_up.pieces():
            drafts = []
            for text in texts:
                share = (number * 7919) % 10_000  # spreads the filtered rows over the whole cube
                drafts.append(
                    Draft(
                        text=text,
                        metadata={"share": share, "kind": f"k{number % 10}"},
                        conversation=f"c{number // 200}",
                        source=SourceRef(role="user", position=number % 200),
                    )
                )
                number += 1
            alice.add(drafts, vectors=vectors)
        alice.search("warm", vector=made_up.questions(1)[0][1])


def index_alone(folder: Path) -> CubeIndex:
    """The index of the cube without anything around it: it answers with numbers of changes and cosines."""
    store = SqlStore(Database(folder / "memos.db"))
    (row,) = store.cubes()
    index = CubeIndex(store, row, folder=folder / "index" / str(row.number), embedder="given:384", dims=384)
    index.catch_up()
    return index


def run(count: int, folder: Path) -> dict[str, float]:
    """One row of figures."""
    made_up = MadeUp(count)
    fill(folder, made_up)
    gc.collect()
    before = resident_mb()

    def reopened() -> None:
        with MOS.open(folder, embedder="given:384") as mos:
            mos.session("alice").search("bade0", vector=made_up.questions(1)[0][1], top_k=1)

    reopen = cpu_ms(reopened, 3)
    mos = MOS.open(folder, embedder="given:384")
    alice = mos.session("alice")
    questions = made_up.questions(QUESTIONS)
    alice.search(*questions[0][:1], vector=questions[0][1])
    resident = resident_mb() - before

    floats = made_up.vectors()
    scan = each_cpu_ms([lambda v=v: floats @ v for _, v in questions])
    cube = mos.cube("alice")
    index = index_alone(folder)
    ids = each_cpu_ms([lambda v=v: index.nearest(v, 10) for _, v in questions])
    nearest = each_cpu_ms([lambda v=v: cube.nearest(v) for _, v in questions])
    found = [{item.seq - 1 for item, _ in cube.nearest(v)} for _, v in questions[:20]]
    right = [set(np.argsort(-(floats @ v))[:10].tolist()) for _, v in questions[:20]]
    recall = float(np.mean([len(a & b) / 10 for a, b in zip(found, right, strict=True)]))

    def searches(**options: object) -> list[float]:
        alice.search(questions[0][0], vector=questions[0][1], **options)  # builds the column, if one is named
        return each_cpu_ms([lambda q=q, v=v: alice.search(q, vector=v, **options) for q, v in questions])

    hybrid = searches()
    filtered = {share: searches(where=F.share < share * 100) for share in (50, 10, 1)}
    only_vector = {}
    for share in (10, 1):
        wanted = F.share < share * 100
        calls = [lambda v=v, w=wanted: cube.nearest(v, where=w) for _, v in questions]
        calls[0]()
        only_vector[share] = at(each_cpu_ms(calls), 0.5)
    lexical = searches(without=("dense", "near", "late"))
    as_of = searches(as_of=count // 2)
    idle = cpu_ms(cube.catch_up, 200)
    with MOS.open(folder, embedder="given:384") as other:
        bob = other.session("alice")
        extra = MadeUp(1000, seed=1)
        ((texts, more),) = list(extra.pieces())
        bob.add(texts, vectors=more)
        catch_up = each_cpu_ms([cube.catch_up])
        bob.add("one more", vectors=more[:1])
        catch_up_one = each_cpu_ms([cube.catch_up])
    mos.close()
    floor = at(scan, 0.5)
    return {
        "items": count,
        "scan p50": floor,
        "vector p50": at(ids, 0.5),
        "vector p95": at(ids, 0.95),
        "vector/scan": at(ids, 0.5) / floor,
        "vector, with items": at(nearest, 0.5),
        "recall@10": recall,
        "vector 10 %": only_vector[10],
        "vector 1 %": only_vector[1],
        "hybrid p50": at(hybrid, 0.5),
        "hybrid p95": at(hybrid, 0.95),
        "hybrid/scan": at(hybrid, 0.5) / floor,
        **{f"hybrid {share} %": at(taken, 0.5) for share, taken in filtered.items()},
        "lexical p50": at(lexical, 0.5),
        "as_of p50": at(as_of, 0.5),
        "catch up 0": at(idle, 0.5),
        "catch up 1": catch_up_one[0],
        "catch up 1000": catch_up[0],
        "reopen": at(reopen, 0.5),
        "MB": resident,
    }


if __name__ == "__main__":
    if "--no-simd" in sys.argv:
        vectors.SIMD = False
    counts = [int(each) for each in sys.argv[1:] if each.isdecimal()] or [600, 10_000, 100_000]
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(count, Path(folder) / "memory"))
    names = list(rows[0])
    report(
        "search" if vectors.SIMD else "search-no-simd",
        [{"figure": name, **{f"{row['items']}": row[name] for row in rows}} for name in names],
    )
