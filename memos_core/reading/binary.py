"""Files that are no text but have some in them: PDF and Office documents, read through libraries that are optional.

What a file may make this process do is bounded before it is opened: its size, what an archive unpacks to, entities in XML.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Final

import msgspec

from memos_core.errors import MemosError, MissingPackage, ReadingFailed
from memos_core.reading.layout import Layout

MOST_BYTES: Final = 256 << 20  # of a file
MOST_UNPACKED: Final = 1 << 30  # of an Office document, all its parts together
MOST_XML: Final = 64 << 20  # of one part of it that is held in memory, where it is some ten times as large
MOST_SHEET: Final = 512 << 20  # of a part of a workbook: those are read piece by piece
_MOST_PARTS: Final = 20_000
_HEAD: Final = 4096

_OLE: Final = b"\xd0\xcf\x11\xe0"
_ZIP: Final = b"PK\x03\x04"
_PDF: Final = b"%PDF-"


class Format(msgspec.Struct, frozen=True):
    """How files of a format are recognised and read.

    Attributes:
        what: it is called, for messages.
        module: in this package that reads it.
        package: that it needs.
        endings: of file names.
        folder: that its archive has; "" for none.
    """

    what: str
    module: str
    package: str
    endings: tuple[str, ...]
    folder: str = ""


FORMATS: Final = (
    Format("a PDF", "pdf", "pypdf", (".pdf",)),
    Format("a Word document", "word", "docx", (".docx", ".docm", ".dotx", ".dotm"), "word/"),
    Format("a PowerPoint presentation", "slides", "pptx", (".pptx", ".pptm", ".ppsx", ".potx"), "ppt/"),
    Format("an Excel workbook", "sheets", "openpyxl", (".xlsx", ".xlsm", ".xltx", ".xltm"), "xl/"),
)
_BY_ENDING: Final = {ending: each for each in FORMATS for ending in each.endings}


class Extracted(msgspec.Struct, frozen=True):
    """What a file says, and what it says about itself."""

    layout: Layout
    title: str | None = None
    author: str | None = None
    at: datetime | None = None


def format_of(name: str, data: bytes) -> Format | None:
    """The format of a file by its first bytes and its ending; None where it is (or pretends to be) text.

    Raises:
        ReadingFailed: its ending says one of these formats, and its bytes say something else; or it is an old or encrypted
            Office document.
    """
    expected = _BY_ENDING.get(os.path.splitext(name)[1].lower())
    if _PDF in data[:1024] and (expected is None or expected.module == "pdf"):
        return FORMATS[0] if expected is not None or data.startswith(_PDF) else None
    if data.startswith(_ZIP):
        folders = _folders(data)
        found = next((each for each in FORMATS if each.folder and each.folder in folders), None)
        if found is not None or expected is None:
            return found
    if expected is None:
        return None
    if data.startswith(_OLE):
        raise ReadingFailed(
            f"{name!r} is encrypted with a password, or an old Office document under a new name; save it without a password "
            f"as {expected.endings[0]}"
        )
    raise ReadingFailed(f"{name!r} is not {expected.what} as its ending says, or damaged: its first bytes are others'")


def _folders(data: bytes) -> set[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name.partition("/")[0] + "/" for name in archive.namelist() if "/" in name}
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return set()


def check_size(path: str | os.PathLike[str], name: str) -> None:
    """Refuse a file that is too large before it is read.

    Raises:
        ReadingFailed: it is. Only files with the ending of one of these formats are looked at.
    """
    if os.path.splitext(name)[1].lower() not in _BY_ENDING:
        return
    try:
        size = Path(path).stat().st_size
    except (OSError, ValueError):
        return  # reading it says what is wrong
    if size > MOST_BYTES:
        raise ReadingFailed(f"{name!r} has {size >> 20:,} MB, more than {MOST_BYTES >> 20} are not read; split it")


def extract(kind: Format, data: bytes, name: str) -> Extracted:
    """The text of a file, and what each stretch of it is.

    Raises:
        ReadingFailed: it is encrypted, damaged, larger than what is read, or has no text (a scanned PDF).
        MissingPackage: the library that reads it is not installed.
    """
    reader: Callable[[bytes, str], Extracted] = import_module(f"memos_core.reading.{kind.module}").extract
    try:
        if kind.folder:
            check_archive(data, name)
        return reader(data, name)
    except ImportError as error:
        if isinstance(error, MemosError) or (error.name or "").partition(".")[0] != kind.package:
            raise
        raise MissingPackage(kind.package, "documents", f"reading {kind.what}") from error
    except MemosError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ReadingFailed(
            f"{name!r} cannot be read as {kind.what}, it is damaged: {said or type(error).__name__}"
        ) from error


def check_archive(data: bytes, name: str) -> None:
    """Refuse an Office document that would unpack to too much, or whose XML declares entities.

    The sizes that an archive declares are binding: `zipfile` never unpacks more than those.

    Raises:
        ReadingFailed: which limit it breaks.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = archive.infolist()
        total = sum(part.file_size for part in parts)
        if len(parts) > _MOST_PARTS or total > MOST_UNPACKED:
            raise ReadingFailed(
                f"{name!r} unpacks to {total >> 20:,} MB in {len(parts):,} parts; more than {MOST_UNPACKED >> 20:,} MB or "
                f"{_MOST_PARTS:,} parts are not read"
            )
        for part in parts:
            if part.flag_bits & 1:
                raise ReadingFailed(f"{name!r} is encrypted; save it without a password")
            if not part.filename.lower().endswith((".xml", ".rels", ".vml")):
                continue
            most = MOST_SHEET if part.filename.startswith("xl/") else MOST_XML
            if part.file_size > most:
                raise ReadingFailed(
                    f"{name!r}: its part {part.filename!r} has {part.file_size >> 20:,} MB, more than {most >> 20} are not "
                    "read; split the document"
                )
            with archive.open(part) as file:
                head = file.read(_HEAD).replace(b"\x00", b"").upper()
            if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
                raise ReadingFailed(f"{name!r}: its part {part.filename!r} declares entities; no Office program does")


def as_utc(at: datetime | None) -> datetime | None:
    """A time that a file says about itself; those without a zone are taken as UTC, impossible ones as none."""
    if at is None:
        return None
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def words(said: object) -> str | None:
    """Title or author that a file says about itself; None where it says none."""
    text = " ".join(str(said).split()) if said else ""
    return text.encode("utf-8", "ignore").decode("utf-8").replace("\x00", "") or None
