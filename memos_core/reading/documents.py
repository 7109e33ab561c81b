"""Documents to drafts: texts, Markdown, HTML, PDF and Office, cut where their structure says so."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any, Final

from memos_core.errors import InvalidText
from memos_core.reading.binary import check_size, extract, format_of
from memos_core.reading.blocks import Block, Parsed
from memos_core.reading.chunking import MAX_TOKENS, Piece, TokenCounter, estimate_tokens, pack
from memos_core.reading.decoding import decode, read_bytes
from memos_core.reading.html import html_blocks
from memos_core.reading.markdown import markdown_blocks
from memos_core.reading.plain_text import plain_blocks
from memos_core.reading.times import in_utc
from memos_core.types.checks import checked_document
from memos_core.types.inputs import Document, DocumentFormat, Draft, Place, Stretch
from memos_core.types.items import SourceRef
from memos_core.types.names import check_text

_FORMATS: Final[dict[str, DocumentFormat]] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdown": "markdown",
    ".mkd": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}
_HTML_BEGINS: Final = ("<!doctype html", "<html")
PATH_SEPARATOR: Final = " > "


def load_document(path: str | os.PathLike[str], *, uri: str | None = None) -> Document:
    """A file as a document: PDF and Office documents, Markdown and HTML by their endings, else plain text.

    Args:
        path: of a text file, in UTF-8, or with a byte order mark, or HTML that names its encoding; else Windows-1252. Or of
            a PDF, Word document, PowerPoint presentation or Excel workbook (they need the extra `documents`).
        uri: what it is to be known by; None takes the path as given.

    Raises:
        ReadingFailed: it cannot be read, is encrypted, damaged, too large, scanned, or no text.
        MissingPackage: it is no text, and the library that reads it is not installed.
    """
    name = os.fspath(path)
    suffix = PurePath(name).suffix.lower()
    check_size(path, name)
    data = read_bytes(path)
    if uri is None:
        # The same file name can be spelled in two ways (composed or not); names must be one.
        uri = unicodedata.normalize("NFKC", PurePath(name).as_posix())
    binary = format_of(name, data)
    if binary is not None:
        found = extract(binary, data, name)
        return Document(
            text=found.layout.text,
            uri=uri,
            title=found.title,
            author=found.author,
            at=found.at,
            layout=tuple(found.layout.stretches),
        )
    kind = _FORMATS.get(suffix, "text")
    text = decode(data, name, html=kind == "html" or suffix == "")
    if suffix == "" and text[:200].lstrip().lower().startswith(_HTML_BEGINS):
        kind = "html"
    return Document(text=text, uri=uri, format=kind)


def read_document(
    document: Document, *, now: datetime, max_tokens: int = MAX_TOKENS, count: TokenCounter = estimate_tokens
) -> list[Draft]:
    """The pieces of a document, in order.

    Each draft's text is as written (HTML: as read), its `context` the path of headings it stands under, its `source`
    the place in the document, its metadata that of the document and, unless that has such a key, `heading`: the path
    as a list. What the document leaves open, its own head (front matter, `<title>`, `<meta>`) answers.

    Args:
        document: the whole of it.
        now: what a date in words in its head is counted from.
        max_tokens: of a piece.
        count: tokens of a text.

    Raises:
        InvalidText: NUL characters, lone surrogates, or nothing to read.
        InvalidInput: `max_tokens` is below 1, or its time is out of range.
    """
    checked_document(document)
    text = check_text(document.text, f"text of document {document.uri!r}")
    parsed = _laid_out(text, document.layout) if document.layout else _parsed(text, document.format, now)
    pieces = pack(parsed.blocks, max_tokens=max_tokens, count=count)
    if not pieces:
        raise InvalidText(f"document {document.uri!r} has nothing to read in its {len(text)} characters; leave it out")
    title = document.title or parsed.title
    at = document.at or parsed.at
    at = in_utc(at) if at is not None else None
    metadata = {**parsed.metadata, **document.metadata}
    seen: Counter[str] = Counter()
    drafts: list[Draft] = []
    for position, piece in enumerate(pieces):
        headings = _path(title, piece, parsed.blocks)
        digest = hashlib.sha256(piece.text.encode("utf-8")).hexdigest()
        drafts.append(
            Draft(
                text=piece.text,
                type="document",
                occurred_at=at,
                metadata=_with_place(_with_heading(metadata, headings), piece.place),
                conversation=document.uri,
                source=SourceRef(
                    uri=document.uri,
                    speaker=document.author or parsed.author,
                    position=position,
                    at=at,
                    span=piece.span,
                ),
                context=PATH_SEPARATOR.join(headings),
                identity=("document", document.uri, digest, str(seen[digest])),
            )
        )
        seen[digest] += 1
    return drafts


def _parsed(text: str, kind: DocumentFormat, now: datetime) -> Parsed:
    if kind == "markdown":
        return markdown_blocks(text, now=now)
    return html_blocks(text, now=now) if kind == "html" else Parsed(blocks=plain_blocks(text))


def _laid_out(text: str, layout: Sequence[Stretch]) -> Parsed:
    """The blocks of a text whose layout is known."""
    blocks: list[Block] = []
    end = 0
    for stretch in layout:
        own = text[stretch.start : stretch.end]
        blocks.append(
            Block(
                text=own,
                kind=stretch.kind,
                level=stretch.level,
                title=" ".join(own.split()) if stretch.kind == "heading" else "",
                before=text[end : stretch.start] if blocks else "",
                span=(stretch.start, stretch.end),
                place=stretch.place,
            )
        )
        end = stretch.end
    return Parsed(blocks=blocks)


def _path(title: str | None, piece: Piece, blocks: list[Block]) -> tuple[str, ...]:
    """The headings that a piece stands under, below the title unless the first heading repeats it."""
    if not title:
        return piece.headings
    first = next((block.title for block in blocks if block.kind == "heading"), "")
    repeated = piece.headings[:1] == (first,) and first.casefold() in title.casefold()
    return piece.headings if repeated else (title, *piece.headings)


def _with_heading(metadata: dict[str, Any], headings: tuple[str, ...]) -> dict[str, Any]:
    return {**metadata, "heading": list(headings)} if headings and "heading" not in metadata else dict(metadata)


def _with_place(metadata: dict[str, Any], place: Place | None) -> dict[str, Any]:
    return metadata if place is None or place[0] in metadata else {**metadata, place[0]: place[1]}
