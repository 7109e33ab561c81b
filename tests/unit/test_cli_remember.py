"""If these fail, what people add or ingest from the command line is lost, stored twice, or stops at the first odd file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli_running import Memos

MESSAGES = [
    {"role": "user", "speaker": "Alice", "content": "My dog is called Rex.", "timestamp": "2024-05-08T12:30:00Z"},
    {"role": "assistant", "content": "How old is he?", "timestamp": "2024-05-08T12:31:00Z"},
    {"role": "user", "speaker": "Alice", "content": "He turned three yesterday.", "timestamp": "2024-05-08T12:32:00Z"},
]
JSONL = "".join(json.dumps(message) + "\n" for message in MESSAGES)
COUNTS = ("added", "known", "changed", "removed")


@pytest.fixture
def memos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memos:
    monkeypatch.chdir(tmp_path)
    return Memos(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as people have them: texts among things that are none."""
    root = tmp_path / "notes"
    for name in ("sub/.git", ".hidden", "drafts", "node_modules", "CVS"):
        (root / name).mkdir(parents=True)
    (root / "a.md").write_text("# Lighthouse\n\nThe lighthouse is red.\n")
    (root / "sub" / "b.html").write_text("<h1>Harbour</h1><p>The harbour is deep.</p>")
    (root / "drafts" / "d.txt").write_text("A draft about tides.")
    (root / "latin.txt").write_bytes(b"The caf\xe9 by the pier.")
    (root / "talk.jsonl").write_text(JSONL)
    (root / "empty.txt").write_text("")
    (root / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    (root / "package.json").write_text('{"name": "pkg"}')
    for name in ("sub/.git/config", ".hidden/h.txt", ".dot.txt", "node_modules/n.js", "CVS/Entries"):
        (root / name).write_text("never to be read")
    (root / "gone.txt").symlink_to(root / "nowhere")
    return root


def counts(ran_json: dict[str, object]) -> tuple[object, ...]:
    return tuple(ran_json[name] for name in COUNTS)


def texts(memos: Memos) -> list[str]:
    return [item["text"] for item in memos("list", "--all", "--oldest-first", "--json").lines]


# -- add ----------------------------------------------------------------------------------------------------------------


def test_add_prints_the_id_alone_in_a_pipe_and_makes_the_store(memos: Memos) -> None:
    ran = memos("add", "I moved to Lisbon in May.")
    assert len(ran.out.split()) == 1
    assert "made a new store" in ran.err
    assert "words alone" in ran.err
    assert memos("show", ran.out.strip(), "--text").out == "I moved to Lisbon in May.\n"
    assert "made" not in memos("add", "And to Porto in June.").err


def test_add_keeps_everything_that_was_said_about_it(memos: Memos) -> None:
    memos(
        *("add", "Rent is 900", "--type", "bill", "--id", "rent-1", "--key", "rent", "--tag", "home", "--tag", "money"),
        *("--meta", "amount=900", "--meta", "who=me", "--metadata", '{"deep": {"er": [1]}}', "--at", "2024-05-08"),
        *("--confidence", "0.5", "--conversation", "flat", "--not-indexed"),
    )
    item = memos("show", "--key", "rent", "--json").json
    assert item["id"] == "rent-1"
    assert item["type"] == "bill"
    assert item["tags"] == ["home", "money"]
    assert item["metadata"] == {"amount": 900, "who": "me", "deep": {"er": [1]}}
    assert item["occurred_at"] == "2024-05-08T00:00:00Z"
    assert item["confidence"] == 0.5
    assert item["conversation"] == "flat"
    assert item["indexed"] is False
    assert memos("search", "rent", "--json").json["hits"] == []


def test_add_takes_messages_and_several_texts(memos: Memos) -> None:
    ran = memos(
        "add", "one thing", "another thing", "--speaker", "Bob", "--role", "user", "--conversation", "t", "--json"
    )
    assert list(ran.json) == ["ids", "added", "known", "changed", "removed", "seqs"]
    assert ran.json["ids"] == ran.json["added"]
    assert ran.json["seqs"] == {"alice": 2}
    first = memos("show", ran.json["ids"][0], "--json").json
    assert (first["type"], first["speaker"], first["provenance"]["source"]["role"]) == ("message", "Bob", "user")


def test_add_reads_standard_input_exactly(memos: Memos) -> None:
    text = "Grüße\taus Köln —\n\n  zwei Zeilen, 中文, \u202everkehrt"
    id = memos("add", "-", input=text + "\n").out.strip()
    assert memos("show", id, "--text").out == text + "\n"


def test_nothing_to_add_makes_no_store(memos: Memos) -> None:
    assert memos("add", "  ", "--json", code=2).error["type"] == "InvalidText"
    assert memos("add", "-", input="", code=2).out == ""
    assert memos("add", "-", input=b"\x00\x01", code=1).out == ""
    assert not memos.store.exists()


def test_quiet_says_nothing(memos: Memos) -> None:
    ran = memos("add", "hush", "--quiet")
    assert (ran.out, ran.err) == ("", "")


def test_a_new_store_remembers_its_embedder(memos: Memos) -> None:
    memos("add", "a red lighthouse", "--embedder", "hashing")
    assert memos("stats", "--json").json["store"]["embedder"].startswith("hashing")
    memos("add", "a green lighthouse")
    assert memos("stats", "--json").json["cubes"][0]["vectors"] == 2


# -- ingest ---------------------------------------------------------------------------------------------------------------


def test_a_folder_comes_in_whole_and_what_is_no_text_is_named(memos: Memos, folder: Path) -> None:
    ran = memos("ingest", folder, "--json")
    assert list(ran.json) == ["files", *COUNTS, "failed"]
    assert counts(ran.json) == (7, 0, 0, 0)
    assert ran.json["files"] == 6  # the empty one was read, too
    failed = {os.path.basename(each["path"]): each for each in ran.json["failed"]}
    assert set(failed) == {"picture.png", "package.json", "gone.txt"}
    assert failed["picture.png"]["reason"].startswith("looks like a PNG image")
    assert not any(each["named"] for each in failed.values())
    assert not any("never" in text for text in texts(memos))
    assert any("café" in text for text in texts(memos))


def test_ingesting_again_stores_nothing_twice_from_wherever(
    memos: Memos, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memos("ingest", folder)
    assert counts(memos("ingest", folder, "--json").json) == (0, 7, 0, 0)
    monkeypatch.chdir(folder)
    assert counts(memos("ingest", "a.md", "../notes/a.md", "talk.jsonl", "--json").json) == (0, 4, 0, 0)


def test_what_changed_in_a_document_is_changed_here(memos: Memos, folder: Path) -> None:
    memos("ingest", folder)
    (folder / "a.md").write_text("# Lighthouse\n\nThe lighthouse is green.\n")
    said = memos("ingest", folder).out
    assert said == "1 added · 6 known · 0 changed · 1 removed · 6 files read · 3 not read\n"
    assert any("green" in text for text in texts(memos))
    assert not any("red" in text for text in texts(memos))


def test_globs_exclusions_and_hidden_files(memos: Memos, folder: Path) -> None:
    ran = memos("ingest", folder, "--exclude", "drafts", "--exclude", "*.jsonl", "--exclude", "sub/*.html", "--json")
    assert ran.json["added"] == 2
    assert memos("ingest", f"{folder}/**/*.html", "--json").json["added"] == 1
    assert (
        memos("ingest", folder, "--hidden", "--exclude", "*.jsonl", "--json").json["added"] == 3
    )  # .dot, .hidden/h, drafts
    assert not any("Entries" in item["conversation"] for item in memos("list", "--all", "--json").lines)


def test_the_store_itself_is_not_ingested(memos: Memos, folder: Path) -> None:
    memos("add", "here first", "--store", folder / "memory")
    ran = memos("ingest", ".", "--store", folder / "memory", "--json")
    assert not any("memos.db" in each["path"] for each in ran.json["failed"])


def test_a_file_that_was_named_must_be_readable(memos: Memos, folder: Path) -> None:
    ran = memos("ingest", folder / "a.md", folder / "picture.png", "nowhere.md", "no*thing", code=1)
    assert ran.out.startswith("1 added")
    assert "picture.png: looks like a PNG image" in ran.err
    assert "nowhere.md: there is no such file or folder" in ran.err
    assert "no*thing: nothing matches" in ran.err


def test_nothing_that_can_be_read_is_not_found(memos: Memos, folder: Path) -> None:
    assert memos("ingest", "nowhere", "--json", code=1).json["files"] == 0
    assert not memos.store.exists()
    memos("ingest", f"{folder}/*.png", code=1)


def test_what_kind_a_file_is_can_be_forced(memos: Memos, folder: Path) -> None:
    assert memos("ingest", folder / "package.json", "--document", "--json").json["added"] == 1
    (folder / "chat.txt").write_text(JSONL)
    assert memos("ingest", folder / "chat.txt", "--chat", "--json").json["added"] == 3
    assert (
        memos("ingest", folder / "a.md", "--chat", "--json", code=1)
        .json["failed"][0]["reason"]
        .startswith("is not JSON")
    )


def test_one_conversation_has_one_name(memos: Memos, folder: Path) -> None:
    ran = memos("ingest", folder / "talk.jsonl", "--conversation", "thread-42", "--tag", "work", "--meta", "from=phone")
    assert ran.out.startswith("3 added")
    items = memos("list", "--where", "conversation = thread-42", "--json").lines
    assert len(items) == 3
    assert {tuple(item["tags"]) for item in items} == {("work",)}
    assert {item["metadata"]["from"] for item in items} == {"phone"}
    (folder / "two.json").write_text(json.dumps([{"id": "x", "messages": MESSAGES}, {"id": "y", "messages": MESSAGES}]))
    failed = memos("ingest", folder / "two.json", "--conversation", "k", "--json", code=1).json["failed"]
    assert "2 conversations" in failed[0]["reason"]
    (folder / "copy.jsonl").write_text(JSONL)
    both = memos("ingest", folder / "talk.jsonl", folder / "copy.jsonl", "--conversation", "k", "--json", code=1).json
    assert both["added"] == 3
    assert "talk.jsonl" in both["failed"][0]["reason"]
    assert memos("ingest", folder / "a.md", "--document", "--conversation", "k", code=2).out == ""


def test_messages_come_in_through_a_pipe(memos: Memos) -> None:
    assert memos("ingest", "-", "--conversation", "t", "--json", input=JSONL).json["added"] == 3
    assert memos("ingest", "-", "--conversation", "t", "--json", input=JSONL).json["known"] == 3
    named = "".join(json.dumps({**message, "conversation_id": "own"}) + "\n" for message in MESSAGES)
    assert memos("ingest", "-", "--json", input=named).json["added"] == 3
    assert len(memos("list", "--where", "conversation = own", "--json").lines) == 3
    failed = memos("ingest", "-", "--json", input="{broken", code=1).json["failed"]
    assert failed[0]["path"] == "standard input"
    assert "line 1" in failed[0]["reason"]
    memos("ingest", "-", "--document", input="x", code=2)


def test_documents_can_be_known_by_a_shorter_path(memos: Memos, folder: Path) -> None:
    memos("ingest", folder / "a.md", "--relative-to", folder.parent)
    assert memos("list", "--json").lines[0]["conversation"] == "notes/a.md"
    assert counts(memos("ingest", folder / "a.md", "--relative-to", folder.parent, "--json").json) == (0, 1, 0, 0)


def test_names_of_files_that_are_no_text(memos: Memos, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/odd-\xff.md"
    try:
        Path(os.fsdecode(odd)).write_text("The odd one.")
    except OSError:
        pytest.skip("this file system takes only names that are text")
    assert memos("ingest", os.fsdecode(odd), "--json").json["added"] == 1
    assert memos("list", "--json").lines[0]["conversation"].endswith("odd-\\xff.md")
    Path(os.fsdecode(odd)).write_bytes(b"\x89PNG\r\n")
    assert memos("ingest", tmp_path, "--json", code=1).json["failed"][0]["path"].endswith("odd-\\xff.md")


def test_more_files_than_one_transaction_takes(memos: Memos, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for number in range(150):
        (tmp_path / "many" / f"{number:03}.md").write_text(f"# Note {number}\n\nAbout the number {number}.")
    long = "".join(json.dumps({"role": "user", "content": f"message {n}"}) + "\n" for n in range(2500))
    (tmp_path / "many" / "long.jsonl").write_text(long)
    assert counts(memos("ingest", tmp_path / "many", "--json").json) == (2650, 0, 0, 0)
    assert counts(memos("ingest", tmp_path / "many", "--json").json) == (0, 2650, 0, 0)
    positions = [
        item["provenance"]["source"]["position"]
        for item in memos("list", "--where", "conversation = long", "--all", "--oldest-first", "--json").lines
    ]
    assert positions == list(range(2500))
