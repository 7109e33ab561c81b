"""Sizing: bytes an item takes in the database, in the files of the index, in memory and in a backup; how long those take.

    python benchmarks/sizing.py [10000 100000] [--minilm 2000] [--save]

Items are texts of 31 words (some 180 characters). Each kind of store is filled in one process and measured in another:
resident memory is what a fresh process has after its first search beyond what it had before opening, and bytes in memory
what the index says of itself. CPU seconds of one thread.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from made_up import MadeUp
from measure import report, resident_mb  # first: it sets the number of threads

from memos_core import MOS
from memos_core.reading.ordinary_words import ENGLISH
from memos_core.stores.index.upkeep import size_of

DIMS = 384


def fill(folder: Path, count: int, embedder: str | None) -> None:
    """A store of so many items."""
    given = embedder is not None and embedder.startswith("given:")
    with MOS.open(folder, embedder=embedder) as mos:
        session = mos.session("alice")
        for texts, vectors in MadeUp(count).pieces():
            if embedder == "minilm":  # made-up words would have several tokens each
                rng = np.random.default_rng(0)
                texts = [" ".join(rng.choice(sorted(ENGLISH), 31)) + f" {n}" for n in range(len(texts))]
            session.add(texts, vectors=vectors if given else None)
        session.search("warm the index")


def look(folder: Path) -> dict[str, float]:
    """What a fresh process finds."""
    import memos_core.plaintext.search  # noqa: F401  what is imported is no part of the store

    with MOS.open(":memory:", embedder="given:8") as scratch:
        scratch.session("x").add("x", vectors=[[1.0] * 8])
        scratch.session("x").search("x")
    before, start = resident_mb(), time.process_time()
    text, vector = MadeUp(1).questions(1)[0]
    with MOS.open(folder) as mos:
        session = mos.session("alice")
        dims = mos.stats()["dims"] or 0
        own = vector if (mos.stats()["embedder"] or "").startswith("given:") and dims else None
        session.search(text, vector=own)
        return {
            "resident": (resident_mb() - before) * 1e6,
            "opened": time.process_time() - start,
            "memory": mos.cube("alice").stats()["index"]["memory_bytes"],
        }


def measure(label: str, embedder: str | None, count: int) -> dict[str, object]:
    """One row."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        code = "import sys; sys.path.insert(0, sys.argv[1]); import sizing; from pathlib import Path; "
        here = str(Path(__file__).parent)
        filled = code + "sizing.fill(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] or None)"
        arguments = [here, str(place / "memory"), str(count), embedder or ""]
        subprocess.run([sys.executable, "-c", filled, *arguments], check=True)
        looked = code + "import json; print(json.dumps(sizing.look(Path(sys.argv[2]))))"
        told = subprocess.run([sys.executable, "-c", looked, *arguments], check=True, capture_output=True, text=True)
        seen = json.loads(told.stdout)
        with MOS.open(place / "memory") as mos:
            start = time.process_time()
            mos.backup(place / "backups")
            backed_up = time.process_time() - start
        start = time.process_time()
        MOS.restore(place / "backups", place / "again")
        restored = time.process_time() - start
        database = sum(path.stat().st_size for path in (place / "memory").glob("memos.db*"))
        return {
            "embedder": label,
            "items": count,
            "database B/item": round(database / count),
            "index files B/item": round(size_of(place / "memory" / "index") / count),
            "index memory B/item": round(seen["memory"] / count),
            "resident MB": round(seen["resident"] / 1e6),
            "open + search CPU s": seen["opened"],
            "backup B/item": round(size_of(place / "backups") / count),
            "backup CPU s": backed_up,
            "restore CPU s": restored,
        }


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--save"]
    small = int(words[words.index("--minilm") + 1]) if "--minilm" in words else 2000
    if "--minilm" in words:
        del words[words.index("--minilm") : words.index("--minilm") + 2]
    rows = []
    for count in [int(word) for word in words] or [10_000, 100_000]:
        rows.append(measure("none (words alone)", None, count))
        rows.append(measure(f"{DIMS} dimensions", f"given:{DIMS}", count))
    rows.append(measure("minilm, with token vectors", "minilm", small))
    report("sizing", rows, "texts of 31 words; one cube; index files include those that are about to be merged")


if __name__ == "__main__":
    main()
