"""If these fail, the command line breaks where it lives: in pipes, on terminals, beside other processes, under Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from cli_running import COMMAND, Memos
from rich.cells import cell_len

TEXT = "My dog is called Rex and he loves swimming in the lake behind our house, 中文也可以, " * 3


@pytest.fixture
def memos(tmp_path: Path) -> Memos:
    return Memos(tmp_path)


def messages(folder: Path, name: str, count: int) -> Path:
    path = folder / f"{name}.jsonl"
    lines = (json.dumps({"role": "user", "content": f"{name} says {number}"}) for number in range(count))
    path.write_text("\n".join(lines))
    return path


# -- processes --------------------------------------------------------------------------------------------------------


def test_two_processes_fill_one_new_store_at_once(memos: Memos) -> None:
    running = [
        memos.start(
            "ingest", messages(memos.folder, name, 1500), "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for name in ("left", "right")
    ]
    for process in running:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert json.loads(out)["added"] == 1500
    assert len(memos("list", "--all", "--json").lines) == 3000
    assert memos("verify").out == ""


def test_ctrl_c_during_ingest_keeps_what_was_committed(memos: Memos) -> None:
    folder = memos.folder / "notes"
    folder.mkdir()
    for number in range(64):
        (folder / f"{number:02}.md").write_text(f"Note number {number}.")
    endless = memos.folder / "endless.md"
    os.mkfifo(endless)
    process = memos.start(
        *("ingest", folder, endless),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests that run in the background ignore it
    )
    with endless.open("wb"):  # opens when the ingest has come to it, and with 64 documents a transaction is full
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.startswith(b"64 added"), err
    assert b"run it again to go on" in err
    assert b"Traceback" not in err
    assert len(memos("list", "--json").lines) == 64
    endless.unlink()
    endless.write_text("Not so endless.")
    again = memos("ingest", folder, endless, "--json").json
    assert (again["added"], again["known"]) == (1, 64)


def test_a_reader_that_goes_away_is_met_quietly(memos: Memos) -> None:
    memos("ingest", messages(memos.folder, "many", 3000), "--quiet")
    for options in ((), ("--json",)):
        process = memos.start("list", "--all", *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141
        process.stderr.close()


def test_output_that_cannot_be_written_is_one_line(memos: Memos) -> None:
    memos("add", "x", "--quiet")
    with Path("/dev/full").open("wb") as full:
        process = memos.start("list", "--json", stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate()
    assert process.returncode == 5
    assert json.loads(err)["error"]["type"] == "OSError"


def test_a_pipe_gets_plain_whole_lines(memos: Memos) -> None:
    memos("add", TEXT, "--quiet")
    done = subprocess.run(
        [*COMMAND, "search", "dog"], env=memos.environment({"COLUMNS": "40"}), capture_output=True, check=True
    )
    assert b"\x1b" not in done.stdout
    assert done.stdout.count(b"\n") == 1
    fields = done.stdout.decode().rstrip("\n").split("\t")
    assert len(fields[1]) == 32
    assert fields[-1] == " ".join(TEXT.split())


def test_what_the_locale_cannot_write_is_escaped(memos: Memos) -> None:
    memos("add", "中文", "--quiet")
    env = memos.environment({"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
    done = subprocess.run([*COMMAND, "list"], env=env, capture_output=True, check=True)
    assert b"\\u4e2d" in done.stdout
    done = subprocess.run([*COMMAND, "list", "--json"], env=env, capture_output=True, check=True)
    assert json.loads(done.stdout)["text"] == "中文"


def test_help_starts_fast() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*COMMAND, "--help"], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 0.5, f"{spent:.3f} s of CPU; about 0.1 is usual"


# -- terminals --------------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(memos: Memos) -> Memos:
    memos("add", TEXT, "--id", "0123456789abcdef0123456789abcdef", "--key", "rex", "--tag", "pets", "--quiet")
    memos("update", "--key", "rex", "--text", TEXT.replace("Rex", "Max"), "--quiet")
    return memos


@pytest.mark.parametrize("columns", [80, 120])
def test_hits_fit_the_terminal(filled: Memos, columns: int) -> None:
    ran = filled.on_terminal("search", "what is the dog called?", "--parts", columns=columns)
    assert ran.code == 0
    assert max(map(cell_len, ran.out.splitlines())) <= columns
    assert "0123456789abcdef0123456789abcdef" in ran.out
    assert re.search(r"1 [█▏▎▍▌▋▊▉ ]{8}\s+\d+% My dog is called Max", ran.out)
    assert re.search(r"lexical\s+[█▏▎▍▌▋▊▉]+", ran.out)
    assert "#pets · key rex · v2" in ran.out


def test_everything_else_fits_the_terminal_too(filled: Memos) -> None:
    shown = {
        command: filled.on_terminal(*command.split()).out
        for command in ("list", "history --key rex", "show --key rex", "stats", "cubes")
    }
    for command, out in shown.items():
        assert max(map(cell_len, out.splitlines())) <= 80, command
    for command in ("list", "show --key rex"):
        assert "0123456789abcdef0123456789abcdef" in shown[command]
    assert "RexMax" in shown["history --key rex"]  # one struck through, the other green
    assert re.search(r"alice\s+alice\s+1\s+0\s+2", shown["stats"])
    assert re.search(r"alice\s+alice\s+2\s+\d{4}-", shown["cubes"])


def test_without_colours_changes_are_marked(filled: Memos) -> None:
    assert "[-Rex-]{+Max+}" in filled.on_terminal("history", "--key", "rex", "--no-color").out


def test_reembed_asks_on_a_terminal(filled: Memos) -> None:
    ran = filled.on_terminal("reembed", "hashing", typed=b"n\n")
    assert "by those of hashing" in ran.out.replace("\n", "")
    assert "nothing was changed" in ran.out
    assert ran.code == 130
    assert "2 versions embedded" in filled.on_terminal("reembed", "hashing", typed=b"y\n").out


def test_a_slow_ingest_shows_a_bar_and_then_clears_it(memos: Memos) -> None:
    script = "import memos_core.cli.bars as bars; bars.PATIENCE = 0; from memos_core.cli import main; main()"
    done = memos.on_terminal("ingest", messages(memos.folder, "many", 2000), script=script)
    assert "reading files" in done.out
    assert "2,000 added" in done.out.splitlines()[-1]
