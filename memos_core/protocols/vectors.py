"""What an index of vectors must promise: the embedded one of a cube, and tables of vectors that somebody else keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T")


class Nearest(list[_T]):
    """What is nearest, best first.

    Attributes:
        degraded: why somebody else answered than was asked to (the embedded index, for a server that is down), or None.
    """

    def __init__(self, found: Iterable[_T] = (), *, degraded: str | None = None) -> None:
        super().__init__(found)
        self.degraded = degraded


class Abilities(msgspec.Struct, frozen=True):
    """What an index of vectors can do, known before it is asked.

    Attributes:
        exact: what it answers are the nearest; otherwise a few of them may be missing, and those that it gives are right.
        waits: it asks somebody outside of this process, or a library that may stall: `deadline` means something.
    """

    exact: bool = True
    waits: bool = False


class VectorIndex(Protocol):
    """Nearest items of one cube by vector. Derived: it follows the change log and can be dropped and rebuilt.

    May be called from several threads at once; a call that waits for somebody outside holds no lock that others need.
    """

    @property
    def abilities(self) -> Abilities:
        """What it can do."""

    @property
    def seq(self) -> int:
        """Number of the last change it has applied."""

    def catch_up(self) -> None:
        """Apply what has been committed since.

        Raises:
            FollowerUnavailable: whoever keeps the vectors cannot be reached, or is not to be trusted.
        """

    def nearest(
        self,
        vector: NDArray[np.float32],
        count: int,
        *,
        among: Sequence[int] | None = None,
        as_of: int | None = None,
        deadline: float | None = None,
    ) -> Nearest[tuple[int, float]]:
        """The nearest items: (number of the change that made the version, exact cosine), best first, ties by number.

        What is committed when it is called is among them, however far the index has come.

        Args:
            vector: (dims,), of any length but zero.
            among: only these changes; None for all current ones.
            as_of: as it was after this change; None for now.
            deadline: seconds to wait for somebody outside, at most; then another index answers, and the answer says
                `degraded`. None takes the index's own.

        Raises:
            WrongDimension: the vector is of another length than the index's.
        """

    def drop(self) -> None:
        """Forget everything; the next `catch_up` starts from the first change."""


class Mark(msgspec.Struct, frozen=True):
    """How far a table of vectors has come, kept in the table itself, and what tells whether to believe it.

    Attributes:
        store, cube, embedder, dims: whose vectors these are.
        born: four hexadecimal digits, drawn anew each time the table is made.
        seq: number of the last change that is applied; 0 for none.
        digest: of that change in the truth (its beginning may do); another one means that the truth has gone another way
            since.
    """

    store: str
    cube: int
    embedder: str
    dims: int
    born: str
    seq: int = 0
    digest: str = ""

    def belongs_with(self, other: Mark) -> bool:
        """Whether both are of the same cube's vectors."""
        mine = (self.store, self.cube, self.embedder, self.dims)
        return mine == (other.store, other.cube, other.embedder, other.dims)


class TableAbilities(msgspec.Struct, frozen=True):
    """What a table of vectors can do, known before it is asked.

    Attributes:
        among: how many vectors a search can be narrowed to by naming them; 0: it cannot.
        lists: it can say which vectors it has, and what they are.
        alone: it holds nothing but this cube's vectors, or can leave all others out of a search.
        shared: other processes see the same table.
    """

    among: int = 0
    lists: bool = False
    alone: bool = True
    shared: bool = True


class VectorTable(Protocol):
    """Vectors of one cube, kept by somebody else under the numbers of the changes that made them.

    What a backend writes; everything hard (following the log, deadlines, leases, exact scores, distrust) is done by those
    who use it. It may wait as long as it likes, raise what it likes, and forget: whoever uses it expects that.
    """

    @property
    def abilities(self) -> TableAbilities:
        """What it can do; asked after `mark`."""

    def mark(self) -> Mark | None:
        """The mark that was last put here; None where there is no table, or nobody has marked it.

        Raises:
            ForeignTable: there is one, but it is somebody else's.
        """

    def create(self, mark: Mark) -> None:
        """A new, empty table with this mark, in the place of whatever there is."""

    def put_mark(self, mark: Mark) -> None:
        """Another mark in the place of the last one."""

    def upsert(self, seqs: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Keep vectors (seqs, dims) of unit length; those that there are already are replaced."""

    def delete(self, seqs: Sequence[int]) -> None:
        """Forget vectors; those that there are not are no error."""

    def nearest(self, vector: NDArray[np.float32], count: int, among: Sequence[int] | None = None) -> list[int]:
        """The nearest vectors (approximately), best first.

        Args:
            among: only these; all of them are there. Given only as far as `abilities` says.

        Raises:
            Exception: of any kind, where the table has been made anew since `mark` or `create`.
        """

    def seqs(self) -> list[int]:
        """Which vectors it has, where it can list them."""

    def vectors(self, seqs: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The vectors that it has of these, where it can list them."""

    def count(self) -> int | None:
        """How many vectors it has; None where it cannot say."""

    def drop(self) -> None:
        """Remove it; no error where there is none."""


class VectorTables(Protocol):
    """Where tables of vectors are: a folder, a server, a host's store. Opening one waits for nothing.

    The methods may wait and raise as those of a table may.
    """

    @property
    def name(self) -> str:
        """What it is called in messages; holds no secret."""

    def table(self, mark: Mark) -> VectorTable:
        """The table of the vectors that this mark (its `seq` and `born` do not count) speaks of."""

    def strays(self, mark: Mark) -> list[str]:
        """Names of tables of this cube's vectors under an earlier embedder."""

    def remove(self, name: str) -> None:
        """Remove a stray table."""

    def purge(self) -> str | None:
        """Remove what removed tables have left behind, byte for byte.

        Returns:
            What may be left all the same, and what to do about it; None for nothing.
        """

    def close(self) -> None:
        """Let go of everything. Doing it twice does nothing."""

    def after_fork(self) -> None:
        """In a forked child: what belongs to the parent is left alone."""
