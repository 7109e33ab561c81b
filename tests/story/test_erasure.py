"""If these fail, somebody erases what they may not, what a court has put on hold is gone, what was to go stays, or nobody can
tell afterwards that it went, and why."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memos_core import MOS, Draft, F, Link, Message, Right
from memos_core.errors import (
    AccessDenied,
    AlreadyExists,
    Conflict,
    CubeNotFound,
    InvalidInput,
    ItemNotFound,
    OnHold,
)

SECRET = "the treasure is buried under the old oak"


@pytest.fixture
def mos(tmp_path: Path) -> Any:
    with MOS.open(tmp_path / "memory", embedder="hashing") as opened:
        yield opened


def wrong_in(mos: MOS) -> list[str]:
    """What verifying finds, in every way there is."""
    found = [each.what for each in (*mos.verify(), *mos.verify_erased())]
    for info in mos.cubes():
        found += mos.store.check_audit(mos.cube(info.name).require(Right.READ)).wrong
    return found


def test_what_is_erased_is_absent_everywhere_and_a_tombstone_says_when_by_whom_and_why(mos: MOS) -> None:
    alice = mos.session("alice")
    id = alice.add(SECRET, key="treasure").id
    stays = alice.add("the oak is two hundred years old").id
    before = mos.cube("alice").catch_up()
    done = alice.erase(id, reason="asked for by letter")
    assert done.complete
    assert (done.items, done.versions) == (1, 1)
    for absent in (
        lambda: alice.get(id),
        lambda: alice.get(key="treasure"),
        lambda: alice.get(id, as_of=before),
        lambda: alice.history(id),
        lambda: alice.restore(id),
        lambda: alice.rollback(id, 1),
        lambda: alice.update(id, text="again"),
        lambda: alice.delete(id),
        lambda: alice.erase(id, reason="again"),
    ):
        with pytest.raises(ItemNotFound):
            absent()
    assert [hit.id for hit in alice.search("treasure under the oak", top_k=5)] == [stays]
    assert [hit.id for hit in alice.search("treasure under the oak", top_k=5, as_of=before)] == [stays]
    assert alice.add("a new treasure", key="treasure").new  # the name is free
    entry = next(entry for entry in mos.cube("alice").audit() if entry.action == "erase")
    assert (entry.actor, entry.detail) == ("alice", {"by": "owner", "reason": "asked for by letter", "items": 1})
    assert wrong_in(mos) == []


def test_the_same_message_that_comes_in_again_is_new(mos: MOS) -> None:
    alice = mos.session("alice", conversation="chat")
    said = Message(content=SECRET, id="m1", speaker="Bob")
    id = alice.add(said).id
    alice.erase(id, reason="asked for")
    again = alice.add(said)
    assert again.new == again.ids != [id]


def test_erasing_needs_the_right_to_administrate_and_tells_strangers_nothing(mos: MOS) -> None:
    alice = mos.session("alice")
    id = alice.add(SECRET).id
    private = alice.add("only for me: the key is in the tree", visibility="private").id
    mos.share("alice", with_="guest", rights="read,write")
    guest = mos.session("guest", write_to=["alice"])
    for wanted in (id, private, "no such id"):
        for ask in (lambda: guest.erase(wanted, reason="x"), lambda: guest.preview_erase(wanted)):  # noqa: B023
            with pytest.raises(AccessDenied) as refused:
                ask()
            assert wanted not in str(refused.value)
    for ask in (
        lambda: mos.erase([id], cubes=["alice"], actor="stranger", reason="x"),
        lambda: mos.erase(subject="alice", cubes=["alice"], actor="stranger", reason="x"),
        lambda: mos.preview_erase(where={"speaker": "Carol"}, cubes=["alice"], actor="stranger"),
        lambda: mos.cube("alice", actor="stranger").hold(reason="x"),
    ):
        with pytest.raises(CubeNotFound):
            ask()
    with pytest.raises(ItemNotFound):
        mos.erase([id], actor="stranger", reason="x")  # among all cubes that it administrates: none
    with pytest.raises(AccessDenied):
        mos.cube("alice", actor="guest").hold(reason="x")
    with pytest.raises(AccessDenied):
        mos.cube("alice", actor="guest").holds()
    assert alice.get(id).text == SECRET
    mos.share("alice", with_="guest", rights="admin")
    assert guest.erase(id, reason="she asked me to").complete


@pytest.mark.parametrize("reason", ["", "  ", None])
def test_a_reason_must_be_given(mos: MOS, reason: Any) -> None:
    alice = mos.session("alice")
    id = alice.add(SECRET).id
    with pytest.raises(InvalidInput):
        alice.erase(id, reason=reason)
    with pytest.raises(InvalidInput):
        mos.erase([id], subject="alice", reason="two things at once")
    assert alice.get(id).text == SECRET


def test_a_preview_changes_nothing_and_its_token_erases_just_that(mos: MOS) -> None:
    alice = mos.session("alice")
    id = alice.add(SECRET).id
    alice.add("I was told where the treasure is", links=[Link("about", id)])
    seen = alice.preview_erase(id)
    assert (seen.items, seen.versions, seen.vectors, seen.naming) == ((("alice", id),), 1, 1, 1)
    assert alice.get(id).text == SECRET
    assert alice.preview_erase(id) == seen
    alice.update(id, tags=["more"])
    with pytest.raises(Conflict):
        alice.erase(id, reason="asked for", confirm=seen.token)
    assert alice.get(id).text == SECRET
    done = alice.erase(id, reason="asked for", confirm=alice.preview_erase(id).token)
    assert done.complete
    assert done.versions == 2


def test_what_was_derived_goes_where_that_is_asked_for_and_is_counted_where_not(mos: MOS) -> None:
    alice = mos.session("alice")
    one, two = alice.add(SECRET).id, alice.add("the oak stands by the river").id
    merged = alice.merge([one, two], "the treasure is under the oak by the river")
    again = alice.add(Draft(text="look by the river", derived_from=((merged.id, 1),))).id
    seen = alice.preview_erase(one)
    assert seen.derived == 1
    assert len(seen.items) == 1
    assert {id for _, id in alice.preview_erase(one, derived=True).items} == {one, merged.id, again}
    alice.erase(one, reason="asked for", derived=True)
    assert [item.id for item in alice.list(include=["merged"])] == [two]
    assert wrong_in(mos) == []


def test_copies_in_other_cubes_are_counted_and_go_where_that_is_asked_for(mos: MOS) -> None:
    mos.create_cube("alice/notes", owner="alice")
    alice = mos.session("alice", write_to=["alice", "alice/notes"])
    mine = mos.session("alice")
    id = mine.add(SECRET).id
    other = mos.session("alice", write_to=["alice/notes"]).add(SECRET).id
    hers = mos.session("bob").add(SECRET).id
    assert mine.preview_erase(id).copies == 1  # what bob has nobody tells her, not even as a number
    assert mos.preview_erase([id], cubes=["alice"]).copies == 2
    done = mine.erase(id, reason="asked for", copies=True)
    assert done.complete
    assert done.items == 2
    with pytest.raises(ItemNotFound):
        alice.get(other)
    assert mos.session("bob").get(hers).text == SECRET
    assert wrong_in(mos) == []


def test_by_filter_in_whatever_state(mos: MOS) -> None:
    alice = mos.session("alice")
    kept = alice.add("a case of wine", metadata={"case": "wine"}).id
    soon = datetime.now(UTC) + timedelta(microseconds=1)
    ends = (None, None, None, soon)
    gone = [alice.add(f"{SECRET} {n}", metadata={"case": "A-17"}, expires_at=end).ids[0] for n, end in enumerate(ends)]
    alice.archive(gone[0])
    alice.freeze(gone[1])
    alice.update(gone[2], indexed=False)
    done = mos.erase(where=F.metadata.case == "A-17", reason="the case is closed")
    assert done.complete
    assert done.items == 4
    assert [item.id for item in alice.list(include=["archived"])] == [kept]


def test_a_subject_is_forgotten_with_all_that_it_wrote_said_and_is_called(mos: MOS) -> None:
    alice, bob = mos.session("alice"), mos.session("bob")
    stays = alice.add("alice knows nothing of anybody").id
    own = bob.add("bob's own words in his own cube").id
    mos.session("bob", write_to=["bob/diary"]).add("dear diary, it rained all day")
    mos.share("alice", with_="bob", rights="read,write")
    in_hers = mos.session("bob", write_to=["alice"])
    written = in_hers.add("bob was here in the cube of alice").id
    changed = alice.add("alice wrote this, and bob changes it").id
    in_hers.update(changed, text="bob has changed what alice wrote")
    heard = alice.add(Message(content="I shall be late, says bob", speaker="bob")).id
    found = {id for _, id in mos.preview_erase(subject="bob").items}
    assert {own, written, changed, heard} < found
    assert stays not in found
    done = mos.erase(subject="bob", reason="article 17")
    assert done.complete
    assert [item.id for item in alice.list()] == [stays]
    assert mos.cube("alice").grants() == []
    names = {info.name for info in mos.cubes()} | {info.owner for info in mos.cubes()}
    assert not [name for name in names if "bob" in name]
    told = [(entry.actor, entry.detail) for info in mos.cubes() for entry in mos.cube(info.name).audit()]
    assert "bob" not in json.dumps(told)
    assert wrong_in(mos) == []
    assert mos.session("bob").add("bob is back, and nobody knows him").new


def test_bytes_that_a_fork_shares_go_from_both(mos: MOS) -> None:
    alice = mos.session("alice")
    id = alice.add(SECRET).id
    mos.fork("alice", "alice/what-if")
    fork = mos.session("alice", write_to=["alice/what-if"], read_from=["alice/what-if"])
    fork.update(id, text="the treasure is under the young oak")
    mos.fork("alice/what-if", "alice/later")
    seen = fork.preview_erase(id)
    assert seen.shared_with == ("alice", "alice/later")
    assert seen.versions == 2
    assert fork.erase(id, reason="asked for").complete
    for name in ("alice", "alice/what-if", "alice/later"):
        with pytest.raises(ItemNotFound):
            mos.session("alice", read_from=[name]).get(id)
    mos.fork("alice", "alice/before", as_of=1)  # a moment at which it was there
    with pytest.raises(ItemNotFound):
        mos.session("alice", read_from=["alice/before"]).get(id)
    assert wrong_in(mos) == []


def test_whoever_lost_the_right_to_what_was_forked_erases_nothing_of_it(mos: MOS) -> None:
    id = mos.session("alice").add(SECRET).id
    mos.share("alice", with_="bob", rights="admin")
    mos.cube("alice", actor="bob").fork("bob/what-if")
    mos.unshare("alice", with_="bob")
    bob = mos.session("bob", write_to=["bob/what-if"])
    own = bob.add("this is bob's own").id
    with pytest.raises(AccessDenied):
        bob.erase(id, reason="x")
    assert bob.erase(own, reason="x").complete
    seen = mos.session("alice").preview_erase(id)
    assert seen.cubes == ("alice",)
    assert seen.shared_with == ()
    assert mos.session("alice").erase(id, reason="x").complete
    with pytest.raises(ItemNotFound):
        mos.session("bob", read_from=["bob/what-if"]).get(id)
    assert wrong_in(mos) == []


@pytest.mark.parametrize("target", ["*", "item:{id}", "subject:alice", "subject:Carol"])
def test_what_is_on_hold_is_neither_deleted_nor_erased(mos: MOS, target: str) -> None:
    alice = mos.session("alice")
    id = alice.add(Message(content=SECRET, speaker="Carol")).id
    free = mos.session("bob").add("nobody holds this").id
    cube = mos.cube("alice", actor="alice")
    cube.hold(target.format(id=id), reason="case 7")
    assert [(hold.reason, hold.by) for hold in cube.holds()] == [("case 7", "alice")]
    assert alice.preview_erase(id).holds
    for ask in (
        lambda: alice.erase(id, reason="asked for"),
        lambda: alice.delete(id),
        lambda: mos.erase(subject="alice", reason="asked for"),
        lambda: mos.erase(where={"speaker": "Carol"}, reason="asked for"),
    ):
        with pytest.raises(OnHold, match="case 7"):
            ask()
    assert alice.get(id).text == SECRET
    assert mos.session("bob").erase(free, reason="asked for").complete
    assert cube.release(target.format(id=id), reason="it is closed")
    assert not cube.release(target.format(id=id), reason="it is closed")
    assert alice.delete(id) == 1
    assert alice.erase(id, reason="asked for").complete
    actions = [entry.action for entry in cube.audit() if entry.action not in ("read", "denied")]
    assert actions[-4:] == ["hold", "release", "delete", "erase"]


def test_a_hold_on_something_else_is_no_hindrance(mos: MOS) -> None:
    alice = mos.session("alice")
    id, other = alice.add(SECRET).id, alice.add("another one").id
    mos.cube("alice").hold(f"item:{other}", reason="case 7")
    mos.cube("alice").hold("subject:dave", reason="case 8")
    assert alice.erase(id, reason="asked for").complete
    with pytest.raises(InvalidInput):
        mos.cube("alice").hold("everything", reason="x")
    with pytest.raises(InvalidInput):
        mos.cube("alice").hold(reason=" ")


def test_holds_are_in_backups(mos: MOS, tmp_path: Path) -> None:
    id = mos.session("alice").add(SECRET).id
    mos.cube("alice").hold(reason="case 7")
    mos.backup(tmp_path / "safe")
    MOS.restore(tmp_path / "safe", tmp_path / "again")
    with MOS.open(tmp_path / "again") as again, pytest.raises(OnHold):
        again.session("alice").erase(id, reason="asked for")


def test_bytes_that_are_gone_without_an_erasure_are_found(mos: MOS) -> None:
    from sqlalchemy import text

    alice = mos.session("alice")
    first, second = alice.add(SECRET).id, alice.add("another one").id
    alice.update(first, tags=["a"])
    alice.erase(second, reason="asked for")
    database: Any = mos.store
    with database.database.writing() as connection:
        connection.execute(text("UPDATE versions SET text = NULL, body = NULL, salt = NULL WHERE version = 1"))
    assert any("no erasure says so" in each.what for each in mos.verify())
    with database.database.writing() as connection:
        connection.execute(text("UPDATE versions SET text = NULL, body = NULL, salt = NULL"))
    assert any("no erasure says so" in each.what for each in mos.verify())


def test_bytes_that_were_put_back_are_found(mos: MOS) -> None:
    from sqlalchemy import text

    alice = mos.session("alice")
    id = alice.add(SECRET).id
    alice.erase(id, reason="asked for")
    assert mos.verify_erased(id) == []
    database: Any = mos.store
    with database.database.writing() as connection:
        connection.execute(text("UPDATE versions SET text = :said WHERE version = 1"), {"said": SECRET})
    assert any("still holds" in each.what for each in mos.verify_erased())
    assert any(each.part == "truth" for each in mos.verify_erased(texts=[SECRET]))
    assert any("was not erased" in each.what for each in mos.verify_erased(alice.add("another").id))


def test_a_rollback_of_the_cube_brings_nothing_back_and_takes_nothing_else(mos: MOS) -> None:
    alice = mos.session("alice")
    id = alice.add(SECRET, id="patient 4711").id
    naming = alice.add("it is said of the patient", links=[Link("about", id)]).id
    alice.erase(id, reason="asked for")
    mos.rollback_cube("alice", 2)
    assert [item.id for item in alice.list()] == [naming]
    assert wrong_in(mos) == []


def test_everything_held_on_somebody_is_exported_and_nothing_else(mos: MOS, tmp_path: Path) -> None:
    alice, bob = mos.session("alice"), mos.session("bob")
    bob.add("bob's own words", metadata={"where": "at home"})
    alice.add(SECRET)
    mos.share("alice", with_="bob", rights="read,write")
    id = mos.session("bob", write_to=["alice"]).add("bob was here").id
    mos.session("bob", write_to=["alice"]).update(id, text="bob was here twice")
    mos.session("bob", write_to=["alice"]).delete(id)
    made = mos.export_subject("bob", tmp_path / "bob")
    assert (made.items, made.versions, made.grants, made.cubes) == (2, 4, 1, 1)
    told = json.loads((tmp_path / "bob" / "subject.json").read_text())
    (hers,) = [cube for cube in told["cubes"] if cube["cube"] == "alice"]
    said = [version["item"] and version["item"]["text"] for version in hers["items"][0]["versions"]]
    assert said == ["bob was here", "bob was here twice", None]
    assert [entry["action"] for entry in hers["audit"]] == ["share", "add", "update", "delete"]
    text = (tmp_path / "bob" / "subject.md").read_text()
    assert "bob was here twice" in text
    assert SECRET not in text
    assert SECRET not in json.dumps(told)
    for path, mode in ((tmp_path / "bob", 0o700), (tmp_path / "bob" / "subject.json", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    with pytest.raises(AlreadyExists):
        mos.export_subject("bob", tmp_path / "bob")
    with pytest.raises(ItemNotFound):
        mos.export_subject("carol", tmp_path / "carol")
    mine = mos.export_subject("bob", tmp_path / "hers", actor="alice")  # she administrates her own cube alone
    assert mine.items == 1
    assert not (tmp_path / "carol").exists()


def test_what_somebody_has_in_mind_and_has_used_is_exported_too(mos: MOS, tmp_path: Path) -> None:
    alice, bob = mos.session("alice"), mos.session("bob", conversation="thread")
    rex = alice.add("Rex is a dog that barks.").id
    own = bob.add("My dog is called Bello.").id
    mos.share("alice", with_="bob", rights="read")
    reads = mos.session("bob", conversation="thread", read_from=["alice", "bob"])
    reads.context("the dog")
    mos.session("alice", conversation="hers").context("the dog")
    mos.scheduler.run_pending()
    in_mind = {each.id for each in reads.working()}
    assert in_mind == {rex, own}
    made = mos.export_subject("bob", tmp_path / "bob")
    told = json.loads((tmp_path / "bob" / "subject.json").read_text())
    threads = {tuple(memory["cubes"]): memory for memory in told["working"]}
    assert {memory["conversation"] for memory in told["working"]} == {"thread"}, "nobody else's"
    kept = {(each["cube"], each["id"]): each for each in threads["alice", "bob"]["items"]}
    assert set(kept) == {("alice", rex), ("bob", own)}
    assert kept["alice", rex]["used"]["total"] > 0
    assert made.in_mind == sum(len(memory["items"]) for memory in told["working"])
    assert "Rex" not in json.dumps(told), "ids and numbers: the words are hers"
    (item,) = next(cube for cube in told["cubes"] if cube["cube"] == "bob")["items"]
    assert item["used"]["total"] > 0
    text = (tmp_path / "bob" / "subject.md").read_text()
    assert "## In mind in the conversation thread" in text
    assert rex in text
    hers = mos.export_subject("bob", tmp_path / "hers", actor="alice")  # of her own cube alone
    assert hers.in_mind == 1
    mos.erase(subject="bob", reason="he asked for it")
    with pytest.raises(ItemNotFound):
        mos.export_subject("bob", tmp_path / "after", actor="alice")


def test_vectors_of_all_sizes_are_searched_as_before(tmp_path: Path) -> None:
    made = np.random.default_rng(3).standard_normal((40, 16)).astype(np.float32)
    with MOS.open(tmp_path / "memory", embedder="given:16") as mos:
        alice = mos.session("alice")
        ids = alice.add([f"fact {n}" for n in range(40)], vectors=made).ids
        alice.erase(ids[::2], reason="asked for")
        nearest = [item.id for item, _ in mos.cube("alice").nearest(made[7], 40)]
        cosines = made @ made[7] / np.linalg.norm(made, axis=1)
        assert nearest == [ids[n] for n in np.argsort(-cosines) if n % 2]
