"""If this fails, what a user likes is not found in what they say, or adding waits for (or fails with) a language model."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from liking import Ruled, assistant, by_rules, found_by, only, result, saying, shown, told, user
from telling import texts

from memos_core import MOS, AsyncMOS, Document, Draft, F, LifecycleState, Session, SourceRef
from memos_core.errors import InvalidConfig
from memos_core.reading.extract import MOST_LETTERS
from memos_core.scheduler.clock import ManualClock


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


# -- the way from a message to a preference --------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [True, False])
def test_what_a_user_says_becomes_a_preference_in_the_background(
    mos: MOS, alice: Session, model: Ruled, wait: bool
) -> None:
    added = alice.add([user("I love tea."), assistant("I love cake myself.")], wait=wait)  # type: ignore[call-overload]
    assert model.asked == [], "adding does not wait for a model"
    assert [job.state for job in found_by(mos)] == ["pending"]
    raw = [(alice.get(id).text, alice.history(id)) for id in added.ids]
    assert result(mos) == {"read": 1, "added": 1, "dropped": {}}
    item = only(alice)
    assert (item.text, item.type, item.state) == ("alice likes tea.", "preference", LifecycleState.ACTIVATED)
    assert item.key == "preference:alice:tea"
    assert item.metadata == {"topic": "tea", "polarity": "likes", "person": "alice", "explicit": True}
    assert item.payload == {"quote": "I love tea"}
    assert item.provenance.derived_from == ((added.ids[0], 1),)
    assert item.provenance.model == "ruled-1"
    assert item.provenance.prompt_hash == hashlib.sha256(model.asked[0].encode()).hexdigest()
    assert [(alice.get(id).text, len(alice.history(id))) for id in added.ids] == [
        (text, len(past)) for text, past in raw
    ], "what was said stays as it was said"
    assert alice.search("tea", where=F.type == "preference")[0].id == item.id
    assert [edge.source for edge in alice.lineage(item.id).edges] == [added.ids[0]]
    assert "It is a preference of 'alice'." in str(alice.explain(item.id))
    assert mos.verify() == []


def test_the_job_is_filed_with_the_add_or_not_at_all(mos: MOS, alice: Session) -> None:
    alice.add(user("I love tea.", id="m1"))
    with pytest.raises(Exception, match="exists"):
        alice.add([user("I hate rain."), Draft(text="x", id=alice.list()[0].id)], conversation="other")
    assert len(found_by(mos)) == 1
    alice.add(user("I love tea.", id="m1"))  # known
    alice.add(assistant("I love cake."))
    alice.add("I love facts.")
    alice.add(Document(uri="menu.md", text="I love documents."))
    alice.add(Draft(text="I love summaries.", source=SourceRef(role="user"), derived_from=(("x", 1),)))
    assert len(found_by(mos)) == 1, "only what users say is looked at"
    mos.scheduler.run_pending()
    assert texts(alice.preferences()) == ["alice likes tea."]


async def test_awaited_it_is_the_same(tmp_path: Path, model: Ruled) -> None:
    async with AsyncMOS.open(tmp_path, embedder="hashing", model=model, preferences=True) as mos:
        alice = await mos.session("alice", conversation="chat")
        await alice.add(user("I love tea."))
        await alice.add(user("I had sushi again."), wait=False)
        assert model.asked == []
        await asyncio.to_thread(mos.scheduler.run_pending)
        assert texts(await alice.preferences()) == ["alice likes tea."]
        assert len(await alice.preferences(include=["generated"])) == 2
        assert "alice likes tea." in (await alice.context("tea")).stable


def test_one_job_waits_for_a_conversation_and_takes_all_of_it_at_once(mos: MOS, alice: Session, model: Ruled) -> None:
    for topic in ("tea", "rain", "snow"):
        alice.add(user(f"I love {topic}."))
    alice.add(user("I love jazz."), conversation="another")
    assert len(found_by(mos)) == 2
    mos.scheduler.run_pending()
    assert len(model.asked) == 2
    assert [m["text"] for m in shown(model.asked[0])["messages"]] == ["I love tea.", "I love rain.", "I love snow."]
    assert len(alice.preferences()) == 4


def test_what_was_read_before_is_shown_as_context_and_not_asked_about_again(
    mos: MOS, alice: Session, model: Ruled
) -> None:
    alice.add([user("I love tea."), assistant("Noted.")])
    mos.scheduler.run_pending()
    alice.add([assistant("And rain?"), user("I hate rain.")])
    mos.scheduler.run_pending()
    last = shown(model.asked[-1])
    assert [(m["text"], m["new"]) for m in last["messages"]] == [
        ("I love tea.", False),
        ("Noted.", False),
        ("And rain?", False),
        ("I hate rain.", True),
    ]
    assert last["known"] == ["tea"]
    assert mos.scheduler.run_pending() == 0
    assert len(model.asked) == 2


def test_much_is_read_in_parts_in_order_and_no_prompt_is_longer_than_its_limit(
    mos: MOS, alice: Session, model: Ruled
) -> None:
    said = [user(f"Day {n}: I love topic{n}. " + "blah " * 200) for n in range(60)]
    alice.add([*said, user("x" * 50_000)])
    mos.scheduler.run_pending()
    asked = [[m["text"] for m in shown(prompt)["messages"] if m["new"]] for prompt in model.asked]
    days = [int(text.split(":")[0][4:]) for part in asked for text in part if text.startswith("Day")]
    assert days == list(range(60)), "all of it, once, in order"
    assert max(len(part) for part in asked) > 5, "and not one by one"
    assert max(map(len, model.asked)) < MOST_LETTERS + 8_000
    assert len(alice.preferences()) == 60


def test_however_many_jobs_wait_adding_is_not_refused_for_them(tmp_path: Path, model: Ruled) -> None:
    with MOS.open(tmp_path, embedder="hashing", model=model, preferences=True, max_pending=1) as mos:
        alice = mos.session("alice")
        for n in range(5):
            alice.add(user(f"I love topic{n}."), conversation=f"chat {n}")
        assert len(found_by(mos)) == 5
        mos.scheduler.run_pending()
        assert len(alice.preferences()) == 5


def test_it_waits_for_more_to_be_said_where_that_is_wanted(clock: ManualClock, model: Ruled) -> None:
    with MOS.open(":memory:", now=clock, model=model, preferences=True, preferences_after=30) as mos:
        alice = mos.session("alice", conversation="chat")
        alice.add(user("I love tea."))
        mos.scheduler.run_pending()
        clock.go(20)
        alice.add(user("I hate rain."))
        mos.scheduler.run_pending()
        assert model.asked == []
        clock.go(10)
        mos.scheduler.run_pending()
        assert len(model.asked) == 1
        assert len(alice.preferences()) == 2


def test_what_was_said_before_anybody_asked_for_preferences_is_read_with_the_next_message(tmp_path: Path) -> None:
    with MOS.open(tmp_path) as mos:
        mos.session("alice", conversation="chat").add(user("I love tea."))
        assert found_by(mos) == []
    with MOS.open(tmp_path, model=Ruled(), preferences=True) as mos:
        alice = mos.session("alice", conversation="chat")
        alice.add(user("Good morning."))
        mos.scheduler.run_pending()
        assert told(alice) == [("alice likes tea.", "activated")]


def test_a_message_that_comes_in_again_with_other_words_is_read_again(mos: MOS, alice: Session) -> None:
    alice.add(user("I love tea.", id="m1"))
    mos.scheduler.run_pending()
    alice.add(user("I hate tea.", id="m1"))
    mos.scheduler.run_pending()
    assert told(alice) == [("alice dislikes tea.", "activated")]


def test_what_belongs_to_no_conversation_is_read_too(mos: MOS) -> None:
    alice = mos.session("alice")
    alice.add(["A fact."] * 3 + [user("I love tea.")])
    mos.scheduler.run_pending()
    alice.add(user("I hate rain."))
    mos.scheduler.run_pending()
    assert sorted(told(alice)) == [("alice dislikes rain.", "activated"), ("alice likes tea.", "activated")]


def test_many_messages_that_come_in_again_are_read_in_parts_too(mos: MOS, alice: Session, model: Ruled) -> None:
    alice.add([user(f"Day {n}.", id=f"m{n}") for n in range(60)])
    mos.scheduler.run_pending()
    model.asked.clear()
    alice.add([user(f"I love topic{n}. " + "blah " * 200, id=f"m{n}") for n in range(60)])
    mos.scheduler.run_pending()
    assert max(map(len, model.asked)) < MOST_LETTERS + 8_000
    asked = [m["text"] for prompt in model.asked for m in shown(prompt)["messages"] if m["new"]]
    assert [text.split(".")[0] for text in asked] == [f"I love topic{n}" for n in range(60)], (
        "all of it, once, in order"
    )
    assert len(alice.preferences()) == 60


def test_what_no_search_may_find_is_neither_asked_about_nor_told(mos: MOS, alice: Session, model: Ruled) -> None:
    alice.add(user("I love extraordinary teapots."), indexed=False)
    assert found_by(mos) == []
    alice.add(user("I love rain."))
    mos.scheduler.run_pending()
    assert [m["text"] for m in shown(model.asked[0])["messages"]] == ["I love rain."]
    assert told(alice) == [("alice likes rain.", "activated")]


def test_topics_that_somebody_else_wrote_fill_no_prompt(mos: MOS, alice: Session, model: Ruled) -> None:
    alice.add(Draft(text="x", type="preference", metadata={"topic": "so much " * 10_000, "person": "alice"}))
    alice.add(Draft(text="y", type="preference", metadata={"topic": "?!", "person": "alice"}))
    alice.add(user("I love tea."))
    mos.scheduler.run_pending()
    assert len(model.asked[0]) < 3_000
    assert len(shown(model.asked[0])["known"]) == 1


def test_a_model_that_runs_on_fills_no_cube(mos: MOS, alice: Session, model: Ruled) -> None:
    tea = json.loads(saying()(""))["preferences"][0]
    model.answers = lambda _: json.dumps({"preferences": [{**tea, "topic": f"tea {n}"} for n in range(3_000)]})
    alice.add(user("I love tea."))
    assert result(mos) == {"read": 1, "added": 200, "dropped": {"too many": 2_800}}


# -- models that misbehave -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        "I am sorry, I cannot do that.",
        "{}",
        '{"preferences": [{"topic": "tea"}]}',
        '{"preferences": [{"topic": "tea", "statement": "x", "polarity": "SECRET", "explicit": true, "messages": [1]}]}',
        17,
        RuntimeError("SECRET"),
    ],
)
def test_a_model_that_fails_is_asked_again_and_what_was_said_stays(
    mos: MOS, clock: ManualClock, model: Ruled, alice: Session, answer: Any
) -> None:
    def bad(_: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    model.answers = bad
    added = alice.add(user("I love tea."))
    mos.scheduler.run_pending()
    (job,) = found_by(mos)
    assert (job.state, job.attempts) == ("pending", 1)
    assert "AnswerRefused" in (job.error or "")
    assert "SECRET" not in (job.error or "")
    assert mos.scheduler.run_pending() == 0, "later, not at once"
    assert texts(alice.list()) == ["I love tea."]
    for _ in range(20):
        clock.go(3600)
        mos.scheduler.run_pending()
    (job,) = found_by(mos)
    assert (job.state, len(model.asked)) == ("failed", job.max_attempts), "and given up in the end, for all to see"
    model.answers = by_rules
    alice.add(user("I hate rain."))
    mos.scheduler.run_pending()
    assert sorted(told(alice)) == [("alice dislikes rain.", "activated"), ("alice likes tea.", "activated")]
    assert alice.get(added.id).version == 1
    mos.scheduler.retry()
    mos.scheduler.run_pending()
    assert found_by(mos)[0].result == {"read": 0}
    assert len(alice.preferences()) == 2, "and nothing comes twice"


def test_a_model_that_hangs_loses_its_right_to_answer(
    mos: MOS, clock: ManualClock, alice: Session, model: Ruled
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def late(prompt: str) -> str:
        hangs.set()
        assert goes_on.wait(60)
        return by_rules(prompt)

    model.answers = late
    mos.scheduler.start(1)
    alice.add(user("I love tea."))
    assert hangs.wait(30)
    model.answers = by_rules
    clock.go(1000)
    for _ in range(3000):
        if found_by(mos)[0].error:
            break
        threading.Event().wait(0.01)
    assert "TimeoutError" in (found_by(mos)[0].error or "")
    clock.go(1000)
    for _ in range(3000):
        if found_by(mos)[0].state == "done":
            break
        threading.Event().wait(0.01)
    goes_on.set()
    mos.scheduler.stop()
    assert [(item.text, item.version) for item in alice.preferences()] == [("alice likes tea.", 1)]


def test_a_job_that_is_done_twice_makes_nothing_twice(mos: MOS, alice: Session, model: Ruled) -> None:
    alice.add(user("I love tea."))
    mos.scheduler.run_pending()
    changes = mos.cube("alice").stats()["changes"]
    mos.scheduler.submit("preferences", {"conversation": "chat"}, cube="alice")
    assert result(mos) == {"read": 0}
    assert mos.cube("alice").stats()["changes"] == changes
    assert len(model.asked) == 1


def test_an_answer_that_is_too_long_for_the_model_is_asked_for_in_smaller_parts(
    mos: MOS, clock: ManualClock, alice: Session, model: Ruled
) -> None:
    def short_of_breath(prompt: str) -> str:
        return by_rules(prompt)[: None if sum(m["new"] for m in shown(prompt)["messages"]) <= 10 else 200]

    model.answers = short_of_breath
    alice.add([user(f"I love topic{n}.") for n in range(40)])
    for _ in range(40):
        mos.scheduler.run_pending()
        clock.go(10)
    assert len(alice.preferences()) == 40


def test_a_message_that_a_model_never_answers_to_does_not_stop_its_conversation(
    mos: MOS, clock: ManualClock, alice: Session, model: Ruled
) -> None:
    def choking(prompt: str) -> str:
        return "no" if any("choke" in m["text"] and m["new"] for m in shown(prompt)["messages"]) else by_rules(prompt)

    def long_after() -> None:
        for _ in range(40):
            mos.scheduler.run_pending()
            clock.go(3600)

    model.answers = choking
    alice.add([user("I love tea."), user("Now choke."), user("choke!"), user("I love rain."), user("I hate snow.")])
    long_after()
    assert sorted(text for text, _ in told(alice)) == ["alice dislikes snow.", "alice likes rain.", "alice likes tea."]
    assert sum(job.result["dropped"].get("no answer", 0) for job in found_by(mos)) == 2
    alice.add(user("Please choke."))
    long_after()
    assert found_by(mos)[-1].state == "failed", "it may be that the model is not there: nothing is passed over"
    alice.add(user("I love jazz."))
    long_after()
    assert told(alice)[0][0] == "alice likes jazz."
    model.answers = lambda _: "no"
    alice.add([user("I hate fog."), user("I hate hail."), user("I hate mud.")])
    long_after()
    model.answers = by_rules
    alice.add(user("Well."))
    long_after()
    assert len(told(alice)) == 7, "what a model that answers to nothing was asked about is not lost"


def test_messages_that_come_in_again_are_passed_over_likewise(
    mos: MOS, clock: ManualClock, alice: Session, model: Ruled
) -> None:
    def choking(prompt: str) -> str:
        return "no" if any("topic1" in m["text"] and m["new"] for m in shown(prompt)["messages"]) else by_rules(prompt)

    alice.add([user(f"Day {n}.", id=f"m{n}") for n in range(3)])
    mos.scheduler.run_pending()
    model.answers = choking
    alice.add([user(f"I love topic{n}.", id=f"m{n}") for n in (1, 0, 2)])
    for _ in range(40):
        mos.scheduler.run_pending()
        clock.go(3600)
    assert sorted(text for text, _ in told(alice)) == ["alice likes topic0.", "alice likes topic2."]


def test_two_jobs_of_a_conversation_never_run_at_once(mos: MOS, alice: Session, model: Ruled) -> None:
    asked, goes_on = threading.Event(), threading.Event()

    def slow(prompt: str) -> str:
        asked.set()
        assert goes_on.wait(60)
        return by_rules(prompt)

    model.answers = slow
    mos.scheduler.start(1)
    alice.add(user("I love tea."))
    assert asked.wait(30)
    model.answers = by_rules
    alice.add(user("I hate tea."))
    mos.session("alice", conversation="another").add(user("I love rain."))
    mos.scheduler.run_pending()
    assert [item.text for item in alice.preferences()] == ["alice likes rain."], "others go on, this one waits"
    goes_on.set()
    mos.scheduler.stop()
    mos.scheduler.run_pending()
    assert sorted(told(alice)) == [("alice dislikes tea.", "activated"), ("alice likes rain.", "activated")]


def test_a_wrong_clock_does_not_keep_what_is_said_later_from_counting(
    mos: MOS, clock: ManualClock, alice: Session
) -> None:
    alice.add(user("I love tea.", at=(clock() + timedelta(days=4000)).isoformat()))
    mos.scheduler.run_pending()
    clock.go(60)
    alice.add(user("I hate tea."))
    mos.scheduler.run_pending()
    assert told(alice) == [("alice dislikes tea.", "activated")]


def test_what_is_said_while_the_model_thinks_is_read_by_the_next_job(mos: MOS, alice: Session, model: Ruled) -> None:
    def meanwhile(prompt: str) -> str:
        model.answers = by_rules
        alice.add(user("I hate rain."))
        return by_rules(prompt)

    model.answers = meanwhile
    alice.add(user("I love tea."))
    mos.scheduler.run_pending()
    assert len(model.asked) == 2
    assert len(alice.preferences()) == 2


# -- stores -----------------------------------------------------------------------------------------------------------------


def test_preferences_take_a_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="give model="):
        MOS.open(tmp_path / "a", preferences=True)
    with pytest.raises(InvalidConfig, match="is no text model"):
        MOS.open(tmp_path / "a", model=object(), preferences=True)
    with pytest.raises(InvalidConfig, match="no import path"):
        MOS.open(tmp_path / "a", model="a model", preferences=True)
    with pytest.raises(InvalidConfig, match="True or False"):
        MOS.open(tmp_path / "a", model=Ruled(), preferences="no")  # type: ignore[arg-type]
    with pytest.raises(InvalidConfig, match="preferences_after"):
        MOS.open(tmp_path / "a", preferences_after=3)
    with pytest.raises(InvalidConfig, match="preferences_after"):
        MOS.open(tmp_path / "a", model=Ruled(), preferences=True, preferences_after=-1)
    assert not (tmp_path / "a").exists()


def test_a_process_without_a_model_leaves_the_jobs_to_others(tmp_path: Path) -> None:
    with MOS.open(tmp_path, model=Ruled(), preferences=True) as mos:
        mos.session("alice").add(user("I love tea."))
    with MOS.open(tmp_path) as mos:
        mos.scheduler.run_pending()
        assert [(job.state, job.attempts) for job in found_by(mos)] == [("pending", 0)]
    with MOS.open(tmp_path, model="liking:Ruled") as mos:
        mos.scheduler.run_pending()
        assert len(mos.session("alice").preferences()) == 1
    with MOS.open(tmp_path, model="liking:nothing", preferences=True) as mos:
        mos.session("alice").add(user("I hate rain."))
        mos.scheduler.run_pending()
        assert "cannot be loaded" in (found_by(mos)[-1].error or "")
