"""If this fails, `import memos_llamaindex` pulls in LlamaIndex for people who do not use it, or dies without saying what to
install."""

from __future__ import annotations

import subprocess
import sys

import pytest

import memos_llamaindex


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_loads_no_llama_index() -> None:
    assert _python("import sys, memos_llamaindex; print('llama_index' in sys.modules)").strip() == "False"


@pytest.mark.parametrize("name", memos_llamaindex.__all__)
def test_without_llama_index_it_says_what_to_install(name: str) -> None:
    said = _python(
        "import sys\n"
        "sys.modules['llama_index'] = None\n"  # as if it were not installed
        "from memos_core.errors import MissingPackage\n"
        f"try:\n    from memos_llamaindex import {name}\n"
        "except MissingPackage as error:\n    print(error.extra, '|', error)"
    )
    assert said.startswith("llamaindex |")
    assert "pip install 'memoskit[llamaindex]'" in said
    assert name in said


def test_public_names_are_there() -> None:
    assert dir(memos_llamaindex) == sorted(memos_llamaindex.__all__)
    assert {getattr(memos_llamaindex, name).class_name() for name in memos_llamaindex.__all__} == set(
        memos_llamaindex.__all__
    )
    with pytest.raises(AttributeError, match="Memory2"):
        memos_llamaindex.Memory2  # noqa: B018


def test_the_names_that_contexts_are_written_with_can_be_imported() -> None:
    for name in memos_llamaindex.__all__:
        kind = getattr(memos_llamaindex, name)
        assert getattr(sys.modules[kind.__module__], kind.__qualname__) is kind
