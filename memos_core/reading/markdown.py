"""Markdown as blocks. The only module that touches markdown-it-py (imported at first use).

Blocks are whole lines of the source, exactly as written, so every span is exact and nothing is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

from memos_core.reading.blocks import Block, BlockKind, Parsed
from memos_core.reading.times import first_time

_LINE_END: Final = re.compile(r"\r\n?|\n")  # those that markdown-it counts
_FRONT: Final = re.compile(
    r"\A\ufeff?---[ \t]*\r?\n((?:(?!---|\.\.\.)[^\n]*\n){0,200})(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)"
)
_ENTRY: Final = re.compile(r"([A-Za-z_][\w .-]{0,60}):(?:[ \t]+(.*))?")
_RULE: Final = -1  # level of lines that only draw a rule
_KINDS: Final[dict[str, BlockKind]] = {"fence": "code", "code_block": "code", "table_open": "table"}


class _Lines(NamedTuple):
    """A block as lines: from `start` up to `end`."""

    start: int
    end: int
    kind: BlockKind = "paragraph"
    level: int = 0
    title: str = ""


def markdown_blocks(text: str, *, now: datetime) -> Parsed:
    """The blocks of a Markdown text; front matter (`key: value` lines between `---`) becomes what it says.

    Args:
        text: CommonMark with tables.
        now: what a date in words ("yesterday") is counted from.
    """
    front = _FRONT.match(text)
    entries = _front_matter(front[1]) if front else None
    skipped = front.end() if front and entries is not None else 0
    starts = [skipped, *(match.end() for match in _LINE_END.finditer(text, skipped)), len(text)]
    blocks: list[Block] = []
    for lines in _complete(_parsed(text[skipped:]), text, starts):
        start = starts[lines.start]
        written = text[start : starts[min(lines.end, len(starts) - 1)]].rstrip()
        if not written or lines.level == _RULE:
            continue
        begin = blocks[-1].span[1] if blocks and blocks[-1].span else start
        blocks.append(
            Block(
                text=written,
                kind=lines.kind,
                level=lines.level,
                title=lines.title,
                before=text[begin:start],
                span=(start, start + len(written)),
            )
        )
    return _with_front(blocks, entries or {}, now)


def _parsed(text: str) -> Iterator[_Lines]:
    """The blocks that the parser sees, at the outermost level; lists as their items."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    items: list[int] = []  # lines at which the items of the present list begin, nested ones too
    list_end = -1
    for index, token in enumerate(tokens):
        if list_end >= 0:
            if token.type == "list_item_open" and token.map is not None:
                items.append(token.map[0])
            elif token.level == 0:
                begins = sorted(set(items))
                for first, following in zip(begins, [*begins[1:], list_end], strict=True):
                    yield _Lines(first, following, "item")
                list_end = -1
            continue
        if token.level or token.map is None:
            continue
        start, end = token.map
        if token.type in ("bullet_list_open", "ordered_list_open"):
            items, list_end = [], end
        elif token.type == "heading_open":
            children = tokens[index + 1].children or []
            title = "".join(child.content or " " * child.type.endswith("break") for child in children).strip()
            yield _Lines(start, end, "heading", int(token.tag[1:]), title)
        elif token.type == "hr":
            yield _Lines(start, end, level=_RULE)
        else:
            yield _Lines(start, end, _KINDS.get(token.type, "paragraph"))


def _complete(parsed: Iterator[_Lines], text: str, starts: list[int]) -> Iterator[_Lines]:
    """The same, with lines that the parser keeps to itself (link definitions) as paragraphs."""
    done = 0
    for lines in parsed:
        if lines.start > done:
            yield from _left_over(done, lines.start, text, starts)
        yield lines
        done = max(done, lines.end)
    yield from _left_over(done, len(starts) - 1, text, starts)


def _left_over(first: int, end: int, text: str, starts: list[int]) -> Iterator[_Lines]:
    while first < end and text[starts[first] : starts[first + 1]].isspace():
        first += 1
    if first < end and text[starts[first] : starts[end]].strip():
        yield _Lines(first, end)


def _front_matter(text: str) -> dict[str, Any] | None:
    """The entries of front matter that are one line each; None if it is none (a text between two rules)."""
    entries: dict[str, Any] = {}
    for line in text.splitlines():
        entry = _ENTRY.fullmatch(line.rstrip())
        if entry is not None:
            value = (entry[2] or "").strip()
            if value:
                entries[entry[1].strip()] = _value(value)
        elif line.strip() and line[0] not in " \t-#":
            return None
    return entries


def _value(text: str) -> Any:
    """A word, or the list that is written in brackets."""
    if text.startswith("[") and text.endswith("]"):
        return [_bare(part) for part in text[1:-1].split(",") if part.strip()]
    return _bare(text)


def _bare(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _with_front(blocks: list[Block], entries: dict[str, Any], now: datetime) -> Parsed:
    """Blocks with what the front matter says; a date that cannot be read stays in the metadata."""
    known = {key.lower(): key for key in entries}
    title = entries.pop(known["title"]) if "title" in known else None
    author = entries.pop(known["author"]) if "author" in known else None
    at = first_time([entries[known["date"]]], now=now) if "date" in known else None
    if at is not None:
        del entries[known["date"]]
    return Parsed(
        blocks=blocks,
        title=title if isinstance(title, str) else None,
        author=", ".join(author) if isinstance(author, list) else author,
        at=at,
        metadata=entries,
    )
