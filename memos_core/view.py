"""CompositeView: several cubes as one. Writes go to all of them in one transaction, searches are ranked once."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import wraps
from operator import or_
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

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
from memos_core.filters import F, Filter, Group, Where, parse_where
from memos_core.governance.erasing import ErasureDesk, Wanted
from memos_core.governance.redacting import NOTHING, Rules, need_own_words, redacted_changes, redacted_drafts
from memos_core.plaintext.commit import Outcome, Overtaken
from memos_core.plaintext.embedding import Embedding, Floats
from memos_core.plaintext.general import GeneralTextMemory, merged_from
from memos_core.plaintext.later import Adding, check_room
from memos_core.plaintext.results import Place
from memos_core.plaintext.search import Ask, Order, Searcher, as_signals
from memos_core.plaintext.working import SIZE, expected, half_of, parts_of
from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.protocols.uses import UseRecorder
from memos_core.reading.reader import mentions_of
from memos_core.stores.index.cube_index import indexed_text
from memos_core.types.access import Actor, Right
from memos_core.types.erasure import Erasure, ErasurePreview
from memos_core.types.inputs import Draft
from memos_core.types.items import PINNED, Hits, LifecycleState, MemoryItem, Page, Version
from memos_core.types.jobs import NewJob
from memos_core.types.uses import Holder, Kind, Noted, Remembered, Use
from memos_core.types.work import Record, micros

Follow = Callable[[Sequence[Draft], Sequence[Outcome]], Sequence[NewJob]]
_P = ParamSpec("_P")
_R = TypeVar("_R")
ROOM_PAUSE = 0.02  # seconds between two looks at whether a full queue has room
_ATTEMPTS = 5  # at a change that others keep overtaking, when the caller named no version


class Added(Sequence[MemoryItem]):
    """What became of the things that were given to `add`: their items, in order. Items are read when first looked at.

    Things that were known and are deleted here have no item; their ids are among `ids` and `known`.

    Attributes:
        ids: the id of each thing given, in order.
        new: ids that are stored for the first time.
        known: ids of things that were stored before, and say the same.
        changed: ids of things that were stored before, and now say something else.
        removed: ids of pieces that are no longer in their document.
        seqs: for each cube written to, the number of the newest change these are part of.
    """

    def __init__(
        self,
        outcomes: dict[str, list[Outcome]],
        first: str,
        load: Callable[[Sequence[int]], list[MemoryItem]],
    ) -> None:
        own = outcomes[first]
        given = [outcome for outcome in own if outcome.status != "removed"]
        self.ids = [outcome.id for outcome in given]
        self.new = [outcome.id for outcome in own if outcome.status == "added"]
        self.known = [outcome.id for outcome in own if outcome.status == "known"]
        self.changed = [outcome.id for outcome in own if outcome.status == "changed"]
        self.removed = [outcome.id for outcome in own if outcome.status == "removed"]
        self.seqs = {cube: max((each.seq for each in its), default=0) for cube, its in outcomes.items()}
        self._places = [outcome.seq for outcome in given if outcome.seq]
        self._load = load
        self._items: list[MemoryItem] | None = None

    @property
    def items(self) -> list[MemoryItem]:
        """The items, in order."""
        if self._items is None:
            self._items = self._load(self._places)
        return self._items

    @property
    def id(self) -> str:
        """The id, where just one thing was given.

        Raises:
            InvalidInput: none or several were.
        """
        if len(self.ids) != 1:
            raise InvalidInput(f"{len(self.ids)} things were added; use .ids")
        return self.ids[0]

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[MemoryItem]:
        return iter(self.items)

    @overload
    def __getitem__(self, place: int) -> MemoryItem: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[MemoryItem]: ...
    def __getitem__(self, place: int | slice) -> MemoryItem | Sequence[MemoryItem]:
        return self.items[place]

    def __repr__(self) -> str:
        counts = {"new": self.new, "known": self.known, "changed": self.changed, "removed": self.removed}
        said = ", ".join(f"{len(ids)} {what}" for what, ids in counts.items() if ids)
        return f"Added({said or 'nothing'})"


def _one_operation(
    method: Callable[Concatenate[CompositeView, _P], _R],
) -> Callable[Concatenate[CompositeView, _P], _R]:
    """Ask once whether others have committed, when it begins: what was acknowledged before, it sees."""

    @wraps(method)
    def asked_once(view: CompositeView, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with view.operation():
            return method(view, *args, **kwargs)

    return asked_once


class CompositeView:
    """Cubes to read from and cubes to write to, for one actor.

    Args:
        read: searched together, as one pool.
        write: every one of them gets what is added; changes apply to those that have the item.
        store: the truth they share.
        memory: what they hold.
        searcher: asks them.
        now: the clock.
        erasing: where erasing is asked for.
        uses: takes note of what is used; None: nobody does.
        follow: which jobs an add brings about, filed in its transaction, by what became of the drafts; None: none.
    """

    def __init__(
        self,
        *,
        read: Sequence[MemCube],
        write: Sequence[MemCube],
        store: RecordStore,
        memory: GeneralTextMemory,
        searcher: Searcher,
        now: Callable[[], datetime],
        erasing: ErasureDesk,
        uses: UseRecorder | None = None,
        follow: Follow | None = None,
    ) -> None:
        self.erasing = erasing
        self.read = tuple(read)
        self.write = tuple(sorted(write, key=lambda cube: cube.name))  # the order in which they are locked
        self._first = write[0].name if write else ""
        self._store = store
        self._memory = memory
        self._searcher = searcher
        self._now = now
        self._uses = uses
        self._follow = follow

    def operation(self) -> AbstractContextManager[None]:
        """One operation of a user, inside which `RecordStore.change_token` is asked for once."""
        return self._store.operation()

    # -- writing --------------------------------------------------------------------------------------------------

    @_one_operation
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
        row = first.require(Right.READ)
        return Added(outcomes, self._first, lambda seqs: first.shown(self._memory.items(row, seqs)))

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
        first = next(cube for cube in self.write if cube.name == self._first)
        added = Added(
            outcomes, self._first, lambda seqs: first.shown(self._memory.items(first.require(Right.READ), seqs))
        )
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

    def only(self, cubes: Sequence[MemCube], name: str | None, what: str) -> MemCube:
        """The cube that is meant: the one of that name, or the only one there is.

        Args:
            cubes: those read from, or those written to.
            name: None where there is only one.
            what: that is done to it, for the message.

        Raises:
            InvalidInput: it is not among them, or not said where there are several.
        """
        found = [cube for cube in cubes if name in (None, cube.name)]
        if len(found) != 1:
            raise InvalidInput(f"{what} is for one cube; say which with cube=: one of {self._names(cubes)}")
        return found[0]

    # -- finding --------------------------------------------------------------------------------------------------

    @_one_operation
    def search(
        self,
        query: str,
        *,
        top_k: int = 10,
        where: Where = None,
        as_of: int | datetime | None = None,
        include: Collection[LifecycleState] = (),
        min_score: float = 0.0,
        cursor: str | None = None,
        without: Collection[str] = (),
        vector: Floats | None = None,
        asker: str | None = None,
    ) -> Hits:
        """The items of all cubes read from that answer a question, ranked once; the arguments are those of `Session`."""
        cubes = tuple(cube.name for cube in self.read)
        query, narrowed = self._unmasked_only(query, parse_where(where))
        ask = Ask(query, top_k, narrowed, min_score, cursor, as_signals(without), vector, asker, cubes)
        with event("memos.search", cubes=list(cubes), top_k=top_k) as heard:
            places = self._places(as_of, include)
            hits = self._searcher.search(places, ask)
            self._audited("search", places, [(hit.cube_id, hit.item.id) for hit in hits])
            shown = self._shown([hit.item for hit in hits])
            hits[:] = [
                hit if item is hit.item else msgspec.structs.replace(hit, item=item)
                for hit, item in zip(hits, shown, strict=True)
            ]
            heard.note(hits=len(hits), degraded=hits.degraded is not None)
        return hits

    @_one_operation
    def list(
        self,
        *,
        where: Where = None,
        as_of: int | datetime | None = None,
        include: Collection[LifecycleState] = (),
        order: Order = "created",
        newest_first: bool = True,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Items of all cubes read from, by time; the arguments are those of `Session`."""
        _, narrowed = self._unmasked_only("", parse_where(where))
        places = self._places(as_of, include)
        page = self._searcher.list(
            places,
            cubes=tuple(cube.name for cube in self.read),
            where=narrowed,
            order=order,
            newest_first=newest_first,
            limit=limit,
            cursor=cursor,
        )
        self._audited("list", places, [(item.cube_id, item.id) for item in page])
        page[:] = self._shown(page)
        return page

    def _audited(self, operation: str, places: Sequence[Place], found: Sequence[tuple[str, str]]) -> None:
        """Have the audit of every cube that was looked into know what was found there: name of the cube, id of the item."""
        looked = {place.cube.name for place in places}
        for cube in self.read:
            if cube.name in looked:
                cube.audited(operation, [id for name, id in found if name == cube.name])

    def _shown(self, items: Sequence[MemoryItem]) -> Sequence[MemoryItem]:
        """Items as the actor may see them, in the same order."""
        found: dict[int, MemoryItem] = {}
        for cube in self.read:
            own = [place for place, item in enumerate(items) if item.cube_id == cube.name]
            if own:
                found.update(zip(own, cube.shown([items[place] for place in own]), strict=True))
        return [found[place] for place in range(len(items))]

    def _unmasked_only(self, query: str, where: Filter | None) -> tuple[str, Filter | None]:
        """A question and a filter that find out nothing that is masked for the actor, or hidden, in the cubes read from.

        Raises:
            AccessDenied: as `MemCube.asked` says.
        """
        rules = functools.reduce(or_, (cube.masking() for cube in self.read), NOTHING)
        own = {cube.name: cube.asked(where) for cube in self.read}
        if any(each is not where for each in own.values()):
            where = Group("or", tuple((F.cube == name) & each for name, each in own.items() if each is not None))
        return (rules.redactor().redact(query).text if rules and query else query), where

    def places_to_embed(self, drafts: Sequence[Draft]) -> Sequence[int]:
        """Places of the drafts whose vectors it takes to add them; those that every cube knows already need none."""
        return self._memory.places_to_embed(drafts, [cube.writable() for cube in self.write])

    def texts_to_embed(self, drafts: Sequence[Draft], places: Sequence[int]) -> Sequence[str]:
        """The words that the vectors of the drafts at these places are made of."""
        return [indexed_text(drafts[place].text, drafts[place].context) for place in places]

    @_one_operation
    def text_to_embed(self, query: str, as_of: int | datetime | None = None) -> str:
        """The words of a question whose vector `search` would look for."""
        places = self._places(as_of)
        return self._searcher.text_to_embed(places, query) if places else query

    @property
    def embedding(self) -> Embedding:
        """The store's embedder."""
        return self._memory.embedding

    def _places(self, as_of: int | datetime | None, include: Collection[LifecycleState] = ()) -> Sequence[Place]:
        if isinstance(as_of, int) and len(self.read) > 1:
            raise InvalidInput(
                f"as_of={as_of} is the number of a change of one cube, and {len(self.read)} are read; give a time"
            )
        places = []
        for cube in self.read:
            if cube.readable() is not None:
                places.append(cube.place(as_of, include))
        return places

    # -- uses -----------------------------------------------------------------------------------------------------

    def note(self, kind: Kind, items: Iterable[tuple[str, str, float, float]], holder: Holder | None = None) -> None:
        """Take note that items were used: (cube, id, how much, how relevant to a query). Takes microseconds, never fails."""
        if self._uses is not None:
            noted = tuple(items)
            if noted:
                self._uses.note(Noted(kind, micros(self._now()), holder, noted))

    @_one_operation
    def working(self, holder: Holder) -> Sequence[Remembered]:
        """What a conversation has in mind, best first: of what is kept, the items that a search could find now."""
        kept = self._store.uses.working(holder)
        if not kept:
            return []
        places = self._store.uses.ids([each.item for each in kept])
        items: dict[tuple[str, str], MemoryItem] = {}
        for cube in self._made(self.read):
            own = [id for name, id in places.values() if name == cube.name]
            items.update({(cube.name, item.id): item for item in (cube.found_among(own) if own else [])})
        half, now = half_of(kept), micros(self._now())
        found = []
        for each in kept:
            item = items.get(places[each.item]) if each.item in places else None
            if item is not None:
                parts = parts_of(each, half, now, pinned=PINNED in item.tags)
                found.append(Remembered(item, sum(parts.values()), parts, expected(parts)))
        found.sort(key=lambda each: (-each.score, each.item.cube_id, each.id))
        return found[:SIZE]

    @_one_operation
    def used(self, item: MemoryItem) -> Use | None:
        """What is counted of an item's uses; None where it never was used."""
        cube = next((cube for cube in self.read if cube.name == item.cube_id), None)
        return None if cube is None else cube.used([item.id]).get(item.id)

    # -- reading --------------------------------------------------------------------------------------------------

    @_one_operation
    def get(self, id: str, *, as_of: int | datetime | None = None) -> MemoryItem:
        """An item, from the first cube that has it, now or at a moment.

        Raises:
            ItemNotFound: none has.
        """
        for cube in self._made(self.read):
            try:
                return cube.get(id, as_of=as_of)
            except ItemNotFound:
                continue
        raise ItemNotFound(f"no item {id!r} in {self._names(self.read)}")

    @_one_operation
    def id_of(self, key: str, *, as_of: int | datetime | None = None) -> str:
        """The id of the item that bears a key, or bore it at a moment, from the first cube that has one.

        Raises:
            ItemNotFound: none has.
        """
        for cube in self._made(self.read):
            try:
                return cube.id_of(key, as_of=as_of)
            except ItemNotFound:
                continue
        raise ItemNotFound(f"no item with key {key!r} in {self._names(self.read)}")

    @_one_operation
    def history(self, id: str) -> Sequence[Version]:
        """All versions of an item, oldest first, from the first cube that has ever had it.

        Raises:
            ItemNotFound: none has.
        """
        for cube in self._made(self.read):
            try:
                return cube.history(id)
            except ItemNotFound:
                continue
        raise ItemNotFound(f"no item {id!r} in {self._names(self.read)}")

    @_one_operation
    def stats(self) -> dict[str, Any]:
        """What each cube read from holds (those not made yet are left out), and how questions are embedded."""
        record = self._memory.embedding.record
        return {
            "embedder": record.identity or None,
            "dims": record.dims,
            "token_dims": record.token_dims,
            "lexical_only": self._memory.embedding.lacking,
            "cubes": {cube.name: cube.stats() for cube in self._made(self.read)},
        }

    # -- the cubes ------------------------------------------------------------------------------------------------

    def _made(self, cubes: Sequence[MemCube]) -> Sequence[MemCube]:
        return [cube for cube in cubes if cube.readable() is not None]

    @_one_operation
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
