"""Verifying a cube: its rows against themselves, its index against an index built from the truth alone."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from memos_core.errors import EmbedderMismatch, StoreDamaged
from memos_core.plaintext.embedding import Embedding
from memos_core.plaintext.indexes import Indexes
from memos_core.protocols.storage import RecordStore
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.index.rows import COLUMNS
from memos_core.types.work import CubeRow

_MOST = 20  # differences of one kind that are named one by one
_TRIES = 100  # at reaching the same change as a second index


class Finding(msgspec.Struct, frozen=True):
    """A difference.

    Attributes:
        cube: where.
        part: "truth" or "index".
        what: one sentence.
        repaired: whether it has been put right.
    """

    cube: str
    part: str
    what: str
    repaired: bool = False


def verify_cube(
    store: RecordStore, embedding: Embedding, indexes: Indexes, cube: CubeRow, *, repair: bool
) -> list[Finding]:
    """Every difference in a cube; with `repair`, an index that differs is built anew."""
    dims = embedding.record.dims or None
    found = [Finding(cube.name, "truth", what) for what in store.check(cube, dims)]
    index = indexes.get(cube)
    try:
        with index.lock:
            index.catch_up()
            fresh = indexes.fresh(cube, in_memory=True)
            fresh.catch_up()
            for _ in range(_TRIES):  # others go on writing meanwhile
                if index.seq != fresh.seq:
                    index.catch_up()
                    fresh.catch_up()
            differences = list(_differences(index, fresh))
            if differences and repair:
                index.drop()
                index.catch_up()
                index.flush()
    except (StoreDamaged, EmbedderMismatch) as error:
        return [*found, Finding(cube.name, "index", f"cannot be compared, the truth cannot be read: {error}")]
    return found + [Finding(cube.name, "index", what, repair) for what in differences]


def _differences(index: CubeIndex, fresh: CubeIndex) -> Iterator[str]:
    if index.seq != fresh.seq:
        yield f"it has applied changes up to {index.seq}, the log goes to {fresh.seq}"
    own, right = index.table, fresh.table
    mine, theirs = np.sort(own["seq"]), right["seq"]
    for seq in np.setdiff1d(theirs, mine)[:_MOST].tolist():
        yield f"change {seq} is missing"
    for seq in np.setdiff1d(mine, theirs)[:_MOST].tolist():
        yield f"change {seq} should not be there"
    for seq in np.unique(mine[:-1][mine[1:] == mine[:-1]])[:_MOST].tolist():
        yield f"change {seq} is there twice"
    common = np.intersect1d(mine, theirs)
    rows, right_rows = own.rows_of(common), right.rows_of(common)
    for name in COLUMNS:
        if name in ("conversation", "speaker"):
            continue
        for place in np.flatnonzero(own[name][rows] != right[name][right_rows])[:_MOST].tolist():
            yield f"change {common[place]}: {name} is {own[name][rows[place]]}, should be {right[name][right_rows[place]]}"
    for name, mine_names, right_names in (
        ("conversation", own.conversations.names, right.conversations.names),
        ("speaker", own.speakers.names, right.speakers.names),
    ):
        mine_each = [mine_names[number] if number >= 0 else None for number in own[name][rows].tolist()]
        right_each = [right_names[number] if number >= 0 else None for number in right[name][right_rows].tolist()]
        wrong = [place for place, (a, b) in enumerate(zip(mine_each, right_each, strict=True)) if a != b]
        for place in wrong[:_MOST]:
            yield f"change {common[place]}: {name} is {mine_each[place]!r}, should be {right_each[place]!r}"
    wrong_heavy = [
        seq
        for seq, a, b in zip(common.tolist(), rows.tolist(), right_rows.tolist(), strict=True)
        if index.heavy(a) != fresh.heavy(b)
    ]
    for seq in wrong_heavy[:_MOST]:
        yield f"change {seq}: vectors or terms differ from what the truth says"
    if len(wrong_heavy) > _MOST:
        yield f"and {len(wrong_heavy) - _MOST} more changes whose vectors or terms differ"
