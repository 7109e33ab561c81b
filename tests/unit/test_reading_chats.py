"""If these fail, an export of another system comes in without some of its conversations, in another order, or a
second time when it is read again.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memos_core.errors import ReadingFailed
from memos_core.reading.chats import load_chats
from memos_core.reading.messages import read_messages

NOW = datetime(2023, 6, 14, 13, 0, tzinfo=UTC)
AT = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)


def export(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(line) for line in value), encoding="utf-8")
    else:
        path.write_text(json.dumps(value), encoding="utf-8")
    return path


def told(path: Path) -> dict[str, list[tuple[str, str, int | None]]]:
    """Role, words and place of every message, by conversation, after both steps of reading."""
    conversations = {}
    for name, messages in load_chats(path):
        assert name not in conversations
        drafts = read_messages(messages, conversation=name, now=NOW)
        assert len(drafts) == len(messages)
        conversations[name] = [
            (draft.source.role or "", draft.text, draft.source.position) for draft in drafts if draft.source
        ]
    return conversations


HELLO = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]
HELLO_TOLD = [("user", "Hello", 0), ("assistant", "Hi!", 1)]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("talk.json", HELLO, {"talk": HELLO_TOLD}),
        ("talk.json", {"messages": HELLO}, {"talk": HELLO_TOLD}),
        ("talk.json", {"id": "c1", "title": "T", "messages": HELLO}, {"c1": HELLO_TOLD}),
        ("talk.json", {"title": "What is love?", "messages": HELLO}, {"What is love_": HELLO_TOLD}),
        ("talk.json", [{"id": 1, "messages": HELLO}, {"id": 2, "messages": HELLO}], {"1": HELLO_TOLD, "2": HELLO_TOLD}),
        ("talk.json", [{"messages": HELLO}, {"messages": HELLO}], {"talk#1": HELLO_TOLD, "talk#2": HELLO_TOLD}),
        ("talk.json", [HELLO, HELLO], {"talk#1": HELLO_TOLD, "talk#2": HELLO_TOLD}),
        ("talk.json", {"a": HELLO, "b": HELLO}, {"a": HELLO_TOLD, "b": HELLO_TOLD}),
        ("talk.json", {"conversations": [{"id": "x", "messages": HELLO}]}, {"x": HELLO_TOLD}),
        ("talk.json", [{"title": "T", "messages": HELLO}] * 2, {"T": HELLO_TOLD, "T#2": HELLO_TOLD}),
        ("talk.jsonl", HELLO, {"talk": HELLO_TOLD}),
        ("talk.jsonl", [{"messages": HELLO}, {"id": "x", "messages": HELLO}], {"talk#1": HELLO_TOLD, "x": HELLO_TOLD}),
        ("talk.json", [], {}),
        (
            "talk.json",
            [{"id": "s1", "conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi!"}]}],
            {"s1": HELLO_TOLD},
        ),
        (
            "talk.json",
            [{"type": "human", "data": {"content": "Hello"}}, {"type": "ai", "data": {"content": "Hi!"}}],
            {"talk": HELLO_TOLD},
        ),
    ],
)
def test_simple_shapes(tmp_path: Path, name: str, value: Any, expected: dict[str, Any]) -> None:
    assert told(export(tmp_path, name, value)) == expected


def test_lines_of_several_threads_are_sorted_out(tmp_path: Path) -> None:
    lines = [
        {"role": "user", "content": text, "conversation_id": thread}
        for text, thread in zip("abcd", "xyxy", strict=True)
    ]
    assert told(export(tmp_path, "all.jsonl", lines)) == {
        "x": [("user", "a", 0), ("user", "c", 1)],
        "y": [("user", "b", 0), ("user", "d", 1)],
    }


def test_messages_without_words_keep_the_places_of_the_others(tmp_path: Path) -> None:
    calls = {"role": "assistant", "content": None, "tool_calls": [{"id": "t"}]}
    path = export(tmp_path, "talk.json", [HELLO[0], calls, {"role": "tool", "content": ""}, HELLO[1]])
    assert told(path) == {"talk": [("user", "Hello", 0), ("assistant", "Hi!", 3)]}


def chatgpt(**fields: Any) -> dict[str, Any]:
    def node(name: str, parent: str | None, children: list[str], message: Any = None) -> dict[str, Any]:
        return {"id": name, "parent": parent, "children": children, "message": message}

    def message(role: str, content: Any, **more: Any) -> dict[str, Any]:
        return {"id": f"m{content}", "author": {"role": role}, "create_time": 1683554160.0, "content": content, **more}

    def text(*parts: Any) -> dict[str, Any]:
        return {"content_type": "multimodal_text", "parts": list(parts)}

    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file://x"}
    nodes = [
        node("root", None, ["hidden"]),
        node(
            "hidden",
            "root",
            ["q"],
            message("system", text("secret"), metadata={"is_visually_hidden_from_conversation": True}),
        ),
        node("q", "hidden", ["old", "call"], message("user", text(picture, "Hello"))),
        node("old", "q", [], message("assistant", text("old answer"))),
        node(
            "call", "q", ["a"], message("assistant", {"content_type": "code", "text": "search()"}, recipient="browser")
        ),
        node("a", "call", [], message("assistant", text("Hi!"))),
    ]
    return {"title": "T", "conversation_id": "g1", "mapping": {each["id"]: each for each in nodes}, **fields}


@pytest.mark.parametrize("fields", [{"current_node": "a"}, {}, {"current_node": "gone"}])
def test_chatgpt_the_branch_that_was_shown(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = export(tmp_path, "conversations.json", [chatgpt(**fields)])
    assert told(path) == {"g1": [("user", "Hello", 1), ("assistant", "Hi!", 3)]}
    ((name, messages),) = load_chats(path)
    drafts = read_messages(messages, conversation=name, now=NOW)
    assert drafts[0].occurred_at == AT
    assert drafts[0].metadata == {}


def test_chatgpt_an_older_branch(tmp_path: Path) -> None:
    path = export(tmp_path, "conversations.json", [chatgpt(current_node="old")])
    assert told(path)["g1"][-1] == ("assistant", "old answer", 2)


def test_a_tree_that_goes_round_in_circles_ends(tmp_path: Path) -> None:
    conversation = chatgpt(current_node="a")
    conversation["mapping"]["root"]["parent"] = "a"
    assert len(told(export(tmp_path, "conversations.json", conversation))["g1"]) == 2


def test_claude(tmp_path: Path) -> None:
    turns = [
        {
            "uuid": "m1",
            "text": "Hello",
            "sender": "human",
            "created_at": AT.isoformat(),
            "attachments": [],
            "files": [],
        },
        {"uuid": "m2", "text": "", "content": [{"type": "text", "text": "Hi!"}], "sender": "assistant"},
    ]
    path = export(tmp_path, "conversations.json", [{"uuid": "u1", "name": "T", "chat_messages": turns}])
    assert told(path) == {"u1": HELLO_TOLD}
    ((_, messages),) = load_chats(path)
    first, second = read_messages(messages, conversation="u1", now=NOW)
    assert first.identity == ("message", "u1", "m1")
    assert first.occurred_at == AT
    assert (first.metadata, second.metadata) == ({}, {})


def test_slack_day_files_go_on_in_their_channel(tmp_path: Path) -> None:
    said = {
        "type": "message",
        "user": "U1",
        "text": "Hello",
        "ts": "1683554160.000200",
        "user_profile": {"real_name": "Ann"},
    }
    joined = {"type": "message", "subtype": "channel_join", "user": "U2", "text": "joined", "ts": "1683554161.000200"}
    path = export(tmp_path, "general/2023-05-08.json", [said, joined, {"type": "message", "ts": "1", "files": []}])
    ((name, messages),) = load_chats(path)
    assert name == "general"
    first, second = read_messages(messages, conversation=name, now=NOW)
    assert first.identity == ("message", "general", "1683554160.000200")
    assert first.occurred_at == AT.replace(microsecond=200)
    assert first.source is not None
    assert (first.source.speaker, first.source.position) == ("Ann", None)
    assert second.metadata == {"user": "U2", "subtype": "channel_join"}


def test_reading_an_export_twice_gives_the_same_identities(tmp_path: Path) -> None:
    path = export(tmp_path, "talk.jsonl", HELLO * 3)
    runs = [
        [
            draft.identity
            for name, messages in load_chats(path)
            for draft in read_messages(messages, conversation=name, now=NOW)
        ]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert None not in runs[0]
    assert len(set(runs[0])) == 6


def test_json_lines_under_another_ending_and_with_a_mark(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(each) for each in HELLO)
    (tmp_path / "talk.txt").write_text(lines, encoding="utf-8")
    assert told(tmp_path / "talk.txt") == {"talk": HELLO_TOLD}
    (tmp_path / "talk.jsonl").write_text(f"\ufeff{lines}\n\n", encoding="utf-8")
    assert told(tmp_path / "talk.jsonl") == {"talk": HELLO_TOLD}
    (tmp_path / "talk.json").write_text(json.dumps(HELLO), encoding="utf-16")
    assert told(tmp_path / "talk.json") == {"talk": HELLO_TOLD}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", '{"foo": 1}', "keys 'foo'"),
        ("a.json", "[1, 2]", "a list of int"),
        ("a.json", "3", "a value of type int"),
        ("a.json", '[{"messages": [1]}]', "a.json', entry 1, 'messages': found a list of int"),
        ("a.json", "{", "not JSON"),
        ("a.json", "[" * 100_000, "not JSON"),
        ("a.json", "[" * 50 + "]" * 50, "nested"),
        ("a.json", '[{"role": "user", "content": 5}]', "message 0"),
        ("a.jsonl", '{"role": "user", "content": "x"}\n{"x": 1}', "line 2"),
        ("a.jsonl", '{"role": "user", "content": "x"}\n\n{bad', "line 3"),
        ("a.jsonl", '{"role": "user", "content": 5}', "line 1"),
    ],
)
def test_what_is_no_export_is_refused_by_place(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ReadingFailed, match=r"a\.json") as raised:
        load_chats(tmp_path / name)
    assert said in str(raised.value)


def test_a_file_that_cannot_be_read_keeps_its_cause(tmp_path: Path) -> None:
    for name in ("absent.json", "absent.jsonl"):
        with pytest.raises(ReadingFailed, match="absent") as raised:
            load_chats(tmp_path / name)
        assert isinstance(raised.value.__cause__, OSError)


KEYS = (
    "role", "content", "text", "messages", "mapping", "data", "from", "value", "ts", "type", "id", "user", "sender",
    "author", "parts", "metadata", "current_node", "parent", "children", "message", "chat_messages", "conversations",
    "content_type", "caption",
)  # fmt: skip
JSON = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=5), st.sampled_from(["a", "text", "user", "human"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*KEYS, "a", "b"]), inner, max_size=4)
    ),
    max_leaves=12,
)
TREE = st.dictionaries(
    st.sampled_from("abc"),
    st.fixed_dictionaries({}, optional={"parent": JSON, "children": JSON, "message": JSON}),
    max_size=3,
).flatmap(
    lambda nodes: st.fixed_dictionaries({"mapping": st.just(nodes)}, optional={"current_node": JSON, "title": JSON})
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(JSON, TREE))
def test_any_json_is_read_or_refused(tmp_path: Path, value: Any) -> None:
    path = export(tmp_path, "any.json", value)
    try:
        chats = load_chats(path)
    except ReadingFailed:
        return
    for name, messages in chats:
        assert name
        assert messages
