"""If these fail, a model's invention is taken for what a user has said, or a newer preference loses against an older one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.plaintext.preference import Place, decide, draft_of, key_for, keyed, strongest
from memos_core.reading.extract import (
    LONGEST_MESSAGE,
    POLARITIES,
    Preference,
    Preferences,
    Said,
    Shown,
    judge,
    prompt_for,
    shown_text,
    stands_in,
    telling,
    topic_of,
)
from memos_core.types.items import LifecycleState
from memos_core.types.names import check_name
from memos_core.types.work import Body, Head, Record, micros

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def message(n: int = 1, text: str = "I love tea.", **changes: Any) -> Shown:
    usual: dict[str, Any] = {"role": "user", "person": "alice", "at": NOON, "new": True}
    return Shown(n=n, id=f"m{n}", version=1, seq=n, text=text, **{**usual, **changes})


def said(**changes: Any) -> Said:
    usual: dict[str, Any] = {"topic": "tea", "statement": "Loves tea.", "polarity": "likes", "explicit": True}
    return Said(**{**usual, "messages": [1], "quote": "I love tea", **changes})


# -- what of an answer is believed -----------------------------------------------------------------------------------------

PROVED: dict[str, tuple[str, str]] = {
    "as it is": ("I love tea", "I love tea."),
    "across a line": ("I love tea", "Well:\nI  love\ttea!"),
    "in the middle": ("love tea", "I love tea, and you?"),
    "all of it": ("I love tea.", "I love tea."),
    "Chinese": ("我喜欢茶", "其实我喜欢茶，不喜欢咖啡"),
    "Thai": ("ชอบชา", "ฉันชอบชามาก"),
    "Korean": ("커피 좋아", "저는 커피 좋아해요"),
    "Japanese": ("お茶が好き", "私はお茶が好きです"),
    "German": ("kein Fleisch", "Ich esse kein Fleisch mehr."),
    "after a cut word": ("no tea", "piano tea? no tea!"),
    "accents": ("café au lait", "Un café au lait, toujours."),
}
MADE_UP: dict[str, tuple[str, str]] = {
    "other words": ("I adore tea", "I love tea."),
    "another case": ("i love tea", "I love tea."),
    "begun within a word": ("ove tea", "I love tea."),
    "ended within a word": ("I love te", "I love tea."),
    "another order": ("tea I love", "I love tea."),
    "words left out": ("I tea", "I love tea."),
    "an ellipsis": ("I … tea", "I love tea."),
    "another script": ("І love tea", "I love tea."),
}


@pytest.mark.parametrize("case", PROVED)
def test_words_that_stand_in_the_message_prove_it(case: str) -> None:
    quote, text = PROVED[case]
    found = judge(said(quote=quote), {1: message(text=text)})
    assert isinstance(found, Preference)
    assert found.quoted


@pytest.mark.parametrize("case", MADE_UP)
def test_words_that_do_not_are_made_up(case: str) -> None:
    quote, text = MADE_UP[case]
    assert judge(said(quote=quote), {1: message(text=text)}) == "made up"


@pytest.mark.parametrize("quote", ["", "I", "tea", "...", "茶", "- !", "don't", "_ _", "커피를", "ｔｅａ", "𝐭𝐞𝐚"])
def test_words_that_say_nothing_prove_nothing(quote: str) -> None:
    found = judge(said(quote=quote), {1: message(text="- ! _ _ I don't love tea... 茶 커피를 ｔｅａ 𝐭𝐞𝐚")})
    assert isinstance(found, Preference)
    assert not found.quoted
    assert (
        judge(
            said(quote=quote, polarity="withdrawn"),
            {1: message(text="- ! _ _ I don't love tea... 茶 커피를 ｔｅａ 𝐭𝐞𝐚")},
        )
        == "unproven"
    )


def test_it_must_rest_on_something_new_of_one_user() -> None:
    old, new = message(1, new=False), message(2, text="Yes.")
    other = message(3, "I love tea.", person="bob")
    helper = message(4, "I love tea.", role="assistant", person="assistant")
    shown = {each.n: each for each in (old, new, other, helper)}
    assert judge(said(messages=[1]), shown) == "nothing new"
    both = judge(said(messages=[2, 1, 2]), shown)
    assert isinstance(both, Preference)
    assert [source.n for source in both.sources] == [1, 2]
    assert not both.quoted, "the words are old ones"
    assert judge(said(messages=[2, 3]), shown) == "several people"
    assert judge(said(messages=[4]), shown) == "not the user's"
    assert judge(said(messages=[2, 4]), shown) == "made up", "the assistant's words are no quote"
    assert judge(said(messages=[2, 4], quote=""), shown) != "made up"
    assert judge(said(messages=[0]), shown) == judge(said(messages=[]), shown) == "not shown"
    assert judge(said(messages=[-1]), shown) == "not shown"


def test_what_cannot_be_stored_is_not_believed() -> None:
    shown = {1: message()}
    assert judge(said(statement="x\x00y"), shown) == "not understood"
    assert judge(said(topic="te\ud800a"), shown) == "not understood"
    assert judge(said(topic="  ?! "), shown) == "empty"
    assert judge(said(statement="..."), shown) == "empty"


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "topic": st.text(max_size=30),
                "statement": st.text(max_size=60),
                "polarity": st.sampled_from(POLARITIES),
                "explicit": st.booleans(),
                "messages": st.lists(st.integers(-1, 5), max_size=4),
                "quote": st.one_of(
                    st.text(max_size=20), st.sampled_from(["I love tea", "love", "I hate rain", "cake"])
                ),
            }
        ),
        max_size=5,
    )
)
def test_whatever_a_model_answers_nothing_is_proved_that_a_user_has_not_just_said(
    answers: list[dict[str, Any]],
) -> None:
    shown = {
        1: message(1, "I love tea.", new=False),
        2: message(2, "I love cake.", role="assistant", person="assistant"),
        3: message(3, "I hate rain."),
        4: message(4, "I love tea, too.", person="bob"),
    }
    decoded = msgspec.json.decode(msgspec.json.encode({"preferences": answers}), type=Preferences)
    for each in decoded.preferences:
        found = judge(each, shown)
        if isinstance(found, str):
            continue
        assert {source.role for source in found.sources} == {"user"}
        assert any(source.new for source in found.sources)
        assert {source.person for source in found.sources} == {found.person}
        if found.quoted:
            words = " ".join(found.quote.split())
            assert any(words in " ".join(source.text.split()) for source in found.sources if source.new)
        assert found.quoted or found.polarity != "withdrawn"
        check_name(keyed(draft_of(found, None, "m", "h"), found, None).key, "key")


@given(st.text(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_a_quote_stands_in_a_text_if_its_words_do(text: str, start: int, length: int) -> None:
    words = text.split()
    part = " ".join(words[start : start + length])
    assert not part or stands_in(part, text)
    assert not stands_in(f"{part} missing9", text)


# -- names ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Coffee", "  coffee! "),
        ("Ｃｏｆｆｅｅ", "coffee"),
        ("STRASSE", "straße"),
        ("green-tea", "green tea"),
        ("C++", "c++"),
    ],
)
def test_a_topic_has_one_way_of_writing(one: str, other: str) -> None:
    assert topic_of(one) == topic_of(other) != ""


@given(st.text(max_size=300), st.text(max_size=300), st.one_of(st.none(), st.text(max_size=40)))
def test_whatever_people_and_topics_are_called_their_keys_are_names(person: str, said: str, reader: str | None) -> None:
    topic = topic_of(said)
    assert topic_of(topic) == topic
    if topic:
        person, reader = (each and each.encode("utf-8", "replace").decode() for each in (person, reader))
        assert check_name(key_for(person or "", topic, reader), "key")


def test_keys_tell_people_and_readers_apart() -> None:
    keys = [
        key_for("a", "tea", None),
        key_for("b", "tea", None),
        key_for("a", "tea", "a"),
        key_for("a", "tea", "b"),
        key_for("a", "rum", None),
        key_for("a*", "tea", None),
        key_for("a?", "tea", None),
    ]
    assert len(set(keys)) == len(keys)


def test_long_messages_are_cut_and_prompts_hold_their_data_in_the_last_line() -> None:
    text = "x" * 3 * LONGEST_MESSAGE
    assert len(shown_text(text)) < LONGEST_MESSAGE + 10
    assert shown_text("short") == "short"
    prompt = prompt_for([message(text='a\n"} b\u2028c')], ["tea"])
    assert json.loads(prompt.rpartition("\n")[2]) == {
        "known": ["tea"],
        "messages": [
            {"n": 1, "role": "user", "person": "alice", "at": "2026-01-01", "new": True, "text": 'a\n"} b\u2028c'}
        ],
    }
    assert telling("I love")


# -- what a new one does to the one before ---------------------------------------------------------------------------------


def preference(**changes: Any) -> Preference:
    usual: dict[str, Any] = {"topic": "tea", "statement": "Loves tea.", "polarity": "likes", "explicit": True}
    usual |= {"quoted": True, "quote": "I love tea", "person": "alice", "at": NOON, "seq": 9, "sources": (message(9),)}
    return Preference(**{**usual, **changes})


def standing(state: str = "activated", action: str = "preferences", **changes: Any) -> Place:
    """What is there: that tea is disliked, said an hour ago."""
    usual: dict[str, Any] = {
        "type": "preference",
        "key": "preference:alice:tea",
        "occurred_at": NOON - timedelta(hours=1),
        "metadata": {"polarity": "dislikes"},
        "derived_from": (("m1", 1),),
    }
    record = Record(
        cube="alice",
        seq=5,
        item=5,
        id="p",
        version=2,
        op="update",
        prev=4,
        state=LifecycleState(state),
        vectors_of=5,
        text="Hates tea.",
        body=Body(**{**usual, **changes}),
        actor="somebody",
        action=action,
        at=micros(NOON - timedelta(hours=1)),
        created=micros(NOON - timedelta(hours=1)),
    )
    return Place(Head(5, "p", 5, 2, False), record)


GUESS = {"quoted": False, "explicit": False}
GONE = {"polarity": "withdrawn"}
AGREES = {"polarity": "dislikes", "statement": "hates tea"}
LATER = NOON + timedelta(days=9)
DECISIONS: list[tuple[str, dict[str, Any], Place, str, str]] = [
    ("nothing there", {}, Place(), "added", "activated"),
    ("nothing there", GUESS, Place(), "added", "generated"),
    ("nothing there", GONE, Place(), "nothing to withdraw", ""),
    ("deleted before", {}, Place(deleted=8), "added", "activated"),
    ("deleted since", {}, Place(deleted=10), "older", ""),
    ("another one holds", {}, standing(), "changed", "activated"),
    ("another one holds", GUESS, standing(), "weaker", ""),
    ("another one holds", GONE, standing(), "withdrawn", "archived"),
    ("the same holds", AGREES, standing(), "known", ""),
    ("the same holds", {**AGREES, **GUESS}, standing(), "known", ""),
    ("another guess", {}, standing("generated"), "confirmed", "activated"),
    ("another guess", GUESS, standing("generated"), "changed", "generated"),
    ("the same guess", AGREES, standing("generated"), "confirmed", "activated"),
    ("the same guess", {**AGREES, **GUESS}, standing("generated"), "known", ""),
    ("another guess", GONE, standing("generated"), "withdrawn", "archived"),
    ("archived", {}, standing("archived"), "changed", "activated"),
    ("archived", AGREES, standing("archived"), "changed", "activated"),
    ("archived", GUESS, standing("archived"), "rejected", ""),
    ("archived", GONE, standing("archived"), "nothing to withdraw", ""),
    ("merged", {}, standing("merged"), "changed", "activated"),
    ("frozen", {}, standing("frozen"), "frozen", ""),
    ("held", {}, msgspec.structs.replace(standing(), held=True), "on hold", ""),
    ("of another type", {}, standing(type="fact"), "taken", ""),
    ("private", {}, standing(private_to="bob"), "taken", ""),
    ("said later", {}, standing(occurred_at=LATER), "older", ""),
    ("said later", GONE, standing(occurred_at=LATER), "older", ""),
    ("corrected before", {}, standing(action="update"), "changed", "activated"),
    ("corrected since", {"seq": 4}, standing(action="update"), "older", ""),
    ("corrected after it was said", {"at": NOON - timedelta(days=1)}, standing(action="update"), "older", ""),
]


@pytest.mark.parametrize(("what", "changes", "place", "done", "state"), DECISIONS)
def test_what_is_done_is_as_the_table_says(
    what: str, changes: dict[str, Any], place: Place, done: str, state: str
) -> None:
    found = preference(**changes)
    draft = keyed(draft_of(found, None, "m", "h"), found, None)
    decided = decide(found, draft, place, "new")
    if isinstance(decided, str):
        assert (decided, state) == (done, "")
        return
    told, put = decided
    assert (told, str(put.state)) == (done, state)
    assert put.body is not None
    assert put.body.key == "preference:alice:tea"
    assert (put.body.model, put.body.prompt_hash) == ("m", "h")
    assert ("m9", 1) in put.body.derived_from
    assert put.id == ("new" if place.head is None else "p")
    assert put.vectors_of == (5 if put.text == "Hates tea." else 0), "vectors are of the words"


def test_tags_and_links_that_somebody_gave_stay() -> None:
    found = preference()
    decided = decide(found, draft_of(found, None, "m", "h"), standing(tags=("pinned",), metadata={"own": 1}), "new")
    assert not isinstance(decided, str)
    assert decided[1].body is not None
    assert decided[1].body.tags == ("pinned",)
    assert decided[1].body.metadata["own"] == 1


def test_of_several_the_last_that_is_quoted_holds() -> None:
    all_of_them = [
        preference(statement="one", at=LATER, **GUESS),
        preference(statement="two"),
        preference(statement="three", at=NOON + timedelta(hours=1)),
        preference(statement="four", at=NOON - timedelta(hours=1)),
    ]
    drafts = [keyed(draft_of(each, None, "m", "h"), each, None) for each in all_of_them]
    (best,) = strongest(list(zip(all_of_them, drafts, strict=True)))
    assert best[0].statement == "three"
