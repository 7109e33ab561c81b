"""If these fail, a memory is not linked to the people, places and files it speaks of, or every sentence is linked to
"Yesterday" and "Thanks".
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.reading.entities import MOST_ENTITIES, find_entities


@pytest.mark.parametrize(
    ("language", "text", "names"),
    [
        ("en", "Hey Caroline! I met Dr. Smith in New York.", ("Caroline", "Dr. Smith", "New York")),
        ("en", "Thanks Mel, see you Monday in May.", ("Mel",)),
        ("en", "Melanie went to Lisbon.", ("Melanie", "Lisbon")),
        ("en", "Will came late. I saw Will yesterday.", ("Will",)),
        ("en", "Will you come? Hope so. Mark it.", ()),
        ("en", "The University of Lisbon is in Portugal.", ("University of Lisbon", "Portugal")),
        ("en", "J. K. Rowling wrote Harry Potter.", ("J. K. Rowling", "Harry Potter")),
        ("en", "A letter by Vincent van Gogh.", ("Vincent van Gogh",)),
        ("en", "We read \"Eternal Sunshine of the Spotless Mind\".", ("Eternal Sunshine of the Spotless Mind",)),
        ("en", "He said \"Go away now\" and left.", ()),
        ("en", "Anna's Café and O'Brien", ("Anna", "Café", "O'Brien")),
        ("en", "I can't. It's OK. LOL, NASA did it.", ("NASA",)),
        ("en", "I'm so happy. That's Great!", ("Great",)),
        ("en", "THIS IS GREAT NEWS FROM PARIS", ()),
        ("en", "COVID-19, GPT-4 and LaTeX", ("COVID-19", "GPT-4", "LaTeX")),
        ("en", "I use iPhone, YouTube and MyClass.", ("iPhone", "YouTube", "MyClass")),
        ("en", "Call my_func() in main.py, not load_all.", ("my_func()", "main.py", "load_all")),
        ("en", "Mail bob@example.com or @alice, see https://www.python.org/docs?x=1.",
         ("bob@example.com", "@alice", "python.org")),
        ("en", "- Buy milk\n- Call Anna\n- Wash the car", ("Anna",)),
        ("en", "Me and I. That was it. Awww! Sooo good. Yay!", ()),
        ("en", "happy to see you", ()),
        ("en", "", ()),
        (None, "Yesterday Ann met Bob.", ("Ann", "Bob")),
        ("de", "Ich war gestern mit Anna Schmidt in Berlin und habe ein Glas Wasser getrunken.",
         ("Anna Schmidt", "Berlin")),
        ("de", "Herr Müller wohnt in München. Die Deutsche Bank auch.", ("Müller", "München", "Deutsche Bank")),
        ("de", "Guten Morgen! Liebe Grüße aus Hamburg", ("Hamburg",)),
        ("de", "Das Haus ist in Ordnung, die Tasse Kaffee auch, Ende Mai.", ()),
        ("de", "Die NASA und YouTube mit Freude.", ("NASA", "YouTube")),
        ("zh", "我用Python和GitHub写代码，读了《三体》。", ("Python", "GitHub", "三体")),
        ("zh", "我昨天去了公园", ()),
        ("fr", "Hier Marie est allée à Paris avec Jean-Luc Godard.", ("Marie", "Paris", "Jean-Luc Godard")),
        ("es", "Ayer María fue a Buenos Aires.", ("María", "Buenos Aires")),
        ("ru", "Вчера Анна поехала в Москву.", ("Анна", "Москву")),
    ],
)  # fmt: skip
def test_names_in_a_text(language: str | None, text: str, names: tuple[str, ...]) -> None:
    assert find_entities(text, language=language) == names


def test_each_name_once_and_not_too_many() -> None:
    assert find_entities("We saw Rome, then Rome, then Oslo.", language="en") == ("Rome", "Oslo")
    text = ", ".join(f"Na{chr(97 + number % 26)}{chr(97 + number // 26)}k" for number in range(100))
    names = find_entities(f"we met {text}", language="en")
    assert len(names) == len(set(names)) == MOST_ENTITIES


def test_a_headline_is_no_name() -> None:
    assert find_entities("We Have Some Very Important And Surprising Results Today", language="en") == ()


@given(st.text(max_size=300), st.sampled_from([None, "en", "de", "zh", "fr"]))
def test_any_text_gives_words_of_its_own(text: str, language: str | None) -> None:
    names = find_entities(text, language=language)
    assert len(names) == len(set(names)) <= MOST_ENTITIES
    for name in names:
        assert name
        assert name in text
