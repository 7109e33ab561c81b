"""If these fail, background work that was acknowledged is lost, has its effect twice, comes in the wrong order, or hangs for ever
when processes are killed."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import Rounds
from job_processes import LEASE, Forge, Liking, noted, opened

from memos_core.types.work import utc_now

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600), pytest.mark.xdist_group("processes")]
_BATCH = 8  # messages that a process files before the next one goes on


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with Forge() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def check(where: str, cache: Path, logs: dict[str, Path]) -> None:
    """All that was acknowledged is there, done to its end, once, and in order."""
    ahead = timedelta(seconds=2 * LEASE + 4000)  # whatever was leased, or is to be tried again later, is due
    with opened(where, str(cache), now=lambda: utc_now() + ahead) as mos:
        while mos.scheduler.run_pending():
            pass
        jobs = mos.scheduler.jobs(limit=100_000)
        assert [job for job in jobs if job.state != "done" and not job.interval] == []
        session = mos.session("ann", read_from=["ann"])
        items = session.list(limit=10_000, newest_first=False)
        effects = [item.text.split() for item in items if item.type == "effect"]
        counted = Counter(map(tuple, effects))
        assert not counted or max(counted.values()) == 1, "an effect came twice"
        said = {item.id: item for item in items if item.type == "message"}
        for name, log in logs.items():
            lines = noted(log)
            for what, n, id in lines:
                if what == "said":
                    assert said[id].text.endswith(f"word{name}{n}"), "a message was lost"
                elif what != "finished":
                    assert counted[what, str(n)] == 1, f"{what} {n} was lost"
            own = [item for item in said.values() if item.conversation == name]
            words = [int(item.text.rpartition(name)[2]) for item in sorted(own, key=_position)]
            assert words == sorted(words), "the order of messages"
            lane = [int(n) for by, n in effects if by == f"EFFECT-{name}"]
            assert lane == sorted(lane), "the order within a cube"
        embedded = mos.store.records(mos.store.cubes()[0], [item.seq for item in said.values()])
        assert all(record.vectors_of for record in embedded.values()), "something has no vectors"
        assert {item.version for item in said.values()} <= {1}
        assert mos.verify() == []


def _position(item: object) -> int:
    source = item.provenance.source  # type: ignore[attr-defined]
    assert source is not None
    return int(source.position)


def killed(
    forge: Forge, where: str, folder: Path, kills: int, *, seed: int, work: str, write: str, batch: int
) -> dict[str, Path]:
    """Two workers and two writers, one of whom is killed so many times, and replaced; the logs of the writers by name.

    Args:
        work, write: what they do, in the words of the forge.
        batch: how much a writer does in its life.
    """
    chance = random.Random(seed)
    with opened(where, str(folder / "cache0")) as mos:
        mos.session("ann").add("There is a cube.")
    logs = {name: folder / f"{name}.log" for name in ("x", "y")}
    first = dict.fromkeys(logs, 0)

    def new_writer(name: str) -> int:
        first[name] += 100
        return forge.start(write, where, str(folder / f"cache-{name}"), name, first[name], batch, str(logs[name]))

    workers = [forge.start(work, where, str(folder / f"cache{n}")) for n in range(2)]
    writers = {name: new_writer(name) for name in logs}
    for _ in range(kills):
        pause(chance.uniform(0.02, 0.6))
        victim = chance.randrange(4)
        if victim < 2:
            forge.kill(workers[victim])
            workers[victim] = forge.start(work, where, str(folder / f"cache{victim}"))
        else:
            name = list(logs)[victim - 2]
            forge.kill(writers[name])
            writers[name] = new_writer(name)
    until = time.monotonic() + 60
    while not all(forge.ended(process) for process in writers.values()):
        assert time.monotonic() < until, "a writer is stuck"
        pause(0.05)
    for process in workers:
        forge.kill(process)
    return logs


def test_workers_and_writers_killed_at_any_moment(forge: Forge, where: str, tmp_path: Path, rounds: Rounds) -> None:
    logs = killed(forge, where, tmp_path, rounds(18, 400), seed=5, work="work", write="file", batch=_BATCH)
    check(where, tmp_path / "cache0", logs)


def test_four_processes_do_all_of_it_once_and_in_order(
    forge: Forge, where: str, tmp_path: Path, rounds: Rounds
) -> None:
    count = rounds(25, 500)
    with opened(where, str(tmp_path / "cache0")) as mos:
        mos.session("ann").add("There is a cube.")
    logs = {"x": tmp_path / "x.log"}
    usual = 60.0  # seconds: nobody is killed here, and a machine may be busy
    workers = [forge.start("work", where, str(tmp_path / f"cache{n}"), usual) for n in range(4)]
    writer = forge.start("file", where, str(tmp_path / "cache-x"), "x", 0, count, str(logs["x"]))
    until = time.monotonic() + 60 + count
    with opened(where, str(tmp_path / "cache0")) as mos:
        while not forge.ended(writer) or any(
            s.counts["pending"] + s.counts["running"] for s in mos.scheduler.stats() if s.kind != "prune"
        ):
            assert time.monotonic() < until, f"stuck: {mos.scheduler.stats()}"
            pause(0.1)
        took = Counter(job.attempts for job in mos.scheduler.jobs(limit=10_000) if job.kind != "prune")
    for process in workers:
        forge.kill(process)
    assert set(took) == {1}, "nobody took over from anybody"
    check(where, tmp_path / "cache0", logs)


def test_preferences_are_found_once_in_all_that_was_said(
    forge: Forge, where: str, tmp_path: Path, rounds: Rounds
) -> None:
    logs = killed(forge, where, tmp_path, rounds(8, 150), seed=11, work="like", write="say", batch=12)
    ahead = timedelta(seconds=2 * LEASE + 4000)
    with opened(where, str(tmp_path / "cache0"), now=lambda: utc_now() + ahead, model=Liking()) as mos:
        while mos.scheduler.run_pending():
            pass
        jobs = mos.scheduler.jobs(limit=100_000)
        over = ("done", "cancelled")  # one whose worker died gives way to another that waits for the same conversation
        assert [job for job in jobs if job.state not in over and not job.interval] == []
        session = mos.session("ann", read_from=["ann"])
        found = session.preferences()
        messages = session.list(where={"type": "message"}, limit=10_000)
        assert Counter(item.metadata["topic"] for item in found) == Counter(item.text for item in messages)
        assert {item.version for item in found} == {1}, "nothing is found twice"
        known = {item.id for item in messages}
        assert all(id in known for log in logs.values() for what, _, id in noted(log) if what == "said")
        assert {source for item in found for source, _ in item.provenance.derived_from} == known
        assert mos.verify() == []
