"""From what cubes have found to hits: pooled, ranked once, page by page, the same words of several cubes folded into one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.plaintext import ranking
from memos_core.plaintext.cursors import Cursor, encode
from memos_core.plaintext.ranking import Recipe
from memos_core.plaintext.signals import Signals
from memos_core.protocols.storage import RecordStore
from memos_core.stores.index.moments import EVERYTHING, Look
from memos_core.types.items import Hit, Hits
from memos_core.types.work import CubeRow, Record

Rows = NDArray[np.int64]
Key = tuple[int, float, str, int]
_BLOCK = 500  # items read at once where all of them are needed


class Place(msgspec.Struct, frozen=True):
    """A cube to look into.

    Attributes:
        cube: which.
        as_of: as it was after this change; None for now.
        look: whose eyes look at it, when, and for what.
    """

    cube: CubeRow
    as_of: int | None = None
    look: Look = EVERYTHING


class Found(msgspec.Struct, frozen=True):
    """What one cube has found.

    Attributes:
        place: where.
        seq: number of the change that was newest.
        seqs: of the items that may be hits: the changes that made them.
        signals: of those items, in the same order.
        more: whether it would find more in a further tier.
        degraded: why somebody else found them than was asked to, or None.
    """

    place: Place
    seq: int
    seqs: Rows
    signals: Signals
    more: bool
    degraded: str | None = None


class Ranked:
    """Items of all cubes in one order: by tier, then score, then cube, then age.

    Args:
        found: by each cube.
        recipe: what the signals weigh.
        asks_time: whether the question asks for a time.
        wanted: how many hits the first page asked for.
    """

    def __init__(self, found: Sequence[Found], recipe: Recipe, *, asks_time: bool, wanted: int) -> None:
        self._found = sorted(found, key=lambda each: each.place.cube.name)
        self._recipe = recipe
        self._wanted = wanted
        self._counted: dict[str, int] = {}
        self._more = any(each.more for each in found)
        lengths = [len(each.seqs) for each in self._found]
        scores = np.concatenate([each.signals.scores for each in self._found])
        cubes = np.repeat(np.arange(len(lengths)), lengths)
        seqs = np.concatenate([each.seqs for each in self._found])
        own = np.concatenate([np.arange(length) for length in lengths])
        tiers = np.concatenate([each.signals.tiers for each in self._found])
        order = np.lexsort((seqs, cubes, -scores, tiers))
        self._scores, self._cubes, self._seqs, self._own = scores[order], cubes[order], seqs[order], own[order]
        self._tiers = tiers[order]
        taken_off = ranking.expected(
            recipe,
            speaker=any(each.signals.named for each in found),
            date=any(each.signals.dated for each in found),
            when=asks_time,
        )
        # a later tier may hold what should have been in an earlier one: it is no likelier than what stands before it
        self._likely = np.minimum.accumulate(ranking.probabilities(self._scores, taken_off, recipe))

    def goes_on(self, min_score: float) -> bool:
        """Whether a further tier may hold hits that are likely enough."""
        return self._more and (not len(self._likely) or bool(self._likely[-1] >= min_score))

    def hits(
        self,
        store: RecordStore,
        top_k: int,
        min_score: float,
        after: Cursor | None,
        asked: str,
        counted: Mapping[str, int] | None = None,
    ) -> Hits:
        """One page of hits.

        Args:
            store: where items are read from.
            top_k: at most so many.
            min_score: only those at least this likely.
            after: the end of the page before; None for the first.
            asked: digest of the search, for the cursor.
            counted: which counting of uses each cube's scores are by, for the cursor.
        """
        self._counted = dict(counted or {})
        hits: list[Hit] = []
        several = len(self._found) > 1
        start = 0 if after is None else self._first_after(after)
        # the same words, and the hit they are in (None: shown before)
        place_of: dict[tuple[object, ...], int | None] = {}
        if several:
            place_of.update((sameness(record), None) for _, record in self._walk(store, _BLOCK, 0, start))
        cursor: str | None = None
        last = -1
        for place, record in self._walk(store, top_k, start, len(self._scores)):
            if self._likely[place] < min_score:
                break
            same = sameness(record) if several else (place,)
            if same in place_of:
                hit = place_of[same]
                if hit is not None:
                    hits[hit] = _joined(hits[hit], record)
                continue
            if len(hits) == top_k:
                cursor = self._cursor(asked, last)
                break
            place_of[same] = len(hits)
            hits.append(self._hit(place, record))
            last = place
            if len(hits) == top_k and not several:
                more = place + 1 < len(self._likely) and self._likely[place + 1] >= min_score
                cursor = self._cursor(asked, place) if more else None
                break
        return Hits(hits, cursor=cursor)

    def _walk(self, store: RecordStore, step: int, start: int, end: int) -> Iterator[tuple[int, Record]]:
        """Places in the order with their items, from one up to another, read as far as somebody looks."""
        while start < end:
            until = min(start + step, end)
            records: dict[tuple[int, int], Record] = {}
            for number, each in enumerate(self._found):
                own = self._seqs[start:until][self._cubes[start:until] == number].tolist()
                if own:
                    found = store.records(each.place.cube, own)
                    records.update({(number, seq): record for seq, record in found.items()})
            for place in range(start, until):
                yield place, records[int(self._cubes[place]), int(self._seqs[place])]
            start, step = until, step if step == _BLOCK else max(4, step // 4)

    def _cursor(self, asked: str, last: int) -> str:
        seqs = {each.place.cube.name: each.seq for each in self._found}
        tier, *_ = key = self._key(last)
        return encode(Cursor(asked, seqs, key[1:], tier, self._wanted, self._found[0].place.look.at, self._counted))

    def _key(self, place: int) -> Key:
        cube = self._found[int(self._cubes[place])].place.cube.name
        return (int(self._tiers[place]), -float(self._scores[place]), cube, int(self._seqs[place]))

    def _first_after(self, after: Cursor) -> int:
        """The first place behind the end of a page."""
        begin, end = np.searchsorted(self._tiers, (after.tier, after.tier + 1))
        start = int(begin + np.searchsorted(-self._scores[begin:end], after.after[0]))
        while start < len(self._scores) and self._key(start) <= (after.tier, *after.after):
            start += 1
        return start

    def _hit(self, place: int, record: Record) -> Hit:
        parts = self._found[int(self._cubes[place])].signals.parts
        own = int(self._own[place])
        weights = self._recipe.weights
        return Hit(
            item=record.to_item(),
            score=float(self._likely[place]),
            parts={str(name): weight * float(parts[name][own]) for name, weight in weights.items() if name in parts},
            cube_id=record.cube,
            origins=((record.cube, record.id),),
        )


def sameness(record: Record) -> tuple[object, ...]:
    """What makes items of two cubes the same words, said by the same person at the same time."""
    body = record.body
    source = body.source if body else None
    return (record.text, body.occurred_at if body else None, source.speaker if source else None)


def _joined(hit: Hit, record: Record) -> Hit:
    return msgspec.structs.replace(hit, origins=(*hit.origins, (record.cube, record.id)))
