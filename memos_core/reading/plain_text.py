"""Plain text as blocks: paragraphs between blank lines, list items, and headings that are underlined (as in RST)."""

from __future__ import annotations

import re
from typing import Final

from memos_core.reading.blocks import Block

_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_ITEM: Final = re.compile(r"\s*(?:[-*+•–]|\d{1,3}[.)])\s")
_UNDERLINES: Final = frozenset("=-~^#*+_")
_LONGEST_HEADING: Final = 120


class _Line:
    """A line: its words without white space at the ends, and where they stand."""

    def __init__(self, start: int, text: str) -> None:
        bare = text.strip()
        self.start = start + len(text) - len(text.lstrip()) if bare else start
        self.end = self.start + len(bare)
        self.text = bare
        self.item = _ITEM.match(text) is not None

    def rule(self) -> str:
        """The mark that the whole line consists of, at least three times; "" for other lines."""
        text = self.text
        marked = len(text) >= 3 and text[0] in _UNDERLINES and text == text[0] * len(text)
        return text[0] if marked else ""


def plain_blocks(text: str) -> list[Block]:
    """The blocks of a plain text, with exact spans; white space alone gives none."""
    lines = [_Line(match.start(), match.group()) for match in _LINE.finditer(text)]
    blocks: list[Block] = []
    levels: list[tuple[str, bool]] = []  # underlines in the order of first appearance: that is their level
    index = 0
    while index < len(lines):
        line = lines[index]
        if not line.text:
            index += 1
            continue
        heading = _heading(lines, index)
        if heading is not None:
            mark, over, title = heading
            if (mark, over) not in levels:
                levels.append((mark, over))
            last = index + (2 if over else 1)
            level = levels.index((mark, over)) + 1
            _append(
                blocks, text, (line.start, lines[last].end), Block(text="", kind="heading", level=level, title=title)
            )
        else:
            last = index
            while last + 1 < len(lines) and _goes_on(lines, last + 1):
                last += 1
            kind = Block(text="", kind="item" if line.item else "paragraph")
            _append(blocks, text, (line.start, lines[last].end), kind)
        index = last + 1
    return blocks


def _append(blocks: list[Block], text: str, span: tuple[int, int], like: Block) -> None:
    """Add the block at a span."""
    begin = blocks[-1].span[1] if blocks and blocks[-1].span else span[0]
    blocks.append(
        Block(
            text=text[span[0] : span[1]],
            kind=like.kind,
            level=like.level,
            title=like.title,
            before=text[begin : span[0]],
            span=span,
        )
    )


def _goes_on(lines: list[_Line], index: int) -> bool:
    """Whether a line belongs to the block before it."""
    return bool(lines[index].text) and not lines[index].item and _heading(lines, index) is None


def _heading(lines: list[_Line], index: int) -> tuple[str, bool, str] | None:
    """Mark, whether it is overlined too, and title of the heading that begins at a line; None if none does."""
    mark = lines[index].rule()
    if mark:
        if index + 2 >= len(lines) or lines[index + 2].rule() != mark:
            return None
        title, under, over = lines[index + 1], lines[index + 2], True
    elif index + 1 < len(lines):
        title, under, over = lines[index], lines[index + 1], False
        mark = under.rule()
    else:
        return None
    fits = mark and title.text and not title.rule() and len(title.text) <= min(len(under.text), _LONGEST_HEADING)
    return (mark, over, title.text) if fits else None
