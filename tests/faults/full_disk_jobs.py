"""A process with jobs to do on a disk that becomes full, again and again; run by test_full_disk.py, tells what it saw as JSON."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memos_core import MOS
from memos_core.errors import StoreError
from memos_core.scheduler.kinds import JobContext, JobKind
from memos_core.types.jobs import Job
from memos_core.types.work import Body, Put

ROUNDS = 2
FULL_FOR = 2.5  # seconds
ROOM = 700_000  # bytes


def effect(context: JobContext) -> object:
    """Each run leaves an item: whoever counts them knows how often the job was done."""
    assert context.cube is not None
    with context.transaction(action="effect") as transaction:
        row = transaction.cube(context.cube.name)
        assert row is not None
        text = f"effect {context.payload['n']} " + "w" * 6000
        transaction.put(row, [Put(id=uuid.uuid4().hex, op="add", text=text, body=Body(type="effect", indexed=False))])
    return None


def outside(context: JobContext) -> object:
    """It leaves a mark elsewhere, where no transaction keeps it from being left twice."""
    os.write(int(os.environ["MARKS"]), f"{context.payload['n']}\n".encode())
    return None


EFFECT = JobKind(name="full_disk_jobs:EFFECT", run=effect, ordered=True, max_attempts=2)
OUTSIDE = JobKind(name="full_disk_jobs:OUTSIDE", run=outside, max_attempts=2)


def until(done: Callable[[], bool], seconds: float = 90.0) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def own_jobs(mos: MOS) -> list[Job]:
    """Those that were filed here. (Of those that predict, one that is put back may give way to its twin.)"""
    return [job for job in mos.scheduler.jobs(limit=9999) if job.kind not in ("prune", "working")]


def cpu_of(process: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(mos: MOS, report: dict[str, Any]) -> None:
    """File jobs until the disk is full, then add without waiting while it is."""
    ann = mos.session("ann", conversation="thread")
    while True:
        n = report["filed"]
        try:
            ann.add(f"memory {n} " + "of many words " * 150, wait=False)
            report["added"] += 1
            mos.scheduler.submit("full_disk_jobs:EFFECT", {"n": n}, cube="ann")
            report["effects"].append(n)
            mos.scheduler.submit("full_disk_jobs:OUTSIDE", {"n": n})
            report["outside"].append(n)
            report["filed"] += 1
        except StoreError as error:
            report["errors"].append(type(error).__name__)
            report["filed"] += 1
            return


def stay_full(mos: MOS, report: dict[str, Any], worker: int) -> None:
    ann = mos.session("ann", conversation="thread")
    end, before, began = time.monotonic() + FULL_FOR, cpu_of(worker), time.monotonic()
    while time.monotonic() < end:
        try:
            ann.add("too much " + "of many words " * 2000, wait=False)
            report["errors"].append("none")
        except StoreError as error:
            report["errors"].append(type(error).__name__)
        time.sleep(0.1)
    report["busy"].append((cpu_of(worker) - before) / (time.monotonic() - began))


def main(folder: Path, who: str) -> None:
    """Fill the disk, look, make room, see that everything is done; several times."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("memos_core.scheduler").addHandler(handler)
    names = ("errors", "effects", "outside", "busy", "all_done")
    report: dict[str, Any] = {"filed": 0, "added": 0, **{name: [] for name in names}}
    ballast = folder / "ballast"
    read, write = os.pipe()
    os.environ["MARKS"] = str(write)
    process = None
    with MOS.open(folder / "store", embedder="hashing") as mos:
        mos.session("ann").add("hello")
        if who == "threads":
            mos.scheduler.start(2)
        else:
            process = subprocess.Popen(
                [sys.executable, "-c", "from memos_core.cli import main; main()", "worker", "--threads", "2"],
                env={**os.environ, "MEMOS_STORE": str(folder / "store")},
                pass_fds=(write,),
                stderr=subprocess.PIPE,
                text=True,
            )
        assert until(lambda: any(job.kind == "prune" for job in mos.scheduler.jobs())), "nobody runs jobs"
        for _ in range(ROUNDS):
            ballast.write_bytes(bytes(shutil.disk_usage(folder).free - ROOM))
            fill(mos, report)
            stay_full(mos, report, os.getpid() if process is None else process.pid)
            ballast.unlink()
            report["all_done"].append(until(lambda: all(job.state == "done" for job in own_jobs(mos))))
        jobs = own_jobs(mos)
        report["jobs"] = Counter(f"{job.state} {job.attempts}" for job in jobs)
        report["threads"] = sum(
            thread.name.startswith("memos-jobs-") and thread.name != "memos-jobs-watch"
            for thread in threading.enumerate()
        )
        if process is not None:
            process.terminate()
            said += str(process.communicate()[1]).splitlines()
            report["code"] = process.returncode
        items = mos.session("ann").list(limit=9999)
        report["refused"] = sum(item.text.startswith("too much ") for item in items)
        report["jobs_of_adds"] = sum(job.kind == "embed" for job in jobs)
        report["items"] = sum(item.text.startswith("memory ") for item in items)
        report["written"] = sorted(int(item.text.split()[1]) for item in items if item.type == "effect")
        report["verify"] = [finding.what for finding in mos.verify()]
    os.close(write)
    with os.fdopen(read) as marks:
        report["marks"] = sorted(map(int, marks.read().split()))
    sys.stdout.write(json.dumps(report | {"said": said}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
