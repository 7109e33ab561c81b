"""What counting uses costs, and what it does to retrieval.

    python benchmarks/usage.py [--folder PATH] [--embedder minilm|none|all] [--save]

Cost: 2,000 items, no embedder (searches are fastest then, so that the share is largest), CPU microseconds in the middle (p50):
a search of a store that counts no uses, one that does, one that ranks by the uses of every item; a note alone; and, in the
background, writing a note among 500.

Retrieval: the questions of benchmarks/locomo.py, asked in their order, a minute apart, uses counted after each: recall@10 and
MRR with the signal and without it. In the first round every question asks for something else than those before it, so what was
used is not what is asked for: the worst that use can do. In the second round everything has been asked once.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from locomo import KINDS, find_folder, judge, lines, mean, remember
from measure import at, cpu_ms, report

from memos_core import MOS
from memos_core.scheduler.clock import ManualClock

ITEMS, TIMES = 2000, 300


def cost() -> list[dict[str, Any]]:
    with MOS.open(":memory:", rank_by_use=True) as mos, MOS.open(":memory:", usage=False) as silent:
        taken: dict[str, list[float]] = {}
        texts = [
            f"The lamp number {number} stands in room {number % 50} of house {number % 7}." for number in range(ITEMS)
        ]
        for store in (mos, silent):
            store.session("alice").add(texts)
        question = "which lamp stands in room 17?"
        alice, other = mos.session("alice"), silent.session("alice")
        hits = alice.search(question)
        searches = {
            "a search, no uses counted": lambda: other.search(question),
            "a search, uses counted": lambda: alice.search(question),
        }
        for _ in range(TIMES):  # one after the other, so that a busy machine slows both alike
            for name, search in searches.items():
                start = time.process_time()
                search()
                taken.setdefault(name, []).append((time.process_time() - start) * 1e3)
        taken = {name: sorted(each) for name, each in taken.items()}
        noted = [(hit.cube_id, hit.id, hit.score, hit.score) for hit in hits]
        hundred = cpu_ms(lambda: [alice.view.note("search", noted) for _ in range(100)], 50)
        taken["a note alone"] = [each / 100 for each in hundred]
        mos.count_uses()
        start = time.process_time()
        for _ in range(500):
            alice.view.note("search", noted)
        notes = mos.count_uses()
        taken["writing a note, in the background"] = [(time.process_time() - start) * 1e3 / notes]
        for item in alice.list(limit=ITEMS):
            alice.view.note("get", [(item.cube_id, item.id, 1.0, 0.0)])
        mos.count_uses()
        assert "usage" in alice.search(question)[0].parts
        taken["a search, all items used"] = cpu_ms(lambda: alice.search(question), TIMES)
    floor = at(taken["a search, no uses counted"], 0.5)
    return [
        {"figure": name, "CPU us, p50": at(each, 0.5) * 1e3, "of a search": f"{at(each, 0.5) / floor:.1%}"}
        for name, each in taken.items()
    ]


def retrieval(kind: str, turns: list[dict[str, Any]], questions: list[dict[str, Any]]) -> dict[str, Any]:
    from memos_core.models.loading import load_embedder

    row: dict[str, Any] = {}
    clock = ManualClock()
    embedder = None if kind == "none" else load_embedder("minilm")[0]
    with MOS.open(":memory:", embedder=embedder, now=clock, rank_by_use=True) as mos:
        sessions = remember(mos, turns)
        mos.count_uses()
        for again in ("first", "second"):
            found: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
            for question in questions:
                session, gold = sessions[question["conv"]], set(question["gold"])
                for name, hits in {
                    "without": session.view.search(question["question"], without=["usage"], asker=session.actor.id),
                    "with": session.search(question["question"]),  # this one is counted
                }.items():
                    found[name].append(judge([hit.item.metadata["turn"] for hit in hits], gold))
                clock.go(60)
                mos.count_uses()
            for figure in ("recall@10", "MRR"):
                for name, figures in found.items():
                    row[f"{figure}, {again} round, {name}"] = mean(figures, figure)
    return row


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder")
    parser.add_argument("--embedder", choices=["minilm", "none", "all"], default="all")
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    report("usage-cost", cost(), f"{ITEMS} items")
    folder = find_folder(asked.folder)
    if folder is None:
        print(
            "LoCoMo is not here: give --folder (or set LOCOMO) with corpus.jsonl and queries.jsonl. Skipped.",
            file=sys.stderr,
        )
        return 0
    turns, questions = lines(folder / "corpus.jsonl"), lines(folder / "queries.jsonl")
    rows: dict[str, dict[str, Any]] = {}
    for kind in ["minilm", "none"] if asked.embedder == "all" else [asked.embedder]:
        for name, value in retrieval(kind, turns, questions).items():
            rows.setdefault(name, {"figure": name})[KINDS[kind]] = value
    report("usage", list(rows.values()), f"{len(turns)} turns, {len(questions)} questions")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
