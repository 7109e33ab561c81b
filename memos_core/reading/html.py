"""HTML as blocks. The only module that touches Beautiful Soup (imported at first use).

What a reader sees is kept: headings, paragraphs, list items, tables row by row, preformatted text, descriptions of
images. Scripts, styles, navigation, templates and hidden parts are not. Spans are those of the source from the tag that
opens a block to the one that opens the next, so they say where to look, not which characters.
"""

from __future__ import annotations

import html as html_entities
import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from memos_core.reading.blocks import Block, BlockKind, Parsed
from memos_core.reading.plain_text import plain_blocks
from memos_core.reading.times import first_time
from memos_core.types.inputs import IMAGE_MARK

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_DROPPED: Final = frozenset(
    {"script", "style", "nav", "template", "noscript", "head", "iframe", "object", "svg", "canvas", "select"}
)
_BLOCKS: Final = frozenset(
    """
    address article aside blockquote body center dd details dialog dir div dl dt fieldset figcaption figure footer form
    h1 h2 h3 h4 h5 h6 header hr html legend li main menu ol p pre search section summary table textarea ul
    """.split()
)
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_AUTHORS: Final = ("author", "article:author", "dc.creator", "dcterms.creator")
_DATES: Final = ("article:published_time", "datepublished", "date", "dc.date", "dcterms.created", "last-modified")
_HIDDEN: Final = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SPACES: Final = re.compile(r"\s+")
_DECLARATION: Final = re.compile(r"\s*<\?xml[^>]*\?>")


def html_blocks(text: str, *, now: datetime) -> Parsed:
    """The blocks of an HTML text, with title, author and date from its head.

    Args:
        text: a page, or a part of one.
        now: what a date in words ("yesterday") is counted from.
    """
    if "<" not in text:
        blocks = plain_blocks(html_entities.unescape(text))
        return Parsed(blocks=blocks if "&" not in text else [replace(each, span=None, exact=False) for each in blocks])
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(_prepared(text), "html.parser")
    named = _named(soup)
    title = soup.title.get_text(" ", strip=True) if soup.title is not None else ""
    return Parsed(
        blocks=_Page(text).blocks_of(soup),
        title=title or named.get("og:title"),
        author=next((named[name] for name in _AUTHORS if name in named), None),
        at=first_time((named[name] for name in _DATES if name in named), now=now),
    )


def _prepared(text: str) -> str:
    """The same page without what the parser stumbles over; places stay the same up to the last tag."""
    declared = _DECLARATION.match(text)  # XHTML is read as HTML
    if declared:
        text = " " * declared.end() + text[declared.end() :]
    # What is opened and never closed is no tag and no comment. The parser would look for its end again and again.
    closed = text.rfind("-->") + 1
    text = text[:closed] + text[closed:].replace("<!--", "&lt;!--")
    closed = text.rfind(">") + 1
    return text[:closed] + text[closed:].replace("<", "&lt;")


def _named(soup: BeautifulSoup) -> dict[str, str]:
    """What `<meta>` tags say, by name in small letters; the first of a name counts."""
    named: dict[str, str] = {}
    for tag in soup.find_all("meta"):
        name = tag.get("name") or tag.get("property") or tag.get("itemprop") or tag.get("http-equiv")
        content = tag.get("content")
        if isinstance(name, str) and isinstance(content, str) and content.strip():
            named.setdefault(name.lower(), content.strip())
    return named


class _Page:
    """Blocks in the making, while one walks through a page."""

    def __init__(self, text: str) -> None:
        self._length = len(text)
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._blocks: list[Block] = []
        self._open: list[Tag] = []  # tags that we are inside of, from the outermost
        self._skipping = 0  # of these, how many are dropped
        self._words: list[str] = []  # of the block that is being read
        self._kind: BlockKind = "paragraph"
        self._level = 0
        self._place: int | None = None  # of the tag that opened it
        self._bullets: list[int] = []  # for each list that we are in, the number of its next item; 0 for bullets
        self._bullet = ""  # of an item of which no word has come yet
        self._preformatted = 0
        self._rows: list[list[str]] = []  # of the table that we are in
        self._tables = 0

    def blocks_of(self, soup: BeautifulSoup) -> list[Block]:
        """All blocks, in order."""
        from bs4.element import CData, NavigableString, PreformattedString, Tag

        for element in soup.descendants:
            while self._open and self._open[-1] is not element.parent:
                self._leave(self._open.pop())
            if isinstance(element, Tag):
                self._open.append(element)
                self._enter(element)
            elif self._skipping or (isinstance(element, PreformattedString) and not isinstance(element, CData)):
                continue  # comments and declarations are strings, too
            elif isinstance(element, NavigableString):
                self._words.append(element if self._preformatted else _SPACES.sub(" ", element))
        while self._open:
            self._leave(self._open.pop())
        self._finish()
        return self._with_ends()

    def _enter(self, tag: Tag) -> None:
        if _dropped(tag):
            self._skipping += 1
        if self._skipping:
            return
        name = tag.name
        if name == "br":
            self._words.append("\n")
        elif name == "img":
            alt = tag.get("alt")
            if isinstance(alt, str) and alt.strip():
                self._words.append(f" {IMAGE_MARK}{alt.strip()}] ")
        elif name == "table":
            self._tables += 1
            if self._tables == 1:
                self._begin(tag, "table")
                self._rows = []
        elif self._tables:
            if self._tables == 1 and name in ("tr", "caption", "td", "th"):
                self._cell()  # words between the cells
                if name in ("tr", "caption"):
                    self._rows.append([])
            elif name in _BLOCKS:
                self._words.append(" ")
        elif name in _BLOCKS:
            self._enter_block(tag)

    def _enter_block(self, tag: Tag) -> None:
        name = tag.name
        kind: BlockKind = "paragraph"
        if name in _HEADINGS:
            kind = "heading"
        elif name in ("pre", "textarea"):
            kind = "code"
            self._preformatted += 1
        self._begin(tag, kind, _HEADINGS.get(name, 0))
        if name in ("ul", "ol", "menu", "dir"):
            self._bullets.append(1 if name == "ol" else 0)
        elif name == "li":
            number = self._bullets[-1] if self._bullets else 0
            self._bullet = f"{number}. " if number else "- "
            if number:
                self._bullets[-1] += 1

    def _leave(self, tag: Tag) -> None:
        if self._skipping:
            self._skipping -= _dropped(tag)
            return
        name = tag.name
        if self._tables:
            if self._tables == 1 and name in ("td", "th", "caption"):
                self._cell(empty=True)
            elif name == "table":
                self._tables -= 1
                if not self._tables:
                    self._cell()
                    self._words = ["\n".join(" | ".join(row) for row in self._rows if any(row))]
                    self._finish()
        elif name in _BLOCKS:
            self._finish()
            if name in ("pre", "textarea"):
                self._preformatted -= 1
            elif name == "li":
                self._bullet = ""
            elif name in ("ul", "ol", "menu", "dir"):
                self._bullets.pop()

    def _cell(self, *, empty: bool = False) -> None:
        """Take the words read so far as a cell of the present row; without words only if it may be empty."""
        words = _clean("".join(self._words)).replace("\n", " ")
        self._words = []
        if words or empty:
            self._rows = self._rows or [[]]
            self._rows[-1].append(words)

    def _begin(self, tag: Tag, kind: BlockKind, level: int = 0) -> None:
        """Begin a block at a tag."""
        self._finish()
        self._kind, self._level = kind, level
        line, column = tag.sourceline, tag.sourcepos
        self._place = self._starts[line - 1] + column if line is not None and column is not None else None

    def _finish(self) -> None:
        """Take the words read so far as a block, if there are any."""
        written = "".join(self._words)
        words = written.strip("\n").rstrip() if self._kind == "code" else _clean(written)
        self._words = []
        if words.strip():
            kind: BlockKind = "item" if self._bullet and self._kind == "paragraph" else self._kind
            near = kind == "item" and self._blocks and self._blocks[-1].kind == "item"
            self._blocks.append(
                Block(
                    text=self._bullet + words if kind == "item" else words,
                    kind=kind,
                    level=self._level,
                    title=words.replace("\n", " ") if kind == "heading" else "",
                    before="\n" if near else "\n\n",
                    span=(self._place, self._length) if self._place is not None else None,
                    exact=False,
                )
            )
            self._bullet = ""
        self._kind, self._level = "paragraph", 0

    def _with_ends(self) -> list[Block]:
        """The blocks, each with the end of its span where the next one begins."""
        ended: list[Block] = []
        begin = end = self._length
        for block in reversed(self._blocks):
            if block.span is not None:
                if block.span[0] != begin:
                    begin, end = block.span[0], begin
                block = replace(block, span=(begin, end))
            ended.append(block)
        return ended[::-1]


def _dropped(tag: Tag) -> bool:
    """Whether a reader of the page does not see what is in the tag."""
    if tag.name in _DROPPED:
        return True
    if not tag.attrs:
        return False
    if "hidden" in tag.attrs or tag.attrs.get("aria-hidden") == "true":
        return True
    style = tag.attrs.get("style")
    return isinstance(style, str) and _HIDDEN.search(style) is not None


def _clean(words: str) -> str:
    """Words with single spaces, and without spaces around line breaks."""
    lines = (_SPACES.sub(" ", line).strip() for line in words.split("\n"))
    return "\n".join(line for line in lines if line)
