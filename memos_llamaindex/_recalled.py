"""What was recalled, as the text that goes into the prompt, which knows what it was made of."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Self

import msgspec

from memos_core.context import build
from memos_core.types.items import MemoryItem


class Recalled(str):
    """Memories as text: what is pinned, then the others, oldest first.

    LlamaIndex hands the text of a block back to it when the prompt gets too long. By then it is no longer known which of
    the lines matter least, and a block serves many conversations at once; so the text itself brings that along.

    Attributes:
        pinned: memories that stand first, oldest first.
        found: the others, best first.
    """

    pinned: tuple[MemoryItem, ...] = ()
    found: tuple[MemoryItem, ...] = ()

    @classmethod
    def of(cls, pinned: Sequence[MemoryItem], found: Sequence[MemoryItem]) -> Self:
        """All of these memories as text.

        Args:
            pinned: oldest first.
            found: best first.
        """
        made = cls(build(pinned, found, max_tokens=sys.maxsize).text)
        made.pinned, made.found = tuple(pinned), tuple(found)
        return made

    def without_least(self) -> Self:
        """The text without its least likely memory; pinned ones go last. Of a text of others, without its last line."""
        if self.found:
            return self.of(self.pinned, self.found[:-1])
        if self.pinned:
            return self.of(self.pinned[:-1], ())
        return type(self)("\n".join(self.splitlines()[:-1]))


def named(item: MemoryItem) -> MemoryItem:
    """The item with somebody who says it: the words of assistants and tools, which have no names, are not the user's."""
    source = item.provenance.source
    if source is None or source.speaker or source.role in (None, "user"):
        return item
    said = msgspec.structs.replace(source, speaker=source.role)
    return msgspec.structs.replace(item, provenance=msgspec.structs.replace(item.provenance, source=said))
