"""CompositeView: several cubes as one. Writes go to all of them in one transaction, searches are ranked once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from operator import or_
from typing import Any

import msgspec

from memos_core.cube import MemCube
from memos_core.errors import InvalidInput, ItemNotFound
from memos_core.events import event
from memos_core.filters import F, Filter, Group, Where, parse_where
from memos_core.governance.erasing import ErasureDesk
from memos_core.governance.redacting import NOTHING
from memos_core.plaintext.embedding import Floats
from memos_core.plaintext.general import GeneralTextMemory
from memos_core.plaintext.results import Place
from memos_core.plaintext.search import Ask, Order, Searcher, as_signals
from memos_core.plaintext.working import SIZE, expected, half_of, parts_of
from memos_core.protocols.storage import RecordStore
from memos_core.protocols.uses import UseRecorder
from memos_core.types.items import PINNED, Hits, LifecycleState, MemoryItem, Page, Version
from memos_core.types.uses import Holder, Kind, Noted, Remembered, Use
from memos_core.types.work import micros
from memos_core.writing import Follow, WritingView, one_operation


class CompositeView(WritingView):
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
        super().__init__(read=read, write=write, store=store, memory=memory, now=now, erasing=erasing, follow=follow)
        self._searcher = searcher
        self._uses = uses

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

    @one_operation
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

    @one_operation
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

    @one_operation
    def text_to_embed(self, query: str, as_of: int | datetime | None = None) -> str:
        """The words of a question whose vector `search` would look for."""
        places = self._places(as_of)
        return self._searcher.text_to_embed(places, query) if places else query

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

    @one_operation
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

    @one_operation
    def used(self, item: MemoryItem) -> Use | None:
        """What is counted of an item's uses; None where it never was used."""
        cube = next((cube for cube in self.read if cube.name == item.cube_id), None)
        return None if cube is None else cube.used([item.id]).get(item.id)

    # -- reading --------------------------------------------------------------------------------------------------

    @one_operation
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

    @one_operation
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

    @one_operation
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

    @one_operation
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
