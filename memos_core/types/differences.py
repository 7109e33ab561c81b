"""What differs between two versions of an item, and between two moments of a cube; what going back to one did."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from memos_core.types.items import MemoryItem

Stretch = tuple[Literal["same", "gone", "new"], str]

_TOKENS: Final = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_TOKENS: Final = 3000  # comparing takes time with the square of this
# What every version has anew, or what says where the item is and not what it says.
_NOT_COMPARED: Final = frozenset({"cube_id", "id", "text", "version", "seq", "created_at", "updated_at", "provenance"})


class FieldChange(msgspec.Struct, frozen=True):
    """A field of an item (as `MemoryItem` names it, or "conversation" or "source") that has another value now."""

    name: str
    old: Any
    new: Any


class ItemDiff(msgspec.Struct, frozen=True):
    """What differs between two versions of an item.

    Attributes:
        id: of the item.
        old, new: the versions; None for one at which it was deleted.
        text: stretches of words that stayed ("same"), went ("gone") and came ("new"), in order; texts of more than some
            thousand words are compared line by line.
        fields: what else is different; all fields that one of them has, where the other is None.
    """

    id: str
    old: MemoryItem | None
    new: MemoryItem | None
    text: tuple[Stretch, ...]
    fields: tuple[FieldChange, ...]

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.fields) or any(op != "same" for op, _ in self.text)


class CubeDiff(msgspec.Struct, frozen=True):
    """What differs between two moments of a cube.

    Attributes:
        added: items that were there at the second moment and not at the first, in the order they were written.
        removed: those that were there at the first alone, as they were then.
        changed: those that were there at both, and say something else.
    """

    added: tuple[MemoryItem, ...] = ()
    removed: tuple[MemoryItem, ...] = ()
    changed: tuple[ItemDiff, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.added or self.removed or self.changed)


class RolledBack(msgspec.Struct, frozen=True):
    """What bringing a cube back to an earlier moment did. Doing it again with `before` undoes it.

    Attributes:
        cube: its name.
        to: number of the change after which it stood as it does now.
        before: number of the last change before the new ones.
        restored: ids of items that had been deleted since, and are back.
        changed: ids of items that had changed since, and say again what they said.
        deleted: ids of items that had come since, and are deleted.
    """

    cube: str
    to: int
    before: int
    restored: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything was different."""
        return bool(self.restored or self.changed or self.deleted)


def stretches(old: str, new: str) -> Iterator[Stretch]:
    """Stretches that stayed, went and came, in the order of the texts: word by word (long texts: line by line)."""
    before, after = _TOKENS.findall(old), _TOKENS.findall(new)
    if max(len(before), len(after)) > _MOST_TOKENS:
        before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    for op, i1, i2, j1, j2 in difflib.SequenceMatcher(None, before, after).get_opcodes():
        if op == "equal":
            yield "same", "".join(before[i1:i2])
            continue
        if i1 < i2:
            yield "gone", "".join(before[i1:i2])
        if j1 < j2:
            yield "new", "".join(after[j1:j2])


def item_diff(id: str, old: MemoryItem | None, new: MemoryItem | None) -> ItemDiff:
    """What differs between two versions of an item; None for a deletion."""
    before, after = _fields(old), _fields(new)
    names = [*before, *(name for name in after if name not in before)]
    changes = [FieldChange(name, before.get(name), after.get(name)) for name in names]
    text = stretches("" if old is None else old.text, "" if new is None else new.text)
    return ItemDiff(id, old, new, tuple(text), tuple(each for each in changes if each.old != each.new))


def _fields(item: MemoryItem | None) -> dict[str, Any]:
    if item is None:
        return {}
    found = {name: getattr(item, name) for name in item.__struct_fields__ if name not in _NOT_COMPARED}
    return {**found, "conversation": item.provenance.conversation, "source": item.provenance.source}
