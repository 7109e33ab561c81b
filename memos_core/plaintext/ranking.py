"""Ranking: what each signal weighs, and how likely a hit is what was asked for. The one place of all constants.

Each signal has an absolute scale, about 0 … 1 for any question and any cube, so scores of several cubes are pooled as they
are; nothing is normalised per question. What is said next to an item counts for it too, with a decay: "It was great!" after
"How was Lisbon?" is found by Lisbon. Nothing that is stored for an item depends on another one.

Signals of an item i, k running over its neighbours at distance |k| ≤ 4 in its conversation or document:

- late: mean over the question's words, weighted by their rarity, of max_k .85^|k| · (best cosine of the word's token with a
  token of i+k). Late interaction, after ColBERT (Khattab and Zaharia, SIGIR 2020).
- dense: cosine of the question's vector (speakers' names taken out) with the item's.
- near: max_k .85^|k| · dense(i+k).
- lexical: BM25 (Robertson and Zaragoza, 2009; k1 1.2, b .75) of the item with its neighbours, whose counts enter with
  .6^|k|, as a share of what the question could reach at most.
- speaker: 1 if the question is about whoever said it.
- date: 1 inside a time that the question names, .5 e^(-days/7) outside.
- salience: names and numbers said, no question, and how rare its words are in this cube.
- when: 1 if the question asks for a time and the item says one.
- feedback: words that the five best items share (RM3; Abdul-Jaleel et al., TREC 2004), at i or decayed next to it.
- usage: how likely it is to be needed again, by how often and how lately it was used (`memos_core.lifecycle.activation`); 0
  where it never was. Only in searches of the present: the past is ranked as it was.

Weights were chosen as round numbers on the development half of LoCoMo, each structural choice by leaving one conversation
out; docs/retrieval.md has the figures. All weights changed at random by up to half move recall@10 by about a point.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

Signal = Literal["late", "dense", "near", "lexical", "speaker", "date", "salience", "when", "feedback", "usage"]
SIGNALS: Final[tuple[Signal, ...]] = (
    "late",
    "dense",
    "near",
    "lexical",
    "speaker",
    "date",
    "salience",
    "when",
    "feedback",
    "usage",
)

REACH: Final = 4  # neighbours looked at on either side
DECAY_OF_MEANING: Final = 0.85  # a neighbour's cosine counts .85 ** distance
DECAY_OF_WORDS: Final = 0.6  # a neighbour's words count .6 ** distance
K1, B = 1.2, 0.75
DATE_EDGE, DATE_DAYS = 0.5, 7.0
OPEN_DAYS: Final = 14.0  # inside a time that is open to one side ("before August"), from its closed end
RARITY_WEIGHT: Final = 5.0  # of the rarity of words within salience
FEEDBACK_ITEMS, FEEDBACK_TERMS = 5, 10
USAGE: Final = 0.05  # the weight of usage in every recipe: a sixteenth of a named date's
# Above this many findable items a cheap first score over all of them picks the pool that all signals are computed for.
FULL_ROWS: Final = 4096
POOL: Final = 100  # best of the first score; their neighbours come on top
CANDIDATES: Final = 4  # so many times the pool are asked of somebody else who keeps the vectors, and taken by words
# Cosines between `UNRELATED` with all-MiniLM-L6-v2: other embedders' cosines are mapped to the same background.
BACKGROUND_MEAN, BACKGROUND_SPREAD = 0.054, 0.073


class Calibration(msgspec.Struct, frozen=True):
    """log odds = base + absolute · s + relative · (s - s1) + gap · (s1 - max(s10, floor)).

    s is an item's score, s1 the best and s10 the tenth of the search. With fewer than ten, the floor (what unrelated text
    gets) stands in for the tenth. Fitted with answerable questions and with questions asked of the wrong conversation.
    """

    base: float
    absolute: float
    relative: float
    gap: float
    floor: float


class Recipe(msgspec.Struct, frozen=True):
    """Weights of the signals that a search has, and the calibration that belongs to them."""

    name: str
    weights: dict[Signal, float]
    calibration: Calibration

    @property
    def meant(self) -> bool:
        """Whether meaning takes part."""
        return not self.weights.keys().isdisjoint(("late", "dense", "near"))


TOKENS: Final = Recipe(
    "token vectors",
    {
        "late": 1.2,
        "dense": 0.3,
        "near": 0.6,
        "lexical": 1.0,
        "speaker": 0.4,
        "date": 0.8,
        "salience": 0.08,
        "when": 0.3,
        "feedback": 0.2,
        "usage": USAGE,
    },
    Calibration(-3.9, 1.1, 5.0, 2.3, 0.6),
)
VECTORS: Final = Recipe(
    "vectors",
    {
        "dense": 0.4,
        "near": 1.0,
        "lexical": 1.4,
        "speaker": 0.4,
        "date": 0.8,
        "salience": 0.08,
        "when": 0.3,
        "feedback": 0.2,
        "usage": USAGE,
    },
    Calibration(-3.3, 0.9, 5.8, 2.9, 0.4),
)
WORDS: Final = Recipe(
    "words",
    {"lexical": 2.2, "speaker": 0.4, "date": 0.8, "salience": 0.08, "when": 0.3, "feedback": 0.2, "usage": USAGE},
    Calibration(-2.6, 0.4, 7.5, 3.7, 0.2),
)


def recipe_for(*, vectors: bool, tokens: bool, without: Collection[str] = ()) -> Recipe:
    """The recipe for the signals at hand; those that are turned off weigh nothing."""
    if tokens and "late" not in without:
        base = TOKENS
    elif vectors and not {"dense", "near"} <= set(without):
        base = VECTORS
    else:
        base = WORDS
    weights = {name: weight for name, weight in base.weights.items() if name not in without}
    return Recipe(base.name, weights, base.calibration)


def fused(parts: Mapping[Signal, Doubles], recipe: Recipe) -> Doubles:
    """Scores (items,): the weighted sum of the signals that are there."""
    total = sum((weight * parts[name] for name, weight in recipe.weights.items() if name in parts), np.float64(0))
    return np.asarray(total, dtype=np.float64)


def expected(recipe: Recipe, *, speaker: bool, date: bool, when: bool) -> float:
    """What a perfect hit gets from signals that only some questions switch on.

    It is taken off all scores of a search alike, before they become probabilities: a question that names a speaker is not
    answered better for it.
    """
    weights = recipe.weights
    return weights.get("speaker", 0.0) * speaker + weights.get("date", 0.0) * date + weights.get("when", 0.0) * when


def probabilities(scores: Doubles, taken_off: float, recipe: Recipe) -> Doubles:
    """How likely each hit is what was asked for, in (0, 1), falling along the ranking.

    Args:
        scores: of all cubes together, best first, at least the ten best where there are ten.
        taken_off: from `expected`.
    """
    if not len(scores):
        return np.zeros(0)
    fit = recipe.calibration
    own = scores - taken_off
    tenth = max(float(own[9]), fit.floor) if len(own) >= 10 else fit.floor
    odds = fit.base + fit.absolute * own + fit.relative * (own - own[0]) + fit.gap * (own[0] - tenth)
    return np.asarray(1.0 / (1.0 + np.exp(-odds)))


def background(vectors: NDArray[np.float32]) -> tuple[float, float]:
    """Mean and spread of the cosines between different ones of these vectors (texts, dims), of unit length."""
    cosines = vectors @ vectors.T
    others = cosines[~np.eye(len(vectors), dtype=np.bool_)]
    return float(others.mean()), max(float(others.std()), 0.02)


# Sentences that have nothing to do with each other: between them an embedder shows what its cosines are when nothing fits.
UNRELATED: Final = (
    "The kettle has been boiling for ten minutes.",
    "Interest rates were left unchanged by the central bank.",
    "Glaciers carve valleys over thousands of years.",
    "Please sign the form on the last page.",
    "The goalkeeper saved two penalties.",
    "Install the driver before you plug in the printer.",
    "My grandmother knits socks every winter.",
    "A prime number has exactly two divisors.",
    "The train to the coast leaves from platform four.",
    "Photosynthesis turns light into chemical energy.",
    "The jury could not reach a verdict.",
    "Add two cloves of garlic and a pinch of salt.",
    "The violin concerto was written in Vienna.",
    "Rust appears where the paint has been scratched.",
    "Our neighbours bought a second dog.",
    "The contract ends on the last day of March.",
    "Whales sleep with one half of the brain at a time.",
    "The loop runs until the queue is empty.",
    "He forgot his umbrella on the bus.",
    "Medieval monks copied books by hand.",
    "The vaccine has to be kept cold.",
    "Prices of wheat rose after the drought.",
    "She learned to juggle with five balls.",
    "The satellite circles the earth every ninety minutes.",
    "Turn left at the bakery and cross the bridge.",
    "The museum is closed on Mondays.",
    "Sandpaper with a higher number is finer.",
    "The committee elected a new treasurer.",
    "Olive trees can live for a thousand years.",
    "The password must have twelve characters.",
    "A thunderstorm delayed all flights.",
    "The patient was allowed to go home on Friday.",
)
