"""If this fails, looking after a cube in the background loses or changes memories that it should have left alone, does its work
twice, shows private things, or stores what a model made up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from telling import texts

from memos_core import MOS, F, LifecycleState
from memos_core.lifecycle.consolidation import exact_groups
from memos_core.scheduler.clock import ManualClock
from memos_core.scheduler.jobs.conflicts import conflicts
from memos_core.scheduler.jobs.consolidating import AT_ONCE
from memos_core.scheduler.jobs.deduplicate import deduplicate
from memos_core.scheduler.kinds import BUILT_IN
from memos_core.types.cube_policy import CubePolicy
from memos_core.types.items import Link, MemoryItem
from memos_core.types.work import Record

KINDS = ["deduplicate", "conflicts", "archive_cold", "retain", "catch_up_followers", "rebuild_stale"]


class Scripted:
    """A text model that answers what it was told to, in order."""

    identity = "scripted-1"

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def complete(self, prompt: str) -> str:
        self.asked.append(prompt)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def mos(clock: ManualClock) -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing", now=clock) as opened:
        yield opened


def run(mos: MOS, kind: str, cube: str | None = "alice") -> object:
    """What a job of this kind returned."""
    handle = mos.scheduler.submit(kind, cube=cube)
    mos.scheduler.run_pending()
    return handle.results(timeout=0)[0]


def proposals(mos: MOS, actor: str = "alice") -> list[MemoryItem]:
    session = mos.session(actor, read_from=["alice"], write_to=[])
    return list(session.list(where=F.type == "proposal", include=["generated"]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_built_in_and_does_nothing_to_an_ordinary_cube_twice(mos: MOS, kind: str) -> None:
    assert kind in BUILT_IN
    mos.session("alice").add(["The car is red.", "I live in Lisbon."])
    before = mos.cube("alice").stats()["changes"]
    run(mos, kind)
    run(mos, kind, cube=None)
    assert mos.cube("alice").stats()["changes"] == before
    assert all(job.state == "done" for job in mos.scheduler.jobs())


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_cube_it_looks_after_all_of_them(mos: MOS, kind: str) -> None:
    for actor in ("alice", "bob", "carol"):
        mos.session(actor).add("The car is red.")
    assert run(mos, kind, cube=None) == {"cubes": 3}
    assert len([job for job in mos.scheduler.jobs(kinds=[kind]) if job.cube]) == 3


# -- duplicates ------------------------------------------------------------------------------------------------------------


def test_what_says_exactly_the_same_becomes_one(mos: MOS) -> None:
    alice = mos.session("alice")
    first, second, third = alice.add(["The car is red.", "the  CAR is red", "The car is blue."]).ids
    assert run(mos, "deduplicate") == {"merged": 1, "proposed": 0}
    assert [alice.get(id).state for id in (first, second, third)] == ["activated", "merged", "activated"]
    assert len(alice.search("red car", include=[], top_k=10)) == 2
    assert f"merged into {first!r}" in str(alice.explain(second))
    assert "says exactly the same" in str(alice.explain(second))
    entry = mos.cube("alice").audit()[-1]
    assert (entry.action, entry.detail["reason"]) == ("merge", "says exactly the same")
    assert entry.actor.startswith("memos:")
    changes = mos.cube("alice").stats()["changes"]
    assert run(mos, "deduplicate") == {"merged": 0, "proposed": 0}
    assert mos.cube("alice").stats()["changes"] == changes, "twice does what once does"
    alice.activate(second)
    assert alice.get(second).state == "activated", "and it can be undone"


def test_what_differs_in_anything_else_is_left_alone(mos: MOS) -> None:
    alice = mos.session("alice")
    day = datetime(2025, 5, 1, tzinfo=UTC)
    text = "The car is red."
    alice.add(text)
    alice.add(text, tags=["car"])
    alice.add(text, metadata={"of": "Ada"})
    alice.add(text, payload={"price": 3})
    alice.add(text, type="guess")
    alice.add(text, occurred_at=day)
    alice.add(text, visibility="private")
    alice.add(text, expires_at=day + timedelta(days=4000))
    alice.add(text, state="generated")
    alice.add(text, indexed=False)
    frozen = alice.add(text).id
    alice.freeze(frozen)
    assert run(mos, "deduplicate") == {"merged": 0, "proposed": 0}
    assert len(alice.list(include=["generated"])) == 11


def test_what_was_said_stays_as_it_was_said(mos: MOS) -> None:
    alice = mos.session("alice", conversation="chat")
    alice.add(
        [
            {"role": "user", "content": "Yes."},
            {"role": "assistant", "content": "Sure?"},
            {"role": "user", "content": "Yes."},
        ]
    )
    assert run(mos, "deduplicate") == {"merged": 0, "proposed": 0}
    assert texts(alice.list(newest_first=False)) == ["Yes.", "Sure?", "Yes."]


def test_what_is_on_legal_hold_stays_as_it_is(mos: MOS, clock: ManualClock) -> None:
    alice = mos.session("alice")
    held, free = alice.add(["The car is red.", "The car is red."]).ids
    clock.go(200 * 86_400)
    cube = mos.cube("alice")
    cube.set_policy(CubePolicy(archive_below=0.0))
    cube.hold(f"item:{held}", reason="a case")
    assert run(mos, "deduplicate") == {"merged": 0, "proposed": 0}
    assert run(mos, "archive_cold") == {"archived": 1}
    assert [alice.get(id).state for id in (held, free)] == ["activated", "archived"]


def test_what_bears_a_key_stays_and_two_keys_are_two_things(mos: MOS) -> None:
    alice = mos.session("alice")
    alice.add("The car is red.")
    keyed = alice.add("The car is red.", key="car").id
    assert run(mos, "deduplicate") == {"merged": 1, "proposed": 0}
    assert alice.get(key="car").state == "activated"
    assert alice.list()[0].id == keyed
    alice.add("I live in Lisbon.", key="home")
    alice.add("I live in Lisbon.", key="flat")
    assert run(mos, "deduplicate") == {"merged": 0, "proposed": 0}


def test_a_policy_decides_what_becomes_of_duplicates(mos: MOS) -> None:
    alice = mos.session("alice")
    alice.add(["The car is red.", "The car is red."])
    mos.cube("alice").set_policy(CubePolicy(duplicates="keep"))
    assert run(mos, "deduplicate") == {"merged": 0, "proposed": 0}
    mos.cube("alice").set_policy(CubePolicy(duplicates="propose"))
    assert run(mos, "deduplicate") == {"merged": 0, "proposed": 1}
    assert len(alice.list()) == 2
    assert len(proposals(mos)) == 1


def test_more_than_a_batch_is_done_by_jobs_that_follow(mos: MOS) -> None:
    alice = mos.session("alice")
    alice.add([f"Lamp number {number} is on." for number in range(AT_ONCE + 5) for _ in range(2)])
    mos.scheduler.submit("deduplicate", {"cosine": 1.1}, cube="alice")
    assert mos.scheduler.run_pending() == 2
    assert len(alice.list(limit=1000)) == AT_ONCE + 5


def test_a_near_duplicate_is_proposed_once_and_nothing_is_changed(mos: MOS) -> None:
    alice = mos.session("alice")
    ids = alice.add(
        ["The red car stands in the old garage by the sea", "The red car stands in the old garage by the seaside"]
    ).ids
    handle = mos.scheduler.submit("deduplicate", {"cosine": 0.6}, cube="alice")
    mos.scheduler.run_pending()
    assert handle.results(timeout=0) == [{"merged": 0, "proposed": 1}]
    (proposal,) = proposals(mos)
    assert proposal.state is LifecycleState.GENERATED
    assert proposal.payload["ids"] == ids
    assert {(link.relation, link.target) for link in proposal.links} == {("duplicate_of", id) for id in ids}
    assert [id for id, _ in proposal.provenance.derived_from] == ids
    assert "garage" not in proposal.text, "it names ids, no words"
    assert proposal.id not in {hit.id for hit in alice.search("same merge archive", include=["generated"])}
    alice.archive(proposal.id, reason="they are two")
    mos.scheduler.submit("deduplicate", {"cosine": 0.6}, cube="alice")
    mos.scheduler.run_pending()
    assert proposals(mos) == [], "what was rejected is not proposed again"
    assert [alice.get(id).version for id in ids] == [1, 1]


def test_private_items_are_compared_with_those_of_the_same_reader_only(mos: MOS) -> None:
    alice = mos.session("alice")
    alice.add("I live in Lisbon.")
    mos.share("alice", with_="bob", rights="write")
    bob = mos.session("bob", read_from=["alice"], write_to=["alice"])
    alice.add("The red car stands in the old garage by the sea", visibility="private")
    bob.add("The red car stands in the old garage by the seaside")
    bob.add("The red car stands in the old garage by the sea shore", visibility="private")
    alice.add("The red car stands in the old garage by the seashore", visibility="private")
    mos.scheduler.submit("deduplicate", {"cosine": 0.5}, cube="alice")
    mos.scheduler.run_pending()
    assert [proposal.private_to for proposal in proposals(mos)] == ["alice"]
    assert proposals(mos, "bob") == []


# -- contradictions --------------------------------------------------------------------------------------------------------


def test_the_same_words_with_another_value_are_proposed(mos: MOS) -> None:
    alice = mos.session("alice")
    old = alice.add("The code of the door is 4711.").id
    alice.add("The sky is blue.")
    new = alice.add("The code of the door is 1234.").id
    assert run(mos, "conflicts") == {"proposed": 1}
    (proposal,) = proposals(mos)
    assert proposal.payload == {"proposal": "conflict", "ids": [old, new]}
    assert [alice.get(id).version for id in (old, new)] == [1, 1], "never silently changed"
    assert run(mos, "conflicts") == {"proposed": 0}
    alice.update(new, text="The code of the door is 9999.")
    assert run(mos, "conflicts") == {"proposed": 1}, "another version is another question"


def test_the_same_subject_with_another_text_is_proposed(mos: MOS) -> None:
    alice = mos.session("alice")
    about = {"subject": "alice", "attribute": "home"}
    alice.add("She lives by the river.", metadata=about)
    alice.add("Her flat is on the hill.", metadata=about)
    alice.add("Her job is on the hill.", metadata={"subject": "alice", "attribute": "job"})
    assert run(mos, "conflicts") == {"proposed": 1}


# -- with a model ----------------------------------------------------------------------------------------------------------


def test_a_model_is_asked_and_its_name_and_the_hash_of_the_prompt_are_kept(mos: MOS) -> None:
    alice = mos.session("alice")
    alice.add(
        ["The red car stands in the old garage by the sea", "The red car stands in the old garage by the seaside"]
    )
    model = Scripted('```json\n{"same": true, "text": "The red car is in the old garage by the sea."}\n```')
    mos.scheduler.register(deduplicate(model))
    mos.scheduler.submit("deduplicate", {"cosine": 0.6}, cube="alice")
    mos.scheduler.run_pending()
    (proposal,) = proposals(mos)
    assert proposal.text == "The red car is in the old garage by the sea."
    assert proposal.provenance.model == "scripted-1"
    assert proposal.provenance.prompt_hash == hashlib.sha256(model.asked[0].encode()).hexdigest()
    assert proposal.payload["same"] is True
    assert len(alice.list()) == 2, "validated by nobody yet"
    mos.scheduler.submit("deduplicate", {"cosine": 0.6}, cube="alice")
    mos.scheduler.run_pending()
    assert len(model.asked) == 1, "it is asked once"


def test_the_model_that_a_store_is_opened_with_is_asked(tmp_path: Path) -> None:
    model = Scripted(json.dumps({"both": False, "holds": "later"}))
    with MOS.open(tmp_path, model=model) as mos:
        mos.session("alice").add(["The code of the door is 4711.", "The code of the door is 1234."])
        assert run(mos, "conflicts") == {"proposed": 1}
        assert len(model.asked) == 1
        assert proposals(mos)[0].payload["holds"] == "later"
    with MOS.open(tmp_path, model="no_such_module:model") as mos:  # it is followed when it is needed
        assert run(mos, "conflicts") == {"proposed": 0}
        mos.session("alice").add("The code of the door is 9999.")
        job = mos.scheduler.submit("conflicts", cube="alice")
        mos.scheduler.run_pending()
        assert "no_such_module" in str(job.error())


@pytest.mark.parametrize(
    "answer",
    [
        "Sure! They are the same.",
        '{"same": "yes", "text": "x"}',
        '{"same": true}',
        '{"same": true, "text": "x", "and": "more"}',
        "",
        OSError("SECRET"),
    ],
)
def test_a_bad_answer_is_a_failed_attempt_and_nothing_is_stored(mos: MOS, clock: ManualClock, answer: str) -> None:
    alice = mos.session("alice")
    alice.add(
        ["The red car stands in the old garage by the sea", "The red car stands in the old garage by the seaside"]
    )
    changes = mos.cube("alice").stats()["changes"]
    model = Scripted(answer, '{"same": false, "text": ""}')
    mos.scheduler.register(deduplicate(model))
    job = mos.scheduler.submit("deduplicate", {"cosine": 0.6}, cube="alice")
    mos.scheduler.run_pending()
    assert job.status() == "pending"
    assert "AnswerRefused" in str(job.error())
    assert "garage" not in str(job.error())
    assert "SECRET" not in str(job.error())
    assert mos.cube("alice").stats()["changes"] == changes
    clock.go(3600)
    mos.scheduler.run_pending()
    assert job.status() == "done"
    assert proposals(mos)[0].payload["same"] is False


def test_a_model_says_which_of_two_statements_holds(mos: MOS, clock: ManualClock) -> None:
    alice = mos.session("alice")
    alice.add(["The code of the door is 4711.", "The code of the door is 1234."])
    model = Scripted(json.dumps({"both": False, "holds": "newest"}), json.dumps({"both": False, "holds": "later"}))
    mos.scheduler.register(conflicts(model))
    job = mos.scheduler.submit("conflicts", cube="alice")
    mos.scheduler.run_pending()
    assert "holds is earlier, later or unclear" in str(job.error())
    clock.go(3600)
    mos.scheduler.run_pending()
    assert proposals(mos)[0].payload["holds"] == "later"


# -- cold items ------------------------------------------------------------------------------------------------------------


def test_what_is_old_and_hardly_used_is_archived_and_nothing_else(mos: MOS, clock: ManualClock) -> None:
    alice = mos.session("alice")
    cold, used, frozen = alice.add(["The old lamp.", "The old chair.", "The old table."]).ids
    pinned = alice.add("The old house.", tags=["pinned"]).id
    alice.freeze(frozen)
    clock.go(200 * 86_400)
    young = alice.add("The new lamp.").id
    alice.get(used)
    mos.count_uses()
    assert run(mos, "archive_cold") == {"archived": 0}, "only where the policy says so"
    mos.cube("alice").set_policy(CubePolicy(archive_below=-2.0, archive_after_days=90))
    assert run(mos, "archive_cold") == {"archived": 1}
    assert alice.get(cold).state == "archived"
    assert {alice.get(id).state for id in (used, young, pinned)} == {"activated"}
    assert alice.get(frozen).state == "frozen"
    assert "hardly used" in (alice.get(cold).provenance.reason or "")
    assert run(mos, "archive_cold") == {"archived": 0}


def test_retention_runs_as_a_job(mos: MOS) -> None:
    alice = mos.session("alice")
    alice.add([f"Lamp number {number}" for number in range(5)])
    mos.cube("alice").set_policy(CubePolicy(max_items=3))
    assert run(mos, "retain") == {"max_items": 2}
    assert len(alice.list()) == 3
    assert run(mos, "retain") == {}


def test_a_damaged_index_is_built_anew(mos: MOS) -> None:
    alice = mos.session("alice")
    alice.add("The car is red.")
    alice.search("car")
    index = mos._indexes.get(mos.store.cubes()[0])
    index.table["occurred"][:] = 7
    assert run(mos, "rebuild_stale") != {"found": 0}
    assert run(mos, "rebuild_stale") == {"found": 0}


def test_a_job_about_a_cube_that_is_gone_ends_quietly(mos: MOS) -> None:
    mos.store.jobs.enqueue([deduplicate().new(cube=4711)])
    mos.scheduler.run_pending()
    assert mos.scheduler.jobs()[0].state == "done"


# -- what must not be lost -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["delete", "update", "archive"])
def test_nothing_is_merged_into_what_has_changed_meanwhile(
    mos: MOS, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    alice = mos.session("alice")
    first, second = alice.add(["The car is red.", "the car is RED"]).ids

    def meanwhile(records: Iterable[Record]) -> list[list[Record]]:
        found = exact_groups(records)
        monkeypatch.undo()
        if way == "delete":
            alice.delete(first)
        elif way == "archive":
            alice.archive(first)
        else:
            alice.update(first, text="The bike is blue.")
        return found

    monkeypatch.setattr("memos_core.scheduler.jobs.deduplicate.exact_groups", meanwhile)
    handle = mos.scheduler.submit("deduplicate", cube="alice")
    for _ in range(2):
        mos.scheduler.run_pending()
        clock.go(10)
    assert handle.results(timeout=0) == [{"merged": 0, "proposed": 0}]
    assert "VersionConflict" in (handle.jobs()[0].error or "")
    assert alice.get(second).state == "activated"
    assert any(hit.id == second for hit in alice.search("red car"))


def test_what_was_said_of_another_day_is_something_else(mos: MOS, clock: ManualClock) -> None:
    alice = mos.session("alice")
    day = datetime(2025, 5, 1, 8, tzinfo=UTC)
    alice.add(["I went running today.", "My flight is tomorrow."])
    alice.add("I took my pill.", occurred_at=day)
    alice.add("I took my pill.", occurred_at=day + timedelta(hours=12))
    clock.go(3 * 86_400)
    alice.add(["I went running today.", "My flight is tomorrow."])
    assert run(mos, "deduplicate") == {"merged": 0, "proposed": 0}
    alice.add("I went running  today")
    assert run(mos, "deduplicate") == {"merged": 1, "proposed": 0}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The answer is 10².", "The answer is 102."),
        ("The formula is H₂O2.", "The formula is H2O2."),
        ("The wifi password is hunter2.", "The wifi password is Hunter2."),
        ("Is it red?", "Is it red!"),
    ],
)
def test_what_only_looks_the_same_is_left_alone(mos: MOS, one: str, other: str) -> None:
    alice = mos.session("alice")
    alice.add([one, other])
    assert run(mos, "deduplicate")["merged"] == 0  # type: ignore[index]
    assert sorted(texts(alice.list())) == sorted([one, other])


def test_how_sure_it_is_and_where_it_leads_must_agree_too(mos: MOS) -> None:
    alice = mos.session("alice")
    target = alice.add("A thing.").id
    alice.add("The car is red.", confidence=0.2)
    alice.add("The car is red.", confidence=0.9)
    alice.add("The car is red.", confidence=0.9, links=[Link("about", target)])
    assert run(mos, "deduplicate") == {"merged": 0, "proposed": 0}


def test_what_somebody_brings_back_is_not_put_away_again(mos: MOS, clock: ManualClock) -> None:
    alice = mos.session("alice")
    first, second, changed = alice.add(["The car is red.", "The car is red", "The old lamp."]).ids
    run(mos, "deduplicate")
    alice.activate(second)
    assert run(mos, "deduplicate") == {"merged": 0, "proposed": 0}
    alice.add("the car is red")
    assert run(mos, "deduplicate") == {"merged": 1, "proposed": 0}
    assert [alice.get(id).state for id in (first, second)] == ["activated", "activated"]
    clock.go(200 * 86_400)
    mos.cube("alice").set_policy(CubePolicy(archive_below=-1.0))
    alice.update(changed, text="The new lamp.")
    assert run(mos, "archive_cold") == {"archived": 2}
    alice.activate(second)
    clock.go(3600)
    assert run(mos, "archive_cold") == {"archived": 0}
    assert [alice.get(id).state for id in (first, second, changed)] == ["archived", "activated", "activated"]
    clock.go(200 * 86_400)
    assert run(mos, "archive_cold") == {"archived": 2}, "it fades like any other use"
