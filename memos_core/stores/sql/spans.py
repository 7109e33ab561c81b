"""Where the changes of a cube lie: in its own range of the log, or, for what a fork shares, in those of its ancestors.

A fork has the numbers of the cube that it was made from: its change 7 is that cube's change 7, up to the number that it was
forked at. So a number never changes its meaning from cube to cube; only the place of its row does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, case, false, or_, select

from memos_core.errors import StoreDamaged
from memos_core.stores.sql import schema
from memos_core.stores.sql.schema import SEQ_BITS, position
from memos_core.stores.sql.statements import Statements
from memos_core.types.work import CubeRow

END = (1 << SEQ_BITS) - 1  # no change has a greater number


class Piece(NamedTuple):
    """A stretch of a log that lies in one cube's range.

    Attributes:
        base: added to the number of a change, its place.
        after, until: numbers of the change before the first one, and of the last one.
    """

    base: int
    after: int
    until: int


class Spans(msgspec.Struct, frozen=True):
    """The log of one cube, by whose ranges it lies in.

    Attributes:
        number: of the cube.
        ends: last number of each stretch, ascending; the last one is open.
        bases: of each stretch, as in `Piece`.
    """

    number: int
    ends: tuple[int, ...]
    bases: tuple[int, ...]

    def place(self, seq: int) -> int:
        """The place of a change."""
        return self.bases[bisect_left(self.ends, seq)] + seq

    def places(self, seqs: Sequence[int]) -> list[int]:
        """The places of changes, in the same order."""
        if len(self.bases) == 1:
            base = self.bases[0]
            return [base + seq for seq in seqs]
        return [self.place(seq) for seq in seqs]

    def pieces(self, after: int, until: int = END) -> Iterator[Piece]:
        """The stretches that hold the changes after one number up to another, in order."""
        for base, end in zip(self.bases, self.ends, strict=True):
            if after >= until:
                return
            if end > after:
                yield Piece(base, after, min(end, until))
                after = end

    def place_of(self, seq: ColumnElement[int]) -> ColumnElement[int]:
        """The place of the change that a column names."""
        *shared, own = zip(self.ends, self.bases, strict=True)
        if not shared:
            return seq + own[1]
        return case(*((seq <= end, seq + base) for end, base in shared), else_=seq + own[1])

    def within(self, place: ColumnElement[int], after: int, until: int = END) -> ColumnElement[bool]:
        """Whether a column is the place of a change after one number, up to another."""
        pieces = self.pieces(after, until)
        return or_(false(), *((place > base + low) & (place <= base + high) for base, low, high in pieces))


def own_spans(number: int) -> Spans:
    """Those of a cube that shares nothing."""
    return Spans(number, (END,), (position(number, 0),))


def spans_of(connection: Connection, statements: Statements, cube: CubeRow) -> Spans:
    """Where the changes of a cube lie.

    Raises:
        StoreDamaged: a cube that it was forked from is not there.
    """
    ends, bases = [END], [position(cube.number, 0)]
    base, until = cube.base, cube.base_seq
    c = schema.cubes.c
    while base and until:
        row = statements.run(
            connection,
            "base of cube",
            lambda: select(c.base, c.base_seq).where(c.cube == bindparam("cube")),
            {"cube": base},
        ).first()
        if row is None:
            raise StoreDamaged(
                f"cube {cube.name!r} was forked from one that is not there any more (number {base}); restore this store "
                "from a backup"
            )
        if until > row[1]:
            ends.append(until)
            bases.append(position(base, 0))
        base, until = row[0], min(until, row[1])
    return Spans(cube.number, tuple(reversed(ends)), tuple(reversed(bases)))
