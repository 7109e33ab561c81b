"""If these fail, a what-if changes what it was made from, shows more than its owner may see, or does not survive a backup."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from telling import Clock, texts

from memos_core import MOS, Session
from memos_core.errors import AccessDenied, AlreadyExists, CubeNotFound, InvalidInput, InvalidName
from memos_core.stores.opening import open_sql
from memos_core.stores.sql.moving import move
from memos_core.stores.sql.records import SqlStore

WHERE = ["sqlite", "postgres"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=WHERE)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "memory") if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def mos(place: str, tmp_path: Path, clock: Clock) -> Iterator[MOS]:
    with MOS.open(place, embedder="hashing", cache=tmp_path / "cache", now=clock) as mos:
        yield mos


def of(mos: MOS, cube: str) -> Session:
    """The owner's session in one cube."""
    return mos.session(cube.split("/", maxsplit=1)[0], read_from=[cube], write_to=[cube])


def seen(mos: MOS, cube: str, as_of: int | None = None) -> Any:
    """All that can be asked of a cube, but for its name."""
    session = of(mos, cube)
    return (
        [(item.id, item.version, item.text, item.key, item.created_at) for item in session.list(as_of=as_of)],
        [(hit.id, hit.score, hit.parts) for hit in session.search("is Rex a dog?", as_of=as_of)],
    )


def told(mos: MOS, clock: Clock) -> Session:
    """Six changes of "alice", a minute apart."""
    alice = mos.session("alice")
    for change in (
        lambda: alice.add("Rex is a puppy", id="rex", key="dog"),
        lambda: alice.add("the garden is full of roses", id="garden"),
        lambda: alice.update("rex", text="Rex is a dog", new_key=None),
        lambda: alice.add("Bella is a dog", id="bella", key="dog"),
        lambda: alice.delete("garden"),
        lambda: alice.add("Rex chased Bella", id="chase"),
    ):
        change()
        clock.go(60)
    return alice


def test_a_fork_is_what_the_cube_was_and_goes_its_own_way(mos: MOS, clock: Clock) -> None:
    alice = told(mos, clock)
    before, then = seen(mos, "alice"), seen(mos, "alice", 3)
    made = mos.fork("alice", "alice/what-if", as_of=3)
    assert (made.name, made.owner, made.changes) == ("alice/what-if", "alice", 3)
    assert seen(mos, "alice/what-if") == then
    assert [seen(mos, "alice/what-if", n) for n in range(4)] == [seen(mos, "alice", n) for n in range(4)]
    what_if = of(mos, "alice/what-if")
    assert what_if.get("rex").cube_id == "alice/what-if"
    assert [version.version for version in what_if.history("rex")] == [1, 2]
    what_if.update("rex", text="Rex is a cat")
    what_if.restore("rex") if what_if.delete("rex") else None
    what_if.rollback("rex", to_version=1)
    assert what_if.get(key="dog").text == "Rex is a puppy"
    assert what_if.delete("garden") == 1
    assert seen(mos, "alice") == before
    after = seen(mos, "alice/what-if")
    alice.update("rex", text="Rex is old")
    assert seen(mos, "alice/what-if") == after
    assert of(mos, "alice/what-if").search("Rex")[0].text == "Rex is a puppy"
    assert mos.verify() == []
    assert mos.reindex("alice/what-if")


def test_a_moment_is_a_number_or_a_time_and_now_if_none_is_given(mos: MOS, clock: Clock) -> None:
    told(mos, clock)
    start = clock.now - timedelta(minutes=6)
    changes = {
        name: mos.fork("alice", f"alice/{name}", as_of=as_of).changes
        for name, as_of in {
            "time": start + timedelta(seconds=90),
            "early": start - timedelta(days=1),
            "none": None,
            "zero": 0,
            "beyond": 99,
        }.items()
    }
    assert changes == {"time": 2, "early": 0, "none": 6, "zero": 0, "beyond": 6}
    assert of(mos, "alice/early").list() == of(mos, "alice/zero").list() == []
    of(mos, "alice/zero").add("from the beginning")
    assert mos.verify() == []
    for wrong in (-1, "3", True):
        with pytest.raises(InvalidInput, match="as_of"):
            mos.fork("alice", "alice/wrong", as_of=wrong)  # type: ignore[arg-type]


def test_who_may_fork_what_into_what(mos: MOS, clock: Clock) -> None:
    """A fork shows its owner all that the cube has ever held; so it takes the right to administrate it."""
    alice = told(mos, clock)
    assert alice.fork("alice/mine", as_of=2) == "alice/mine"
    for name in ("bob", "bob/x", "alicex", "team"):
        with pytest.raises(AccessDenied, match="of its own"):
            alice.fork(name)
    with pytest.raises(AlreadyExists):
        alice.fork("alice/mine")
    with pytest.raises(InvalidName):
        alice.fork("alice/*")
    bob = mos.cube
    with pytest.raises(CubeNotFound):
        bob("alice", actor="bob").fork("bob/x")
    mos.share("alice", with_="bob", rights="read,write")
    with pytest.raises(AccessDenied, match="admin"):
        bob("alice", actor="bob").fork("bob/x")
    mos.share("alice", with_="bob", rights="admin")
    with pytest.raises(AccessDenied, match="of its own"):
        bob("alice", actor="bob").fork("bob/x", owner="alice")
    assert bob("alice", actor="bob").fork("bob/x").owner == "bob"
    with pytest.raises(CubeNotFound):
        mos.session("alice", read_from=["bob/x"])
    assert [grant.grantee for grant in mos.cube("bob/x").grants()] == [], "grants are not forked"
    assert mos.fork("alice", "team", owner="carol").owner == "carol"
    assert mos.fork("alice", "for the owner").owner == "alice"
    with pytest.raises(CubeNotFound):
        mos.fork("nobody", "alice/x")


def test_a_message_that_a_fork_shares_is_known_in_it(mos: MOS) -> None:
    alice = mos.session("alice", conversation="talk")
    messages = [{"role": "user", "content": f"line {n}", "id": f"m{n}"} for n in range(3)]
    alice.add(messages)
    alice.add({"role": "user", "content": "later"})
    mos.fork("alice", "alice/short", as_of=3)
    mos.fork("alice", "alice/long")
    positions = {}
    for name in ("alice/short", "alice/long"):
        fork = mos.session("alice", conversation="talk", read_from=[name], write_to=[name])
        assert len(fork.add(messages).known) == 3
        item = fork.get(fork.add({"role": "user", "content": "and on"}).id)
        assert item.provenance.source is not None
        positions[name] = item.provenance.source.position
    assert positions == {"alice/short": 3, "alice/long": 4}


def test_forks_survive_a_backup_as_forks(mos: MOS, clock: Clock, tmp_path: Path) -> None:
    told(mos, clock)
    mos.backup(tmp_path / "safe")
    mos.fork("alice", "alice/one", as_of=5)
    of(mos, "alice/one").update("rex", text="Rex is a cat")
    second = mos.backup(tmp_path / "safe")
    assert second.new_changes == 1, "what is shared is not written again"
    mos.fork("alice/one", "alice/two")
    of(mos, "alice/two").add("a third way", id="third")
    of(mos, "alice").delete("rex")
    assert mos.backup(tmp_path / "safe").new_changes == 2
    names = ["alice", "alice/one", "alice/two"]
    before = {name: (seen(mos, name), mos.cube(name).audit(), mos.store.cube(name)) for name in names}
    MOS.restore(tmp_path / "safe", tmp_path / "again")
    with MOS.open(tmp_path / "again", now=clock) as again:
        assert {name: (seen(again, name), again.cube(name).audit(), again.store.cube(name)) for name in names} == before
        assert again.verify() == []
        assert again.fork("alice/two", "alice/three").changes == 7


def test_forks_are_moved_to_another_database_as_forks(place: str, clock: Clock, tmp_path: Path) -> None:
    with MOS.open(place, embedder="hashing", cache=tmp_path / "cache", now=clock) as mos:
        told(mos, clock)
        mos.fork("alice", "alice/one", as_of=4)
        of(mos, "alice/one").update("rex", text="Rex is a cat")
        before = seen(mos, "alice/one")
    target = str(tmp_path / "moved")
    with closing(open_sql(place, deadline=20)) as source:
        assert isinstance(source, SqlStore)
        with closing(open_sql(target, deadline=20, moving=True)) as empty:
            move(source, empty)
    with MOS.open(target, now=clock) as moved:
        assert seen(moved, "alice/one") == before
        assert moved.verify() == []
        row = moved.store.cube("alice/one")
        assert row is not None
        assert (row.base_seq, row.seq) == (4, 5)


def test_new_vectors_are_those_of_forks_too(mos: MOS, clock: Clock) -> None:
    told(mos, clock)
    mos.fork("alice", "alice/one", as_of=4)
    of(mos, "alice/one").update("bella", tags=["new"])  # goes on using vectors that it shares
    done = mos.reembed(None)
    assert done == 0
    mos.reembed("hashing")
    assert mos.verify() == []
    assert texts(of(mos, "alice/one").search("who is Bella?", top_k=1)) == ["Bella is a dog"]


ALTERED = {  # in cube 1, and the third cube that was forked from it; place 2^40 + n is change n of cube 1
    "a text that is shared": "UPDATE versions SET text = 'forged' WHERE place = 1099511627778",
    "a shared change that is gone": "DELETE FROM versions WHERE place = 1099511627778",
    "a chain that what is shared stands in": "UPDATE batches SET action = 'forged' WHERE number = 3 AND cube = 1",
    "where it was forked": "UPDATE cubes SET base_seq = 2 WHERE base = 1",
    "what it was forked from": "UPDATE cubes SET base = 2 WHERE base = 1",
    "that it is a fork": "UPDATE cubes SET base = 0, base_seq = 0 WHERE base = 1",
    "its first entry": "DELETE FROM batches WHERE cube = 3 AND number = 1",
    "an item of its own list": "UPDATE items SET head = 1, version = 1 WHERE cube = 3 AND id = 'rex'",
    "a name": "UPDATE items SET key = 'dog' WHERE cube = 3 AND id = 'rex'",
    "links": "INSERT INTO links SELECT cube, item, 'x', 'y', 1.0 FROM items WHERE cube = 3 AND id = 'rex'",
    "a shared vector": "UPDATE vectors SET crc = crc + 1 WHERE place = 1099511627777",
}


@pytest.mark.parametrize("what", ALTERED)
def test_what_is_altered_is_found_from_the_fork(mos: MOS, clock: Clock, what: str) -> None:
    told(mos, clock)
    mos.session("bob").add("something else")
    mos.fork("alice", "alice/what-if", as_of=3)
    row = mos.store.cube("alice/what-if")
    assert row is not None
    assert row.number == 3
    dims = 256
    assert mos.store.check(row, dims) == []
    assert isinstance(mos.store, SqlStore)
    with mos.store.database.writing() as connection:
        connection.exec_driver_sql(ALTERED[what])
    row = mos.store.cube("alice/what-if")
    assert row is not None
    assert mos.store.check(row, dims), what


def test_a_cube_is_forked_while_others_write_to_it(mos: MOS) -> None:
    """Each fork is one moment: all of what it shares, and nothing of what came in meanwhile."""
    alice = mos.session("alice")
    alice.add([f"fact {n}" for n in range(20)])
    ids = [item.id for item in alice.list()]
    enough = threading.Event()

    def write(worker: int) -> None:
        count = 0
        while not enough.is_set():
            count += 1
            alice.add([f"more {worker} {count}", f"and more {worker} {count}"])
            alice.update(ids[(7 * count + worker) % 20], text=f"changed {worker} {count}")

    with ThreadPoolExecutor(2) as pool:
        writing = [pool.submit(write, worker) for worker in range(2)]
        try:
            made = [mos.fork("alice", f"alice/{n}", as_of=None if n % 2 else 20 + n) for n in range(8)]
        finally:
            enough.set()
        for each in writing:
            each.result()
    for fork in made:
        row = mos.store.cube(fork.name)
        assert row is not None
        assert row.seq == fork.changes
        assert mos.store.check(row, 256) == []
        assert seen(mos, fork.name)[0] == seen(mos, "alice", fork.changes)[0]
