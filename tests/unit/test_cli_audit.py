"""If these fail, people cannot see who did what in their memory, or `memos verify --audit` calls an altered audit sound."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from cli_running import Memos

_KEYS = ["cube", "number", "at", "actor", "action", "first_seq", "last_seq", "detail", "root", "prev_hash", "hash"]


@pytest.fixture
def memos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memos:
    """A store in which alice adds and changes, shares with bob, and bob has a cube of his own."""
    monkeypatch.chdir(tmp_path)
    made = Memos(tmp_path)
    made("add", "The lighthouse is red.", "--key", "light", "--quiet")
    made("update", "--key", "light", "--text", "The lighthouse is white.", "--quiet")
    made("cubes", "share", "alice", "--with", "bob")
    made("add", "Mine.", "--as", "bob", "--quiet")
    return made


def did(memos: Memos, *args: str) -> list[tuple[str, str]]:
    """Cube and action of the entries that are not about reading."""
    rows = memos("audit", *args, "--json").lines
    assert all(list(row) == _KEYS for row in rows)
    return [(row["cube"], row["action"]) for row in rows if row["action"] not in ("read", "denied")]


def test_what_was_done_is_shown_and_filtered(memos: Memos) -> None:
    own = [("alice", "add"), ("alice", "update"), ("alice", "share")]
    assert did(memos) == [*own, ("bob", "add")]
    assert did(memos, "alice") == did(memos, "--cube", "alice") == own
    assert did(memos, "--actor", "bob") == [("bob", "add")]
    assert did(memos, "--action", "add", "--action", "share") == [("alice", "add"), ("alice", "share"), ("bob", "add")]
    assert did(memos, "--since", "2999-01-01") == []
    assert did(memos, "--until", "2999-01-01") == did(memos)
    assert did(memos, "--until", "2000-01-01") == []
    id = memos("show", "--key", "light", "--json").json["id"]
    assert did(memos, "alice", "--item", id) == own[:2]
    assert did(memos, "--item", "nothing") == []
    assert len(memos("audit", "alice", "--tail", "1", "--json").lines) == 1
    (shared,) = memos("audit", "--action", "share", "--json").lines
    assert shared["detail"].items() >= {"grantee": "bob", "rights": ["read"]}.items()
    assert "grantee: bob; rights: read" in memos("audit", "--action", "share").out
    memos("audit", "nowhere", code=1)
    memos("audit", "alice", "--cube", "alice", code=2)
    memos("audit", "--anchor", "x", code=2)


def test_an_export_is_lines_of_json_for_its_owner_alone(memos: Memos, tmp_path: Path) -> None:
    place = tmp_path / "audit.jsonl"
    assert (
        "wrote 4 entries"
        in memos("audit", "--action", "add", "--action", "update", "--action", "share", "--export", place).out
    )
    rows = [json.loads(line) for line in place.read_text().splitlines()]
    assert [list(row) for row in rows] == [_KEYS] * 4
    assert place.stat().st_mode & 0o777 == 0o600
    memos("audit", "--export", place, code=2)
    assert memos("audit", "--action", "share", "--export", "-").lines[0]["action"] == "share"


def test_the_audit_is_signed_anchored_and_verified(memos: Memos, tmp_path: Path) -> None:
    said = memos("verify", "--audit")
    assert "nothing is wrong" in said.err
    assert "the store has no anchor" in said.out
    assert "is not signed yet" in said.out
    made = memos("audit", "--checkpoint", "--anchor", tmp_path / "anchor.jsonl", "--json").lines
    assert [list(one) for one in made] == [["cube", "number", "hash", "key", "anchor"]] * 2
    assert (tmp_path / "home" / "audit.key").stat().st_mode & 0o777 == 0o600
    assert memos("verify", "--audit", "--json").out == ""
    assert "nothing has been written since" in memos("audit", "--checkpoint").err
    memos("add", "One more.", "--quiet")
    anchored = (tmp_path / "anchor.jsonl").read_text().splitlines()
    assert len(anchored) >= 3, "the anchor is remembered, and what was written is signed at the end"
    assert memos("verify", "--audit", "--json").out == ""

    with sqlite3.connect(memos.store / "memos.db") as side:
        side.execute("UPDATE batches SET actor = 'eve' WHERE cube = 1 AND number = 2")
    found = memos("verify", "--audit", "--json", code=1).lines
    assert {"cube": "alice", "level": "wrong", "what": "audit entry 2: who did it is not who was written"} in found
    assert memos("verify", "--audit", "--cube", "bob", "--json").out == ""


def test_an_older_copy_is_found_out(memos: Memos, tmp_path: Path) -> None:
    memos("backup", tmp_path / "safe", "--quiet")
    memos("audit", "--checkpoint", "--anchor", tmp_path / "anchor.jsonl", "--quiet")
    memos("add", "Later.", "--quiet")
    memos("restore", "--from", tmp_path / "safe", "--store", tmp_path / "again", "--quiet")
    again = memos("verify", "--audit", "--store", tmp_path / "again", "--anchor", tmp_path / "anchor.jsonl", code=1)
    assert "an older copy put back" in again.out
    assert "wrong" in again.err
    assert "older copy put back, cannot be excluded" in memos("verify", "--audit", "--store", tmp_path / "again").out


def test_a_key_of_ones_own_and_mistakes(memos: Memos, tmp_path: Path) -> None:
    key = tmp_path / "keys" / "own"
    memos("audit", "--checkpoint", "--key", key, "--quiet")
    assert "signed with the key" not in memos("verify", "--audit", "--key", f"{key}.pub").out
    assert "cannot be compared: there is no key at" in memos("verify", "--audit").out
    memos("add", "More.", "--quiet")
    memos("audit", "--checkpoint", "--anchor", tmp_path / "anchor.jsonl", "--key", tmp_path / "another", "--quiet")
    assert "is signed with the key" in memos("verify", "--audit", "--key", tmp_path / "another.pub", code=1).out
    both = ("--key", f"{key}.pub", "--key", tmp_path / "another.pub")
    assert "wrong" not in memos("verify", "--audit", *both).out
    memos("verify", "--audit", "--repair", code=2)
    memos("verify", "--anchor", "x", code=2)
    assert memos("verify", "--audit", "--key", tmp_path / "none", "--json", code=2).error["type"] == "InvalidConfig"
    (tmp_path / "file").write_text("")
    nowhere = tmp_path / "file" / "anchor"
    assert memos("audit", "--checkpoint", "--anchor", nowhere, "--json", code=5).error["type"] == "AnchorUnavailable"
