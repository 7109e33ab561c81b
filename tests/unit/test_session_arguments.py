"""If these fail, something that cannot be stored gets in, takes good things down with it, or an argument is ignored."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from memos_core import MOS, Actor, Document, Draft, Link, Message, Session, SourceRef
from memos_core.errors import (
    InvalidInput,
    InvalidMetadata,
    InvalidName,
    InvalidText,
    ItemNotFound,
    MemosError,
    WrongDimension,
)
from memos_core.types.items import Mentions

DEEP: Any = []
for _ in range(120):
    DEEP = [DEEP]
LOOP: dict[str, Any] = {}
LOOP["self"] = LOOP

NO_JSON: list[Any] = [
    {"a": object()},
    {"a": b"x"},
    {"a": {1, 2}},
    {"a": float("nan")},
    {"a": float("inf")},
    {"a": 2**63},
    {1: "a"},
    {"a": {None: 1}},
    {"a": "x\x00"},
    {"x\x00": 1},
    {"a": "\ud800"},
    {"a": DEEP},
    {"a": LOOP},
    {"a": np.ones(2)},
]
NO_TEXTS: list[Any] = ["", "   ", "\n\t", "a\x00b", "\ud83d", None, 7, b"bytes", {}, [""], ["good", ""], [None]]
NO_TIMES: list[Any] = [
    "2024-05-08",
    1715162400,
    date(2024, 5, 8),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))),
]
NO_LINKS: list[Any] = [7, ["x"], [("a", "b")], [Link("a", "b", float("nan"))], [Link("a", 7)], [Link("a\x00", "b")]]  # type: ignore[arg-type]

BAD: dict[str, list[Any]] = {
    "type": [7, "a\x00b", b"x"],
    "tags": ["home", 7, [1], [None], ["a\x00"], ["\ud800"]],
    "metadata": ["x", 7, [("a", 1)], *NO_JSON],
    "payload": [object(), b"x", {1}, 2**64, float("nan"), DEEP, *NO_JSON],
    "occurred_at": NO_TIMES,
    "confidence": [-0.1, 1.1, "1", True, float("nan")],
    "indexed": [1, "yes", None],
    "links": NO_LINKS,
}
NAMES: list[Any] = ["", "*", "a\x00b", " x", "x" * 257, "a\u200bb", 7, b"x"]


@pytest.fixture(scope="module")
def mos() -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing:16") as mos:
        mos.session("alice").add("good", id="good", key="the good one")
        yield mos


@pytest.fixture
def alice(mos: MOS) -> Iterator[Session]:
    """Whatever a test tries, nothing is changed by it."""
    session = mos.session("alice")
    before = (mos.cubes(), session.list())
    yield session
    assert (mos.cubes(), session.list()) == before


def refused(call: Callable[[], object], what: object, *kinds: type[Exception]) -> None:
    """It is refused as bad input, with a message that says something; never with another error."""
    with pytest.raises(InvalidInput) as caught:
        pytest.fail(f"{what!r} was taken: {call()!r}")
    assert not kinds or isinstance(caught.value, kinds), (what, caught.value)
    assert len(str(caught.value)) > 10, what


# -- add ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", BAD)
def test_add_refuses_what_cannot_be_stored(alice: Session, field: str) -> None:
    for value in BAD[field]:
        if value is None:
            continue
        refused(lambda value=value: alice.add("fine", **{field: value}), (field, value))


def test_metadata_that_is_no_json_says_where(alice: Session) -> None:
    with pytest.raises(InvalidMetadata, match=r"metadata\.a\.b\[1\]"):
        alice.add("x", metadata={"a": {"b": [1, object()]}})
    with pytest.raises(InvalidMetadata, match=r"payload\[0\]: .* does not fit 64 bits"):
        alice.add("x", payload=[2**70])


def test_texts_that_cannot_be_remembered(alice: Session) -> None:
    for text in NO_TEXTS:
        refused(lambda text=text: alice.add(text), text)
    for thing in (Message(content="a\x00"), Message(content=""), {"role": "user"}, {"content": None}, {"content": 7}):
        refused(lambda thing=thing: alice.add(thing), thing)


def test_bad_documents(alice: Session) -> None:
    for changes in (
        {"text": ""},
        {"text": "a\x00"},
        {"uri": ""},
        {"uri": "a\x00"},
        {"uri": 7},
        {"format": "pdf"},
        {"metadata": {"a": object()}},
        {"title": "a\x00"},
        {"at": "yesterday"},
        {"author": 7},
    ):
        document = Document(**{"text": "good words", "uri": "a.txt", **changes})  # type: ignore[arg-type]
        refused(lambda document=document: alice.add(document), changes)


def test_bad_drafts(alice: Session) -> None:
    for changes in (
        {"text": ""},
        {"text": "a\x00"},
        {"id": "*"},
        {"key": ""},
        {"kind": "magic"},
        {"conversation": " "},
        {"conversation": "a\x00"},
        {"confidence": 7},
        {"source": "a.txt"},
        {"source": SourceRef(position=-1)},
        {"source": SourceRef(position=2**40)},
        {"source": SourceRef(speaker="\ud800")},
        {"source": SourceRef(span=(1,))},
        {"payload": object()},
        {"metadata": {"a": object()}},
        {"derived_from": "x"},
        {"context": "a\x00"},
        {"occurred_at": "now"},
        {"mentions": Mentions(entities=(7,))},
        {"links": ("x",)},
    ):
        draft = Draft(**{"text": "good words", **changes})  # type: ignore[arg-type]
        refused(lambda draft=draft: alice.add(draft), changes)
        refused(lambda draft=draft: alice.add(["fine", draft]), changes)


def test_names_for_one_thing_only(alice: Session) -> None:
    for name in NAMES:
        refused(lambda name=name: alice.add("fine", id=name), name, InvalidName)
        refused(lambda name=name: alice.add("fine", key=name), name, InvalidName)
    for several in (["one", "two"], [], Document(uri="x", format="markdown", text="# A\n\none\n\n# B\n\ntwo")):
        refused(lambda several=several: alice.add(several, id="x"), several)
        refused(lambda several=several: alice.add(several, key="x"), several)


def test_vectors_must_fit(alice: Session) -> None:
    good = np.ones((1, 16), np.float32)
    for vectors in (good[0], good[:, 1:], [good[0]] * 2, [[float("nan")] * 16], [["a"] * 16], "x", [[1e300] * 16], []):
        refused(lambda vectors=vectors: alice.add("fine", vectors=vectors), vectors, WrongDimension)


def test_a_conversation_has_a_name(mos: MOS, alice: Session) -> None:
    for name in ("", "  ", "a\x00", 7, "\ud800"):
        refused(lambda name=name: mos.session("alice", conversation=name), name)  # type: ignore[arg-type]
        refused(lambda name=name: alice.add("fine", conversation=name), name)  # type: ignore[arg-type]


def test_nothing_to_add_is_nothing_added(alice: Session) -> None:
    added = alice.add([])
    assert (list(added), added.ids, added.new, len(added), repr(added)) == ([], [], [], 0, "Added(nothing)")


def test_what_is_strange_but_can_be_stored_comes_back_as_it_went() -> None:
    strange = [
        "\u202eabc\u202c",
        "a\u200bb",
        "x" * 10**6,
        "👩\u200d👩\u200d👧",
        "\x01\x1b[31m",
        "SELECT * FROM items; --",
        "é" * 999,
    ]
    metadata = {"": {"": [[], {}, None, -(2**63), 2**63 - 1, 1e308, "\u2028"]}, "a.b": 1, "$and": True}
    with MOS.open(":memory:") as mos:
        session = mos.session("alice")
        for text in strange:
            item = session.add(text, metadata=metadata, payload=metadata, type="\u202e", tags=["", " "])[0]
            read = session.get(item.id)
            assert (read.text, read.metadata, read.payload, read.type, read.tags) == (
                text,
                metadata,
                metadata,
                "\u202e",
                ("", " "),
            )
        assert mos.verify() == []


# -- update ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", BAD)
def test_update_refuses_what_cannot_be_stored(alice: Session, field: str) -> None:
    for value in BAD[field]:
        refused(lambda value=value: alice.update("good", **{field: value}), (field, value))
    assert alice.get("good").version == 1


def test_update_refuses_texts_names_and_nothing(alice: Session) -> None:
    for text in ("", "  ", "a\x00", "\ud800", None, 7, b"x"):
        refused(lambda text=text: alice.update("good", text=text), text, InvalidText)
    for name in NAMES:
        refused(lambda name=name: alice.update("good", new_key=name), name, InvalidName)
    with pytest.raises(InvalidInput, match="nothing to change"):
        alice.update("good")
    with pytest.raises(InvalidInput, match="nothing to change"):
        alice.update("good", expect_version=1)


# -- naming an item -------------------------------------------------------------------------------------------------------


def test_an_item_is_named_by_id_or_by_key(alice: Session) -> None:
    for call in (
        alice.get,
        alice.history,
        lambda **names: alice.update(**names, text="x"),
    ):
        for names in ({}, {"id": "good", "key": "the good one"}):
            with pytest.raises(InvalidInput, match="one of the two"):
                call(**names)
        for wrong in ({"id": 7}, {"id": "a\x00"}, {"key": 7}, {"key": ""}):
            refused(lambda call=call, wrong=wrong: call(**wrong), wrong)
        for absent in (
            {"id": "nowhere"},
            {"key": "nowhere"},
            {"id": "the good one"},
            {"key": "good"},
            {"id": ""},
            {"id": "%"},
        ):
            with pytest.raises(ItemNotFound):
                call(**absent)


def test_ids_to_delete_and_restore(alice: Session) -> None:
    for wrong in (None, 7, [7], ["good", None], ["a\x00"]):
        refused(lambda wrong=wrong: alice.delete(wrong), wrong)  # type: ignore[arg-type]
    for wrong in (None, 7, "a\x00", ["good"]):
        refused(lambda wrong=wrong: alice.restore(wrong), wrong)  # type: ignore[arg-type]
        refused(lambda wrong=wrong: alice.rollback(wrong, 1), wrong)  # type: ignore[arg-type]
    for version in (None, "1", 1.0, True):
        refused(lambda version=version: alice.rollback("good", version), version)  # type: ignore[arg-type]
    for expected in ("1", 1.0, True):
        refused(lambda expected=expected: alice.update("good", text="x", expect_version=expected), expected)  # type: ignore[arg-type]


# -- sessions -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cubes", ["alice", 7, 1.5])
def test_cubes_are_given_in_a_list(mos: MOS, cubes: Any) -> None:
    with pytest.raises(InvalidInput, match="is a list of cube names"):
        mos.session("alice", read_from=cubes)
    with pytest.raises(InvalidInput, match="is a list of cube names"):
        mos.session("alice", write_to=cubes)


def test_a_session_says_whose_it_is_and_what_it_sees(mos: MOS) -> None:
    session = mos.session(Actor("alice", ("team",)), conversation="t", write_to=["alice/b", "alice/a"])
    assert session.actor == Actor("alice", ("team",))
    assert session.conversation == "t"
    assert session.read_from == ["alice", "alice/b", "alice/a"]
    assert session.write_to == ["alice/a", "alice/b"]
    assert repr(session) == "Session('alice', reads ['alice', 'alice/b', 'alice/a'], writes ['alice/a', 'alice/b'])"
    assert isinstance(session.now(), datetime)
    assert session.now().tzinfo is UTC


def test_methods_take_no_user_and_no_stray_argument(alice: Session) -> None:
    for name, method in inspect.getmembers(Session, inspect.isfunction):
        if name.startswith("_"):
            continue
        parameters = inspect.signature(method).parameters
        allowed = {"cube"} if name in ("fork", "rollback_cube") else set()  # which of the session's own cubes
        assert not ({"user", "user_id", "actor", "cube", "cubes"} - allowed) & set(parameters), name
        assert not [each for each in parameters.values() if each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL)], name
    with pytest.raises(TypeError):
        alice.add("x", user_id="bob")  # type: ignore[call-arg]
    for call in (lambda: alice.fork("alice/y", cube="bob"), lambda: alice.rollback_cube(1, cube="bob")):
        with pytest.raises(MemosError, match="one of 'alice'"):
            call()  # type: ignore[no-untyped-call]
