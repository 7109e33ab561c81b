"""If these fail, a signal works for chat and not for documents, or it cannot be turned off, or `Hit.parts` does not show that
it decided: nobody could tell why a memory was found, or do anything about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import pytest
from test_signals import ManyVectors, OneVector

from memos_core import MOS, Document, Hits, Message, Session
from memos_core.plaintext.ranking import SIGNALS


class Piece(NamedTuple):
    """A turn of a conversation, or a section of a document."""

    text: str
    by: str | None = None
    at: datetime | None = None


def remember(session: Session, kind: str, name: str, pieces: list[Piece]) -> None:
    """Pieces as one conversation, or as one document (by one author, at one time) of a section each."""
    if kind == "chat":
        session.add(
            [Message(content=piece.text, speaker=piece.by, at=piece.at) for piece in pieces],
            conversation=f"chat {name}",
        )
    else:
        text = "\n\n".join(f"# Section\n\n{piece.text}" for piece in pieces)
        session.add(Document(uri=f"{name}.md", format="markdown", text=text, author=pieces[0].by, at=pieces[0].at))


def texts(hits: Hits) -> list[str]:
    return [hit.text.rpartition("\n\n")[2] for hit in hits]


class Case(msgspec.Struct, frozen=True):
    """One signal: with it the one piece comes first, without it the other."""

    signal: str
    question: str
    right: list[Piece]
    wrong: list[Piece]


MARCH, MAY = datetime(2024, 3, 10, tzinfo=UTC), datetime(2024, 5, 10, tzinfo=UTC)
CASES = [
    Case(
        "speaker",
        "What does Ada say about the engine?",
        [Piece("The engine weaves algebraic patterns like a loom weaves flowers and leaves.", by="Ada")],
        [Piece("The engine, said Ada.", by="Charles")],
    ),
    Case(
        "date",
        "What about the pump in March 2024?",
        [Piece("The pump leaks a little at the joint of the second valve.", at=MARCH)],
        [Piece("The pump.", at=MAY)],
    ),
    Case(
        "when",
        "When was the pump installed?",
        [Piece("The pump was installed by three people at 4 in the morning, in the cellar.")],
        [Piece("The pump was installed by Hans.")],
    ),
    Case("salience", "the broken pump", [Piece("The pump in Oslo is broken.")], [Piece("Is the pump broken?")]),
]


@pytest.mark.parametrize("kind", ["chat", "document"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.signal)
def test_a_signal_shows_and_can_be_turned_off(case: Case, kind: str) -> None:
    with MOS.open(":memory:") as mos:
        session = mos.session("reader")
        remember(session, kind, "wrong", case.wrong)
        remember(session, kind, "right", case.right)
        on, off = session.search(case.question), session.search(case.question, without=[case.signal])
        right, wrong = case.right[0].text, case.wrong[0].text
        assert texts(on) == [right, wrong]
        assert on[0].parts[case.signal] > on[1].parts[case.signal]
        assert texts(off) == [wrong, right]
        for hit, before in zip(off, reversed(on), strict=True):
            assert hit.parts.keys() == before.parts.keys() - {case.signal}
            assert all(hit.parts[name] == before.parts[name] for name in hit.parts if name != "feedback")


@pytest.mark.parametrize("kind", ["chat", "document"])
@pytest.mark.parametrize("embedder", [OneVector(), ManyVectors()], ids=["one vector", "token vectors"])
def test_signals_of_meaning(kind: str, embedder: Any) -> None:
    """What they say of a text that says it, of one next to that, and of one far from it."""
    with MOS.open(":memory:", embedder=embedder) as mos:
        session = mos.session("reader")
        remember(
            session, kind, "one", [Piece("fenat gorup"), Piece("bakol"), Piece("bakol hilav jotek kuzob lemid zofup")]
        )
        remember(session, kind, "two", [Piece("fenat gorup")])
        hits = session.search("bakol", top_k=100)
        says, long = (next(hit.parts for hit in hits if hit.text.endswith(end)) for end in ("bakol", "zofup"))
        beside, far = (
            next(hit.parts for hit in hits if hit.item.conversation in names and "fenat" in hit.text)
            for names in (("chat one", "one.md"), ("chat two", "two.md"))
        )
        assert says["dense"] > long["dense"], "the more else it says, the less"
        assert beside["dense"] == far["dense"]
        assert beside["near"] > far["near"]
        if isinstance(embedder, ManyVectors):
            assert says["late"] == pytest.approx(long["late"], abs=0.02), "a word is as good in a long text"
            assert beside["late"] > far["late"]
        for name in ("late", "dense", "near"):
            assert not any(name in hit.parts for hit in session.search("bakol", without=[name]))


@pytest.mark.parametrize("kind", ["chat", "document"])
def test_neighbours_are_those_of_the_same_conversation_or_document(kind: str) -> None:
    """Found by what is said next to it, less and less with distance, up to four away, and never across the border."""
    with MOS.open(":memory:") as mos:
        session = mos.session("reader")
        around = [Piece(f"entry {word}") for word in "bakol dumir fenat gorup hilav".split()]
        remember(session, kind, "one", [*around, Piece("entry Lisbon"), *around[::-1]])
        remember(session, kind, "two", [Piece("entry Lisbon twice"), *around])
        remember(session, kind, "three", around)
        hits = session.search("Lisbon", top_k=100)
        thread = "chat one" if kind == "chat" else "one.md"
        own = {
            hit.item.provenance.source.position: hit.parts["lexical"] for hit in hits if hit.item.conversation == thread
        }
        if kind == "chat":  # messages without a position stand in the order in which they came
            ids = [item.id for item in session.list(where={"conversation": thread}, newest_first=False)]
            own = {ids.index(hit.id): hit.parts["lexical"] for hit in hits if hit.item.conversation == thread}
        assert sorted(own) == [1, 2, 3, 4, 5, 6, 7, 8, 9], "four on each side"
        falling = [own[place] for place in (5, 6, 7, 8, 9)]
        assert falling == sorted(falling, reverse=True)
        assert len(set(falling)) == 5
        assert {hit.item.conversation for hit in hits} == {thread, "chat two" if kind == "chat" else "two.md"}
        other = [hit.text for hit in hits if hit.item.conversation != thread]
        assert len(other) == 5, "the piece, and the four after it"
        assert not any("hilav" in text for text in other)


@pytest.mark.parametrize("kind", ["chat", "document"])
def test_words_that_the_best_hits_share_help_others(kind: str) -> None:
    """Five pieces speak of a pump and its impeller; a sixth, of an impeller alone, comes before one of a carpet."""
    with MOS.open(":memory:", embedder=OneVector()) as mos:
        session = mos.session("reader")
        for number, word in enumerate(["bakol", "dumir", "fenat", "gorup", "hilav"]):
            remember(session, kind, f"{number}", [Piece(f"The pump has an impeller of {word}.")])
        remember(session, kind, "carpet", [Piece("The carpet is worn.")])
        remember(session, kind, "impeller", [Piece("The impeller is worn.")])
        hits = session.search("pump")
        parts = dict(zip(texts(hits), (hit.parts for hit in hits), strict=True))
        assert parts["The impeller is worn."]["feedback"] > parts["The carpet is worn."]["feedback"]
        assert parts["The impeller is worn."]["lexical"] == parts["The carpet is worn."]["lexical"] == 0
        assert "feedback" not in session.search("pump", without=["feedback"])[0].parts


def test_headings_of_a_section_are_found_with_it_and_are_not_its_text() -> None:
    with MOS.open(":memory:") as mos:
        session = mos.session("reader")
        text = (
            "# Dishwasher\n\n## Winter storage\n\nDrain the hoses first.\n\n## Cleaning\n\nUse vinegar, never bleach.\n"
        )
        session.add(Document(uri="manual.md", format="markdown", text=text, title="KX 200", author="Ada"))
        (first, *_) = session.search("winter KX 200")
        assert "Drain the hoses" in first.text
        assert "KX 200" not in first.text
        assert first.item.metadata["heading"] == ["KX 200", "Dishwasher", "Winter storage"]
        assert first.item.speaker == "Ada"
        assert first.item.conversation == "manual.md"


@pytest.mark.parametrize("embedder", [None, OneVector(), ManyVectors()], ids=["words", "one vector", "token vectors"])
def test_with_every_signal_but_one_turned_off_that_one_decides_alone(embedder: Any) -> None:
    with MOS.open(":memory:", embedder=embedder) as mos:
        session = mos.session("reader")
        pieces = [
            Piece(f"{word} 7 Oslo", by=by, at=MAY) for word in ("bakol", "dumir", "fenat") for by in ("Ada", "Bo")
        ]
        remember(session, "chat", "one", pieces)
        question = "When did Ada bakol on 10 May 2024?"
        everything = session.search(question, top_k=100)
        for name in everything[0].parts:
            if name in ("late", "dense", "near", "feedback"):
                continue  # they depend on what else there is: on vectors, or on a first order
            alone = session.search(question, top_k=100, without=[each for each in SIGNALS if each != name])
            assert all(list(hit.parts) == [name] for hit in alone)
            values = [hit.parts[name] for hit in alone]
            assert values == sorted(values, reverse=True)
