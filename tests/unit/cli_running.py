"""Runs the command line for the tests: in this process, in one of its own, and on a terminal of a given width."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner

from memos_core.cli import main

SCRIPT = "from memos_core.cli import main; main()"
COMMAND = [sys.executable, "-c", SCRIPT]
_STYLES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON documents on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, str]:
        """The error on stderr, of a command with --json."""
        told = json.loads(self.err)
        assert list(told) == ["error"]
        assert list(told["error"]) == ["type", "message"]
        return told["error"]


class Memos:
    """The command line with a store of its own, on behalf of alice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "memory"
        self.env = {
            "MEMOS_STORE": str(self.store),
            "MEMOS_ACTOR": "alice",
            "XDG_DATA_HOME": str(folder / "data"),
            "MEMOS_HOME": str(folder / "home"),
        }

    def __call__(self, *args: object, input: str | bytes | None = None, code: int = 0) -> Ran:
        """Run it here; the exit code must be as said."""
        result = CliRunner().invoke(main, [str(arg) for arg in args], input=input, env=self.env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return Ran(result.exit_code, result.stdout, result.stderr)

    def start(self, *args: object, **popen: Any) -> subprocess.Popen[bytes]:
        """Start it in a process of its own."""
        return subprocess.Popen([*COMMAND, *map(str, args)], env=self.environment(), cwd=self.folder, **popen)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a process of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MEMOS_")}
        return {**kept, **self.env, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(more or {})}

    def on_terminal(self, *args: object, columns: int = 80, typed: bytes = b"", script: str = SCRIPT) -> Ran:
        """Run it on a terminal; what is shown there comes back as `out`, with styles taken out."""
        own, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        env = self.environment({"COLUMNS": str(columns), "TERM": "xterm-256color"})
        command = [sys.executable, "-c", script, *map(str, args)]
        process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=env, cwd=self.folder)
        os.close(its)
        if typed:
            os.write(own, typed)
        shown = bytearray()
        try:
            while piece := os.read(own, 65536):
                shown += piece
        except OSError:  # how Linux says that nobody has the terminal open any more
            pass
        os.close(own)
        return Ran(process.wait(), _STYLES.sub("", shown.decode()).replace("\r\n", "\n"), "")
