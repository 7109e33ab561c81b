"""Files as text: which encoding the bytes are in, and which files are no text at all."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path
from typing import Final

from memos_core.errors import ReadingFailed

# The longer mark first: that of UTF-32 begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY: Final = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive (or an Office document)"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"{\\rtf", "an RTF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"SQLite format 3", "a SQLite database"),
    (b"\x7fELF", "a program"),
)
_CHARSET: Final = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,300}?(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE
)
_HEAD: Final = 4096  # bytes in which HTML says its encoding


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """What is in a file.

    Raises:
        ReadingFailed: it is absent, a folder, or may not be read.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ReadingFailed(f"{os.fspath(path)!r} cannot be read: {_reason(error)}") from error


def decode(data: bytes, name: str, *, html: bool = False) -> str:
    """Bytes as text: by their byte order mark, as UTF-8, by what HTML says, or as Windows-1252.

    Args:
        data: the whole file.
        name: of the file, for the message.
        html: look for the encoding in the first lines.

    Raises:
        ReadingFailed: these are not the bytes of a text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(data, encoding, name)
    for magic, kind in _BINARY:
        if data.startswith(magic):
            raise ReadingFailed(f"{name!r} looks like {kind}, not like text; extract its text first")
    if b"\x00" in data:
        even, odd = data[:_HEAD:2].count(0), data[1:_HEAD:2].count(0)
        if max(even, odd) > 4 * min(even, odd) + 4:
            raise ReadingFailed(f"{name!r} looks like UTF-16 without a byte order mark; save it as UTF-8")
        raise ReadingFailed(
            f"{name!r} has a NUL byte at {data.index(0)}, so it looks like a binary file; extract its text first"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    said = _CHARSET.search(data[:_HEAD]) if html else None
    if said is not None:
        encoding = said[1].decode("ascii")
        try:
            return data.decode(encoding)
        except (LookupError, UnicodeError):
            pass  # an encoding nobody knows, or not the one these bytes are in: as if it had said nothing
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _decoded(data: bytes, encoding: str, name: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ReadingFailed(f"{name!r} begins like {encoding}, but is damaged at byte {error.start}") from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
