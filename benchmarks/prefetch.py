"""Prefetching into working memory: how much of what a turn needs is there before it is asked, on LoCoMo.

    python benchmarks/prefetch.py [--folder PATH] [--embedder minilm|none|all] [--conversations N] [--save]

The conversations are read as by benchmarks/locomo.py. Each turn is searched for, then added; then the scheduler runs. Before the
next turn it is asked what is there, so a prediction sees earlier turns only.

"turns": what a turn needs are the hits of a search for its words among all earlier turns, the best 5 with a score of .1 or more
(turns that need nothing are passed over, and the first 40). "older": of these, only those that are not among the last 20
turns. "questions": when the conversation is over, its questions are asked one after the other; what each needs are its gold
turns. hit rate@20 is the share of what is needed that is among 20 items, averaged over turns or questions.

    nothing           no prefetching
    recency           the last 20 turns that were said
    without jobs      working memory: what was said and found lately, without prediction
    with prediction   working memory, as it is by default

Milliseconds are of CPU, in the middle (p50): reading working memory, beside a search that finds the same; and, in the
background, counting and predicting once a turn.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from locomo import KINDS, find_folder, lines, message
from measure import at, report

from memos_core import MOS, Session
from memos_core.scheduler.clock import ManualClock
from memos_core.types.uses import Holder

SIZE, NEEDS, LEAST, FIRST = 20, 5, 0.1, 40
WAYS = ("nothing", "recency", "without jobs", "with prediction")
_T = TypeVar("_T")


class Timed:
    """CPU milliseconds of calls, by name."""

    def __init__(self) -> None:
        self.taken: dict[str, list[float]] = defaultdict(list)

    def __call__(self, name: str, call: Callable[[], _T]) -> _T:
        start = time.process_time()
        answer = call()
        self.taken[name].append((time.process_time() - start) * 1e3)
        return answer


class Conversation:
    """One conversation in two working memories: the scheduler predicts for one of them."""

    def __init__(self, mos: MOS, clock: ManualClock, timed: Timed, name: str, thread: str) -> None:
        self.predicted: Session = mos.session(name, conversation=thread)
        self.plain: Session = mos.session(name, conversation=f"{thread}, without jobs")
        self._mos, self._clock, self._timed = mos, clock, timed

    def there(self, said: list[str]) -> dict[str, set[str]]:
        """What each way has before a turn: names of turns."""
        kept = self._timed("reading working memory", self.predicted.working)
        return {
            "nothing": set(),
            "recency": set(said[-SIZE:]),
            "without jobs": {each.item.metadata["turn"] for each in self.plain.working()},
            "with prediction": {each.item.metadata["turn"] for each in kept},
        }

    def ask(self, words: str) -> list[tuple[str, float]]:
        """(turn, score) of the hits of a search."""
        hits = self._timed("a search", lambda: self.predicted.search(words))
        self.plain.search(words)
        return [(hit.item.metadata["turn"], hit.score) for hit in hits]

    def say(self, turn: dict[str, Any]) -> None:
        added = self.predicted.add(message(turn))
        holder = Holder(self.plain.actor.id, self.plain.conversation or "", tuple(self.plain.read_from))
        self.plain.view.note("add", [(self.plain.write_to[0], id, 1.0, 0.0) for id in added.ids], holder)

    def go_on(self) -> None:
        """What happens in the background after a turn."""
        self._clock.go(60)
        self._timed("counting", self._mos.count_uses)
        waiting = self._mos.store.jobs.list(states=["pending"], kinds=["working"])
        self._mos.store.jobs.cancel(
            [job.id for job in waiting if job.payload["conversation"] == self.plain.conversation]
        )
        self._timed("predicting", self._mos.scheduler.run_pending)


def share(there: set[str], needed: set[str]) -> float:
    return len(there & needed) / len(needed)


def run(kind: str, turns: list[dict[str, Any]], questions: list[dict[str, Any]]) -> tuple[dict[str, Any], Timed]:
    """Hit rates by stream and way, and what it cost."""
    from memos_core.models.loading import load_embedder

    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    timed, clock = Timed(), ManualClock()
    embedder = None if kind == "none" else load_embedder("minilm")[0]
    with MOS.open(":memory:", embedder=embedder, now=clock) as mos:
        for name in dict.fromkeys(turn["conv"] for turn in turns):
            said: list[str] = []
            talk = Conversation(mos, clock, timed, name, "chat")
            for turn in (turn for turn in turns if turn["conv"] == name):
                ways = talk.there(said)
                hits = talk.ask(turn["raw"] or turn["caption"] or "") if said else []
                needed = {each for each, score in hits[:NEEDS] if score >= LEAST}
                older = needed - set(said[-SIZE:])
                for way, there in ways.items() if len(said) >= FIRST else ():
                    if needed:
                        found["turns", way].append(share(there, needed))
                    if older:
                        found["older", way].append(share(there, older))
                talk.say(turn)
                said.append(turn["dia_id"])
                talk.go_on()
            talk = Conversation(mos, clock, timed, name, "questions")
            for question in (question for question in questions if question["conv"] == name):
                ways = talk.there(said)
                for way, there in ways.items():
                    found["questions", way].append(share(there, set(question["gold"])))
                talk.ask(question["question"])
                talk.go_on()
    means = {key: sum(values) / len(values) for key, values in found.items()}
    return {f"{stream}, {way}": means[stream, way] for stream, way in sorted(means, key=_order)}, timed


def _order(key: tuple[str, str]) -> tuple[int, int]:
    return ("turns", "older", "questions").index(key[0]), WAYS.index(key[1])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder")
    parser.add_argument("--embedder", choices=["minilm", "none", "all"], default="all")
    parser.add_argument("--conversations", type=int, default=5)
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    folder = find_folder(asked.folder)
    if folder is None:
        print(
            "LoCoMo is not here: give --folder (or set LOCOMO) with corpus.jsonl and queries.jsonl. Skipped.",
            file=sys.stderr,
        )
        return 0
    turns, questions = lines(folder / "corpus.jsonl"), lines(folder / "queries.jsonl")
    names = list(dict.fromkeys(turn["conv"] for turn in turns))[: asked.conversations]
    turns = [turn for turn in turns if turn["conv"] in names]
    questions = [question for question in questions if question["conv"] in names]
    rows: dict[str, dict[str, Any]] = defaultdict(dict)
    for kind in ["minilm", "none"] if asked.embedder == "all" else [asked.embedder]:
        rates, timed = run(kind, turns, questions)
        for name, rate in rates.items():
            rows[f"hit rate@20, {name}"][KINDS[kind]] = rate
        for name, taken in timed.taken.items():
            rows[f"{name}, ms p50"][KINDS[kind]] = at(sorted(taken), 0.5)
    note = f"{len(turns)} turns, {len(questions)} questions of {len(names)} conversations"
    report("prefetch", [{"figure": name, **row} for name, row in rows.items()], note)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
