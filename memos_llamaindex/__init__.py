"""memos for LlamaIndex.

    memory = Memory.from_defaults(session_id="thread-42", memory_blocks=[MemosMemoryBlock(session=mos.session("alice"))])
    engine = RetrieverQueryEngine.from_args(MemosRetriever(mos.session("alice")), llm=llm)

The names below load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from memos_core.errors import MissingPackage

if TYPE_CHECKING:
    from memos_llamaindex.memory_block import MemosMemoryBlock
    from memos_llamaindex.retriever import MemosRetriever

_HOME_OF = {"MemosMemoryBlock": "memory_block", "MemosRetriever": "retriever"}

__all__ = ["MemosMemoryBlock", "MemosRetriever"]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'memos_llamaindex' has no attribute {name!r}")
    try:
        return getattr(import_module(f"memos_llamaindex.{home}"), name)
    except ImportError as error:
        if (error.name or "").split(".")[0] == "llama_index":
            raise MissingPackage("llama-index-core", "llamaindex", f"memos_llamaindex.{name}") from error
        raise


def __dir__() -> list[str]:
    return sorted(__all__)
