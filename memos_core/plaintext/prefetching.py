"""Prefetching: which items the next turns of a conversation will need, by what it has in mind.

Two things tell (benchmarks/prefetch.py measures both against recency):

- topic: items near in meaning to what was said and found in the last turns: .3 of the cosine with the mean of their vectors,
  each weighted by how lately it was said (.6 for every turn since) or how relevant it is;
- next to: what stands beside an item that is relevant, in its conversation or document, was read or said after it once, and
  may be needed after it again: .2 of its relevance, .7 of that one step further. On its own it wins nothing there.

No words and no vectors of queries are kept for this: what was found stands for what was asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.plaintext.embedding import Embedding
from memos_core.plaintext.indexes import Indexes
from memos_core.plaintext.ranking import BACKGROUND_MEAN, BACKGROUND_SPREAD
from memos_core.plaintext.working import RELEVANT, SIZE, half_of, relevance
from memos_core.protocols.storage import RecordStore
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.index.moments import Look, Moment
from memos_core.stores.index.vectors import QueryVector, best, normalise
from memos_core.types.uses import Kept
from memos_core.types.work import CubeRow

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
TOPIC: Final = 0.3
NEXT_TO: Final = 0.2
STEP: Final = 0.7
REACH: Final = 2


class InMind(msgspec.Struct, frozen=True):
    """What a conversation has in mind of one cube.

    Attributes:
        cube: which.
        look: whose eyes.
        weights: how much each item says about the topic, by the store's own number.
        relevant: how relevant each is, by the same.
    """

    cube: CubeRow
    look: Look
    weights: Mapping[int, float]
    relevant: Mapping[int, float]


def in_mind(kept: Sequence[Kept], cube: CubeRow, look: Look) -> InMind:
    """What a working memory holds of one cube; what is only predicted says nothing about the topic."""
    half = half_of(kept)
    own = [each for each in kept if each.cube == cube.number and each.use.total > 0]
    relevant = {each.item: relevance(each, half) for each in own}
    said = {each.item: RELEVANT ** ((half - each.half) / 2) for each in own if not each.relevance}
    return InMind(cube, look, relevant | said, relevant)


def foresee(
    minds: Sequence[InMind], *, store: RecordStore, embedding: Embedding, indexes: Indexes
) -> dict[tuple[int, int], float]:
    """What the next turns need, by (number of the item, of its cube): how much, from 0, about 1 is a lot.

    Args:
        minds: what the conversation has in mind of each cube that it reads.
        store, embedding, indexes: where items, vectors and neighbours are.
    """
    topic = _topic(minds, store, indexes)
    found: dict[tuple[int, int], float] = {}
    for mind in minds:
        index = indexes.get(mind.cube)
        with index.lock:
            index.catch_up()
            moment = index.moment(None, mind.look)
            rows, values = predicted(index, moment, mind, topic, embedding.record.background)
            items = index.table["item"][rows]
        found.update({(int(item), mind.cube.number): float(value) for item, value in zip(items, values, strict=True)})
    return found


def predicted(
    index: CubeIndex, moment: Moment, mind: InMind, topic: Floats | None, background: tuple[float, float]
) -> tuple[Rows, Floats]:
    """Rows of one cube that the next turns need, and how much: those in mind, and the best of all others."""
    values = np.zeros(len(index.table), dtype=np.float32)
    items = index.table["item"][moment.rows]
    known: Rows = moment.rows[np.isin(items, np.fromiter(mind.weights, np.int64, len(mind.weights)))]
    near = _next_to(index, moment, known, mind.relevant)
    for row, value in near.items():
        values[row] = value
    likely = [known, np.fromiter(near, np.int64, len(near))]
    if topic is not None and len(moment.rows):
        mean, spread = background
        cosines = index.cosines(QueryVector(topic), moment.rows)
        mapped = (cosines - mean) / spread * BACKGROUND_SPREAD + BACKGROUND_MEAN
        values[moment.rows] += np.float32(TOPIC) * np.maximum(mapped, 0).astype(np.float32)
        likely.append(moment.rows[best(values[moment.rows], 2 * SIZE)])
    rows: Rows = np.unique(np.concatenate(likely))
    others = np.setdiff1d(rows, known)
    chosen: Rows = np.sort(np.concatenate([known, others[best(values[others], SIZE)]]))
    chosen = chosen[values[chosen] > 0]
    return chosen, values[chosen]


def _next_to(index: CubeIndex, moment: Moment, known: Rows, relevant: Mapping[int, float]) -> dict[int, float]:
    """Rows beside relevant ones, and how much that makes of them."""
    found: dict[int, float] = {}
    for row in known.tolist():
        how = relevant.get(int(index.table["item"][row]), 0.0)
        for pointers in (moment.before, moment.after) if how else ():
            at = row
            for step in range(REACH):
                at = int(pointers[at])
                if at < 0:
                    break
                found[at] = max(found.get(at, 0.0), NEXT_TO * how * STEP**step)
    return found


def _topic(minds: Sequence[InMind], store: RecordStore, indexes: Indexes) -> Floats | None:
    """(dims,) the mean of the vectors of what is in mind, of unit length; None where nothing has a vector."""
    total: NDArray[np.float64] | None = None
    for mind in minds:
        index = indexes.get(mind.cube)
        with index.lock:
            index.catch_up()
            rows = index.moment(None, mind.look).rows
            rows = rows[np.isin(index.table["item"][rows], np.fromiter(mind.weights, np.int64, len(mind.weights)))]
            items, seqs = index.table["item"][rows].tolist(), index.table["vectors_of"][rows].tolist()
        stored = store.dense_vectors(mind.cube, [seq for seq in seqs if seq])
        for item, seq in zip(items, seqs, strict=True):
            if len(stored.get(seq, b"")) == 4 * index.dims and index.dims:
                vector = mind.weights[item] * np.frombuffer(stored[seq], "<f4").astype(np.float64)
                total = vector if total is None else total + vector
    if total is None or not np.linalg.norm(total):
        return None
    topic: Floats = normalise(total[None, :].astype(np.float32))[0]
    return topic
