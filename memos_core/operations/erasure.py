"""Erasing items for good: the rows in one transaction, then every file that may still hold their bytes.

What is left to do is remembered in the same transaction as the erasure itself, so that it is finished later where somebody
is in the way (a reader that pins the log, a server that does not answer), or where the process is killed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from memos_core.errors import ItemNotFound, StoreBusy, StoreFull
from memos_core.events import event
from memos_core.filters import Filter
from memos_core.operations.scanning import LEAST, said_in, scan
from memos_core.plaintext.followers import Followers
from memos_core.plaintext.indexes import Indexes
from memos_core.plaintext.verify import Finding
from memos_core.protocols.storage import RecordStore
from memos_core.stores.index.moments import Look
from memos_core.types.erasure import ErasedWords, Erasing, Erasure, ErasurePlan, ErasurePreview, Finished, check_reason
from memos_core.types.items import LifecycleState
from memos_core.types.work import CubeRow

BACKUPS: Final = (
    "backups and copies of the store that were made before hold what was erased: make a new backup (it is a whole one), then "
    "delete them"
)
_FINISH: Final = "then run: memos erase --finish"
Copies = dict[int, list[str]]


class Eraser:
    """Erases, and looks whether anything is left.

    Args:
        store: the truth.
        indexes: of its cubes.
        followers: who keep copies of their vectors.
        folders: everything that memos keeps in files.
    """

    def __init__(
        self, store: RecordStore, indexes: Indexes, followers: Followers, folders: Callable[[], Sequence[Path]]
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._followers = followers
        self._folders = folders

    # -- looking before -------------------------------------------------------------------------------------------

    def plan(self, what: Erasing, *, copies_in: Collection[int] | None = None) -> tuple[Erasing, ErasurePlan, Copies]:
        """What an erasure would take.

        Args:
            what: what to erase.
            copies_in: numbers of the cubes whose items that say the same go too; None for no such items.

        Returns:
            What is erased with its copies, what that takes, and the copies that stay: ids by number of the cube.
        """
        plan = self._store.plan_erasure(what)
        copies = self._copies(plan, what.cubes)
        taken = {cube: tuple(ids) for cube, ids in copies.items() if cube in (copies_in or ())}
        if taken:
            items = {**what.items, **{cube: (*what.items.get(cube, ()), *ids) for cube, ids in taken.items()}}
            what = msgspec.structs.replace(what, cubes=tuple(sorted({*what.cubes, *taken})), items=items)
            plan = self._store.plan_erasure(what)
            copies = self._copies(plan, what.cubes)
        return what, plan, copies

    def _copies(self, plan: ErasurePlan, without: Collection[int]) -> Copies:
        known = {row.number for row in self._store.cubes() if row.name in plan.cubes}
        return self._store.copies_of(plan.identities, plan.said, {*without, *known})

    @staticmethod
    def preview(plan: ErasurePlan, copies: Copies) -> ErasurePreview:
        """What is told of a plan."""
        return ErasurePreview(
            items=plan.items,
            versions=plan.versions,
            vectors=plan.vectors,
            cubes=plan.cubes,
            shared_with=plan.shared_with,
            derived=len(plan.derived),
            copies=sum(map(len, copies.values())),
            naming=len(plan.naming),
            holds=plan.holds,
            token=plan.token,
        )

    def matching(self, cube: CubeRow, where: Filter) -> tuple[str, ...]:
        """Ids of the items of a cube now that fulfil a filter, in whatever state they are."""
        index = self._indexes.get(cube)
        with index.lock:
            index.catch_up()
            every = index.moment(None, Look(states=frozenset(LifecycleState)), unindexed=True)
            seqs = index.table["seq"][index.matching(where, every.rows)].tolist()
        return tuple(record.id for record in self._store.records(cube, seqs).values())

    # -- erasing --------------------------------------------------------------------------------------------------

    def erase(
        self,
        what: Erasing,
        plan: ErasurePlan,
        copies: Copies,
        *,
        actor: str,
        reason: str,
        confirm: str | None,
        by: Callable[[str], str] = lambda name: "",
    ) -> Erasure:
        """Erase; when this returns the bytes are gone, or the answer says where they are not.

        Args:
            what, plan, copies: as `plan` gives them.
            actor: on whose behalf.
            reason: for the audit.
            confirm: the token of a preview; None erases whatever is found by now.
            by: why the actor may erase in the cube of a name, for the audit; "" for what goes with another cube.

        Raises:
            ItemNotFound: there is nothing to erase.
            OnHold, Conflict: as `Transaction.erase` says; nothing is erased.
        """
        check_reason(reason)
        if not plan.items and what.subject is None:
            raise ItemNotFound("there is nothing to erase: no such items, or they have been erased already")
        with event("memos.erase", items=len(plan.items)) as heard:
            with self._store.begin(actor=actor, action="erase") as transaction:
                done = transaction.erase(what, reason=reason, confirm=confirm)
                for name in (*done.cubes, *done.shared_with):
                    row, why = transaction.cube(name), by(name)
                    if row is not None and why:
                        transaction.note(row, by=why)
            remains, beyond = self._clean(done.words)
            heard.note(versions=done.versions, complete=not remains)
        return Erasure(
            items=len(done.items),
            versions=done.versions,
            vectors=done.vectors,
            naming=len(done.naming),
            cubes=done.cubes,
            shared_with=done.shared_with,
            derived=len(done.derived),
            copies=sum(map(len, copies.values())),
            complete=not remains,
            remains=tuple(remains),
            beyond=tuple(beyond),
        )

    def finish(self) -> Finished:
        """Clean up after erasures that were interrupted, or found somebody in the way. Does nothing where there is none."""
        if not self._store.erasures().unfinished:
            return Finished(True)
        with event("memos.erase", items=0):
            remains, beyond = self._clean(ErasedWords())
        return Finished(not remains, tuple(remains), tuple(beyond))

    def _clean(self, words: ErasedWords) -> tuple[list[str], list[str]]:
        """Take the bytes out of every file; what is left, and what is out of reach."""
        record = self._store.erasures()
        rows = {row.number: row for row in self._store.cubes()}
        remains: list[str] = []
        beyond = [BACKUPS]
        for number in record.unfinished:
            if number in rows:
                self._indexes.forget(rows[number], self._store.reached(rows[number])[1])
                remains += self._followers.erase(rows[number])
        try:
            beyond += self._store.vacuum(whole=True)
        except (StoreBusy, StoreFull) as error:
            remains.append(f"the database's file and log may hold it: {error}; {_FINISH}")
        remains += [found.what for found in self.left(words)]
        if not remains:
            self._store.finish_erasures(record)
        return remains, beyond

    # -- looking afterwards ---------------------------------------------------------------------------------------

    def left(self, words: ErasedWords) -> Iterator[Finding]:
        """Files that hold what was erased. What something else says that was not erased is no finding."""
        found = scan(words, self._folders())
        said = said_in(found.texts, self._store.everything_said())
        vectors = self._store.vectors_of_others(found.vectors)
        for what, places in (
            ("words", [path for text, paths in found.texts.items() if text not in said for path in paths]),
            ("vectors", [path for blob, paths in found.vectors.items() if blob not in vectors for path in paths]),
        ):
            for path in sorted(set(places)):
                yield Finding("", "files", f"{path} still holds {what} that were erased; {_FINISH}")
        for path in found.unread:
            yield Finding("", "files", f"{path} cannot be read, so what it holds is not known")

    def verify(self, rows: Sequence[CubeRow], ids: Collection[str] = (), texts: Collection[str] = ()) -> list[Finding]:
        """Whether what was erased is gone: every row, what was made from them, and raw files.

        Args:
            rows: of the cubes to look at.
            ids: items that should have been erased.
            texts: words that no file may hold.
        """
        found: list[Finding] = []
        record = self._store.erasures()
        if record.unfinished:
            found.append(Finding("", "files", "an erasure was not finished; run: memos erase --finish"))
        for row in rows:
            erased = self._store.reached(row)[1]
            found += [Finding(row.name, "truth", what) for what in self._store.check_erased(row, ids)]
            if not erased:
                continue
            if self._indexes.made_before(row, erased):
                what = f"files of its index were made before change {erased}, which erased some; {_FINISH}"
                found.append(Finding(row.name, "index", what))
            left = self._followers.made_before(row, erased)
            if left is not None:
                found.append(Finding(row.name, "vectors", left))
        words = ErasedWords(texts=frozenset(text for text in (*texts, *ids) if len(text.encode()) >= LEAST))
        found += self.left(words)
        for text in sorted({*texts} - words.texts):
            what = f"{text!r} is too short to be looked for in files: give at least {LEAST} bytes of it"
            found.append(Finding("", "files", what))
        held = said_in(words.texts.intersection(texts), self._store.everything_said())
        found += [Finding("", "truth", f"an item that was not erased says {text!r}") for text in sorted(held)]
        return found
