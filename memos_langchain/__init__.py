"""memos in LangChain: `MemosRetriever` for any runnable, `MemosMemory` for chains with `memory=`.

    from memos_core import MOS
    from memos_langchain import MemosRetriever

    with MOS.open("./memory", embedder="minilm") as mos:
        alice = mos.session("alice")
        alice.add("I moved to Lisbon in May.")
        print(MemosRetriever(session=alice, k=3).invoke("where does she live?"))

The names below load on first use, and only then need their packages: `MemosRetriever` the extra "langchain", `MemosMemory`
the extra "langchain-classic".
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memos_langchain.classic import MemosMemory
    from memos_langchain.retriever import MemosRetriever

_HOME_OF = {"MemosMemory": "classic", "MemosRetriever": "retriever"}

__all__ = ["MemosMemory", "MemosRetriever"]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'memos_langchain' has no attribute {name!r}")
    return getattr(import_module(f"memos_langchain.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
