"""Importing: seconds, memory, and what comes along, each in a fresh interpreter.

    python benchmarks/imports.py [--save]

Bytecode must be compiled (run it twice, or install with it), or this measures the compiler.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from measure import report

RUNS = 7
HEAVY = ("torch", "transformers", "peft", "chromadb", "neo4j", "langchain_core", "llama_index", "onnxruntime", "pandas")
STATEMENTS = (
    "pass",
    "import numpy",
    "import sqlalchemy",
    "import memos_core",
    "from memos_core import MOS",
    "from memos_core.models.minilm import MiniLM",
    "import memos_langchain",
    "import memos_llamaindex",
    "from memos_core.cli import main",
)
PROBE = """
import json, sys, time
wall, cpu = time.perf_counter(), time.process_time()
{statement}
taken = time.perf_counter() - wall, time.process_time() - cpu
with open("/proc/self/status") as file:
    resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
heavy = [name for name in {heavy!r} if name in sys.modules]
print(json.dumps([*taken, resident / 1000, len(sys.modules), heavy]))
"""


def measure(statement: str) -> dict[str, object]:
    """Medians over several interpreters."""
    runs = []
    for _ in range(RUNS):
        code = PROBE.format(statement=statement, heavy=HEAVY)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode:
            return {"statement": statement, "s": done.stderr.strip().splitlines()[-1]}
        runs.append(json.loads(done.stdout))
    return {
        "statement": statement,
        "s": statistics.median(run[0] for run in runs),
        "CPU s": statistics.median(run[1] for run in runs),
        "MB": statistics.median(run[2] for run in runs),
        "modules": runs[0][3],
        "heavy": ", ".join(runs[0][4]) or "none",
    }


if __name__ == "__main__":
    report("imports", [measure(statement) for statement in STATEMENTS])
