"""Processes that write to one store and may die at any moment, and what must then be true.

A nursery is a process that has loaded memos once and forks a writer in milliseconds. A writer notes in a file what it is about
to do, does it, and notes that it is done, so that whoever looks later knows what had been acknowledged.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, TypedDict

from memos_core import MOS, Draft, Session
from memos_core.stores.index import cube_index

COMMON = "common"
SMALL = 6  # rows of a tail before it is written: segments come and go all the time
PATIENCE = 120.0
# Between calls of these a process has told the disk something, or is about to.
TO_THE_DATABASE = frozenset({"execute", "executemany"})
TO_THE_SYSTEM = frozenset({"open", "write", "fsync", "replace", "unlink", "rmdir", "mkdir", "flock", "truncate"})


class Step(TypedDict):
    """What a writer does in one transaction: in these cubes these texts by id, None for a deletion."""

    cubes: list[str]
    texts: dict[str, str | None]


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[MOS]:
    """The store, with segments from the first rows on."""
    usual, cube_index.SMALL_ROWS = cube_index.SMALL_ROWS, 0
    try:
        with MOS.open(folder, embedder="hashing", deadline=PATIENCE) as mos:
            mos._indexes._flush_rows = SMALL
            yield mos
    finally:
        cube_index.SMALL_ROWS = usual


# -- the writer -------------------------------------------------------------------------------------------------------


class Writer:
    """Does some random steps on items of its own, in a cube that it shares and in one of its own.

    Args:
        mos: the store.
        name: of the writer; no other one has items that begin with it.
        chance: decides what it does.
    """

    def __init__(self, mos: MOS, name: str, chance: random.Random) -> None:
        self.mos = mos
        self.name = name
        self.chance = chance
        self.living: dict[str, list[str]] = {}  # cubes that hold it, by id
        self.gone: dict[str, tuple[str, list[str]]] = {}
        self.texts: dict[str, str] = {}
        self._made = 0

    def session(self, cubes: list[str]) -> Session:
        return self.mos.session(self.name, read_from=cubes, write_to=cubes)

    def new_text(self, id: str) -> str:
        self._made += 1
        return f"{id} says {token(self.name, self._made)} and some more words"

    def step(self) -> tuple[Step, Any]:
        """What comes next, and a function that does it."""
        choice = self.chance.random()
        if choice < 0.45 or not self.living:
            cubes = self.chance.choice([[COMMON], [self.name], [self.name, COMMON]])
            ids = [f"{self.name}-{self._made + n}" for n in range(self.chance.choice([1, 1, 2, 5]))]
            texts = {id: self.new_text(id) for id in ids}
            drafts = [Draft(text=text, id=id, conversation=self.name) for id, text in texts.items()]
            self.living.update(dict.fromkeys(ids, cubes))
            self.texts.update(texts)
            return {"cubes": cubes, "texts": dict(texts)}, lambda: self.session(cubes).add(drafts)
        if choice < 0.6 and self.gone:
            id = self.chance.choice(sorted(self.gone))
            text, cubes = self.gone.pop(id)
            self.living[id] = cubes
            return {"cubes": cubes, "texts": {id: text}}, lambda: self.session(cubes).restore(id)
        id = self.chance.choice(sorted(self.living))
        cubes = self.living[id]
        if choice < 0.75:
            del self.living[id]
            self.gone[id] = (self.texts[id], cubes)
            return {"cubes": cubes, "texts": {id: None}}, lambda: self.session(cubes).delete(id)
        if choice < 0.85:
            return {"cubes": cubes, "texts": {id: self.texts[id]}}, lambda: self.session(cubes).update(id, tags=["t"])
        text = self.texts[id] = self.new_text(id)
        return {"cubes": cubes, "texts": {id: text}}, lambda: self.session(cubes).update(id, text=text)

    def look(self) -> None:
        """Search for something of its own: the index catches up, and is written."""
        if self.living:
            id = self.chance.choice(sorted(self.living))
            found = self.session(self.living[id]).search(self.texts[id], top_k=1)
            assert found[0].id == id, f"{self.name} does not find {id} that it has just written"
        if self.chance.random() < 0.1:
            self.mos.reindex(COMMON)


def token(name: str, number: int) -> str:
    """A word that only one version of one item says."""
    return f"tok{name}{number}x"


def write(folder: Path, name: str, seed: int, steps: int, log: Path, die_at: int | None) -> None:
    """A writer's life."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(what: Any) -> None:
        os.write(handle, json.dumps(what).encode() + b"\n")

    fate = _Fate(die_at)
    sys.setprofile(fate)
    with opened(folder) as mos:
        writer = Writer(mos, name, random.Random(seed))
        for _ in range(steps):
            step, do = writer.step()
            note([fate.told])
            note(step)
            do()
            note("done")
            note([fate.told])
            writer.look()
    sys.setprofile(None)
    note("finished")


class _Fate:
    """Kills this process just before or after the n-th call that tells something to the disk; counts them."""

    def __init__(self, die_at: int | None) -> None:
        self.told = 0
        self._die_at = die_at

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        if event in ("c_call", "c_return") and _tells(called):
            if self.told == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.told += 1


def _tells(called: Any) -> bool:
    name, owner = called.__name__, type(getattr(called, "__self__", None))
    if name in TO_THE_DATABASE:
        return owner.__module__ == "sqlite3"
    return name in TO_THE_SYSTEM and (owner is ModuleType or owner.__module__ == "_io")


# -- the nursery ------------------------------------------------------------------------------------------------------


class Nursery:
    """Where writers come from. Use it in a `with` block."""

    def __enter__(self) -> Nursery:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _ask(self, **what: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, folder: Path, name: str, seed: int, steps: int, log: Path, die_at: int | None = None) -> int:
        """A writer; returns its process id."""
        arguments = [str(folder), name, seed, steps, str(log), die_at]
        return int(self._ask(start=arguments))

    def end(self, process: int) -> int:
        """Wait for a writer's end; the signal that killed it, 0 for none.

        Raises:
            AssertionError: it failed in any other way.
        """
        status = int(self._ask(wait=process))
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a writer failed; see its output above"
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _nurse() -> None:
    import memos_core.models.hashing
    import memos_core.reading.reader
    import memos_core.stores.sql.records  # noqa: F401 - what every writer needs

    for line in sys.stdin:
        what = json.loads(line)
        if "wait" in what:
            answer = os.waitpid(what["wait"], 0)[1]
        else:
            folder, name, seed, steps, log, die_at = what["start"]
            answer = os.fork()
            if answer == 0:
                try:
                    write(Path(folder), name, seed, steps, Path(log), die_at)
                except BaseException:  # noqa: BLE001 - the child must end here, whatever happened
                    sys.excepthook(*sys.exc_info())
                    os._exit(1)
                os._exit(0)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


# -- what must be true afterwards -------------------------------------------------------------------------------------


class Noted:
    """What a writer had noted when it died or finished.

    Attributes:
        finished: whether it lived to its end.
        done: the steps that were acknowledged.
        pending: the one that was not.
        told: how often it had told the disk something, before and after each step.
    """

    def __init__(self, log: Path) -> None:
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        self.finished = lines[-1:] == ["finished"]
        steps = [line for line in lines if isinstance(line, dict)]
        self.done: list[Step] = steps[: lines.count("done")]
        self.told: list[int] = [line[0] for line in lines if isinstance(line, list)]
        self.pending: Step | None = steps[len(self.done)] if len(steps) > len(self.done) else None


def wait_until(log: Path, lines: int) -> None:
    """Wait until a writer has noted so much."""
    until = time.monotonic() + PATIENCE
    while not log.exists() or log.read_bytes().count(b"\n") < lines:
        assert time.monotonic() < until, f"{log} has not grown"
        time.sleep(0.001)


def check(folder: Path, noted: dict[str, Noted]) -> dict[str, dict[str, str]]:
    """Nothing acknowledged is lost, nothing is half there, all of it is found, and the store agrees with itself.

    Returns:
        What is there: texts by id, by cube.
    """
    with opened(folder) as mos:
        cubes = {info.name: info for info in mos.cubes()}
        there = {name: _items(mos, name) for name in cubes}
        expected: dict[str, dict[str, str]] = {name: {} for name in cubes}
        transactions = dict.fromkeys(cubes, 0)
        versions: dict[tuple[str, str], int] = {}
        for name, writer in noted.items():
            steps = list(writer.done)
            if writer.pending is not None and _applied(mos, there, name, writer):
                steps.append(writer.pending)
            for step in steps:
                for cube in step["cubes"]:
                    transactions[cube] += 1
                    for id, text in step["texts"].items():
                        versions[cube, id] = versions.get((cube, id), 0) + 1
                        expected[cube].pop(id, None)
                        if text is not None:
                            expected[cube][id] = text
        assert there == expected
        for cube in cubes:
            _check_found(mos, cube, expected[cube])
            entries = mos.cube(cube).audit()
            written = [entry for entry in entries if entry.action in ("add", "update", "delete", "restore")]
            assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
            assert len(written) == transactions[cube], "one entry for each transaction, and none invented"
            assert [entry.prev_hash for entry in entries[1:]] == [entry.hash for entry in entries[:-1]]
        for (cube, id), count in versions.items():
            assert [v.version for v in mos.cube(cube).history(id)] == list(range(1, count + 1))
        assert mos.verify() == []
        mos.session("afterwards").add("Life goes on.")
        assert mos.session("afterwards").search("life goes on")[0].text == "Life goes on."
        return there


def _items(mos: MOS, cube: str) -> dict[str, str]:
    owner = next(info.owner for info in mos.cubes() if info.name == cube)
    return {item.id: item.text for item in mos.session(owner, read_from=[cube], write_to=[]).list(limit=10_000)}


def _applied(mos: MOS, there: dict[str, dict[str, str]], name: str, writer: Noted) -> bool:
    """Whether the step that was not acknowledged has been kept; it must be so in all of its cubes, or in none."""
    assert writer.pending is not None
    before = {(cube, id) for step in writer.done for cube in step["cubes"] for id in step["texts"]}
    kept = set()
    for cube in writer.pending["cubes"]:
        for id in writer.pending["texts"]:
            count = sum(cube in step["cubes"] and id in step["texts"] for step in writer.done)
            try:
                now = len(mos.cube(cube).history(id)) if cube in there else 0
            except LookupError:
                now = 0
            assert now in (count, count + 1), f"{id} in {cube} has {now} versions, {count} were acknowledged"
            assert (cube, id) in before or count == 0
            kept.add(now == count + 1)
    assert len(kept) == 1, f"half of a step of {name} is there: {writer.pending}"
    return kept.pop()


def _check_found(mos: MOS, cube: str, expected: dict[str, str]) -> None:
    owner = next(info.owner for info in mos.cubes() if info.name == cube)
    session = mos.session(owner, read_from=[cube], write_to=[])
    for id, text in expected.items():
        word = next(word for word in text.split() if word.startswith("tok"))
        found = session.search(word, top_k=3, without=["dense", "near", "late"])
        assert found, f"{id} is not found by its word {word}"
        assert (found[0].id, found[0].text) == (id, text)


if __name__ == "__main__":
    _nurse()
