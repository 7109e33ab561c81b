"""If these fail, going back leaves something as it was not, cannot be undone, or a difference is told that there is none of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from telling import Clock

from memos_core import MOS, Link, Session
from memos_core.errors import AccessDenied, CubeNotFound, InvalidInput, ItemNotFound, VersionNotFound


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgres"])
def mos(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[MOS]:
    place = tmp_path / "memory" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with MOS.open(place, embedder="hashing", cache=tmp_path / "cache", now=clock) as mos:
        yield mos


@pytest.fixture
def alice(mos: MOS) -> Session:
    return mos.session("alice")


def rollbacks(mos: MOS) -> int:
    """How often the audit says that the cube went back; reads are noted in it when their time comes."""
    return sum(entry.action == "rollback" for entry in mos.cube("alice").audit())


def state(alice: Session, as_of: int | None = None) -> Any:
    """What the items say, by id; and which are found by meaning and words (scores count all versions that there were)."""
    items = {item.id: (item.text, item.key, item.tags, item.metadata, item.links) for item in alice.list(as_of=as_of)}
    return items, sorted((hit.id, hit.text) for hit in alice.search("who chased the cat?", as_of=as_of))


def test_a_cube_stands_as_it_stood_at_every_moment(mos: MOS, alice: Session) -> None:
    """Back and forth, in one entry of the audit each time; what is the same is left alone."""
    alice.add("Rex chased the cat", id="rex", key="dog", tags=["a"])
    alice.add("Bella sleeps", id="bella", links=[Link("beside", "rex", 0.5)])
    alice.add("the garden", id="garden")
    alice.update("rex", text="Rex chased nobody", tags=[])
    alice.delete("garden")
    alice.add("Tom is a cat", id="tom")
    alice.update("bella", metadata={"age": 3}, links=[])
    then = [state(alice, n) for n in range(8)]
    for number in (3, 7, 0, 5, 1, 7, 6, 2, 4):
        before, entries = mos.store.head_seq(row(mos)), rollbacks(mos)
        done = alice.rollback_cube(number)
        assert state(alice) == then[number]
        written = mos.store.head_seq(row(mos)) - before
        assert (done.to, done.before) == (number, before)
        assert len(done.restored) + len(done.changed) + len(done.deleted) == written
        assert not done or rollbacks(mos) == entries + 1
        assert not alice.rollback_cube(number), "it stands so already"
        undone = mos.rollback_cube("alice", done.before)
        assert (len(undone.restored), len(undone.deleted)) == (len(done.deleted), len(done.restored))
        alice.rollback_cube(number)
    assert [version.op for version in alice.history("tom")][:3] == ["add", "delete", "restore"]
    assert mos.verify() == []


def row(mos: MOS) -> Any:
    found = mos.store.cube("alice")
    assert found is not None
    return found


def test_it_says_what_it_did(alice: Session, clock: Clock) -> None:
    alice.add("one", id="one")
    alice.add("two", id="two")
    alice.add("same", id="same")
    moment = clock.now
    clock.go(60)
    alice.update("one", text="changed")
    alice.delete("two")
    alice.add("three", id="three")
    alice.delete("three")
    alice.add("four", id="four")
    alice.update("same", text="not the same")
    alice.update("same", text="same")
    done = alice.rollback_cube(moment)
    assert (done.cube, done.to, done.before) == ("alice", 3, 10)
    assert (done.restored, done.changed, done.deleted) == (("two",), ("one",), ("four",))
    assert alice.get("same").version == 3


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_names_go_back_to_those_who_bore_them(mos: MOS, alice: Session, order: tuple[int, ...]) -> None:
    """Along a chain, around a ring, and from items that are gone by then."""
    for n in range(4):
        alice.add(f"item {n}", id=f"i{n}", key=f"k{n}")
    alice.add("gone by then", id="late")
    alice.delete("late")
    for n in order:
        alice.update(f"i{n}", new_key=None)
    for n in range(4):
        alice.update(f"i{n}", new_key=f"k{(n + 1) % 4}")
    ring = mos.store.head_seq(row(mos))
    alice.delete("i0")
    alice.add("another", id="other", key="k1")
    alice.update("i3", new_key="x")
    alice.update("i1", new_key="k0")
    for number in (6, ring, 4, ring):
        alice.rollback_cube(number)
        expected = {f"k{(n + (number == ring)) % 4}": f"i{n}" for n in range(4)}
        assert {key: alice.get(key=key).id for key in expected} == expected
        with pytest.raises(ItemNotFound):
            alice.get(key="x")
    assert mos.verify() == []


def test_a_fork_can_go_back_beyond_where_it_began(mos: MOS, alice: Session) -> None:
    alice.add("Rex chased the cat", id="rex", key="dog")
    alice.update("rex", text="Rex sleeps", new_key="k")
    alice.add("Bella", id="bella", key="dog")
    mos.fork("alice", "alice/what-if")
    fork = mos.session("alice", read_from=["alice/what-if"], write_to=["alice/what-if"])
    fork.delete("bella")
    before = state(alice)
    assert fork.rollback_cube(1).changed == ("rex",)
    assert (state(fork), state(alice)) == (state(alice, 1), before)
    assert fork.get(key="dog").text == "Rex chased the cat"
    assert mos.verify() == []


def test_who_may_go_back(mos: MOS, alice: Session) -> None:
    alice.add("one")
    alice.add("two")
    with pytest.raises(CubeNotFound):
        mos.cube("alice", actor="bob").rollback(1)
    mos.share("alice", with_="bob", rights="write")
    bob = mos.session("bob", write_to=["bob", "alice"])
    with pytest.raises(AccessDenied, match="admin"):
        bob.rollback_cube(1, cube="alice")
    with pytest.raises(InvalidInput, match="cube="):
        bob.rollback_cube(1)
    with pytest.raises(InvalidInput, match="cube="):
        bob.rollback_cube(1, cube="carol")
    with pytest.raises(InvalidInput, match="as_of"):
        alice.rollback_cube(None)  # type: ignore[arg-type]
    assert len(alice.list()) == 2


def test_two_versions_are_compared(alice: Session) -> None:
    alice.add("Rex is a young dog", id="rex", key="dog", tags=["a"], metadata={"age": 1})
    alice.update("rex", text="Rex is an old dog", tags=["a", "b"])
    alice.update("rex", metadata={"age": 9}, new_key="old dog")
    alice.delete("rex")
    alice.restore("rex")
    found = alice.diff("rex", 1, 3)
    assert (
        found.text
        == (
            ("same", "Rex is "),
            ("gone", "a young"),
            ("new", "an old"),
            ("same", " dog"),
        )
        or "".join(text for op, text in found.text if op != "new") == "Rex is a young dog"
    )
    assert {(change.name, str(change.old), str(change.new)) for change in found.fields} == {
        ("key", "dog", "old dog"),
        ("tags", "('a',)", "('a', 'b')"),
        ("metadata", "{'age': 1}", "{'age': 9}"),
    }
    assert [(op, text) for op, text in alice.diff("rex", 3, 1).text if op == "new"]
    assert not alice.diff("rex", 3, 5)
    assert alice.diff("rex", 3, 4).new is None
    assert alice.diff("rex").old is None, "the newest with the one before"
    assert alice.diff(key="old dog", new=2).fields[0].name == "tags"
    assert alice.diff("rex", new=1).old is None
    for old, new in ((1, 9), (9, 1), (0, 1)):
        with pytest.raises(VersionNotFound, match=r"no version [09]"):
            alice.diff("rex", old, new)
    with pytest.raises(ItemNotFound):
        alice.diff("nobody")


def test_two_moments_of_a_cube_are_compared(mos: MOS, alice: Session, clock: Clock) -> None:
    alice.add("Rex chased the cat", id="rex")
    alice.add("the garden", id="garden")
    alice.add("same", id="same")
    moment = clock.now
    clock.go(60)
    alice.update("rex", text="Rex chased the dog")
    alice.delete("garden")
    alice.add("Bella", id="bella")
    alice.add("came and went", id="brief")
    alice.delete("brief")
    alice.update("same", tags=["t"])
    alice.rollback("same", to_version=1)
    cube = mos.cube("alice")
    for found in (cube.diff(3), cube.diff(moment), cube.diff(3, 10), cube.diff(moment, clock.now)):
        assert [item.id for item in found.added] == ["bella"]
        assert [item.text for item in found.removed] == ["the garden"]
        assert [(change.id, [text for op, text in change.text if op == "new"]) for change in found.changed] == [
            ("rex", ["dog"])
        ]
    back = cube.diff(10, 3)
    assert ([item.id for item in back.added], [item.id for item in back.removed]) == (["garden"], ["bella"])
    assert not cube.diff(3, 3)
    assert [item.id for item in cube.diff(0, 3).added] == ["rex", "garden", "same"]
    assert [change.id for change in cube.diff(3, 9).changed] == ["rex", "same"]
    with pytest.raises(InvalidInput, match="old"):
        cube.diff(None)  # type: ignore[arg-type]
    mos.share("alice", with_="bob", rights="read")
    alice.add("for my eyes only", id="secret", visibility="private")
    assert "secret" in {item.id for item in cube.diff(3).added}
    assert "secret" not in {item.id for item in mos.cube("alice", actor="bob").diff(3).added}


def test_a_name_leads_to_who_bore_it_then(mos: MOS, alice: Session, clock: Clock) -> None:
    alice.add("Rex", id="rex", key="dog")
    first = clock.now
    clock.go(60)
    alice.update("rex", new_key=None)
    alice.add("Bella", id="bella", key="dog")
    second = clock.now
    clock.go(60)
    alice.delete("bella")
    for as_of, id in ((1, "rex"), (first, "rex"), (3, "bella"), (second, "bella")):
        assert alice.get(key="dog", as_of=as_of).id == id
    for as_of in (0, 2, 4, None):
        with pytest.raises(ItemNotFound):
            alice.get(key="dog", as_of=as_of)


def test_yesterday_is_the_day_before_the_moment_that_is_asked(mos: MOS, alice: Session, clock: Clock) -> None:
    for day in range(9):
        alice.add(f"walked for {day} hours", occurred_at=clock.now)
        clock.go(86_400)
    moment = clock.now
    then = [(hit.id, hit.score, hit.parts) for hit in alice.search("what did I do yesterday?")]
    assert then[0][2]["date"] > 0
    clock.go(30 * 86_400)
    alice.add("slept", occurred_at=clock.now)
    assert [(hit.id, hit.score, hit.parts) for hit in alice.search("what did I do yesterday?", as_of=moment)] == then
    assert [(hit.id, hit.score, hit.parts) for hit in alice.search("what did I do yesterday?")] != then
