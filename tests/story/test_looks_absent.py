"""If these fail, what is hidden from somebody shows: in errors, in the work that looking for it takes, in links, filters,
cursors, documents and names; or rights outlive what gave them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from memos_core import MOS, Actor, Document, Draft, F, Link, MemCube, Right, Session
from memos_core.errors import AccessDenied, AlreadyExists, CubeNotFound, InvalidCursor, ItemNotFound, MemosError
from memos_core.governance.governance import DEFAULT_POLICIES
from memos_core.types.access import Grant
from memos_core.types.cube_policy import CubePolicy
from memos_core.types.work import CubeRow
from tests.story.telling import Clock

EVE = Actor("eve", ("guest", "team"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mos(clock: Clock) -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing:64", now=clock) as mos:
        mos.create_cube("house", owner="alice")
        mos.share("house", with_="role:team", rights="write,share")
        mos.share("house", with_="bob", rights="write")
        alice = at(mos, "alice")
        alice.add("the safe is behind the picture", id="safe", key="code", visibility="private")
        alice.update("safe", text="the safe is in the cellar")
        alice.add("an old secret", id="past", key="was", visibility="private")
        alice.delete("past")
        alice.add("the door is green", id="door")
        yield mos


def at(mos: MOS, who: str | Actor) -> Session:
    return mos.session(who, read_from=["house"], write_to=["house"], conversation="talk")


class Counting:
    """A store that counts what it is asked."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if callable(found) and name not in ("change_token", "rules_token", "operation"):
            self.asked[name] += 1
        return found


def counted(mos: MOS) -> Counting:
    counting = Counting(mos.store)
    mos._store = mos._governance._store = mos._memory._store = counting  # type: ignore[assignment]
    return counting


def outcome(attempt: Callable[[], object], *names: str) -> tuple[str, str]:
    with pytest.raises(MemosError) as raised:
        attempt()
    said = str(raised.value)
    for name in names:
        said = said.replace(name, "IT")
    return type(raised.value).__name__, said


BY_ID: dict[str, Callable[[Session, MemCube, str], object]] = {
    "get": lambda s, c, id: s.get(id),
    "get then": lambda s, c, id: s.get(id, as_of=1),
    "history": lambda s, c, id: s.history(id),
    "explain": lambda s, c, id: s.explain(id),
    "lineage": lambda s, c, id: s.lineage(id),
    "diff": lambda s, c, id: s.diff(id),
    "update": lambda s, c, id: s.update(id, text="x"),
    "delete": lambda s, c, id: s.delete(id),
    "delete some": lambda s, c, id: s.delete(["door", id]),
    "restore": lambda s, c, id: s.restore(id),
    "rollback": lambda s, c, id: s.rollback(id, 1),
    "archive": lambda s, c, id: s.archive(id),
    "activate": lambda s, c, id: s.activate(id),
    "freeze": lambda s, c, id: s.freeze(id),
    "unfreeze": lambda s, c, id: s.unfreeze(id),
    "merge": lambda s, c, id: s.merge(["door", id], "x"),
    "cube get": lambda s, c, id: c.get(id),
    "cube get then": lambda s, c, id: c.get(id, as_of=1),
    "cube get before": lambda s, c, id: c.get(id, as_of=0),
    "cube history": lambda s, c, id: c.history(id),
    "cube current": lambda s, c, id: c.current(id),
    "cube written": lambda s, c, id: c.written(id),
}
BY_KEY: dict[str, Callable[[Session, MemCube, str], object]] = {
    "get": lambda s, c, key: s.get(key=key),
    "get then": lambda s, c, key: s.get(key=key, as_of=2),
    "history": lambda s, c, key: s.history(key=key),
    "update": lambda s, c, key: s.update(key=key, text="x"),
    "id of": lambda s, c, key: c.id_of(key),
}


@pytest.mark.parametrize(("hidden", "ways"), [("safe", BY_ID), ("past", BY_ID), ("code", BY_KEY), ("was", BY_KEY)])
def test_a_hidden_item_is_answered_like_one_that_there_is_not(
    mos: MOS, hidden: str, ways: dict[str, Callable[[Session, MemCube, str], object]]
) -> None:
    """The same error with the same words, and as many questions to the store: the time does not tell either."""
    eve, cube = at(mos, EVE), mos.cube("house", actor=EVE)
    asked = counted(mos)
    eve_counted, cube_counted = at(mos, EVE), mos.cube("house", actor=EVE)
    for name, way in ways.items():
        told, work = [], []
        for one in (hidden, "none"):
            told.append(outcome(lambda one=one, way=way: way(eve, cube, one), repr(one)))  # type: ignore[misc]
            asked.asked.clear()
            outcome(lambda one=one, way=way: way(eve_counted, cube_counted, one), repr(one))  # type: ignore[misc]
            work.append(asked.asked.total())
        assert told[0] == told[1], name
        assert work[0] == work[1], (name, work)
    knows = []
    for one in (hidden, "none"):
        asked.asked.clear()
        knows.append((cube_counted.knows(one), cube_counted.holding([one]), asked.asked.total()))
    assert knows[0] == knows[1]


def test_a_cube_that_is_not_yours_takes_the_work_of_one_that_is_not_there(mos: MOS) -> None:
    work = []
    asked = counted(mos)
    for name in ("house", "nowhere"):
        mos._governance._known.clear()
        asked.asked.clear()
        outcome(lambda name=name: mos.session("mallory", read_from=[name], write_to=[]))  # type: ignore[misc]
        work.append(dict(asked.asked))
    assert work[0] == work[1] == {"cube": 1, "grants": 1}


def test_links_and_sources_lead_nowhere_that_is_hidden_and_tell_nothing_by_it(mos: MOS) -> None:
    eve = at(mos, EVE)
    links = [Link("about", "safe"), Link("about", "none"), Link("about", "past"), Link("about", "door")]
    eve.add("guessing", id="guess", links=links)
    assert eve.get("guess").links == (Link("about", "door"),)
    assert len(at(mos, "alice").get("guess").links) == 4
    at(mos, "alice").add([Draft(text="from the safe", id="made", derived_from=(("safe", 1), ("door", 1)))])
    for ids in (["safe"], ["none"]):
        for where in (F.derived_from.contains(ids[0]), F.derived_from.any(ids), F.derived_from.all([*ids, "door"])):
            assert eve.list(where=where) == []
            assert len(eve.list(where=~where)) == 3
            assert eve.search("safe", where=where) == []
            assert mos.cube("house", actor=EVE).nearest([1.0] * 64, where=where) == []  # type: ignore[arg-type]
    assert [item.id for item in eve.list(where=F.derived_from.contains("door"))] == ["made"]
    assert [item.id for item in at(mos, "alice").list(where=F.derived_from.contains("safe"))] == ["made"]
    for where in (F.derived_from.is_empty(), F.derived_from == ["safe"], F.derived_from["0"] == "safe"):
        with pytest.raises(AccessDenied, match="by ids only"):
            eve.list(where=where)
    assert set(eve.lineage("made").items) == {"made", "door"}
    assert "safe" not in str(eve.explain("made").lineage.edges)
    own = mos.session(EVE, read_from=["house", "eve"], write_to=["eve"])
    own.add([Draft(text="mine", id="safe"), Draft(text="of mine", id="of", derived_from=(("safe", 1),))])
    assert [item.id for item in own.list(where=F.derived_from.contains("safe"))] == ["of"]


def test_what_is_masked_is_not_guessed_by_filters(mos: MOS) -> None:
    at(mos, "alice").add(
        "write to otto@example.org", id="mail", metadata={"to": "otto@example.org", "n": 1, "in": ["a"]}
    )
    mos.cube("house").set_policy(CubePolicy(mask=("email", "name"), names=("Otto Example",)))
    eve, cube = at(mos, EVE), mos.cube("house", actor=EVE)
    for where in (F.text.contains("otto"), F.to.text_match("otto@"), F.to == "otto@example.org", F.to > "otto"):
        with pytest.raises(AccessDenied, match="masked for you"):
            eve.list(where=where)
        with pytest.raises(AccessDenied, match="masked for you"):
            cube.nearest([1.0] * 64, where=where)  # type: ignore[arg-type]
    assert [item.id for item in eve.list(where=(F.n == 1) & F["in"].any(["a"]))] == ["mail"]
    assert cube.policy.names == ()
    assert mos.cube("house", actor="alice").policy.names == ("Otto Example",)


def test_deleting_and_documents_spare_what_is_hidden(mos: MOS) -> None:
    eve, alice = mos.session(EVE, read_from=["eve", "house"], write_to=["eve", "house"]), at(mos, "alice")
    mos.session(EVE).add("my own safe", id="safe")
    assert eve.delete("safe") == 1
    assert alice.get("safe").text == "the safe is in the cellar"
    alice.add(Document(text="# Wills\n\nAll goes to Rex.", uri="will.md", format="markdown"), visibility="private")
    before = [item.id for item in alice.list(where=F.uri == "will.md")]
    added = at(mos, EVE).add(Document(text="# Will\n\nSomething else.", uri="will.md", format="markdown"))
    assert added.removed == []
    assert set(before) <= {item.id for item in alice.list(where=F.uri == "will.md")}


def test_a_name_that_is_taken_does_not_say_by_what(mos: MOS) -> None:
    for attempt in (
        lambda: at(mos, EVE).update("door", new_key="code"),
        lambda: at(mos, EVE).add("x", key="code"),
    ):
        with pytest.raises(AlreadyExists) as refused:
            attempt()
        assert "safe" not in str(refused.value)


def test_a_cursor_of_another_one_s_opens_nothing(mos: MOS, clock: Clock) -> None:
    alice, eve = at(mos, "alice"), at(mos, EVE)
    alice.add([f"window {n}" for n in range(4)])
    alice.add([f"secret window {n}" for n in range(4)], visibility="private")
    mine = {item.id for item in eve.list()}
    for page, more in (
        (alice.list(limit=2), lambda cursor: eve.list(limit=2, cursor=cursor)),
        (alice.search("window", top_k=2), lambda cursor: eve.search("window", top_k=2, cursor=cursor)),
    ):
        try:
            found = more(page.cursor)  # type: ignore[no-untyped-call]
        except InvalidCursor:
            continue
        assert {getattr(each, "id", "") for each in found} <= mine
    mos.share("house", with_="frank", until=clock.now + timedelta(hours=1))
    frank = mos.session("frank", read_from=["house"], write_to=[])
    page = frank.list(limit=1)
    clock.go(3600)
    with pytest.raises(CubeNotFound):
        frank.list(limit=1, cursor=page.cursor)


def test_an_answer_that_is_looked_at_later_asks_again(mos: MOS) -> None:
    added = at(mos, "bob").add("bob was here")
    mos.unshare("house", with_="bob")
    with pytest.raises(CubeNotFound):
        _ = added.items


@pytest.mark.parametrize(("rights", "sees"), [("read", False), ("write", False), ("share", False), ("admin", True)])
def test_private_items_are_for_whose_they_are_and_for_administrators(mos: MOS, rights: str, sees: bool) -> None:
    mos.share("house", with_="gina", rights=rights)
    gina = mos.session("gina", read_from=["house"], write_to=[])
    assert ("safe" in {item.id for item in gina.list()}) is sees
    if not sees:
        with pytest.raises(ItemNotFound):
            gina.get("safe")


def test_nobody_gives_for_longer_than_their_own_rights(mos: MOS, clock: Clock) -> None:
    """Else whoever may share for an hour gives it to themselves for good."""
    hour = clock.now + timedelta(hours=1)
    mos.share("house", with_="gina", rights="share", until=hour)
    mos.share("house", with_="hank", rights="admin", until=hour)
    for who, right in (("gina", "share"), ("hank", "admin")):
        cube = mos.cube("house", actor=who)
        for grantee in (who, "ida"):
            for until in (None, hour + timedelta(seconds=1)):
                with pytest.raises(AccessDenied, match="ends before that"):
                    cube.share(grantee, right, until=until)
        cube.share("ida", "read", until=hour)
        cube.unshare("ida")
    mos.cube("house", actor=EVE).share("ida", "read")  # by her role, which has no end
    clock.go(3600)
    for who in ("gina", "hank"):
        with pytest.raises(CubeNotFound):
            mos.cube("house", actor=who)


# -- policies of one's own --------------------------------------------------------------------------------------------------


class Nothing:
    """Gives nothing to anybody."""

    name = "nothing"

    def rights(self, actor: Actor, cube: CubeRow, grants: Sequence[Grant]) -> frozenset[Right]:
        return frozenset()


class OfficeHours:
    """Lets anybody of the office read and write by day."""

    name = "office hours"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def rights(self, actor: Actor, cube: CubeRow, grants: Sequence[Grant]) -> frozenset[Right]:
        open_ = 8 <= self.clock.now.hour < 18 and "office" in actor.roles
        return frozenset({Right.READ, Right.WRITE}) if open_ else frozenset()


def test_a_policy_that_gives_nothing_denies_everybody_but_the_holder() -> None:
    with MOS.open(":memory:", policies=[Nothing()]) as mos:
        mos.create_cube("vault", owner="alice")
        mos.share("vault", with_="*", rights="admin")
        for who in ("alice", "bob"):
            with pytest.raises(CubeNotFound):
                mos.session(who, read_from=["vault"], write_to=[])
        mos._audit.flush()
        denied = [(entry.actor, entry.detail["operations"][0]["by"]) for entry in mos.cube("vault").audit()[-2:]]
        assert sorted(denied) == [("alice", "may not even read"), ("bob", "may not even read")]


def test_a_policy_by_time_of_day_opens_and_closes_sessions_and_is_named_in_the_audit(clock: Clock) -> None:
    with MOS.open(":memory:", policies=[*DEFAULT_POLICIES, OfficeHours(clock)], now=clock) as mos:
        mos.create_cube("desk", owner="alice")
        clerk = Actor("carl", ("x", "office"))
        with pytest.raises(CubeNotFound):
            mos.session(clerk, read_from=["desk"], write_to=["desk"])
        clock.go(9 * 3600)
        carl = mos.session(clerk, read_from=["desk"], write_to=["desk"])
        carl.add("the stamps are in the drawer")
        page = carl.list(limit=1)
        assert len(page) == 1
        with pytest.raises(AccessDenied):
            mos.cube("desk", actor=clerk).share("dora")
        mos._audit.flush()
        told = [(entry.action, entry.detail) for entry in mos.cube("desk").audit() if entry.actor == "carl"]
        assert ("add", {"by": "office hours"}) in told
        assert [each["by"] for action, detail in told if action == "read" for each in detail["operations"]] == [
            "office hours"
        ]
        clock.go(10 * 3600)
        for attempt in (carl.list, lambda: carl.add("x"), lambda: carl.search("stamps")):
            with pytest.raises(CubeNotFound):
                attempt()  # type: ignore[operator]


def test_who_holds_the_store_sees_all_cubes_and_a_session_names_only_its_own(mos: MOS) -> None:
    mos.session("mallory").add("mine")
    assert {info.name for info in mos.cubes()} == {"house", "mallory"}
    mallory = mos.session("mallory")
    assert list(mallory.read_from) == list(mallory.write_to) == ["mallory"]
    assert list(mallory.stats()["cubes"]) == ["mallory"]
