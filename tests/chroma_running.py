"""A Chroma server, really running: started, stopped, frozen and started again by the tests; and the fixtures that give it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(sys.executable).with_name("chroma")
PATIENCE = 60.0  # seconds
# Runs a command until it ends or a process (of the test run) is gone: an interrupted run must leave no server behind.
WATCHED = """
import os, subprocess, sys, time
process = subprocess.Popen(sys.argv[2:])
while process.poll() is None:
    try:
        os.kill(int(sys.argv[1]), 0)
    except ProcessLookupError:
        process.kill()
    time.sleep(0.5)
"""


def until(what: Callable[[], Any], *, seconds: float = PATIENCE) -> Any:
    """What something answers once it is true; asked again and again until then."""
    end = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)
    return answer


def require_chroma() -> None:
    """Skip where there is no Chroma; in CI that is a failure."""
    if PROGRAM.exists():
        return
    message = "no Chroma here: pip install 'memoskit[chroma]'"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server on a folder and a port of its own.

    Args:
        folder: its data.
        port: None for a free one.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def spec(self) -> str:
        return f"chroma:{self.url}"

    def start(self) -> Server:
        """Start it, and wait until it answers."""
        run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
        command = [
            sys.executable,
            "-c",
            WATCHED,
            str(run),
            PROGRAM,
            "run",
            "--path",
            self.folder,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        until(self.answers)
        return self

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/heartbeat", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def freeze(self) -> None:
        """It takes connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill it, as a power cut does; its data stay."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _signal(self, number: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)


@contextmanager
def shared_server(folder: Path) -> Iterator[str]:
    """The spec of a server that all workers of a test run share: the first one starts it, the last one ends it."""
    state = folder / "chroma-server.json"
    with _locked(state) as told:
        if not told:
            server = Server(folder / "chroma-server").start()
            assert server.process is not None
            told |= {"spec": server.spec, "pid": server.process.pid, "users": 0}
        told["users"] += 1
        spec = str(told["spec"])
    try:
        yield spec
    finally:
        with _locked(state) as told:
            told["users"] -= 1
            if not told["users"]:
                os.killpg(told["pid"], signal.SIGKILL)
                told.clear()


@contextmanager
def _locked(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        told = json.loads(file.read() or "{}")
        yield told
        file.seek(0)
        file.truncate()
        file.write(json.dumps(told))


@pytest.fixture(scope="session")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`vectors=` of a server that all tests share; none of them may disturb it."""
    require_chroma()
    base = tmp_path_factory.getbasetemp()
    with shared_server(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) as spec:
        yield spec


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, to be stopped and frozen."""
    require_chroma()
    made = Server(tmp_path / "server").start()
    yield made
    made.stop()


@pytest.fixture
def embedded() -> None:
    """Chroma can be embedded."""
    require_chroma()
