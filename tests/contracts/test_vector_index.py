"""If this fails, search by meaning misses the nearest memories, ranks them wrong, or finds what was deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from memos_core.protocols.storage import RecordStore
from memos_core.stores.index import vectors
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.testing.vector_index import VectorIndexContract
from memos_core.types.work import CubeRow


class TestInMemory(VectorIndexContract):
    def make_index(self, store: RecordStore, cube: CubeRow, folder: Path, dims: int) -> CubeIndex:
        return CubeIndex(store, cube, embedder="given", dims=dims)


class TestInSegments(VectorIndexContract):
    """Nearly everything in files, which are merged all the time."""

    def make_index(self, store: RecordStore, cube: CubeRow, folder: Path, dims: int) -> CubeIndex:
        return CubeIndex(store, cube, folder=folder, embedder="given", dims=dims, flush_rows=3)


class TestWithoutSimd(VectorIndexContract):
    """As on a machine that has no wheel of the SIMD library."""

    @pytest.fixture(autouse=True)
    def without_simd(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(vectors, "simsimd", None)
        monkeypatch.setattr(vectors, "SIMD", False)

    def make_index(self, store: RecordStore, cube: CubeRow, folder: Path, dims: int) -> CubeIndex:
        return CubeIndex(store, cube, folder=folder, embedder="given", dims=dims)
