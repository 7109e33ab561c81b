"""If these fail, changing memory from the command line loses what was there, or what somebody else changed meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_running import Memos


@pytest.fixture
def memos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memos:
    """A store with an item "rent" that is addressed as "the/rent", too."""
    monkeypatch.chdir(tmp_path)
    made = Memos(tmp_path)
    made(
        *("add", "Rent is 900.", "--id", "rent", "--key", "the/rent", "--tag", "home", "--tag", "money"),
        *("--metadata", '{"amount": 900, "currency": "EUR"}', "--quiet"),
    )
    return made


def item(memos: Memos) -> dict[str, object]:
    shown: dict[str, object] = memos("show", "rent", "--json").json
    return shown


def test_update_changes_what_is_named_and_keeps_the_rest(memos: Memos) -> None:
    assert memos("update", "rent", "--text", "Rent is 950.").out == "rent\t2\n"
    assert memos("update", "--key", "the/rent", "--confidence", "0.5", "--at", "2024-05-08", "--type", "bill").out
    now = item(memos)
    assert (now["text"], now["version"], now["confidence"], now["type"]) == ("Rent is 950.", 3, 0.5, "bill")
    assert now["tags"] == ["home", "money"]
    assert now["occurred_at"] == "2024-05-08T00:00:00Z"
    assert memos("update", "rent", "--text", "-", "--json", input="Rent is\n1000.\n").json["text"] == "Rent is\n1000."


def test_update_of_tags_and_metadata_one_by_one(memos: Memos) -> None:
    memos("update", "rent", "--add-tag", "flat", "--remove-tag", "money", "--set", "amount=950", "--unset", "currency")
    assert item(memos)["tags"] == ["home", "flat"]
    assert item(memos)["metadata"] == {"amount": 950}
    memos("update", "rent", "--tag", "new", "--metadata", '{"a": 1}', "--set", "b=2")
    assert item(memos)["tags"] == ["new"]
    assert item(memos)["metadata"] == {"a": 1, "b": 2}


def test_update_takes_an_item_out_of_search_and_renames_it(memos: Memos) -> None:
    memos("update", "rent", "--not-indexed", "--new-key", "old rent")
    assert memos("search", "rent", "--json").json["hits"] == []
    memos("update", "--key", "old rent", "--indexed", "--new-key", "")
    assert memos("search", "rent", "--json").json["hits"][0]["item"]["key"] is None


def test_update_refuses_what_has_moved_on(memos: Memos) -> None:
    memos("update", "rent", "--text", "Rent is 950.", "--expect-version", "1")
    error = memos("update", "rent", "--text", "Rent is 970.", "--expect-version", "1", "--json", code=4).error
    assert error["type"] == "VersionConflict"
    memos("update", "rent", "--add-tag", "x", "--expect-version", "1", code=4)
    assert item(memos)["text"] == "Rent is 950."


def test_update_of_nothing_or_of_two_names_is_refused(memos: Memos) -> None:
    memos("update", "rent", code=2)
    memos("update", "rent", "--key", "the/rent", "--text", "x", code=2)
    memos("update", "--text", "x", code=2)
    memos("update", "rent", "--text", " ", code=2)
    memos("update", "rent", "--metadata", "[1]", code=2)
    memos("update", "rent", "--set", "=1", code=2)
    assert item(memos)["version"] == 1


def test_delete_and_restore(memos: Memos) -> None:
    memos("add", "another", "--id", "other", "--quiet")
    assert memos("delete", "rent", "other", "rent", "--json").json == {"deleted": 2, "ids": ["rent", "other"]}
    memos("show", "rent", code=1)
    assert memos("restore", "rent").out == "rent\t3\n"
    assert memos("restore", "rent", "--json", code=4).error["type"] == "Conflict"
    assert memos("delete", "--key", "the/rent").out == "1 item deleted\n"
    memos("delete", code=2)


def test_delete_takes_all_or_none(memos: Memos) -> None:
    memos("delete", "rent", "nowhere", code=1)
    assert item(memos)["version"] == 1


def test_rollback_makes_a_new_version(memos: Memos) -> None:
    memos("update", "rent", "--text", "Rent is 950.")
    assert memos("rollback", "rent", "1").out == "rent\t3\n"
    assert item(memos)["text"] == "Rent is 900."
    assert memos("rollback", "--key", "the/rent", "2", "--json").json["text"] == "Rent is 950."
    assert memos("rollback", "rent", "9", "--json", code=1).error["type"] == "VersionNotFound"
    for wrong in (["rent"], ["rent", "first"], ["rent", "1", "2"], [], ["rent", "1", "--key", "the/rent"]):
        memos("rollback", *wrong, code=2)
