"""Names and texts that may come in: what is refused, and why.

A name that could be mistaken for another one, or for "everything", is how one tenant reads another's memory. So names
are compared exactly, and those that a person cannot tell apart, or that mean something to a query language, never get in.
"""

from __future__ import annotations

import re
import unicodedata

from memos_core.errors import InvalidName, InvalidText

MAX_NAME = 256
NO_EMBEDDER = "none"  # in the place of an embedder's name: none, whatever the store remembers
_PLAIN = re.compile(r"[A-Za-z0-9_.@:+=/-]+(?: [A-Za-z0-9_.@:+=/-]+)*", re.ASCII)
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# Characters that show nothing although Unicode counts them among letters, marks and symbols.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\ufe00-\ufe0f\U00016fe4\U000e0100-\U000e01ef]")
_WILD = frozenset("*%?\\")


def check_name(value: object, what: str) -> str:
    """Return the name unchanged, or say why it is refused.

    Args:
        value: the candidate; must be a string.
        what: what it names, for the message: "actor", "cube", "item id", "key", "conversation".

    Raises:
        InvalidName: not a string, empty, longer than 256 characters, a wildcard character, white space at an end or
            twice in a row, an invisible or unassigned character, or another spelling (NFKC) of a different name.
    """
    if not isinstance(value, str):
        raise InvalidName(f"{what} must be a string, not {type(value).__name__}")
    if not value:
        raise InvalidName(f"{what} is empty")
    if len(value) > MAX_NAME:
        raise InvalidName(f"{what} has {len(value)} characters; at most {MAX_NAME} are allowed")
    if _PLAIN.fullmatch(value):
        return value
    if value != value.strip():
        raise InvalidName(f"{what} {value!r} begins or ends with white space")
    for character in value:
        if character in _WILD:
            raise InvalidName(f"{what} {value!r} has the wildcard character {character!r}")
        if unicodedata.category(character) in _INVISIBLE or _BLANK.match(character):
            raise InvalidName(f"{what} {value!r} has the invisible or unassigned character U+{ord(character):04X}")
    normal = unicodedata.normalize("NFKC", value)
    if normal != value:
        raise InvalidName(f"{what} {value!r} is another spelling of {normal!r}; use that one")
    if any(character.isspace() and character != " " for character in value) or "  " in value:
        raise InvalidName(f"{what} {value!r} has white space other than single spaces between its words")
    return value


def check_cube_name(value: object) -> str:
    """A cube's name: segments joined by "/", none of them empty, "." or ".."."""
    name = check_name(value, "cube name")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise InvalidName(f'cube name {name!r} has an empty, "." or ".." part')
    return name


def check_text(value: object, what: str = "text") -> str:
    """Return the text unchanged if it can be stored exactly and read back by every database.

    Raises:
        InvalidText: not a string, a NUL character, or a lone surrogate (half of a character that was cut in two).
    """
    if not isinstance(value, str):
        raise InvalidText(f"{what} must be a string, not {type(value).__name__}")
    if "\x00" in value:
        raise InvalidText(f"{what} has a NUL character at position {value.index(chr(0))}; remove it, it is not text")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidText(
                f"{what} has a lone surrogate U+{ord(value[error.start]):04X} at position {error.start}: "
                "half of a character that was cut in two; decode the whole input at once"
            ) from error
    return value
