"""If these fail, hits come in another order each time, a memory of one cube pushes those of another around, `hit.score` is no
probability any more (so `min_score` means nothing), or a signal that was turned off still counts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core import MOS, Hits, Message
from memos_core.plaintext import ranking
from memos_core.plaintext.ranking import (
    SIGNALS,
    TOKENS,
    UNRELATED,
    VECTORS,
    WORDS,
    Recipe,
    background,
    expected,
    fused,
    probabilities,
    recipe_for,
)

RECIPES = [TOKENS, VECTORS, WORDS]
recipes = st.sampled_from(RECIPES)
some_scores = st.lists(st.floats(-1, 6), min_size=1, max_size=40).map(lambda own: np.array(sorted(own, reverse=True)))


# -- recipes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda each: each.name)
def test_a_recipe_weighs_known_signals_in_their_order(recipe: Recipe) -> None:
    assert list(recipe.weights) == [name for name in SIGNALS if name in recipe.weights]
    assert all(weight > 0 for weight in recipe.weights.values())


def test_what_there_is_decides_the_recipe() -> None:
    assert recipe_for(vectors=True, tokens=True) == TOKENS
    assert recipe_for(vectors=True, tokens=False) == VECTORS
    assert recipe_for(vectors=False, tokens=False) == WORDS
    assert "late" not in VECTORS.weights
    assert WORDS.weights.keys().isdisjoint({"late", "dense", "near"})


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_that_is_turned_off_weighs_nothing_and_the_others_stay(name: str) -> None:
    for vectors, tokens in ((True, True), (True, False), (False, False)):
        left = recipe_for(vectors=vectors, tokens=tokens, without=[name])
        assert name not in left.weights
        base = next(each for each in RECIPES if each.name == left.name)
        assert left.weights == {each: weight for each, weight in base.weights.items() if each != name}
        assert left.calibration == base.calibration


def test_without_its_best_signals_a_recipe_gives_way_to_the_next() -> None:
    """What the others weigh is chosen for what is left."""
    assert recipe_for(vectors=True, tokens=True, without=["late"]).name == VECTORS.name
    assert recipe_for(vectors=True, tokens=True, without=["late", "dense"]).name == VECTORS.name
    assert recipe_for(vectors=True, tokens=True, without=["late", "dense", "near"]).name == WORDS.name
    assert recipe_for(vectors=True, tokens=False, without=["dense", "near"]).name == WORDS.name
    assert recipe_for(vectors=True, tokens=True, without=SIGNALS).weights == {}


# -- fusing ----------------------------------------------------------------------------------------------------------------


@given(recipes, st.integers(0, 6), st.randoms(use_true_random=False))
def test_fusing_is_the_weighted_sum(recipe: Recipe, count: int, chance: object) -> None:
    rng = np.random.default_rng(chance.randrange(2**32))  # type: ignore[attr-defined]
    parts = {name: rng.uniform(-1, 1, count) for name in SIGNALS if rng.random() < 0.7}
    scores = fused(parts, recipe)
    by_hand = [
        math.fsum(recipe.weights[name] * parts[name][place] for name in parts if name in recipe.weights)
        for place in range(count)
    ]
    if any(name in recipe.weights for name in parts):
        assert np.allclose(scores, by_hand)
    else:
        assert not np.any(scores)


@given(recipes, st.sampled_from(SIGNALS), st.floats(0.01, 1))
def test_more_of_any_signal_never_lowers_the_score(recipe: Recipe, name: ranking.Signal, more: float) -> None:
    less = {each: np.array([0.3]) for each in recipe.weights}
    raised = {**less, **({name: np.array([0.3 + more])} if name in recipe.weights else {})}
    assert fused(raised, recipe)[0] >= fused(less, recipe)[0]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda each: each.name)
def test_what_a_question_switches_on_is_expected_of_every_hit(recipe: Recipe) -> None:
    assert expected(recipe, speaker=False, date=False, when=False) == 0
    for name in ("speaker", "date", "when"):
        on = {each: each == name for each in ("speaker", "date", "when")}
        assert expected(recipe, **on) == recipe.weights[name]
        assert expected(recipe_for(vectors=False, tokens=False, without=[name]), **on) == 0
    every = expected(recipe, speaker=True, date=True, when=True)
    assert every == pytest.approx(sum(recipe.weights[name] for name in ("speaker", "date", "when")))


# -- calibrating -----------------------------------------------------------------------------------------------------------


@given(recipes, some_scores, st.floats(0, 1.5))
def test_probabilities_fall_along_the_ranking_within_0_and_1(recipe: Recipe, scores: np.ndarray, off: float) -> None:
    likely = probabilities(scores, off, recipe)
    assert likely.shape == scores.shape
    assert ((likely >= 0) & (likely <= 1)).all()
    assert (np.diff(likely) <= 0).all()
    apart = np.diff(scores) < -1e-6
    assert (np.diff(likely)[apart] < 0).all(), "hits that differ can be told apart by a threshold"
    assert np.array_equal(likely, probabilities(scores.copy(), off, recipe))


@given(recipes, some_scores, st.floats(0, 1.5))
def test_probabilities_are_the_documented_line(recipe: Recipe, scores: np.ndarray, off: float) -> None:
    fit = recipe.calibration
    tenth = max(scores[9] - off, fit.floor) if len(scores) > 9 else fit.floor
    for score, likely in zip(scores, probabilities(scores, off, recipe), strict=True):
        odds = fit.base + fit.absolute * (score - off) + fit.relative * (score - scores[0])
        odds += fit.gap * (scores[0] - off - tenth)
        assert likely == pytest.approx(1 / (1 + math.exp(-odds)))


@given(recipes, some_scores, st.floats(0.01, 2))
def test_the_best_hit_is_likelier_the_better_and_the_lonelier_it_is(
    recipe: Recipe, scores: np.ndarray, more: float
) -> None:
    best = probabilities(scores, 0.0, recipe)[0]
    assert probabilities(np.append(scores[0] + more, scores[1:]), 0.0, recipe)[0] > best
    raised = np.sort(np.append(scores, [scores[0]] * 9))[::-1]
    assert probabilities(raised, 0.0, recipe)[0] <= best + 1e-12
    assert probabilities(scores, more, recipe)[0] < best, "what is taken off makes it less likely"


@given(recipes, some_scores, st.lists(st.floats(-3, -1), max_size=5))
def test_what_lies_behind_the_tenth_changes_nothing(recipe: Recipe, scores: np.ndarray, worse: list[float]) -> None:
    if len(scores) >= 10:
        longer = np.append(scores, sorted(worse, reverse=True))
        assert np.array_equal(probabilities(longer, 0.0, recipe)[: len(scores)], probabilities(scores, 0.0, recipe))


def test_nothing_found_has_no_probabilities() -> None:
    assert probabilities(np.zeros(0), 0.3, TOKENS).shape == (0,)


def test_the_background_is_that_of_different_texts() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(7, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [float(vectors[i] @ vectors[j]) for i in range(7) for j in range(7) if i != j]
    mean, spread = background(vectors)
    assert mean == pytest.approx(np.mean(pairs), abs=1e-6)
    assert spread == pytest.approx(np.std(pairs), abs=1e-6)
    same = np.tile(vectors[:1], (4, 1))
    assert background(same)[1] > 0, "an embedder that says the same to everything must not divide by zero"
    assert len(set(UNRELATED)) == len(UNRELATED) >= 30


# -- pooling cubes ---------------------------------------------------------------------------------------------------------

WORDS_SAID = "parrot lisbon river ship nut bread rain violin stone lamp".split()


@pytest.fixture(scope="module")
def mos() -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing:64") as mos:
        yield mos


def told(hits: Hits) -> list[tuple[str, str, float, tuple[tuple[str, float], ...]]]:
    return [(hit.cube_id, hit.id, hit.score, tuple(hit.parts.items())) for hit in hits]


texts = st.lists(st.lists(st.sampled_from(WORDS_SAID), min_size=1, max_size=5).map(" ".join), min_size=1, max_size=6)


@given(st.lists(texts, min_size=3, max_size=3), st.sampled_from(WORDS_SAID), st.sampled_from(WORDS_SAID))
def test_cubes_that_are_searched_together_do_not_disturb_each_other(
    mos: MOS, said: list[list[str]], one: str, other: str
) -> None:
    """The order in which cubes are named changes nothing; another cube changes neither the parts nor the order of the rest."""
    start = len(mos.cubes())
    names = [f"ann/{start + number}" for number in range(3)]
    for number, (name, own) in enumerate(zip(names, said, strict=True)):
        writer = mos.session("ann", write_to=[name], conversation="thread")
        writer.add([Message(content=f"{text} {number}{place}", speaker="Bo") for place, text in enumerate(own)])
    question = f"where is the {one} {other}?"
    together = {
        tuple(order): mos.session("ann", read_from=order).search(question, top_k=50) for order in permutations(names)
    }
    first = next(iter(together.values()))
    assert all(told(hits) == told(first) for hits in together.values())
    assert [hit.score for hit in first] == sorted((hit.score for hit in first), reverse=True)
    assert all(0 <= hit.score <= 1 for hit in first)
    for name in names:
        alone = mos.session("ann", read_from=[name]).search(question, top_k=50)
        assert [(hit.id, hit.parts) for hit in first if hit.cube_id == name] == [(hit.id, hit.parts) for hit in alone]
    pair = mos.session("ann", read_from=names[:2]).search(question, top_k=50)
    assert [(hit.id, hit.parts) for hit in first if hit.cube_id != names[2]] == [(hit.id, hit.parts) for hit in pair]


def test_equal_scores_are_ordered_by_cube_and_age_not_by_chance(mos: MOS) -> None:
    cubes = ["ties/b", "ties/a"]
    for cube in cubes:
        writer = mos.session("ties", write_to=[cube])
        for number in (3, 1, 2):
            writer.add("the same words", id=f"{cube[-1]}{number}", occurred_at=None, metadata={"n": number})
    for cube in cubes:
        hits = mos.session("ties", read_from=[cube]).search("same words")
        assert len({hit.score for hit in hits}) == 1
        assert [hit.id[1:] for hit in hits] == ["3", "1", "2"], "oldest first"


def test_equal_scores_of_two_cubes_are_ordered_by_their_names(mos: MOS) -> None:
    for cube, day in (("even/b", 1), ("even/a", 2), ("even/c", 3)):
        writer = mos.session("even", write_to=[cube])
        writer.add("the spare key", id=f"key {cube}", occurred_at=datetime(2024, 5, day, tzinfo=UTC))
    for order in permutations(["even/a", "even/b", "even/c"]):
        hits = mos.session("even", read_from=order).search("spare key")
        assert len({hit.score for hit in hits}) == 1
        assert [hit.cube_id for hit in hits] == ["even/a", "even/b", "even/c"]
        first = mos.session("even", read_from=order).search("spare key", top_k=2)
        rest = mos.session("even", read_from=order).search("spare key", top_k=2, cursor=first.cursor)
        assert [hit.cube_id for hit in rest] == ["even/c"]


def test_the_same_question_gets_the_same_answer_from_a_store_opened_anew(tmp_path: object) -> None:
    answers = []
    for _ in range(2):
        with MOS.open(f"{tmp_path}/memory", embedder="hashing:64") as mos:
            ann = mos.session("ann", conversation="thread")
            if not answers:
                ann.add([f"{one} and {other}" for one in WORDS_SAID for other in WORDS_SAID])
            answers.append(told(ann.search("a parrot in the rain", top_k=200, without=["usage"])))  # that it was asked
    assert answers[0] == answers[1]
    assert len(answers[0]) == 100
