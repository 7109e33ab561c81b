"""Redaction: what is found of what was planted, what is found where nothing was, and what looking costs.

    python benchmarks/redaction.py [--each 300] [--folder PATH] [--save]

The corpus is made up (tests/unit/redaction_corpus.py), by code that shares nothing with the detectors: a value of each kind in
a sentence, one in three of them disguised (full-width, zero-width characters, no-break spaces, combining marks). "held out"
are sentences and forms of writing that the detectors were not developed on. A value counts as found when findings cover all of
it and one of them is of its kind. Half of the harmless turns are made up to look like secrets, half are ordinary conversation
(LoCoMo, found as benchmarks/locomo.py says; without it that half is missing, and the table says so).

CPU microseconds per 1000 characters, one thread; beside them what MiniLM takes to embed the same turns is milliseconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import option, report  # first: it sets the number of threads

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "unit"))

from locomo import find_folder, lines
from redaction_corpus import KINDS, names, negatives, positives, score

from memos_core.governance.redaction.redactor import Redactor

SEED = 20_262
TIMES = 3


def cost(redactor: Redactor, texts: Sequence[str]) -> float:
    """CPU microseconds per 1000 characters, the best of a few."""
    taken = []
    for _ in range(TIMES):
        start = time.process_time()
        for text in texts:
            redactor.redact(text)
        taken.append(time.process_time() - start)
    return min(taken) * 1e9 / sum(map(len, texts))


def measure(each: int, folder: Path | None) -> list[dict[str, Any]]:
    whole = Redactor(names=names())
    alone = {kind: Redactor([kind], names=names()) for kind in KINDS}
    results = {part: score(whole, positives(part, SEED, each)) for part in ("develop", "held_out")}
    hard = {part: negatives(part, SEED, each * len(KINDS)) for part in results}
    talk = [turn["raw"] for turn in lines(folder / "corpus.jsonl")] if folder else []
    wrong = {part: [whole.find(text) for text in texts] for part, texts in hard.items()}
    ordinary = [whole.find(text) for text in talk]
    texts = talk or hard["held_out"]

    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        found = {part: result.found[kind] for part, result in results.items()}
        rows.append(
            {
                "kind": kind,
                "planted, held out": found["held_out"][1],
                "recall, developed on": found["develop"][0] / found["develop"][1],
                "recall, held out": found["held_out"][0] / found["held_out"][1],
                "FPR, hard": _share(wrong["held_out"], kind),
                "FPR, talk": _share(ordinary, kind) if talk else "no data",
                "CPU µs/1000, talk alone": cost(alone[kind], texts),
            }
        )
    rows.append(
        {
            "kind": "all",
            "planted, held out": sum(planted for _, planted in results["held_out"].found.values()),
            "recall, developed on": results["develop"].recall,
            "recall, held out": results["held_out"].recall,
            "FPR, hard": _share(wrong["held_out"]),
            "FPR, talk": _share(ordinary) if talk else "no data",
            "CPU µs/1000, talk alone": cost(whole, texts),
        }
    )
    print(
        "all, CPU µs/1000 in turns full of secrets:",
        round(cost(whole, [t.text for t in positives("held_out", SEED, each)])),
    )
    print("held-out turns with a finding beside what was planted:", len(results["held_out"].beside))
    print("FPR, hard negatives developed on:", _share(wrong["develop"]))
    return rows


def _share(findings: Sequence[Sequence[Any]], kind: str | None = None) -> float:
    """The share of turns with a finding (of a kind)."""
    return sum(any(kind in (None, one.kind) for one in each) for each in findings) / max(1, len(findings))


if __name__ == "__main__":
    given = option("--folder")
    report("redaction", measure(int(option("--each") or 300), find_folder(given)))
