"""Excel workbooks through openpyxl: sheet by sheet, each table under its first row, values as last calculated."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from memos_core.errors import ReadingFailed
from memos_core.reading.binary import Extracted, as_utc, words
from memos_core.reading.layout import Layout
from memos_core.types.inputs import Place

_MOST_CELLS: Final = 5_000_000


def extract(data: bytes, name: str) -> Extracted:
    """The words and values of a workbook; every stretch knows its sheet, which is its heading too.

    Raises:
        ReadingFailed: more cells than are read.
    """
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    layout = Layout(name)
    cells = 0
    try:
        for sheet in book.worksheets:
            place: Place = ("sheet", str(sheet.title))
            layout.add(str(sheet.title), "heading", level=1, place=place)
            sheet.reset_dimensions()  # what a file says of its size is not to be relied on
            rows: list[Sequence[str]] = []
            for row in _rows(sheet):
                cells += len(row)
                if cells > _MOST_CELLS:
                    raise ReadingFailed(
                        f"{name!r} has more than {_MOST_CELLS:,} cells; split it, or export what matters"
                    )
                if any(row):
                    rows.append(row)
                elif rows:  # an empty row ends a table
                    layout.add_table(rows, place=place)
                    rows = []
            layout.add_table(rows, place=place)
        about = book.properties
        return Extracted(layout, words(about.title), words(about.creator), as_utc(about.modified or about.created))
    finally:
        book.close()


def _rows(sheet: Any) -> Iterator[list[str]]:
    for row in sheet.iter_rows(values_only=True):
        yield [_said(value) for value in row]


def _said(value: Any) -> str:
    """A value as a person would read it."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        whole_day = value.time() == time(0)
        return value.date().isoformat() if whole_day else value.isoformat(" ", "minutes")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta | bool):
        return str(value)
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value)
