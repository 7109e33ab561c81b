"""If these fail, something is found that should not be, is lost though it was only put away, or is changed though frozen."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memos_core import MOS, Document, LifecycleState, Link, Session
from memos_core.errors import AccessDenied, Conflict, InvalidConfig, InvalidInput, ItemNotFound, StateConflict
from memos_core.lifecycle.states import MOVES
from memos_core.types.cube_policy import CubePolicy
from tests.story.telling import Clock, texts

S = LifecycleState


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mos(clock: Clock) -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing", now=clock) as mos:
        yield mos


@pytest.fixture
def alice(mos: MOS) -> Session:
    return mos.session("alice")


MOVING: dict[LifecycleState, Callable[[Session, str], Any]] = {
    S.ACTIVATED: lambda session, id: session.activate(id),
    S.ARCHIVED: lambda session, id: session.archive(id),
    S.FROZEN: lambda session, id: session.freeze(id),
    S.MERGED: lambda session, id: session.merge([id, "other"], "both together"),
}


def brought_to(alice: Session, state: LifecycleState) -> str:
    """An item in a state, and another one to merge it with."""
    alice.add("a lamp stands in the hall", id="lamp", state="generated" if state is S.GENERATED else "activated")
    alice.add("the hall has a lamp", id="other")
    if state not in (S.GENERATED, S.ACTIVATED):
        MOVING[state](alice, "lamp")
    if state is S.MERGED:
        alice.activate("other")
    return "lamp"


# -- the table of moves ---------------------------------------------------------------------------------------------------

ALLOWED = {
    (S.GENERATED, S.ACTIVATED),
    (S.GENERATED, S.ARCHIVED),
    (S.GENERATED, S.MERGED),
    (S.ACTIVATED, S.ARCHIVED),
    (S.ACTIVATED, S.FROZEN),
    (S.ACTIVATED, S.MERGED),
    (S.ARCHIVED, S.ACTIVATED),
    (S.ARCHIVED, S.MERGED),
    (S.MERGED, S.ACTIVATED),
    (S.FROZEN, S.ACTIVATED),
}


def test_the_table_says_what_it_is_meant_to() -> None:
    assert {(move.source, move.target) for move in MOVES} == ALLOWED


@pytest.mark.parametrize(("source", "target"), list(itertools.product(S, MOVING)))
def test_every_move_is_made_or_refused_as_the_table_says(
    alice: Session, source: LifecycleState, target: LifecycleState
) -> None:
    id = brought_to(alice, source)
    before = alice.history(id)
    if (source, target) in ALLOWED:
        MOVING[target](alice, id)
        newest = alice.history(id)[-1]
        assert (newest.op, newest.item and newest.item.state, newest.actor) == ("move", target, "alice")
        assert newest.version == before[-1].version + 1
        assert newest.item is not None
        assert newest.item.text == "a lamp stands in the hall"
    elif source is target and target is not S.MERGED:
        MOVING[target](alice, id)
        assert alice.history(id) == before
    else:
        with pytest.raises(
            StateConflict, match=rf"is {source} and cannot become {target}; from there it may become: "
        ) as e:
            MOVING[target](alice, id)
        assert all(str(end) in str(e.value) for start, end in ALLOWED if start is source)
        assert alice.history(id) == before


@pytest.mark.parametrize("state", S)
def test_only_what_is_activated_or_frozen_is_found_unless_it_is_asked_for(
    alice: Session, state: LifecycleState
) -> None:
    id = brought_to(alice, state)
    shown = state in (S.ACTIVATED, S.FROZEN)
    assert (id in {hit.id for hit in alice.search("lamp hall")}) == shown
    assert (id in {item.id for item in alice.list()}) == shown
    assert (id in {item.id for item, _ in alice.view.read[0].nearest(_vector(alice, "lamp"), 10)}) == shown
    assert id in {hit.id for hit in alice.search("lamp hall", include=[str(state)])}
    assert id in {item.id for item in alice.list(include=[state])}
    assert alice.get(id).state is state
    assert ("lamp stands" in alice.context("lamp hall", min_score=0).text) == shown


def _vector(session: Session, text: str) -> Any:
    embedder = session.view.embedding.embedder
    assert embedder is not None
    return embedder.embed([text])[0] if not hasattr(embedder, "embed_query") else embedder.embed_query(text)


def test_what_is_added_is_activated_at_once_in_one_version(alice: Session) -> None:
    id = alice.add("a lamp").id
    assert [(each.op, each.item and each.item.state) for each in alice.history(id)] == [("add", S.ACTIVATED)]


def test_what_was_generated_waits_to_be_validated(alice: Session) -> None:
    id = alice.add("she probably likes jazz", state="generated").id
    assert not alice.search("jazz")
    alice.activate(id, reason="she said so")
    assert texts(alice.search("jazz")) == ["she probably likes jazz"]


def test_the_reason_of_a_move_is_in_the_audit(mos: MOS, alice: Session) -> None:
    id = alice.add("a lamp").id
    alice.archive(id, reason="sold")
    alice.activate(id, reason="bought back")
    alice.delete(id, reason="broken")
    said = [(entry.action, entry.detail.get("reason")) for entry in mos.cube("alice").audit()]
    assert said[1:] == [("archive", "sold"), ("activate", "bought back"), ("delete", "broken")]


def test_several_items_move_together_or_not_at_all(alice: Session) -> None:
    alice.add(["one lamp", "two lamps"])
    one, two = (item.id for item in alice.list(newest_first=False))
    alice.freeze(two)
    with pytest.raises(StateConflict, match="frozen and cannot become archived"):
        alice.archive([one, two])
    with pytest.raises(ItemNotFound):
        alice.archive([one, "nobody"])
    assert alice.get(one).state is S.ACTIVATED
    assert alice.search("one lamp")


@pytest.mark.parametrize("wrong", ["archived", "merged", "frozen", "", "new", None, 3])
def test_an_item_begins_generated_or_activated(alice: Session, wrong: Any) -> None:
    with pytest.raises(InvalidInput, match="begins as"):
        alice.add("a lamp", state=wrong)
    assert not alice.list()


@pytest.mark.parametrize("wrong", ["archived", ["archive"], 3, [3]])
def test_states_to_include_are_a_list_of_states(alice: Session, wrong: Any) -> None:
    alice.add("a lamp")
    for ask in (alice.search, lambda _, include: alice.list(include=include)):
        with pytest.raises(InvalidInput, match="states are: generated, activated, merged, archived, frozen"):
            ask("lamp", include=wrong)


# -- frozen ---------------------------------------------------------------------------------------------------------------

CHANGES: dict[str, Callable[[Session], Any]] = {
    "update": lambda session: session.update("lamp", text="no lamp"),
    "tags": lambda session: session.update("lamp", tags=["x"]),
    "delete": lambda session: session.delete("lamp"),
    "rollback": lambda session: session.rollback("lamp", 1),
    "archive": lambda session: session.archive("lamp"),
    "merge": lambda session: session.merge(["lamp", "other"], "lamps"),
    "expire": lambda session: session.update("lamp", expires_at=datetime(2030, 1, 1, tzinfo=UTC)),
    "hide": lambda session: session.update("lamp", visibility="private"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_nobody_changes_what_is_frozen_before_an_administrator_unfreezes_it(
    mos: MOS, alice: Session, change: str
) -> None:
    brought_to(alice, S.ACTIVATED)
    alice.update("lamp", tags=["y"])
    mos.share("alice", with_="bob", rights="write")
    bob = mos.session("bob", read_from=["alice"], write_to=["alice"])
    with pytest.raises(AccessDenied, match="no right to admin"):
        bob.freeze("lamp")
    alice.freeze("lamp")
    before = alice.history("lamp")
    for who in (alice, bob):
        with pytest.raises(StateConflict, match="is frozen"):
            CHANGES[change](who)
        assert alice.history("lamp") == before
    with pytest.raises(AccessDenied, match="no right to admin"):
        bob.unfreeze("lamp")
    alice.unfreeze("lamp")
    CHANGES[change](bob)
    assert len(alice.history("lamp")) == len(before) + 2


def test_a_document_does_not_write_over_a_frozen_piece(alice: Session) -> None:
    first = alice.add(
        Document(text="# A\n\nThe lamp is red.\n\n# B\n\nThe door is blue.", uri="notes.md", format="markdown")
    )
    alice.freeze(first.ids[0])
    for text in ("# A\n\nThe lamp is green.\n\n# B\n\nThe door is white.", "# B\n\nThe door is white."):
        with pytest.raises(StateConflict, match="frozen"):
            alice.add(Document(text=text, uri="notes.md", format="markdown"))
    assert sorted(texts(alice.list())) == sorted(item.text for item in first)
    alice.unfreeze(first.ids[0])
    alice.add(Document(text="# B\n\nThe door is white.", uri="notes.md", format="markdown"))
    assert [text for text in texts(alice.list()) if "lamp" in text] == []


def test_archived_pieces_of_a_document_that_have_gone_from_it_are_removed(alice: Session) -> None:
    first = alice.add(
        Document(text="# A\n\nThe lamp is red.\n\n# B\n\nThe door is blue.", uri="notes.md", format="markdown")
    )
    alice.archive(first.ids[0])
    added = alice.add(Document(text="# B\n\nThe door is blue.", uri="notes.md", format="markdown"))
    assert added.removed == [first.ids[0]]
    with pytest.raises(ItemNotFound):
        alice.get(first.ids[0])


# -- merged ---------------------------------------------------------------------------------------------------------------


def test_merging_keeps_all_provenance_and_leads_to_what_replaces(alice: Session) -> None:
    one = alice.add("the lamp is red", tags=["hall"], occurred_at=datetime(2025, 1, 1, tzinfo=UTC)).id
    two = alice.add("a red lamp", tags=["light"]).id
    alice.update(two, text="one red lamp")
    both = alice.merge([one, two], "There is one lamp, and it is red.", reason="the same")
    assert both.provenance.derived_from == ((one, 1), (two, 2))
    assert (both.tags, both.occurred_at) == (("hall", "light"), datetime(2025, 1, 1, tzinfo=UTC))
    for id in (one, two):
        assert alice.get(id).state is S.MERGED
        assert alice.get(id).links[-1] == Link("merged_into", both.id)
    assert texts(alice.search("red lamp")) == ["There is one lamp, and it is red."]
    three = alice.add("lamps are lights").id
    all_three = alice.merge([both.id, three], "Lamps.")
    assert all_three.provenance.derived_from == ((both.id, 1), (three, 1), (one, 1), (two, 2))
    alice.activate(one)
    assert alice.get(one).links == ()
    assert "the lamp is red" in texts(alice.search("red lamp"))


def test_what_cannot_be_merged_changes_nothing(mos: MOS, alice: Session) -> None:
    one, two = alice.add(["a red lamp", "a lamp"]).ids
    with pytest.raises(InvalidInput, match="at least two"):
        alice.merge([one, one], "x")
    with pytest.raises(ItemNotFound):
        alice.merge([one, "nobody"], "x")
    alice.freeze(two)
    with pytest.raises(StateConflict):
        alice.merge([one, two], "x")
    mos.create_cube("team", owner="alice")
    both = mos.session("alice", read_from=["alice", "team"], write_to=["alice", "team"])
    shared = both.add("everywhere").id
    with pytest.raises(Conflict, match="cube by cube"):
        both.merge([one, shared], "x")
    assert sorted(texts(alice.list())) == ["a lamp", "a red lamp", "everywhere"]


# -- an end ---------------------------------------------------------------------------------------------------------------


def test_what_has_expired_is_not_found_from_that_second_on(mos: MOS, alice: Session, clock: Clock) -> None:
    end = clock.now + timedelta(seconds=10)
    alice.add("the voucher code is LAMP20", id="voucher", key="code", expires_at=end)
    alice.add("the lamp shop is in Rua Augusta", id="shop")
    mark = alice.stats()["cubes"]["alice"]["changes"]

    def seen() -> set[bool]:
        return {
            "voucher" in {hit.id for hit in alice.search("voucher lamp")},
            "voucher" in {item.id for item in alice.list()},
            "voucher" in {item.id for item, _ in mos.cube("alice").nearest(_vector(alice, "voucher"), 5)},
            _there(alice, "voucher"),
            "LAMP20" in alice.context("voucher lamp", min_score=0).text,
        }

    clock.go(9.999999)
    assert seen() == {True}
    clock.go(0.000001)
    assert seen() == {False}
    with pytest.raises(ItemNotFound):
        alice.get(key="code")
    assert len(alice.history("voucher")) == 1
    assert "voucher" in {hit.id for hit in alice.search("voucher", as_of=mark)}
    assert "voucher" in {hit.id for hit in alice.search("voucher", as_of=end - timedelta(seconds=1))}
    assert "voucher" not in {hit.id for hit in alice.search("voucher", as_of=end)}
    with pytest.raises(ItemNotFound):
        alice.update("voucher", text="x")
    alice.update("voucher", expires_at=None)
    assert seen() == {True}
    assert alice.get("voucher").expires_at is None


def _there(session: Session, id: str) -> bool:
    try:
        return session.get(id).id == id
    except ItemNotFound:
        return False


def test_a_later_page_shows_the_moment_of_the_first(alice: Session, clock: Clock) -> None:
    for number in range(6):
        alice.add(f"lamp {number}", expires_at=clock.now + timedelta(seconds=10 + number))
    clock.go(5)
    page = alice.search("lamp", top_k=2)
    listed = alice.list(limit=2)
    clock.go(100)
    found, shown = texts(page), texts(listed)
    while page.cursor:
        page = alice.search("lamp", top_k=2, cursor=page.cursor)
        found += texts(page)
    while listed.cursor:
        listed = alice.list(limit=2, cursor=listed.cursor)
        shown += texts(listed)
    assert sorted(found) == sorted(shown) == [f"lamp {number}" for number in range(6)]
    assert not alice.search("lamp")


def test_scores_are_those_of_what_is_left(clock: Clock) -> None:
    """Words of what has expired weigh nothing any more: the same answer as where it never was."""
    with (
        MOS.open(":memory:", embedder="hashing", now=clock) as one,
        MOS.open(":memory:", embedder="hashing", now=clock) as two,
    ):
        kept = ["the lamp is red", "a door is blue", "lamps and doors"]
        for mos in (one, two):
            mos.session("a").add(kept)
        one.session("a").add(
            ["lamp lamp lamp", "red red"], state="activated", expires_at=clock.now + timedelta(seconds=1)
        )
        clock.go(2)
        found = [
            [(hit.text, hit.score) for hit in mos.session("a").search("red lamp", without=["salience"])]
            for mos in (one, two)
        ]
        assert [text for text, _ in found[0]] == [text for text, _ in found[1]]


def test_filters_know_ends_and_owners(alice: Session, clock: Clock) -> None:
    alice.add("lamp", id="mortal", expires_at=clock.now + timedelta(days=1))
    alice.add("lamp", id="hidden", visibility="private")
    from memos_core import F

    assert [item.id for item in alice.list(where=F.expires_at < clock.now + timedelta(days=2))] == ["mortal"]
    assert [item.id for item in alice.list(where=F.expires_at.is_empty())] == ["hidden"]
    assert [item.id for item in alice.list(where=F.visibility == "private")] == ["hidden"]


def test_it_all_holds_after_reopening_from_segments(tmp_path: Path, clock: Clock) -> None:
    with MOS.open(tmp_path, embedder="hashing", now=clock) as mos:
        alice = mos.session("alice")
        alice.add([f"lamp {number}" for number in range(1200)])
        alice.add("mortal lamp", id="mortal", expires_at=clock.now + timedelta(seconds=60))
        alice.add("archived lamp", id="archived")
        alice.archive("archived")
        alice.add("private lamp", id="private", visibility="private")
        mos.share("alice", with_="bob")
        before = [(hit.id, hit.score) for hit in alice.search("mortal archived private lamp", top_k=20)]
    with MOS.open(tmp_path, now=clock) as mos:
        alice, bob = mos.session("alice"), mos.session("bob", read_from=["alice"])
        assert [(hit.id, hit.score) for hit in alice.search("mortal archived private lamp", top_k=20)] == before
        assert mos.cube("alice").stats()["index"]["segments"] > 0
        clock.go(60)
        for who, seen in ((alice, {"private"}), (bob, set())):
            assert {hit.id for hit in who.search("mortal archived private lamp", top_k=3)} & {
                "mortal",
                "archived",
                "private",
            } == seen


# -- retention ------------------------------------------------------------------------------------------------------------


def filled(alice: Session, clock: Clock) -> None:
    for number in range(10):
        alice.add(f"lamp {number}", id=f"l{number}", tags=["pinned"] if number == 0 else [])
        clock.go(86_400)
    alice.freeze("l1")


def ids(session: Session, **options: Any) -> list[str]:
    return [item.id for item in session.list(newest_first=False, **options)]


@pytest.mark.parametrize("when_over", ["archive", "delete"])
def test_what_is_too_old_or_too_many_is_put_away(mos: MOS, alice: Session, clock: Clock, when_over: Any) -> None:
    filled(alice, clock)
    alice.add("voucher", id="voucher", expires_at=clock.now + timedelta(seconds=1))
    clock.go(2)
    cube = mos.cube("alice")
    cube.set_policy(CubePolicy(max_age_days=6, max_items=6, when_over=when_over))
    due = {"expired": ["voucher"], "max_age": ["l2", "l3", "l4"], "max_items": ["l5"]}
    assert cube.retain(preview=True) == due
    assert ids(alice) == [f"l{number}" for number in range(10)]
    assert cube.retain() == due
    assert ids(alice) == ["l0", "l1", "l6", "l7", "l8", "l9"]
    assert cube.retain() == {}
    assert ids(alice, include=["archived"]) == (
        [f"l{number}" for number in range(10)] if when_over == "archive" else ids(alice)
    )
    entries = [(entry.action, entry.detail["reason"]) for entry in cube.audit() if entry.action == "retain"]
    assert entries == [("retain", "expired"), ("retain", "max_age"), ("retain", "max_items")]
    if when_over == "delete":
        assert alice.restore("l5").text == "lamp 5"
    else:
        assert alice.activate("l5")[0].text == "lamp 5"


def test_without_a_policy_only_what_has_expired_is_put_away(mos: MOS, alice: Session, clock: Clock) -> None:
    filled(alice, clock)
    assert mos.cube("alice").policy == CubePolicy()
    assert mos.cube("alice").retain() == {}
    assert len(ids(alice)) == 10


def test_only_administrators_set_policies_and_put_away(mos: MOS, alice: Session) -> None:
    alice.add("a lamp")
    mos.share("alice", with_="bob", rights="write")
    bob = mos.cube("alice", actor="bob")
    assert bob.policy == CubePolicy()
    with pytest.raises(AccessDenied):
        bob.set_policy(CubePolicy(max_items=1))
    with pytest.raises(AccessDenied):
        bob.retain(preview=True)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"max_age_days": 0}, {"max_age_days": -1}, {"max_items": 0}, {"when_over": "burn"}, {"max_age_days": "x"}),
        *({"names": ("Otto",)}, {"names": ("Otto",), "mask": ("email",)}, {"unmasked_roles": ("auditor",)}),
    ],
)
def test_a_policy_without_a_meaning_is_refused(mos: MOS, alice: Session, wrong: dict[str, Any]) -> None:
    alice.add("a lamp")
    with pytest.raises((InvalidConfig, TypeError)):
        mos.cube("alice").set_policy(CubePolicy(**wrong))
    assert mos.cube("alice").policy == CubePolicy()


def test_a_policy_is_kept_with_the_cube(tmp_path: Path) -> None:
    wanted = CubePolicy(max_items=3, strict_reads=True, redact=("email", "name"), names=("Otto",))
    with MOS.open(tmp_path) as mos:
        mos.session("alice").add("a lamp")
        mos.cube("alice").set_policy(wanted, reason="law")
    with MOS.open(tmp_path) as mos:
        assert mos.cube("alice").policy == wanted
        assert mos.cube("alice").audit()[-1].detail["reason"] == "law"
