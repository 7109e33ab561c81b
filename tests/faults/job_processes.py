"""Processes that file background work and do it, made by forking one that has loaded everything, so that dozens can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from memos_core import MOS
from memos_core.scheduler import worker
from memos_core.scheduler.kinds import JobContext, JobKind
from memos_core.types.work import Body, Put

LEASE = 1.5  # seconds: those of whoever is killed run out soon


def effect(context: JobContext) -> object:
    """Each run leaves an item: whoever counts them knows how often the job was done."""
    assert context.cube is not None
    texts = [f"{job.payload['by']} {job.payload['n']}" for job in context.jobs]
    with context.transaction(action="effect") as transaction:
        row = transaction.cube(context.cube.name)
        assert row is not None
        puts = [
            Put(id=uuid.uuid4().hex, op="add", text=text, body=Body(type="effect", indexed=False)) for text in texts
        ]
        transaction.put(row, puts)
    return None


EFFECT = JobKind(name="job_processes:EFFECT", run=effect, ordered=True, first_wait=0.05)
LOOSE = JobKind(name="job_processes:LOOSE", run=effect, together=8, first_wait=0.05)


def opened(where: str, cache: str, **options: Any) -> MOS:
    """The store, at most half a minute behind others who write."""
    return MOS.open(where, cache=cache, embedder="hashing", deadline=60.0, **options)


def work(where: str, cache: str, lease: float = LEASE) -> None:
    """Do what there is to do, for ever."""
    worker.LEASE = lease  # type: ignore[misc]
    with opened(where, cache) as mos:
        mos.scheduler.start(2)
        while True:
            time.sleep(60)


def file(where: str, cache: str, name: str, first: int, count: int, log: str) -> None:
    """Add messages without waiting, and file work; note each that was acknowledged."""
    with opened(where, cache) as mos, open(log, "a", buffering=1) as noted:
        session = mos.session("ann", conversation=name)
        for n in range(first, first + count):
            adding = session.add({"role": "user", "content": f"{name} says word{name}{n}"}, wait=False)
            noted.write(json.dumps(["said", n, adding.id]) + "\n")
            for kind in (EFFECT, LOOSE):
                by = f"{kind.name[14:]}-{name}"
                mos.scheduler.submit(kind.name, {"by": by, "n": n}, cube="ann")
                noted.write(json.dumps([by, n, None]) + "\n")
        noted.write('["finished", 0, null]\n')


class Liking:
    """A text model that finds that everything is liked, and takes its time."""

    identity = "liking-1"

    def complete(self, prompt: str) -> str:
        time.sleep(0.02)
        found = [
            {
                "topic": each["text"],
                "statement": f"Likes {each['text']}.",
                "polarity": "likes",
                "explicit": True,
                "messages": [each["n"]],
                "quote": each["text"],
            }
            for each in json.loads(prompt.rpartition("\n")[2])["messages"]
            if each["new"]
        ]
        return json.dumps({"preferences": found})


def like(where: str, cache: str) -> None:
    """Find preferences, for ever."""
    with opened(where, cache, model=Liking()) as mos:
        mos.scheduler.start(2)
        while True:
            time.sleep(60)


def say(where: str, cache: str, name: str, first: int, count: int, log: str) -> None:
    """Say what one likes, in which preferences are to be found; note each message that was acknowledged."""
    with opened(where, cache, model=Liking(), preferences=True) as mos, open(log, "a", buffering=1) as noted:
        session = mos.session("ann", conversation=name)
        for n in range(first, first + count):
            added = session.add({"role": "user", "content": f"love {name}{n}"}, wait=bool(n % 2))
            noted.write(json.dumps(["said", n, added.ids[0]]) + "\n")


class Forge:
    """Where these processes come from. Use it in a `with` block."""

    def __enter__(self) -> Forge:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _ask(self, *what: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, what: str, *arguments: Any) -> int:
        """A process that works or files; its id."""
        return int(self._ask(what, *arguments))

    def kill(self, process: int) -> None:
        """Kill one, and wait until it is gone."""
        self._ask("kill", process)

    def ended(self, process: int) -> bool:
        """Whether one has come to its end by itself."""
        return bool(self._ask("ended", process))


def _forge() -> None:
    import signal

    import memos_core.models.hashing
    import memos_core.reading.reader
    import memos_core.scheduler.jobs.embed
    import memos_core.scheduler.jobs.preferences
    import memos_core.scheduler.scheduler
    import memos_core.stores.sql.postgres.database
    import memos_core.stores.sql.records  # noqa: F401 - what all of them need

    worker.LEASE = LEASE  # type: ignore[misc]  # here and in its children, not where the tests of others run
    gone: dict[int, int] = {}
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        answer: object = True
        if what in ("kill", "ended"):
            process = arguments[0]
            if what == "kill" and process not in gone:
                os.kill(process, signal.SIGKILL)
            if process not in gone:
                found, status = os.waitpid(process, 0 if what == "kill" else os.WNOHANG)
                if found:
                    gone[process] = status
            answer = process in gone
        else:
            answer = os.fork()
            if answer == 0:
                try:
                    os.close(0)
                    {"work": work, "file": file, "like": like, "say": say}[what](*arguments)
                except BaseException:  # noqa: BLE001 - the child must end here, whatever happened
                    sys.excepthook(*sys.exc_info())
                    os._exit(1)
                os._exit(0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def noted(log: Path) -> list[list[Any]]:
    """What a process had noted; the last line may be torn."""
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import job_processes

    worker.LEASE = LEASE  # type: ignore[misc]  # here, not where it is imported: other tests of that process go by the real one
    job_processes._forge()
