"""If these fail, a process that is killed, crashes or loses its machine takes memories with it that it had acknowledged, leaves
half of a conversation behind, or leaves an index that no longer finds what is there."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Rounds
from writers import COMMON, Noted, Nursery, Writer, check, opened, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

STEPS = 14


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


def new_store(folder: Path, writers: int) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    with opened(folder / "store") as mos:
        mos.create_cube(COMMON, owner="w0")
        for n in range(1, writers):
            mos.share(COMMON, with_=f"w{n}", rights="write")
    return folder / "store"


def test_writers_that_live_leave_what_they_say(tmp_path: Path, nursery: Nursery) -> None:
    """The test itself: without any kill everything is acknowledged, and there."""
    store = new_store(tmp_path / "round", 2)
    logs = {f"w{n}": tmp_path / f"{n}.log" for n in range(2)}
    running = [nursery.start(store, name, 7, STEPS, log) for name, log in logs.items()]
    assert [nursery.end(process) for process in running] == [0, 0]
    noted = {name: Noted(log) for name, log in logs.items()}
    assert all(each.finished and len(each.done) == STEPS and each.pending is None for each in noted.values())
    check_shared(store, noted)


def test_a_writer_killed_at_any_moment_loses_nothing(tmp_path: Path, nursery: Nursery, rounds: Rounds) -> None:
    """By the clock of its own work: just before or after something that it tells the disk."""
    killed = 0
    for seed in range(count := rounds(12, 600)):
        chance = random.Random(seed)
        store, log = new_store(tmp_path / "round", 1), tmp_path / "round" / "log"
        die_at = chance.randrange(1500)
        killed += nursery.end(nursery.start(store, "w0", seed, STEPS, log, die_at)) == signal.SIGKILL
        check_shared(store, {"w0": Noted(log)}, f"seed {seed}, killed at {die_at}")
    assert killed > count / 2, "most of them must have died on the way"


def test_a_writer_killed_at_each_point_of_one_transaction(tmp_path: Path, nursery: Nursery, rounds: Rounds) -> None:
    """Of one that writes several items to two cubes: at evenly spaced points, with --soak at each of them."""
    seed = next(n for n in range(999) if _first_step_is_wide(n))
    store, log = new_store(tmp_path / "round", 1), tmp_path / "round" / "log"
    assert nursery.end(nursery.start(store, "w0", seed, 1, log)) == 0
    first, last = Noted(log).told
    first = (first + last) // 2  # before that it looks around
    points = rounds(24, last - first + 1)
    kept = set()
    for number in range(points):
        die_at = first + (last - first) * number // (points - 1)
        store = new_store(tmp_path / "round", 1)
        assert nursery.end(nursery.start(store, "w0", seed, 1, log, die_at)) == signal.SIGKILL
        there = check_shared(store, {"w0": Noted(log)}, f"killed at {die_at}")
        kept.add(bool(there[COMMON]))
    assert kept == {True, False}


def _first_step_is_wide(seed: int) -> bool:
    step, _ = Writer(None, "w0", random.Random(seed)).step()  # type: ignore[arg-type] - it does nothing yet
    return len(step["cubes"]) == 2 and len(step["texts"]) > 1


def test_several_writers_killed_from_outside(tmp_path: Path, nursery: Nursery, rounds: Rounds) -> None:
    """At random times, while others go on; one that died starts again and goes on with what it finds."""
    for seed in range(rounds(4, 200)):
        chance = random.Random(seed)
        count = chance.choice([2, 3])
        store = new_store(tmp_path / "round", count + 1)
        logs = {f"w{n}": tmp_path / "round" / f"{n}.log" for n in range(count + 1)}
        running = {name: nursery.start(store, name, seed, STEPS, logs[name]) for name in list(logs)[:count]}
        for name in chance.sample(sorted(running), chance.randint(1, count)):
            wait_until(logs[name], chance.randrange(1, 4 * STEPS))
            os.kill(running[name], signal.SIGKILL)
        late = f"w{count}"
        running[late] = nursery.start(store, late, seed, 5, logs[late])
        for name, process in running.items():
            assert nursery.end(process) in (0, signal.SIGKILL), name
        noted = {name: Noted(log) for name, log in logs.items()}
        assert noted[late].finished, "those that come later are not held up"
        check_shared(store, noted, f"seed {seed}")


def check_shared(store: Path, noted: dict[str, Noted], what: str = "") -> dict[str, dict[str, str]]:
    try:
        return check(store, noted)
    except BaseException as error:
        error.add_note(what)
        raise
