"""If these fail, asking how things were at an earlier moment gives words, scores or items of another one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from telling import Clock, texts

from memos_core import MOS, F, Session
from memos_core.errors import InvalidInput, ItemNotFound

STEPS = 7


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mos(clock: Clock) -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing", now=clock) as mos:
        yield mos


def tell(session: Session, step: int) -> None:
    """One change, the n-th."""
    if step == 1:
        session.add("Rex is a puppy", id="rex", key="dog", metadata={"age": 0})
    elif step == 2:
        session.add("the garden is full of roses", id="garden")
    elif step == 3:
        session.update("rex", text="Rex is a dog", metadata={"age": 2})
    elif step == 4:
        session.delete("garden")
    elif step == 5:
        session.add("a dog called Bella moved in", id="bella")
    elif step == 6:
        session.rollback("rex", 1)
    elif step == 7:
        session.restore("garden")


def seen(session: Session, as_of: int | datetime | None = None) -> object:
    """All that can be asked about a moment."""
    return (
        [(item.id, item.version, item.text) for item in session.list(as_of=as_of)],
        [(hit.id, hit.text, hit.score, hit.parts) for hit in session.search("is Rex a dog?", as_of=as_of)],
        [hit.id for hit in session.search("roses", as_of=as_of, where=F.age.is_empty())],
        [_got(session, id, as_of) for id in ("rex", "garden", "bella")],
    )


def _got(session: Session, id: str, as_of: int | datetime | None) -> object:
    try:
        return session.get(id, as_of=as_of)
    except ItemNotFound:
        return None


def test_every_moment_looks_as_it_looked_then(mos: MOS, clock: Clock) -> None:
    """By number and by time; ranking too: it is that of a store in which nothing else has ever happened."""
    alice = mos.session("alice")
    then: list[object] = []
    moments: list[datetime] = []
    for step in range(1, STEPS + 1):
        tell(alice, step)
        then.append(seen(alice))
        moments.append(clock.now)
        clock.go(60)
    for number, (looked, moment) in enumerate(zip(then, moments, strict=True), 1):
        assert seen(alice, number) == looked
        assert seen(alice, moment) == looked
        assert seen(alice, moment + timedelta(seconds=59)) == looked
    assert seen(alice) == then[-1] == seen(alice, moments[-1] + timedelta(days=1))


def test_before_anything_there_was_nothing(mos: MOS, clock: Clock) -> None:
    alice = mos.session("alice")
    before = clock.now - timedelta(days=1)
    assert seen(alice, before) == seen(alice, 0) == ([], [], [], [None] * 3)  # nor is there a cube yet
    for step in range(1, 4):
        tell(alice, step)
    assert seen(alice, before) == seen(alice, 0) == ([], [], [], [None] * 3)


def test_several_cubes_are_asked_at_one_time(mos: MOS, clock: Clock) -> None:
    mos.create_cube("team", owner="alice")
    both = mos.session("alice", read_from=["alice", "team"], write_to=[])
    own, team = mos.session("alice"), mos.session("alice", write_to=["team"])
    own.add("Rex is a puppy")
    moment = clock.now
    clock.go(60)
    team.add("Rex is a dog")
    later = clock.now
    clock.go(60)
    own.add("Rex is old")
    assert texts(both.search("Rex", as_of=moment)) == ["Rex is a puppy"]
    assert sorted(texts(both.search("Rex", as_of=later))) == ["Rex is a dog", "Rex is a puppy"]
    assert texts(both.list(as_of=later)) == ["Rex is a dog", "Rex is a puppy"]
    assert len(both.search("Rex")) == 3


def test_a_page_of_the_past_goes_on_in_the_past(mos: MOS) -> None:
    alice = mos.session("alice")
    alice.add([f"note {number} about Rex" for number in range(5)])
    alice.add([f"new note {number} about Rex" for number in range(5)])
    page = alice.search("notes about Rex", as_of=5, top_k=3)
    rest = alice.search("notes about Rex", as_of=5, top_k=3, cursor=page.cursor)
    assert sorted(texts(page + rest)) == [f"note {number} about Rex" for number in range(5)]
    listed = alice.list(as_of=5, limit=3)
    assert len(alice.list(as_of=5, limit=3, cursor=listed.cursor)) == 2


@pytest.mark.parametrize("as_of", [-1, True, 1.0, "1", "2024-05-08", datetime(2024, 5, 8)])
def test_what_is_no_moment_is_refused(mos: MOS, as_of: object) -> None:
    alice = mos.session("alice")
    tell(alice, 1)
    for attempt in (
        lambda: alice.search("Rex", as_of=as_of),  # type: ignore[arg-type]
        lambda: alice.list(as_of=as_of),  # type: ignore[arg-type]
        lambda: alice.get("rex", as_of=as_of),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidInput, match="as_of"):
            attempt()


def test_past_statistics_are_those_of_the_past(mos: MOS) -> None:
    """A word that was rare then and is common now counts as rare."""
    alice, bob = mos.session("alice"), mos.session("bob")
    first = ["the dog sleeps", "the cat sleeps", "the fish swims"]
    alice.add(first)
    bob.add(first)
    alice.add([f"dog number {n}" for n in range(30)])
    for item in alice.list(where=F.text.contains("sleeps")):
        alice.update(item.id, text=item.text.replace("sleeps", "is awake"))
    then = [(hit.text, hit.score, hit.parts) for hit in alice.search("does the dog sleep?", as_of=3)]
    assert then == [(hit.text, hit.score, hit.parts) for hit in bob.search("does the dog sleep?")]
