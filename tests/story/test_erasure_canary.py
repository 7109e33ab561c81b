"""If these fail, what somebody had the right to have erased can still be read out of raw files: the database, its log, an
index, a copy of vectors, a server's tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import PostgresServer

from memos_core import MOS

sys.path.insert(0, str(Path(__file__).parent))
from canaries import DIMS, PLACES, Canaries, found_in, run_in

ROWS = 1100  # from 1,024 on the index of a cube has files


class World:
    """A store that canaries are planted in, and the raw files that hold it."""

    def __init__(self, open_: Callable[[], MOS], run: Any, folders: Callable[[], list[Path]]) -> None:
        self.open = open_
        self.run = run
        self.folders = folders  # makes sure first that all of it is in files


@pytest.fixture(params=["sqlite", "chroma", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """One world for each kind of store."""
    place, options = tmp_path / "memory", {"embedder": f"given:{DIMS}"}
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        database: str = request.getfixturevalue("database")

        def run(statement: str, values: tuple[Any, ...]) -> None:
            with closing(server.connect(database)) as connection:
                connection.execute("SET search_path TO memos, public")
                connection.execute(statement.replace("?", "%s"), values)

        def folders() -> list[Path]:
            with closing(server.connect(database)) as connection:
                connection.execute("CHECKPOINT")
                query = "SELECT oid FROM pg_database WHERE datname = current_database()"
                (number,) = connection.execute(query).fetchone()
            return [server.data / "base" / str(number), place]

        MOS.open(server.url(database)).close()
        for name in ("text", "body"):  # uncompressed: the test could not see it otherwise
            run(f"ALTER TABLE versions ALTER COLUMN {name} SET STORAGE EXTERNAL", ())
        yield World(lambda: MOS.open(server.url(database), cache=place, **options), run, folders)
        return
    if request.param == "chroma":
        request.getfixturevalue("embedded")
        options |= {"vectors": "chroma", "vectors_from": 0, "vectors_deadline": 20.0}
    yield World(lambda: MOS.open(place, **options), run_in(place), lambda: [place])


def fill(mos: MOS, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((ROWS, DIMS)).astype(np.float32)
    mos.session("alice").add([f"ordinary fact {n} of {seed}" for n in range(ROWS)], vectors=vectors)


def plant(world: World) -> Canaries:
    """Canaries in every place, some in an index's segments, some in its tail, all of them in raw files."""
    with world.open() as mos:
        fill(mos, 1)
        canaries = Canaries(mos, world.run)
        for place in PLACES[::2]:
            place(canaries)
        mos.cube("alice").catch_up()
    with world.open() as mos:  # what was written so far lies in segments now
        canaries.mos = mos
        for place in PLACES[1::2]:
            place(canaries)
        for cube in mos.cubes():
            mos.cube(cube.name).catch_up()
        seen = found_in(world.folders(), canaries)
    missing = {*canaries.words.values(), *(f"vector of {where}" for where in canaries.vectors.values())} - seen.keys()
    assert not missing, f"these were not planted where they could be seen: {missing}"
    return canaries


def left_in(world: World, canaries: Canaries) -> dict[str, set[str]]:
    """What raw files still hold.

    Chroma's library writes memory that it has not initialised into `length.bin`. In this process, which held the vectors a
    moment ago, these may be bytes of them: that is said in docs/erasure.md, and nothing that memos could prevent.
    """
    found = found_in(world.folders(), canaries)
    return {what: files for what, files in found.items() if not what.startswith("vector") or files != {"length.bin"}}


def test_canaries_are_gone_from_raw_files(world: World) -> None:
    canaries = plant(world)
    with world.open() as mos:
        alice = mos.session("alice")
        mos.cube("alice").catch_up()
        before = len(mos.cube("alice").audit())
        done = alice.erase(canaries.ids, reason="a test of it")
        assert done.complete, done.remains
        left = mos.verify()
        assert [each.what for each in left if each.part != "vectors"] == []
        assert mos.verify_erased(texts=canaries.words) == []
        entries = mos.cube("alice").audit()[before:]
        assert [(entry.action, entry.actor, entry.detail["reason"]) for entry in entries] == [
            ("erase", "alice", "a test of it")
        ]
        assert not mos.store.check_audit(mos.cube("alice").require("read")).wrong  # type: ignore[arg-type]
        assert left_in(world, canaries) == {}  # while it is open
    assert left_in(world, canaries) == {}
    with world.open() as mos:  # and when all that is derived has been made anew
        assert len(mos.session("alice").search("ordinary fact", top_k=5)) == 5
        for cube in mos.cubes():
            mos.cube(cube.name).catch_up()
        assert mos.verify() == []
    assert left_in(world, canaries) == {}


def test_a_backup_made_afterwards_and_what_is_restored_from_it_hold_none(world: World, tmp_path: Path) -> None:
    canaries = plant(world)
    with world.open() as mos:
        mos.backup(tmp_path / "before")
        mos.session("alice").erase(canaries.ids, reason="a test of it")
        into_old = mos.backup(tmp_path / "before")
        assert into_old.whole  # nothing is added to files that hold what was erased
        mos.backup(tmp_path / "after")
        counts = mos.store.counts(mos.cube("alice").require("read"))  # type: ignore[arg-type]
    assert found_in([tmp_path / "after"], canaries) == {}
    for source in ("before", "after"):
        restored = tmp_path / f"restored-{source}"
        MOS.restore(tmp_path / source, restored)
        with MOS.open(restored, embedder=f"given:{DIMS}", vectors="none") as mos:
            assert mos.verify() == []
            assert mos.verify_erased() == []
            assert mos.store.counts(mos.cube("alice").require("read")) == counts  # type: ignore[arg-type]
        assert found_in([restored], canaries) == {}
