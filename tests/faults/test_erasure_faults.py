"""If these fail, an erasure that is killed leaves half of an item, or leaves bytes without anybody being told; or another
process that had the store open brings back what was erased."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memos_core import MOS
from memos_core.errors import ItemNotFound

DIMS = 16
ROWS = 1200  # its index has files
CANARY = "canary-in-the-coal-mine-4711"
_PRELUDE = """
import os, signal, sys
import numpy as np
from memos_core import MOS
mos = MOS.open(sys.argv[1], embedder="given:16")
alice = mos.session("alice")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def fill(folder: Path, rows: int = ROWS) -> str:
    """A store (with so many rows its index is in files), and the id of the item to erase."""
    vectors = np.random.default_rng(1).standard_normal((ROWS + 1, DIMS)).astype(np.float32)
    with MOS.open(folder, embedder=f"given:{DIMS}") as mos:
        alice = mos.session("alice")
        id = alice.add(f"{CANARY} says it", vectors=vectors[:1], conversation=f"about {CANARY}").id
        alice.add([f"fact {n}" for n in range(rows)], vectors=vectors[1 : rows + 1])
        mos.cube("alice").catch_up()
    return id


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()}


class Process:
    """Another process with the store open; it does a line at a time."""

    def __init__(self, folder: Path, script: str) -> None:
        command = [sys.executable, "-c", _PRELUDE + script, str(folder)]
        self.running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def says(self) -> str:
        assert self.running.stdout is not None
        return self.running.stdout.readline().strip()

    def tell(self, line: str = "") -> None:
        assert self.running.stdin is not None
        self.running.stdin.write(f"{line}\n")
        self.running.stdin.flush()

    def end(self) -> int:
        assert self.running.stdin is not None
        self.running.stdin.close()
        return self.running.wait(60)


@pytest.fixture
def other(folder: Path) -> Iterator[Any]:
    made: list[Process] = []

    def start(script: str) -> Process:
        made.append(Process(folder, script))
        return made[-1]

    yield start
    for process in made:
        process.running.kill()
        process.running.wait()


def test_another_process_that_has_the_store_open_learns_of_it_and_brings_nothing_back(folder: Path, other: Any) -> None:
    id = fill(folder)
    process = other("""
print(len(alice.search("canary coal mine", top_k=3)), flush=True)
input()
alice.add("one more", vectors=np.ones((1, 16)))
then = [hit.id for hit in alice.search("canary in the coal mine 4711", top_k=3, as_of=5)]
print([*then, *(hit.id for hit in alice.search("canary in the coal mine 4711", top_k=3))], flush=True)
input()
mos.close()
print("closed", flush=True)
""")
    assert process.says() != ""
    with MOS.open(folder, embedder=f"given:{DIMS}") as mos:
        done = mos.session("alice").erase(id, reason="a test")
        assert done.complete, done.remains  # its mapped segments are gone, its connections pin nothing
    assert left_in(folder) == set()
    process.tell()
    assert id not in process.says()
    process.tell()
    assert process.says() == "closed"  # what it wrote to files then is made from what is left
    assert left_in(folder) == set()
    with MOS.open(folder, embedder=f"given:{DIMS}") as mos:
        assert mos.verify() == []
        assert mos.verify_erased() == []


@pytest.mark.parametrize("rows", [3, ROWS])  # what it has is in files, or in its memory alone
def test_a_process_that_closes_without_having_looked_writes_nothing_of_it(folder: Path, other: Any, rows: int) -> None:
    id = fill(folder, 2 + ROWS - rows)
    process = other(f"""
alice.add([f"more {{n}}" for n in range({rows})], vectors=np.ones(({rows}, 16)))
mos.cube("alice").catch_up()
print("ready", flush=True)
input()
mos.close()
print("closed", flush=True)
""")
    assert process.says() == "ready"
    with MOS.open(folder, embedder=f"given:{DIMS}") as mos:
        mos.session("alice").erase(id, reason="a test")
    process.tell()
    assert process.says() == "closed"
    assert left_in(folder) == set()


def test_a_reader_that_pins_the_log_is_named_and_finishing_later_completes_it(folder: Path) -> None:
    id = fill(folder)
    with closing(sqlite3.connect(folder / "memos.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM versions").fetchone()
        with MOS.open(folder, embedder=f"given:{DIMS}", deadline=0.3) as mos:
            done = mos.session("alice").erase(id, reason="a test")
            assert not done.complete
            assert any("--finish" in what for what in done.remains)
            assert any("not finished" in each.what for each in mos.verify_erased())
            with pytest.raises(ItemNotFound):
                mos.session("alice").get(id)
    with MOS.open(folder, embedder=f"given:{DIMS}") as mos:
        assert mos.finish_erasures().complete
        assert mos.verify_erased(texts=[CANARY]) == []
        assert mos.finish_erasures().complete  # nothing to do
    assert left_in(folder) == set()


def test_a_process_killed_at_any_point_of_it_erases_all_or_nothing(
    folder: Path, rounds: Any, record_property: Any
) -> None:
    script = """
import random, threading, time
delay = float(sys.argv[2])
def end():
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=end, daemon=True).start()
alice.erase(sys.argv[3], reason="a test")
os.kill(os.getpid(), signal.SIGKILL)
"""
    half = whole = 0
    random = np.random.default_rng(5)
    for number in range(rounds(8, 300)):
        place = folder.with_name(f"memory-{number}")
        id = fill(place)
        command = [sys.executable, "-c", _PRELUDE + script, str(place), str(random.uniform(0, 0.25)), id]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        with MOS.open(place, embedder=f"given:{DIMS}") as mos:
            assert mos.verify() == []
            alice = mos.session("alice")
            try:
                assert CANARY in alice.get(id).text
                half += 1
                assert not mos.store.erasures().unfinished
                assert alice.erase(id, reason="again").complete
            except ItemNotFound:
                whole += 1
                unfinished = mos.store.erasures().unfinished
                assert bool(unfinished) == any("not finished" in each.what for each in mos.verify_erased())
                assert mos.finish_erasures().complete
            assert mos.verify() == []
            assert mos.verify_erased(texts=[CANARY]) == []
        assert left_in(place) == set()
    record_property("rounds", f"{half} times nothing was erased, {whole} times all of it")


def test_the_scan_is_as_thorough_as_reading_everything(tmp_path: Path) -> None:
    from memos_core.operations.scanning import scan
    from memos_core.types.erasure import ErasedWords

    random = np.random.default_rng(11)
    raw = bytearray(random.integers(0, 256, 3_000_000, dtype=np.uint8).tobytes())
    planted = {f"planted-{n:03d}-{'x' * int(random.integers(5, 40))}" for n in range(200)}
    edges = [(1 << 20) - 9, (2 << 20) - 3]  # where one reading ends and the next one begins
    for text in planted:
        encoded = text.encode(["utf-8", "utf-16-le", "utf-16-be"][int(random.integers(3))])
        place = edges.pop() if edges else int(random.integers(0, 2_900_000))
        raw[place : place + len(encoded)] = encoded
    (tmp_path / "file").write_bytes(raw)
    there = {t for t in planted if any(t.encode(c) in raw for c in ("utf-8", "utf-16-le", "utf-16-be"))}
    absent = {f"absent-{n}-{'y' * 20}" for n in range(1000)}
    started = time.process_time()
    found = scan(ErasedWords(texts=frozenset(planted | absent)), [tmp_path])
    assert time.process_time() - started < 10
    pieces = {t: {t[:24], t[-24:]} for t in there}
    assert all(its & found.texts.keys() for its in pieces.values())
    assert len(there) > 150
    assert not any(text[:24] in found.texts for text in absent)
    assert os.path.getsize(tmp_path / "file") == found.bytes
