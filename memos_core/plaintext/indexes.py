"""The indexes of the cubes in use, kept within a budget of memory."""

from __future__ import annotations

import logging
import shutil
import threading
from collections import OrderedDict
from pathlib import Path

from memos_core.errors import StoreUnreachable
from memos_core.plaintext.embedding import Embedding
from memos_core.protocols.storage import RecordStore
from memos_core.stores.index.cube_index import FLUSH_ROWS, CubeIndex
from memos_core.stores.index.upkeep import segments_before
from memos_core.types.work import CubeRow

log = logging.getLogger(__name__)


class Indexes:
    """Loads the index of a cube when it is first used, and lets the longest unused ones go.

    Args:
        store: the truth.
        embedding: whose vectors.
        folder: where segments lie, one folder a cube; None keeps everything in memory.
        budget: bytes of memory for all of them together; the one in use may exceed it alone.
        flush_rows: rows of a tail before it is written.
    """

    def __init__(
        self,
        store: RecordStore,
        embedding: Embedding,
        *,
        folder: Path | None,
        budget: int,
        flush_rows: int = FLUSH_ROWS,
    ) -> None:
        self._store = store
        self._embedding = embedding
        self._folder = folder
        self._budget = budget
        self._flush_rows = flush_rows
        self._lock = threading.Lock()
        self._loading: dict[int, threading.Lock] = {}
        self._begin()

    def _begin(self) -> None:
        self._loaded: OrderedDict[int, CubeIndex] = OrderedDict()
        self._used: set[int] = set()  # cubes whose indexes may have grown since they were measured
        self._sizes: dict[int, int] = {}  # by cube, as they were measured
        self._total = 0  # of those sizes: a search must not pay for all cubes that are loaded

    def get(self, cube: CubeRow) -> CubeIndex:
        """The index of a cube. Catch it up, under its lock, before asking it anything.

        Raises:
            EmbedderMismatch: another process has replaced all vectors.
        """
        self._embedding.confirm()
        with self._lock:
            self._used.add(cube.number)
            found = self._current(cube)
            if found is not None:
                self._loaded.move_to_end(cube.number)
                return found
            loading = self._loading.setdefault(cube.number, threading.Lock())
        with loading:
            with self._lock:
                found = self._current(cube)
            if found is not None:
                return found
            index = self.fresh(cube, in_memory=False)
            with self._lock:
                self._loaded[cube.number] = index
                self._loading.pop(cube.number, None)
            return index

    def _current(self, cube: CubeRow) -> CubeIndex | None:
        """The loaded index of a cube, if it holds the vectors that the store has now."""
        found = self._loaded.get(cube.number)
        return found if found is not None and found.embedder == self._embedding.mark else None

    def fresh(self, cube: CubeRow, *, in_memory: bool) -> CubeIndex:
        """An index of the cube that nobody else holds: its own files, or (in memory) built from the truth alone."""
        record = self._embedding.record
        folder = None if in_memory or self._folder is None else self._folder / str(cube.number)
        return CubeIndex(
            self._store,
            cube,
            folder=folder,
            embedder=record.mark,
            dims=record.dims,
            token_dims=record.token_dims,
            flush_rows=self._flush_rows,
        )

    def forget(self, cube: CubeRow, erased: int) -> None:
        """Throw away what was made from a cube before an erasure; it is built anew when it is next used.

        Args:
            erased: number of the change that erased.
        """
        with self._lock:
            loaded = self._loaded.get(cube.number)
        if loaded is not None:
            loaded.forget(erased)
        elif self._folder is not None:
            shutil.rmtree(self._folder / str(cube.number), ignore_errors=True)

    def made_before(self, cube: CubeRow, erased: int) -> bool:
        """Whether there are files of a cube's index that were made before an erasure."""
        return self._folder is not None and segments_before(self._folder / str(cube.number), erased)

    def trim(self) -> None:
        """Let the longest unused indexes go until the rest is within the budget. The newest always stays."""
        with self._lock:
            for number in self._used & self._loaded.keys():
                self._total -= self._sizes.get(number, 0)
                self._sizes[number] = self._loaded[number].nbytes
                self._total += self._sizes[number]
            self._used.clear()
            while self._total > self._budget and len(self._loaded) > 1:
                number, oldest = self._loaded.popitem(last=False)
                self._total -= self._sizes.pop(number, 0)
                oldest.flush()

    @property
    def nbytes(self) -> int:
        """Bytes of memory of all loaded indexes, roughly."""
        with self._lock:
            return sum(index.nbytes for index in self._loaded.values())

    def close(self) -> None:
        """Write what is worth it to files and let all go."""
        with self._lock:
            loaded = list(self._loaded.values())
            self._begin()
        for index in loaded:
            try:
                index.flush()
            except StoreUnreachable as error:  # it is derived: the next opening builds what is missing
                log.warning("indexes are not written to files: %s", error)
                break

    def after_fork(self) -> None:
        """In a forked child: load anew; threads of the parent may have been at work on what was loaded."""
        self._lock = threading.Lock()
        self._loading = {}
        self._begin()
