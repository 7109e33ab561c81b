"""If these fail, a search in one cube pays for all others that are loaded, or loaded indexes outgrow their budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memos_core import MOS
from memos_core.stores.index.cube_index import CubeIndex


def test_a_search_measures_only_the_index_that_it_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []
    size = CubeIndex.nbytes

    def nbytes(index: CubeIndex) -> int:
        measured.append(index.cube.name)
        return size.fget(index)  # type: ignore[attr-defined, no-any-return]

    with MOS.open(tmp_path) as mos:
        sessions = [mos.session(f"c{number}") for number in range(20)]
        for session in sessions:
            session.add("a lamp")
            session.search("lamp")
        monkeypatch.setattr(CubeIndex, "nbytes", property(nbytes))
        sessions[7].search("lamp")
        sessions[7].list()
        assert set(measured) == {"c7"}


def test_what_is_loaded_stays_within_its_budget_and_grows_with_what_is_added(tmp_path: Path) -> None:
    def loaded(mos: Any) -> int:
        return int(mos.stats()["index_bytes"])

    with MOS.open(tmp_path, index_budget=400_000) as mos:
        for number in range(20):
            session = mos.session(f"c{number}")
            session.add([f"lamp {each} of many" for each in range(100)])
            session.search("lamp")
            assert loaded(mos) <= 400_000
        assert 0 < mos._indexes._total == loaded(mos)
        assert len(mos._indexes._loaded) > 1
        grown = mos.session("c19")
        for _ in range(10):
            grown.add([f"another lamp {each}" for each in range(100)])
            grown.search("lamp")
        assert mos._indexes._total == loaded(mos)
