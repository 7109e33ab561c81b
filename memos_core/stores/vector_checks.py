"""Comparing a table of vectors with the truth, without putting anything right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memos_core.errors import FollowerUnavailable, ForeignStore
from memos_core.protocols.storage import RecordStore
from memos_core.protocols.vectors import Mark, VectorTable
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.vector_follower import BATCH, STEP_SECONDS, VectorFollower, current
from memos_core.stores.waiting import Patience

Seqs = NDArray[np.int64]
_MOST: Final = 20  # differences of one kind that are named one by one
_SAMPLE: Final = 50  # vectors that are looked for by searching
_MISSES: Final = 0.1  # share of them that an approximate search may miss
_SAME: Final = 1e-3


def differences(store: RecordStore, follower: VectorFollower, patience: Patience, *, wanted: bool) -> Iterator[str]:
    """Every way in which a table differs from the truth, as sentences.

    Args:
        store: the truth.
        follower: whose table.
        patience: asks for it.
        wanted: whether there should be a table.
    """
    table = follower.tables.table(follower.mine)
    index = follower.index()
    try:
        mark = patience.ask(table.mark, STEP_SECONDS)
        if mark is not None and not mark.belongs_with(follower.mine):
            raise ForeignStore(f"it is of store {mark.store}, cube {mark.cube}, embedder {mark.embedder!r}")
        if mark is None:
            if wanted and len(current(index, index.seq)[0]):
                yield f"{follower.tables.name} has no vectors of it (they are made by the first search, or by repairing)"
        elif mark.seq and not store.digest(follower.cube, mark.seq).startswith(mark.digest or "-"):
            yield f"{follower.tables.name} has followed to a change {mark.seq} that the truth does not know: it is stale"
        else:
            yield from _Comparison(store, follower, patience, table, mark).differences()
        for name in patience.ask(lambda: follower.tables.strays(follower.mine), STEP_SECONDS):
            yield f"{follower.tables.name} still has {name}, of an embedder that is no longer used"
    except ForeignStore as foreign:
        yield f"{follower.tables.name} has something else under its name: {foreign}"
    except FollowerUnavailable as unavailable:
        yield f"cannot be compared: {unavailable}"


class _Comparison:
    """What a table holds, against what it should."""

    def __init__(
        self, store: RecordStore, follower: VectorFollower, patience: Patience, table: VectorTable, mark: Mark
    ) -> None:
        self._store = store
        self._follower = follower
        self._patience = patience
        self._table = table
        self._mark = mark
        self._name = follower.tables.name

    def differences(self) -> Iterator[str]:
        index = self._follower.index()
        index.catch_up()
        living, vectors_of = current(index, index.seq)
        due = living <= self._mark.seq
        if not self._table.abilities.lists:
            yield from self._lost(living[due], vectors_of[due])
            return
        # What was replaced after the mark may be there or not: a step of catching up leaves out what has come and gone.
        allowed = np.union1d(living, current(index, self._mark.seq)[0])
        listed = np.array(self._patience.ask(self._table.seqs, STEP_SECONDS), dtype=np.int64)
        for what, seqs in (
            ("the vector of change {} is missing", np.setdiff1d(living[due], listed)),
            ("a vector of change {} should not be there", np.setdiff1d(listed, allowed)),
        ):
            yield from _named([what.format(seq) for seq in seqs.tolist()], self._name)
        held = np.isin(living, listed) & due
        wrong = self._wrong(index, living[held], vectors_of[held])
        yield from _named([f"the vector of change {seq} is not that of the truth" for seq in wrong], self._name)
        if not wrong:
            yield from self._lost(living[held], vectors_of[held])

    def _wrong(self, index: CubeIndex, seqs: Seqs, vectors_of: Seqs) -> list[int]:
        found: list[int] = []
        for first in range(0, len(seqs), BATCH):
            own, of = seqs[first : first + BATCH].tolist(), vectors_of[first : first + BATCH].tolist()
            stored = self._store.dense_vectors(self._follower.cube, of)
            mine = np.frombuffer(b"".join(stored[each] for each in of), dtype="<f4").reshape(len(own), -1)
            theirs = self._patience.ask(lambda own=own: self._table.vectors(own), STEP_SECONDS)  # type: ignore[misc]
            nothing = np.full(mine.shape[1], np.nan, dtype=np.float32)
            its = np.stack([each if len(each := theirs.get(seq, nothing)) == len(nothing) else nothing for seq in own])
            right = np.abs(its - mine).max(axis=1, initial=0.0) <= _SAME  # nan is not
            found.extend(seq for seq, same in zip(own, right.tolist(), strict=True) if not same)
        return found

    def _lost(self, seqs: Seqs, vectors_of: Seqs) -> Iterator[str]:
        """Vectors that are there and are not found by searching for just them: the search tree is broken."""
        if not len(seqs):
            return
        places = np.unique(np.linspace(0, len(seqs) - 1, min(_SAMPLE, len(seqs))).astype(np.int64)).tolist()
        of_seq = dict(zip(seqs.tolist(), vectors_of.tolist(), strict=True))
        lost = 0
        for place in places:
            mine = np.frombuffer(self._vectors([int(vectors_of[place])])[0], dtype="<f4")
            found = self._patience.ask(lambda mine=mine: self._table.nearest(mine, 10), STEP_SECONDS)  # type: ignore[misc]
            theirs = self._vectors([of_seq[seq] for seq in found if seq in of_seq])
            near = max((float(np.frombuffer(raw, dtype="<f4") @ mine) for raw in theirs), default=-1.0)
            lost += near < float(mine @ mine) - _SAME
        if lost > _MISSES * len(places):
            yield f"{self._name}: {lost} of {len(places)} vectors are not found by searching for them"

    def _vectors(self, seqs: list[int]) -> list[bytes]:
        stored = self._store.dense_vectors(self._follower.cube, seqs)
        return [stored[seq] for seq in seqs if seq in stored]


def _named(sentences: list[str], name: str) -> Iterator[str]:
    for sentence in sentences[:_MOST]:
        yield f"{name}: {sentence}"
    if len(sentences) > _MOST:
        yield f"{name}: and {len(sentences) - _MOST} more of that kind"
