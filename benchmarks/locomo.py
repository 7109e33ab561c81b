"""Retrieval on LoCoMo: one memory a turn, one cube a conversation, the question as the query.

    python benchmarks/locomo.py [--folder PATH] [--embedder minilm|plain|none|all] [--leave-one-out] [--calibration] [--peers]
        [--save]

The conversations (Maharana et al., ACL 2024; CC BY-NC 4.0, not part of this project) are read from `--folder`, or from
the environment variable LOCOMO; without them it says so and ends. Memories are made with `session.add(messages)` from
the words, picture captions, speakers and times of the turns, and found with `session.search(question)`: nothing else.

recall@k is the share of a question's gold turns among the first k hits, averaged over the questions. "plain" takes
MiniLM as an embedder without token vectors, "none" searches by words alone. `--leave-one-out` chooses the weights anew for
each conversation, on the other four, out of 200 random changes of them by up to half, and reports what that gives on the
one left out: how much of the result is choice of weights. `--calibration` also asks each question of the next two
conversations, which do not answer it, and reports how well `hit.score` tells the one from the other.
`--peers` asks other stores the same questions, with the same model's vectors of the same words: what each finds without a
language model.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from measure import at, report  # first: it sets the number of threads

from memos_core import MOS, Session
from memos_core.plaintext import ranking

CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop"}
KINDS = {"minilm": "MiniLM, token vectors", "plain": "MiniLM, one vector", "none": "no embedder"}
PLACES = ("shared/data/locomo", "../shared/data/locomo")
DEEPEST = 20
TRIALS = 200


class Plain:
    """An embedder without token vectors."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.identity = f"plain:{model.identity}"
        self.dims = model.dims
        self.latin_only = model.latin_only

    def embed(self, texts: list[str]) -> np.ndarray:
        return self._model.embed(texts)

    def embed_query(self, text: str) -> np.ndarray:
        return self._model.embed_query(text)


def find_folder(given: str | None) -> Path | None:
    """Where the conversations lie, or None."""
    root = Path(__file__).resolve().parent.parent
    places = [given, os.environ.get("LOCOMO"), *(root / place for place in PLACES)]
    return next((Path(p) for p in places if p and (Path(p) / "corpus.jsonl").is_file()), None)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def message(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn as a chat message."""
    content: list[dict[str, str]] = [{"type": "text", "text": turn["raw"]}]
    if turn["caption"]:
        content.append({"type": "image", "caption": turn["caption"]})
    return {
        "role": "user",
        "speaker": turn["speaker"],
        "content": content,
        "at": turn["ts"],
        "metadata": {"turn": turn["dia_id"]},
    }


def remember(mos: MOS, turns: list[dict[str, Any]]) -> dict[str, Session]:
    """One session, with a cube of its own, for each conversation."""
    conversations: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for turn in turns:
        conversations[turn["conv"]].append(turn)
    sessions = {}
    for name, own in conversations.items():
        sessions[name] = mos.session(name, conversation="chat")
        sessions[name].add([message(turn) for turn in own])
    return sessions


def judge(found: list[str], gold: set[str]) -> dict[str, float]:
    """Figures of one question."""
    right = [turn in gold for turn in found]
    gain = sum(1 / np.log2(place + 2) for place, hit in enumerate(right[:10]) if hit)
    best = sum(1 / np.log2(place + 2) for place in range(min(10, len(gold))))
    first = next((place for place, hit in enumerate(right) if hit), None)
    return {
        **{f"recall@{k}": sum(right[:k]) / len(gold) for k in (5, 10, 20)},
        "MRR": 0.0 if first is None else 1 / (first + 1),
        "nDCG@10": gain / best,
    }


def evaluate(
    sessions: dict[str, Session], questions: list[dict[str, Any]]
) -> tuple[list[dict[str, float]], list[float]]:
    """Figures of each question, and CPU milliseconds of each search."""
    figures, taken = [], []
    for question in questions:
        start = time.process_time()
        hits = sessions[question["conv"]].search(question["question"], top_k=DEEPEST)
        taken.append((time.process_time() - start) * 1e3)
        figures.append(judge([hit.item.metadata["turn"] for hit in hits], set(question["gold"])))
    return figures, sorted(taken)


def mean(figures: list[dict[str, float]], name: str) -> float:
    return float(np.mean([each[name] for each in figures])) if figures else float("nan")


def leave_one_out(sessions: dict[str, Session], questions: list[dict[str, Any]], recipe: ranking.Recipe) -> float:
    """recall@10 when each conversation is ranked with the weights that are best on the others."""
    every = {q["qid"]: sessions[q["conv"]].search(q["question"], top_k=10_000) for q in questions}
    rng = np.random.default_rng(0)
    names = list(recipe.weights)
    trials = [np.ones(len(names)), *(rng.uniform(0.5, 1.5, len(names)) for _ in range(TRIALS))]
    recalls: dict[str, list[list[float]]] = defaultdict(list)
    for question in questions:
        hits = every[question["qid"]]
        gold = np.array([hit.item.metadata["turn"] in question["gold"] for hit in hits])
        parts = np.array([[hit.parts.get(name, 0.0) for name in names] for hit in hits]).reshape(len(hits), len(names))
        own = []
        for trial in trials:
            order = np.argsort(-(parts @ trial), kind="stable")[:10]
            own.append(float(gold[order].sum()) / len(question["gold"]))
        recalls[question["conv"]].append(own)
    tables = {conversation: np.array(own) for conversation, own in recalls.items()}
    left_out = []
    for conversation, own in tables.items():
        others = np.concatenate([table for name, table in tables.items() if name != conversation])
        left_out.extend(own[:, int(others.mean(axis=0).argmax())])
    return float(np.mean(left_out))


def calibration(sessions: dict[str, Session], questions: list[dict[str, Any]]) -> dict[str, float]:
    """How well `hit.score` tells hits that answer from those that do not."""
    names = list(sessions)
    scores: list[float] = []
    right: list[bool] = []
    best: dict[bool, list[float]] = {True: [], False: []}  # scores of first hits, by whether there is an answer
    kept = []
    for question in questions:
        own = names.index(question["conv"])
        for step in range(3):
            hits = sessions[names[(own + step) % len(names)]].search(question["question"])
            gold = [step == 0 and hit.item.metadata["turn"] in question["gold"] for hit in hits]
            scores += [hit.score for hit in hits]
            right += gold
            best[step == 0].append(hits[0].score if hits else 0.0)
            if step == 0:
                likely = sum(is_gold and hit.score >= 0.1 for hit, is_gold in zip(hits, gold, strict=True))
                kept.append(likely / len(question["gold"]))
    said, true = np.array(scores), np.array(right, dtype=float)
    with_answer, without = np.array(best[True]), np.array(best[False])
    above = with_answer[:, None] > without
    level = with_answer[:, None] == without
    return {
        "Brier": float(((said - true) ** 2).mean()),
        "Brier of the base rate": float(true.var()),
        "AUC answerable or not": float(above.mean() + level.mean() / 2),
        "gold kept by min_score .1": float(np.mean(kept)),
        "no hit left by .2, answerable": float((with_answer < 0.2).mean()),
        "no hit left by .2, not": float((without < 0.2).mean()),
    }


def run(
    kind: str, turns: list[dict[str, Any]], questions: list[dict[str, Any]], *, left_out: bool, calibrated: bool
) -> dict[str, Any]:
    """One row of figures."""
    from memos_core.models.loading import load_embedder

    embedder = None if kind == "none" else load_embedder("minilm")[0]
    recipe = {"minilm": ranking.TOKENS, "plain": ranking.VECTORS, "none": ranking.WORDS}[kind]
    with MOS.open(":memory:", embedder=Plain(embedder) if kind == "plain" else embedder) as mos:
        start = time.process_time()
        sessions = remember(mos, turns)
        built = time.process_time() - start
        evaluate(sessions, questions[:20])  # indexes are filled by the first search
        figures, taken = evaluate(sessions, questions)
        by_category: dict[int, list[dict[str, float]]] = defaultdict(list)
        by_conversation: dict[str, list[dict[str, float]]] = defaultdict(list)
        for question, own in zip(questions, figures, strict=True):
            by_category[question["category"]].append(own)
            by_conversation[question["conv"]].append(own)
        row: dict[str, Any] = {"embedder": KINDS[kind]}
        row |= {name: mean(figures, name) for name in figures[0]}
        row |= {f"r@10 {name}": mean(by_category[number], "recall@10") for number, name in CATEGORIES.items()}
        row |= {f"r@10 {name}": mean(own, "recall@10") for name, own in by_conversation.items()}
        if left_out:
            row["r@10 leave one out"] = leave_one_out(sessions, questions, recipe)
        if calibrated:
            row |= calibration(sessions, questions)
        stats = mos.stats()
        row |= {
            "add ms/turn": built * 1e3 / len(turns),
            "search p50 ms": at(taken, 0.5),
            "search p95 ms": at(taken, 0.95),
        }
        row["bytes of token vectors/turn"] = token_bytes(sessions) if stats["token_dims"] else 0
    return row


def beside(name: str, turns: list[dict[str, Any]], questions: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of figures of another store: a store for each conversation, the ten nearest."""
    from peers import STORES

    from memos_core.models.loading import load_embedder

    model = load_embedder("minilm")[0]
    figures = []
    for conversation in sorted({turn["conv"] for turn in turns}):
        own = [turn for turn in turns if turn["conv"] == conversation]
        texts = [f"{turn['speaker']}: {turn['raw']} {turn['caption'] or ''}".strip() for turn in own]
        with tempfile.TemporaryDirectory() as folder:
            store = STORES[name](Path(folder) / "store", model.dims)
            store.add(texts, model.embed(texts), range(len(texts)))
            for question in questions:
                if question["conv"] == conversation:
                    found = store.vector(question["question"], model.embed_query(question["question"]))
                    figures.append(
                        judge([own[place]["dia_id"] for place in store.places(found)], set(question["gold"]))
                    )
            store.close()
    return {"embedder": STORES[name].name, **{each: mean(figures, each) for each in ("recall@5", "recall@10", "MRR")}}


def token_bytes(sessions: dict[str, Session]) -> float:
    """Mean bytes of token vectors of a turn."""
    store = next(iter(sessions.values())).view._store  # what is stored is not part of the public API
    sizes = [
        len(blobs.tokens or b"")
        for cube in store.cubes()
        for blobs in store.vectors(cube, range(1, cube.seq + 1)).values()
    ]
    return float(np.mean(sizes))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder")
    parser.add_argument("--embedder", choices=[*KINDS, "all"], default="all")
    parser.add_argument("--leave-one-out", action="store_true")
    parser.add_argument("--calibration", action="store_true")
    parser.add_argument("--peers", action="store_true")
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
    kinds = list(KINDS) if asked.embedder == "all" else [asked.embedder]
    rows = [run(k, turns, questions, left_out=asked.leave_one_out, calibrated=asked.calibration) for k in kinds]
    for name in ("chroma", "langgraph-memory", "llama-simple", "mem0") if asked.peers else ():
        try:
            rows.append(beside(name, turns, questions))
        except ImportError as error:
            print(f"{name} is not installed: {error}", file=sys.stderr)
    note = f"{len(turns)} turns, {len(questions)} questions of {len({q['conv'] for q in questions})} conversations"
    shown = [
        {"figure": name, **{row["embedder"]: row.get(name, "") for row in rows}}
        for name in rows[0]
        if name != "embedder"
    ]
    report("locomo-peers" if asked.peers else "locomo", shown, note)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
