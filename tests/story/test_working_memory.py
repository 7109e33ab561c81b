"""If this fails, a conversation loses its thread between two turns, shows one person what another has in mind, keeps what was
deleted, or the uses that are counted change what searches of the past find.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from telling import texts

from memos_core import MOS, F, Session
from memos_core.errors import InvalidInput, StoreClosed
from memos_core.scheduler.clock import ManualClock
from memos_core.scheduler.usage import MOST_NOTED, UseNotes
from memos_core.types.uses import Holder, Noted

FACTS = [
    "My dog is called Rex.",
    "Rex eats two bowls of rice a day.",
    "I live in Lisbon.",
    "The car is red.",
    "My sister is called Ada.",
]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def mos(clock: ManualClock) -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing", now=clock) as opened:
        yield opened


def talk(mos: MOS, *, actor: str = "alice", conversation: str = "home") -> Session:
    session = mos.session(actor, conversation=conversation)
    mos.session(actor).add(FACTS)
    return session


def test_what_was_asked_about_stays_in_mind_for_the_next_turn(mos: MOS) -> None:
    alice = talk(mos)
    assert alice.working() == []
    alice.search("what is my dog called?")
    assert alice.working() == [], "the search itself writes nothing"
    assert mos.scheduler.run_pending() == 1
    first = alice.working()[0]
    assert first.text == FACTS[0]
    assert first.parts["relevant"] > 0
    assert first.score == pytest.approx(sum(first.parts.values()))
    assert [each.score for each in alice.working()] == sorted((each.score for each in alice.working()), reverse=True)
    assert len(alice.working()) <= 20


def test_a_scheduler_that_runs_brings_it_up_to_date_by_itself(tmp_path: Path) -> None:
    with MOS.open(tmp_path, scheduler=True) as mos:
        alice = talk(mos)
        alice.search("what is my dog called?")
        until = time.monotonic() + 30
        while not alice.working() and time.monotonic() < until:
            time.sleep(0.02)
        assert alice.working()[0].text == FACTS[0]


def test_a_follow_up_that_names_nothing_still_has_its_context(mos: MOS) -> None:
    alice = talk(mos)
    question = "zzz?"  # shares no word with anything
    alone = {item.text for item in alice.context(question, min_score=0.2).items}
    alice.context("what is my dog called?")
    mos.scheduler.run_pending()
    assert FACTS[0] not in alone
    assert FACTS[0] in texts(alice.context(question, min_score=0.2).items)


def test_searches_are_the_same_with_and_without_working_memory(mos: MOS) -> None:
    alice = talk(mos)
    before = [(hit.id, hit.score) for hit in alice.search("red car", without=["usage"])]
    alice.search("what is my dog called?")
    mos.scheduler.run_pending()
    assert [(hit.id, hit.score) for hit in alice.search("red car", without=["usage"])] == before


def test_a_context_keeps_within_its_tokens_and_its_filter(mos: MOS) -> None:
    alice = talk(mos)
    alice.add("Rex is three years old.", tags=["dog"])
    for question in ("what is my dog called?", "what does Rex eat?", "how old is Rex?"):
        alice.search(question)
        mos.scheduler.run_pending()
    assert alice.context("and then?", max_tokens=30).tokens <= 30
    narrowed = alice.context("and then?", where=F.tag == "dog", min_score=0)
    assert set(texts(narrowed.items)) <= {"Rex is three years old."}


def test_what_was_said_is_in_mind(mos: MOS) -> None:
    alice = talk(mos)
    alice.add({"role": "user", "content": "I am thinking about a boat."})
    mos.scheduler.run_pending()
    assert "I am thinking about a boat." in texts(each.item for each in alice.working())
    alice.add("A sailing boat, that is.", wait=False)
    mos.scheduler.run_pending()
    assert "A sailing boat, that is." in texts(each.item for each in alice.working())


def test_it_fades_and_does_not_vanish(mos: MOS, clock: ManualClock) -> None:
    alice = talk(mos)
    alice.search("what is my dog called?", top_k=1)
    mos.count_uses()
    (first,) = alice.working()
    for question in ("which colour is the car?", "where do I live?"):
        clock.go(60)
        alice.search(question, top_k=1)
        mos.count_uses()
    later = {each.text: each for each in alice.working()}
    assert later.keys() >= {FACTS[0], FACTS[2], FACTS[3]}
    assert later[FACTS[0]].parts["relevant"] < first.parts["relevant"]


def test_explain_says_that_it_is_in_mind_and_why(mos: MOS) -> None:
    alice = talk(mos)
    hit = alice.search("what is my dog called?")[0]
    mos.scheduler.run_pending()
    told = str(alice.explain(hit.id))
    assert "It is in the working memory of this conversation" in told
    assert "relevant" in told
    assert "It was used" in told
    other = mos.session("alice", conversation="work")
    assert "working memory" not in str(other.explain(hit.id))
    assert alice.explain(hit.id).to_dict()["working"]["parts"]


def test_it_belongs_to_one_conversation_of_one_actor(mos: MOS) -> None:
    alice = talk(mos)
    mos.share("alice", with_="bob", rights="read")
    alice.search("what is my dog called?")
    mos.scheduler.run_pending()
    assert alice.working()
    bob = mos.session("bob", conversation="home", read_from=["alice"], write_to=[])
    assert bob.working() == []
    assert mos.session("alice", conversation="work").working() == []
    assert mos.session("alice", conversation="home", read_from=["alice", "alice/x"]).working() == []
    with pytest.raises(InvalidInput, match="conversation="):
        mos.session("alice").working()


def test_what_may_no_longer_be_seen_is_gone_at_once(mos: MOS) -> None:
    talk(mos)
    mos.share("alice", with_="bob", rights="read")
    bob = mos.session("bob", conversation="home", read_from=["alice"], write_to=[])
    bob.search("what is my dog called?")
    mos.scheduler.run_pending()
    dog = bob.working()[0]
    assert dog.text == FACTS[0]
    mos.session("alice").update(dog.id, visibility="private")
    assert FACTS[0] not in texts(each.item for each in bob.working())


@pytest.mark.parametrize("way", ["delete", "archive", "expire"])
def test_what_is_deleted_archived_or_expired_drops_out_at_once(mos: MOS, clock: ManualClock, way: str) -> None:
    alice = talk(mos)
    alice.search("what is my dog called?")
    mos.scheduler.run_pending()
    dog = alice.working()[0].item
    if way == "expire":
        alice.update(dog.id, expires_at=clock() + timedelta(seconds=5))
        assert dog.id in {each.id for each in alice.working()}
        clock.go(6)
    else:
        getattr(alice, way)(dog.id)
    assert dog.id not in {each.id for each in alice.working()}
    assert dog.id not in {item.id for item in alice.context("and then?", min_score=0).items}


def test_what_is_erased_leaves_nothing_behind(mos: MOS) -> None:
    alice = talk(mos)
    hit = alice.search("what is my dog called?")[0]
    mos.scheduler.run_pending()
    number = mos.store.heads(mos.store.cubes()[0], [hit.id])[hit.id].item
    holder = Holder("alice", "home", ("alice",))
    assert mos.store.uses.used_items([number])
    alice.erase([hit.id], reason="asked for")
    assert mos.store.uses.used_items([number]) == {}
    assert number not in {each.item for each in mos.store.uses.working(holder)}
    assert mos.store.uses.forget([number]) == 0
    assert mos.store.uses.working(holder), "the others are still in mind"


def test_an_actor_that_is_erased_has_nothing_in_mind(tmp_path: Path, clock: ManualClock) -> None:
    with MOS.open(tmp_path, now=clock) as mos:
        talk(mos).add("Call me Zacharias.")
        mos.share("alice", with_="bob", rights="read")
        bob = mos.session("bob", conversation="thread", read_from=["alice"], write_to=[])
        for session in (bob, mos.session("alice", conversation="home")):
            session.search("what is my dog called?")
        mos.scheduler.run_pending()
        mos.session("alice", conversation="home").search("Rex")
        mos.count_uses()  # a job waits that names her
        mos.erase(subject="alice", reason="asked for")
        assert mos.store.uses.working(Holder("alice", "home", ("alice",))) == []
        assert mos.store.uses.working(Holder("bob", "thread", ("alice",))) == []
        assert not [job for job in mos.scheduler.jobs() if "alice" in str(job.payload)]


def test_an_actor_is_erased_whose_conversation_had_a_name_of_its_own(tmp_path: Path, clock: ManualClock) -> None:
    with MOS.open(tmp_path, now=clock) as mos:
        alice = mos.session("alice", conversation="5c2f7d1e-8f0b-4c55-a1b5-0f6c3d1f7a10")
        alice.add("My dog is called Rex.")
        alice.search("what is my dog called?")
        mos.scheduler.run_pending()
        mos.erase(subject="alice", reason="asked for")
        assert not [job for job in mos.scheduler.jobs() if "alice" in str(job.payload)]
        assert mos.verify_erased(texts=["5c2f7d1e-8f0b-4c55-a1b5-0f6c3d1f7a10"]) == []


def test_it_is_there_when_the_store_is_opened_again(tmp_path: Path, clock: ManualClock) -> None:
    with MOS.open(tmp_path, now=clock) as mos:
        alice = talk(mos)
        alice.search("what is my dog called?")
    with MOS.open(tmp_path, now=clock) as mos:
        assert mos.session("alice", conversation="home").working()[0].text == FACTS[0]
        assert mos.scheduler.jobs() == [], "nothing waits that nobody may ever run"


def test_prediction_brings_in_what_stands_beside_what_was_found(clock: ManualClock) -> None:
    with MOS.open(":memory:", now=clock) as mos:  # words alone: only the order of the old conversation can tell
        old = mos.session("alice", conversation="last year")
        old.add(
            [{"role": "user", "content": text} for text in ("Tell me of Porto.", "Pack an umbrella.", "Book a hotel.")]
        )
        alice = mos.session("alice", conversation="now")
        alice.search("Porto?", top_k=1)
        mos.count_uses()
        assert texts(each.item for each in alice.working()) == ["Tell me of Porto."]
        mos.scheduler.run_pending()
        predicted = [each for each in alice.working() if set(each.parts) == {"predicted"}]
        assert texts(each.item for each in predicted) == ["Pack an umbrella.", "Book a hotel."]


def test_predictions_see_nothing_that_the_actor_may_not_see(clock: ManualClock) -> None:
    with MOS.open(":memory:", now=clock) as mos:
        old = mos.session("alice", conversation="last year")
        old.add({"role": "user", "content": "Tell me of Porto."})
        secret = old.add({"role": "user", "content": "The safe is behind the picture."}, visibility="private").ids
        mos.share("alice", with_="bob", rights="read")
        bob = mos.session("bob", conversation="now", read_from=["alice"], write_to=[])
        bob.search("Porto?", top_k=1)
        mos.scheduler.run_pending()
        assert texts(each.item for each in bob.working()) == ["Tell me of Porto."]
        numbers = {head.item for head in mos.store.heads(mos.store.cubes()[0], secret).values()}
        assert not numbers & {each.item for each in mos.store.uses.working(Holder("bob", "now", ("alice",)))}


# -- uses ------------------------------------------------------------------------------------------------------------------


def test_uses_are_counted_off_the_path_of_reads(mos: MOS, clock: ManualClock) -> None:
    alice = talk(mos)
    dog = alice.search("what is my dog called?")[0]
    alice.get(dog.id)
    assert mos.cube("alice").used([dog.id]) == {}, "reading writes nothing"
    assert mos.count_uses() == 2
    counted = mos.cube("alice").used([dog.id])[dog.id]
    assert counted.total == pytest.approx(dog.score + 1)
    assert mos.count_uses() == 0
    clock.go(3600)
    alice.get(dog.id)
    mos.count_uses()
    assert mos.cube("alice").used([dog.id])[dog.id].last_at - counted.last_at == 3600 * 1_000_000
    whole = mos.store.uses.used_cube(mos.store.cubes()[0])
    assert whole is not None
    assert whole.total >= counted.total


def test_uses_of_what_one_may_not_see_are_not_told(mos: MOS) -> None:
    alice = talk(mos)
    mine = mos.session("alice").add("The safe is behind the picture.", visibility="private").id
    alice.get(mine)
    mos.count_uses()
    mos.share("alice", with_="bob", rights="read")
    assert mos.cube("alice", actor="alice").used([mine])
    assert mos.cube("alice", actor="bob").used([mine]) == {}


def test_asking_does_not_change_what_is_answered_next(clock: ManualClock) -> None:
    with MOS.open(":memory:", now=clock) as mos:
        alice = mos.session("alice")
        alice.add(["The blue lamp stands over here.", "The blue lamp stands over there."])
        before = [(hit.id, hit.score, hit.parts) for hit in alice.search("blue lamp")]
        for _ in range(5):
            alice.get(before[-1][0])
        mos.count_uses()
        assert [(hit.id, hit.score, hit.parts) for hit in alice.search("blue lamp")] == before


def test_use_lifts_what_is_used_a_little_where_that_is_asked_for(clock: ManualClock) -> None:
    with MOS.open(":memory:", now=clock, rank_by_use=True) as mos:
        alice = mos.session("alice")
        first, second = alice.add(["The blue lamp stands over here.", "The blue lamp stands over there."]).ids
        other = alice.add("The blue lamp and the blue chair.").id
        before = {hit.id: hit for hit in alice.search("blue lamp", top_k=2, where=F.text.contains("stands"))}
        assert all("usage" not in hit.parts for hit in before.values())
        assert set(before) == {first, second}
        last = list(before)[-1]
        for _ in range(3):
            alice.get(last)
        mos.count_uses()
        after = alice.search("blue lamp", top_k=2, where=F.text.contains("stands"))
        assert after[0].id == last, "of equals the used one goes first"
        assert 0 < after[0].parts["usage"] <= 0.05
        alike = alice.search("blue lamp", top_k=2, where=F.text.contains("stands"), without=["usage"])
        assert [(hit.id, hit.parts) for hit in alike] == [(hit.id, hit.parts) for hit in before.values()]
        for _ in range(50):
            alice.get(other)
        mos.count_uses()
        assert alice.search("over there")[0].id == second, "no use makes up for what was asked"


def test_the_past_is_ranked_as_it_was(mos: MOS) -> None:
    alice = talk(mos)
    seq = mos.cube("alice").stats()["changes"]
    before = [(hit.id, hit.score, hit.parts) for hit in alice.search("Rex", as_of=seq)]
    for _ in range(5):
        alice.get(before[-1][0])
    mos.count_uses()
    assert [(hit.id, hit.score, hit.parts) for hit in alice.search("Rex", as_of=seq)] == before
    assert mos.cube("alice").stats()["changes"] == seq, "no use is a change"
    assert mos.verify() == []


def test_looking_into_the_past_is_no_use(mos: MOS) -> None:
    alice = talk(mos)
    alice.search("Rex", as_of=1)
    assert mos.count_uses() == 0


def test_later_pages_go_by_the_uses_of_the_first(mos: MOS) -> None:
    alice = mos.session("alice")
    ids = alice.add([f"The blue lamp number {number} of the house." for number in range(12)]).ids
    alice.get(ids[3])
    mos.count_uses()
    whole = [hit.id for hit in alice.search("blue lamp", top_k=100)]
    page = alice.search("blue lamp", top_k=4)
    seen = [hit.id for hit in page]
    while page.cursor:
        for id in whole[-3:]:  # what stands last is used now
            alice.get(id)
        mos.count_uses()
        page = alice.search("blue lamp", top_k=4, cursor=page.cursor)
        seen += [hit.id for hit in page]
    assert seen == whole


def test_without_counting_nothing_is_counted(clock: ManualClock) -> None:
    with MOS.open(":memory:", now=clock, usage=False) as mos:
        alice = talk(mos)
        alice.search("what is my dog called?")
        assert mos.count_uses() == 0
        assert alice.working() == []


def test_notes_that_cannot_be_written_stay_noted_and_closing_does_not_fail(tmp_path: Path) -> None:
    with MOS.open(tmp_path) as mos:
        id = mos.session("alice").add("The car is red.").id
        notes = UseNotes(mos.store)
    notes.note(Noted("get", 1, None, (("alice", id, 1.0, 0.0),)))
    with pytest.raises(StoreClosed):
        notes.flush()
    assert len(notes) == 1
    notes.close()
    assert len(notes) == 0


def test_notes_are_bounded(mos: MOS) -> None:
    notes = UseNotes(mos.store)
    for at in range(MOST_NOTED + 10):
        notes.note(Noted("get", at, None, (("alice", "gone", 1.0, 0.0),)))
    assert len(notes) == MOST_NOTED
    assert notes.flush() == MOST_NOTED, "what is noted of items that there are not is passed over"
