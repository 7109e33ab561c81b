"""If these fail, preferences cannot be looked at on the command line, or no worker finds them in what is added there."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_running import Memos

from memos_core import MOS, Draft

MODELS = """
import json

class Model:
    identity = "file-1"

    def complete(self, prompt):
        shown = json.loads(prompt.rpartition(chr(10))[2])
        found = [
            {"topic": "tea", "statement": "Loves tea.", "polarity": "likes", "explicit": True, "messages": [each["n"]],
             "quote": "I love tea"}
            for each in shown["messages"] if each["new"]
        ]
        return json.dumps({"preferences": found})
"""


@pytest.fixture
def memos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memos:
    monkeypatch.chdir(tmp_path)
    return Memos(tmp_path)


def test_they_are_listed(memos: Memos) -> None:
    with MOS.open(memos.store) as mos:
        mos.session("alice").add(
            [
                Draft(
                    text="Loves tea.",
                    type="preference",
                    metadata={"topic": "tea", "polarity": "likes", "person": "alice"},
                ),
                Draft(text="Hates rain.", type="preference", metadata={"topic": "rain", "person": "bob"}, id="rain"),
                Draft(text="No preference."),
            ]
        )
        mos.session("alice").archive("rain")
    (line,) = memos("preferences").out.splitlines()
    assert line.split("\t")[3:] == ["activated", "alice", "likes", "tea", "Loves tea."]
    assert len(memos("preferences", "--include", "archived", "--json").lines) == 2
    assert memos("preferences", "--include", "archived", "--person", "bob", "--json").json["id"] == "rain"
    assert memos("preferences", "--topic", "rain").out == ""
    assert "nothing found" in memos("preferences", "--topic", "rain").err


def test_a_worker_with_a_model_finds_them_and_one_without_leaves_them(
    memos: Memos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models_of_mine.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = f'location = "{memos.store}"\nmodel = "models_of_mine:Model"\npreferences = true\n'
    (tmp_path / "memos.toml").write_text(settings)
    (tmp_path / "chat.json").write_text('[{"role": "user", "content": "I love tea.", "id": "1"}]')
    memos("ingest", "chat.json", "--config", "memos.toml")
    memos("worker", "--once")
    assert memos("preferences", "--json").lines == []
    memos("worker", "--once", "--config", "memos.toml")
    (item,) = memos("preferences", "--json").lines
    assert (item["text"], item["provenance"]["model"]) == ("Loves tea.", "file-1")
