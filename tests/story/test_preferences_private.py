"""If this fails, what a user likes is shown to the wrong people, kept after it was erased, or found anew in a copy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from liking import Ruled, assistant, by_rules, found_by, only, result, saying, shown, told, user
from telling import texts

from memos_core import MOS, LifecycleState, Session
from memos_core.scheduler.clock import ManualClock
from memos_core.types.cube_policy import CubePolicy


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def model() -> Ruled:
    return Ruled()


@pytest.fixture
def mos(clock: ManualClock, model: Ruled) -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing", now=clock, model=model, preferences=True) as opened:
        yield opened


@pytest.fixture
def alice(mos: MOS) -> Session:
    return mos.session("alice", conversation="chat")


# -- what happens to the messages meanwhile, and later -----------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["delete", "archive", "erase", "update", "hide"])
def test_nothing_is_made_of_what_has_gone_meanwhile(mos: MOS, alice: Session, model: Ruled, fate: str) -> None:
    added = alice.add([user("I love tea."), user("I hate rain.")])

    def meanwhile(prompt: str) -> str:
        changes = {"reason": "x"} if fate == "erase" else {"text": "Nothing."} if fate == "update" else {}
        if fate == "hide":
            alice.update(added.ids[0], visibility="private")
        else:
            getattr(alice, fate)(added.ids[0], **changes)
        return by_rules(prompt)

    model.answers = meanwhile
    done = result(mos)
    assert done["dropped"] == {"source gone": 1}
    assert told(alice) == [("alice dislikes rain.", "activated")]
    assert "tea" not in json.dumps([job.result for job in found_by(mos)])


def test_preferences_are_erased_with_what_they_were_made_from(tmp_path: Path, model: Ruled) -> None:
    with MOS.open(tmp_path, embedder="hashing", model=model, preferences=True) as mos:
        talk = "Alice talks about her teapots"
        alice = mos.session("alice", conversation=talk)
        added = alice.add([user("I love extraordinary teapots."), user("I hate rain.")])
        mos.scheduler.run_pending()
        assert len(alice.preview_erase(added.ids[0]).items) == 2
        done = alice.erase(added.ids[0], reason="asked to")
        assert (done.complete, done.remains) == (True, ())
        assert told(alice) == [("alice dislikes rain.", "activated")]
        assert mos.verify_erased(texts=["extraordinary teapots"]) == []
        alice.erase(added.ids[1], reason="asked to")
        assert alice.preferences(include=list(LifecycleState)) == []
        assert mos.verify_erased(texts=[talk, "preference:alice:rain"]) == []
        assert mos.verify() == []


def test_preferences_are_erased_with_the_question_that_they_answer(mos: MOS, alice: Session, model: Ruled) -> None:
    added = alice.add([assistant("Cocktails with Bob Miller?"), user("Oh yes, I love that.")])
    model.answers = saying(
        messages=[1, 2], topic="cocktails", statement="Loves cocktails with Bob Miller.", quote="I love that"
    )
    mos.scheduler.run_pending()
    assert {id for id, _ in only(alice).provenance.derived_from} == set(added.ids)
    alice.erase(added.ids[0], reason="Bob asked for it")
    assert told(alice, *LifecycleState) == []


def test_nothing_is_made_of_a_question_that_has_gone_meanwhile(mos: MOS, alice: Session, model: Ruled) -> None:
    added = alice.add([assistant("Cocktails with Bob Miller?"), user("Oh yes, I love that.")])

    def meanwhile(_: str) -> str:
        alice.erase(added.ids[0], reason="Bob asked for it")
        return saying(messages=[1, 2], statement="Loves cocktails with Bob Miller.", quote="I love that")("")

    model.answers = meanwhile
    assert result(mos)["dropped"] == {"source gone": 1}


def test_who_is_erased_takes_their_preferences_along(mos: MOS) -> None:
    mos.create_cube("team", owner="carol")
    mos.share("team", with_="bob", rights="write")
    bob = mos.session("bob", conversation="x", write_to=["team"], read_from=["team"])
    bob.add(user("I love tea."))
    carol = mos.session("carol", write_to=["team"], read_from=["team"])
    carol.add(user("I hate tea."))
    mos.scheduler.run_pending()
    assert sorted(told(carol)) == [("bob likes tea.", "activated"), ("carol dislikes tea.", "activated")]
    mos.erase(subject="bob", reason="asked to")
    assert told(carol) == [("carol dislikes tea.", "activated")]


def test_what_ends_takes_its_preferences_along(mos: MOS, alice: Session, clock: ManualClock) -> None:
    alice.add(user("I love tea."), expires_at=clock() + timedelta(days=1))
    mos.scheduler.run_pending()
    assert len(alice.preferences()) == 1
    clock.go(2 * 86_400)
    assert alice.preferences() == []


# -- who may see it ---------------------------------------------------------------------------------------------------------


def test_what_is_made_of_private_messages_is_private(mos: MOS, model: Ruled) -> None:
    mos.create_cube("team", owner="carol")
    for name in ("bob", "dave"):
        mos.share("team", with_=name, rights="write")
    sessions = {
        name: mos.session(name, conversation="x", write_to=["team"], read_from=["team"])
        for name in ("bob", "dave", "carol")
    }
    sessions["bob"].add(user("I love gin."), visibility="private")
    sessions["bob"].add(user("I love tea."))
    sessions["dave"].add(user("I love rum."), visibility="private")
    mos.scheduler.run_pending()
    assert sorted(told(sessions["dave"])) == [("bob likes tea.", "activated"), ("dave likes rum.", "activated")]
    assert sorted(told(sessions["bob"])) == [("bob likes gin.", "activated"), ("bob likes tea.", "activated")]
    private = next(item for item in sessions["bob"].preferences() if "gin" in item.text)
    assert private.private_to == "bob"
    for prompt in model.asked:
        readers = {word for word in ("gin", "rum") if word in prompt}
        assert len(readers) <= 1, "what is private to two people never shares a prompt"
        if not readers:
            assert [m["text"] for m in shown(prompt)["messages"]] == ["I love tea."]
    sessions["bob"].add(user("I hate gin."))
    mos.scheduler.run_pending()
    assert "gin" not in str(shown(model.asked[-1])["known"]), "nor is a private topic told where others may read"
    assert ("bob dislikes gin.", "activated") in told(sessions["dave"])
    assert sorted(told(sessions["bob"]))[0] == ("bob dislikes gin.", "activated")
    assert len(told(sessions["bob"])) == 3, "one is private, one is not"


def test_what_a_cube_takes_out_is_not_brought_back_by_a_model(mos: MOS, alice: Session, model: Ruled) -> None:
    alice.add("There is a cube.")
    mos.cube("alice", actor="alice").set_policy(CubePolicy(redact=("email",)))
    model.answers = saying(
        topic="mail to a@b.example",
        statement="Wants mail at a@b.example.",
        polarity="wants",
        messages=[1],
        quote="I want mail",
    )
    alice.add(user("I want mail at me."))
    mos.scheduler.run_pending()
    item = only(alice)
    assert "a@b.example" not in json.dumps(item.to_dict())
    assert item.key == "preference:alice:mail to email"
    assert item.redacted["email"] >= 1
    assert item.metadata["topic"] == "mail to [email]"
    model.answers = saying(topic="card 4111/1111/1111/1111", statement="Wants a card.", quote="I want mail")
    mos.cube("alice", actor="alice").set_policy(CubePolicy(redact=("email", "card")))
    alice.add(user("And I want mail at home."))
    mos.scheduler.run_pending()
    assert "1111 1111" not in json.dumps([each.to_dict() for each in alice.preferences()])


def test_what_is_masked_for_others_is_masked_in_topics_and_keys(mos: MOS, alice: Session, model: Ruled) -> None:
    alice.add("There is a cube.")
    mos.cube("alice", actor="alice").set_policy(CubePolicy(mask=("email",)))
    model.answers = saying(
        topic="mail to bob@x.example", statement="Wants mail to bob@x.example.", polarity="wants", quote="I want mail"
    )
    alice.add(user("I want mail to bob@x.example."))
    mos.scheduler.run_pending()
    assert only(alice).metadata["topic"] == "mail to bob@x.example"
    mos.share("alice", with_="guest")
    guest = mos.session("guest", read_from=["alice"], write_to=[])
    seen = only(guest)
    assert (seen.metadata["topic"], seen.key) == ("mail to [email]", "preference:alice:mail to email")
    assert "bob" not in json.dumps(seen.to_dict()) + guest.context("mail").text


@pytest.mark.parametrize("policy", [CubePolicy(redact=("email",)), CubePolicy(mask=("email",))], ids=["redact", "mask"])
def test_what_is_to_be_hidden_since_the_model_was_asked_is_hidden(
    mos: MOS, clock: ManualClock, alice: Session, model: Ruled, policy: CubePolicy
) -> None:
    answer = saying(topic="mail to bob@x.example", quote="I want mail")

    def meanwhile(prompt: str) -> str:
        mos.cube("alice").set_policy(policy)
        return answer(prompt)

    model.answers = meanwhile
    alice.add(user("I want mail."))
    mos.scheduler.run_pending()
    assert "more taken out by now" in (found_by(mos)[0].error or "")
    model.answers = answer
    clock.go(60)
    mos.scheduler.run_pending()
    assert only(alice).key == "preference:alice:mail to email"


def test_who_is_called_like_something_that_is_taken_out_keeps_their_preferences(mos: MOS) -> None:
    alice = mos.session("alice@x.example")
    alice.add("There is a cube.")
    mos.cube("alice@x.example").set_policy(CubePolicy(redact=("email",)))
    alice.add(user("I love tea."))
    mos.scheduler.run_pending()
    assert len(alice.preferences(person="alice@x.example")) == 1


def test_people_are_told_apart(mos: MOS, alice: Session) -> None:
    alice.add([user("I love tea.", speaker="Ann"), user("I hate tea.", speaker="Bob")])
    mos.scheduler.run_pending()
    assert sorted(told(alice)) == [("Ann likes tea.", "activated"), ("Bob dislikes tea.", "activated")]
    assert texts(alice.preferences("TEA", person="Bob")) == ["Bob dislikes tea."]


def test_who_corrects_a_message_has_not_said_it(mos: MOS, alice: Session) -> None:
    mos.create_cube("team", owner="carol")
    mos.share("team", with_="bob", rights="write")
    bob = mos.session("bob", conversation="x", write_to=["team"], read_from=["team"])
    added = bob.add(user("I luv tea."))
    mos.session("carol", write_to=["team"], read_from=["team"]).update(added.id, text="I love tea.")
    mos.scheduler.run_pending()
    assert told(bob) == [("bob likes tea.", "activated")]


# -- copies --------------------------------------------------------------------------------------------------------------


def test_a_fork_and_a_restored_backup_know_how_far_was_read(tmp_path: Path, model: Ruled) -> None:
    with MOS.open(tmp_path / "store", model=model, preferences=True) as mos:
        alice = mos.session("alice", conversation="chat")
        alice.add(user("I love tea."))
        mos.scheduler.run_pending()
        alice.fork("alice/what-if")
        fork = mos.session("alice", conversation="chat", write_to=["alice/what-if"], read_from=["alice/what-if"])
        fork.add(user("I hate tea."))
        mos.scheduler.run_pending()
        assert (told(alice), told(fork)) == (
            [("alice likes tea.", "activated")],
            [("alice dislikes tea.", "activated")],
        )
        assert [m["new"] for m in shown(model.asked[-1])["messages"]] == [False, True]
        mos.backup(tmp_path / "safe")
    MOS.restore(tmp_path / "safe", tmp_path / "again")
    with MOS.open(tmp_path / "again", model=model, preferences=True) as mos:
        alice = mos.session("alice", conversation="chat")
        alice.add(user("I love rain."))
        mos.scheduler.run_pending()
        assert [m["text"] for m in shown(model.asked[-1])["messages"] if m["new"]] == ["I love rain."]
        alice.rollback_cube(1)
        assert told(alice) == []
        alice.add(user("I love snow."))
        mos.scheduler.run_pending()
        assert told(alice) == [("alice likes snow.", "activated")], "what was rolled back is not found anew"


def test_it_is_audited_under_the_scheduler_s_name(mos: MOS, alice: Session) -> None:
    alice.add(user("I love tea."))
    mos.scheduler.run_pending()
    entry = next(entry for entry in mos.cube("alice").audit() if entry.action == "preferences")
    assert entry.actor == "memos:scheduler"
    assert "tea" not in msgspec.json.encode(entry.detail).decode()
