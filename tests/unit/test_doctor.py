"""If these fail, `memos doctor` calls a store well that is not (or the other way round), or leaves something behind in it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from cli_running import Memos

from memos_core import MOS, doctor
from memos_core.doctor import Check, examine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "memory"
    with MOS.open(place, embedder="hashing") as mos:
        mos.session("alice").add(["The lighthouse is red.", "The harbour is deep."])
    return place


def states(found: list[Check]) -> dict[str, str]:
    return {check.name: check.state for check in found}


def problems(place: Path) -> dict[str, Check]:
    return {check.name: check for check in examine(place, deadline=0.3) if check.state not in ("ok", "note")}


def dump(place: Path) -> tuple[list[str], list[str]]:
    """Everything in a store and its folder."""
    with sqlite3.connect(place / "memos.db") as database:
        rows = list(database.iterdump())
    database.close()
    return rows, sorted(str(path.relative_to(place)) for path in place.rglob("*"))


def test_a_sound_store_is_called_so_and_left_as_it_was(folder: Path) -> None:
    before = dump(folder)
    found = list(examine(folder))
    assert set(states(found).values()) <= {"ok", "note"}, found
    assert states(found)["search"] == states(found)["write"] == states(found)["embedder"] == "ok"
    assert dump(folder) == before


@pytest.mark.parametrize("embedder", [None, "given:8"])
def test_stores_with_other_embedders(tmp_path: Path, embedder: str | None) -> None:
    with MOS.open(tmp_path / "memory", embedder=embedder) as mos:
        mos.session("alice").add("x", vectors=None if embedder is None else np.ones((1, 8), dtype=np.float32))
    found = states(list(examine(tmp_path / "memory")))
    assert found["search"] == "ok"
    assert found["embedder"] == ("note" if embedder is None else "ok")


def test_what_is_wrong_with_the_place(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chmod(folder / "memos.db", 0o644)
    found = problems(folder)["permissions"]
    assert (found.state, found.todo) == ("warning", f"chmod go= {folder / 'memos.db'}")
    os.chmod(folder / "memos.db", 0o600)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1 << 20))
    assert problems(folder)["free space"].state == "problem"
    monkeypatch.undo()
    monkeypatch.setattr(doctor, "_file_system", lambda _: "nfs4")
    assert "network file system (nfs4)" in problems(folder)["disk"].found
    monkeypatch.undo()
    assert problems(tmp_path / "nowhere")["store"].state == "warning"
    assert not (tmp_path / "nowhere").exists()
    assert problems(Path("redis://x"))["store"].state == "warning"


def test_the_file_system_of_a_path_is_that_of_its_nearest_mount() -> None:
    if sys.platform == "linux":
        assert doctor._file_system(Path("/proc/self")) == "proc"


def test_stores_that_cannot_be_opened(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "memos.db").write_bytes(b"this is no database" * 999)
    assert problems(tmp_path / "broken")["store"].found.startswith("StoreDamaged: ")
    with sqlite3.connect(folder / "memos.db") as database:
        database.execute("INSERT INTO migrations VALUES ('m999_of_the_future', 1)")
    database.close()
    assert problems(folder)["store"].found.startswith("NewerSchema: ")


def test_a_clock_that_runs_behind(folder: Path) -> None:
    late = datetime.now(UTC) - timedelta(days=3)
    found = {check.name: check for check in examine(folder, now=lambda: late)}
    assert found["clock"].state == "problem"
    assert "3 days" in found["clock"].found or "2 days" in found["clock"].found


def test_an_embedder_that_is_gone(folder: Path) -> None:
    with sqlite3.connect(folder / "memos.db") as database:
        database.execute("UPDATE store SET value = replace(value, '\"hashing\"', '\"minilm:./nowhere\"')")
    database.close()
    found = problems(folder)["embedder"]
    assert found.state == "problem"
    assert "memos reembed" in found.todo


HOLDS = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_somebody_who_keeps_the_store_locked(folder: Path) -> None:
    command = [sys.executable, "-c", HOLDS, str(folder / "memos.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        found = problems(folder)
        holder.communicate(b"")
    assert found["write"].found.startswith("StoreBusy: ")


def test_rows_that_are_damaged_are_met_by_the_followers(folder: Path) -> None:
    with sqlite3.connect(folder / "memos.db") as database:
        database.execute("UPDATE versions SET text = 'forged'")
    database.close()
    assert problems(folder)["followers"].found.startswith("StoreDamaged: ")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memos = Memos(tmp_path)
    assert "there is no store" in memos("doctor").out
    memos("add", "The lighthouse is red.", "--quiet")
    rows = memos("doctor", "--json").lines
    assert all(list(row) == ["name", "state", "found", "todo"] for row in rows)
    ran = memos("doctor")
    assert ran.err.endswith("findings: all is well\n")
    assert ran.out.splitlines()[0].startswith("versions\tok\tmemos ")
    assert memos("doctor", "--quiet").out == ""
    shown = memos.on_terminal("doctor", columns=100)
    assert shown.code == 0
    assert "ok      write" in shown.out
    (memos.store / "memos.db").write_bytes(b"no database" * 999)
    ran = memos("doctor", code=1)
    assert "store\tproblem\tStoreDamaged" in ran.out
    assert "1 problem" in ran.err
