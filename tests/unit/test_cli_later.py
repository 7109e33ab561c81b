"""If these fail, who works at the command line cannot add without waiting, see what a conversation has in mind, or watch jobs:
ids are missing, a full queue goes unnoticed, or a terminal is left without its cursor."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_running import SCRIPT, Memos

from memos_core import MOS
from memos_core.scheduler.kinds import JobKind


@pytest.fixture
def memos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memos:
    monkeypatch.chdir(tmp_path)
    return Memos(tmp_path)


# -- adding without waiting ----------------------------------------------------------------------------------------------


def test_adding_without_waiting_tells_ids_and_jobs(memos: Memos) -> None:
    memos("add", "Rex is a dog", "--embedder", "hashing")
    added = memos("add", "--no-wait", "Lisbon in May", "--json").json
    assert (len(added["ids"]), added["added"], len(added["jobs"])) == (1, added["ids"], 1)
    told = memos("add", "--no-wait", "Rome in June", "Oslo in July")
    assert len(told.out.split()) == 2, "in a pipe, ids and nothing else"
    assert re.search(r"^memos: job \d+ will make the vectors", told.err)
    assert memos("search", "Oslo", "--json").json["hits"][0]["id"] == told.out.split()[1], "by its words at once"
    assert memos("jobs", "show", added["jobs"][0], "--json").json["state"] == "pending"
    memos("worker", "--once")
    assert memos("jobs", "show", added["jobs"][0], "--json").json["state"] == "done"
    assert memos("add", "--no-wait", "Prague", "--quiet").err == ""
    assert "jobs" not in memos("add", "Vienna", "--json").json


def test_where_nothing_is_to_be_done_later_it_is_said(memos: Memos) -> None:
    told = memos("add", "--no-wait", "no embedder, no vectors")
    assert "nothing to be done later" in told.err
    assert memos("add", "--no-wait", "none here either", "--json").json["jobs"] == []


def test_a_full_queue_is_a_clear_error_and_keeps_nothing(memos: Memos) -> None:
    with MOS.open(memos.store, embedder="hashing", max_pending=1) as mos:
        mos.session("alice").add("hello")
    memos("add", "--no-wait", "the one that fits")
    error = memos("add", "--no-wait", "one too many", "--json", code=4).error
    assert error["type"] == "QueueFull"
    assert "max_pending" in error["message"]
    before = time.monotonic()
    assert "queue full" in memos("add", "--no-wait", "--timeout", "0.5", "one too many", code=4).err
    assert time.monotonic() - before >= 0.4
    assert len(memos("list", "--json").lines) == 2
    with MOS.open(memos.store) as mos:
        making_room = threading.Timer(0.5, mos.scheduler.run_pending)
        making_room.start()
        memos("add", "--no-wait", "--timeout", "30", "one that waits for room")
        making_room.join()
    assert len(memos("list", "--json").lines) == 3


# -- working memory ------------------------------------------------------------------------------------------------------


def test_what_a_conversation_has_in_mind_is_shown(memos: Memos) -> None:
    with MOS.open(memos.store) as mos:
        alice = mos.session("alice", conversation="t1")
        alice.add(["My dog is called Rex.", "The car is red."])
        alice.context("What is my dog called?")
        mos.scheduler.run_pending()
        expected = [(each.id, round(each.score, 2)) for each in alice.working()]
    assert expected
    said = memos("working", "--conversation", "t1", "--json").json
    assert said["conversation"] == "t1"
    assert [each["id"] for each in said["items"]] == [id for id, _ in expected]
    first = said["items"][0]
    assert first["score"] == pytest.approx(sum(first["parts"].values()))
    assert (first["text"], first["item"]["text"]) == ("My dog is called Rex.", "My dog is called Rex.")
    assert set(first["parts"]) >= {"recent", "used", "relevant"}
    score, id, cube, parts, text = memos("working", "--conversation", "t1").out.splitlines()[0].split("\t")
    assert (id, cube, text) == (first["id"], "alice", first["text"])
    assert float(score) == pytest.approx(first["score"], abs=0.01)
    assert "relevant=" in parts
    assert "My dog" in memos.on_terminal("working", "--conversation", "t1", columns=160).out


def test_nothing_in_mind_is_said_with_the_reason(memos: Memos) -> None:
    with MOS.open(memos.store) as mos:
        mos.session("alice", conversation="t1").add("The car is red.")
        mos.scheduler.run_pending()
    ran = memos("working", "--conversation", "another")
    assert (ran.code, ran.out) == (0, "")
    assert "'alice' has nothing in mind in the conversation 'another' as it reads from alice" in ran.err
    assert "scheduler" in ran.err
    assert memos("working", "--conversation", "another", "--json").json == {"conversation": "another", "items": []}
    assert "'bob' has nothing in mind" in memos("working", "--conversation", "t1", "--as", "bob").err


# -- watching jobs -------------------------------------------------------------------------------------------------------

HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


class Terminal:
    """A command on a terminal, while it runs."""

    def __init__(self, memos: Memos, *args: str) -> None:
        self._own, its = pty.openpty()
        env = memos.environment({"COLUMNS": "160", "TERM": "xterm-256color"})
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *args], stdin=its, stdout=its, stderr=its, env=env, start_new_session=True
        )
        os.close(its)
        self.shown = ""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        try:
            while piece := os.read(self._own, 65536):
                self.shown += piece.decode()
        except OSError:  # how Linux says that nobody has the terminal open any more
            pass

    def until(self, seen: Callable[[str], object]) -> None:
        end = time.monotonic() + 30
        while not seen(self.shown):
            assert time.monotonic() < end, self.shown
            assert self.process.poll() is None, self.shown
            time.sleep(0.02)

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> int:
        code = self.process.wait(30)
        self._reading.join(30)
        os.close(self._own)
        return code


def counts(shown: str) -> list[tuple[int, ...]]:
    """What the table said of the jobs, each time that it was drawn: pending, running, done."""
    rows = re.findall(r"^\W*(?:\x1b\[\S*)?own +(\d+) +(\d+) +(\d+) ", shown, re.MULTILINE)
    return [tuple(map(int, row)) for row in rows]


def test_the_table_of_jobs_changes_as_they_run(memos: Memos) -> None:
    with MOS.open(memos.store) as mos:
        mos.session("alice").add("hello")
        mos.scheduler.register(JobKind(name="own", run=lambda context: None))
        for _ in range(3):
            mos.scheduler.submit("own")
        terminal = Terminal(memos, "jobs", "--watch")
        terminal.until(lambda shown: (3, 0, 0) in counts(shown))
        mos.scheduler.run_pending(1)
        terminal.until(lambda shown: (2, 0, 1) in counts(shown))
        mos.scheduler.run_pending()
        terminal.until(lambda shown: (0, 0, 3) in counts(shown))
    assert HIDDEN in terminal.shown
    code = terminal.interrupt()
    assert (code, "Traceback" in terminal.shown) == (0, False), "Ctrl-C is how one stops looking: no error"
    assert terminal.shown.rfind(SHOWN) > terminal.shown.rfind(HIDDEN), "the cursor is back"
    seen = list(dict.fromkeys(counts(terminal.shown)))
    assert seen == [(3, 0, 0), (2, 0, 1), (0, 0, 3)]


def test_a_watch_that_is_ended_gives_the_cursor_back(memos: Memos) -> None:
    memos("add", "hello", "--embedder", "hashing")
    memos("add", "--no-wait", "later")
    terminal = Terminal(memos, "jobs", "--watch")
    terminal.until(lambda shown: "embed" in shown)
    terminal.process.terminate()
    assert terminal.end() == 0
    assert terminal.shown.rfind(SHOWN) > terminal.shown.rfind(HIDDEN)


@pytest.mark.parametrize("as_json", [False, True])
def test_where_there_is_no_terminal_numbers_come_once_a_second(memos: Memos, as_json: bool) -> None:
    memos("add", "hello", "--embedder", "hashing")
    memos("add", "--no-wait", "later")
    process = memos.start("jobs", "--watch", *(["--json"] if as_json else []), stdout=-1, stderr=-1)
    assert process.stdout is not None
    lines = [process.stdout.readline().decode() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, b"")
    assert b"\x1b" not in rest
    for line in lines:
        assert "\x1b" not in line
        told = json.loads(line) if as_json else line.split("\t")
        assert (told["kind"], told["counts"]["pending"]) == ("embed", 1) if as_json else told[:2] == ["embed", "1"]


def test_a_reader_that_goes_away_ends_a_watch(memos: Memos) -> None:
    memos("add", "hello", "--embedder", "hashing")
    memos("add", "--no-wait", "later")
    watching = memos.start("jobs", "--watch", stdout=-1, stderr=-1)
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.stdout.close()
    assert watching.wait(30) == 141
    assert watching.stderr is not None
    assert watching.stderr.read() == b""
    watching.stderr.close()
