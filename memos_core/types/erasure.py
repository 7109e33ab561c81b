"""What is to be erased, what that takes with it, and what became of it; legal holds."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from memos_core.errors import InvalidInput
from memos_core.types.names import check_name, check_text

ERASURES: Final = "erasures"  # setting: `ErasureRecord` as JSON
EVERYTHING_HELD: Final = "*"
ITEM_HELD: Final = "item:"
SUBJECT_HELD: Final = "subject:"


class Erasing(msgspec.Struct, frozen=True, kw_only=True):
    """What to erase.

    Attributes:
        cubes: numbers of the cubes that are looked at.
        items: ids by number of the cube.
        subject: an actor; everything it wrote, said, or that is private to it, and what bears its name.
        derived: also what was derived from any of these.
    """

    cubes: tuple[int, ...]
    items: dict[int, tuple[str, ...]] = {}
    subject: str | None = None
    derived: bool = False


class ErasedWords(msgspec.Struct, frozen=True):
    """What is looked for in files afterwards; it is kept in memory only, until then.

    Attributes:
        texts: what the items said, in every version; strings of their bodies.
        vectors: their bytes.
        ids: those that were given by callers.
    """

    texts: frozenset[str] = frozenset()
    vectors: tuple[bytes, ...] = ()
    ids: frozenset[str] = frozenset()


class ErasurePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure takes, found by the store.

    Attributes:
        items: (cube, id) of every item that goes, by cube; an item that forks share is there once for each.
        versions, vectors: rows whose bytes go.
        cubes: names of the cubes that are changed.
        shared_with: names of those among them that only share bytes with the ones that were looked at.
        derived: (cube, id) of items that were derived from these and stay.
        naming: (cube, id) of items that stay and lose their links to these, and earlier versions where those name an id that
            a caller gave.
        identities: of the messages and spans that they were read from, by which copies in other cubes are found.
        holds: what forbids it, as sentences.
        said: texts of versions, but for the shortest.
        words: what is looked for in files afterwards.
        token: stands for all of this; another one means that something has changed.
    """

    items: tuple[tuple[str, str], ...] = ()
    versions: int = 0
    vectors: int = 0
    cubes: tuple[str, ...] = ()
    shared_with: tuple[str, ...] = ()
    derived: tuple[tuple[str, str], ...] = ()
    naming: tuple[tuple[str, str], ...] = ()
    identities: frozenset[int] = frozenset()
    holds: tuple[str, ...] = ()
    said: frozenset[str] = frozenset()
    words: ErasedWords = ErasedWords()
    token: str = ""


class ErasurePreview(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure would take.

    Attributes:
        items: (cube, id) of every item that would go.
        versions, vectors: how many.
        cubes: names of the cubes that would be changed.
        shared_with: those among them that share their bytes with the others (forks, or what those were forked from): there is
            one set of bytes, so the items go from all of them.
        derived: how many items were derived from these and would stay (`derived=True` takes them too).
        copies: how many items of other cubes hold the same words and would stay (`copies=True` takes those in cubes that
            the actor administrates).
        naming: how many items would lose their links to these.
        holds: legal holds that forbid it, as sentences.
        token: pass it as `confirm=` to erase exactly this.
    """

    items: tuple[tuple[str, str], ...]
    versions: int
    vectors: int
    cubes: tuple[str, ...]
    shared_with: tuple[str, ...]
    derived: int
    copies: int
    naming: int
    holds: tuple[str, ...]
    token: str


class ErasureRecord(msgspec.Struct, frozen=True):
    """What a store remembers of its erasures as a whole.

    Attributes:
        count: how many there were; a backup made under another count is not added to.
        at: when the newest one was, microseconds since 1970.
        unfinished: numbers of the cubes whose derived files may still hold bytes; none once it is finished.
    """

    count: int = 0
    at: int = 0
    unfinished: tuple[int, ...] = ()


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did.

    Attributes:
        items, versions, vectors, naming: how many.
        cubes, shared_with: as in `ErasurePreview`.
        derived, copies: how many items stay that were derived from these, or hold the same words.
        complete: nothing of it is left in what memos can reach.
        remains: what is left, or could not be looked at, and what to do about it; a sentence each.
        beyond: what is out of memos' reach (backups, a server's write-ahead log), and how it ages out.
    """

    items: int
    versions: int
    vectors: int
    naming: int
    cubes: tuple[str, ...]
    shared_with: tuple[str, ...]
    derived: int
    copies: int
    complete: bool
    remains: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()


class Finished(msgspec.Struct, frozen=True):
    """What cleaning up after erasures did.

    Attributes:
        complete: nothing is left in what memos can reach, as far as that can be told without knowing what it said.
        remains, beyond: as in `Erasure`.
    """

    complete: bool
    remains: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()


class Hold(msgspec.Struct, frozen=True):
    """A legal hold: what it covers may not be deleted or erased.

    Attributes:
        cube: its name.
        target: "*" for all of the cube, "item:ID", or "subject:NAME" for what an actor wrote, said, or that is private to it.
        reason: why.
        by: who placed it.
        at: when.
    """

    cube: str
    target: str
    reason: str
    by: str
    at: datetime


def check_target(target: str) -> str:
    """What a hold covers, checked.

    Raises:
        InvalidInput: it is none of "*", "item:ID", "subject:NAME".
    """
    if target == EVERYTHING_HELD:
        return target
    for prefix in (ITEM_HELD, SUBJECT_HELD):
        if isinstance(target, str) and target.startswith(prefix):
            check_name(target.removeprefix(prefix), "the target of a hold")
            return target
    raise InvalidInput(f"a hold is on '*' (all of a cube), 'item:ID' or 'subject:NAME', not on {target!r}")


def check_reason(reason: str) -> str:
    """Why somebody erases or holds something.

    Raises:
        InvalidInput: nothing is said.
    """
    if not isinstance(reason, str) or not check_text(reason, "reason").strip():
        raise InvalidInput("say why: reason='asked for by the person on 3 May', say. It is kept in the audit")
    return reason
