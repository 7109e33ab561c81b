"""If these fail, turns of a conversation are lost, come in twice when they are read again, are taken for each other, or
lose who said them and when.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.errors import InvalidInput, InvalidMetadata, InvalidText
from memos_core.reading.messages import read_messages
from memos_core.types.inputs import Draft, Message

NOW = datetime(2023, 6, 14, 13, 0, tzinfo=UTC)
AT = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)


def read(messages: Any, conversation: str | None = "c") -> list[Draft]:
    return read_messages(messages, conversation=conversation, now=NOW)


def one(message: Any) -> Draft:
    (draft,) = read([message])
    return draft


# -- shapes -------------------------------------------------------------------------------------------------------


def test_a_message_of_our_own() -> None:
    draft = one(Message(content=" Hi! ", role="user", speaker="Ann", at=AT, id="m1", position=3, metadata={"x": 1}))
    assert (draft.text, draft.type, draft.occurred_at, draft.conversation) == (" Hi! ", "message", AT, "c")
    assert draft.metadata == {"x": 1}
    source = draft.source
    assert source is not None
    assert (source.role, source.speaker, source.message_id, source.position, source.at, source.span) == (
        ("user", "Ann", "m1", 3, AT, None)
    )
    assert draft.identity == ("message", "c", "m1")


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "Hi", "name": "Ann", "id": 7, "timestamp": AT},
        {"role": "user", "content": "Hi", "speaker": "Ann", "message_id": "7", "at": "2023-05-08T13:56:00Z"},
        {"type": "human", "content": [{"type": "text", "text": "Hi"}], "author": "Ann", "id": "7", "ts": 1683554160},
        {"content": ["Hi"], "name": "Ann", "id": "7", "created_at": 1683554160000},
        {"text": "Hi", "name": "Ann", "id": "7", "date": "8 May 2023, 1:56 pm"},
        {"type": "human", "data": {"content": "Hi", "type": "human", "name": "Ann", "id": "7"}, "time": AT.isoformat()},
        SimpleNamespace(
            type="human", content="Hi", name="Ann", id="7", additional_kwargs={"timestamp": AT.isoformat()}
        ),
    ],
)
def test_one_message_in_many_shapes(message: Any) -> None:
    draft = one(message)
    assert draft.source is not None
    assert (draft.text, draft.occurred_at, draft.source.role, draft.source.speaker, draft.source.message_id) == (
        ("Hi", AT, "user", "Ann", "7")
    )


def test_objects_are_known_by_what_they_have() -> None:
    class Role(Enum):
        ASSISTANT = "assistant"

    llama = SimpleNamespace(role=Role.ASSISTANT, content=None, blocks=[SimpleNamespace(block_type="text", text="Yo")])
    chunk = SimpleNamespace(type="AIMessageChunk", content="Yo", additional_kwargs={}, tool_calls=[])
    for message in (llama, chunk):
        draft = one(message)
        assert draft.source is not None
        assert (draft.text, draft.source.role, draft.metadata) == ("Yo", "assistant", {})
    assert [draft.text for draft in read(llama)] == ["Yo"]


def test_strings_are_the_users_words() -> None:
    drafts = read(["Hi", "there"])
    assert [(draft.text, draft.source and draft.source.role, draft.identity) for draft in drafts] == [
        ("Hi", "user", None),
        ("there", "user", None),
    ]
    assert [draft.text for draft in read("Hi")] == ["Hi"]
    assert [draft.text for draft in read({"content": "Hi"})] == ["Hi"]


def test_messages_may_come_one_at_a_time() -> None:
    def stream() -> Iterator[str]:
        yield "a"
        yield "b"

    assert [draft.text for draft in read(stream())] == ["a", "b"]
    assert read([]) == []


def test_pictures_are_remembered_by_their_description() -> None:
    parts = [
        {"type": "text", "text": "Look!"},
        {"type": "image", "caption": "a cat"},
        {"type": "image_url", "image_url": {"url": "data:…"}, "alt": "a dog"},
        {"type": "image_url", "image_url": {"url": "data:…"}},
    ]
    assert one({"content": parts}).text == "Look!\n[image: a cat]\n[image: a dog]"
    assert one({"content": "Look!", "caption": "a cat"}).text == "Look!\n[image: a cat]"
    assert one({"content": None, "caption": "a cat"}).text == "[image: a cat]"


def test_results_of_tools_are_words_and_thoughts_are_not() -> None:
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        {"type": "tool_result", "content": [{"type": "text", "text": "42"}]},
    ]
    assert one({"role": "user", "content": parts}).text == "42"


def test_nothing_unknown_is_dropped() -> None:
    draft = one(
        {
            "role": "user",
            "content": [{"type": "text", "text": "Hi"}, {"type": "sticker", "set": 3}],
            "mood": "good",
            "name": "Ann",
            "author": "A.",
            "metadata": {"mood": "fine", "x": 1},
            "empty": [],
        }
    )
    assert draft.metadata == {"mood": "fine", "x": 1, "author": "A.", "parts": [{"type": "sticker", "set": 3}]}


def test_what_only_calls_tools_is_left_out() -> None:
    drafts = read(
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "t", "function": {"name": "f"}}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            {"role": "tool", "content": "", "tool_call_id": "t"},
            {"role": "assistant", "content": "Done", "tool_calls": [{"id": "u"}]},
        ]
    )
    assert [draft.text for draft in drafts] == ["Hi", "Done"]
    assert drafts[1].metadata == {"tool_calls": [{"id": "u"}]}


def test_ids_may_be_numbers_and_uuids() -> None:
    assert one({"content": "x", "id": 5}).identity == ("message", "c", "5")
    assert one({"content": "x", "id": UUID(int=5)}).identity == ("message", "c", str(UUID(int=5)))
    assert one({"content": "x", "id": ""}).identity is None


def test_naive_times_are_utc() -> None:
    assert one(Message(content="x", at=datetime(2023, 5, 8, 13, 56))).occurred_at == AT


# -- what makes it the same ---------------------------------------------------------------------------------------


def test_reading_again_gives_the_same_identities_and_other_threads_others() -> None:
    messages = [
        {"content": "x", "id": "1"},
        {"content": "x", "position": 4, "name": "Ann"},
        {"content": "x", "at": AT},
        {"content": "x", "at": AT},
    ]
    first, second = ([draft.identity for draft in read(messages)] for _ in range(2))
    assert first == second
    assert len(set(first)) == 4
    assert set(first).isdisjoint(draft.identity for draft in read(messages, "other"))


@pytest.mark.parametrize(
    ("one_of_them", "other", "same"),
    [
        ({"id": "1", "content": "a"}, {"id": "1", "content": "edited"}, True),
        ({"id": "1", "content": "a"}, {"id": "2", "content": "a"}, False),
        ({"position": 1, "content": "a"}, {"position": 1, "content": "a"}, True),
        ({"position": 1, "content": "a"}, {"position": 2, "content": "a"}, False),
        ({"position": 1, "content": "a"}, {"position": 1, "content": "b"}, False),
        ({"at": AT, "content": "ok"}, {"at": AT, "content": "ok"}, True),
        ({"at": AT, "content": "ok"}, {"at": NOW, "content": "ok"}, False),
        ({"at": AT, "content": "ok", "name": "Ann"}, {"at": AT, "content": "ok", "name": "Bob"}, False),
        ({"at": AT, "content": "ok"}, {"at": AT, "content": "ok", "role": "assistant"}, False),
        ({"position": 1, "content": "a"}, {"id": "position", "content": "a"}, False),
    ],
)
def test_what_is_the_same_message(one_of_them: Any, other: Any, same: bool) -> None:
    assert (one(one_of_them).identity == one(other).identity) is same


def test_equal_words_at_one_time_are_as_many_as_they_are() -> None:
    twice = [{"content": "ha", "at": AT}, {"content": "ha", "at": AT}]
    assert len({draft.identity for draft in read(twice)}) == 2
    assert one(twice[0]).identity == read(twice)[0].identity


# -- long ones ----------------------------------------------------------------------------------------------------


def test_only_very_long_messages_are_cut() -> None:
    short = "word " * 1900
    assert [draft.text for draft in read([short])] == [short]
    long = "\n\n".join(f"Paragraph {number}. " + "It has some words. " * 20 for number in range(60))
    drafts = read([Message(content=long, id="m1", position=2, at=AT)])
    assert len(drafts) > 10
    assert len({draft.identity for draft in drafts}) == len(drafts)
    kept = ""
    for draft in drafts:
        assert draft.source is not None
        assert draft.source.span is not None
        assert (draft.source.message_id, draft.source.position, draft.occurred_at) == ("m1", 2, AT)
        assert long[slice(*draft.source.span)] == draft.text
        kept += draft.text
    assert "".join(kept.split()) == "".join(long.split())


# -- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "error", "said"),
    [
        ({"content": "  "}, InvalidText, "no words"),
        ({"content": []}, InvalidText, "no words"),
        ({"role": "user", "content": None, "tool_calls": [1]}, InvalidText, "no words"),
        ({"content": 5}, InvalidText, "int"),
        ({"content": [5]}, InvalidText, "int"),
        ("a\x00b", InvalidText, "NUL"),
        ("\ud800", InvalidText, "surrogate"),
        ({"content": "x", "name": "\ud800"}, InvalidText, "speaker"),
        ({"content": "x", "name": 1.5}, InvalidInput, "speaker"),
        ({"content": "x", "at": float("nan")}, InvalidInput, "finite"),
        ({"content": "x", "at": "soon"}, InvalidInput, "ISO 8601"),
        ({"content": "x", "at": 1e40}, InvalidInput, "too far"),
        ({"content": "x", "position": -1}, InvalidInput, "position"),
        ({"content": "x", "position": True}, InvalidInput, "position"),
        ({"content": "x", "position": 2**40}, InvalidInput, "position"),
        ({"content": "x", "position": "1"}, InvalidInput, "position"),
        ({"content": "x", "id": 1.5}, InvalidInput, "id"),
        ({"content": "x", "role": 5}, InvalidInput, "role"),
        ({"content": "x", "metadata": [1]}, InvalidMetadata, "metadata"),
        ({"content": "x", "metadata": {1: 2}}, InvalidMetadata, "metadata"),
        ({"content": "x", "thing": object()}, InvalidMetadata, "metadata"),
        (5, InvalidInput, "int"),
        (None, InvalidInput, "NoneType"),
        (b"x", InvalidInput, "bytes"),
        (object(), InvalidInput, "object"),
    ],
)
def test_what_is_refused_is_named_by_its_index(message: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match="message 1") as raised:
        read(["fine", message])
    assert said in str(raised.value)


@pytest.mark.parametrize("messages", [5, None, b"bytes"])
def test_what_is_no_list_of_messages_is_refused(messages: Any) -> None:
    with pytest.raises(InvalidInput, match="pass a list of messages"):
        read(messages)


def test_parts_inside_of_parts_end_somewhere() -> None:
    content: Any = [{"type": "text", "text": "x"}]
    for _ in range(500):
        content = [{"type": "tool_result", "content": content}]
    with pytest.raises(InvalidInput, match="nested"):
        read([{"content": content}])


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["role", "content", "text", "name", "at", "id", "position", "metadata", "caption", "data", "type"]
)


@given(st.lists(st.one_of(JSON, st.dictionaries(KEYS, JSON, max_size=6)), max_size=4))
def test_any_json_is_read_or_refused_by_name(messages: list[Any]) -> None:
    refusal = "message"
    try:
        drafts = read(messages)
    except InvalidInput as error:
        drafts, refusal = [], str(error)
    assert "message" in refusal
    assert all(draft.text.strip() for draft in drafts)
