"""If these fail, people cannot back their memory up from the command line, or find out too late that they have not."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_running import Memos


@pytest.fixture
def memos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memos:
    monkeypatch.chdir(tmp_path)
    made = Memos(tmp_path)
    made("add", "The lighthouse is red.", "The harbour is deep.", "--quiet")
    return made


def test_there_and_back_again(memos: Memos) -> None:
    assert memos("backup", "safe").out.startswith("backup 1: 2 changes new, ")
    assert memos("backup", "safe").out.startswith("nothing is new since backup 1 (")
    memos("add", "The ferry is late.", "--quiet")
    told = memos("backup", "safe", "--json").json
    assert (told["number"], told["changes"], told["new_changes"], told["whole"]) == (2, 3, 1, False)
    assert [row.split("\t")[0::3] for row in memos("backup", "safe", "--list").out.splitlines()] == [
        ["1", "2"],
        ["2", "3"],
    ]
    assert [row["number"] for row in memos("backup", "safe", "--list", "--json").lines] == [1, 2]
    assert memos("backup", "safe", "--check", "--json").json["changes"] == 3
    assert memos("backup", "safe", "--check", "--number", "1").out.startswith("backup 1 is sound: 2 changes in 1 cube")
    assert memos("restore", "--from", "safe", "--store", "again").out == (
        "backup 2 restored to again: 3 changes in 1 cube, digests and audit chains verified\n"
    )
    assert "ferry" in memos("search", "ferry", "--store", "again").out
    assert memos("restore", "--from", "safe", "--to", "1", "--store", "then", "--json").json["changes"] == 2
    assert memos("verify", "--store", "then").out == ""


def test_what_cannot_be_is_refused_with_its_code(memos: Memos) -> None:
    memos("backup", "safe", "--quiet")
    (memos.folder / "notes").mkdir()
    (memos.folder / "notes" / "mine.txt").write_text("mine")
    assert memos("restore", "--from", "safe", "--json", code=4).error["type"] == "AlreadyExists"
    assert memos("backup", "notes", "--json", code=5).error["type"] == "NotABackup"
    assert memos("restore", "--from", "notes", "--store", "x", "--json", code=5).error["type"] == "NotABackup"
    next((memos.folder / "safe").glob("rows-*")).write_bytes(b"")
    assert "has 0 bytes" in memos("backup", "safe", "--check", code=5).err
    assert memos("restore", "--from", "safe", "--store", "x", "--json", code=5).error["type"] == "BackupDamaged"
    assert not (memos.folder / "x").exists()
    memos("backup", "safe", "--store", "nowhere", code=5)
    for wrong in (["restore"], ["restore", "x", "--from", "safe"], ["restore", "x", "--to", "2"], ["backup"]):
        memos(*wrong, code=2)
    memos("backup", "safe", "--list", "--check", code=2)
    memos("backup", "safe", "--number", "1", code=2)
