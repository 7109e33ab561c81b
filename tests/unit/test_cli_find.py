"""If these fail, people search from the command line and miss what is there, or cannot use what they are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_running import Memos

ITEM_KEYS = {
    *("cube_id", "id", "text", "kind", "type", "payload", "key", "indexed", "occurred_at", "created_at", "updated_at"),
    *("state", "version", "seq", "confidence", "tags", "metadata", "mentions", "provenance", "links", "speaker"),
    *("conversation", "expires_at", "private_to", "redacted"),
}
PROVENANCE_KEYS = {
    *("actor", "operation", "conversation", "source", "derived_from", "reason", "model", "prompt_hash"),
}
EVIL = "ring \x07 \x1b[31mred\x1b[0m \u202eturned\tand\nbroken"


@pytest.fixture
def memos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memos:
    monkeypatch.chdir(tmp_path)
    return Memos(tmp_path)


@pytest.fixture
def filled(memos: Memos) -> Memos:
    """A store with some bills, one of them pinned."""
    for year in range(2018, 2024):
        memos(
            *("add", f"The water bill of {year} was paid.", "--id", f"bill-{year}", "--meta", f"year={year}"),
            *("--tag", "water", "--at", f"{year}-06-01", "--quiet"),
        )
    memos("add", "The landlord is called Otto.", "--id", "otto", "--key", "landlord", "--tag", "pinned", "--quiet")
    return memos


def ids(memos: Memos, *args: object) -> list[str]:
    return [hit["id"] for hit in memos("search", "water bill", "--json", *args).json["hits"]]


# -- search -----------------------------------------------------------------------------------------------------------


def test_search_in_json_is_one_document_with_stable_keys(filled: Memos) -> None:
    found = filled("search", "who is the landlord?", "--json", "-k", "1").json
    assert list(found) == ["hits", "cursor", "degraded"]
    (hit,) = found["hits"]
    assert list(hit) == ["score", "cube", "id", "text", "parts", "origins", "item"]
    assert (hit["id"], hit["cube"]) == ("otto", "alice")
    assert hit["origins"] == [{"cube": "alice", "id": "otto"}]
    assert 0 <= hit["score"] <= 1
    assert set(hit["item"]) == ITEM_KEYS
    assert set(hit["item"]["mentions"]) == {"dates", "entities", "says_time", "language"}
    assert set(hit["item"]["provenance"]) == PROVENANCE_KEYS
    assert found["degraded"] == "no embedder: lexical search only"


def test_search_in_a_pipe_is_a_line_of_fields_a_hit(filled: Memos) -> None:
    ran = filled("search", "landlord", "--parts")
    score, id, cube, when, who, where, text, parts = ran.out.splitlines()[0].split("\t")
    assert (id, cube, who, where, text) == ("otto", "alice", "", "", "The landlord is called Otto.")
    assert 0 <= float(score) <= 1
    assert len(when) == len("2024-05-08 12:30")
    assert dict(part.split("=") for part in parts.split())["lexical"] > "0"
    assert ran.err == ""  # that there is no embedder was said when the store was made


@pytest.mark.parametrize(
    ("where", "years"),
    [
        (["year >= 2022"], {2022, 2023}),
        (["year>=2020", "year<2022"], {2020, 2021}),
        (["year = 2019"], {2019}),
        (["metadata.year == 2019"], {2019}),
        (["year in 2018,2023"], {2018, 2023}),
        (["year nin [2018, 2019, 2020]"], {2021, 2022, 2023}),
        (["year != 2018", "year != 2019", "tags contains water", "year <= 2021"], {2020, 2021}),
        (["occurred_at >= 2022-01-01"], {2022, 2023}),
        (["text text_match 2021"], {2021}),
        (["text text_match_insensitive WATER", "year > 2022"], {2023}),
        (["tags any water,fire", "year = 2018"], {2018}),
        (["key is_empty", "year = 2020"], {2020}),
        (['{"or": [{"year": 2018}, {"year": {">": 2022}}]}'], {2018, 2023}),
        (['year = "2019"'], set()),
    ],
)
def test_conditions_narrow_the_search(filled: Memos, where: list[str], years: set[int]) -> None:
    options = [part for each in where for part in ("--where", each)]
    assert set(ids(filled, *options)) == {f"bill-{year}" for year in years}


def test_pages_go_on_where_the_last_one_ended(filled: Memos) -> None:
    first = filled("search", "water bill", "--json", "-k", "4").json
    second = filled("search", "water bill", "--json", "-k", "4", "--cursor", first["cursor"]).json
    shown = [hit["id"] for hit in first["hits"] + second["hits"]]
    assert shown == ids(filled)[: len(shown)]
    assert len(set(shown)) == len(shown) > 4


def test_search_as_it_was(filled: Memos) -> None:
    filled("update", "otto", "--text", "The landlord is called Emil.")
    filled("delete", "bill-2023")
    now = filled("search", "landlord Otto Emil", "--json").json["hits"][0]
    assert "Emil" in now["text"]
    for moment in ("7", now["item"]["created_at"]):
        then = filled("search", "landlord Otto Emil", "--json", "--as-of", moment).json["hits"][0]
        assert "Otto" in then["text"]
    assert "bill-2023" in ids(filled, "--as-of", "7")
    assert ids(filled, "--as-of", "2001-01-01") == []


def test_least_scores_and_signals_turned_off(filled: Memos) -> None:
    everything = filled("search", "landlord", "--json").json["hits"]
    likely = filled("search", "landlord", "--json", "--min-score", everything[0]["score"]).json["hits"]
    assert [hit["id"] for hit in likely] == [everything[0]["id"]]
    fewer = filled("search", "landlord", "--json", "--without", "salience,date", "--without", "when").json["hits"][0]
    assert set(everything[0]["parts"]) - set(fewer["parts"]) == {"salience", "date", "when"}


def test_finding_nothing_is_no_error_and_says_why(filled: Memos) -> None:
    assert "nothing found" in filled("search", "").err
    ran = filled("search", "water", "--as", "bob")
    assert ran.out == ""
    assert "'bob' has no memory in this store yet" in ran.err


def test_questions_come_from_standard_input(filled: Memos) -> None:
    assert "Otto" in filled("search", "-", "-k", "1", input="who is the landlord?\n").out
    assert "Otto" in filled("context", "-", input="who is the landlord?\n").out


def test_several_cubes_are_searched_together(filled: Memos) -> None:
    filled("add", "The landlord is called Otto.", "--cube", "alice/copy", "--quiet")
    hits = filled("search", "landlord", "--cube", "alice", "--cube", "alice/copy", "--json").json["hits"]
    assert [origin["cube"] for origin in hits[0]["origins"]] == ["alice", "alice/copy"]


def test_what_is_stored_cannot_command_the_terminal(memos: Memos) -> None:
    memos("add", EVIL, "--id", "evil", "--quiet")
    for command in (["search", "ring"], ["list"], ["show", "evil"], ["history", "evil"], ["context", "ring"]):
        out = memos(*command).out
        assert "ring" in out
        assert not {"\x1b", "\x07", "\u202e"} & set(out)
    assert memos("search", "ring").out.count("\n") == 1
    assert memos("show", "evil", "--json").json["text"] == EVIL


# -- context ----------------------------------------------------------------------------------------------------------


def test_context_puts_what_is_pinned_first_and_keeps_within_its_tokens(filled: Memos) -> None:
    text = filled("context", "water bill of 2020").out
    assert text.startswith("- The landlord is called Otto.\n")
    assert "- [2020-06-01] The water bill of 2020 was paid.\n" in text
    found = filled("context", "water bill of 2020", "--json", "--max-tokens", "60").json
    assert list(found) == ["stable", "volatile", "text", "tokens", "items"]
    assert found["tokens"] <= 60
    assert [item["id"] for item in found["items"]][:1] == ["otto"]
    narrowed = filled("context", "water bill", "--json", "--where", "year = 2020").json
    assert [item["id"] for item in narrowed["items"]] == ["bill-2020"]


# -- list, show -------------------------------------------------------------------------------------------------------


def test_list_goes_by_time_and_in_pages(filled: Memos) -> None:
    every = [item["id"] for item in filled("list", "--json").lines]
    assert every == ["otto", *(f"bill-{year}" for year in range(2023, 2017, -1))]
    oldest = filled("list", "--order", "occurred", "--oldest-first", "--where", "year > 0", "--limit", "2", "--json")
    assert [item["id"] for item in oldest.lines] == ["bill-2018", "bill-2019"]
    first = filled("list", "--limit", "3", "--json")
    cursor = json.loads(first.err)["cursor"]
    rest = filled("list", "--limit", "3", "--cursor", cursor, "--json")
    assert [item["id"] for item in first.lines + rest.lines] == every[:6]
    assert [item["id"] for item in filled("list", "--all", "--json").lines] == every
    assert set(rest.lines[0]) == ITEM_KEYS


def test_list_in_a_pipe_has_whole_ids(filled: Memos) -> None:
    ran = filled("list", "--limit", "1")
    assert ran.out.split("\t")[0] == "otto"
    assert "--cursor" in ran.err
    assert filled("list", "--where", "year = 1900").err.endswith("nothing found\n")


def test_show_has_everything_about_an_item(filled: Memos) -> None:
    ran = filled("show", "--key", "landlord")
    facts = dict(line.split("\t") for line in ran.out.split("\n\n")[0].splitlines())
    assert facts["id"] == "otto"
    assert facts["tags"] == "pinned"
    assert facts["names"] == "Otto"
    assert ran.out.endswith("\n\nThe landlord is called Otto.\n")
    assert set(filled("show", "otto", "--json").json) == ITEM_KEYS
    filled("update", "otto", "--text", "The landlord is called Emil.")
    assert filled("show", "otto", "--as-of", "7", "--text").out == "The landlord is called Otto.\n"


# -- history ----------------------------------------------------------------------------------------------------------


def test_history_tells_who_changed_what(filled: Memos) -> None:
    filled("update", "otto", "--text", "The landlord is called Emil.", "--set", "phone=123", "--add-tag", "people")
    filled("delete", "otto")
    filled("restore", "otto")
    filled("rollback", "otto", "1")
    lines = [line.strip() for line in filled("history", "otto").out.splitlines()]
    assert lines[0].startswith("v1  add by alice, ")
    assert "The landlord is called [-Otto-]{+Emil+}." in lines
    assert "tags: pinned → pinned, people" in lines
    assert 'metadata: (none) → {"phone": 123}' in lines
    assert "deleted" in lines
    assert "as before" in lines
    assert "The landlord is called [-Emil-]{+Otto+}." in lines
    versions = filled("history", "--key", "landlord", "--json").lines
    assert [version["op"] for version in versions] == ["add", "update", "delete", "restore", "restore"]
    assert {tuple(version) for version in versions} == {("version", "op", "actor", "at", "seq", "item")}
    assert versions[2]["item"] is None
    assert set(versions[1]["item"]) == ITEM_KEYS


def test_history_of_a_long_text_shows_what_stands_around_a_change(memos: Memos) -> None:
    words = [f"word{number}" for number in range(400)]
    memos("add", " ".join(words), "--id", "long", "--quiet")
    words[200] = "CHANGED"
    memos("update", "long", "--text", " ".join(words))
    change = memos("history", "long").out.splitlines()[-1]
    assert "[-word200-]{+CHANGED+}" in change
    assert len(change) < 200
    assert len(memos("history", "long", "--full").out.splitlines()[-1]) > 2000
