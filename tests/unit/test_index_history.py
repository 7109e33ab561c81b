"""If these fail, search answers with items that were deleted, misses what was just added, ranks by words that an item no
longer says, or tells a wrong past: the index and the truth have parted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_world import DIMS, WORDS, World, check_moment, check_nearest, check_rareness, same_answers

from memos_core import MOS, Draft, Session, SourceRef
from memos_core.stores.index import cube_files
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.index.postings import term_name
from memos_core.stores.index.vectors import QueryVector
from memos_core.stores.opening import open_sqlite
from memos_core.types.work import utc_now

pytestmark = pytest.mark.soak

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
vectors = st.lists(st.integers(-2, 2), min_size=DIMS, max_size=DIMS)
things = st.tuples(
    texts,
    st.sampled_from([None, "c", "c", "d"]),
    st.sampled_from([None, None, 0, 1, 2, 9]),
    st.sampled_from([True, True, True, False]),
    vectors,
)
picks = st.integers(0, 50)
steps = st.one_of(
    st.tuples(st.just(World.add), st.lists(things, min_size=1, max_size=6)),
    st.tuples(
        st.just(World.change), picks, st.sampled_from([{"tags": ["t"]}, {"metadata": {"m": 1}}, {"indexed": False}])
    ),
    st.tuples(st.just(World.change), picks, st.just({"indexed": True})),
    st.tuples(st.just(World.delete), picks),
    st.tuples(st.just(World.restore), picks),
    st.tuples(st.just(World.roll_back), picks),
)
Step = tuple[Any, ...]


def play(world: World, history: list[Step], after_each: Callable[[], None]) -> None:
    for do, *arguments in history:
        keywords = arguments.pop() if isinstance(arguments[-1], dict) else {}
        do(world, *arguments, **keywords)
        after_each()


def check_all(index: CubeIndex, world: World, queries: list[list[int]]) -> None:
    check_moment(index, world.living, None)
    for vector in queries:
        for most in (1, 3, 50):
            check_nearest(index, world.living, None, vector, most)
    check_rareness(index, world, None)


def check_past(index: CubeIndex, world: World) -> None:
    for seq, living in enumerate(world.past):
        check_moment(index, living, seq)
        check_nearest(index, living, seq, [1, -1, 2, 0], 3)
        check_rareness(index, world, seq)


@given(things, st.lists(steps, min_size=3, max_size=25), st.lists(vectors, min_size=1, max_size=2))
def test_any_history_is_followed_to_the_letter(first: Any, history: list[Step], queries: list[list[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "store")
        try:
            world.add([first])
            segments = Path(folder) / "segments"
            # two that write the same files, and merge them all the time, and one without any
            followers = [world.index(segments), world.index(segments, flush_rows=7), world.index()]
            turn = count()

            def look() -> None:
                for index in followers[next(turn) % 3 == 0 :]:  # the first one falls behind now and then
                    index.catch_up()
                    check_all(index, world, queries)

            play(world, history, look)
            followers[0].catch_up()
            fresh = world.index()
            reopened = world.index(segments)
            for index in (*followers, fresh, reopened):
                check_all(index, world, queries)
                check_past(index, world)
                same_answers(index, fresh)
        finally:
            world.close()


@settings(max_examples=settings().max_examples // 4)
@given(st.lists(things, min_size=30, max_size=60), st.lists(steps, max_size=10), vectors)
def test_rows_that_have_died_are_still_there_for_the_past(start: Any, history: list[Step], query: list[int]) -> None:
    """Enough dead rows that they get segments of their own."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cube_files, "_WORTH_MOVING", 4)
        world = World(Path(folder) / "store")
        try:
            world.add(start)
            segments = Path(folder) / "segments"
            index = world.index(segments, flush_rows=5)
            for pick in range(0, 60, 2):
                world.change(pick, metadata={"m": pick})
                if pick % 3 == 0:
                    index.catch_up()
            play(world, history, index.catch_up)
            index.catch_up()
            assert any(part.history for part in index.parts)
            for each in (index, world.index(segments, flush_rows=5)):
                check_all(each, world, [query])
                check_past(each, world)
        finally:
            world.close()


# -- the past of an index is the index of the past ---------------------------------------------------------------------

SAID = [
    "Ann told me that the garden of Ludwig is full of roses",
    "Gestern haben wir mit Ludwig im Garten gegessen, und es war nicht kalt",
    "昨天我在花园里看到了玫瑰",
    "Les roses du jardin sont dans la maison, et Zoé ne les aime pas",
    "roses 42",
    "Will you be there at 7?",
]
said = st.tuples(st.sampled_from(SAID), st.sampled_from([None, "Ann", "Ludwig van B", "Will", "小明"]), st.booleans())
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.lists(said, min_size=1, max_size=3)),
        st.tuples(st.just("change"), picks, st.sampled_from(SAID)),
        st.tuples(st.just("delete"), picks),
    ),
    min_size=2,
    max_size=14,
)


def happen(session: Session, happenings_: list[Step]) -> None:
    for do, *arguments in happenings_:
        living = sorted(item.id for item in session.list())
        if do == "say":
            session.add(
                [
                    Draft(text=text, conversation="c", indexed=indexed, source=SourceRef(speaker=speaker))
                    for text, speaker, indexed in arguments[0]
                ]
            )
        elif living and do == "change":
            session.update(living[arguments[0] % len(living)], text=arguments[1])
        elif living:
            session.delete(living[arguments[0] % len(living)])


def told(index: CubeIndex, as_of: int | None) -> dict[str, Any]:
    """All that an index says of a moment, by change, so that the order of rows does not matter."""
    moment = index.moment(as_of)
    seqs = index.table["seq"]

    def by_seq(values: Any) -> dict[int, Any]:
        return dict(zip(seqs[moment.rows].tolist(), np.round(values, 6).tolist(), strict=True))

    languages = index.languages(moment)
    terms = {term for text in SAID for asked in index.analyzer.query(text, languages) for term in asked.terms}
    names = np.sort(np.array([term_name(term) for term in terms], dtype=np.uint32))
    return {
        "length": round(moment.average_length, 9),
        "languages": languages,
        "people": sorted(index.people(moment).words),
        "name stems": sorted(index.name_stems(moment)),
        "rarity": by_seq(index.rarity(moment.rows, moment)),
        "rareness": np.round(index.rareness(names, moment), 9).tolist(),
        "salience": by_seq(index.table["salience"][moment.rows]),
        "held": {term: sorted(seqs[index.holding(term, moment)[0]].tolist()) for term in sorted(terms)},
        "vectors": by_seq(index.cosines(QueryVector(np.ones(256, dtype=np.float32)), moment.rows)),
    }


@settings(max_examples=settings().max_examples // 2)
@given(happenings)
def test_asking_as_of_a_moment_is_asking_an_index_built_then(history: list[Step]) -> None:
    """Statistics of words, languages and names too: what came later must not move a score of the past."""
    with tempfile.TemporaryDirectory() as folder, MOS.open(Path(folder) / "store", embedder="hashing") as mos:
        ann = mos.session("ann")
        ann.add(SAID[0])
        happen(ann, history)
        store = open_sqlite(Path(folder) / "store", deadline=30, now=utc_now)
        cube = store.cube("ann")
        assert cube is not None
        settings_ = {"embedder": "x", "dims": 256, "flush_rows": 5}
        now = CubeIndex(store, cube, folder=Path(folder) / "segments", **settings_)
        now.catch_up()
        for as_of in range(cube.seq + 1):
            then = CubeIndex(store, cube, **settings_)
            then._follow(as_of)
            assert told(now, as_of) == told(then, None), f"after change {as_of} of {cube.seq}"
        store.close()
