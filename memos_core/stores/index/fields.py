"""Values of item fields and metadata paths, as columns that are built when a filter first names them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from memos_core.filters import FIELDS, TIME_FIELDS, Condition, Path, test, walk
from memos_core.protocols.storage import RecordStore
from memos_core.stores.index.columns import ABSENT_TIME, Column, Mask, time_mask
from memos_core.stores.index.growing import first_moved
from memos_core.stores.index.rows import NEVER, RowTable
from memos_core.types.items import LifecycleState, MemoryItem, Provenance
from memos_core.types.work import Body, CubeRow, from_micros

Rows = NDArray[np.int64]

_COLUMN_OF_TIME = {"occurred_at": "occurred", "created_at": "created", "updated_at": "updated", "expires_at": "expires"}
_SOME_TIME = from_micros(0)
_MOST_COLUMNS = 64


class FieldColumns:
    """Answers conditions for rows of one cube.

    Args:
        store: the truth, where values are read from.
        cube: whose rows.
        table: the rows.
    """

    def __init__(self, store: RecordStore, cube: CubeRow, table: RowTable) -> None:
        self._store = store
        self._cube = cube
        self._table = table
        self._columns: dict[Path, Column] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly."""
        return sum(column.nbytes for column in self._columns.values())

    def condition_mask(self, condition: Condition, rows: Rows) -> Mask:
        """For each of these rows whether it fulfils the condition."""
        path = condition.path
        if path[0] in TIME_FIELDS and len(path) == 1:
            times = self._table[_COLUMN_OF_TIME[path[0]]][rows]
            return time_mask(np.where(times == NEVER, ABSENT_TIME, times), condition)
        if path == ("text",):
            texts = self._store.texts(self._cube, self._table["seq"][rows].tolist())
            found = (test(condition.op, texts.get(seq), condition.value) for seq in self._table["seq"][rows].tolist())
            return np.fromiter(found, np.bool_, len(rows))
        return self._column(path).mask(condition, rows)

    def reorder(self, rows: Rows) -> None:
        """The table was put in another order."""
        first = first_moved(rows)
        for column in self._columns.values():
            # where rows that it does not know yet may have moved between those that it does, it is filled again
            column.reorder(rows if column.rows == len(rows) else rows[: min(first, column.rows)])

    def _column(self, path: Path) -> Column:
        column = self._columns.pop(path, None) or Column()
        self._columns[path] = column  # last: the longest unused is first
        if len(self._columns) > _MOST_COLUMNS:
            self._columns.pop(next(iter(self._columns)))
        missing = len(self._table) - column.rows
        if missing:
            column.extend(self._values(path, column.rows, len(self._table)))
        return column

    def _values(self, path: Path, low: int, high: int) -> list[object]:
        seqs = self._table["seq"][low:high]
        values: list[object] = [None] * (high - low)
        for seq, id_, version, state, body in self._bodies(int(seqs.min()) - 1, int(seqs.max())):
            row = self._table.row_of(seq)
            if low <= row < high:
                if path[0] not in FIELDS:
                    values[row - low] = walk(body.metadata, path)
                else:
                    values[row - low] = walk(
                        FIELDS[path[0]](_shell(self._cube.name, id_, version, state, body)), path[1:]
                    )
        return values

    def _bodies(self, after: int, until: int) -> Iterator[tuple[int, str, int, str, Body]]:
        return self._store.bodies(self._cube, after, until)


def _shell(cube: str, id_: str, version: int, state: str, body: Body) -> MemoryItem:
    """An item with everything that a filter may ask for besides text and times."""
    return MemoryItem(
        cube_id=cube,
        id=id_,
        text="",
        kind=body.kind,
        type=body.type,
        payload=body.payload,
        key=body.key,
        created_at=_SOME_TIME,
        updated_at=_SOME_TIME,
        state=LifecycleState(state),
        version=version,
        seq=0,
        confidence=body.confidence,
        tags=body.tags,
        metadata=body.metadata,
        mentions=body.mentions,
        private_to=body.private_to,
        provenance=Provenance(
            actor="",
            operation="",
            conversation=body.conversation,
            source=body.source,
            derived_from=body.derived_from,
        ),
    )
