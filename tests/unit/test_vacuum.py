"""If these fail, vacuuming loses memories, disturbs those who use the store, or frees nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cli_running import Memos

from memos_core import MOS
from memos_core.errors import StoreBusy, StoreFull

ROWS = 3000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store whose vectors have just been removed."""
    place = tmp_path / "memory"
    vectors = np.random.default_rng(1).standard_normal((ROWS, 64)).astype(np.float32)
    with MOS.open(place, embedder="given:64") as mos:
        mos.session("alice").add([f"fact number {n}" for n in range(ROWS)], vectors=vectors)
        mos.reembed(None)
    return place


def test_space_is_given_back_and_nothing_is_lost(folder: Path) -> None:
    with MOS.open(folder) as other, MOS.open(folder) as mos:
        session = other.session("alice")
        before = session.search("number 2999")
        done = mos.vacuum()
        assert done.freed > ROWS * 64 * 4 * 0.9
        assert done.database_after == sum(path.stat().st_size for path in folder.glob("memos.db*"))
        assert session.search("number 2999") == before
        session.add("one more")
        assert mos.session("alice").search("one more")[0].text == "one more"
        assert mos.verify() == []
        assert abs(mos.vacuum().freed) < 200_000


def test_others_write_and_search_meanwhile(folder: Path) -> None:
    written: list[str] = []
    stop = threading.Event()

    def use() -> None:
        with MOS.open(folder) as other:
            session = other.session("alice")
            while not stop.is_set():
                text = f"canary{len(written)}"
                session.add(text)
                written.append(text)
                assert session.search(text)[0].text == text

    with ThreadPoolExecutor(1) as pool:
        using = pool.submit(use)
        try:
            with MOS.open(folder) as mos:
                for _ in range(5):
                    mos.vacuum()
        finally:
            stop.set()
        using.result()
    with MOS.open(folder) as mos:
        assert len(mos.session("alice").list(limit=10_000)) == ROWS + len(written)
        assert mos.verify() == []


WRITES = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_it_is_refused_while_others_keep_the_store_locked(folder: Path) -> None:
    command = [sys.executable, "-c", WRITES, str(folder / "memos.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with MOS.open(folder, deadline=0.3) as mos, pytest.raises(StoreBusy, match="try again"):
            mos.vacuum()
        holder.communicate(b"")
    with MOS.open(folder) as mos:
        assert mos.vacuum().freed > 0


def test_a_reader_of_an_old_moment_sees_it_to_the_end(folder: Path) -> None:
    with MOS.open(folder) as reader, MOS.open(folder, deadline=0.3) as mos, reader.store.snapshot() as snapshot:
        slices = snapshot.changes(snapshot.cubes[0], 0)
        seen = len(next(slices))
        mos.session("alice").add("later")
        with pytest.raises(StoreBusy, match="log"):  # what it held back is freed by the next one
            mos.vacuum()
        assert seen + sum(map(len, slices)) == ROWS
    with MOS.open(folder) as mos:
        assert mos.vacuum().database_after < 1_300_000


def test_without_room_it_does_not_begin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1 << 20))
    with MOS.open(folder) as mos, pytest.raises(StoreFull, match="free some space"):
        mos.vacuum()


def test_files_of_indexes_that_nobody_needs_go(folder: Path) -> None:
    with MOS.open(folder) as mos:
        mos.reindex()
        used = {path.name for path in (folder / "index" / "1").iterdir()}
        assert len(used) > 1
        (folder / "index" / "1" / "left.segment").write_bytes(b"x" * 5000)
        (folder / "index" / "99").mkdir()
        (folder / "index" / "99" / "old.segment").write_bytes(b"x" * 7000)
        assert mos.vacuum().index_freed == 12_000
        assert {path.name for path in (folder / "index" / "1").iterdir()} == used
        assert not (folder / "index" / "99").exists()
        assert mos.verify() == []


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memos = Memos(tmp_path)
    memos("vacuum", code=5)
    memos("add", *(f"fact {n}" for n in range(300)), "--quiet", "--embedder", "hashing")
    memos("reembed", "none", "--yes")
    told = memos("vacuum", "--json").json
    assert list(told) == ["database_before", "database_after", "index_freed", "freed"]
    assert told["freed"] > 100_000
    assert " freed; the database has " in memos("vacuum").out
