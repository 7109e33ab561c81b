"""What every VectorIndex must do, compared with a scan in float64 over what was written to the truth it follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from memos_core.errors import WrongDimension
from memos_core.protocols.storage import RecordStore
from memos_core.protocols.vectors import VectorIndex
from memos_core.stores.opening import open_sqlite
from memos_core.testing.stores import DIMS, Clock, StoreTests
from memos_core.types.items import LifecycleState
from memos_core.types.work import Body, CubeRow, Put, VectorBlobs

Doubles = NDArray[np.float64]
Found = list[tuple[int, float]]
_CLOSE = 1e-5  # of a cosine in float32


def unit(vector: ArrayLike) -> Doubles:
    """A vector scaled to unit length; zero stays zero."""
    exact = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(exact))
    return exact / length if length else exact


class Truth:
    """One cube, written through its store, and what lives in it after every change.

    Args:
        store: the truth.
        name: of the cube, which is made.
    """

    def __init__(self, store: RecordStore, name: str = "alice") -> None:
        self.store = store
        self.cube: CubeRow = StoreTests.create(store, name)
        self.past: list[dict[str, tuple[int, Doubles]]] = [{}]  # what can be found after change 0, 1, 2, ...
        self._made = 0

    @property
    def living(self) -> dict[str, tuple[int, Doubles]]:
        """What can be found now: number of the change and vector of each item, by id."""
        return self.past[-1]

    def add(self, *vectors: ArrayLike, **fields: object) -> list[str]:
        """New items with these vectors, in one transaction; their ids."""
        ids = [f"i{self._made + n}" for n in range(len(vectors))]
        self._made += len(vectors)
        puts = []
        for id, vector in zip(ids, vectors, strict=True):
            found = unit(vector)
            shown = fields.get("indexed", True) and fields.get("state", LifecycleState.ACTIVATED) in _SHOWN
            self._note(id, found if shown else None)
            body = Body(indexed=bool(fields.get("indexed", True)))
            state = LifecycleState(str(fields.get("state", LifecycleState.ACTIVATED)))
            puts.append(Put(id=id, op="add", text="t", body=body, state=state, vectors=_blob(found)))
        StoreTests.write(self.store, self.cube, *puts)
        return ids

    def update(self, id: str, vector: ArrayLike | None = None) -> None:
        """A new version: with another vector, or with the one it has."""
        found = self.living[id][1] if vector is None else unit(vector)
        record = self.store.records(self.cube, [self.store.heads(self.cube, [id])[id].seq]).popitem()[1]
        self._put(id, found, _blob(found) if vector is not None else None, record.vectors_of)

    def delete(self, *ids: str) -> None:
        """Tombstones, in one transaction."""
        heads = self.store.heads(self.cube, ids)
        for id in ids:
            self._note(id, None)
        puts = [Put(id=id, op="delete", text=None, body=None, head=heads[id]) for id in ids]
        StoreTests.write(self.store, self.cube, *puts)

    def restore(self, id: str) -> None:
        """The version before a deletion once more, with the vectors it had."""
        found = next(moment[id][1] for moment in reversed(self.past) if id in moment)
        past = self.store.history(self.cube, self.store.heads(self.cube, [id])[id])
        self._put(id, found, None, past[-2].vectors_of, "restore")

    def _put(self, id: str, found: Doubles, blob: VectorBlobs | None, of: int, op: str = "update") -> None:
        self._note(id, found)
        head = self.store.heads(self.cube, [id])[id]
        put = Put(
            id=id,
            op="restore" if op == "restore" else "update",
            text="t",
            body=Body(),
            head=head,
            vectors=blob,
            vectors_of=0 if blob else of,
        )
        StoreTests.write(self.store, self.cube, put)

    def _note(self, id: str, vector: Doubles | None) -> None:
        now = {each: value for each, value in self.living.items() if each != id}
        if vector is not None:
            now[id] = (len(self.past), vector)
        self.past.append(now)

    def scan(self, query: ArrayLike, as_of: int | None = None, among: Iterable[int] | None = None) -> Found:
        """Every item of a moment with its cosine, best first, ties by number."""
        exact = unit(query)
        chosen = None if among is None else set(among)
        rows = self.past[-1 if as_of is None else min(as_of, len(self.past) - 1)].values()
        cosines = [(seq, float(vector @ exact)) for seq, vector in rows if chosen is None or seq in chosen]
        return sorted(cosines, key=lambda row: (-row[1], row[0]))


_SHOWN = (LifecycleState.ACTIVATED, LifecycleState.FROZEN)


def _blob(vector: Doubles) -> VectorBlobs:
    return VectorBlobs(vector.astype("<f4").tobytes())


class VectorIndexContract(StoreTests):
    """Subclass it and write `make_index`.

    Attributes:
        exact: whether it promises the exact ranking; otherwise it must find most of it where there are many.
    """

    exact = True

    def make_store(self, folder: Path, clock: Clock) -> RecordStore:
        """The truth that the index follows."""
        return open_sqlite(folder / "truth", deadline=30.0, now=clock)

    def make_index(self, store: RecordStore, cube: CubeRow, folder: Path, dims: int) -> VectorIndex:
        """An index of a cube, with files (if it has any) in a folder that nothing else uses."""
        raise NotImplementedError

    @pytest.fixture
    def truth(self, store: RecordStore) -> Truth:
        """A cube to write to."""
        return Truth(store)

    @pytest.fixture
    def index(self, truth: Truth, tmp_path: Path) -> VectorIndex:
        """The index that is tested, made before anything is written."""
        return self.make_index(truth.store, truth.cube, tmp_path / "index", DIMS)

    # -- help ---------------------------------------------------------------------------------------------------------

    def check(
        self,
        index: VectorIndex,
        truth: Truth,
        query: ArrayLike,
        count: int = 10,
        *,
        as_of: int | None = None,
        among: Sequence[int] | None = None,
    ) -> Found:
        """Ask, and compare with the scan: the same cosines, in order, ties by number."""
        index.catch_up()
        found = index.nearest(np.asarray(query, dtype=np.float32), count, as_of=as_of, among=among)
        right = truth.scan(query, as_of, among)
        cosine_of = dict(right)
        assert {seq for seq, _ in found} <= set(cosine_of), "something that should not be found"
        assert len({seq for seq, _ in found}) == len(found) == min(count, len(right))
        for seq, cosine in found:
            assert cosine == pytest.approx(cosine_of[seq], abs=_CLOSE)
        assert [cosine for _, cosine in found] == pytest.approx([cosine for _, cosine in right[:count]], abs=_CLOSE)
        assert found == sorted(found, key=lambda row: (-row[1], row[0]))
        return found

    def check_all(self, index: VectorIndex, truth: Truth, seed: int = 0) -> None:
        """Ask a few questions of the present."""
        random = np.random.default_rng(seed)
        for count in (1, 3, 1000):
            self.check(index, truth, random.standard_normal(DIMS), count)

    # -- following ----------------------------------------------------------------------------------------------------

    def test_an_empty_cube_has_nothing_near(self, index: VectorIndex, truth: Truth) -> None:
        index.catch_up()
        assert index.seq == 0
        assert self.check(index, truth, np.ones(DIMS)) == []

    def test_every_change_is_followed_when_asked(self, index: VectorIndex, truth: Truth) -> None:
        random = np.random.default_rng(1)
        ids = truth.add(*random.standard_normal((5, DIMS)))
        self.check_all(index, truth)
        truth.update(ids[0], random.standard_normal(DIMS))
        self.check_all(index, truth)
        truth.update(ids[1])
        self.check_all(index, truth)
        truth.delete(ids[2], ids[1])
        self.check_all(index, truth)
        truth.restore(ids[1])
        truth.add(random.standard_normal(DIMS))
        self.check_all(index, truth)
        truth.delete(*truth.living)
        self.check_all(index, truth)
        assert index.seq == len(truth.past) - 1

    def test_what_it_can_do_is_known_before_it_is_asked(self, index: VectorIndex, truth: Truth) -> None:
        assert index.abilities.exact == self.exact
        truth.add(np.ones(DIMS))
        index.catch_up()
        assert index.abilities.exact == self.exact
        found = index.nearest(np.ones(DIMS, dtype=np.float32), 1, deadline=60.0)
        assert [seq for seq, _ in found] == [1]
        assert found.degraded is None, "somebody else has answered"

    def test_what_it_has_not_followed_yet_is_found(self, index: VectorIndex, truth: Truth) -> None:
        random = np.random.default_rng(13)
        ids = truth.add(*random.standard_normal((30, DIMS)))
        index.catch_up()
        truth.delete(ids[0])
        truth.update(ids[1], random.standard_normal(DIMS))
        truth.add(*random.standard_normal((3, DIMS)))
        for _ in range(5):
            query = random.standard_normal(DIMS)
            found = [seq for seq, _ in index.nearest(np.asarray(query, dtype=np.float32), 5)]
            assert found == [seq for seq, _ in truth.scan(query)[:5]]

    def test_a_deadline_that_passes_changes_nothing_but_who_answers(self, index: VectorIndex, truth: Truth) -> None:
        truth.add(*np.random.default_rng(14).standard_normal((30, DIMS)))
        index.catch_up()
        query = np.ones(DIMS)
        found = index.nearest(np.asarray(query, dtype=np.float32), 5, deadline=1e-9)
        assert [seq for seq, _ in found] == [seq for seq, _ in truth.scan(query)[:5]]
        assert found.degraded is None or index.abilities.waits

    def test_it_says_how_far_it_got(self, index: VectorIndex, truth: Truth) -> None:
        assert index.seq == 0
        truth.add(np.ones(DIMS), np.ones(DIMS))
        index.catch_up()
        index.catch_up()
        assert index.seq == 2
        truth.add(np.ones(DIMS))
        index.catch_up()
        assert index.seq == 3

    def test_changes_of_other_cubes_are_none_of_its_own(self, index: VectorIndex, truth: Truth) -> None:
        other = Truth(truth.store, "other")
        truth.add(np.eye(DIMS)[0])
        other.add(np.eye(DIMS)[1], np.eye(DIMS)[2])
        self.check_all(index, truth)
        assert index.seq == 1

    def test_what_no_search_may_find_is_not_near(self, index: VectorIndex, truth: Truth) -> None:
        truth.add(np.eye(DIMS)[0])
        truth.add(np.eye(DIMS)[1], indexed=False)
        truth.add(np.eye(DIMS)[1], state=LifecycleState.ARCHIVED)
        truth.add(np.eye(DIMS)[1], state=LifecycleState.GENERATED)
        truth.add(np.eye(DIMS)[2], state=LifecycleState.FROZEN)
        assert [seq for seq, _ in self.check(index, truth, np.eye(DIMS)[1])] == [1, 5]

    def test_any_history_ends_like_one_read_at_once(self, index: VectorIndex, truth: Truth, tmp_path: Path) -> None:
        random = np.random.default_rng(2)
        for step in range(40):
            living, gone = sorted(truth.living), sorted(set(_ever(truth)) - set(truth.living))
            choice = int(random.integers(6))
            if choice <= 1 or not living:
                truth.add(*random.integers(-2, 3, (int(random.integers(1, 6)), DIMS)))
            elif choice == 2:
                truth.update(str(random.choice(living)), random.integers(-2, 3, DIMS))
            elif choice == 3:
                truth.update(str(random.choice(living)))
            elif choice == 4:
                truth.delete(str(random.choice(living)))
            elif gone:
                truth.restore(str(random.choice(gone)))
            if step % 3 == 0:
                self.check(index, truth, random.integers(-2, 3, DIMS) + 0.1, 5)
        fresh = self.make_index(truth.store, truth.cube, tmp_path / "fresh", DIMS)
        for _ in range(5):
            query = random.standard_normal(DIMS)
            assert self.check(index, truth, query, 1000) == self.check(fresh, truth, query, 1000)

    def test_dropped_it_is_built_again(self, index: VectorIndex, truth: Truth) -> None:
        ids = truth.add(*np.random.default_rng(3).standard_normal((30, DIMS)))
        truth.delete(*ids[:5])
        self.check_all(index, truth)
        index.drop()
        assert index.seq == 0
        self.check_all(index, truth)
        assert index.seq == 35
        index.drop()
        index.drop()
        truth.add(np.ones(DIMS))
        self.check_all(index, truth)

    # -- ranking ------------------------------------------------------------------------------------------------------

    def test_the_ranking_is_that_of_a_full_scan(self, truth: Truth, tmp_path: Path) -> None:
        random = np.random.default_rng(4)
        centres = random.standard_normal((20, DIMS))
        crowded = centres[random.integers(20, size=400)] + 0.02 * random.standard_normal((400, DIMS))
        truth.add(*crowded, *random.standard_normal((100, DIMS)))
        index = self.make_index(truth.store, truth.cube, tmp_path / "index", DIMS)
        index.catch_up()
        met = 0
        for query in [*random.standard_normal((10, DIMS)), *crowded[:10]]:
            if self.exact:
                self.check(index, truth, query, 10)
            found = {seq for seq, _ in index.nearest(np.asarray(query, dtype=np.float32), 10)}
            met += len(found & {seq for seq, _ in truth.scan(query)[:10]})
        assert met >= 190, f"{met} of 200 found"

    def test_ties_are_broken_by_number(self, index: VectorIndex, truth: Truth) -> None:
        same = np.random.default_rng(5).standard_normal(DIMS)
        for _ in range(7):
            truth.add(same, -same, np.roll(same, 1))
        found = self.check(index, truth, same, 7)
        assert [seq for seq, _ in found] == list(range(1, 22, 3))
        assert len({cosine for _, cosine in found}) == 1
        assert self.check(index, truth, same, 3) == found[:3]

    def test_only_the_direction_counts(self, index: VectorIndex, truth: Truth) -> None:
        truth.add(*np.random.default_rng(6).standard_normal((10, DIMS)))
        query = np.random.default_rng(7).standard_normal(DIMS)
        expected = [seq for seq, _ in self.check(index, truth, query)]
        for scale in (1e-6, 1e6):
            assert [seq for seq, _ in self.check(index, truth, query * scale)] == expected

    def test_opposite_and_zero_vectors_have_their_place(self, index: VectorIndex, truth: Truth) -> None:
        east = np.eye(DIMS)[0]
        truth.add(-east, np.zeros(DIMS), east, east + 1e-3)
        found = self.check(index, truth, east, 10)
        assert [seq for seq, _ in found] == [3, 4, 2, 1]
        assert [round(cosine, 4) for _, cosine in found] == [1.0, 1.0, 0.0, -1.0]

    def test_a_vector_of_another_length_is_refused(self, index: VectorIndex, truth: Truth) -> None:
        for empty in (True, False):
            for length in (0, 1, DIMS - 1, DIMS + 1, 2 * DIMS):
                with pytest.raises(WrongDimension, match=str(length)):
                    index.nearest(np.ones(length, dtype=np.float32), 3)
            if empty:
                truth.add(np.ones(DIMS))
                index.catch_up()

    def test_so_many_as_are_asked_for(self, index: VectorIndex, truth: Truth) -> None:
        truth.add(*np.random.default_rng(8).standard_normal((4, DIMS)))
        for count in (0, 1, 4, 5, 100_000):
            self.check(index, truth, np.ones(DIMS), count)

    # -- among, as of -------------------------------------------------------------------------------------------------

    def test_among_some_changes_only_those_are_looked_at(self, index: VectorIndex, truth: Truth) -> None:
        random = np.random.default_rng(9)
        ids = truth.add(*random.standard_normal((60, DIMS)))
        truth.delete(ids[3])
        truth.update(ids[4], random.standard_normal(DIMS))
        for among in ([], [7], [4, 5], [62, 5], list(range(1, 63)), list(range(50, 5, -3)), [1, 1, 2], [9, 1000]):
            self.check(index, truth, random.standard_normal(DIMS), 5, among=among)

    def test_it_answers_as_of_any_moment(self, index: VectorIndex, truth: Truth) -> None:
        random = np.random.default_rng(10)
        ids = truth.add(*random.standard_normal((6, DIMS)))
        truth.update(ids[0], random.standard_normal(DIMS))
        truth.delete(ids[1], ids[2])
        truth.restore(ids[1])
        truth.update(ids[0])
        truth.add(*random.standard_normal((3, DIMS)))
        query = random.standard_normal(DIMS)
        for as_of in range(len(truth.past)):
            for count in (1, 4, 100):
                self.check(index, truth, query, count, as_of=as_of)
            self.check(index, truth, query, 4, as_of=as_of, among=[1, 2, 7, 9, 12])
        self.check(index, truth, query, 100, as_of=len(truth.past) + 5)

    def test_the_past_stays_what_it_was(self, index: VectorIndex, truth: Truth) -> None:
        random = np.random.default_rng(11)
        ids = truth.add(*random.standard_normal((20, DIMS)))
        query = random.standard_normal(DIMS)
        then = self.check(index, truth, query, 20)
        truth.delete(*ids[::2])
        truth.add(*random.standard_normal((20, DIMS)))
        index.catch_up()
        assert self.check(index, truth, query, 20, as_of=20) == then
        index.drop()
        assert self.check(index, truth, query, 20, as_of=20) == then

    # -- together -----------------------------------------------------------------------------------------------------

    def test_threads_ask_while_others_write(self, index: VectorIndex, truth: Truth) -> None:
        """Whoever asks finds what had been written before it asked, and each item once."""
        random = np.random.default_rng(12)
        vectors = [unit(vector) for vector in random.standard_normal((40, DIMS))]
        finished = Event()
        written: list[Doubles] = []

        def write() -> None:
            try:
                for vector in vectors:
                    truth.add(vector)
                    written.append(vector)
            finally:
                finished.set()

        def ask() -> None:
            while not finished.is_set():
                known = len(written)
                if known:
                    index.catch_up()
                    query = np.asarray(written[known - 1], dtype=np.float32)
                    found = index.nearest(query, 1000)
                    assert found[0][0] == known
                    assert abs(found[0][1] - 1.0) < _CLOSE
                    assert len({seq for seq, _ in found}) == len(found) >= known

        works: list[Callable[[], None]] = [write, ask, ask]
        with ThreadPoolExecutor(len(works)) as pool:
            for running in [pool.submit(work) for work in works]:
                running.result(60)
        self.check_all(index, truth)


def _ever(truth: Truth) -> list[str]:
    return [id for moment in truth.past for id in moment]
