"""If this fails, `import memos_langchain` drags in packages nobody asked for, or a missing one is a riddle instead of a hint."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import memos_langchain


def run(code: str) -> object:
    """What a fresh interpreter prints, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_public_names_are_those_announced() -> None:
    assert memos_langchain.__all__ == ["MemosMemory", "MemosRetriever"]
    assert dir(memos_langchain) == memos_langchain.__all__
    for name in memos_langchain.__all__:
        assert getattr(memos_langchain, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'MemosStore'"):
        memos_langchain.MemosStore  # noqa: B018


def test_each_name_loads_only_what_it_needs() -> None:
    loaded = run(
        "import json, sys\n"
        "heavy = ('langchain', 'langchain_core', 'langchain_classic', 'langgraph', 'torch', 'numpy')\n"
        "now = lambda: sorted(name for name in heavy if name in sys.modules)\n"
        "import memos_langchain\n"
        "first = now()\n"
        "memos_langchain.MemosRetriever\n"
        "second = now()\n"
        "memos_langchain.MemosMemory\n"
        "print(json.dumps([first, second, now()]))"
    )
    assert loaded == [
        [],
        ["langchain_core", "numpy"],
        ["langchain_classic", "langchain_core", "numpy"],
    ]


@pytest.mark.parametrize(
    ("missing", "name", "package", "extra"),
    [
        ("langchain_core", "MemosRetriever", "langchain-core", "langchain"),
        ("langchain_core", "MemosMemory", "langchain-core", "langchain-classic"),
        ("langchain_classic", "MemosMemory", "langchain-classic", "langchain-classic"),
    ],
)
def test_a_missing_package_is_named_with_what_to_install(missing: str, name: str, package: str, extra: str) -> None:
    said = run(
        "import json, sys\n"
        f"sys.modules[{missing!r}] = None\n"  # as if it were not installed
        "from memos_core.errors import MissingPackage\n"
        "import memos_langchain\n"
        "try:\n"
        f"    from memos_langchain import {name}\n"
        "except MissingPackage as error:\n"
        "    print(json.dumps([error.package, error.extra, str(error)]))\n"
    )
    assert isinstance(said, list)
    assert said[:2] == [package, extra]
    assert f"pip install 'memoskit[{extra}]'" in said[2]


def test_another_missing_package_is_not_blamed_on_langchain() -> None:
    said = run(
        "import json, sys\n"
        "sys.modules['langchain_core.documents'] = None\n"
        "sys.modules['pydantic'] = None\n"
        "try:\n"
        "    from memos_langchain import MemosRetriever\n"
        "except ImportError as error:\n"
        "    print(json.dumps([type(error).__name__, error.name]))\n"
    )
    assert said == ["ModuleNotFoundError", "pydantic"]
