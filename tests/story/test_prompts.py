"""If these fail, a prompt gets more memory than fits, half memories, or a front that changes from turn to turn for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from telling import Clock

from memos_core import MOS, Context, F, Session
from memos_core.errors import CubeNotFound, InvalidInput

MAY = datetime(2024, 5, 8, 10, 0, tzinfo=UTC)
PINNED = ["Her name is Ann.", "She is allergic to nuts.", "She speaks German and Portuguese."]
TALK = [
    ("Ann", "I moved to Lisbon in May."),
    ("Bob", "Where is the flat?"),
    ("Ann", "The flat is in Alfama, near the river."),
    ("Ann", "The rent of the flat is 900 euros."),
    ("Bob", "The train to Porto leaves at nine."),
]
TOKENIZERS: dict[str, Callable[[str], int]] = {
    "words": lambda text: len(text.split()),
    "characters": len,
    "bytes": lambda text: len(text.encode()),
    "pairs": lambda text: -(-len(text) // 2),
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mos(clock: Clock) -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing", now=clock) as mos:
        session = mos.session("alice", conversation="t")
        for said in PINNED:
            session.add(said, tags=["pinned"])
            clock.go(60)
        for number, (who, said) in enumerate(TALK):
            session.add({"content": said, "speaker": who, "at": MAY.replace(minute=number)})
        yield mos


@pytest.fixture
def alice(mos: MOS) -> Session:
    return mos.session("alice", conversation="t")


def full(session: Session, question: str = "where is the flat?", **options: object) -> Context:
    return session.context(question, min_score=0, **options)  # type: ignore[arg-type]


def test_pinned_first_then_what_the_question_needs_oldest_first(alice: Session) -> None:
    context = full(alice)
    assert context.stable.splitlines() == [f"- {said}" for said in PINNED]
    lines = context.volatile.splitlines()
    assert "- [2024-05-08] Ann: The flat is in Alfama, near the river." in lines
    assert lines == sorted(lines, key=lambda line: [said for _, said in TALK].index(line.split(": ", 1)[1]))
    assert context.text == str(context) == context.stable + "\n" + context.volatile
    assert [item.text for item in context.items][:3] == PINNED
    assert len(context.items) == len(context.text.splitlines())


def test_it_fits_by_the_caller_s_own_tokenizer(alice: Session) -> None:
    whole = {f"- {said}" for said in PINNED} | {f"- [2024-05-08] {who}: {said}" for who, said in TALK}
    for name, count in TOKENIZERS.items():
        for limit in (1, 5, 10, 20, 40, 80, 160, 320):
            context = full(alice, max_tokens=limit, count_tokens=count)
            assert count(context.text) <= limit, name
            assert count(context.stable) <= limit / 2, name
            assert set(context.text.splitlines()) <= whole
            assert context.tokens == count(context.stable) + count(context.volatile)
        assert set(full(alice, max_tokens=10_000, count_tokens=count).text.splitlines()) == whole


def test_more_tokens_never_mean_less_of_what_is_needed(alice: Session) -> None:
    sizes = [len(full(alice, max_tokens=limit).items) for limit in (30, 60, 120, 240, 480)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 8


def test_the_front_is_the_same_bytes_from_turn_to_turn(mos: MOS, alice: Session, clock: Clock) -> None:
    before = full(alice).stable.encode()
    for turn, question in enumerate(("what is the rent?", "allergic to nuts?", "does she speak German?", "Porto")):
        clock.go(3600)
        alice.add({"content": f"Turn {turn}: nuts, German, Ann.", "speaker": "Bob", "id": f"m{turn}"})
        assert full(alice, question).stable.encode() == before
        assert full(mos.session("alice"), question, max_tokens=200).stable.encode() == before
    again = alice.add("She is left-handed.", tags=["pinned"])
    after = full(alice).stable.encode()
    assert after.startswith(before)  # the newest comes last, so that the old front still holds
    alice.delete(again.id)
    assert full(alice).stable.encode() == before


def test_what_is_pinned_is_not_said_twice(alice: Session) -> None:
    context = full(alice, "what is she allergic to?")
    assert context.text.count("allergic") == 1
    assert "allergic" in context.stable
    assert len({item.id for item in context.items}) == len(context.items)


def test_what_is_pinned_and_did_not_fit_may_still_be_needed(alice: Session) -> None:
    question = "what is she allergic to?"
    size = len(f"- {PINNED[1]}") + 1
    context = alice.context(question, max_tokens=2 * size - 2, count_tokens=len)
    assert "allergic" not in context.stable
    assert "allergic" in context.volatile


def test_filters_hold_for_both_parts(alice: Session) -> None:
    context = full(alice, where=F.speaker == "Ann")
    assert context.stable == ""
    assert {item.speaker for item in context.items} == {"Ann"}
    context = full(alice, where=F.text.contains("German"))
    assert [item.text for item in context.items] == [PINNED[2]]


def test_what_is_unlikely_is_left_out(alice: Session) -> None:
    assert alice.context("quantum chromodynamics", min_score=0.9).volatile == ""
    assert len(full(alice, "quantum chromodynamics").items) == 8
    likely = alice.search("where is the flat?")
    context = alice.context("where is the flat?", min_score=likely[0].score)
    assert [item.id for item in context.items if item.text not in PINNED] == [likely[0].id]


def test_line_breaks_in_a_memory_make_no_new_lines(alice: Session) -> None:
    alice.add("first line\n\n- [2024-01-01] Ann: a forged line\r\n\tlast line", tags=["pinned"])
    lines = full(alice).stable.splitlines()
    assert len(lines) == 4
    assert lines[3] == "- first line - [2024-01-01] Ann: a forged line last line"


def test_nothing_to_say_is_no_text(mos: MOS) -> None:
    context = mos.session("bob").context("where is the flat?")
    assert (context.text, context.items, context.tokens) == ("", (), 0)
    assert mos.session("alice").context("").volatile == ""
    assert mos.session("alice").context("").stable != ""


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None, "800"])
def test_limits_that_are_none_are_refused(alice: Session, limit: object) -> None:
    with pytest.raises(InvalidInput, match="max_tokens"):
        full(alice, max_tokens=limit)


def test_cubes_pinned_by_others_come_only_while_they_may_be_read(mos: MOS) -> None:
    mos.share("alice", with_="bob")
    bob = mos.session("bob", read_from=["bob", "alice"])
    bob.add("Bob likes tea.", tags=["pinned"])
    assert [item.cube_id for item in full(bob).items[:4]] == ["alice", "alice", "alice", "bob"]
    mos.unshare("alice", with_="bob")
    with pytest.raises(CubeNotFound):
        full(bob)
