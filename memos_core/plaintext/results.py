"""From what cubes have found to hits: pooled, ranked once, page by page, the same words of several cubes folded into one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.plaintext import ranking
from memos_core.plaintext.cursors import Cursor, encode
from memos_core.plaintext.ranking import Recipe
from memos_core.plaintext.signals import Signals
from memos_core.protocols.storage import RecordStore
from memos_core.types.items import Hit, Hits
from memos_core.types.work import CubeRow, Record

Rows = NDArray[np.int64]
Key = tuple[float, str, int]


class Place(msgspec.Struct, frozen=True):
    """A cube to look into.

    Attributes:
        cube: which.
        as_of: as it was after this change; None for now.
    """

    cube: CubeRow
    as_of: int | None = None


class Found(msgspec.Struct, frozen=True):
    """What one cube has found.

    Attributes:
        place: where.
        seq: number of the change that was newest.
        seqs: of the items that may be hits: the changes that made them.
        signals: of those items, in the same order.
    """

    place: Place
    seq: int
    seqs: Rows
    signals: Signals


class Ranked:
    """Items of all cubes in one order: by score, then cube, then age.

    Args:
        found: by each cube.
        recipe: what the signals weigh.
        asks_time: whether the question asks for a time.
    """

    def __init__(self, found: Sequence[Found], recipe: Recipe, *, asks_time: bool) -> None:
        self._found = sorted(found, key=lambda each: each.place.cube.name)
        self._recipe = recipe
        lengths = [len(each.seqs) for each in self._found]
        scores = np.concatenate([each.signals.scores for each in self._found])
        cubes = np.repeat(np.arange(len(lengths)), lengths)
        seqs = np.concatenate([each.seqs for each in self._found])
        own = np.concatenate([np.arange(length) for length in lengths])
        order = np.lexsort((seqs, cubes, -scores))
        self._scores, self._cubes, self._seqs, self._own = scores[order], cubes[order], seqs[order], own[order]
        taken_off = ranking.expected(
            recipe,
            speaker=any(each.signals.named for each in found),
            date=any(each.signals.dated for each in found),
            when=asks_time,
        )
        self._likely = ranking.probabilities(self._scores, taken_off, recipe)

    def hits(self, store: RecordStore, top_k: int, min_score: float, after: Cursor | None, asked: str) -> Hits:
        """One page of hits.

        Args:
            store: where items are read from.
            top_k: at most so many.
            min_score: only those at least this likely.
            after: the end of the page before; None for the first.
            asked: digest of the search, for the cursor.
        """
        hits: list[Hit] = []
        place_of: dict[
            tuple[object, ...], int | None
        ] = {}  # the same words, and the hit they are in (None: shown before)
        several = len(self._found) > 1
        cursor: str | None = None
        last: Key | None = None
        for place, record in self._walk(store, top_k, 0 if several or after is None else self._first_after(after)):
            if self._likely[place] < min_score:
                break
            key = self._key(place)
            same = _sameness(record) if several else (key,)
            if same in place_of:
                hit = place_of[same]
                if hit is not None:
                    hits[hit] = _joined(hits[hit], record)
                continue
            if after is not None and key <= after.after:
                place_of[same] = None
                continue
            if len(hits) == top_k:
                cursor = self._cursor(asked, last)
                break
            place_of[same] = len(hits)
            hits.append(self._hit(place, record))
            last = key
            if len(hits) == top_k and not several:
                more = place + 1 < len(self._likely) and self._likely[place + 1] >= min_score
                cursor = self._cursor(asked, key) if more else None
                break
        return Hits(hits, cursor=cursor)

    def _walk(self, store: RecordStore, step: int, start: int) -> Iterator[tuple[int, Record]]:
        """Places in the order with their items, read as far as somebody looks."""
        while start < len(self._scores):
            end = min(start + step, len(self._scores))
            records: dict[tuple[int, int], Record] = {}
            for number, each in enumerate(self._found):
                own = self._seqs[start:end][self._cubes[start:end] == number].tolist()
                if own:
                    found = store.records(each.place.cube, own)
                    records.update({(number, seq): record for seq, record in found.items()})
            for place in range(start, end):
                yield place, records[int(self._cubes[place]), int(self._seqs[place])]
            start, step = end, max(4, step // 4)

    def _cursor(self, asked: str, last: Key | None) -> str | None:
        seqs = {each.place.cube.name: each.seq for each in self._found}
        return None if last is None else encode(Cursor(asked, seqs, last))

    def _key(self, place: int) -> Key:
        cube = self._found[int(self._cubes[place])].place.cube.name
        return (-float(self._scores[place]), cube, int(self._seqs[place]))

    def _first_after(self, after: Cursor) -> int:
        """The first place behind the end of a page."""
        start = int(np.searchsorted(-self._scores, after.after[0]))
        while start < len(self._scores) and self._key(start) <= after.after:
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


def _sameness(record: Record) -> tuple[object, ...]:
    """What makes items of two cubes the same words, said by the same person at the same time."""
    body = record.body
    source = body.source if body else None
    return (record.text, body.occurred_at if body else None, source.speaker if source else None)


def _joined(hit: Hit, record: Record) -> Hit:
    return msgspec.structs.replace(hit, origins=(*hit.origins, (record.cube, record.id)))
