"""If this fails, somebody who types what the README or the docs show gets an error."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[object]:
    """Code blocks of all pages in a language, each named by page and number."""
    found = []
    for page in PAGES:
        own = [match.group(2) for match in _BLOCK.finditer(page.read_text("utf-8")) if match.group(1) == language]
        found.extend(pytest.param(code, id=f"{page.stem}-{number}") for number, code in enumerate(own, 1))
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str, tmp_path: Path) -> None:
    script = tmp_path / "shown.py"
    script.write_text(code, "utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", blocks("console"))
def test_commands_run(code: str, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Notes\n\nThe server is called Hekla.\n", "utf-8")
    (tmp_path / "chat.jsonl").write_text('{"role": "user", "content": "I moved to Lisbon in May."}\n', "utf-8")
    for line in code.splitlines():
        if not line.startswith("$ memos "):
            continue
        words = shlex.split(line.removeprefix("$ memos "), comments=True)
        command = [sys.executable, "-c", "from memos_core.cli import main; main()", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text("utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:memos_\w+|benchmarks|examples|tests|docs|ci)/[\w/.-]+\.\w+)`", page.read_text("utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []
