"""WritingView: what is written goes to several cubes at once, all of it or nothing."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import wraps
from operator import or_
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from memos_core.cube import MemCube
from memos_core.errors import (
    AccessDenied,
    Conflict,
    EmbedderMismatch,
    InvalidInput,
    ItemNotFound,
    QueueFull,
    VersionConflict,
)
from memos_core.events import event
from memos_core.governance.erasing import ErasureDesk, Wanted
from memos_core.governance.redacting import NOTHING, Rules, need_own_words, redacted_changes, redacted_drafts
from memos_core.plaintext.added import Added
from memos_core.plaintext.commit import Outcome, Overtaken
from memos_core.plaintext.embedding import Embedding, Floats
from memos_core.plaintext.general import GeneralTextMemory, merged_from
from memos_core.plaintext.later import Adding, check_room
from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.reading.reader import mentions_of
from memos_core.stores.index.cube_index import indexed_text
from memos_core.types.access import Actor, Right
from memos_core.types.erasure import Erasure, ErasurePreview
from memos_core.types.inputs import Draft
from memos_core.types.items import LifecycleState, MemoryItem
from memos_core.types.jobs import NewJob
from memos_core.types.work import Record

Follow = Callable[[Sequence[Draft], Sequence[Outcome]], Sequence[NewJob]]
_P = ParamSpec("_P")
_R = TypeVar("_R")
_V = TypeVar("_V", bound="WritingView")
ROOM_PAUSE = 0.02  # seconds between two looks at whether a full queue has room
_ATTEMPTS = 5  # at a change that others keep overtaking, when the caller named no version


def one_operation(
    method: Callable[Concatenate[_V, _P], _R],
) -> Callable[Concatenate[_V, _P], _R]:
    """Ask once whether others have committed, when it begins: what was acknowledged before, it sees."""

    @wraps(method)
    def asked_once(view: _V, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with view.operation():
            return method(view, *args, **kwargs)

    return asked_once


class WritingView:
    """Cubes to write to, for one actor, and those that it reads from.

    Args:
        read: cubes that can be read.
        write: every one of them gets what is added; changes apply to those that have the item.
        store: the truth they share.
        memory: what they hold.
        now: the clock.
        erasing: where erasing is asked for.
        follow: which jobs an add brings about, filed in its transaction, by what became of the drafts; None: none.
    """

    def __init__(
        self,
        *,
        read: Sequence[MemCube],
        write: Sequence[MemCube],
        store: RecordStore,
        memory: GeneralTextMemory,
        now: Callable[[], datetime],
        erasing: ErasureDesk,
        follow: Follow | None = None,
    ) -> None:
        self.erasing = erasing
        self.read = tuple(read)
        self.write = tuple(sorted(write, key=lambda cube: cube.name))  # the order in which they are locked
        self._first = write[0].name if write else ""
        self._store = store
        self._memory = memory
        self._now = now
        self._follow = follow

    def operation(self) -> AbstractContextManager[None]:
        """One operation of a user, inside which `RecordStore.change_token` is asked for once."""
        return self._store.operation()

    @one_operation
    def check_writable(self) -> None:
        """Make sure that something may be added, before it is embedded: that may cost minutes, or money.

        Raises:
            AccessDenied: there is no cube to write to, or the actor may not write to one of them.
        """
        self._need_write()
        for cube in self.write:
            cube.writable()

    def add(
        self,
        drafts: Sequence[Draft],
        *,
        vectors: Floats | None = None,
        embedded: Floats | None = None,
        places: Sequence[int] | None = None,
        made_under: str | None = None,
        action: str = "add",
    ) -> Added:
        """Store drafts in every cube written to, all or nothing.

        Args:
            drafts: as read.
            vectors: (drafts, dims) of the caller's own.
            embedded: vectors of the drafts at `places`, where the store's embedder has made them already.
            places: what `places_to_embed(drafts)` said; None asks it.
            made_under: the mark of the embedding, taken before `embedded` was made.
            action: for the audit.

        Raises:
            AccessDenied: there is none, or the actor may not write to one of them.
            AlreadyExists, WrongDimension, ...: as `GeneralTextMemory` says; nothing is kept.
            Overtaken: where `places` was given and is not what is needed any more, or `embedded` is of an embedder that the
                store had before.
        """
        with event("memos.add", cubes=[cube.name for cube in self.write], things=len(drafts)) as heard:
            added = self._add(drafts, vectors, embedded, places, made_under, action)
            heard.note(
                new=len(added.new), known=len(added.known), changed=len(added.changed), removed=len(added.removed)
            )
        return added

    def _add(
        self,
        drafts: Sequence[Draft],
        vectors: Floats | None,
        embedded: Floats | None,
        places: Sequence[int] | None,
        made_under: str | None,
        action: str,
    ) -> Added:
        given = drafts
        while True:
            with self.operation():
                self.check_writable()
                rules = self.redaction()
                drafts = redacted_drafts(given, rules, self._now()) if rules else given
                if vectors is not None:
                    need_own_words(given, drafts)
                if embedded is not None and drafts != given:
                    raise Overtaken
                wanted = self.places_to_embed(drafts) if places is None and vectors is None else places
                prepared = self._memory.prepare(drafts, vectors, embedded, wanted, made_under)
            try:
                with self._store.begin(actor=self.write[0].actor.id, action=action) as transaction:
                    outcomes = {cube.name: cube.add(transaction, prepared, rules) for cube in self.write}
                    self._file_following(transaction, prepared.drafts, outcomes)
                break
            except Overtaken:
                if places is not None:
                    raise
            except EmbedderMismatch:
                if vectors is not None or not self._replaced(prepared.mark):
                    raise
                if embedded is not None:
                    raise Overtaken from None
        return self._added(outcomes)

    def _added(self, outcomes: dict[str, list[Outcome]]) -> Added:
        first = next(cube for cube in self.write if cube.name == self._first)

        def load(seqs: Sequence[int]) -> list[MemoryItem]:  # it is kept: whether it may be read is asked when it is
            return first.shown(self._memory.items(first.require(Right.READ), seqs))

        return Added(outcomes, self._first, load)

    def add_later(self, drafts: Sequence[Draft], *, timeout: float = 0.0, action: str = "add") -> Adding[Added]:
        """Store drafts without their vectors, and file the jobs that make those, all in one transaction.

        Args:
            drafts: as read.
            timeout: seconds to wait at most while too many jobs wait already.
            action: for the audit.

        Raises:
            QueueFull: too many jobs waited all that time; nothing is kept.
            AccessDenied, AlreadyExists, ...: as for `add`.
        """
        until = time.monotonic() + timeout
        with event("memos.add", cubes=[cube.name for cube in self.write], things=len(drafts), later=True) as heard:
            while True:
                try:
                    adding = self._add_later(drafts, action)
                    break
                except QueueFull:
                    if time.monotonic() + ROOM_PAUSE > until:
                        raise
                    time.sleep(ROOM_PAUSE)
            heard.note(new=len(adding.added.new), jobs=adding.job_ids)
        return adding

    def _add_later(self, given: Sequence[Draft], action: str) -> Adding[Added]:
        while True:
            with self.operation():
                self.check_writable()
                rules = self.redaction()
                drafts = redacted_drafts(given, rules, self._now()) if rules else given
                prepared = self._memory.prepare_later(drafts)
            jobs: list[int] = []
            try:
                with self._store.begin(actor=self.write[0].actor.id, action=action) as transaction:
                    outcomes: dict[str, list[Outcome]] = {}
                    filed: list[NewJob] = []
                    for cube in self.write:
                        outcomes[cube.name], jobs_of_cube = cube.add_later(transaction, prepared, rules)
                        filed += jobs_of_cube
                    if filed:
                        check_room(transaction)
                        jobs = transaction.file(filed)
                    self._file_following(transaction, prepared.drafts, outcomes)
                break
            except Overtaken:
                continue
            except EmbedderMismatch:
                if not self._replaced(prepared.mark):
                    raise
        added = self._added(outcomes)
        return Adding(self._store.jobs, jobs, added, added.ids)

    def _file_following(
        self, transaction: Transaction, drafts: Sequence[Draft], outcomes: dict[str, list[Outcome]]
    ) -> None:
        """File what follows from an add in every cube; however many jobs wait, an add is never refused for it."""
        if self._follow is None:
            return
        for cube in self.write:
            jobs = self._follow(drafts, outcomes[cube.name])
            row = transaction.cube(cube.name) if jobs else None
            if row is not None:
                transaction.file([msgspec.structs.replace(job, cube=row.number) for job in jobs])

    def redaction(self) -> Rules:
        """What the cubes written to have taken out before anything is stored: what goes to several, all of them take out."""
        return functools.reduce(or_, (cube.redaction() for cube in self.write), NOTHING)

    def redacted(self, drafts: Sequence[Draft]) -> Sequence[Draft]:
        """Drafts as they would be stored: without what the cubes written to have taken out."""
        rules = self.redaction()
        return redacted_drafts(drafts, rules, self._now()) if rules else drafts

    def update(self, id: str, changes: dict[str, Any], *, expect_version: int | None = None) -> MemoryItem:
        """Write the next version of an item, in every cube written to that has it.

        Args:
            changes: fields of `Body`, and "text".
            expect_version: the version that the caller has seen; None takes whichever is newest.

        Raises:
            ItemNotFound, AccessDenied: none of the cubes written to has it.
            VersionConflict: it has moved on from the version expected.
        """
        for left in range(_ATTEMPTS, 0, -1):
            mark = self._memory.embedding.mark
            try:
                with event("memos.update", id=id):
                    return self._update(id, changes, expect_version, mark)
            except VersionConflict:
                if expect_version is not None or left == 1:
                    raise
            except Overtaken:  # by another policy of the cube
                if left == 1:
                    raise
            except EmbedderMismatch:
                if not self._replaced(mark) or left == 1:
                    raise
        raise AssertionError("unreachable")

    def _replaced(self, mark: str) -> bool:
        """Whether this process itself has put other vectors in the place of those made under a mark."""
        with self._memory.embedding.replacing:  # it may be at it: they are in the store before it knows their mark
            return self._memory.embedding.mark != mark

    def _update(self, id: str, changes: dict[str, Any], expect_version: int | None, mark: str) -> MemoryItem:
        found = self._targets(id, expired="expires_at" in changes)
        blobs, decided, rules = [], [], []
        for cube, record in found:
            if expect_version is not None and record.version != expect_version:
                raise VersionConflict(
                    f"item {id!r} of cube {cube.name!r} is at version {record.version}, not {expect_version}; "
                    "read it again and decide anew"
                )
            rules.append(cube.redaction())
            own = redacted_changes(changes, rules[-1]) if rules[-1] else changes
            decided.append(self._with_reader(cube, record, self._with_mentions(record, own)))
            blobs.append(self._memory.new_vectors(record, decided[-1]))
        with self._store.begin(actor=found[0][0].actor.id, action="update") as transaction:
            for (cube, record), own, blob, redaction in zip(found, decided, blobs, rules, strict=True):
                cube.update(transaction, record, own, blob, mark, redaction)
        return found[0][0].written(id)

    def _with_mentions(self, record: Record, changes: dict[str, Any]) -> dict[str, Any]:
        """The changes, with the dates and names of a new text noted."""
        if "text" not in changes:
            return changes
        said = changes.get("occurred_at") or (record.body.occurred_at if record.body else None)
        changes = {"redacted": {}, **changes}
        return {**changes, "mentions": mentions_of(changes["text"], said or self._now())}

    @staticmethod
    def _with_reader(cube: MemCube, record: Record, changes: dict[str, Any]) -> dict[str, Any]:
        """The changes, with whom a private item is private to in the place of its visibility."""
        if "visibility" not in changes:
            return changes
        own = record.body.private_to if record.body else None
        reader = (own or cube.actor.id) if changes["visibility"] == "private" else None
        return {name: value for name, value in changes.items() if name != "visibility"} | {"private_to": reader}

    def move(
        self, ids: Sequence[str], target: LifecycleState, *, action: str, reason: str | None = None
    ) -> Sequence[MemoryItem]:
        """Bring items to another state, in every cube written to that has them: all of them, or none.

        Args:
            action, reason: for the audit.

        Raises:
            ItemNotFound, AccessDenied: none of the cubes written to has one of them, or the actor may not make that move.
            StateConflict: one of them cannot get there from its state; the message says where it may go.
        """
        found = [self._targets(id, expired=True) for id in dict.fromkeys(ids)]
        with (
            event("memos.move", count=len(found), to=str(target)),
            self._store.begin(actor=self.write[0].actor.id, action=action) as transaction,
        ):
            for cube in self.write:
                own = [record for each in found for holder, record in each if holder is cube]
                if own:
                    cube.move(transaction, own, target, reason=reason)
        return [each[0][0].written(each[0][1].id) for each in found]

    def merge(self, ids: Sequence[str], draft: Draft, *, reason: str | None = None) -> MemoryItem:
        """Put one item in the place of several: it knows all of them, they lead to it and are found no more.

        Args:
            ids: of at least two items that the same cubes have.
            draft: what replaces them.
            reason: for the audit.

        Raises:
            InvalidInput: fewer than two.
            ItemNotFound, AccessDenied, StateConflict: as for `move`.
            Conflict: some of the cubes written to have only some of them.
        """
        wanted = list(dict.fromkeys(ids))
        if len(wanted) < 2:
            raise InvalidInput(f"merging takes at least two items, not {wanted!r}")
        while True:
            found = {id: self._targets(id) for id in wanted}
            cubes = [cube for cube in self.write if any(cube is holder for holder, _ in found[wanted[0]])]
            records = {
                cube.name: [record for id in wanted for holder, record in found[id] if holder is cube] for cube in cubes
            }
            if any(len(own) < len(wanted) for own in records.values()) or any(
                len(found[id]) != len(cubes) for id in wanted
            ):
                raise Conflict("some of the cubes written to have only some of these items; merge them cube by cube")
            rules = self.redaction()
            with self.operation():
                prepared = self._memory.prepare(redacted_drafts([draft], rules, self._now()) if rules else [draft])
            try:
                with (
                    event("memos.merge", count=len(wanted)),
                    self._store.begin(actor=self.write[0].actor.id, action="merge") as transaction,
                ):
                    for cube in cubes:
                        merged = merged_from(prepared, records[cube.name])
                        (outcome,) = cube.add(transaction, merged, rules)
                        cube.move(transaction, records[cube.name], LifecycleState.MERGED, by=outcome.id, reason=reason)
                return cubes[0].written(prepared.ids[0])
            except Overtaken:
                continue
            except EmbedderMismatch:
                if not self._replaced(prepared.mark):
                    raise

    def delete(self, ids: Sequence[str], reason: str | None = None) -> int:
        """Delete items (restorable) from every cube written to; returns how many there were.

        Raises:
            ItemNotFound, AccessDenied: one of them is in none of the cubes written to; nothing is deleted.
        """
        self._need_write()
        wanted = list(dict.fromkeys(ids))
        holding = self._made(self.write)
        held = set().union(*(cube.holding(wanted) for cube in holding))
        missing = next((id for id in wanted if id not in held), None)
        if missing is not None:
            raise self._not_found(missing)
        with (
            event("memos.delete", count=len(wanted)),
            self._store.begin(actor=self.write[0].actor.id, action="delete") as transaction,
        ):
            return sum(cube.delete(transaction, wanted, reason) for cube in holding)

    def preview_erasing(self, wanted: Wanted) -> ErasurePreview:
        """What `erase` would take; it raises the same."""
        return self.erasing.preview(self._eraser(), wanted, [cube.name for cube in self._made(self.write)])

    def erase(self, wanted: Wanted, *, reason: str, confirm: str | None = None) -> Erasure:
        """Erase items for good, from every cube written to that has them; raises as `ErasureDesk.erase` does."""
        cubes = [cube.name for cube in self._made(self.write)]
        return self.erasing.erase(self._eraser(), wanted, cubes, reason=reason, confirm=confirm)

    def _eraser(self) -> Actor:
        self._need_write()
        return self.write[0].actor

    def restore(self, id: str, version: int | None = None, reason: str | None = None) -> MemoryItem:
        """Make the newest version of an item equal to an earlier one, in every cube written to that has it.

        Args:
            version: which; None for the last before its deletion.

        Raises:
            ItemNotFound, VersionNotFound, Conflict: as `GeneralTextMemory.restore` says.
        """
        self._need_write()
        holding = [cube for cube in self._made(self.write) if cube.knows(id)]
        if not holding:
            raise self._not_found(id)
        action = "restore" if version is None else "rollback"
        with (
            event("memos.restore", id=id, version=version),
            self._store.begin(actor=self.write[0].actor.id, action=action) as transaction,
        ):
            for cube in holding:
                cube.restore(transaction, id, version, reason)
        return holding[0].written(id)

    def places_to_embed(self, drafts: Sequence[Draft]) -> Sequence[int]:
        """Places of the drafts whose vectors it takes to add them; those that every cube knows already need none."""
        return self._memory.places_to_embed(drafts, [cube.writable() for cube in self.write])

    def texts_to_embed(self, drafts: Sequence[Draft], places: Sequence[int]) -> Sequence[str]:
        """The words that the vectors of the drafts at these places are made of."""
        return [indexed_text(drafts[place].text, drafts[place].context) for place in places]

    @property
    def embedding(self) -> Embedding:
        """The store's embedder."""
        return self._memory.embedding

    def _made(self, cubes: Sequence[MemCube]) -> Sequence[MemCube]:
        return [cube for cube in cubes if cube.readable() is not None]

    @one_operation
    def _targets(self, id: str, *, expired: bool = False) -> Sequence[tuple[MemCube, Record]]:
        """The cubes written to that have an item now (one that has `expired` among them), with its newest version."""
        self._need_write()
        found = []
        for cube in self._made(self.write):
            cube.require(Right.WRITE)
            try:
                found.append((cube, cube.current(id, expired=expired)))
            except ItemNotFound:
                continue
        if not found:
            raise self._not_found(id)
        return found

    def _not_found(self, id: str) -> Exception:
        """Why an item cannot be changed: it is deleted, it is where this session only reads, or there is none."""
        written = {cube.name for cube in self.write}
        if any(cube.knows(id) for cube in self._made(self.write)):
            return ItemNotFound(f"no item {id!r} in {self._names(self.write)}: it is deleted; restore it first")
        if any(cube.knows(id) for cube in self._made(self.read) if cube.name not in written):
            return AccessDenied(
                f"item {id!r} can be read, but not changed: this session writes to {self._names(self.write)}"
            )
        return ItemNotFound(f"no item {id!r} in {self._names(self.write)}")

    def _need_write(self) -> None:
        if not self.write:
            raise AccessDenied("this session writes to no cube (write_to=[])")

    @staticmethod
    def _names(cubes: Sequence[MemCube]) -> str:
        return ", ".join(repr(cube.name) for cube in cubes) or "no cube"
