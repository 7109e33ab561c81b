"""A process with the store open, that does what it is told, line by line: a command in JSON in, an answer in JSON out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from writers import opened

from memos_core import MOS
from memos_core.types.cube_policy import CubePolicy


class Worker:
    """Another process. `ask` for something, or `tell` first and read the `answer` later."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def tell(self, do: str, **what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self, do: str, **what: Any) -> Any:
        self.tell(do, **what)
        return self.answer()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def close(self) -> None:
        self._process.communicate(timeout=60)
        assert self._process.returncode == 0


class _Commands:
    def __init__(self, mos: MOS, name: str) -> None:
        self.mos = mos
        self.name = name
        self.ann = mos.session("ann")

    def add(self, text: str) -> str:
        return self.ann.add(text).id

    def update(self, id: str, text: str) -> int:
        return self.ann.update(id, text=text).version

    def delete(self, id: str) -> int:
        return self.ann.delete(id)

    def search(self, query: str) -> list[str]:
        return [hit.text for hit in self.ann.search(query, top_k=5, without=["dense", "near", "late"])]

    def nearest(self, like: str) -> str:
        """The text whose vector is nearest to that of another."""
        embedder = self.mos._embedding.embedder
        assert embedder is not None
        vector = np.asarray(embedder.embed([like])[0], dtype=np.float32)
        return self.mos.cube("ann").nearest(vector, 1)[0][0].text

    def run(self, count: int) -> int:
        """Write on its own, and look after each write; returns how many searches were made."""
        for n in range(count):
            id = self.ann.add(f"{self.name} remembers tok{self.name}{n}").id
            assert self.search(f"tok{self.name}{n}") == [f"{self.name} remembers tok{self.name}{n}"], (
                "its own last write"
            )
            if n % 3 == 0:
                self.ann.update(id, text=f"{self.name} remembers tok{self.name}{n} changed")
            if n % 5 == 4:
                self.ann.delete(id)
                assert self.search(f"tok{self.name}{n}") == [], "what it has just deleted"
        return count

    def watch(self, until: int) -> list[int]:
        """Search until so many changes are there; how many memories each search found."""
        cube = self.mos.cube("ann")
        counts = []
        while cube.stats()["changes"] < until:
            counts.append(len(self.ann.search("remembers", top_k=5000, without=["dense", "near", "late"])))
        return counts

    def share(self, with_: str) -> None:
        self.mos.share("ann", with_=with_)

    def unshare(self, with_: str) -> None:
        self.mos.unshare("ann", with_=with_)

    def policy(self, redact: list[str]) -> None:
        self.mos.cube("ann").set_policy(CubePolicy(redact=tuple(redact)))  # type: ignore[arg-type]

    def verify(self) -> list[str]:
        return [finding.what for finding in self.mos.verify()]


if __name__ == "__main__":
    with opened(Path(sys.argv[1])) as mos:
        commands = _Commands(mos, sys.argv[2])
        for line in sys.stdin:
            what = json.loads(line)
            answer = getattr(commands, what.pop("do"))(**what)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
