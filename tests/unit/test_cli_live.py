"""If these fail, the life of items cannot be looked after on the command line, or something else happens than was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli_running import Memos


@pytest.fixture
def memos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memos:
    monkeypatch.chdir(tmp_path)
    made = Memos(tmp_path)
    made("add", "The lamp is red.", "--id", "red", "--key", "lamp", "--quiet")
    made("add", "There is a red lamp.", "--id", "there", "--quiet")
    return made


def found(memos: Memos, *args: str) -> set[str]:
    return {hit["id"] for hit in memos("search", "red lamp", "--json", *args).json["hits"]}


def test_items_move_from_state_to_state(memos: Memos) -> None:
    assert "1 item archived" in memos("archive", "red", "--reason", "sold").out
    assert found(memos) == {"there"}
    assert found(memos, "--include", "archived") == {"red", "there"}
    assert "red" in memos("list", "--include", "archived,merged").out
    memos("activate", "--key", "lamp")
    assert found(memos) == {"red", "there"}
    memos("freeze", "red")
    refused = memos("update", "red", "--text", "x", code=4)
    assert "is frozen" in refused.err
    memos("unfreeze", "red")
    merged = memos("merge", "red", "there", "--text", "One red lamp.", "--reason", "the same").out.strip()
    assert found(memos) == {merged}
    (item,) = memos("activate", "there", "--json").json["items"]
    assert (item["state"], item["version"]) == ("activated", 3)


def test_a_move_that_is_not_allowed_says_which_are(memos: Memos) -> None:
    memos("archive", "red")
    assert (
        "is archived and cannot become frozen; from there it may become: activated, merged"
        in memos("freeze", "red", code=4).err
    )
    assert "name items" in memos("freeze", code=2).err


def test_items_end_are_private_or_wait(memos: Memos) -> None:
    memos("add", "red lamp voucher", "--id", "gone", "--expires", "2020-01-01", "--quiet")
    memos("add", "red lamp secret", "--id", "mine", "--private", "--quiet")
    memos("add", "red lamp perhaps", "--id", "perhaps", "--generated", "--quiet")
    assert found(memos) == {"red", "there", "mine"}
    memos("cubes", "share", "alice", "--with", "bob", "--until", "2099-01-01")
    assert "2099-01-01" in memos("cubes", "grants", "alice").out
    assert found(memos, "--as", "bob", "--cube", "alice") == {"red", "there"}
    memos("update", "mine", "--shared")
    memos("update", "gone", "--expires", "")
    memos("activate", "perhaps")
    assert found(memos, "--as", "bob", "--cube", "alice") == {"red", "there", "mine", "gone", "perhaps"}


def test_policies_are_set_bit_by_bit_and_kept(memos: Memos) -> None:
    memos("policy", "alice", "--max-items", "1", "--redact", "email, card", "--reason", "law")
    memos("policy", "alice", "--when-over", "delete")
    said = memos("policy", "alice", "--json").json
    assert (said["max_items"], said["redact"], said["when_over"]) == (1, ["email", "card"], "delete")
    memos("add", "mail otto@example.org", "--id", "mail", "--quiet")
    assert "[email]" in memos("show", "mail").out
    assert "max items\t1" in memos("policy", "alice").out
    preview = memos("retain", "alice", "--preview", "--json").json
    assert preview == {"preview": True, "cubes": {"alice": {"max_items": ["red", "there"]}}}
    assert memos("retain").out == "alice\tmax_items\t2\n"
    assert found(memos) == set()
    memos("policy", "alice", "--max-items", "0", "--redact", "")
    said = memos("policy", "alice", "--json").json
    assert (said["max_items"], said["redact"]) == (None, [])
    assert "no such" in (err := memos("policy", "alice", "--redact", "mail", code=2).err) or "mail" in err
    memos("cubes", "share", "alice", "--with", "bob")
    memos("policy", "alice", "--max-items", "3", "--as", "bob", code=3)


def test_explain_and_lineage_tell_and_draw(memos: Memos) -> None:
    merged = memos("merge", "red", "there", "--text", "One red lamp.", "--reason", "the same").out.strip()
    said = memos("explain", "red").out
    assert "merged into another by 'alice'" in said
    assert "the same" in said
    assert memos("explain", "--key", "lamp", "--json").json["item"]["id"] == "red"
    assert memos("lineage", merged).out.splitlines()[-1].startswith(merged)
    assert memos("lineage", merged, "--as-mermaid").out.startswith("flowchart TD")
    assert memos("lineage", merged, "--as-graphviz").out.startswith("digraph")
    assert {edge["relation"] for edge in memos("lineage", "red", "--json").json["edges"]} == {"merged_into"}
    memos("lineage", "nobody", code=1)
    memos("lineage", "red", "--as-mermaid", "--as-graphviz", code=2)
