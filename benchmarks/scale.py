"""A million memories, and ten thousand cubes; beside other stores and a numpy floor, each in processes of its own.

    python benchmarks/scale.py [10000 100000 1000000] [--stores memos,floor,...] [--url POSTGRES] [--cubes 10000] [--save]

384-d vectors are given, texts have 31 words, everything is written in batches of a thousand. One process fills the store,
another one opens it again and asks: so "reopen" and "resident" are those of a program that starts. What adding costs
a PostgreSQL server is counted with the client; searches are the client's CPU alone.
"vector" is the ten nearest with their texts, "hybrid" by meaning and words.
Peers are taken where they are installed (chromadb, langgraph, langgraph-checkpoint-sqlite, llama-index-core, mem0ai); what
is missing or cannot run here is named, with the reason.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from made_up import MadeUp
from measure import PostgresCpu, at, each_cpu_ms, report, resident_mb  # first: it sets the number of threads
from peers import STORES, Memos, Store

DIMS = 384
QUESTIONS = 40
LONGEST = 3600  # seconds that a store may take for one step


def share_of(number: int) -> int:
    """Spreads the filtered items over the whole store."""
    return (number * 7919) % 10_000


def fill(made: type[Store], folder: Path, count: int) -> dict[str, Any]:
    """Add everything."""
    store, number, busy = made(folder, DIMS), 0, 0.0
    server = PostgresCpu(Memos.location) if Memos.location else None
    before = server.seconds() if server else 0.0
    for texts, vectors in MadeUp(count).pieces():
        shares = [share_of(number + place) for place in range(len(texts))]
        number += len(texts)
        start = time.process_time()
        store.add(texts, vectors, shares)
        busy += time.process_time() - start
    start = time.process_time()
    store.settle()
    settling = time.process_time() - start
    start = time.process_time()
    store.close()
    busy += time.process_time() - start
    busy += server.seconds() - before if server else 0.0
    figures = {"add, items/CPU s": count / busy, "add and index, items/CPU s": count / (busy + settling)}
    return figures if made.durable else {**figures, **ask(store, count, {})}


def reopen(made: type[Store], folder: Path, count: int) -> dict[str, Any]:
    """Open again and ask."""
    made_up = MadeUp(count)
    (text, vector), *_ = made_up.questions(1)
    import_first(made)
    before, start = resident_mb(), time.process_time()
    store = made(folder, DIMS)
    store.vector(text, vector)
    figures = {"reopen, CPU s": time.process_time() - start}
    figures = ask(store, count, figures)
    figures["resident MB"] = resident_mb() - before
    figures["disk MB"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    if isinstance(store, Memos):
        if store.location:
            figures["disk MB"] += int(store.mos.store.facts()["bytes"]) / 1e6
        figures |= following(store, folder, count)
    store.close()
    return figures


def import_first(made: type[Store]) -> None:
    """Packages are loaded before memory is counted."""
    with tempfile.TemporaryDirectory() as folder:
        store = made(Path(folder) / "x", DIMS)
        (texts, vectors), *_ = MadeUp(20).pieces()
        store.add(texts, vectors, range(20))
        store.close()


def ask(store: Store, count: int, figures: dict[str, Any]) -> dict[str, Any]:
    """Search times."""
    questions = MadeUp(count).questions(QUESTIONS)
    kinds = [("vector", store.vector, None), ("vector 10 %", store.vector, 1000), ("vector 1 %", store.vector, 100)]
    if type(store).hybrid is not Store.hybrid:
        kinds += [
            ("hybrid", store.hybrid, None),
            ("hybrid 10 %", store.hybrid, 1000),
            ("hybrid 1 %", store.hybrid, 100),
        ]
    for name, method, share in kinds:
        method(*questions[0], share)
        start = time.perf_counter()
        method(*questions[0], share)
        some = questions if time.perf_counter() - start < 0.5 else questions[:8]
        taken = each_cpu_ms([lambda q=q, v=v, m=method, s=share: m(q, v, s) for q, v in some])
        figures[f"{name} p50 ms"] = at(taken, 0.5)
        figures[f"{name} p95 ms"] = at(taken, 0.95)
    return figures


def following(store: Memos, folder: Path, count: int) -> dict[str, Any]:
    """Catching up with what another process has written, and building the index anew."""
    cube = store.mos.cube("alice")
    foreign = Memos(folder, DIMS)
    for texts, vectors in MadeUp(10_000, seed=1).pieces():
        foreign.add(texts, vectors, [9_999] * len(texts))
    foreign.close()
    catch_up = each_cpu_ms([cube.catch_up])[0]
    start = time.process_time()
    store.mos.reindex("alice")
    return {"catch up 10k, ms": catch_up, "rebuild, CPU s": time.process_time() - start}


def cubes(count: int, folder: Path, url: str | None) -> list[dict[str, Any]]:
    """One small cube among many, and alone: a hundred items each."""
    from memos_core import MOS

    rows = []
    for many in (1, count):
        place = folder / str(many) if url is None else in_schema(url, f"cubes_{many}_{uuid.uuid4().hex[:8]}")
        with MOS.open(place, embedder=f"given:{DIMS}") as mos:
            for number, (texts, vectors) in zip(range(many), MadeUp(many * 1000, words=31).pieces(), strict=False):
                mos.session(f"c{number}").add(texts[:100], vectors=vectors[:100])
        before = resident_mb()
        with MOS.open(place, embedder=f"given:{DIMS}", index_budget=64 << 20) as mos:
            questions = MadeUp(100).questions(200)
            picked = [mos.session(f"c{(number * 7919) % many}") for number in range(len(questions))]
            asked = list(zip(picked, questions, strict=True))
            first = each_cpu_ms([lambda s=s, q=q, v=v: s.search(q, vector=v) for s, (q, v) in asked])
            again = each_cpu_ms([lambda s=picked[0], q=q, v=v: s.search(q, vector=v) for _, (q, v) in asked])
            for number in range(0, many, max(1, many // 2000)):
                mos.session(f"c{number}").search(*questions[0][:1], vector=questions[0][1])
            held, loaded = resident_mb() - before, mos.stats()["index_bytes"] / 1e6
        rows.append(
            {
                "cubes": many,
                "first search p50 ms": at(first, 0.5),
                "search p50 ms": at(again, 0.5),
                "indexes MB (budget 67)": loaded,
                "resident MB": held,
            }
        )
    return rows


def in_schema(url: str, schema: str) -> str:
    """The URL of a store of its own in a database."""
    return f"{url}{'&' if '?' in url else '?'}schema={schema}"


def own_process(step: str, name: str, count: int, folder: Path, url: str | None) -> dict[str, Any]:
    """The figures of one step, taken in a process of its own; {"failed": why} where it could not."""
    command = [sys.executable, __file__, "--step", step, "--stores", name, str(count), "--folder", str(folder)]
    command += ["--url", url] if url else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"over {LONGEST} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["?"])[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def compare(names: list[str], count: int, url: str | None) -> list[dict[str, Any]]:
    """A row for each store."""
    rows = []
    for name in names:
        made = STORES[name]
        if count > made.most:
            rows.append({"store": made.name, "note": f"not run: {made.note}"})
            continue
        folder = Path(tempfile.mkdtemp())
        try:
            figures = own_process("fill", name, count, folder / "store", url)
            if "failed" not in figures and made.durable:
                figures |= own_process("reopen", name, count, folder / "store", url)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        note = f"not run: {figures.pop('failed')}" if "failed" in figures else made.note
        rows.append({"store": made.name, **figures, "note": note})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    floor = next((row.get("vector p50 ms") for row in rows if row["store"] == STORES["floor"].name), None)
    for row in rows:
        for kind in ("vector", "hybrid"):
            if floor and f"{kind} p50 ms" in row:
                row[f"{kind}/floor"] = row[f"{kind} p50 ms"] / floor
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("counts", nargs="*", type=int)
    parser.add_argument("--stores", default=",".join(STORES))
    parser.add_argument("--cubes", type=int, default=0)
    parser.add_argument("--url")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--step", choices=["fill", "reopen"])
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    Memos.location = asked.url
    names = asked.stores.split(",")
    if asked.step:
        step = fill if asked.step == "fill" else reopen
        print(json.dumps(step(STORES[names[0]], asked.folder, asked.counts[0])))
        return
    for count in asked.counts or ([] if asked.cubes else [10_000, 100_000, 1_000_000]):
        url = asked.url and in_schema(asked.url, f"scale_{count}_{uuid.uuid4().hex[:8]}")
        rows = compare(names, count, url)
        notes = [f"{row['store']}: {said}" for row in rows if (said := row.pop("note"))]
        titles = list(dict.fromkeys(name for row in rows for name in row if name != "store"))
        shown = [
            {"figure": title, **{row["store"]: row.get(title, "") for row in rows if len(row) > 1}} for title in titles
        ]
        report(f"scale-{count}{'-postgres' if url else ''}", shown, "\n".join([f"{count:,} items", *notes]))
    if asked.cubes:
        with tempfile.TemporaryDirectory() as folder:
            report(f"cubes{'-postgres' if asked.url else ''}", cubes(asked.cubes, Path(folder), asked.url))


if __name__ == "__main__":
    main()
