"""If this fails, an example in `examples/` does not run as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted(FOLDER.glob("[0-9]*.py"))
# What a reader must see for the example to have shown what it says.
SHOWN = {
    "01_facts": "update I moved to Porto in June.",
    "02_conversation": "Added(3 known)",
    "03_documents": "1 removed",
    "04_sharing": "no cube 'alice' that 'bob' may read",
    "05_async": "the code is 333",
    "06_langchain_chain": "friday: What can Nora not eat?\n  -> I remember:",
    "07_llamaindex_agent": "friday: What can Nora not eat?\n  -> I remember:",
    "08_preferences": "now: ['alice dislikes jam.']",
}


def test_every_example_is_checked() -> None:
    assert sorted(SHOWN) == [example.stem for example in EXAMPLES]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs_and_shows_what_it_says(example: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert SHOWN[example.stem] in done.stdout
