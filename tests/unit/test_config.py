"""If these fail, a memos.toml opens another store than it says, or a mistake in it goes unnoticed."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from memos_core import MOS
from memos_core.config import Config, read_config
from memos_core.errors import InvalidConfig, UnsupportedStore


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "memos.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_setting_is_an_argument_of_open(tmp_path: Path) -> None:
    arguments = read_config(write(tmp_path, "")).arguments()
    assert set(arguments) < set(inspect.signature(MOS.open).parameters)
    assert len(arguments) == len(Config.__struct_fields__)


def test_what_is_said_is_taken_and_the_rest_is_as_open_has_it(tmp_path: Path) -> None:
    said = 'location = "here"\nembedder = "hashing:64"\ndeadline = 2.5\nindex_budget_mb = 7\n'
    assert read_config(write(tmp_path, said)).arguments() == {
        "location": str(tmp_path / "here"),
        "embedder": "hashing:64",
        "deadline": 2.5,
        "index_budget": 7 << 20,
        **dict.fromkeys(
            ("cache", "vectors", "vectors_from", "vectors_deadline", "anchor", "audit_key", "checkpoint_every")
        ),
        "scheduler": False,
        "max_pending": None,
        "rank_by_use": False,
        "model": None,
        "preferences": False,
        "preferences_after": 0.0,
    }
    defaults = {name: each.default for name, each in inspect.signature(MOS.open).parameters.items()}
    nothing = read_config(write(tmp_path, "# nothing\n")).arguments()
    assert nothing.pop("location") == str(tmp_path / "memory")
    assert nothing == {name: defaults[name] for name in nothing}


def test_folders_behind_a_name_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    said = 'embedder = "minilm:./weights"\nvectors = "chroma:../kept"\n'
    config = read_config(write(tmp_path, said))
    assert (config.embedder, config.vectors) == (f"minilm:{tmp_path}/weights", f"chroma:{tmp_path}/../kept")
    said = 'embedder = "minilm:me/model"\nvectors = "chroma:http://host:1"\n'
    config = read_config(write(tmp_path, said))
    assert (config.embedder, config.vectors) == ("minilm:me/model", "chroma:http://host:1")


def test_a_cache_is_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    assert read_config(write(tmp_path, 'cache = "kept"\n')).arguments()["cache"] == str(tmp_path / "kept")
    url = 'location = "postgresql://me@host/app"\ncache = "/srv/cache"\n'
    arguments = read_config(write(tmp_path, url)).arguments()
    assert (arguments["location"], arguments["cache"]) == ("postgresql://me@host/app", "/srv/cache")


def test_an_anchor_and_a_key_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    said = 'anchor = "../kept/anchor.jsonl"\naudit_key = "own.key"\ncheckpoint_every = 5\n'
    arguments = read_config(write(tmp_path, said)).arguments()
    assert (arguments["anchor"], arguments["audit_key"]) == (f"{tmp_path}/../kept/anchor.jsonl", f"{tmp_path}/own.key")
    assert arguments["checkpoint_every"] == 5
    for anchor in ("none", "postgresql://me@host/app"):
        assert read_config(write(tmp_path, f'anchor = "{anchor}"\n')).arguments()["anchor"] == anchor
    with pytest.raises(InvalidConfig):
        read_config(write(tmp_path, "checkpoint_every = 0\n"))


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("memory", "{folder}/memory"),
        ("./a/b", "{folder}/a/b"),
        ("../elsewhere", "{folder}/../elsewhere"),
        ("/absolute/place", "/absolute/place"),
        ("~/mine", "{home}/mine"),
        (":memory:", ":memory:"),
        ("sqlite:////srv/memory", "sqlite:////srv/memory"),
    ],
)
def test_a_relative_place_is_taken_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, found: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir("/")
    folder = tmp_path / "conf"
    folder.mkdir()
    expected = found.format(folder=folder, home=tmp_path / "home")
    assert read_config(write(folder, f'location = "{location}"')).location == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('colour = "red"', "colour"),
        ('Location = "x"', "Location"),
        ("[store]\nlocation = 'x'", "store"),
        ("location = 7", "location"),
        ("embedder = ['hashing']", "embedder"),
        ("deadline = 'soon'", "deadline"),
        ("deadline = -1", "deadline"),
        ("deadline = true", "deadline"),
        ("index_budget_mb = 1.5", "index_budget_mb"),
        ("index_budget_mb = -1", "index_budget_mb"),
        ("index_budget_mb = '512'", "index_budget_mb"),
    ],
)
def test_a_wrong_setting_is_named_beside_the_right_ones(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidConfig) as caught:
        MOS.from_config(path)
    message = str(caught.value)
    assert said in message
    assert str(path) in message
    settings = message.partition("settings are: ")[2].split(", ")
    assert {"location", "embedder", "vectors", "deadline", "index_budget_mb", "cache"} <= set(settings)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["memos.toml"]


@pytest.mark.parametrize("content", ["location = ", "= 3", "location: x", b"\xff\xfe", b'embedder = "\x00"'])
def test_what_is_no_toml_is_named(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(InvalidConfig, match=r"memos\.toml is no TOML"):
        MOS.from_config(write(tmp_path, content))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.toml", tmp_path):
        with pytest.raises(InvalidConfig, match=f"{path} cannot be read"):
            MOS.from_config(path)


def test_the_store_that_a_file_describes_is_opened(tmp_path: Path) -> None:
    path = write(tmp_path, 'location = "here"\nembedder = "hashing:64"\nindex_budget_mb = 1\n')
    with MOS.from_config(path) as mos:
        mos.session("ann").add("I moved to Lisbon.")
        assert mos.stats()["location"] == str(tmp_path / "here" / "memos.db")
    with MOS.from_config(str(path)) as mos:
        assert mos.session("ann").search("Lisbon")[0].text == "I moved to Lisbon."
        assert mos.stats()["embedder"] == "hashing:1:64"


@pytest.mark.parametrize("location", ["", "  ", "mongodb://x"])
def test_a_place_that_is_none_is_refused(tmp_path: Path, location: str) -> None:
    with pytest.raises(UnsupportedStore):
        MOS.from_config(write(tmp_path, f'location = "{location}"'))
    with pytest.raises(InvalidConfig, match="no embedder 'nothing'"):
        MOS.from_config(write(tmp_path, 'embedder = "nothing"'))
