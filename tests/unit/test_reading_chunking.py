"""If these fail, parts of a document or of a long message are lost, come twice, are too long for the embedder, or stand
under the wrong heading; or a span points at other words than those of the item.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.errors import InvalidInput
from memos_core.reading.blocks import Block, BlockKind
from memos_core.reading.chunking import MAX_TOKENS, Piece, estimate_tokens, pack, split_sentences, split_text
from memos_core.reading.plain_text import plain_blocks

TEXTS = st.text(
    st.one_of(
        st.sampled_from("ab .,!?\n\n-=*1.\t。！中日の'\"()é\u0301😀\u200d"), st.characters(exclude_categories=["Cs"])
    ),
    max_size=400,
)


KINDS: list[BlockKind] = ["heading", "paragraph", "item", "code"]


def characters(text: str) -> str:
    """What may not be lost: everything but white space."""
    return "".join(text.split())


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


# -- sentences ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I met Ann. Was it good?! Yes...  and no.", ["I met Ann.", "Was it good?!", "Yes...", "and no."]),
        ("I met Dr. Smith and Mrs. Jones. They left.", ["I met Dr. Smith and Mrs. Jones.", "They left."]),
        ("J. R. R. Tolkien wrote it. I read it.", ["J. R. R. Tolkien wrote it.", "I read it."]),
        ("It costs 3.5 euros, e.g. at example.org. Go!", ["It costs 3.5 euros, e.g. at example.org.", "Go!"]),
        ("So do I. Then we left.", ["So do I.", "Then we left."]),
        ("I have 5. Then I went.", ["I have 5.", "Then I went."]),
        ("Pens, paper, etc. Then home.", ["Pens, paper, etc.", "Then home."]),
        ('He said "go." Then he left.', ['He said "go."', "Then he left."]),
        ("Am 8. Mai war ich z. B. in Ulm. Es war gut.", ["Am 8. Mai war ich z. B. in Ulm.", "Es war gut."]),
        ("我去了上海。很好玩！“真的？”他问。", ["我去了上海。", "很好玩！", "“真的？”", "他问。"]),
        ("यह अच्छा है। वह गया।", ["यह अच्छा है।", "वह गया।"]),
        ("هل أنت بخير؟ نعم.", ["هل أنت بخير؟", "نعم."]),
        ("ok. see you", ["ok.", "see you"]),
        ("milk\neggs\n\nbread", ["milk", "eggs", "bread"]),
        ("1. Wash it\n2. Dry it", ["1. Wash it", "2. Dry it"]),
        ("A line that was broken to fit into the window of an editor, and\ngoes on. End.",
         ["A line that was broken to fit into the window of an editor, and\ngoes on.", "End."]),
        ("", []),
        (" \n\t ", []),
    ],
)  # fmt: skip
def test_where_sentences_end(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(TEXTS)
def test_sentences_are_in_order_and_lose_nothing(text: str) -> None:
    spans = split_sentences(text)
    end = 0
    for start, stop in spans:
        assert end <= start < stop
        assert text[start:stop] == text[start:stop].strip()
        end = stop
    assert characters("".join(sentences(text))) == characters(text)


# -- pieces -------------------------------------------------------------------------------------------------------


def check(text: str, pieces: list[Piece], max_tokens: int) -> None:
    end = 0
    for piece in pieces:
        assert piece.span is not None
        assert end <= piece.span[0] < piece.span[1]
        assert text[slice(*piece.span)] == piece.text
        assert estimate_tokens(piece.text) <= max_tokens
        end = piece.span[1]
    assert characters("".join(piece.text for piece in pieces)) == characters(text)


@given(TEXTS, st.integers(1, 30))
def test_pieces_are_in_order_fit_and_lose_nothing(text: str, max_tokens: int) -> None:
    check(text, pack(plain_blocks(text), max_tokens=max_tokens), max_tokens)


@given(TEXTS, st.integers(1, 30))
def test_text_without_structure_too(text: str, max_tokens: int) -> None:
    spans = split_text(text, max_tokens=max_tokens)
    check(text, [Piece(text=text[start:end], span=(start, end)) for start, end in spans], max_tokens)


@given(TEXTS, st.integers(4, 40))
def test_a_counter_of_the_callers_own_is_kept_to(text: str, max_tokens: int) -> None:
    for piece in pack(plain_blocks(text), max_tokens=max_tokens, count=lambda each: len(each.encode())):
        assert len(piece.text.encode()) <= max_tokens


@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(1, 4), st.integers(1, 12)),
        max_size=30,
    )
)
def test_no_piece_runs_over_a_heading_of_the_same_or_a_higher_level(shape: list[tuple[BlockKind, int, int]]) -> None:
    blocks = [
        Block(
            text=f"{number}:{'w ' * words}".strip(),
            kind=kind,
            level=level if kind == "heading" else 0,
            title=str(number),
        )
        for number, (kind, level, words) in enumerate(shape)
    ]
    place = 0
    for piece in pack(blocks, max_tokens=20):
        own = []
        for _ in piece.text.split("\n\n"):
            own.append(shape[place])
            place += 1
        levels = [level for kind, level, _ in own if kind == "heading"]
        assert levels == sorted(set(levels))  # only deeper and deeper
        assert len(levels) == 0 or own[0][0] == "heading" or place - len(own) > 0
    assert place == len(blocks)


def test_small_blocks_share_a_piece_and_headings_stand_with_their_text() -> None:
    text = (
        "Guide\n=====\n\nOne two three.\n\n- a\n- b\n\nUse\n---\n\nFour five six seven eight nine.\n\nEnd\n---\n\nTen."
    )
    pieces = pack(plain_blocks(text), max_tokens=14)
    assert [(piece.headings, piece.text.splitlines()[0]) for piece in pieces] == [
        (("Guide",), "Guide"),
        (("Guide", "Use"), "Use"),
        (("Guide", "End"), "End"),
    ]


def test_a_heading_moves_on_with_the_text_that_does_not_fit() -> None:
    blocks = [
        Block(text="Top", kind="heading", level=1, title="Top"),
        Block(text="one two three four five"),
        Block(text="Sub", kind="heading", level=2, title="Sub"),
        Block(text="six seven eight nine"),
    ]
    pieces = pack(blocks, max_tokens=8)
    assert [piece.text for piece in pieces] == ["Top\n\none two three four five", "Sub\n\nsix seven eight nine"]
    assert [piece.headings for piece in pieces] == [("Top",), ("Top", "Sub")]


def test_long_blocks_are_cut_where_it_hurts_least() -> None:
    assert [piece.text for piece in pack([Block(text="One two. Three four. Five six.")], max_tokens=6)] == [
        "One two. Three four.",
        "Five six.",
    ]
    assert [piece.text for piece in pack([Block(text="one two three four five")], max_tokens=2)] == [
        "one two",
        "three four",
        "five",
    ]
    assert [piece.text for piece in pack([Block(text="a" * 20)], max_tokens=1)] == ["a" * 8, "a" * 8, "a" * 4]
    table = "a | b\nc | d\ne | f"
    assert [piece.text for piece in pack([Block(text=table, kind="table")], max_tokens=6)] == ["a | b\nc | d", "e | f"]


def test_an_accent_is_not_cut_from_its_letter() -> None:
    text = "e\u0301" * 40
    for start, end in split_text(text, max_tokens=3, count=len):
        assert text[start] == "e"
        assert end - start == 2


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(InvalidInput, match="max_tokens is 0"):
        pack([], max_tokens=0)


def test_the_estimate_is_near_what_tokenizers_say() -> None:
    english = "The quick brown fox jumps over the lazy dog, and then it sleeps."
    assert 13 <= estimate_tokens(english) <= 16
    assert estimate_tokens("我昨天去了上海。") == 8
    assert estimate_tokens("x" * 80) == 10
    assert estimate_tokens(" \n ") == 0
    assert MAX_TOKENS == 200


# -- plain text ---------------------------------------------------------------------------------------------------


def test_blocks_of_plain_text() -> None:
    text = "=====\nTitle\n=====\n\nA paragraph\nof two lines.\n\n* one\n  more\n* two\n\nPart\n----\nText.\r\n\r\nEnd"
    assert [(block.kind, block.level, block.text) for block in plain_blocks(text)] == [
        ("heading", 1, "=====\nTitle\n====="),
        ("paragraph", 0, "A paragraph\nof two lines."),
        ("item", 0, "* one\n  more"),
        ("item", 0, "* two"),
        ("heading", 2, "Part\n----"),
        ("paragraph", 0, "Text."),
        ("paragraph", 0, "End"),
    ]
    assert [block.title for block in plain_blocks(text) if block.kind == "heading"] == ["Title", "Part"]


@given(TEXTS)
def test_blocks_of_plain_text_lose_nothing(text: str) -> None:
    blocks = plain_blocks(text)
    assert "".join(characters(block.text) for block in blocks) == characters(text)
    for block in blocks:
        assert block.span is not None
        assert text[slice(*block.span)] == block.text
    for before, after in pairwise(blocks):
        assert before.span is not None
        assert after.span is not None
        assert text[before.span[1] : after.span[0]] == after.before
