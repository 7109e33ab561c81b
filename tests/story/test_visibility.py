"""If these fail, a private memory shows: in results, counts, scores, neighbours, names, links, history, or the past."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from memos_core import MOS, F, Message, Session
from memos_core.errors import AccessDenied, InvalidInput, ItemNotFound
from tests.story.telling import Clock, texts

SHARED = [
    "The boiler in the cellar was repaired by Otto.",
    "The cellar key hangs beside the door.",
    "Water bills are paid in March.",
    "The neighbours have a dog.",
]
PRIVATE = ["The boiler will be sold in secret.", "Zoltan repairs boilers for less.", "secret secret boiler cellar"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mos(clock: Clock) -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing", now=clock) as mos:
        mos.create_cube("house", owner="alice")
        mos.share("house", with_="bob", rights="write")
        mos.share("house", with_="carol", rights="read")
        yield mos


def at(mos: MOS, who: str) -> Session:
    writes = ["house"] if who != "carol" else []
    return mos.session(who, read_from=["house"], write_to=writes, conversation="plans")


def told(mos: MOS, private: bool) -> None:
    """What Alice and Bob say; Bob's asides only where `private`."""
    asides = iter(PRIVATE)
    for place, text in enumerate(SHARED):
        at(mos, "alice").add(Message(content=text, speaker="Alice", position=2 * place), id=f"s{place}")
        if private and (aside := next(asides, None)):
            said = Message(content=aside, speaker="Zoltan", position=2 * place + 1)
            at(mos, "bob").add(said, id=f"p{place}", visibility="private", tags=["aside"])


QUESTIONS = ["who repairs the boiler", "secret", "Zoltan", "cellar key", "what did Zoltan say about boilers", "sold"]


def seen(session: Session, question: str, **options: Any) -> list[tuple[str, str, float, dict[str, float]]]:
    return [(hit.id, hit.text, hit.score, hit.parts) for hit in session.search(question, **options)]


@pytest.mark.parametrize("who", ["carol", "dora"])
def test_to_others_it_is_as_if_private_memories_were_never_there(mos: MOS, clock: Clock, who: str) -> None:
    """The same hits with the same scores and parts, to the last bit, as in a store without them."""
    told(mos, private=True)
    mos.share("house", with_="*", rights="read")
    with MOS.open(":memory:", embedder="hashing", now=clock) as other:
        other.create_cube("house", owner="alice")
        other.share("house", with_="*", rights="read")
        told(other, private=False)
        with_, without = (each.session(who, read_from=["house"], write_to=[]) for each in (mos, other))
        for question in QUESTIONS:
            assert seen(with_, question) == seen(without, question), question
            assert seen(with_, question, as_of=clock.now) == seen(without, question, as_of=clock.now)
            assert with_.context(question, min_score=0).text == without.context(question, min_score=0).text
        assert texts(with_.list()) == texts(without.list()) == SHARED[::-1]
        assert with_.stats()["cubes"] == without.stats()["cubes"]
        cubes = [each.cube("house", actor=who) for each in (mos, other)]
        vector = [0.1] * 256
        near = [[(item.id, score) for item, score in cube.nearest(vector, 10)] for cube in cubes]  # type: ignore[arg-type]
        assert near[0] == near[1]


def test_whose_it_is_and_administrators_see_it(mos: MOS) -> None:
    told(mos, private=True)
    for who in ("bob", "alice"):
        assert {"p0", "p1", "p2"} <= {item.id for item in at(mos, who).list()}
        assert at(mos, who).search("sold in secret")[0].id == "p0"
        item = at(mos, who).get("p0")
        assert (item.visibility, item.private_to) == ("private", "bob")
    assert [item.id for item in at(mos, "alice").list(where=F.visibility == "private")] == ["p2", "p1", "p0"]
    assert not at(mos, "carol").list(where=F.tags.contains("aside"))
    assert not at(mos, "carol").list(include=["archived", "generated", "merged"], where=F.visibility == "private")


def test_by_id_and_key_it_is_absent(mos: MOS, clock: Clock) -> None:
    told(mos, private=True)
    at(mos, "bob").add("the safe", id="safe", key="code", visibility="private")
    mos.share("house", with_="eve", rights="write")
    eve = at(mos, "eve")
    for call in (
        lambda: eve.get("safe"),
        lambda: eve.get("safe", as_of=clock.now),
        lambda: eve.get(key="code"),
        lambda: eve.history("safe"),
        lambda: eve.update("safe", text="x"),
        lambda: eve.update(key="code", text="x"),
        lambda: eve.delete("safe"),
        lambda: eve.restore("safe"),
        lambda: eve.rollback("safe", 1),
        lambda: eve.archive("safe"),
        lambda: eve.merge(["safe", "s0"], "x"),
    ):
        with pytest.raises(ItemNotFound) as refused:
            call()  # type: ignore[no-untyped-call]
        told_of_nobody = str(refused.value).replace("safe", "nobody")
        with pytest.raises(ItemNotFound) as absent:
            eve.delete("nobody")
        if call.__code__.co_names[0] == "delete":
            assert told_of_nobody == str(absent.value)
    at(mos, "bob").delete("safe")
    for ask in (eve.history, eve.restore):
        with pytest.raises(ItemNotFound, match="no item 'safe'"):
            ask("safe")
    assert at(mos, "bob").restore("safe").private_to == "bob"


def test_who_makes_a_memory_private_hides_its_past_and_who_shares_it_shows_it_from_then_on(
    mos: MOS, clock: Clock
) -> None:
    bob, carol = at(mos, "bob"), at(mos, "carol")
    bob.add("the code is 1", id="code")
    clock.go(1)
    before = clock.now
    assert carol.search("code")
    clock.go(1)
    bob.update("code", text="the code is 2", visibility="private")
    assert not carol.search("code")
    assert not carol.search("code", as_of=before)
    assert not carol.list(as_of=before)
    for ask in (lambda: carol.get("code"), lambda: carol.get("code", as_of=before), lambda: carol.history("code")):
        with pytest.raises(ItemNotFound):
            ask()  # type: ignore[no-untyped-call]
    assert [version.version for version in bob.history("code")] == [1, 2]
    assert texts(bob.search("code", as_of=before)) == ["the code is 1"]
    bob.update("code", visibility="shared")
    assert [version.version for version in carol.history("code")] == [3]
    assert texts(carol.search("code")) == ["the code is 2"]
    assert not carol.search("code", as_of=before)


def test_the_same_message_said_in_private_is_another_one(mos: MOS) -> None:
    """Adding it again does not tell that somebody else has kept it to themselves."""
    message = Message(content="the code is 4711", id="m1")
    mine = at(mos, "bob").add(message, visibility="private")
    assert at(mos, "bob").add(message, visibility="private").known == mine.ids
    hers = at(mos, "alice").add(message)
    assert hers.new == hers.ids != mine.ids
    assert texts(at(mos, "carol").list()) == ["the code is 4711"]


def test_a_draft_is_private_to_whoever_adds_it(mos: MOS) -> None:
    from memos_core import Draft

    added = at(mos, "bob").add(Draft(text="mine", private_to="alice"))
    assert added[0].private_to == "bob"


@pytest.mark.parametrize("wrong", ["secret", "", None, True])
def test_a_visibility_is_one_of_two_words(mos: MOS, wrong: Any) -> None:
    with pytest.raises(InvalidInput, match="visibility is"):
        at(mos, "bob").add("x", visibility=wrong)
    id = at(mos, "bob").add("x").id
    with pytest.raises(InvalidInput, match="visibility is"):
        at(mos, "bob").update(id, visibility=wrong)


def test_grants_end_when_they_are_meant_to(mos: MOS, clock: Clock) -> None:
    told(mos, private=False)
    end = clock.now + timedelta(hours=1)
    mos.cube("house", actor="alice").share("frank", "write", until=end)
    frank = at(mos, "frank")
    (grant,) = (each for each in mos.cube("house").grants() if each.grantee == "frank")
    assert grant.expires_at == end
    frank.add("frank was here")
    clock.go(3599.999999)
    assert frank.search("frank")
    clock.go(0.000001)
    for call in (lambda: frank.search("frank"), lambda: frank.add("again"), frank.list):
        with pytest.raises((ItemNotFound, LookupError), match="no cube 'house' that 'frank' may read"):
            call()  # type: ignore[no-untyped-call]
    with pytest.raises(InvalidInput, match="passed already"):
        mos.share("house", with_="frank", until=clock.now)
    with pytest.raises(InvalidInput, match="a time is a datetime"):
        mos.share("house", with_="frank", until="tomorrow")  # type: ignore[arg-type]


def test_nobody_gives_for_longer_or_more_than_their_own(mos: MOS, clock: Clock) -> None:
    mos.share("house", with_="gina", rights="share", until=clock.now + timedelta(hours=1))
    gina = mos.cube("house", actor="gina")
    with pytest.raises(AccessDenied):
        gina.share("hugo", "write")
    gina.share("hugo", "read", until=clock.now + timedelta(minutes=1))
    assert isinstance(mos.session("hugo", read_from=["house"], write_to=[]).now(), datetime)
