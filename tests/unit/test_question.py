"""If these fail, "what did we do last week?" looks in the wrong week, a question about Anna is answered with what others said,
or "and" is taken for Andrew: the question was misunderstood before anything was looked up."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.plaintext.question import Question, about, mostly_latin, take_apart, without_names
from memos_core.stores.index.people import People
from memos_core.types.work import from_micros, micros

NOW = datetime(2025, 3, 12, 9, tzinfo=UTC)  # a Wednesday
OLD = (micros(datetime(2023, 1, 5, tzinfo=UTC)), micros(datetime(2023, 10, 22, 15, tzinfo=UTC)))
RECENT = (micros(datetime(2024, 1, 5, tzinfo=UTC)), micros(datetime(2025, 3, 11, tzinfo=UTC)))


def taken_apart(text: str, known: tuple[int, int] | None = OLD) -> Question:
    return take_apart(text, NOW, known)


def spans(text: str, known: tuple[int, int] | None = OLD) -> list[str]:
    """The times that a question names, as days."""
    named = [(from_micros(first), from_micros(last)) for first, last in taken_apart(text, known).spans]
    assert all(first.time() == datetime.min.time() for first, _ in named), "from the beginning of a day"
    assert all((last.hour, last.minute, last.microsecond) == (23, 59, 999999) for _, last in named), "to the end of one"
    return [f"{first.date()}..{last.date()}" for first, last in named]


# -- times -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected", "undated"),
    [
        ("What did Anna do in May?", "2023-05-01..2023-05-31", "What did Anna do ?"),
        ("Was war im Juli 2023 los?", "2023-07-01..2023-07-31", "Was war los?"),
        ("2023年5月去了哪里？", "2023-05-01..2023-05-31", "去了哪里？"),
        ("What happened before August?", "0001-01-01..2023-07-31", "What happened before ?"),
        ("What happened after 2022?", "2023-01-01..9999-12-31", "What happened after ?"),
        ("Where has she been since June?", "2023-06-01..2023-10-22", "Where has she been since ?"),
        ("trips between May and July", "2023-05-01..2023-07-31", "trips between"),
        ("on 8 May 2023", "2023-05-08..2023-05-08", "on"),
    ],
)
def test_a_named_time_is_counted_from_the_newest_memory(text: str, expected: str, undated: str) -> None:
    """Years later, "in May" about an old conversation is the May that it is about."""
    assert spans(text) == [expected]
    assert taken_apart(text).undated == undated


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What did we do last week?", "2025-03-03..2025-03-09"),
        ("What did I say yesterday?", "2025-03-11..2025-03-11"),
        ("Was haben wir letzte Woche gemacht?", "2025-03-03..2025-03-09"),
        ("上周我们去了哪里？", "2025-03-03..2025-03-09"),
    ],
)
def test_a_relative_time_is_counted_from_the_clock(text: str, expected: str) -> None:
    assert spans(text, RECENT) == [expected]


def test_a_relative_time_outside_of_all_memories_is_no_time_to_look_in() -> None:
    """Asked in 2025 of memories from 2023, "last week" was said by somebody then: its words are looked for."""
    asked = taken_apart("What did she do last week?", OLD)
    assert asked.spans == ()
    assert asked.undated == asked.text
    assert spans("What will she do next year?", RECENT) == []


def test_memories_without_times_know_no_dates() -> None:
    asked = taken_apart("What did Anna do in May?", None)
    assert asked.spans == ()
    assert asked.undated == asked.text


def test_a_question_that_is_nothing_but_a_time_keeps_its_words() -> None:
    asked = taken_apart("May 2023", OLD)
    assert spans("May 2023") == ["2023-05-01..2023-05-31"]
    assert asked.undated == "May 2023"


def test_a_time_that_is_named_twice_is_looked_in_once() -> None:
    assert spans("In May 2023, or was it May 2023?") == ["2023-05-01..2023-05-31"]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "When did she move?",
            "  when?",
            "Which year was it?",
            "On what day was that?",
            "How long has he lived there?",
        ),
        *("Wann zog sie um?", "Seit wann wohnt er dort?", "In welchem Jahr war das?", "Wie lange dauerte es?"),
        *("Um wie viel Uhr treffen wir uns?", "Quand est-ce ?", "¿Cuándo fue?", "En quelle année ?", "¿En qué año?"),
        *(
            "你什么时候搬家的？",
            "什么时间开会？",
            "会议几点开始？",
            "哪年毕业的？",
            "哪个月去的？",
            "住了多长时间？",
            "いつですか",
        ),
    ],
)
def test_a_question_that_asks_for_a_time_is_recognised(text: str) -> None:
    assert taken_apart(text).asks_time
    assert taken_apart(text, None).asks_time


@pytest.mark.parametrize(
    "text",
    [
        "Where does she live?",
        "What did he say when it rained?",
        "Wo wohnt er?",
        "他住在哪里？",
        "Whenever you like",
        "",
    ],
)
def test_other_questions_are_not(text: str) -> None:
    assert not taken_apart(text).asks_time


# -- people ----------------------------------------------------------------------------------------------------------------


def people(*names: str) -> People:
    known = People()
    known.extend(names)
    return known


NAMES = ("Anna Smith", "Anna Jones", "Will", "May", "王芳", "Jon", "Gina", "Andrew", "Chris", "Jürgen", "Hans de Vries")
KNOWN = people(*NAMES)


def whom(text: str, asker: str | None = None) -> list[str]:
    number = None if asker is None else KNOWN.number_of(asker)
    return [NAMES[each] for each in about(taken_apart(text), KNOWN, number)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What did Anna Smith say?", ["Anna Smith"]),
        ("What did Anna say?", ["Anna Smith", "Anna Jones"]),  # both may be meant
        ("What did Jones say?", ["Anna Jones"]),
        ("WHAT DID JON SAY?", ["Jon"]),
        ("what did jon say?", ["Jon"]),
        ("Jon's dog", ["Jon"]),
        ("Jons dog", ["Jon"]),
        ("What do Jon and Gina like?", ["Jon", "Gina"]),
        ("Jon's and Gina's plans", ["Jon", "Gina"]),
        ("Gina & Jon", ["Gina", "Jon"]),
        ("Why did Jon leave Gina?", ["Jon", "Gina"]),
        ("Why did Jon leave home before Gina came?", ["Jon"]),  # the first one named
        ("bread and butter", []),
        ("Chris's car", ["Chris"]),
        ("Chris' car", ["Chris"]),
        ("was macht jürgen?", ["Jürgen"]),
        ("was macht Jurgen?", ["Jürgen"]),  # as typed on another keyboard
        ("Where does Mr de Vries live?", ["Hans de Vries"]),
        ("la casa de Ana", []),  # "de" is no name
        ("王芳说了什么？", ["王芳"]),
        ("我问王芳的时候", ["王芳"]),
        ("What will happen?", []),
        ("What did Will say?", ["Will"]),
        ("it may rain", []),
        ("Did May come?", ["May"]),
        ("Where does she live?", []),
        ("", []),
    ],
)
def test_whom_a_question_is_about(text: str, expected: list[str]) -> None:
    assert whom(text) == sorted(expected, key=NAMES.index)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Where do I live?", ["Jon"]),
        ("What is my dog called?", ["Jon"]),
        ("Wo wohne ich?", ["Jon"]),
        ("Wie heißt mein Hund?", ["Jon"]),
        ("¿Dónde vivo yo?", ["Jon"]),
        ("Where does Gina live?", ["Gina"]),
        ("What did Gina tell me?", ["Jon", "Gina"]),
        ("Where is the station?", []),
    ],
)
def test_i_is_who_asks(text: str, expected: list[str]) -> None:
    assert whom(text, asker="Jon") == expected
    assert "Jon" not in whom(text), "nobody known asks"


def test_nobody_known_is_nobody() -> None:
    assert about(taken_apart("What did Anna say?"), people()) == []


# -- what is looked for ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What did Jon say?", "What did I say?"),
        ("Where is Jon's dog?", "Where is my dog?"),
        ("Where is Jon’s dog?", "Where is my dog?"),
        ("What does Anna Smith like?", "What does I like?"),
        ("What did Jon do in May?", "What did I do ?"),
        ("Was macht Jürgen mit den Hunden?", "Was macht mit den Hunden?"),
        ("What will happen?", "What will happen?"),
        ("Jon", "I"),
        ("bread and butter", "bread and butter"),
    ],
)
def test_speakers_are_taken_out_of_what_is_looked_for(text: str, expected: str) -> None:
    assert without_names(taken_apart(text), KNOWN.words) == expected


def test_a_german_question_that_is_only_a_name_keeps_it() -> None:
    assert without_names(taken_apart("Was ist mit Jürgen?"), KNOWN.words) == "Was ist mit ?"
    assert without_names(Question("Jürgen", "de", (), "Jürgen", False), KNOWN.words) == "Jürgen"


@given(st.text(max_size=60))
def test_any_text_can_be_taken_apart(text: str) -> None:
    for known in (None, OLD, RECENT):
        asked = taken_apart(text, known)
        assert asked.text == text
        assert asked.undated or not text
        assert all(first <= last for first, last in asked.spans)
        assert set(about(asked, KNOWN)) <= set(range(len(NAMES)))
        assert isinstance(without_names(asked, KNOWN.words), str)


def test_scripts_that_an_english_model_knows() -> None:
    assert mostly_latin("Where is it?")
    assert mostly_latin("Où est-ce, ça?")
    assert mostly_latin("1234 !?")
    assert mostly_latin("")
    assert mostly_latin("the word 东京")
    assert not mostly_latin("东京的天气 ok")
    assert not mostly_latin("где она?")
