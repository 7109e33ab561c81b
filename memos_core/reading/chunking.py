"""Cutting what is too long for one memory into pieces that make sense by themselves.

Structure first: a piece is whole blocks (paragraphs, list items, tables, code) under one heading, as many as fit. Only
a block that is too long by itself is cut: between sentences (tables and code: between lines), then between words, then
anywhere. No character but white space is lost, none comes twice: what stands around a piece is found by its neighbours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from memos_core.errors import InvalidInput
from memos_core.reading.blocks import Block
from memos_core.reading.sentences import split_sentences
from memos_core.types.inputs import Place

__all__ = ["MAX_TOKENS", "Piece", "estimate_tokens", "pack", "split_sentences", "split_text"]

MAX_TOKENS: Final = 200

TokenCounter = Callable[[str], int]

# Scripts without spaces have about one token a character; other words about one in eight letters.
_CJK: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
_TOKEN: Final = re.compile(f"[{_CJK}]|[^\\W_{_CJK}]{{1,8}}|[^\\w\\s]{{1,3}}|_")
_ASCII_TOKEN: Final = re.compile(r"[A-Za-z0-9]{1,8}|[^\w\s]{1,3}|_", re.ASCII)
_WORD: Final = re.compile(r"\S+")
_LINE: Final = re.compile(r"[^\n]+")
_LONGEST_TOKEN: Final = 16  # characters that a token is taken to have at most when a word is cut


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a text that becomes one item.

    Attributes:
        text: its words.
        span: (start, end) in characters of the whole, or None where that is not known.
        headings: the headings it stands under, highest first.
        place: page, slide or sheet that it stands on.
    """

    text: str
    span: tuple[int, int] | None
    headings: tuple[str, ...] = ()
    place: Place | None = None


def estimate_tokens(text: str) -> int:
    """About how many tokens a model sees in a text: long words, marks and characters of Chinese count one each."""
    return len((_ASCII_TOKEN if text.isascii() else _TOKEN).findall(text))


def split_text(
    text: str, *, max_tokens: int = MAX_TOKENS, count: TokenCounter = estimate_tokens
) -> list[tuple[int, int]]:
    """Where to cut a text without structure: (start, end) of pieces of at most `max_tokens`, in order.

    Args:
        text: any text; white space alone gives no piece.
        max_tokens: at least 1. A single character that counts more stands alone.
        count: tokens of a text.

    Raises:
        InvalidInput: `max_tokens` is below 1.
    """
    pieces = pack([Block(text=text, span=(0, len(text)))], max_tokens=max_tokens, count=count)
    return [piece.span for piece in pieces if piece.span is not None]


def pack(
    blocks: Sequence[Block], *, max_tokens: int = MAX_TOKENS, count: TokenCounter = estimate_tokens
) -> list[Piece]:
    """Blocks as pieces, in order.

    A heading begins a piece, unless it is deeper than the heading before it and fits in. It stands in one piece with
    the beginning of what it is about.

    Args:
        blocks: in order.
        max_tokens: of a piece, at least 1.
        count: tokens of a text.

    Raises:
        InvalidInput: `max_tokens` is below 1.
    """
    if max_tokens < 1:
        raise InvalidInput(f"max_tokens is {max_tokens}; a piece needs at least 1")
    packing = _Packing(max_tokens, count)
    for block in blocks:
        if block.text and not block.text.isspace():
            packing.add(block)
    packing.close()
    return packing.pieces


class _Part(NamedTuple):
    """A block, or a part of one, that fits into a piece.

    Attributes:
        block: the words.
        tokens: how many.
        path: titles of the headings it stands under; its own, if it is one, is the last.
    """

    block: Block
    tokens: int
    path: tuple[str, ...]


class _Packing:
    """Pieces in the making."""

    def __init__(self, max_tokens: int, count: TokenCounter) -> None:
        self.pieces: list[Piece] = []
        self._max_tokens = max_tokens
        self._count = count
        self._reach = max_tokens * _LONGEST_TOKEN
        self._headings: list[Block] = []  # those that we are under
        self._parts: list[_Part] = []  # of the piece that is being made

    def add(self, block: Block) -> None:
        """Take the next block."""
        if self._parts and block.place != self._parts[-1].block.place:
            self.close()
        if block.kind == "heading":
            # Text before the first heading is in no section, so any heading ends it.
            if self._parts and block.level <= (self._headings[-1].level if self._headings else block.level):
                self.close()
            while self._headings and self._headings[-1].level >= block.level:
                self._headings.pop()
            self._headings.append(block)
        path = tuple(heading.title for heading in self._headings if heading.title)
        for part in self._fitting(block):
            self._add_part(_Part(part, self._count(part.text), path))

    def close(self) -> None:
        """Make the piece that has been begun, if any."""
        if not self._parts:
            return
        first, last = self._parts[0].block, self._parts[-1].block
        span = (first.span[0], last.span[1]) if first.span is not None and last.span is not None else None
        path = next((part.path for part in self._parts if part.block.kind != "heading"), self._parts[-1].path)
        self.pieces.append(Piece(text=_joined(self._parts), span=span, headings=path, place=first.place))
        self._parts = []

    def _add_part(self, part: _Part) -> None:
        if self._parts and not self._fit([*self._parts, part]):
            stay = len(self._parts)
            while stay and self._parts[stay - 1].block.kind == "heading":
                stay -= 1
            moved = self._parts[stay:]
            self._parts = self._parts[:stay]
            self.close()
            self._parts = moved
            if moved and not self._fit([*moved, part]):
                self.close()
        self._parts.append(part)

    def _fit(self, parts: Sequence[_Part]) -> bool:
        """Whether parts make one piece."""
        if self._count is estimate_tokens:  # counts white space as nothing, so the whole has no more than its parts
            return sum([part.tokens for part in parts]) <= self._max_tokens
        return self._fits(_joined(parts))

    def _fitting(self, block: Block) -> Iterator[Block]:
        """The block, or if it is too long, parts of it that are not."""
        if self._count(block.text) <= self._max_tokens:
            yield block
            return
        end = 0
        for start, stop in self._cuts(block):
            span = block.span
            if span is not None and block.exact:
                span = (span[0] + start, span[0] + stop)
            before = block.text[end:start] if end else block.before
            yield msgspec.structs.replace(block, text=block.text[start:stop], before=before, span=span)
            end = stop

    def _cuts(self, block: Block) -> Iterator[tuple[int, int]]:
        """Where to cut a block that is too long."""
        text = block.text
        if block.kind in ("table", "code"):
            units = [match.span() for match in _LINE.finditer(text) if not match.group().isspace()]
        else:
            units = split_sentences(text)
        for start, end in units:
            if self._count(text[start:end]) <= self._max_tokens:
                yield start, end
            else:
                yield from self._cut_words(text, start, end)

    def _cut_words(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """A stretch that is too long, cut between words; a word that is too long is cut anywhere."""
        words = [match.span() for match in _WORD.finditer(text, start, end)]
        first = 0
        while first < len(words):
            taken = self._words_that_fit(text, words[first : first + self._max_tokens])
            if taken:
                yield words[first][0], words[first + taken - 1][1]
            else:
                yield from self._cut_anywhere(text, *words[first])
            first += taken or 1

    def _words_that_fit(self, text: str, words: Sequence[tuple[int, int]]) -> int:
        return _most(len(words), lambda many: self._fits(text[words[0][0] : words[many - 1][1]]))

    def _cut_anywhere(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        while start < end:
            stop = start + max(self._characters_that_fit(text[start : min(end, start + self._reach)]), 1)
            whole = stop
            while start < whole < end and _belongs_to_before(text[whole]):
                whole -= 1
            stop = whole if whole > start else stop
            yield start, stop
            start = stop

    def _characters_that_fit(self, word: str) -> int:
        return _most(len(word), lambda many: self._fits(word[:many]))

    def _fits(self, text: str) -> bool:
        return self._count(text) <= self._max_tokens


def _most(limit: int, fits: Callable[[int], bool]) -> int:
    """The greatest number up to `limit` that fits, 0 if not even 1 does; what is greater needs more."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _belongs_to_before(character: str) -> bool:
    """Whether a character makes one with the one before it: an accent, a joiner, a skin tone."""
    return (
        unicodedata.combining(character) != 0
        or character in "\u200d\ufe0e\ufe0f"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )


def _joined(parts: Sequence[_Part]) -> str:
    """Parts as one text, with what stands between them."""
    return parts[0].block.text + "".join([part.block.before + part.block.text for part in parts[1:]])
