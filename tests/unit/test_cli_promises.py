"""If these fail, scripts break: exit codes, JSON errors, where options stand, and what the environment says."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from cli_running import COMMAND, Memos

from memos_core.cli.root import main

COMMANDS = (
    *(
        "add",
        "ingest",
        "import",
        "search",
        "context",
        "working",
        "list",
        "show",
        "history",
        "update",
        "delete",
        "restore",
    ),
    *("rollback", "cubes", "backup", "doctor", "vacuum", "stats", "verify", "reindex", "reembed", "migrate", "models"),
    *("archive", "activate", "freeze", "unfreeze", "merge", "explain", "lineage", "policy", "retain"),
    *("version", "diff", "fork", "audit", "jobs", "worker"),
    *("erase", "export-subject", "hold", "release", "holds", "preferences"),
)
READING = (
    *(["search", "x"], ["context", "x"], ["list"], ["show", "x"], ["history", "x"], ["update", "x", "--text", "y"]),
    *(["delete", "x"], ["restore", "x"], ["rollback", "x", "1"], ["cubes"], ["cubes", "grants", "x"], ["stats"]),
    *(["cubes", "share", "x", "--with", "y"], ["verify"], ["reindex"], ["reembed", "hashing", "--yes"]),
    *(["backup", "safe"], ["vacuum"], ["archive", "x"], ["activate", "x"], ["freeze", "x"], ["unfreeze", "x"]),
    *(["merge", "x", "y", "--text", "z"], ["explain", "x"], ["lineage", "x"], ["policy", "x"], ["retain"]),
    *(["diff", "x"], ["working", "--conversation", "t"], ["diff", "--since", "1"], ["fork", "x", "alice/y"]),
    *(["rollback", "--as-of", "1"], ["jobs"], ["jobs", "show", "1"], ["jobs", "retry", "--all"], ["worker", "--once"]),
    ["preferences"],
)


@pytest.fixture
def memos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memos:
    monkeypatch.chdir(tmp_path)
    return Memos(tmp_path)


# -- exit codes and errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_store_that_is_not_there_is_said_and_not_made(memos: Memos, command: list[str]) -> None:
    error = memos(*command, "--json", code=5).error
    assert error["type"] == "StoreNotFound"
    assert str(memos.store) in error["message"]
    assert not memos.store.exists()


@pytest.mark.parametrize(
    ("code", "kind", "command"),
    [
        (1, "ItemNotFound", ["show", "nowhere"]),
        (1, "ItemNotFound", ["history", "--key", "nowhere"]),
        (1, "CubeNotFound", ["search", "x", "--cube", "bob"]),
        (1, "CubeNotFound", ["add", "x", "--cube", "bob"]),
        (2, "UsageError", ["show"]),
        (2, "UsageError", ["serch", "x"]),
        (2, "NoSuchOption", ["search", "x", "--bogus"]),
        (2, "MissingParameter", ["search"]),
        (2, "BadParameter", ["search", "x", "-k", "many"]),
        (2, "UsageError", ["list", "--store", "a", "--config", "b"]),
        (2, "InvalidFilter", ["search", "x", "--where", "year"]),
        (2, "InvalidFilter", ["search", "x", "--where", "year >="]),
        (2, "InvalidFilter", ["search", "x", "--where", "year ~ 3"]),
        (2, "InvalidFilter", ["search", "x", "--where", "year about 3"]),
        (2, "InvalidFilter", ["search", "x", "--where", "{broken"]),
        (2, "InvalidFilter", ["list", "--where", "key is_empty yes"]),
        (2, "InvalidFilter", ["list", "--where", "occurred_at > soon"]),
        (2, "InvalidInput", ["search", "x", "--as-of", "yesterday"]),
        (2, "InvalidInput", ["search", "x", "--min-score", "7"]),
        (2, "InvalidInput", ["search", "x", "-k", "0"]),
        (2, "InvalidInput", ["search", "x", "--without", "luck"]),
        (2, "InvalidCursor", ["search", "x", "--cursor", "abc"]),
        (2, "InvalidInput", ["list", "--limit", "-1"]),
        (2, "InvalidInput", ["context", "x", "--max-tokens", "0"]),
        (2, "InvalidName", ["search", "x", "--as", "a*"]),
        (2, "InvalidName", ["add", "x", "--key", "a\u202eb"]),
        (2, "InvalidMetadata", ["add", "x", "--meta", "novalue"]),
        (2, "InvalidMetadata", ["add", "x", "--metadata", "{"]),
        (2, "InvalidInput", ["add", "x", "--at", "soon"]),
        (2, "InvalidInput", ["add", "x", "--confidence", "7"]),
        (2, "InvalidInput", ["add", "x", "y", "--key", "one-name-for-two"]),
        (2, "InvalidText", ["add", "nul \x00 in it"]),
        (2, "InvalidConfig", ["search", "x", "--embedder", "psychic"]),
        (2, "InvalidConfig", ["search", "x", "--config", "nowhere.toml"]),
        (2, "MissingParameter", ["working"]),
        (1, "CubeNotFound", ["working", "--conversation", "t", "--cube", "bob"]),
        (2, "UsageError", ["add", "x", "--timeout", "1"]),
        (4, "AlreadyExists", ["add", "x", "--id", "one"]),
        (4, "Conflict", ["restore", "one"]),
        (5, "UnsupportedStore", ["search", "x", "--store", "redis://x"]),
        (6, "ModelNotFound", ["reembed", "minilm:./nowhere", "--yes"]),
    ],
    ids=lambda value: " ".join(value).replace("\x00", "NUL") if isinstance(value, list) else None,
)
def test_every_error_has_its_code_and_its_type(memos: Memos, code: int, kind: str, command: list[str]) -> None:
    memos("add", "The lighthouse is red.", "--id", "one", "--quiet")
    ran = memos(*command, "--json", code=code)
    assert ran.error["type"] == kind
    assert ran.error["message"]
    assert ran.out == ""
    plain = memos(*command, code=code)
    assert plain.out == ""
    assert re.fullmatch(r"memos: [a-z ]+: \S.*", plain.err.splitlines()[-1])
    assert "Traceback" not in plain.err


def test_files_that_are_no_store_of_ours(memos: Memos) -> None:
    foreign, broken = memos.folder / "foreign", memos.folder / "broken"
    foreign.mkdir()
    with sqlite3.connect(foreign / "memos.db") as database:
        database.execute("CREATE TABLE other (x)")
    database.close()
    broken.mkdir()
    (broken / "memos.db").write_bytes(b"this is no database at all" * 100)
    assert memos("search", "x", "--store", foreign, "--json", code=5).error["type"] == "ForeignStore"
    assert memos("search", "x", "--store", broken, "--json", code=5).error["type"] == "StoreDamaged"
    (memos.folder / "file").write_text("")
    assert (
        memos("add", "x", "--store", memos.folder / "file" / "below", "--json", code=5).error["type"] == "StoreReadOnly"
    )


def test_debug_shows_where_it_happened(memos: Memos) -> None:
    memos("add", "x", "--quiet")
    ran = memos("show", "nowhere", "--debug", code=1)
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1] == "memos: item not found: no item 'nowhere' in 'alice'"


def test_a_mistyped_command_gets_a_hint(memos: Memos) -> None:
    assert "did you mean 'search'?" in memos("serach", "x", code=2).err


# -- common options ---------------------------------------------------------------------------------------------------


def test_common_options_stand_before_or_after_the_command(memos: Memos) -> None:
    memos("add", "The lighthouse is red.", "--id", "one", "--quiet")
    before = memos("--json", "--as", "alice", "--store", memos.store, "show", "one").json
    assert before == memos("show", "one", "--json", "--as", "alice", "--store", memos.store).json
    memos("--store", "elsewhere", "list", code=5)
    memos("--store", "elsewhere", "list", "--store", memos.store)  # what stands nearer to the command counts


def test_options_go_before_the_environment_and_that_before_defaults(memos: Memos) -> None:
    memos("add", "of the environment", "--quiet")
    memos("add", "of the option", "--store", "other", "--as", "bob", "--quiet")
    assert "environment" in memos("list").out
    assert "option" in memos("list", "--store", "other", "--as", "bob").out
    del memos.env["MEMOS_STORE"]
    memos.env["MEMOS_STORE"] = ""
    memos("add", "of the default", "--quiet")
    assert (memos.folder / "memory" / "memos.db").exists()


def test_the_login_name_acts_where_nobody_is_named(memos: Memos) -> None:
    memos.env["MEMOS_ACTOR"] = ""
    memos.env["LOGNAME"] = "lena"
    memos("add", "x", "--quiet")
    assert memos("cubes", "--json").lines[0]["owner"] == "lena"


def test_a_memos_toml_says_where_the_store_is(memos: Memos) -> None:
    (memos.folder / "memos.toml").write_text('location = "./there"\nembedder = "hashing"\n')
    memos("add", "x", "--config", "memos.toml", "--quiet")
    assert memos("stats", "--config", "memos.toml", "--json").json["store"]["embedder"].startswith("hashing")
    assert (memos.folder / "there" / "memos.db").exists()
    memos("reembed", "none", "--config", "memos.toml", "--yes")


def test_an_embedder_can_be_declined(memos: Memos) -> None:
    assert "no embedder" not in memos("add", "x", "--embedder", "none").err


# -- help -------------------------------------------------------------------------------------------------------------


def test_help_names_every_command_and_the_exit_codes(memos: Memos) -> None:
    text = memos("--help").out
    for name in COMMANDS:
        assert re.search(rf"^  {name}\s+\S", text, re.MULTILINE), name
    for option in (
        "--store",
        "--config",
        "--as",
        "--cube",
        "--embedder",
        "--vectors",
        "--json",
        "--no-color",
        "--quiet",
    ):
        assert option in text
    assert "Exit codes: 0 done, 1 not found" in text
    assert set(COMMANDS) == set(main.list_commands(None))  # type: ignore[arg-type]
    assert memos(code=2).err.startswith("Usage: memos")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(memos: Memos, name: str) -> None:
    text = memos(name, "--help").out
    assert text.startswith(f"Usage: memos {name}")
    assert "--json" in text
    assert len(text.splitlines()) > 8


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from memos_core.cli import main; main(['--help'], standalone_mode=False); "
        "heavy = {'numpy', 'sqlalchemy', 'rich.console', 'bs4', 'tokenizers', 'asyncio'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_is_installed_as_memos() -> None:
    done = subprocess.run([*COMMAND, "version"], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("memos ")
