"""Who may erase what: the rights that it takes, and what of the answer an actor may see."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import msgspec

from memos_core.errors import AccessDenied, InvalidInput, ItemNotFound
from memos_core.filters import Filter
from memos_core.governance.governance import Governance
from memos_core.operations.erasure import Copies, Eraser
from memos_core.protocols.storage import RecordStore
from memos_core.types.access import Actor, Right
from memos_core.types.erasure import Erasing, Erasure, ErasurePlan, ErasurePreview
from memos_core.types.names import check_name
from memos_core.types.work import CubeRow

_Told = TypeVar("_Told", ErasurePreview, Erasure)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to have erased: one of ids, subject and where.

    Attributes:
        ids: of items.
        subject: an actor: all that it wrote or said, or that is private to it, and what bears its name.
        where: items that fulfil this.
        derived: also what was derived from any of these.
        copies: also items that say the same, in other cubes that the actor administrates.
    """

    ids: tuple[str, ...] | None = None
    subject: str | None = None
    where: Filter | None = None
    derived: bool = False
    copies: bool = False


class ErasureDesk:
    """Where erasing is asked for.

    Args:
        store: the truth.
        governance: asked first.
        eraser: does it.
        flush: writes what was read so far into the audit, before what was read goes.
    """

    def __init__(self, store: RecordStore, governance: Governance, eraser: Eraser, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._store = store
        self._governance = governance
        self._eraser = eraser

    def preview(self, actor: Actor, wanted: Wanted, cubes: Collection[str] | None) -> ErasurePreview:
        """What would be erased; as `erase`, and nothing is changed."""
        _, plan, copies = self._plan(actor, wanted, cubes)
        return self._shown(actor, self._eraser.preview(plan, self._readable(actor, copies)))

    def erase(
        self, actor: Actor, wanted: Wanted, cubes: Collection[str] | None, *, reason: str, confirm: str | None = None
    ) -> Erasure:
        """Erase.

        Args:
            actor: on whose behalf.
            wanted: what.
            cubes: names of those to look at; None for all that the actor administrates.
            reason: for the audit.
            confirm: the token of a preview: nothing else is erased.

        Raises:
            CubeNotFound, AccessDenied: the actor does not administrate one of the cubes, or one that shares its bytes.
            ItemNotFound: one of the ids is in none of them.
            OnHold: a legal hold covers some of it.
            Conflict: what would go is not what was previewed.
            InvalidInput: no reason, or nothing that says what to erase.
        """
        self._flush()  # of ids that callers gave nothing may be noted afterwards
        what, plan, copies = self._plan(actor, wanted, cubes)
        done = self._eraser.erase(
            what,
            plan,
            self._readable(actor, copies),
            actor=actor.id,
            reason=reason,
            confirm=confirm,
            by=lambda name: self._governance.reason(actor, name, Right.ADMIN),
        )
        return self._shown(actor, done)

    def administrated(self, actor: Actor) -> list[CubeRow]:
        """The cubes that an actor administrates, by name."""
        return [row for row in self._store.cubes() if self._governance.may(actor, row.name, Right.ADMIN)]

    def _plan(self, actor: Actor, wanted: Wanted, cubes: Collection[str] | None) -> tuple[Erasing, ErasurePlan, Copies]:
        if sum(each is not None for each in (wanted.ids, wanted.subject, wanted.where)) != 1:
            raise InvalidInput("say what to erase: ids, subject or where, one of the three")
        if wanted.subject is not None:
            check_name(wanted.subject, "subject")
        if cubes is None:
            rows = self.administrated(actor)
        else:
            # Asked of all of them, so that the answer does not tell which one has an item that may be private.
            rows = [self._governance.require(actor, name, Right.ADMIN) for name in sorted(set(cubes))]
        items = self._items(wanted, rows)
        scope = [row for row in rows if wanted.subject is not None or row.number in items]
        what = Erasing(
            cubes=tuple(row.number for row in scope), items=items, subject=wanted.subject, derived=wanted.derived
        )
        copies_in = {row.number for row in self.administrated(actor)} if wanted.copies else None
        found = self._eraser.plan(what, copies_in=copies_in)
        self._check_origins(actor, found[0], found[1])
        return found

    def _items(self, wanted: Wanted, rows: Sequence[CubeRow]) -> dict[int, tuple[str, ...]]:
        """Ids by number of the cube."""
        items: dict[int, tuple[str, ...]] = {}
        if wanted.where is not None:
            for row in rows:
                found = self._eraser.matching(row, wanted.where)
                if found:
                    items[row.number] = found
        elif wanted.ids is not None:
            ids = list(dict.fromkeys(wanted.ids))
            for row in rows:
                own = tuple(self._store.heads(row, ids))
                if own:
                    items[row.number] = own
            there = {id for own in items.values() for id in own}
            missing = next((id for id in ids if id not in there), None)
            if missing is not None:
                names = ", ".join(repr(row.name) for row in rows) or "any cube that you administrate"
                raise ItemNotFound(f"no item {missing!r} in {names}; nothing was erased")
        return items

    def _check_origins(self, actor: Actor, what: Erasing, plan: ErasurePlan) -> None:
        """Whoever erases in a fork takes the bytes from what it was forked from: it must administrate that too."""
        rows = {row.number: row for row in self._store.cubes()}
        for number in what.cubes:
            row = rows[number]
            while row.base_seq and row.base in rows:
                row = rows[row.base]
                if row.name in plan.shared_with and not self._governance.may(actor, row.name, Right.ADMIN):
                    raise AccessDenied(
                        f"cube {rows[number].name!r} shares these items with the cube that it was forked from, which "
                        f"{actor.id!r} does not administrate; whoever does must erase them"
                    )

    def _readable(self, actor: Actor, copies: Copies) -> Copies:
        """The copies that an actor may know of: a count of others would say what is in cubes that it may not read."""
        names = {row.number: row.name for row in self._store.cubes()}
        return {
            cube: ids for cube, ids in copies.items() if self._governance.may(actor, names.get(cube, ""), Right.READ)
        }

    def _shown(self, actor: Actor, told: _Told) -> _Told:
        """The answer without the names of cubes that the actor may not read."""

        def may(name: str) -> bool:
            return self._governance.may(actor, name, Right.READ) or not self._governance.exists(name)

        cubes = tuple(filter(may, told.cubes))
        shared = tuple(filter(may, told.shared_with))
        told = msgspec.structs.replace(told, cubes=cubes, shared_with=shared)
        if isinstance(told, ErasurePreview):
            told = msgspec.structs.replace(told, items=tuple(item for item in told.items if may(item[0])))
        return told
