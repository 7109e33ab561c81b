"""A small world for tests of the index: random histories of one cube, and a plain Python model of what must then be true.

Words are made up ("w3"), so that they are their own stems and no function words; vectors are a few small numbers, so that
many are equal, opposite or zero.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core import MOS, Draft, MemoryItem, SourceRef
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.opening import open_sqlite
from memos_core.stores.sql.records import utc_now
from memos_core.types.work import CubeRow

DIMS = 4
WORDS = [f"w{n}" for n in range(7)]
TERMS = [*WORDS, "w99"]


class Living(msgspec.Struct):
    """An item as the model knows it."""

    order: int
    seq: int
    text: str
    conversation: str | None
    position: int | None
    indexed: bool
    vector: NDArray[np.float64]


class World:
    """One cube with everything that ever happened to it.

    Args:
        folder: of the store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mos = MOS.open(folder, embedder=f"given:{DIMS}")
        self.session = self.mos.session("ann")
        self.store = open_sqlite(folder, deadline=30.0, now=utc_now)  # a second way in: the one that is looked through
        self.living: dict[str, Living] = {}
        self.gone: list[str] = []
        self.past: list[dict[str, Living]] = [{}]  # what lived after change 0, 1, 2, ...
        self._made = 0

    def close(self) -> None:
        self.mos.close()
        self.store.close()

    @property
    def cube(self) -> CubeRow:
        row = self.store.cube("ann")
        assert row is not None
        return row

    def index(self, folder: Path | None = None, flush_rows: int = 4) -> CubeIndex:
        """A new index of the cube, caught up."""
        made = CubeIndex(
            self.store, self.cube, folder=folder, embedder=f"given:{DIMS}", dims=DIMS, flush_rows=flush_rows
        )
        made.catch_up()
        return made

    # -- what may happen ----------------------------------------------------------------------------------------------

    def add(self, things: list[tuple[str, str | None, int | None, bool, list[int]]]) -> None:
        """Things, each (text, conversation, position, indexed, vector), in one call."""
        drafts = [
            Draft(
                text=text,
                conversation=conversation,
                indexed=indexed,
                source=None if position is None else SourceRef(position=position, speaker=f"S{position % 3}"),
            )
            for text, conversation, position, indexed, _ in things
        ]
        vectors = np.array([each[4] for each in things], dtype=np.float32)
        added = self.session.add(drafts, vectors=vectors)
        now = dict(self.living)
        for item, vector in zip(added, vectors, strict=True):
            self._made += 1
            now[item.id] = _living(item, self._made, _unit(vector))
            self.past.append(dict(now))  # one change after the other, although they were committed together
        self.living = now

    def change(self, pick: int, **changes: Any) -> None:
        """Update one of the living. Its words stay: vectors are given, not made here."""
        if self.living:
            id = sorted(self.living)[pick % len(self.living)]
            self._put(self.session.update(id, **changes))

    def delete(self, pick: int) -> None:
        if self.living:
            id = sorted(self.living)[pick % len(self.living)]
            assert self.session.delete(id) == 1
            self.gone.append(id)
            self.living = {each: value for each, value in self.living.items() if each != id}
            self.past.append(dict(self.living))

    def restore(self, pick: int) -> None:
        if self.gone:
            id = self.gone.pop(pick % len(self.gone))
            self._put(self.session.restore(id))

    def roll_back(self, pick: int) -> None:
        if self.living:
            id = sorted(self.living)[pick % len(self.living)]
            self._put(self.session.rollback(id, 1))

    def _put(self, item: MemoryItem) -> None:
        before = next(world[item.id] for world in reversed(self.past) if item.id in world)
        self.living = {**self.living, item.id: _living(item, before.order, before.vector)}
        self.past.append(dict(self.living))


def _living(item: MemoryItem, order: int, vector: NDArray[np.float64]) -> Living:
    source = item.provenance.source
    place = source.position if source else None
    return Living(order, item.seq, item.text, item.conversation, place, item.indexed, vector)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = vector.astype(np.float64)
    length = np.linalg.norm(exact)
    return exact / length if length else exact


# -- what must then be true ------------------------------------------------------------------------------------------------


def check_moment(index: CubeIndex, living: dict[str, Living], as_of: int | None) -> None:
    """The index says of one moment exactly what the model says."""
    found = {each.seq: each for each in living.values() if each.indexed}
    moment = index.moment(as_of)
    seqs = index.table["seq"]
    assert sorted(seqs[moment.rows].tolist()) == sorted(found)
    assert moment.mask.sum() == len(found)
    listed = index.moment(as_of, unindexed=True)
    assert sorted(seqs[listed.rows].tolist()) == sorted(each.seq for each in living.values())
    lengths = [len(each.text.split()) for each in found.values()]
    assert np.isclose(moment.average_length, np.mean(lengths) if lengths else 1.0)
    _check_neighbours(seqs, moment, found)
    for term in TERMS:
        rows, counts = index.holding(term, moment)
        said = {seq: each.text.split().count(term) for seq, each in found.items() if term in each.text.split()}
        assert dict(zip(seqs[rows].tolist(), counts.tolist(), strict=True)) == said
        assert (np.diff(rows) > 0).all(), "rows of a term ascend"


def _check_neighbours(seqs: NDArray[np.int64], moment: Any, found: dict[int, Living]) -> None:
    threads: dict[str, list[Living]] = {}
    for each in sorted(found.values(), key=lambda one: (one.position or 0, one.order)):
        if each.conversation is not None:
            threads.setdefault(each.conversation, []).append(each)
    before = {right.seq: left.seq for each in threads.values() for left, right in pairwise(each)}
    after = {left: right for right, left in before.items()}
    for row in moment.rows.tolist():
        seq = int(seqs[row])
        for pointers, expected in ((moment.before, before), (moment.after, after)):
            other = int(pointers[row])
            assert (int(seqs[other]) if other >= 0 else None) == expected.get(seq), (seq, pointers is moment.before)


def check_nearest(
    index: CubeIndex, living: dict[str, Living], as_of: int | None, vector: list[int], count: int
) -> None:
    """The nearest are those that a full scan in float64 finds."""
    query = _unit(np.array(vector, dtype=np.float32))
    scanned = sorted(
        ((float(each.vector @ query), -each.seq) for each in living.values() if each.indexed), reverse=True
    )
    found = index.nearest(np.array(vector, dtype=np.float32), count, as_of=as_of)
    assert np.allclose([score for _, score in found], [score for score, _ in scanned[:count]], atol=2e-6)
    exact = {-seq: score for score, seq in scanned}
    assert all(abs(exact[seq] - score) < 2e-6 for seq, score in found)
    assert len({seq for seq, _ in found}) == len(found)


def check_rareness(index: CubeIndex, world: World, as_of: int | None) -> None:
    """How rare words are counts every version made up to a moment, dead or alive."""
    from memos_core.stores.index.postings import term_name

    until = len(world.past) - 1 if as_of is None else as_of
    born = {
        each.seq: each
        for moment in world.past[: until + 1]
        for each in moment.values()
        if each.indexed and each.seq <= until
    }
    counted = Counter(term for each in born.values() for term in set(each.text.split()))
    names = sorted((term_name(term), term) for term in TERMS)
    rareness = index.rareness(np.array([name for name, _ in names], dtype=np.uint32), index.moment(as_of))

    def idf(held: int) -> float:
        return float(np.log1p((len(born) + 100 - held + 0.5) / (held + 0.5)))

    expected = [idf(counted[term]) / idf(0) for _, term in names]
    assert np.allclose(rareness, expected)


def same_answers(one: CubeIndex, other: CubeIndex) -> None:
    """Two indexes hold the same rows, terms and vectors, however they came to."""
    seqs = np.sort(one.table["seq"])
    assert np.array_equal(seqs, np.sort(other.table["seq"]))
    assert one.seq == other.seq
    moments = one.moment(), other.moment()
    assert one.languages(moments[0]) == other.languages(moments[1])
    assert one.people(moments[0]).words == other.people(moments[1]).words
    for seq in seqs.tolist():
        rows = one.table.row_of(seq), other.table.row_of(seq)
        assert one.heavy(rows[0]) == other.heavy(rows[1])
        for column in ("until", "item", "state", "indexed", "position", "occurred", "vectors_of", "length", "salience"):
            assert one.table[column][rows[0]] == other.table[column][rows[1]], (seq, column)
        for names in ("conversations", "speakers"):
            named = [
                getattr(each.table, names).names[number] if number >= 0 else None
                for each, row in zip((one, other), rows, strict=True)
                for number in [int(each.table[names[:-1]][row])]
            ]
            assert named[0] == named[1]
