"""If this fails, somebody who comes with Chroma collections loses documents, metadata, ids or vectors on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromadb
import pytest
from chromadb.config import Settings as ChromaSettings
from click.testing import CliRunner, Result

from memos_core import MOS, F
from memos_core.cli import main
from memos_core.models.hashing import HashingEmbedder

pytestmark = pytest.mark.usefixtures("embedded")
COUNT = 450  # more than two pages


def fill(client: Any, name: str = "notes", count: int = COUNT, start: int = 0) -> Any:
    made = client.get_or_create_collection(name, embedding_function=None)
    ids = [f"note-{n}" for n in range(start, start + count)]
    texts = [f"note {n}: the kettle of room {n % 9}" for n in range(start, start + count)]
    made.add(
        ids=ids,
        documents=texts,
        metadatas=[{"room": n % 9, "floor": "top"} for n in range(start, start + count)],
        embeddings=HashingEmbedder(32).embed(texts),
    )
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "theirs"
    client = chromadb.PersistentClient(str(place), settings=ChromaSettings(anonymized_telemetry=False))
    fill(client)
    odd = client.create_collection("odd-things", embedding_function=None)
    odd.add(ids=["no words", "ok", "bad*id"], embeddings=[[1.0, 2.0]] * 3, documents=["", "fine", "a wild id"])
    client.close()
    return place


def run(tmp_path: Path, *args: object, code: int = 0) -> Result:
    env = {"MEMOS_STORE": str(tmp_path / "memory"), "MEMOS_ACTOR": "alice"}
    result = CliRunner().invoke(main, ["import", "chroma", *map(str, args)], env=env)
    assert result.exit_code == code, result.output
    return result


def lines(result: Result) -> dict[str, dict[str, Any]]:
    told = [json.loads(line) for line in result.stdout.splitlines()]
    return {each["collection"]: each for each in told}


def test_documents_metadata_and_ids_come_over_once(tmp_path: Path, folder: Path) -> None:
    told = lines(run(tmp_path, folder, "--embedder", "hashing:32", "--json"))
    assert told["notes"] | {"refused": []} == {
        "collection": "notes",
        "added": COUNT,
        "known": 0,
        "changed": 0,
        "without_text": 0,
        "refused": [],
    }
    assert (told["odd-things"]["added"], told["odd-things"]["without_text"]) == (2, 1)
    with MOS.open(tmp_path / "memory") as mos:
        session = mos.session("alice")
        item = session.get("note-7")
        assert (item.text, item.metadata) == ("note 7: the kettle of room 7", {"room": 7, "floor": "top"})
        assert session.search("kettle of room 7", where=F.room == 7, top_k=1)[0].item.metadata["room"] == 7
        wild = next(each for each in session.list(limit=1000) if each.text == "a wild id")
        assert wild.provenance.source is not None
        assert wild.provenance.source.message_id == "bad*id"
    again = lines(run(tmp_path, folder, "--json"))
    assert (again["notes"]["added"], again["notes"]["known"]) == (0, COUNT)
    assert (again["odd-things"]["added"], again["odd-things"]["known"]) == (0, 2)


def test_it_goes_on_where_it_was_and_follows_edits(tmp_path: Path, folder: Path) -> None:
    run(tmp_path, folder, "--collection", "notes", "--embedder", "hashing:32")
    client = chromadb.PersistentClient(str(folder), settings=ChromaSettings(anonymized_telemetry=False))
    made = fill(client, count=10, start=COUNT)
    made.update(ids=["note-3"], documents=["note 3: edited"], embeddings=HashingEmbedder(32).embed(["note 3: edited"]))
    client.close()
    told = lines(run(tmp_path, folder, "--collection", "notes", "--json"))["notes"]
    assert (told["added"], told["known"], told["changed"]) == (10, COUNT - 1, 1)
    with MOS.open(tmp_path / "memory") as mos:
        assert mos.session("alice").get("note-3").text == "note 3: edited"
        assert len(mos.session("alice").history("note-3")) == 2


def test_vectors_come_over_where_they_are_the_store_s(tmp_path: Path, folder: Path) -> None:
    run(tmp_path, folder, "--collection", "notes", "--embedded-by", "hashing:32")
    with MOS.open(tmp_path / "memory") as mos:
        query = HashingEmbedder(32).embed_query("note 7: the kettle of room 7")
        (item, score), *_ = mos.cube("alice").nearest(query, 1)
        assert (item.id, round(score, 5)) == ("note-7", 1.0)
        assert mos.verify() == []
    wrong = run(tmp_path, folder, "--embedded-by", "hashing:64", code=6)
    assert "hashing" in wrong.stderr
    other = {"MEMOS_STORE": str(tmp_path / "other"), "MEMOS_ACTOR": "alice"}
    words = ["import", "chroma", str(folder), "--collection", "notes", "--embedded-by", "given:3"]
    result = CliRunner().invoke(main, words, env=other)
    assert result.exit_code == 2
    assert "32" in result.stderr
    assert "3" in result.stderr


def test_from_a_server_and_what_is_not_there_is_said(tmp_path: Path, chroma: str, folder: Path) -> None:
    url = chroma.removeprefix("chroma:")
    client = chromadb.HttpClient(
        host="127.0.0.1", port=int(url.rpartition(":")[2]), settings=ChromaSettings(anonymized_telemetry=False)
    )
    fill(client, f"from-server-{os.getpid()}", 20)
    told = lines(run(tmp_path, url, "--collection", f"from-server-{os.getpid()}", "--json"))
    assert [each["added"] for each in told.values()] == [20]
    assert "there are:" in run(tmp_path, url, "--collection", "nothing", code=1).stderr
    assert "holds no Chroma" in run(tmp_path, tmp_path, code=5).stderr
    assert "failed" in run(tmp_path, "http://127.0.0.1:9", code=5).stderr
    client.delete_collection(f"from-server-{os.getpid()}")


def test_copies_that_memos_makes_are_not_taken_over(tmp_path: Path) -> None:
    with MOS.open(tmp_path / "memory", embedder="hashing:32", vectors="chroma", vectors_from=0) as mos:
        mos.session("alice").add("one thing")
        mos.cube("alice").catch_up()
    assert "nothing to take over" in run(tmp_path, tmp_path / "memory" / "chroma", code=5).stderr


def test_nothing_of_chroma_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    script = (
        "import sys; from memos_core import MOS\n"
        "with MOS.open(sys.argv[1], embedder='hashing:32') as mos:\n"
        "    mos.session('a').add('x'); mos.session('a').search('x')\n"
        "sys.exit('chromadb' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=env, check=False).returncode == 0
