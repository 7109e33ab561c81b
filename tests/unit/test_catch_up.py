"""If these fail, a search right after a write misses it, a search without any write before it costs more than it should, or an
index goes on from files that belong to another past."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_world import DIMS, World, check_moment, same_answers
from sqlalchemy import event

from memos_core import MOS
from memos_core.errors import EmbedderMismatch, StoreDamaged
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.index.segment import MANIFEST, writer_lock
from memos_core.stores.opening import open_sqlite
from memos_core.types.work import utc_now


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "store")
    add(made, 1)
    yield made
    made.close()


def add(world: World, count: int) -> None:
    """Some more items."""
    first = world._made
    world.add([(f"w{n % 7} w{n % 3}", "c", None, True, [n % 3, 1, -n % 5, 2]) for n in range(first, first + count)])


def segments(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.segment")}


def check(index: CubeIndex, world: World) -> None:
    """The index has what the truth has."""
    index.catch_up()
    check_moment(index, world.living, None)
    same_answers(index, world.index())


# -- what it costs ----------------------------------------------------------------------------------------------------


def statements(index: CubeIndex, world: World, do: Any) -> int:
    """How many statements are sent to the database meanwhile."""
    engine = world.store._database.engine  # type: ignore[attr-defined]
    counted: list[str] = []

    def count(connection: sqlite3.Connection, *_: Any) -> None:
        connection.set_trace_callback(counted.append)

    event.listen(engine, "checkout", count)
    try:
        do()
    finally:
        event.remove(engine, "checkout", count)
        for _ in range(engine.pool.checkedin()):
            with engine.connect() as connection:
                connection.connection.dbapi_connection.set_trace_callback(None)
    return len(counted)


def test_nothing_is_read_where_nothing_has_changed(world: World) -> None:
    index = world.index()
    assert statements(index, world, index.catch_up) == 0
    start = time.process_time()
    for _ in range(1000):
        index.catch_up()
    assert time.process_time() - start < 0.5, "microseconds each"
    add(world, 1)
    assert 0 < statements(index, world, index.catch_up) <= 8
    assert statements(index, world, index.catch_up) == 0


def test_only_what_is_new_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    index = world.index()
    applied: list[int] = []
    apply = index._apply
    monkeypatch.setattr(index, "_apply", lambda piece: (applied.extend(r.seq for r, _ in piece), apply(piece)))
    add(world, 3)
    index.catch_up()
    add(world, 2)
    with MOS.open(world.folder) as other:
        other.session("bob").add("in another cube", vectors=np.ones((1, DIMS)))
    index.catch_up()
    assert applied == [2, 3, 4, 5, 6]


# -- several that share a folder --------------------------------------------------------------------------------------


def test_a_new_one_goes_on_from_the_files_of_the_last(world: World, tmp_path: Path) -> None:
    add(world, 10)
    index = world.index(tmp_path / "files")
    assert len(segments(tmp_path / "files")) > 0
    add(world, 1)
    again = CubeIndex(world.store, world.cube, folder=tmp_path / "files", embedder=f"given:{DIMS}", dims=DIMS)
    assert again.seq == 11
    check(again, world)
    check(index, world)


def test_one_drops_the_files_of_the_other(world: World, tmp_path: Path) -> None:
    one, two = world.index(tmp_path / "files"), world.index(tmp_path / "files")
    for turn in range(6):
        add(world, 5)
        check(one, world)
        check(two, world)
        (one if turn % 2 else two).drop()
    check(one, world)
    check(two, world)
    check(world.index(tmp_path / "files"), world)


def test_what_one_has_written_the_other_takes_up(world: World, tmp_path: Path) -> None:
    """Otherwise its tail would grow and grow, and it would never write again."""
    one, two = world.index(tmp_path / "files"), world.index(tmp_path / "files")
    for _ in range(8):
        add(world, 4)
        one.catch_up()
        check(two, world)
        for index in (one, two):
            assert len(index._tail) < 12
    for index in (one, two):
        assert {part.file for part in index.parts[:-1]} & segments(tmp_path / "files")


def test_files_that_vanish_while_they_are_in_use(world: World, tmp_path: Path) -> None:
    add(world, 10)
    index = world.index(tmp_path / "files")
    shutil.rmtree(tmp_path / "files")
    check(index, world)
    add(world, 6)
    check(index, world)
    check(world.index(tmp_path / "files"), world)
    for path in (tmp_path / "files").glob("*.segment"):
        path.unlink()
    add(world, 6)
    check(index, world)
    check(world.index(tmp_path / "files"), world)


def test_while_another_writes_files_one_goes_on_in_memory(world: World, tmp_path: Path) -> None:
    index = world.index(tmp_path / "files")
    add(world, 5)
    index.catch_up()
    before = segments(tmp_path / "files")
    with writer_lock(tmp_path / "files") as mine:
        assert mine
        add(world, 30)
        check(index, world)
        assert segments(tmp_path / "files") == before
    add(world, 5)
    check(index, world)
    assert segments(tmp_path / "files") != before


def test_leftovers_of_a_writer_that_died_are_ignored_and_swept(world: World, tmp_path: Path) -> None:
    files = tmp_path / "files"
    add(world, 10)
    index = world.index(files)
    (files / "half.segment").write_bytes(b"\x10" * 1000)
    (files / f"{MANIFEST}.99999").write_bytes(b"{")
    check(world.index(files), world)
    add(world, 6)
    check(index, world)
    assert "half.segment" not in os.listdir(files)
    assert f"{MANIFEST}.99999" not in os.listdir(files)


# -- another past -----------------------------------------------------------------------------------------------------


def copy_of(folder: Path, to: Path) -> Path:
    """A backup of the database, made while it is in use."""
    to.mkdir()
    with sqlite3.connect(folder / "memos.db") as source, sqlite3.connect(to / "memos.db") as target:
        source.backup(target)
    return to


@pytest.mark.parametrize("further", [0, 3, 9, 30])
def test_files_of_a_future_that_was_undone_are_not_believed(world: World, tmp_path: Path, further: int) -> None:
    """A backup is put back, and life goes another way: shorter than the files, as far, or further."""
    add(world, 5)
    backup = copy_of(world.folder, tmp_path / "backup")
    add(world, 9)
    world.index(tmp_path / "files")
    with MOS.open(backup, embedder=f"given:{DIMS}") as mos:
        if further:
            mos.session("ann").add([f"w1 other {n}" for n in range(further)], vectors=np.ones((further, DIMS)))
    store = open_sqlite(backup, deadline=30, now=utc_now)
    cube = store.cube("ann")
    assert cube is not None
    index, fresh = (
        CubeIndex(store, cube, folder=folder, embedder=f"given:{DIMS}", dims=DIMS, flush_rows=4)
        for folder in (tmp_path / "files", None)
    )
    for each in (index, fresh):
        each.catch_up()
    same_answers(index, fresh)
    assert index.seq == len(index.table) == 6 + further
    store.close()


def test_older_files_are_taken_up_where_they_end(world: World, tmp_path: Path) -> None:
    add(world, 10)
    world.index(tmp_path / "files")
    shutil.copytree(tmp_path / "files", tmp_path / "older")
    add(world, 10)
    world.delete(3)
    world.change(4, tags=["t"])
    world.index(tmp_path / "files")
    shutil.rmtree(tmp_path / "files")
    (tmp_path / "older").rename(tmp_path / "files")
    index = CubeIndex(world.store, world.cube, folder=tmp_path / "files", embedder=f"given:{DIMS}", dims=DIMS)
    assert 0 < index.seq < 20
    check(index, world)


def test_files_of_another_embedder_or_cube_are_not_believed(world: World, tmp_path: Path) -> None:
    add(world, 10)
    world.index(tmp_path / "files")
    for changed in ({"embedder": "another"}, {"token_dims": 2}, {"embedder": "", "dims": 0}):
        shutil.copytree(tmp_path / "files", tmp_path / "copy")
        settings = {"embedder": f"given:{DIMS}", "dims": DIMS, **changed}
        index = CubeIndex(world.store, world.cube, folder=tmp_path / "copy", **settings)
        assert (index.seq, len(index.table)) == (0, 0)
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    with MOS.open(world.folder) as mos:
        mos.session("bob").add([f"w1 {n}" for n in range(20)], vectors=np.ones((20, DIMS)))
    other = world.store.cube("bob")
    assert other is not None
    index = CubeIndex(world.store, other, folder=tmp_path / "files", embedder=f"given:{DIMS}", dims=DIMS)
    index.catch_up()
    assert len(index.table) == 20


# -- what goes wrong on the way ---------------------------------------------------------------------------------------


def test_a_change_that_cannot_be_read_stops_the_index_before_it(world: World, tmp_path: Path) -> None:
    followers = [world.index(), world.index(tmp_path / "files")]
    add(world, 6)
    for index in followers:
        index.catch_up()
    add(world, 5)
    path = world.folder / "memos.db"
    (good,) = _run(path, "SELECT text FROM versions ORDER BY place DESC LIMIT 1 OFFSET 2")
    _run(path, "UPDATE versions SET text = 'forged' WHERE text = ?", good[0])
    for index in followers:
        for _ in range(2):
            with pytest.raises(StoreDamaged, match="not what was written"):
                index.catch_up()
        assert index.seq == 7
    _run(path, "UPDATE versions SET text = ? WHERE text = 'forged'", good[0])
    for index in followers:
        check(index, world)


@pytest.mark.parametrize("files", [True, False])
def test_one_that_is_interrupted_has_not_half_of_what_came(world: World, tmp_path: Path, files: bool) -> None:
    """Ctrl-C between the plain columns of some rows and their words."""
    add(world, 6)
    index = world.index(tmp_path / "files" if files else None)
    add(world, 3)
    with pytest.MonkeyPatch.context() as patch:

        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(index._tail, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            index.catch_up()
    check(index, world)


def test_vectors_of_another_length_stop_the_index_before_them(world: World) -> None:
    index = world.index()
    add(world, 3)
    path = world.folder / "memos.db"
    (row,) = _run(path, "SELECT place, dense, crc FROM vectors ORDER BY place DESC LIMIT 1")
    _run(path, "UPDATE vectors SET dense = x'00000000', crc = 558161692 WHERE place = ?", row[0])
    with pytest.raises(EmbedderMismatch, match=r"change 4.*1 dimensions.*memos verify"):
        index.catch_up()
    _run(path, "UPDATE vectors SET dense = ?, crc = ? WHERE place = ?", row[1], row[2], row[0])
    check(index, world)


def _run(path: Path, statement: str, *values: Any) -> list[Any]:
    connection = sqlite3.connect(path)
    with connection:
        found = connection.execute(statement, values).fetchall()
    connection.close()
    return found


# -- memory -----------------------------------------------------------------------------------------------------------


def test_followersbeyond_the_budget_are_let_go_and_come_back(tmp_path: Path) -> None:
    with MOS.open(tmp_path, index_budget=1) as mos:
        sessions = {name: mos.session(name) for name in ("ann", "bob", "eve")}
        for turn in range(3):
            for name, session in sessions.items():
                session.add(f"{name} says {turn}")
            for name, session in sessions.items():
                assert sorted(hit.text for hit in session.search("says")) == [
                    f"{name} says {n}" for n in range(turn + 1)
                ]
            assert len(mos._indexes._loaded) == 1
