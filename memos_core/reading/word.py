"""Word documents through python-docx: headings, paragraphs, lists, tables and footnotes in reading order."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from memos_core.reading.binary import Extracted, as_utc, words
from memos_core.reading.layout import Layout

if TYPE_CHECKING:
    from docx.document import Document

_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_BREAKS: Final = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_LEFT_OUT: Final = {_FALLBACK, f"{_W}moveFrom", f"{_W}del"}  # said twice, moved away, deleted
_THROUGH: Final = {f"{_W}{name}" for name in ("sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag")}
_DEEPEST: Final = 20


def extract(data: bytes, name: str) -> Extracted:
    """The words of a Word document, with its headings. It has no pages before a program lays it out."""
    import docx

    document = docx.Document(io.BytesIO(data))
    layout = Layout(name)
    levels = _heading_levels(document)
    lists = {style.style_id for style in document.styles if str(style.name or "").startswith("List ")}
    for kind, element in _blocks(document.element.body, 0):
        if kind == "table":
            layout.add_table(_rows(element))
        else:
            _add_paragraph(layout, element, levels, lists)
    for note in _notes(document):
        layout.add(note)
    about = document.core_properties
    return Extracted(layout, words(about.title), words(about.author), as_utc(about.modified or about.created))


def _blocks(parent: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Paragraphs and tables, also those inside of content controls and tracked insertions."""
    for child in parent:
        if child.tag == f"{_W}p":
            yield "paragraph", child
        elif child.tag == f"{_W}tbl":
            yield "table", child
        elif child.tag in _THROUGH and depth < _DEEPEST:
            yield from _blocks(child, depth + 1)


def _add_paragraph(layout: Layout, element: Any, levels: dict[str, int], lists: set[str]) -> None:
    properties = element.find(f"{_W}pPr")
    style = outline = numbered = None
    if properties is not None:
        style = _value(properties.find(f"{_W}pStyle"))
        outline = _value(properties.find(f"{_W}outlineLvl"))
        numbered = properties.find(f"{_W}numPr")
    level = levels.get(style or "", 0)
    if outline is not None and outline.isdecimal() and int(outline) < 9:
        level = int(outline) + 1
    if level:
        layout.add(_words(element), "heading", level=level)
    else:
        layout.add(_words(element), "item" if numbered is not None or style in lists else "paragraph")


def _value(element: Any) -> str | None:
    return None if element is None else element.get(f"{_W}val")


def _heading_levels(document: Document) -> dict[str, int]:
    """Levels of the styles that are headings, or based on one, by the id that paragraphs name."""
    found: dict[str, int] = {}
    for style in document.styles:
        above: Any = style
        for _ in range(_DEEPEST):
            if above is None:
                break
            word, _, number = str(above.name or "").partition(" ")
            if word == "Title" and not number:
                found[style.style_id] = 1
            elif word == "Heading" and number.isdecimal():
                found[style.style_id] = int(number)
            else:
                above = getattr(above, "base_style", None)
                continue
            break
    return found


def _words(element: Any) -> str:
    """What a reader of the element sees, without what is deleted or said twice."""
    pieces: list[str] = []
    waiting = [element]
    while waiting:
        each = waiting.pop()
        if each.tag in _LEFT_OUT:
            continue
        if each.tag == f"{_W}t":
            pieces.append(each.text or "")
        elif each.tag in _BREAKS:
            pieces.append(_BREAKS[each.tag])
        elif each.tag == f"{_W}p" and each is not element and pieces:
            pieces.append("\n")  # paragraphs in a text box
        waiting.extend(reversed(each))
    return "".join(pieces)


def _rows(table: Any) -> Iterator[list[str]]:
    for row in table.iter(f"{_W}tr"):
        if next(row.iterancestors(f"{_W}tbl"), None) is table:
            yield [_cell(cell) for cell in row.iter(f"{_W}tc") if next(cell.iterancestors(f"{_W}tr"), None) is row]


def _cell(cell: Any) -> str:
    """The words of a cell, of tables inside of it too."""
    paragraphs = [each for each in cell.iter(f"{_W}p") if next(each.iterancestors(f"{_W}p"), None) is None]
    return " ".join(filter(None, (_words(paragraph).strip() for paragraph in paragraphs)))


def _notes(document: Document) -> Iterator[str]:
    """Footnotes and endnotes, each a paragraph."""
    from lxml import etree

    for relation in document.part.rels.values():
        if relation.is_external or not relation.reltype.endswith(("/footnotes", "/endnotes")):
            continue
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        for note in etree.fromstring(relation.target_part.blob, parser):
            if note.get(f"{_W}type") is None:  # others are the lines between text and notes
                yield _cell(note)
