"""Every cube that has a hit's words, said by the same person at the same time, however far down the ranking they are there."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.filters import Filter
from memos_core.plaintext.indexes import Indexes
from memos_core.plaintext.results import Found, sameness
from memos_core.protocols.storage import RecordStore
from memos_core.stores.index.columns import ABSENT_TIME
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.index.postings import term_name
from memos_core.types.items import Hit
from memos_core.types.work import micros

Origin = tuple[str, str]
_LOOKED_UP = 4  # terms of an item; the rarest words are among the longest ones


class _Form(msgspec.Struct, frozen=True):
    """What an item with the words of a hit looks like in any index: some of its terms, its length, when it happened."""

    names: NDArray[np.uint32]
    length: int
    occurred: int


def with_all_origins(
    hits: Sequence[Hit], found: Sequence[Found], indexes: Indexes, store: RecordStore, where: Filter | None
) -> list[Hit]:
    """The hits, each with an item of every cube that says the same; those that were known stay first.

    Args:
        hits: of one page.
        found: what each cube has found, for the moments that were searched.
        indexes: of the cubes.
        store: where items are read from.
        where: only items that fulfil this filter.
    """
    index_of = {each.place.cube.name: indexes.get(each.place.cube) for each in found}
    forms = [_form(index_of[hit.cube_id], hit) for hit in hits]
    origins = [list(hit.origins) for hit in hits]
    for each in found:
        name = each.place.cube.name
        missing = [place for place, hit in enumerate(hits) if all(cube != name for cube, _ in hit.origins)]
        index = index_of[name]
        with index.lock:
            index.catch_up()  # it may have been let go of and loaded anew since it was searched
            seqs = {place: _candidates(index, each, forms[place], where) for place in missing}
        texts = store.texts(each.place.cube, sorted({seq for own in seqs.values() for seq in own}))
        alike = {place: [seq for seq in own if texts[seq] == hits[place].text] for place, own in seqs.items()}
        records = store.records(each.place.cube, sorted({seq for own in alike.values() for seq in own}))
        for place, own in alike.items():
            origins[place] += [
                (name, records[seq].id) for seq in own if sameness(records[seq]) == _sameness(hits[place])
            ]
    return [
        msgspec.structs.replace(hit, origins=tuple(own)) if len(own) > len(hit.origins) else hit
        for hit, own in zip(hits, origins, strict=True)
    ]


def _sameness(hit: Hit) -> tuple[object, ...]:
    source = hit.item.provenance.source
    return (hit.item.text, hit.item.occurred_at, source.speaker if source else None)


def _form(index: CubeIndex, hit: Hit) -> _Form:
    at = hit.item.occurred_at
    with index.lock:
        index.catch_up()
        terms = sorted(set(index.analyzer.analyze(hit.text).terms), key=len, reverse=True)[:_LOOKED_UP]
        length = int(index.table["length"][index.table.row_of(hit.item.seq)])
    names = np.unique(np.array([term_name(term) for term in terms], dtype=np.uint32))
    return _Form(names, length, ABSENT_TIME if at is None else micros(at))


def _candidates(index: CubeIndex, found: Found, form: _Form, where: Filter | None) -> list[int]:
    """Changes that may have made an item of this form, of the moment that was searched."""
    at = index.moment(found.seq, found.place.look)
    if len(form.names):
        rarest = int(form.names[int(np.argmax(index.rareness(form.names, at)))])
        rows, _ = index.holding_name(rarest, at)
    else:
        rows = at.rows
    table = index.table
    rows = np.sort(rows[(table["occurred"][rows] == form.occurred) & (table["length"][rows] == form.length)])
    seqs: list[int] = table["seq"][index.matching(where, rows)].tolist()
    return seqs
