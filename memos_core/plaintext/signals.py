"""What one cube says to a question: for every item that may be a hit, the value of each signal (see `ranking`)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.plaintext import ranking
from memos_core.plaintext.embedding import QueryVectors
from memos_core.plaintext.question import Question, about
from memos_core.plaintext.ranking import Doubles, Recipe, Signal
from memos_core.plaintext.uses import Counted
from memos_core.stores.index.analysis import QueryTerm, idf
from memos_core.stores.index.columns import ABSENT_TIME
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.index.moments import Moment
from memos_core.stores.index.postings import term_name
from memos_core.stores.index.vectors import QueryVector, best

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
_DAY = 86_400_000_000  # microseconds
_YEAR_2 = -62_000_000_000_000_000  # times before that stand for "open": microseconds
_YEAR_9998 = 253_000_000_000_000_000
_DISTANCES = np.abs(np.arange(-ranking.REACH, ranking.REACH + 1))


class Signals(msgspec.Struct, frozen=True):
    """Signals of the rows of one cube that may be hits.

    Attributes:
        rows: their numbers in the index, ascending.
        tiers: (rows,) of the pool, by which they are ordered before their scores.
        parts: (rows,) for each signal that the search has.
        scores: (rows,) fused.
        named: whether the question is about a speaker of this cube.
        dated: whether an item of this cube is inside or near a time that the question names.
    """

    rows: Rows
    tiers: Rows
    parts: dict[Signal, Doubles]
    scores: Doubles
    named: bool
    dated: bool


class Pool(msgspec.Struct, frozen=True):
    """Rows that all signals are computed for.

    Attributes:
        rows: their numbers in the index, ascending.
        tiers: (rows,) hits of tier 0 come before those of tier 1, and so on, whatever their scores.
        more: whether further tiers would hold more rows.
    """

    rows: Rows
    tiers: Rows
    more: bool


class Asking:
    """One question, asked of one cube at one moment. Hold the index's lock meanwhile.

    Args:
        index: of the cube, caught up.
        moment: of the cube.
        question: taken apart.
        terms: its words, without speakers' names.
        vectors: of the question; None for none.
        recipe: which signals there are.
        asker: the speaker that "I" means, if the cube knows one.
        counted: uses of the cube's items, and the time to weigh them at (microseconds); None where they take no part.
    """

    def __init__(
        self,
        index: CubeIndex,
        moment: Moment,
        question: Question,
        *,
        vectors: QueryVectors | None,
        recipe: Recipe,
        asker: str | None = None,
        counted: tuple[Counted, int] | None = None,
    ) -> None:
        self._index = index
        self._counted = counted
        self._moment = moment
        self._question = question
        self._recipe = recipe
        self._vectors = vectors
        self._dense = QueryVector(vectors.dense) if vectors is not None and recipe.meant else None
        self._background = (0.0, 1.0) if vectors is None else vectors.background
        people = index.people(moment)
        number = None if asker is None else people.number_of(asker)
        self._speakers = about(question, people, number) if "speaker" in recipe.weights else []
        self._terms = self._meaningful(index.analyzer.query(question.undated, index.languages(moment)))
        self._postings = [self._held(term) for term in self._terms]
        count = len(moment.rows)
        self._weights = idf(np.array([len(rows) for rows, _ in self._postings], dtype=np.int64), count)

    def _meaningful(self, terms: list[QueryTerm]) -> list[QueryTerm]:
        """Without speakers' names, which say whom and not what, unless nothing else is asked."""
        names = self._index.people(self._moment).words
        return [term for term in terms if term.word not in names] or terms

    def _held(self, term: QueryTerm) -> tuple[Rows, NDArray[np.float64]]:
        found = [self._index.holding(each, self._moment) for each in term.terms]
        rows = np.concatenate([rows for rows, _ in found])
        return rows, np.concatenate([counts for _, counts in found]).astype(np.float64)

    # -- the pool -------------------------------------------------------------------------------------------------

    def pool(self, allowed: Rows, wanted: int, tier: int = 0, near: Rows | None = None) -> Pool:
        """The rows that all signals are computed for: all of a small cube, of a large one the best by a cheap score.

        Args:
            allowed: rows that may be hits, ascending.
            wanted: how many hits are asked for.
            tier: 0 for the first pool; each further tier is four times as large and holds those before it.
            near: those of them (ascending) that are nearest in meaning, where somebody has found them already.
        """
        if len(allowed) <= ranking.FULL_ROWS:
            return Pool(allowed, np.zeros(len(allowed), dtype=np.int64), more=False)
        sizes = [pool_size(wanted) * 4**each for each in range(tier + 1)]
        looked_at = allowed if near is None else self._candidates(allowed, near, ranking.CANDIDATES * sizes[-1])
        scores = self._first_scores(looked_at)
        worth = len(allowed) if self._dense is not None else int((scores > 0).sum())
        chosen = looked_at[best(scores.astype(np.float32), max(1, min(sizes[-1], worth)))]
        together = self._with_neighbours(chosen)
        places = np.minimum(np.searchsorted(allowed, together), len(allowed) - 1)
        rows: Rows = together[allowed[places] == together]
        tiers = np.full(len(rows), tier, dtype=np.int64)
        for earlier in range(tier - 1, -1, -1):
            tiers[np.isin(rows, self._with_neighbours(chosen[: sizes[earlier]]))] = earlier
        return Pool(rows, tiers, more=sizes[-1] < worth)

    def _with_neighbours(self, rows: Rows) -> Rows:
        around, valid = self._around(rows)
        together: Rows = np.unique(around[valid])
        return together

    def _candidates(self, allowed: Rows, near: Rows, count: int) -> Rows:
        """The nearest in meaning and the best by words: what is among the best of both together is among those of one."""
        told = self._told(allowed).astype(np.float32)
        told[told <= 0] = -np.inf
        chosen: Rows = np.union1d(near, allowed[best(told, count)])
        return chosen

    def _first_scores(self, rows: Rows) -> Doubles:
        """A cheap first score: single items, no neighbours."""
        scores = self._told(rows)
        if self._dense is not None:
            scores += self._mapped(self._index.cosines(self._dense, rows))
        return scores

    def _told(self, rows: Rows) -> Doubles:
        """What words, speakers and dates say for the first score."""
        weights = self._recipe.weights
        scores = np.zeros(len(rows))
        total = self._weights.sum()
        if total:
            lengths = self._index.table["length"]
            shares = np.zeros(len(self._index.table))
            for (held, counts), weight in zip(self._postings, self._weights, strict=True):
                norm = ranking.K1 * (1 - ranking.B + ranking.B * lengths[held] / self._moment.average_length)
                shares[held] += weight / total * counts / (counts + norm)
            scores += (1.4 if self._dense is not None else 2.2) * shares[rows]
        if self._speakers:
            scores += weights.get("speaker", 0.0) * np.isin(self._index.table["speaker"][rows], self._speakers)
        if self._question.spans and "date" in weights:
            scores += weights["date"] * self._dates(rows)
        return scores

    # -- all signals ----------------------------------------------------------------------------------------------

    def signals(self, pool: Pool) -> Signals:
        """All signals of the rows of a pool."""
        rows, weights = pool.rows, self._recipe.weights
        around, valid = self._around(rows)
        together, place = np.unique(np.where(valid, around, rows[:, None]), return_inverse=True)
        place = place.reshape(around.shape)
        parts: dict[Signal, Doubles] = {}
        if "lexical" in weights:
            parts["lexical"] = self._lexical(together, place, valid)
        if self._dense is not None and ("dense" in weights or "near" in weights):
            cosines = self._mapped(self._index.cosines(self._dense, together))
            parts["dense"] = cosines[place[:, ranking.REACH]].astype(np.float64)
            parts["near"] = _spread(cosines, place, valid, ranking.DECAY_OF_MEANING)
        if "late" in weights:
            parts["late"] = self._late(together, place, valid)
        named = np.isin(self._index.table["speaker"][rows], self._speakers)
        if "speaker" in weights:
            parts["speaker"] = named.astype(np.float64)
        if "date" in weights:
            parts["date"] = self._dates(rows)
        if "salience" in weights:
            rarity = ranking.RARITY_WEIGHT * self._index.rarity(rows, self._moment)
            parts["salience"] = (self._index.table["salience"][rows] + rarity).astype(np.float64)
        if "when" in weights:
            parts["when"] = self._index.table["timed"][rows] * float(self._question.asks_time)
        parts = {name: values for name, values in parts.items() if name in weights}
        if weights.get("feedback") and "lexical" in parts:
            scores = np.where(pool.tiers == 0, ranking.fused(parts, self._recipe), -np.inf)
            parts["feedback"] = self._feedback(rows, scores, together, place, valid)
        if "usage" in weights and self._counted is not None and len(self._counted[0]):
            counted, at = self._counted
            parts["usage"] = counted.likelihoods(self._index.table["item"][rows], at)
        scores = np.zeros(len(rows)) + ranking.fused(parts, self._recipe)
        dated = bool(parts["date"].max(initial=0.0) > 0) if "date" in parts else False
        keep = self._possible(parts, scores)
        kept = {name: values[keep] for name, values in parts.items()}
        return Signals(rows[keep], pool.tiers[keep], kept, scores[keep], bool(self._speakers), dated)

    def _possible(self, parts: dict[Signal, Doubles], scores: Doubles) -> NDArray[np.bool_]:
        """Without vectors, an item that shares no word, no time and no speaker with the question is no hit."""
        if self._dense is not None:
            return np.ones(len(scores), dtype=np.bool_)
        telling: tuple[Signal, ...] = ("lexical", "date", "speaker")
        found = np.zeros(len(scores), dtype=np.bool_)
        for name in telling:
            if name in parts:
                found |= parts[name] > 0
        return found

    def _lexical(self, together: Rows, place: Rows, valid: NDArray[np.bool_]) -> Doubles:
        """BM25 over each row with its neighbours, as a share of what the question could reach at most."""
        total = self._weights.sum()
        if not total:
            return np.zeros(len(place))
        decay = np.where(valid, ranking.DECAY_OF_WORDS**_DISTANCES, 0.0)  # (rows, neighbours)
        lengths = self._index.table["length"][together][place]
        length = (lengths * decay).sum(axis=1) / decay.sum(axis=1)
        norm = ranking.K1 * (1 - ranking.B + ranking.B * length / self._moment.average_length)
        shares = np.zeros(len(place))
        counted = np.zeros(len(self._index.table))
        for (held, counts), weight in zip(self._postings, self._weights, strict=True):
            np.add.at(counted, held, counts)
            found = (counted[together][place] * decay).sum(axis=1)
            counted[held] = 0.0
            shares += weight / total * found / (found + norm)
        return shares

    def _late(self, together: Rows, place: Rows, valid: NDArray[np.bool_]) -> Doubles:
        """Late interaction of each row with its neighbours, words of the question weighted by how rare they are."""
        vectors = self._vectors
        if vectors is None or vectors.tokens is None:
            return np.zeros(len(place))
        by_word = {term.word: weight for term, weight in zip(self._terms, self._weights, strict=True)}
        weights = np.array([by_word.get(word, 0.0) for word in vectors.words])
        used = np.flatnonzero(weights)
        if not len(used):
            return np.zeros(len(place))
        matches = self._index.token_matches(together, vectors.tokens[used])  # (rows and neighbours, tokens)
        decay = (ranking.DECAY_OF_MEANING**_DISTANCES).astype(np.float32)
        near = np.where(valid[:, :, None], matches[place] * decay[:, None], np.float32(-1)).max(axis=1)
        return np.asarray(near @ (weights[used] / weights[used].sum()), dtype=np.float64)

    def _feedback(self, rows: Rows, scores: Doubles, together: Rows, place: Rows, valid: NDArray[np.bool_]) -> Doubles:
        """Words that the best rows share, in each row or decayed next to it."""
        nothing = np.zeros(len(rows))
        top = best(scores.astype(np.float32), ranking.FEEDBACK_ITEMS)
        if not len(top):
            return nothing
        share = np.exp(2.0 * (scores[top] - scores[top[0]]))
        share /= share.sum()
        named = [self._index.terms(row) for row in rows[top].tolist()]
        names, codes = np.unique(np.concatenate(named), return_inverse=True)
        own = {term_name(each) for term in self._terms for each in term.terms}
        own |= {term_name(stem) for stem in self._index.name_stems(self._moment)}
        weights = self._index.rareness(names, self._moment)
        weights *= np.bincount(codes, np.repeat(share, [len(each) for each in named]), minlength=len(names))
        weights[np.isin(names, np.array(sorted(own), dtype=np.uint32))] = 0.0
        kept = np.lexsort((names, -weights))[: ranking.FEEDBACK_TERMS]
        total = float(weights[kept].sum())
        if not total:
            return nothing
        spread = np.zeros(len(self._index.table), dtype=np.float32)
        for place_of_term in kept[weights[kept] > 0].tolist():
            held, _ = self._index.holding_name(int(names[place_of_term]), self._moment)
            spread[held] += weights[place_of_term] / total
        return _spread(spread[together], place, valid, ranking.DECAY_OF_WORDS)

    def _dates(self, rows: Rows) -> Doubles:
        """1 inside a time that the question names, less and less with the days outside."""
        found = np.zeros(len(rows))
        if not self._question.spans:
            return found
        times = self._index.table["occurred"][rows]
        known = times != ABSENT_TIME
        for first, last in self._question.spans:
            days = np.maximum(np.maximum(first - times, times - last), 0) / _DAY
            near = np.where(days > 0, ranking.DATE_EDGE * np.exp(-days / ranking.DATE_DAYS), 1.0)
            if first < _YEAR_2:  # "before August": nearer to it is likelier
                near = np.where(days > 0, near, _open_side((last - times) / _DAY))
            elif last > _YEAR_9998:
                near = np.where(days > 0, near, _open_side((times - first) / _DAY))
            found = np.maximum(found, np.where(known, near, 0.0))
        return np.asarray(np.where(found < 1e-6, 0.0, found))

    def _mapped(self, cosines: Floats) -> Floats:
        """Cosines on the scale of the default embedder, whatever the embedder."""
        mean, spread = self._background
        return (cosines - np.float32(mean)) / np.float32(spread) * np.float32(ranking.BACKGROUND_SPREAD) + np.float32(
            ranking.BACKGROUND_MEAN
        )

    def _around(self, rows: Rows) -> tuple[Rows, NDArray[np.bool_]]:
        """(rows, 2 reach + 1) neighbours of each row, itself in the middle, and which of them there are."""
        around = np.full((len(rows), 2 * ranking.REACH + 1), -1, dtype=np.int64)
        around[:, ranking.REACH] = rows
        for step in range(1, ranking.REACH + 1):
            for direction, pointers in ((-1, self._moment.before), (1, self._moment.after)):
                last = around[:, ranking.REACH + direction * (step - 1)]
                around[:, ranking.REACH + direction * step] = np.where(last >= 0, pointers[last], -1)
        return around, around >= 0


def pool_size(wanted: int) -> int:
    """How many of the best of the first score all signals are computed for, where so many hits are wanted."""
    return max(ranking.POOL, 2 * wanted)


def _open_side(days: Doubles) -> Doubles:
    """For days inside a time that is open to one side: 1 at its closed end, half of that far away."""
    return np.asarray(0.5 + 0.5 * np.exp(-np.abs(days) / ranking.OPEN_DAYS))


def _spread(values: Floats, place: Rows, valid: NDArray[np.bool_], decay: float) -> Doubles:
    """For each row the best of its own and its neighbours' values, those decayed by distance."""
    near = values[place] * (decay**_DISTANCES).astype(np.float32)
    return np.asarray(np.where(valid, near, np.float32(-1)).max(axis=1), dtype=np.float64)
