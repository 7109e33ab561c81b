"""Makes the files that the tests of reading need: PDFs by hand, Office documents by the libraries that also read them."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any


def pdf(pages: Sequence[str | None], *, title: str | None = None, outline: Sequence[tuple[str, int]] = ()) -> bytes:
    """A PDF with these lines on its pages (None: a picture instead), and an outline of (title, page from 1)."""
    objects: list[bytes] = []

    def put(body: bytes) -> int:
        objects.append(body)
        return len(objects)

    catalog, tree, font = put(b""), put(b""), put(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    raw = b"\x00" * 64
    picture = put(
        b"<< /Type /XObject /Subtype /Image /Width 8 /Height 8 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length %d >>\n"
        b"stream\n%s\nendstream" % (len(raw), raw)
    )
    kids = []
    for text in pages:
        if text is None:
            drawn = b"q 100 0 0 100 0 0 cm /Im1 Do Q"
            resources = b"<< /XObject << /Im1 %d 0 R >> >>" % picture
        else:
            lines = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in text.split("\n")]
            shown = " ".join(f"({line}) Tj T*" for line in lines)
            drawn = f"BT /F1 12 Tf 14 TL 72 720 Td {shown} ET".encode("latin-1")
            resources = b"<< /Font << /F1 %d 0 R >> >>" % font
        stream = zlib.compress(drawn)
        content = put(b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(stream), stream))
        kids.append(
            put(
                b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 612 792] /Resources %s /Contents %d 0 R >>"
                % (tree, resources, content)
            )
        )
    objects[tree - 1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (
        b" ".join(b"%d 0 R" % kid for kid in kids),
        len(kids),
    )
    extra = b""
    if outline:
        root = put(b"")
        numbers = [len(objects) + 1 + place for place in range(len(outline))]
        for place, (name, page) in enumerate(outline):
            around = b"/Prev %d 0 R " % numbers[place - 1] if place else b""
            around += b"/Next %d 0 R " % numbers[place + 1] if place + 1 < len(outline) else b""
            put(
                b"<< /Title (%s) /Parent %d 0 R %s/Dest [%d 0 R /Fit] >>"
                % (name.encode(), root, around, kids[page - 1])
            )
        objects[root - 1] = b"<< /Type /Outlines /First %d 0 R /Last %d 0 R /Count %d >>" % (
            numbers[0],
            numbers[-1],
            len(numbers),
        )
        extra = b" /Outlines %d 0 R" % root
    objects[catalog - 1] = b"<< /Type /Catalog /Pages %d 0 R%s >>" % (tree, extra)
    about = put(b"<< /Title (%s) /Author (Ann) /CreationDate (D:20240508100000Z) >>" % (title or "").encode())
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    begin = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root %d 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        catalog,
        about,
        begin,
    )
    return bytes(out)


def encrypted_pdf(pages: Sequence[str], *, user: str, owner: str) -> bytes:
    """The same, encrypted; an empty `user` password lets everybody read."""
    import pypdf

    writer = pypdf.PdfWriter(clone_from=pypdf.PdfReader(io.BytesIO(pdf(pages))))
    writer.encrypt(user_password=user, owner_password=owner, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def word() -> Any:
    """A Word document: headings, paragraphs, a list, a table with merged cells, a content control, tracked changes."""
    import docx
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls

    document = docx.Document()
    document.core_properties.title = "The P-7 pump"
    document.core_properties.author = "Ann"
    document.core_properties.modified = datetime(2024, 5, 8, 10, 0)
    document.add_heading("Starting", 1)
    document.add_paragraph("Open the valve, then prime the pump.")
    document.add_heading("Tools", 2)
    document.add_paragraph("a wrench", style="List Bullet")
    document.add_paragraph("a bucket", style="List Bullet")
    document.add_heading("Winter", 1)
    table = document.add_table(rows=3, cols=2)
    for row, values in zip(table.rows, [("Part", "Torque"), ("Housing", "12 Nm"), ("Valve", "7 Nm")], strict=True):
        for cell, value in zip(row.cells, values, strict=True):
            cell.text = value
    control = parse_xml(
        f"<w:sdt {nsdecls('w')}><w:sdtContent><w:p><w:r><w:t>Inside of a control.</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    )
    tracked = parse_xml(
        f"<w:p {nsdecls('w')}><w:r><w:t xml:space='preserve'>It holds </w:t></w:r><w:del><w:r><w:delText>five</w:delText></w:r>"
        "</w:del><w:ins><w:r><w:t>six</w:t></w:r></w:ins><w:r><w:t xml:space='preserve'> litres.</w:t></w:r></w:p>"
    )
    for element in (control, tracked):
        document.element.body.insert(len(document.element.body) - 1, element)
    return document


def slides() -> Any:
    """A presentation of two slides with notes and a table."""
    import pptx
    from pptx.util import Inches

    presentation = pptx.Presentation()
    presentation.core_properties.title = "Quarter"
    first = presentation.slides.add_slide(presentation.slide_layouts[1])
    first.shapes.title.text = "Results"
    first.placeholders[1].text = "Sales grew\nCosts fell"
    first.notes_slide.notes_text_frame.text = "Thank the team."
    second = presentation.slides.add_slide(presentation.slide_layouts[5])
    second.shapes.title.text = "Outlook"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for place, value in enumerate(["Year", "Plan", "2027", "9 million"]):
        table.cell(place // 2, place % 2).text = value
    return presentation


def workbook(rows: int = 3) -> Any:
    """A workbook of two sheets: prices, in a table of so many rows, and a note with a date."""
    import openpyxl

    book = openpyxl.Workbook()
    prices = book.active
    prices.title = "Prices"
    prices.append(["Item", "Price", "Since"])
    for number in range(1, rows + 1):
        prices.append([f"Pump {number}", number * 1.1, datetime(2024, 1, number % 28 + 1)])
    notes = book.create_sheet("Notes")
    notes["B2"] = "Ask Bob"
    notes["B4"] = True
    return book


def saved(made: Any, path: Path) -> Path:
    """The document as a file."""
    made.save(str(path))
    return path


def with_parts(path: Path, parts: Mapping[str, bytes]) -> Path:
    """The same archive with some parts replaced or added."""
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**kept, **parts}.items():
            archive.writestr(name, data)
    return path
