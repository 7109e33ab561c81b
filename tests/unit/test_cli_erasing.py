"""If these fail, somebody at the command line erases what they did not mean to, or is told that bytes are gone which are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_running import Memos

SECRET = "The treasure is under the old oak."


@pytest.fixture
def memos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memos:
    """A store with two memories of alice's."""
    monkeypatch.chdir(tmp_path)
    made = Memos(tmp_path)
    made("add", SECRET, "--meta", "case=A-17", "--key", "treasure", "--quiet")
    made("add", "The harbour is deep.", "--quiet")
    return made


def ids(memos: Memos) -> list[str]:
    return [row["id"] for row in memos("list", "--json").lines]


def test_a_preview_shows_what_would_go_and_changes_nothing(memos: Memos) -> None:
    id = ids(memos)[1]
    seen = memos("erase", id, "--preview", "--json").json
    assert (seen["items"], seen["versions"], seen["cubes"]) == ([["alice", id]], 1, ["alice"])
    assert id in memos("erase", "--where", "case = A-17", "--preview").out
    assert len(ids(memos)) == 2


def test_erasing_says_why_and_does_not_ask_with_yes(memos: Memos) -> None:
    kept, id = ids(memos)
    assert "--reason" in memos("erase", id, "--yes", code=2).err
    assert "--yes" in memos("erase", id, "--reason", "asked for", "--json", code=2).error["message"]
    done = memos("erase", id, "--reason", "asked for", "--yes", "--json").json
    assert (done["items"], done["complete"], done["remains"]) == (1, True, [])
    assert ids(memos) == [kept]
    memos("erase", id, "--reason", "asked for", "--yes", code=1)
    assert SECRET.encode() not in (memos.store / "memos.db").read_bytes()
    memos("verify", "--erased", "--text", SECRET)
    assert memos("erase", "--finish", "--json").json["complete"]


def test_whoever_is_asked_may_say_no(memos: Memos) -> None:
    id = ids(memos)[1]
    memos("erase", id, "--reason", "asked for", input="n\n", code=130)
    assert len(ids(memos)) == 2
    memos("erase", id, "--reason", "asked for", input="y\n")
    assert len(ids(memos)) == 1


def test_what_makes_no_sense_is_refused(memos: Memos) -> None:
    memos("erase", "--reason", "x", "--yes", code=2)
    memos("erase", "an id", "--subject", "bob", "--reason", "x", "--yes", code=2)
    memos("erase", "an id", "--finish", code=2)
    memos("verify", "an id", code=2)
    memos("verify", "--erased", "--repair", code=2)
    memos("erase", ids(memos)[0], "--as", "bob", "--cube", "alice", "--reason", "x", "--yes", code=1)


def test_verify_finds_what_is_not_erased(memos: Memos) -> None:
    found = memos("verify", "--erased", ids(memos)[1], "--text", SECRET, "--json", code=1).lines
    assert {each["part"] for each in found} == {"truth"}
    memos("verify", "--erased")


def test_a_subject_is_exported_then_forgotten(memos: Memos) -> None:
    memos("add", "Bob likes tea.", "--as", "bob", "--quiet")
    told = memos("export-subject", "bob", "export", "--json").json
    assert (told["items"], told["cubes"]) == (1, 1)
    assert "Bob likes tea." in (memos.folder / "export" / "subject.md").read_text()
    memos("export-subject", "bob", "export", code=4)
    memos("erase", "--subject", "bob", "--reason", "article 17", "--yes")
    assert [row["name"] for row in memos("cubes", "--json").lines if "bob" in row["name"]] == []
    memos("export-subject", "bob", "again", code=1)


def test_a_hold_forbids_it_until_it_is_released(memos: Memos) -> None:
    id = ids(memos)[1]
    memos("hold", f"item:{id}", "--reason", "case 7")
    assert memos("holds").out.split("\t")[:4] == ["alice", f"item:{id}", "case 7", "alice"]
    assert memos("erase", id, "--reason", "x", "--yes", "--json", code=4).error["type"] == "OnHold"
    memos("delete", id, code=4)
    memos("release", f"item:{id}", "--reason", "closed")
    memos("release", f"item:{id}", "--reason", "closed", code=1)
    assert memos("holds", "--json").lines == []
    memos("erase", id, "--reason", "x", "--yes")
