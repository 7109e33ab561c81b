"""What all benchmarks share: timing in CPU seconds, percentiles, and results as a table or as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# One thread: two on a busy machine are slower than one, and ratios to a floor mean something only then.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

RESULTS = Path(__file__).parent / "results"


def cpu_ms(call: Callable[[], Any], times: int) -> list[float]:
    """CPU milliseconds of so many calls, after one that does not count, ascending."""
    call()
    taken = []
    for _ in range(times):
        start = time.process_time()
        call()
        taken.append((time.process_time() - start) * 1e3)
    return sorted(taken)


def each_cpu_ms(calls: Iterable[Callable[[], Any]]) -> list[float]:
    """CPU milliseconds of each call, ascending."""
    taken = []
    for call in calls:
        start = time.process_time()
        call()
        taken.append((time.process_time() - start) * 1e3)
    return sorted(taken)


def at(taken: list[float], share: float) -> float:
    """The value below which this share of ascending values lies."""
    return taken[min(len(taken) - 1, int(share * len(taken)))]


def resident_mb() -> float:
    """Memory of this process in use, in MB (Linux; elsewhere the highest it has been)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1e6 if sys.platform == "darwin" else 1e3)


def option(name: str) -> str | None:
    """The value of an option on the command line (`--url X`)."""
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv[:-1] else None


class PostgresCpu:
    """CPU seconds of all processes of a PostgreSQL server on this machine (Linux), those that have ended among them."""

    def __init__(self, url: str) -> None:
        import psycopg

        with psycopg.connect(url.replace("+psycopg", "").partition("?")[0]) as connection:
            backend = connection.info.backend_pid
        self._postmaster = int(_stat(backend)[1])
        self._per_second = os.sysconf("SC_CLK_TCK")

    def seconds(self) -> float:
        ticks = 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    fields = _stat(int(entry.name))
                except OSError:
                    continue  # it has ended meanwhile
                if int(entry.name) == self._postmaster:
                    ticks += sum(map(int, fields[11:15]))  # its own, and of its children that have ended
                elif int(fields[1]) == self._postmaster:
                    ticks += sum(map(int, fields[11:13]))
        return ticks / self._per_second


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name, from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def report(name: str, rows: list[dict[str, Any]], note: str = "") -> None:
    """Print rows as a table; with `--save`, also keep them as JSON beside the benchmarks."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    shown = [[_said(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(column), *(len(row[i]) for row in shown)) for i, column in enumerate(columns)]
    print("  ".join(column.ljust(width) for column, width in zip(columns, widths, strict=True)))
    for row in shown:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    if note:
        print(note)
    if "--save" in sys.argv:
        RESULTS.mkdir(exist_ok=True)
        machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
        kept = {"benchmark": name, **machine, "note": note, "rows": rows}
        (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def _said(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
