"""If these fail, one name is taken for another: somebody reads or overwrites what belongs to somebody else."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core import MOS
from memos_core.errors import InvalidName, InvalidText
from memos_core.types.names import MAX_NAME, check_cube_name, check_name, check_text

GOOD = [
    "alice",
    "Alice",
    "a",
    "alice/home",
    "team-7_b",
    "Ann Lee",
    "ann@example.org",
    "urn:x:1+2=3",
    "Jürgen",
    "李雷",
    "Ольга",
    "עדי",
    "أحمد",
    "नेहा",
    "👩",
    "x" * MAX_NAME,
    "..",
    "-",
    "'; DROP TABLE items; --",
    'a"b',
    "a<b>",
    "$where",
    "null",
    "None",
    "0",
]

BAD = {
    "": "empty",
    " ": "white space",
    " alice": "white space",
    "alice ": "white space",
    "alice\t": "white space",
    "a\u00a0": "white space",
    "a  b": "single spaces",
    "a\tb": "invisible|white space",
    "a\nb": "invisible|white space",
    "a\u3000b": "another spelling",
    "*": "wildcard",
    "al*": "wildcard",
    "al%ice": "wildcard",
    "alic?": "wildcard",
    "a\\b": "wildcard",
    "a\x00b": "U\\+0000",
    "a\u200bb": "U\\+200B",
    "a\u200db": "U\\+200D",
    "\ufeffalice": "U\\+FEFF",
    "alice\u202e": "U\\+202E",
    "a\u00adb": "U\\+00AD",
    "a\u2028b": "U\\+2028",
    "a\ue000": "U\\+E000",
    "a\ud800": "U\\+D800",
    "a\u0378": "U\\+0378",
    "a\u3164": "another spelling|U\\+",
    "a\u115fb": "U\\+115F",
    "a\u2800b": "U\\+2800",
    "a\ufe0f": "U\\+FE0F",
    "a\u034fb": "U\\+034F",
    "ａlice": "another spelling of 'alice'",
    "ﬁona": "another spelling of 'fiona'",
    "x²": "another spelling of 'x2'",
    "Ju\u0308rgen": "another spelling of 'Jürgen'",
    "\u212b": "another spelling",  # the sign of the unit, not the letter
    "x" * (MAX_NAME + 1): "257 characters; at most 256",
}


@pytest.mark.parametrize("name", GOOD, ids=ascii)
def test_names_are_kept_exactly(name: str) -> None:
    assert check_name(name, "actor") == name


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_names_that_could_be_mistaken_are_refused(name: str) -> None:
    with pytest.raises(InvalidName, match=BAD[name]) as caught:
        check_name(name, "actor")
    assert str(caught.value).startswith("actor ")


@pytest.mark.parametrize("value", [None, 7, b"alice", ["alice"], True, 1.5])
def test_what_is_no_string_is_no_name(value: Any) -> None:
    with pytest.raises(InvalidName, match="must be a string"):
        check_name(value, "actor")


@given(st.text(min_size=1, max_size=8))
def test_no_two_names_look_alike_after_unicode_has_had_its_way(text: str) -> None:
    """What passes is its own normal form, shows every character, and has no white space to be lost."""
    try:
        name = check_name(text, "x")
    except InvalidName:
        return
    assert name == text == unicodedata.normalize("NFKC", text) == text.strip()
    assert " ".join(text.split()) == text
    for character in text:
        assert unicodedata.category(character)[0] != "C"
        assert unicodedata.category(character) not in ("Zl", "Zp")
    text.encode()


@given(st.from_regex(r"[A-Za-z0-9_.@:+=/-]{1,20}", fullmatch=True))
def test_ordinary_names_pass(name: str) -> None:
    assert check_name(name, "x") == name


@pytest.mark.parametrize("name", ["/", "/a", "a/", "a//b", "a/./b", "../a", "a/..", ".", ".."])
def test_a_cube_s_name_has_no_empty_part(name: str) -> None:
    with pytest.raises(InvalidName, match="part"):
        check_cube_name(name)


@pytest.mark.parametrize("name", ["a", "a/b", "a/b/c d", "...", "a/.b", "李雷/家"])
def test_a_cube_s_name_may_have_several_parts(name: str) -> None:
    assert check_cube_name(name) == name


def test_every_door_refuses_them() -> None:
    with MOS.open(":memory:") as mos:
        session = mos.session("alice")
        doors: list[Callable[[str], object]] = [
            mos.session,
            lambda name: mos.session("alice", read_from=[name]),
            lambda name: mos.session("alice", write_to=[name]),
            lambda name: mos.create_cube(name, owner="alice"),
            lambda name: mos.create_cube("fine", owner=name),
            mos.cube,
            lambda name: session.add("x", id=name),
            lambda name: session.add("x", key=name),
            lambda name: session.get(key=name),
        ]
        for name in BAD:
            for place, door in enumerate(doors):
                with pytest.raises(InvalidName):
                    door(name)
                    pytest.fail(f"door {place} lets {name!a} in")
        assert mos.cubes() == []


# -- texts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "x", "a\u200bb\u202e", "\x01\x7f", "👩\u200d👩", "\ufffe", "a\r\n\tb", "é" * 10**6]
)
def test_texts_are_kept_exactly(text: str) -> None:
    assert check_text(text) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ab\x00c", "NUL character at position 2"),
        ("ab\ud83d", r"lone surrogate U\+D83D at position 2"),
        ("\udc00é", r"lone surrogate U\+DC00 at position 0"),
    ],
)
def test_texts_that_cannot_be_kept_say_where(text: str, said: str) -> None:
    with pytest.raises(InvalidText, match=said):
        check_text(text)


@pytest.mark.parametrize("value", [None, b"x", 7, ["x"]])
def test_what_is_no_string_is_no_text(value: Any) -> None:
    with pytest.raises(InvalidText, match="metadata must be a string"):
        check_text(value, "metadata")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30))
def test_whatever_is_text_passes(text: str) -> None:
    assert check_text(text) == text
