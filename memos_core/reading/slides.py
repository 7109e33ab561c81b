"""PowerPoint presentations through python-pptx: slide by slide, title first, then what stands on it, then its notes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, Final

from memos_core.reading.binary import Extracted, as_utc, words
from memos_core.reading.layout import Layout
from memos_core.types.inputs import Place

_DEEPEST: Final = 20
NOTES: Final = "Notes: "


def extract(data: bytes, name: str) -> Extracted:
    """The words of a presentation; every stretch knows its slide."""
    import pptx

    presentation = pptx.Presentation(io.BytesIO(data))
    layout = Layout(name)
    for number, slide in enumerate(presentation.slides, 1):
        place: Place = ("slide", number)
        title = slide.shapes.title
        if title is not None:
            layout.add(" ".join(title.text_frame.text.split()), "heading", level=1, place=place)
        for shape in _shapes(slide.shapes, 0):
            if title is None or shape.shape_id != title.shape_id:
                _add_shape(layout, shape, place)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            said = slide.notes_slide.notes_text_frame.text.strip()
            layout.add(f"{NOTES}{said}" if said else "", place=place)
    about = presentation.core_properties
    return Extracted(layout, words(about.title), words(about.author), as_utc(about.modified or about.created))


def _shapes(shapes: Iterable[Any], depth: int) -> Iterator[Any]:
    """Shapes from top to bottom and left to right, those of groups in the place of their group."""
    for shape in sorted(shapes, key=lambda each: (each.top or 0, each.left or 0)):
        inside = getattr(shape, "shapes", None)
        if inside is not None and depth < _DEEPEST:
            yield from _shapes(inside, depth + 1)
        else:
            yield shape


def _add_shape(layout: Layout, shape: Any, place: Place) -> None:
    if getattr(shape, "has_table", False):
        layout.add_table([[cell.text for cell in row.cells] for row in shape.table.rows], place=place)
    elif shape.has_text_frame:
        paragraphs = [paragraph.text.replace("\v", "\n") for paragraph in shape.text_frame.paragraphs]
        kept = [text for text in paragraphs if text.strip()]
        for text in kept:
            layout.add(text, "item" if len(kept) > 1 else "paragraph", place=place)
