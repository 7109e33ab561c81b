"""Building a document from a file that is no text: the words in reading order, and beside them what each stretch is.

What comes out is a `Document` as any other, so its pieces have exact spans; the page, slide or sheet goes along.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from memos_core.errors import ReadingFailed
from memos_core.reading.chunking import MAX_TOKENS, estimate_tokens
from memos_core.types.inputs import Place, Stretch

MOST_CHARACTERS: Final = 20_000_000  # of one document: some seven thousand pages
_UNKEEPABLE: Final = re.compile("[\x00\ud800-\udfff]")
_CELL_END: Final = re.compile(r"\s*\n\s*")
StretchKind = Literal["heading", "paragraph", "item", "table"]


class Layout:
    """The text of a file in the making.

    Args:
        name: of the file, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._parts: list[str] = []
        self._length = 0
        self.stretches: list[Stretch] = []

    @property
    def text(self) -> str:
        """All words so far, with white space between the stretches."""
        return "".join(self._parts)

    def add(self, text: str, kind: StretchKind = "paragraph", *, level: int = 0, place: Place | None = None) -> None:
        """Add a stretch; white space alone adds nothing.

        Args:
            level: of a heading, 1 is the highest.
            place: where in the file it stands.

        Raises:
            ReadingFailed: the document grows beyond what is read.
        """
        text = _UNKEEPABLE.sub("\ufffd", text).strip()
        if not text:
            return
        before = self.stretches[-1] if self.stretches else None
        tight = before is not None and before.kind == kind == "item" and before.place == place
        between = "" if before is None else "\n" if tight else "\n\n"
        start = self._length + len(between)
        self._length = start + len(text)
        if self._length > MOST_CHARACTERS:
            raise ReadingFailed(
                f"{self._name!r} holds more than {MOST_CHARACTERS:,} characters of text; split it, or extract what matters"
            )
        self._parts += [between, text]
        self.stretches.append(Stretch(start=start, end=self._length, kind=kind, level=level, place=place))

    def add_table(self, rows: Iterable[Sequence[str]], *, place: Place | None = None) -> None:
        """Add a table, a line a row. A long one is added in several, each under the first row: it names the columns."""
        kept = [row for row in rows if any(cell.strip() for cell in row)]
        if len(kept) < 3:
            self.add("\n".join(_line([cell for cell in row if cell.strip()]) for row in kept), "table", place=place)
            return
        lines = [_line(row) for row in kept]
        header, *rest = lines
        room = MAX_TOKENS - estimate_tokens(header)
        taken: list[str] = []
        used = 0
        for line in rest:
            size = estimate_tokens(line)
            if taken and used + size > room:
                self.add("\n".join([header, *taken]), "table", place=place)
                taken, used = [], 0
            taken.append(line)
            used += size
        self.add("\n".join([header, *taken]), "table", place=place)


def _line(row: Sequence[str]) -> str:
    """A row of cells as a line, without the empty ones at the end."""
    cells = [_CELL_END.sub(" ", cell.strip()) for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return " | ".join(cells)
