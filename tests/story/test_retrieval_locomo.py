"""If this fails, search finds less in English conversations than it did when its weights were chosen: the figures in
docs/retrieval.md are no longer true.

One conversation of LoCoMo, through the benchmark's own functions. The data is not part of the project; where it is not found
(LOCOMO=folder, or as benchmarks/locomo.py says) the test is skipped. The whole of it: python benchmarks/locomo.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memos_core import MOS
from memos_core.models.loading import load_embedder

CONVERSATION = "conv-30"
# recall@10 and mean reciprocal rank; one question of the 81 is .012
BARS = {
    "minilm": (0.82, 0.67),  # measured .846, .698
    "plain": (0.795, 0.67),  # .819, .696
    "none": (0.81, 0.66),  # .833, .684
}


@pytest.fixture(scope="module")
def locomo() -> Any:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import locomo as found

        return found
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def conversation(locomo: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Turns and questions."""
    folder = locomo.find_folder(None)
    if folder is None:
        pytest.skip("LoCoMo is not here; set LOCOMO to a folder with corpus.jsonl and queries.jsonl")
    turns, questions = (locomo.lines(folder / name) for name in ("corpus.jsonl", "queries.jsonl"))
    return [t for t in turns if t["conv"] == CONVERSATION], [q for q in questions if q["conv"] == CONVERSATION]


@pytest.fixture(scope="module")
def minilm() -> Any:
    return load_embedder("minilm")[0]


@pytest.mark.parametrize("kind", list(BARS))
def test_what_answers_a_question_is_among_the_first_hits(
    kind: str, locomo: Any, conversation: Any, minilm: Any, record_property: Callable[[str, object], None]
) -> None:
    turns, questions = conversation
    embedder = {"minilm": minilm, "plain": locomo.Plain(minilm), "none": None}[kind]
    with MOS.open(":memory:", embedder=embedder) as mos:
        sessions = locomo.remember(mos, turns)
        figures, _ = locomo.evaluate(sessions, questions)
    measured = tuple(locomo.mean(figures, name) for name in ("recall@10", "MRR"))
    record_property(f"{len(questions)} questions, recall@10 and MRR", measured)
    assert all(value >= bar for value, bar in zip(measured, BARS[kind], strict=True)), (measured, BARS[kind])
