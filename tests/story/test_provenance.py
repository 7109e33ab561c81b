"""If these fail, nobody can tell where a memory comes from, what was made of it, or why it is as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from memos_core import MOS, Document, Draft, F, Message, Session
from memos_core.errors import InvalidInput, ItemNotFound
from memos_core.lifecycle import lineage as lineages
from tests.story.telling import Clock


@pytest.fixture
def mos() -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing", now=Clock()) as mos:
        yield mos


@pytest.fixture
def alice(mos: MOS) -> Session:
    return mos.session("alice", conversation="kitchen talk")


def family(alice: Session) -> None:
    """Two facts merged into one, which with a third was read out of a message by a model."""
    alice.add(
        Message(content="I bought a red lamp, and a blue one.", speaker="Caroline", id="m7", at=datetime(2025, 5, 1)),
        id="said",
    )
    for id in ("red", "blue"):
        derived = Draft(
            text=f"Caroline has a {id} lamp", derived_from=(("said", 1),), model="tiny-1", prompt_hash="ab" * 32
        )
        alice.add(derived, id=id, state="generated")
        alice.activate(id, reason="she nodded")
    lamps = alice.merge(["red", "blue"], "Caroline has two lamps", reason="the same story")
    alice.update(lamps.id, text="Caroline has two lamps, red and blue", new_key="lamps")


def test_explain_tells_the_story(alice: Session) -> None:
    family(alice)
    said = str(alice.explain("red"))
    for words in (
        "fact 'red' of cube 'alice': Caroline has a red lamp",
        "Version 1 (change 2): added by 'alice' at 2026-01-01 00:00:00 UTC.",
        "Version 2 (change 3): activated by 'alice' at 2026-01-01 00:00:00 UTC: she nodded.",
        ": merged into another by 'alice' at 2026-01-01 00:00:00 UTC: the same story.",
        "It was made from 'said' (version 1).",
        "The language model 'tiny-1' took part, asked with a prompt of SHA-256 abab",
        "It is merged: search finds what it was merged into.",
    ):
        assert words in said, said
    assert re.search(r"It was merged into '[0-9a-f]{32}'\.", said)
    said = str(alice.explain("said"))
    assert (
        "Caroline said it in the conversation 'kitchen talk', message 'm7', place 0, 2025-05-01 00:00:00 UTC." in said
    )
    assert "From it were made: 'red', 'blue'" in said
    said = str(alice.explain(key="lamps"))
    assert "Version 2 (change 9): changed by 'alice'" in said or "changed by 'alice'" in said
    assert "the same story" not in said  # that was the reason of the two that were merged


def test_explain_tells_of_ends_privacy_and_documents(alice: Session) -> None:
    alice.add(
        Document(text="# Lamps\n\nThe lamp is red.", uri="lamps.md", format="markdown"),
        visibility="private",
        expires_at=datetime(2027, 1, 1, tzinfo=UTC),
        occurred_at=datetime(2025, 1, 1),
    )
    said = str(alice.explain(alice.list()[0].id))
    assert "It was read from the document 'lamps.md', characters " in said
    assert "It is private to 'alice'" in said
    assert "It expires at 2027-01-01 00:00:00 UTC." in said
    assert "What it says happened at 2025-01-01 00:00:00 UTC." in said


def test_lineage_reaches_both_ways(alice: Session) -> None:
    family(alice)
    lamps = alice.get(key="lamps").id
    everything = {"said", "red", "blue", lamps}
    assert set(alice.lineage("said").items) == set(alice.lineage(lamps).items) == everything
    assert set(alice.lineage("red").items) == {"said", "red", lamps}
    assert {(e.source, e.target, e.relation, e.version) for e in alice.lineage("said").edges} == {
        ("said", "red", "derived", 1),
        ("said", "blue", "derived", 1),
        ("said", lamps, "derived", 1),
        ("red", lamps, "merged_into", 2),
        ("blue", lamps, "merged_into", 2),
    }
    assert set(alice.lineage("said", depth=1).items) == everything
    assert set(alice.lineage("red", depth=1).items) == {"said", "red", lamps}
    alice.add(Draft(text="they are bright", derived_from=((lamps, 2),)), id="bright")
    assert set(alice.lineage("red", depth=1).items) == {"said", "red", lamps}
    assert set(alice.lineage("red").items) == {"said", "red", lamps, "bright"}
    assert [item.id for item in alice.list(where=F.derived_from.contains("red"))] == [lamps]


def test_lineage_is_drawn_in_three_ways(alice: Session) -> None:
    family(alice)
    lineage = alice.lineage("red")
    lines = lineage.text().splitlines()
    assert [line.split()[0] for line in lines] == ["<-", "red", "->"]
    assert "said (version 1) I bought a red lamp" in lines[0]
    assert lines[1] == "red (version 3, merged) Caroline has a red lamp"
    mermaid = lineage.mermaid()
    assert mermaid.startswith("flowchart TD\n")
    assert mermaid.count("-->") == len(lineage.edges)
    dot = lineage.graphviz()
    assert dot.startswith("digraph lineage {")
    assert dot.endswith("}")
    assert dot.count(" -> ") == len(lineage.edges)
    assert msgspec.json.decode(msgspec.json.encode(lineage.to_dict()))["id"] == "red"
    assert (
        msgspec.json.decode(msgspec.json.encode(alice.explain("red").to_dict()))["story"] == alice.explain("red").story
    )


@pytest.mark.parametrize("text", ['say "hi"\nthere', "a\\b", "<b>&amp;</b>", "]-->[", "ends with \\", "| --> n0"])
def test_no_text_breaks_out_of_a_drawing(alice: Session, text: str) -> None:
    alice.add(text, id="x")
    drawn = alice.lineage("x")
    assert len(drawn.text().splitlines()) == 1
    assert len(drawn.mermaid().splitlines()) == 3
    assert drawn.mermaid().splitlines()[1].count('"') == 2
    label = drawn.graphviz().splitlines()[2]
    assert re.fullmatch(r'    n0 \[label="(?:[^"\\]|\\.)*", penwidth=3\];', label), label


def test_all_that_was_made_from_an_item_is_followed(alice: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineages, "_PAGE", 3)
    alice.add("the source", id="source")
    alice.add([Draft(text=f"made of it {number}", derived_from=(("source", 1),)) for number in range(10)])
    assert len(alice.lineage("source").edges) == 10


def test_circles_and_what_is_gone_do_no_harm(mos: MOS, alice: Session) -> None:
    alice.add(Draft(text="a", derived_from=(("b", 1), ("a", 1), ("never", 3))), id="a")
    alice.add(Draft(text="b", derived_from=(("a", 1),)), id="b")
    assert set(alice.lineage("a").items) == {"a", "b"}
    assert "(again)" in alice.lineage("a").text()
    alice.delete("b")
    assert set(alice.lineage("a").items) == {"a"}
    with pytest.raises(ItemNotFound):
        alice.lineage("b")
    with pytest.raises(ItemNotFound):
        alice.explain("never")


def test_what_others_keep_private_is_in_no_lineage(mos: MOS, alice: Session) -> None:
    alice.add("everybody knows", id="known")
    mos.share("alice", with_="bob", rights="write")
    bob = mos.session("bob", read_from=["alice"], write_to=["alice"])
    bob.add(Draft(text="bob thinks", derived_from=(("known", 1),)), id="thought", visibility="private")
    mos.share("alice", with_="carol")
    carol = mos.session("carol", read_from=["alice"], write_to=[])
    assert set(bob.lineage("known").items) == {"known", "thought"}
    assert set(carol.lineage("known").items) == {"known"}
    assert "thought" not in str(carol.explain("known"))


@pytest.mark.parametrize("wrong", [0, -1, 51, True, "2", None, 1.5])
def test_a_depth_is_a_small_number(alice: Session, wrong: Any) -> None:
    alice.add("x", id="x")
    with pytest.raises(InvalidInput, match="depth is"):
        alice.lineage("x", depth=wrong)
