"""Searching and listing: several cubes are asked side by side, their items pooled and ranked once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from datetime import datetime
from functools import partial
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.errors import InvalidCursor, InvalidInput, StoreClosed
from memos_core.filters import Filter
from memos_core.plaintext import ranking
from memos_core.plaintext.cursors import Cursor, decode, digest_of, encode
from memos_core.plaintext.embedding import Embedding, QueryVectors
from memos_core.plaintext.followers import Asked, Followers
from memos_core.plaintext.indexes import Indexes
from memos_core.plaintext.origins import with_all_origins
from memos_core.plaintext.question import Question, mostly_latin, take_apart, without_names
from memos_core.plaintext.ranking import Recipe, Signal, recipe_for
from memos_core.plaintext.results import Found, Place, Ranked
from memos_core.plaintext.signals import Asking, pool_size
from memos_core.plaintext.uses import Counted, Uses
from memos_core.protocols.storage import RecordStore
from memos_core.stores.index.columns import ABSENT_TIME
from memos_core.types.items import Hits, MemoryItem, Page
from memos_core.types.names import check_text
from memos_core.types.work import CubeRow, from_micros, micros

Rows = NDArray[np.int64]
Order = Literal["created", "updated", "occurred"]
_T = TypeVar("_T")
_COLUMN_OF = {"created": "created", "updated": "updated", "occurred": "occurred"}
MOST_HITS = 10_000


class _Replaced(Exception):
    """All vectors were replaced between embedding the question and asking: it is embedded anew, and asked again."""


class Ask(msgspec.Struct, frozen=True):
    """A search, as it was asked for.

    Attributes:
        text: the question.
        top_k: how many hits.
        where: only items that fulfil this.
        min_score: only hits at least this likely.
        cursor: of the page before.
        without: signals that are turned off.
        vector: of the question, where the application makes it.
        asker: the speaker that "I" means.
        cubes: names of all that were asked for, those that are not made yet among them.
    """

    text: str
    top_k: int
    where: Filter | None = None
    min_score: float = 0.0
    cursor: str | None = None
    without: frozenset[Signal] = frozenset()
    vector: Any = None
    asker: str | None = None
    cubes: tuple[str, ...] = ()


class Searcher:
    """Asks cubes.

    Args:
        store: the truth.
        embedding: of questions.
        indexes: of the cubes.
        followers: who keep copies of their vectors.
        pool: where several cubes are asked side by side.
        now: the clock.
        uses: of their items; None where they take no part in ranking.
    """

    def __init__(
        self,
        store: RecordStore,
        embedding: Embedding,
        indexes: Indexes,
        followers: Followers,
        *,
        pool: Executor,
        now: Callable[[], datetime],
        uses: Uses | None = None,
    ) -> None:
        self._uses = uses
        self._store = store
        self._embedding = embedding
        self._indexes = indexes
        self._followers = followers
        self.pool = pool
        self._now = now

    # -- searching ------------------------------------------------------------------------------------------------

    def search(self, places: Sequence[Place], ask: Ask) -> Hits:
        """The best items of these cubes for a question, best first.

        Raises:
            InvalidInput: a negative top_k, a min_score outside [0, 1], an unknown signal.
            InvalidCursor: the cursor is of another search.
            WrongDimension, EmbeddingFailed: as `Embedding` says.
        """
        _check(ask)
        if not places or (not ask.text.strip() and ask.vector is None):
            return Hits(degraded=self._embedding.lacking)
        while True:
            with self._store.operation():
                self._embedding.confirm()
                try:
                    return self._search(places, ask)
                except _Replaced:
                    pass

    def _search(self, places: Sequence[Place], ask: Ask) -> Hits:
        asked = digest_of(ask.text, ask.where, ask.min_score, sorted(ask.without), ask.cubes, _states(places))
        after = None if ask.cursor is None else decode(ask.cursor, asked)
        counted = self._counted(places, ask, after)
        if after is not None:
            places = _as_before(places, after)
        question, names = self._understand(places, ask.text)
        vectors, degraded = self._vectors(question, names, ask)
        recipe = recipe_for(
            vectors=vectors is not None,
            tokens=vectors is not None and vectors.tokens is not None,
            without=ask.without,
        )
        if recipe.weights.keys() <= {"usage"}:
            raise InvalidInput("no signal is left to search by: those that this search could have are all turned off")
        tier, wanted = (0, ask.top_k) if after is None else (after.tier, after.wanted)
        while True:
            do = partial(
                self._ask,
                question=question,
                vectors=vectors,
                recipe=recipe,
                ask=ask,
                wanted=wanted,
                tier=tier,
                counted=counted,
            )
            found = self._each(places, do)
            ranked = Ranked(found, recipe, asks_time=question.asks_time, wanted=wanted)
            changed = {name: each.changed for name, each in counted.items()}
            hits = ranked.hits(self._store, ask.top_k, ask.min_score, after, asked, changed)
            if hits.cursor is not None or not ranked.goes_on(ask.min_score):
                break
            tier += 1
        if len(places) > 1:
            hits[:] = with_all_origins(hits, found, self._indexes, self._store, ask.where)
        self._indexes.trim()
        hits.degraded = degraded or next((each.degraded for each in found if each.degraded), None)
        return hits

    def _counted(self, places: Sequence[Place], ask: Ask, after: Cursor | None) -> dict[str, Counted]:
        """Uses of the items of each cube, as the page before counted them; none for the past, nor where they are turned off."""
        if self._uses is None or "usage" in ask.without or any(place.as_of is not None for place in places):
            return {}
        before = {} if after is None else after.counted
        return {place.cube.name: self._uses.of(place.cube, before.get(place.cube.name)) for place in places}

    def text_to_embed(self, places: Sequence[Place], text: str) -> str:
        """The words of a question whose vector a search of these cubes would look for."""
        question, names = self._understand(places, text)
        return without_names(question, names)

    def _understand(self, places: Sequence[Place], text: str) -> tuple[Question, set[str]]:
        """The question taken apart, and the words of speakers' names that the cubes know."""
        times: list[int] = []
        names: set[str] = set()
        for place in places:
            index = self._indexes.get(place.cube)
            with index.lock:
                index.catch_up()
                moment = index.moment(place.as_of, place.look)
                occurred = index.table["occurred"][moment.rows]
                known = occurred[occurred != ABSENT_TIME]
                times.extend((int(known.min()), int(known.max())) if len(known) else ())
                names |= index.people(moment).words
        at = places[0].look.at  # the past is asked by the clock of then
        now = self._now() if at is None else from_micros(at)
        return take_apart(text, now, (min(times), max(times)) if times else None), names

    def _vectors(self, question: Question, names: set[str], ask: Ask) -> tuple[QueryVectors | None, str | None]:
        if ask.vector is not None:
            return self._embedding.query_given(ask.vector), None
        if not self._embedding.understands(question.text, latin=mostly_latin(question.text)):
            return None, "the embedder knows only languages in Latin script: lexical search only"
        if {"late", "dense", "near"} <= ask.without:
            return None, None
        vectors = self._embedding.query(without_names(question, names), question.undated)
        return vectors, None if vectors is not None else self._embedding.lacking

    def _ask(
        self,
        place: Place,
        *,
        question: Question,
        vectors: QueryVectors | None,
        recipe: Recipe,
        ask: Ask,
        wanted: int,
        tier: int,
        counted: Mapping[str, Counted],
    ) -> Found:
        index = self._indexes.get(place.cube)
        if vectors is not None and vectors.mark != index.embedder:
            raise _Replaced
        asked = Asked()
        if place.as_of is None and vectors is not None and recipe.meant and not tier:
            count = ranking.CANDIDATES * pool_size(wanted)
            least = ranking.FULL_ROWS + 1
            asked = self._followers.ask(index, vectors.dense, count, ask.where, place.look, least=least)
        with index.lock:
            index.catch_up()
            moment = index.moment(place.as_of, place.look)
            own = counted.get(place.cube.name)
            uses = None if own is None else (own, micros(self._now()) if place.look.at is None else place.look.at)
            asking = Asking(index, moment, question, vectors=vectors, recipe=recipe, asker=ask.asker, counted=uses)
            allowed = index.matching(ask.where, moment.rows)
            near = None if asked.likely is None else asked.likely.rows(index, allowed)
            pool = asking.pool(allowed, wanted, tier, near)
            signals = asking.signals(pool)
            seq = index.seq if place.as_of is None else place.as_of
            return Found(place, seq, index.table["seq"][signals.rows], signals, pool.more, asked.degraded)

    def _each(self, places: Sequence[Place], do: Callable[[Place], _T]) -> list[_T]:
        if len(places) == 1:
            return [do(places[0])]
        # each thread goes by what this operation has seen: a context of its own, as one cannot be entered twice at once
        here = [copy_context() for _ in places]
        try:
            answers = self.pool.map(lambda context, place: context.run(do, place), here, places)
        except RuntimeError as error:  # it takes no more work: somebody has closed the store meanwhile
            raise StoreClosed(f"{self._store.name} is closed") from error
        return list(answers)

    # -- listing --------------------------------------------------------------------------------------------------

    def list(
        self,
        places: Sequence[Place],
        *,
        cubes: tuple[str, ...],
        where: Filter | None,
        order: Order,
        newest_first: bool,
        limit: int,
        cursor: str | None,
    ) -> Page:
        """Items of these cubes by time, those that no search may find among them.

        Args:
            places: to look into.
            cubes: names of all that were asked for, those that are not made yet among them.
            where, order, newest_first, limit, cursor: as in `Session.list`.

        Raises:
            InvalidInput: an unknown order, or a limit outside 1 … 10,000.
            InvalidCursor: the cursor is of another list.
        """
        if order not in _COLUMN_OF:
            raise InvalidInput(f"order is one of {', '.join(_COLUMN_OF)}, not {order!r}")
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_HITS:
            raise InvalidInput(f"limit is a whole number from 1 to {MOST_HITS}, not {limit!r}")
        asked = digest_of("list", where, order, newest_first, cubes, _states(places))
        after = None if cursor is None else decode(cursor, asked)
        if after is not None:
            places = _as_before(places, after)
        keys: list[tuple[float, str, int, int]] = []
        row_of: dict[str, CubeRow] = {}
        seen: dict[str, int] = {}
        sign = -1.0 if newest_first else 1.0
        for place in places:
            index = self._indexes.get(place.cube)
            row_of[place.cube.name] = place.cube
            with index.lock:
                index.catch_up()
                rows = index.matching(where, index.moment(place.as_of, place.look, unindexed=True).rows)
                seen[place.cube.name] = index.seq if place.as_of is None else place.as_of
                times, seqs = index.table[_COLUMN_OF[order]][rows], index.table["seq"][rows]
                # of one time: in the order in which they were added; a later change (its vectors, say) moves none of them
                places_of = index.table["item"][rows] * (-1 if newest_first else 1)
                own = zip((sign * times).tolist(), places_of.tolist(), seqs.tolist(), strict=True)
                keys.extend((time, place.cube.name, item, seq) for time, item, seq in own)
        keys.sort()
        if after is not None:
            keys = [key for key in keys if key[:3] > after.after]
        shown = keys[:limit]
        items: dict[tuple[str, int], MemoryItem] = {}
        for name, row in row_of.items():
            own_seqs = [seq for _, cube, _, seq in shown if cube == name]
            items.update({(name, seq): record.to_item() for seq, record in self._store.records(row, own_seqs).items()})
        more = encode(Cursor(asked, seen, shown[-1][:3], at=places[0].look.at)) if len(keys) > limit else None
        return Page([items[cube, seq] for _, cube, _, seq in shown], cursor=more)


def _as_before(places: Sequence[Place], after: Cursor) -> Sequence[Place]:
    """The cubes that the page before has looked into, as it saw them; one made since waits for the next search.

    Raises:
        InvalidCursor: there was none.
    """
    found = [
        Place(place.cube, after.seqs[place.cube.name], msgspec.structs.replace(place.look, at=after.at))
        for place in places
        if place.cube.name in after.seqs
    ]
    if not found:
        raise InvalidCursor("the cursor is of none of the cubes that are read; pass the .cursor of the page before")
    return found


def _states(places: Sequence[Place]) -> list[str]:
    return sorted(places[0].look.states) if places else []


def _check(ask: Ask) -> None:
    check_text(ask.text, "the question")
    if isinstance(ask.top_k, bool) or not isinstance(ask.top_k, int) or not 1 <= ask.top_k <= MOST_HITS:
        raise InvalidInput(f"top_k is a whole number from 1 to {MOST_HITS}, not {ask.top_k!r}")
    if not isinstance(ask.min_score, int | float) or not 0.0 <= ask.min_score <= 1.0:
        raise InvalidInput(f"min_score is from 0 to 1, not {ask.min_score!r}")
    unknown = ask.without - set(ranking.SIGNALS)
    if unknown:
        raise InvalidInput(f"no such signal: {', '.join(sorted(unknown))}; signals are: {', '.join(ranking.SIGNALS)}")


def as_signals(without: Collection[str]) -> frozenset[Signal]:
    """Names of signals, as given; checked when they are used.

    Raises:
        InvalidInput: one string instead of several names.
    """
    names = None if isinstance(without, str) or not isinstance(without, Iterable) else list(without)
    if names is None or not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"without is a list of signals, not {without!r}; signals are: {', '.join(ranking.SIGNALS)}")
    return frozenset(names)  # type: ignore[arg-type]
