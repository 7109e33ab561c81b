"""If these fail, the command line compares, forks or goes back to something else than it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_running import Memos


@pytest.fixture
def memos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memos:
    """A store with two items and five changes."""
    monkeypatch.chdir(tmp_path)
    made = Memos(tmp_path)
    made("add", "Rent is 900 euros.", "--id", "rent", "--key", "the/rent", "--quiet")
    made("update", "rent", "--text", "Rent is 950 euros.", "--tag", "home")
    made("add", "Rex is a terrier.", "--id", "rex", "--quiet")
    made("update", "rent", "--new-key", "rent")
    made("delete", "rex")
    return made


def test_versions_are_compared(memos: Memos) -> None:
    assert memos("diff", "rent", "1", "2").out.splitlines() == [
        "Rent is [-900-]{+950+} euros.",
        "tags: (none) → ('home',)",
    ]
    assert memos("diff", "--key", "rent").out == "key: the/rent → rent\n"
    told = memos("diff", "rent", "1", "--json").json
    assert (told["old"], told["new"]) == (1, 3)
    assert {"op": "new", "text": "950"} in told["text"]
    assert told["fields"]["key"] == {"old": "the/rent", "new": "rent"}
    assert memos("diff", "rex").out == "deleted\n"
    assert memos("diff", "rent", "3", "3").out == "they say the same\n"
    assert memos("diff", "rent", "1", "9", "--json", code=1).error["type"] == "VersionNotFound"
    for wrong in ([], ["rent", "x"], ["rent", "1", "2", "3"], ["rent", "--since", "1"], ["--until", "1"]):
        memos("diff", *wrong, code=2)


def test_moments_are_compared(memos: Memos) -> None:
    told = memos("diff", "--since", "1", "--until", "3", "--json").json
    assert [item["id"] for item in told["added"]] == ["rex"]
    assert [change["id"] for change in told["changed"]] == ["rent"]
    assert [item["id"] for item in memos("diff", "--since", "3", "--json").json["removed"]] == ["rex"]
    lines = memos("diff", "--since", "1", "--until", "3").out.splitlines()
    assert [line.strip() for line in lines] == [
        *("+ rex", "Rex is a terrier.", "~ rent", "Rent is [-900-]{+950+} euros.", "tags: (none) → ('home',)"),
    ]


def test_a_cube_goes_back_and_forth(memos: Memos) -> None:
    told = memos("rollback", "--as-of", "3", "--json").json
    assert (told["to"], told["before"], told["restored"], told["changed"]) == (3, 5, ["rex"], ["rent"])
    assert memos("show", "--key", "the/rent", "--text").out == "Rent is 950 euros.\n"
    assert "undo with memos rollback --as-of 7" in memos("rollback", "--as-of", "5").out
    memos("show", "rex", code=1)
    memos("rollback", "rent", "1", "--as-of", "5", code=2)


def test_a_fork_is_made_of_a_moment(memos: Memos) -> None:
    assert (
        memos("fork", "alice", "alice/what-if", "--as-of", "3").out
        == "made cube alice/what-if, which shares 3 changes of alice\n"
    )
    assert memos("show", "rex", "--cube", "alice/what-if", "--text").out == "Rex is a terrier.\n"
    assert memos("fork", "alice", "alice/all", "--json").json["changes"] == 5
    assert memos("fork", "alice", "alice/all", "--json", code=4).error["type"] == "AlreadyExists"
    assert memos("fork", "alice", "bob/x", "--json", code=3).error["type"] == "AccessDenied"
    assert memos("fork", "bob", "alice/x", "--json", code=1).error["type"] == "CubeNotFound"
    memos("fork", "alice", "alice/x", "--cube", "alice", code=2)
    memos("verify")
