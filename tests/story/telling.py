"""What the stories share: a clock that is told to go on, stores to tell them in, and other processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from memos_core import MOS, Hit, MemoryItem


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def go(self, seconds: float) -> datetime:
        """Go on by so many seconds; the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now


def texts(found: Iterable[MemoryItem | Hit]) -> list[str]:
    """The words of items or hits, in order."""
    return [each.text for each in found]


def snapshot(mos: MOS) -> dict[str, tuple[int, list[tuple[str, int, str]]]]:
    """Everything that all cubes hold: how many changes each has had, and its items (id, version, words)."""
    found = {}
    for info in mos.cubes():
        items = mos.session(info.owner, read_from=[info.name], write_to=[]).list(limit=10_000)
        found[info.name] = (info.changes, sorted((item.id, item.version, item.text) for item in items))
    return found


def started(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Another interpreter that runs some code; its pipes are text. The arguments are in `sys.argv[1:]`."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Wait until another interpreter prints a line with that word."""
    assert process.stdout is not None
    said = process.stdout.readline().strip()
    assert said == word, f"{said!r} instead of {word!r}; {process.communicate(timeout=60)[1]}"


def tell(process: subprocess.Popen[str], word: str) -> None:
    """Write a line for another interpreter to read."""
    assert process.stdin is not None
    process.stdin.write(word + "\n")
    process.stdin.flush()


def in_another_process(code: str, *arguments: str | Path) -> str:
    """What another interpreter prints that runs some code to its end."""
    process = started(code, *arguments)
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 0, complained
    return said.strip()
