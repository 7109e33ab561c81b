"""If these fail, what was said about yesterday is lost among everything else: times in words are counted from the wrong day,
"last week" finds last year, and what Anna said is answered with what Bert did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from memos_core import MOS, F, Message, Session

NOW = datetime(2024, 6, 12, 9, tzinfo=UTC)  # a Wednesday
Told = Callable[..., Session]


@pytest.fixture
def told() -> Iterator[Told]:
    """Makes a session that remembers turns: (days before now, speaker, words)."""
    with MOS.open(":memory:", now=lambda: NOW) as mos:

        def make(*turns: tuple[float, str | None, str], actor: str = "anna") -> Session:
            session = mos.session(actor, conversation="chat")
            session.add([Message(content=words, speaker=by, at=NOW - timedelta(days=ago)) for ago, by, words in turns])
            return session

        yield make


# -- times that are said ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "days"),
    [
        ("I went to Rome yesterday.", "2024-05-07..2024-05-07"),
        ("We were in Rome last week.", "2024-04-29..2024-05-05"),
        ("Three weeks ago I saw the Colosseum.", "2024-04-14..2024-04-20"),
        ("Last Friday it rained in Rome.", "2024-05-03..2024-05-03"),
        ("In March I was ill.", "2024-03-01..2024-03-31"),
        ("Ich war letzte Woche in Rom.", "2024-04-29..2024-05-05"),
        ("Vorgestern hat es geschneit.", "2024-05-06..2024-05-06"),
        ("我昨天去了罗马。", "2024-05-07..2024-05-07"),
        ("上周我们去了西湖。", "2024-04-29..2024-05-05"),
        ("Hier, nous étions à Rome.", "2024-05-07..2024-05-07"),
    ],
)
def test_times_in_words_are_counted_from_when_they_were_said(told: Told, words: str, days: str) -> None:
    """Said on 8 May and read on 12 June: yesterday is 7 May, and stays it when memory is read years later."""
    (item,) = told((35, "Anna", words)).list()
    assert item.occurred_at == datetime(2024, 5, 8, 9, tzinfo=UTC)
    (mention,) = item.mentions.dates
    assert f"{mention.start}..{mention.end}" == days
    assert mention.text in words


def test_the_turn_that_says_when_comes_first_and_brings_the_day(told: Told) -> None:
    session = told(
        (40, "Anna", "I would love to see the Colosseum in Rome."),
        (37, "Bert", "The Colosseum in Rome is always crowded."),
        (35, "Anna", "I finally saw the Colosseum in Rome, it was last week."),
        (30, "Bert", "How was the Colosseum in Rome?"),
    )
    hits = session.search("When did she see the Colosseum in Rome?")
    assert "last week" in hits[0].text
    assert hits[0].parts["when"] > 0
    assert hits[0].item.mentions.dates[0].start == "2024-04-29"
    where = session.search("Where did she see the Colosseum in Rome?")
    assert not any(hit.parts["when"] for hit in where), "nobody asked when"
    assert "last week" not in session.search("When did she see the Colosseum in Rome?", without=["when"])[0].text


DIARY = [(ago, "Anna" if ago % 2 else "Bert", f"Today I worked in the garden, day {ago}.") for ago in range(60, -1, -1)]


@pytest.mark.parametrize(
    ("question", "first", "last"),
    [
        ("What did we do in the garden last week?", "2024-06-03", "2024-06-09"),
        ("What did we do in the garden yesterday?", "2024-06-11", "2024-06-11"),
        ("garden work between 20 April and 25 April 2024", "2024-04-20", "2024-04-25"),
        ("Was war letzte Woche im Garten?", "2024-06-03", "2024-06-09"),
        ("Was it on 1 May 2024 in the garden?", "2024-05-01", "2024-05-01"),
    ],
)
def test_a_time_in_the_question_brings_what_was_said_then(told: Told, question: str, first: str, last: str) -> None:
    session = told(*DIARY)
    begin, end = datetime.fromisoformat(first).date(), datetime.fromisoformat(last).date()
    days = (end - begin).days + 1
    hits = session.search(question, top_k=days)
    assert {hit.item.occurred_at.date() for hit in hits if hit.item.occurred_at} == {
        begin + timedelta(days=each) for each in range(days)
    }
    assert all(hit.parts["date"] > 0 for hit in hits)
    off = session.search(question, top_k=days, without=["date"])
    assert [hit.id for hit in off] != [hit.id for hit in hits]


def test_an_open_time_looks_to_one_side(told: Told) -> None:
    session = told(*DIARY)
    before = session.search("garden work before 1 May 2024", top_k=15)
    assert all(hit.item.occurred_at < datetime(2024, 5, 1, tzinfo=UTC) for hit in before if hit.item.occurred_at)
    since = session.search("garden work since 5 June 2024", top_k=8)
    assert all(hit.item.occurred_at >= datetime(2024, 6, 5, tzinfo=UTC) for hit in since if hit.item.occurred_at)


def test_a_filter_on_time_means_the_time_of_the_message(told: Told) -> None:
    session = told(*DIARY)
    week = (F.occurred_at >= datetime(2024, 6, 3, tzinfo=UTC)) & (F.occurred_at < "2024-06-10")
    assert len(session.search("garden", where=week, top_k=100)) == 7
    assert len(session.list(where=week)) == 7
    assert len(session.search("garden", where={"occurred_at": {">=": "2024-06-11T09:00:00Z"}})) == 2


def test_what_is_told_later_about_an_earlier_day_is_found_by_either_day(told: Told) -> None:
    """The time of the message decides what a filter says; the day it tells of is noted with it."""
    (item,) = told((0, "Anna", "On 3 May 2019 I swam across the lake.")).list()
    assert item.occurred_at == NOW
    assert [each.start for each in item.mentions.dates] == ["2019-05-03"]


# -- who says it -----------------------------------------------------------------------------------------------------------

PETS = [
    (9, "Anna Berg", "My dog is called Rex and sleeps in the kitchen."),
    (8, "Bert", "My dog is called Wolf and sleeps in the kitchen."),
    (7, "王芳", "My dog is called 豆豆 and sleeps in the kitchen."),
    (6, "Anna Berg", "Bert's dog is lovely."),
]


@pytest.mark.parametrize(
    ("question", "dog"),
    [
        ("What is Anna's dog called?", "Rex"),
        ("What is Bert's dog called?", "Wolf"),
        ("How does Berg's dog sleep?", "Rex"),
        ("王芳的 dog", "豆豆"),
        ("Wie heißt der dog von Anna?", "Rex"),
    ],
)
def test_a_question_about_somebody_is_answered_by_them(told: Told, question: str, dog: str) -> None:
    hits = told(*PETS).search(question)
    assert dog in hits[0].text
    assert hits[0].parts["speaker"] > 0


def test_i_is_the_actor_of_the_session(told: Told) -> None:
    for actor, dog in (("anna berg", "Rex"), ("bert", "Wolf")):
        hits = told(*PETS, actor=actor).search("What is my dog called?")
        assert dog in hits[0].text
        assert [hit.parts["speaker"] > 0 for hit in hits] == [hit.item.speaker.casefold() == actor for hit in hits]
    nobody = told(*PETS, actor="zoe").search("What is my dog called?")
    assert not any(hit.parts["speaker"] for hit in nobody)


def test_a_name_that_is_a_word_needs_its_capital(told: Told) -> None:
    session = told((5, "Will", "The garden gate is green."), (4, "Mark", "The garden gate is blue."))
    assert "green" in session.search("What did Will say about the garden gate?")[0].text
    assert not any(hit.parts["speaker"] for hit in session.search("what will the garden gate cost? mark my words"))


def test_what_was_noted_can_be_filtered(told: Told) -> None:
    session = told(
        (3, "Anna", "We met Charlotte in Lisbon near the Tagus river."),
        (2, "Bert", "Wir haben den ganzen Tag auf der Terrasse gesessen."),
        (1, None, "我昨天去了西湖。"),
    )
    assert [hit.text[:6] for hit in session.search("Lisbon", where=F.entities.contains("Lisbon"))] == ["We met"]
    assert [item.text[:3] for item in session.list(where=F.language == "de")] == ["Wir"]
    assert [item.text[:3] for item in session.list(where=F.language == "zh")] == ["我昨天"]
    assert len(session.list(where=F.speaker.in_(["Anna", "Bert"]))) == 2
    assert len(session.list(where=F.speaker.is_empty())) == 1
    assert len(session.list(where=(F.conversation == "chat") & (F.role == "user"))) == 3
