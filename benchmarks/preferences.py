"""What finding preferences costs beside the model: the add, the context, and the job.

    python benchmarks/preferences.py [--save]

2,000 items, no embedder, CPU milliseconds in the middle (p50), stores on a disk. The model answers at once, so that the job's
figure is memos' own part: reading what is new, the prompt, checking the answer, storing what holds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import at, each_cpu_ms, report

from memos_core import MOS

ITEMS, TIMES, LIKED = 2000, 300, 100


class Agreeing:
    """Finds that whatever is new is liked."""

    identity = "agreeing-1"

    def complete(self, prompt: str) -> str:
        new = [each for each in json.loads(prompt.rpartition("\n")[2])["messages"] if each["new"]]
        return json.dumps(
            {
                "preferences": [
                    {
                        "topic": each["text"],
                        "statement": f"Likes {each['text']}.",
                        "polarity": "likes",
                        "explicit": True,
                        "messages": [each["n"]],
                        "quote": each["text"],
                    }
                    for each in new
                ]
            }
        )


def measure(folder: Path) -> list[dict[str, Any]]:
    texts = [f"The lamp number {number} stands in room {number % 50}." for number in range(ITEMS)]
    numbers = itertools.count()
    taken: dict[str, list[float]] = {}
    with (
        MOS.open(folder / "plain", usage=False) as plain,
        MOS.open(folder / "liking", usage=False, model=Agreeing(), preferences=True) as liking,
    ):
        stores = {"without": plain, "with": liking}
        for mos in stores.values():
            mos.session("alice").add(texts)
        sessions = {name: mos.session("alice", conversation="chat") for name, mos in stores.items()}

        def add(name: str) -> None:
            sessions[name].add({"role": "user", "content": f"lamp shade {next(numbers)}"})

        for _ in range(TIMES):  # one after the other, so that a busy machine slows both alike
            for name in stores:
                taken.setdefault(f"an add, {name} preferences", []).extend(each_cpu_ms([lambda name=name: add(name)]))
        liking.scheduler.run_pending()

        def one_job() -> None:
            liking.scheduler.run_pending(1)

        for _ in range(50):
            add("with")
            taken.setdefault("a job for one message", []).extend(each_cpu_ms([one_job]))
        for count in (LIKED, 0):
            found = sessions["with"].preferences()
            sessions["with"].delete([item.id for item in found[count:]])
            contexts = each_cpu_ms([lambda: sessions["with"].context("which lamp stands in room 17?")] * 50)
            taken[f"a context, {count} preferences"] = contexts
    return [{"figure": name, "CPU ms, p50": at(sorted(each), 0.5)} for name, each in taken.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--save", action="store_true", help="keep the figures in benchmarks/results")
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report("preferences", measure(Path(folder)), f"{ITEMS} items")


if __name__ == "__main__":
    sys.exit(main())
