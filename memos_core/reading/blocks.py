"""What a document is made of, whatever it was written in: headings, paragraphs, list items, tables, code."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from memos_core.types.inputs import Place

BlockKind = Literal["heading", "paragraph", "item", "table", "code"]


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a document that belongs together.

    Attributes:
        text: its words; for text and Markdown exactly as written.
        kind: what it is.
        level: of a heading, 1 is the highest; 0 for everything else.
        title: of a heading, its words without marks.
        before: what stands between it and the block before (white space).
        span: (start, end) in characters of the document, or None where that is not known.
        place: page, slide or sheet that it stands on; a piece never reaches from one to the next.
        exact: whether `text` is the document's text at `span`, so that a part of it has a span of its own.
    """

    text: str
    kind: BlockKind = "paragraph"
    level: int = 0
    title: str = ""
    before: str = "\n\n"
    span: tuple[int, int] | None = None
    exact: bool = True
    place: Place | None = None


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """A document as blocks, and what it says about itself.

    Attributes:
        blocks: in order.
        title: in its head, not its first heading.
        author: in its head.
        at: when it says it was written.
        metadata: other entries of its front matter.
    """

    blocks: list[Block]
    title: str | None = None
    author: str | None = None
    at: datetime | None = None
    metadata: dict[str, Any] = {}
