"""Candidates by Chroma (embedded in this process) beside the embedded index: when it pays to ask somebody else.

    python benchmarks/followers.py [20000] [--save]

Times are CPU milliseconds of this process, p50; `recall` is the share of the ten nearest among Chroma's candidates. Vectors
in topics are more like those of texts; vectors spread evenly are the hardest there are for a search tree.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from made_up import MadeUp
from measure import at, each_cpu_ms, report
from search import fill

from memos_core import MOS
from memos_core.stores.chroma_places import open_chroma
from memos_core.stores.index.vectors import QueryVector, best, normalise
from memos_core.stores.vector_follower import VectorFollower
from memos_core.stores.waiting import Patience

QUESTIONS = 40


class Topics(MadeUp):
    """Made-up memories whose vectors lie around 200 topics."""

    def pieces(self, *, texts: bool = True) -> Iterator[tuple[list[str], np.ndarray]]:
        """As `MadeUp.pieces`."""
        rng = np.random.default_rng(11)
        centres = normalise(rng.standard_normal((200, self.dims), dtype=np.float32))
        for own, vectors in super().pieces(texts=texts):
            yield own, normalise(centres[rng.integers(200, size=len(vectors))] + np.float32(0.8) * vectors)


def run(made_up: MadeUp, folder: Path) -> dict[str, object]:
    """One store, its embedded index, and a follower of it."""
    count = made_up.count
    fill(folder, made_up)
    questions = [normalise(vector[None, :])[0] for _, vector in made_up.questions(QUESTIONS)]
    with MOS.open(folder) as mos:
        cube = mos._store.cubes()[0]
        index = mos._indexes.get(cube)
        index.catch_up()
        tables, _ = open_chroma(str(folder / "chroma"), folder=folder)
        follower = VectorFollower(
            mos._store,
            cube,
            embedder="given",
            dims=made_up.dims,
            tables=tables,
            index=lambda: index,
            patience=Patience("chroma"),
        )
        wall, start = time.perf_counter(), time.process_time()
        follower.catch_up()
        filled, waited = time.process_time() - start, time.perf_counter() - wall
        table = follower.held
        assert table is not None
        rows = index.moment().rows
        chosen = np.sort(np.random.default_rng(1).choice(rows, count // 100, replace=False))
        ids = index.table["seq"][chosen].tolist()
        right = [{seq for seq, _ in index.nearest(vector, 10)} for vector in questions]

        def recall(candidates: int) -> float:
            found = [len(own & set(table.nearest(q, candidates))) for own, q in zip(right, questions, strict=True)]
            return sum(found) / (10 * QUESTIONS)

        measured = {
            "items": count,
            "vectors": "in topics" if isinstance(made_up, Topics) else "spread evenly",
            "fill CPU s": filled,
            "fill s": waited,
            "vectors per CPU s": count / filled,
            "scan": at(each_cpu_ms(lambda q=q: best(index.cosines(QueryVector(q), rows), 400) for q in questions), 0.5),
            "chroma, 26": at(each_cpu_ms(lambda q=q: table.nearest(q, 26) for q in questions), 0.5),
            "chroma, 400": at(each_cpu_ms(lambda q=q: table.nearest(q, 400) for q in questions), 0.5),
            "scan 1 %": at(each_cpu_ms(lambda q=q: index.cosines(QueryVector(q), chosen) for q in questions), 0.5),
            "chroma 1 % by ids": at(each_cpu_ms(lambda q=q: table.nearest(q, 26, ids) for q in questions), 0.5),
            "recall": recall(400),
        }
        tables.close()
        return measured


if __name__ == "__main__":
    counts = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()] or [20_000]
    found = []
    for made_up in [kind(count) for count in counts for kind in (Topics, MadeUp)]:
        with tempfile.TemporaryDirectory() as folder:
            found.append(run(made_up, Path(folder)))
    report("followers", found)
