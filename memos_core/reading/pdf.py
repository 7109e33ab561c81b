"""PDF through pypdf (pure Python, no dependencies): page by page, headings where the outline names them."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from memos_core.errors import ReadingFailed
from memos_core.reading.binary import Extracted, as_utc, words
from memos_core.reading.layout import Layout
from memos_core.reading.plain_text import plain_blocks
from memos_core.types.inputs import Place

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader

log = logging.getLogger(__name__)
_MOST_PAGES: Final = 20_000
_MOST_DRAWING: Final = 32 << 20  # bytes of drawing on one page: beyond, it is a map, and takes minutes
_DEEPEST: Final = 6
_BROKEN_WORD: Final = re.compile(r"(?<=[^\W\d_A-Z])(?:\u00ad|-|\u2010)\n(?=[^\W\d_A-Z])")
_SPACES: Final = re.compile(r"[ \t\u00a0]+")
Outline = dict[int, dict[str, int]]  # page -> title as compared -> level


def extract(data: bytes, name: str) -> Extracted:
    """The words of a PDF; every stretch knows its page.

    Raises:
        ReadingFailed: encrypted, too large, or nothing but pictures.
    """
    from pypdf.errors import DependencyError

    try:
        return _read(_opened(data, name), name)
    except DependencyError as error:
        raise ReadingFailed(
            f"{name!r} is encrypted in a way that needs another package: pip install cryptography, or save it without"
        ) from error


def _read(reader: PdfReader, name: str) -> Extracted:
    count = len(reader.pages)
    if count > _MOST_PAGES:
        raise ReadingFailed(f"{name!r} has {count:,} pages; more than {_MOST_PAGES:,} are not read, split it")
    outline = _outline(reader)
    layout = Layout(name)
    pictures: list[int] = []
    for number, page in enumerate(reader.pages, 1):
        text = _text(page, number, name)
        if text:
            _add_page(layout, text, number, outline.get(number, {}))
        elif _has_picture(page):
            pictures.append(number)
    if not layout.stretches and count:
        why = "they are pictures, so it was probably scanned" if pictures else "they are empty"
        raise ReadingFailed(f"{name!r} has {count:,} pages and no text: {why}; recognise its text first (OCR)")
    if pictures:
        log.warning("%d of %d pages of a PDF are pictures without text and are not in memory", len(pictures), count)
    return _described(reader, layout)


def _opened(data: bytes, name: str) -> PdfReader:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(data), strict=False)
    # an empty password opens those that all may read, and only printing or copying is restricted
    if reader.is_encrypted and not reader.decrypt(""):
        raise ReadingFailed(f"{name!r} is encrypted with a password; save it without one")
    return reader


def _text(page: PageObject, number: int, name: str) -> str:
    contents = page.get_contents()
    if contents is not None and len(contents.get_data()) > _MOST_DRAWING:
        raise ReadingFailed(f"{name!r}: page {number} has more than {_MOST_DRAWING >> 20} MB of drawing; leave it out")
    text = _SPACES.sub(" ", page.extract_text()).replace("\r\n", "\n").replace("\r", "\n")
    return _BROKEN_WORD.sub("", "\n".join(line.strip() for line in text.split("\n"))).strip()


def _has_picture(page: PageObject) -> bool:
    resources: Any = page.get("/Resources")
    objects = resources.get_object().get("/XObject") if resources is not None else None
    return bool(objects is not None and len(objects.get_object()))


def _add_page(layout: Layout, text: str, number: int, titles: dict[str, int]) -> None:
    place: Place = ("page", number)
    waiting: list[str] = []

    def flush() -> None:
        for block in plain_blocks("\n".join(waiting)):
            layout.add(block.text, "item" if block.kind == "item" else "paragraph", place=place)
        waiting.clear()

    for line in text.split("\n"):
        level = titles.get(_compared(line))
        if level is None:
            waiting.append(line)
        else:
            flush()
            layout.add(line, "heading", level=level, place=place)
    flush()


def _outline(reader: PdfReader) -> Outline:
    """The titles of the document's own table of contents, by the page they are on; nothing where it is broken."""
    found: Outline = {}
    try:
        for title, level, page in _entries(reader, reader.outline, 1):
            if title:
                found.setdefault(page, {}).setdefault(title, level)
    except Exception as error:  # noqa: BLE001 a broken table of contents is no reason not to read the pages
        log.debug("outline of a PDF left out: %s", type(error).__name__)
    return found


def _entries(reader: PdfReader, outline: Any, level: int) -> Iterator[tuple[str, int, int]]:
    for entry in outline:
        if isinstance(entry, list):
            yield from _entries(reader, entry, min(level + 1, _DEEPEST))
        else:
            page = reader.get_destination_page_number(entry)
            if page is not None:
                yield _compared(str(entry.title)), level, page + 1


def _compared(line: str) -> str:
    return " ".join(line.split()).casefold()


def _described(reader: PdfReader, layout: Layout) -> Extracted:
    try:
        about = reader.metadata
        if about is None:
            return Extracted(layout)
        at = about.modification_date or about.creation_date
        return Extracted(layout, words(about.title), words(about.author), as_utc(at))
    except Exception as error:  # noqa: BLE001 what a file says about itself is often broken, and seldom needed
        log.debug("description of a PDF left out: %s", type(error).__name__)
        return Extracted(layout)
