"""If this fails, a store whose vectors are followed by Chroma, LangChain or LlamaIndex misses or invents memories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core.vector_stores import SimpleVectorStore

from memos_core.errors import FollowerUnavailable
from memos_core.protocols.storage import RecordStore
from memos_core.protocols.vectors import Mark, VectorTable, VectorTables
from memos_core.stores.chroma_places import open_chroma
from memos_core.stores.following import load_tables
from memos_core.stores.host_vectors import GivenEmbeddings
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.vector_follower import VectorFollower
from memos_core.stores.waiting import Patience
from memos_core.testing.stores import DIMS
from memos_core.testing.vector_index import Truth, VectorIndexContract
from memos_core.types.work import CubeRow

PATIENCE = 30.0


class Counting:
    """Tables of somebody else, and how often they have been searched: an answer of the embedded index proves nothing."""

    def __init__(self, tables: VectorTables) -> None:
        self._tables = tables
        self.searched = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tables, name)

    def table(self, mark: Mark) -> VectorTable:
        table: Any = self._tables.table(mark)
        nearest: Callable[..., list[int]] = table.nearest

        def counted(*args: Any, **options: Any) -> list[int]:
            found = nearest(*args, **options)
            self.searched += 1
            return found

        table.nearest = counted
        made: VectorTable = table
        return made


class FollowerContract(VectorIndexContract):
    """A follower that is asked whenever it can be, however few rows there are."""

    exact = False

    @pytest.fixture(autouse=True)
    def closing(self) -> Iterator[None]:
        """What a test has opened is closed behind it."""
        self.opened: list[Counting] = []
        yield
        for tables in self.opened:
            tables.close()

    def tables(self, folder: Path) -> VectorTables:
        raise NotImplementedError

    def make_index(self, store: RecordStore, cube: CubeRow, folder: Path, dims: int) -> VectorFollower:
        tables = Counting(self.tables(folder))
        self.opened.append(tables)
        return self.follower(store, cube, dims, tables)

    @staticmethod
    def follower(store: RecordStore, cube: CubeRow, dims: int, tables: Any) -> VectorFollower:
        index = CubeIndex(store, cube, embedder="given", dims=dims)
        return VectorFollower(
            store,
            cube,
            embedder="given",
            dims=dims,
            tables=tables,
            index=lambda: index,
            patience=Unresting(tables.name),
            deadline=PATIENCE,
        )

    def test_the_table_is_really_asked(self, index: VectorFollower, truth: Truth) -> None:
        random = np.random.default_rng(20)
        truth.add(*random.standard_normal((200, DIMS)))
        index.catch_up()
        for among in (None, list(range(1, 191)), list(range(1, 21))):
            before = self.opened[0].searched
            self.check(index, truth, random.standard_normal(DIMS), 5, among=among)
            asked = self.opened[0].searched - before
            held = index.held
            assert held is not None
            assert asked == (among is None or len(among) > 100 or held.abilities.among > 0)

    def test_a_second_follower_goes_on_where_the_first_one_was(
        self, index: VectorFollower, truth: Truth, tmp_path: Path
    ) -> None:
        truth.add(*np.random.default_rng(21).standard_normal((50, DIMS)))
        index.catch_up()
        self.opened[0].close()
        again = self.follower(truth.store, truth.cube, DIMS, self.opened[0])
        again.catch_up()
        assert index.held is not None
        assert again.held is not None
        assert again.mark.born == index.mark.born, "it was built anew"
        self.check_all(again, truth)


class Unresting(Patience):
    """A contract lets deadlines pass on purpose; the next question is asked all the same."""

    def _failed(self, reason: str) -> FollowerUnavailable:
        return FollowerUnavailable(reason)


class TestChromaFolder(FollowerContract):
    @pytest.fixture(autouse=True)
    def there(self, embedded: None) -> None:
        pass

    def tables(self, folder: Path) -> VectorTables:
        return open_chroma(str(folder / "chroma"), folder=folder)[0]


class TestChromaServer(FollowerContract):
    @pytest.fixture(autouse=True)
    def there(self, chroma: str) -> None:
        self.spec = chroma

    def tables(self, folder: Path) -> VectorTables:
        return load_tables(self.spec, folder=folder)[0]


class TestLangChain(FollowerContract):
    def tables(self, folder: Path) -> VectorTables:
        return load_tables(InMemoryVectorStore(GivenEmbeddings()), folder=folder)[0]


class TestLlamaIndex(FollowerContract):
    def tables(self, folder: Path) -> VectorTables:
        return load_tables(SimpleVectorStore(), folder=folder)[0]
