"""If these fail, moving a store to another database loses or changes something, or leaves half of it to be used."""

from __future__ import annotations

import itertools
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_running import Memos
from servers import until
from sqlalchemy import text

from memos_core import MOS
from memos_core.errors import AlreadyExists, Conflict, StoreError
from memos_core.stores.opening import open_sql
from memos_core.stores.sql.moving import TABLES, move
from memos_core.stores.sql.records import MOVING, SqlStore
from memos_core.types.items import Link

LEFT_BEHIND = {"store", "migrations", "staged_vectors"}  # moved in the end, the target's own, derived


@pytest.fixture
def places(tmp_path: Path, postgres_url: str) -> dict[str, str]:
    return {"sqlite": str(tmp_path / "memory"), "sqlite again": str(tmp_path / "again"), "postgres": postgres_url}


def fill(place: str, cache: Path, items: int = 30) -> None:
    """A store with everything in it."""
    with MOS.open(place, embedder="given:4", cache=cache) as mos:
        rng = np.random.default_rng(5)
        alice = mos.session("alice", conversation="c")
        vectors = rng.standard_normal((items, 4)).astype(np.float32)
        added = alice.add([f"note {n} über Ψ 😀" for n in range(items)], vectors=vectors)
        alice.add([{"role": "user", "content": "hello", "id": "m1"}], vectors=vectors[:1])
        alice.add("linked", key="k", links=[Link("supports", added.ids[0], 0.25)], vectors=vectors[:1])
        alice.update(added.ids[1], tags=["t"], metadata={"n": 2**60, "f": 0.1, "s": "\\u0000"})
        alice.delete(added.ids[2])
        mos.session("bob").add("his", vectors=vectors[:1])
        mos.share("alice", with_="bob", rights="read,write")
        mos.share("alice", with_="role:team", rights="read")


def contents(store: SqlStore) -> dict[str, Any]:
    """Everything, through the front door of the store, and its settings through a side door."""
    found: dict[str, Any] = {"id": store.id, "cubes": store.cubes()}
    with store.database.reading() as connection:
        found["settings"] = sorted(map(tuple, connection.execute(text("SELECT key, value FROM store"))))
        found["links"] = sorted(map(tuple, connection.execute(text("SELECT * FROM links"))))
        found["conversations"] = sorted(map(tuple, connection.execute(text("SELECT * FROM conversations"))))
    for cube in store.cubes():
        found[cube.name] = {
            "log": [each for piece in store.changes(cube, 0) for each in piece],
            "audit": store.audit(cube),
            "grants": store.grants(cube),
            "counts": store.counts(cube),
            "check": store.check(cube, 4),
            "key": store.heads_by_key(cube, ["k"]),
        }
    return found


@pytest.mark.parametrize(
    "way",
    [
        ("sqlite", "postgres"),
        ("postgres", "sqlite"),
        ("sqlite", "sqlite again"),
        ("sqlite", "postgres", "sqlite again"),
    ],
    ids=" to ".join,
)
def test_everything_arrives_as_it_was(places: dict[str, str], way: tuple[str, ...], tmp_path: Path) -> None:
    fill(places[way[0]], tmp_path / "cache")
    with closing(open_sql(places[way[0]], deadline=20)) as store:
        before = contents(store)
    assert before["alice"]["check"] == []
    for here, there in itertools.pairwise(way):
        done: list[tuple[int, ...]] = []
        with (
            closing(open_sql(places[here], deadline=20)) as source,
            closing(open_sql(places[there], deadline=20, moving=True)) as target,
        ):
            counts = move(source, target, lambda *said: done.append(said))  # noqa: B023
        assert counts["items"] == 33
        assert done == sorted(done)
        assert done[-1] == (2 * sum(counts.values()),) * 2
    for place in (way[0], way[-1]):
        with closing(open_sql(places[place], deadline=20)) as store:
            assert contents(store) == before
    with MOS.open(places[way[-1]], cache=tmp_path / "new") as mos:  # and it goes on from there
        assert mos.verify() == []
        alice = mos.session("alice")
        alice.add("after the move", vectors=np.ones((1, 4), dtype=np.float32))
        mos.session("carol").add("a cube of its own number", vectors=np.ones((1, 4), dtype=np.float32))
        assert alice.search("after the move", top_k=1)[0].text == "after the move"
        assert mos.verify() == []
        assert len(mos.cubes()) == 3


@pytest.mark.parametrize("place", ["sqlite", "postgres"])
def test_no_table_is_forgotten(places: dict[str, str], place: str) -> None:
    """Whoever adds a table says here, or in TABLES, what becomes of it."""
    with closing(open_sql(places[place], deadline=20)) as store, store.database.reading() as connection:
        schema = "main" if place == "sqlite" else "memos"
        names = (
            "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            if schema == "main"
            else "SELECT tablename FROM pg_tables WHERE schemaname = 'memos'"
        )
        there = {row[0] for row in connection.execute(text(names))}
        assert there - LEFT_BEHIND == {each.table.name for each in TABLES}
        for each in TABLES:
            row = connection.execute(text(f"SELECT * FROM {each.table.name}"))
            assert set(row.keys()) - {"xid"} == {column.name for column in each.table.c}


def test_a_target_that_is_not_empty_is_left_alone(places: dict[str, str], tmp_path: Path) -> None:
    fill(places["sqlite"], tmp_path / "cache")
    with MOS.open(places["postgres"], cache=tmp_path) as mos:
        mos.session("carol").add("hers")
    for target in ("postgres", "sqlite"):
        with (
            closing(open_sql(places["sqlite"], deadline=2)) as source,
            closing(open_sql(places[target], deadline=2, moving=True)) as new,
            pytest.raises((AlreadyExists, StoreError)),
        ):
            move(source, new)
    with MOS.open(places["postgres"], cache=tmp_path) as mos:
        assert [item.text for item in mos.session("carol").list()] == ["hers"]
    with MOS.open(places["sqlite"]) as mos:
        assert mos.verify() == []


class _Stop(Exception):
    pass


def _stop_at(share: float) -> Any:
    def progress(done: int, total: int) -> None:
        if done >= share * total:
            raise _Stop

    return progress


@pytest.mark.parametrize("way", [("sqlite", "postgres"), ("postgres", "sqlite")], ids=" to ".join)
def test_an_interrupted_move_is_taken_up_and_used_by_nobody_before(
    places: dict[str, str], way: tuple[str, str], tmp_path: Path
) -> None:
    fill(places[way[0]], tmp_path / "cache")
    with closing(open_sql(places[way[0]], deadline=20)) as source:
        before = contents(source)
        for share in (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9, 1):
            with closing(open_sql(places[way[1]], deadline=20, moving=True)) as target, pytest.raises(_Stop):
                move(source, target, _stop_at(share))
            with pytest.raises(StoreError, match="memos migrate"):
                MOS.open(places[way[1]], cache=tmp_path)
        with closing(open_sql(places[way[1]], deadline=20, moving=True)) as target:
            move(source, target)
            assert target.setting(MOVING) is None
    with closing(open_sql(places[way[1]], deadline=20)) as target:
        assert contents(target) == before


def test_what_was_written_after_an_interruption_comes_too(places: dict[str, str], tmp_path: Path) -> None:
    fill(places["sqlite"], tmp_path / "cache")
    with (
        closing(open_sql(places["sqlite"], deadline=20)) as source,
        closing(open_sql(places["postgres"], deadline=20, moving=True)) as target,
    ):
        with pytest.raises(_Stop):
            move(source, target, _stop_at(0.4))
        with MOS.open(places["sqlite"]) as mos:
            alice = mos.session("alice")
            alice.update(key="k", new_key="other")
            alice.add("new", key="k", vectors=np.ones((1, 4), dtype=np.float32))  # the key goes to another item
        before = contents(source)
        move(source, target)
    with closing(open_sql(places["postgres"], deadline=20)) as target:
        assert contents(target) == before


def test_two_stores_do_not_get_mixed(places: dict[str, str], tmp_path: Path) -> None:
    fill(places["sqlite"], tmp_path / "cache")
    fill(places["sqlite again"], tmp_path / "cache")
    with (
        closing(open_sql(places["sqlite"], deadline=20)) as one,
        closing(open_sql(places["sqlite again"], deadline=20)) as two,
        closing(open_sql(places["postgres"], deadline=20, moving=True)) as target,
    ):
        with pytest.raises(_Stop):
            move(one, target, _stop_at(0.4))
        with pytest.raises(AlreadyExists, match="another store"):
            move(two, target)

        def overtake(done: int, total: int) -> None:
            with target.database.writing(alone=True) as connection:
                connection.execute(
                    text('UPDATE store SET value = \'{"source":"x","state":"y"}\' WHERE key = \'moving_from\'')
                )

        with pytest.raises(Conflict):
            move(one, target, overtake)


def test_nobody_writes_to_the_source_meanwhile(places: dict[str, str], tmp_path: Path) -> None:
    fill(places["postgres"], tmp_path / "cache")
    with (
        closing(open_sql(places["postgres"], deadline=20)) as source,
        closing(open_sql(places["postgres"], deadline=0.5)) as writer,
        closing(open_sql(places["sqlite"], deadline=20, moving=True)) as target,
    ):
        refused: list[str] = []

        def write(done: int, total: int) -> None:
            if not refused:
                try:
                    writer.put_setting("x", "y")
                except StoreError as error:
                    refused.append(type(error).__name__)

        move(source, target, write)
        assert refused == ["StoreBusy"]


def test_the_command_survives_being_killed(places: dict[str, str], tmp_path: Path, rounds: Any) -> None:
    """`memos migrate` is killed again and again, wherever it is just then; in the end everything is there."""
    fill(places["sqlite"], tmp_path / "cache", items=3000)
    memos = Memos(tmp_path)
    memos.env["MEMOS_CACHE"] = str(tmp_path / "cache")
    with closing(open_sql(places["sqlite"], deadline=20)) as store:
        before = contents(store)
    for n in range(rounds(4, 100)):
        running = memos.start("migrate", "--to", places["postgres"], "--quiet")
        until(lambda: _arrived(places["postgres"]) > 800 * n or running.poll() is not None, "some rows", 30)  # noqa: B023
        running.send_signal(signal.SIGKILL)
        if running.wait() == 0:  # it was done just then
            break
    else:
        until(lambda: _none_left(places["postgres"]), "the server to have let go of the dead", 30)
        assert memos("migrate", "--to", places["postgres"], "--json").json["rows"]["versions"] == 3005
    with closing(open_sql(places["postgres"], deadline=20)) as target:
        assert contents(target) == before


def _arrived(place: str) -> int:
    """How many versions a target has by now."""
    try:
        with closing(open_sql(place, deadline=5, moving=True)) as target:
            return sum(target.counts(cube)["versions"] for cube in target.cubes())
    except StoreError:  # its tables are just being made
        return 0


def _none_left(place: str) -> bool:
    with closing(open_sql(place, deadline=5, moving=True)) as target, target.database.reading() as connection:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return int(connection.execute(text(others)).scalar_one()) == 0


def test_the_command_says_what_it_did_and_shows_no_password(places: dict[str, str], tmp_path: Path) -> None:
    memos = Memos(tmp_path)
    memos.env["MEMOS_CACHE"] = str(tmp_path / "cache")
    memos("add", "The lighthouse is red.", "--quiet")
    target = places["postgres"].replace("postgres@", "postgres:hush-hush@")
    ran = memos.on_terminal("migrate", "--to", target)
    assert ran.code == 0
    assert "1 cube with 1 version moved to postgresql://" in ran.out
    assert "hush-hush" not in ran.out
    assert memos("search", "red", "--store", target).out
    assert memos("migrate", "--to", target, "--json", code=4).error["type"] == "AlreadyExists"
    assert memos("migrate", "--to", "redis://x", "--json", code=5).error["type"] == "UnsupportedStore"
    assert (
        memos("migrate", "--store", str(tmp_path / "none"), "--to", target, "--json", code=5).error["type"]
        == "StoreNotFound"
    )
