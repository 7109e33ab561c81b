"""If these fail, search answers with items that were deleted, misses what was just added, ranks by words that an item no
longer says, or tells a wrong past: the index and the truth have parted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_world import DIMS, WORDS, World, check_moment, check_nearest, check_rareness, same_answers

from memos_core.stores.index import cube_files
from memos_core.stores.index.cube_index import CubeIndex

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
            for pick in range(0, 60, 2):
                world.change(pick, metadata={"m": pick})
            index = world.index(Path(folder) / "segments", flush_rows=16)
            play(world, history, index.catch_up)
            assert any(part.history for part in index.parts)
            for each in (index, world.index(Path(folder) / "segments", flush_rows=16)):
                check_all(each, world, [query])
                check_past(each, world)
        finally:
            world.close()
