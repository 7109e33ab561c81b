"""memos: memory for LLM applications, governed like storage.

    with MOS.open("./memory", embedder="minilm") as mos:
        alice = mos.session("alice")
        alice.add("I moved to Lisbon in May.")
        print(alice.search("where does she live?")[0].text)

The names below load on first use; `import memos_core` itself loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from memos_core.aio import AsyncMOS, AsyncSession
    from memos_core.context import Context
    from memos_core.cube import MemCube
    from memos_core.errors import MemosError
    from memos_core.filters import F
    from memos_core.mos import MOS, CubeInfo
    from memos_core.plaintext.added import Added
    from memos_core.session import Session
    from memos_core.types.access import Actor, Grant, Right
    from memos_core.types.inputs import Document, Draft, Message
    from memos_core.types.items import Hit, Hits, LifecycleState, Link, MemoryItem, Page, Provenance, SourceRef, Version
    from memos_core.view import CompositeView

_HOMES = {
    "aio": ("AsyncMOS", "AsyncSession"),
    "context": ("Context",),
    "cube": ("MemCube",),
    "errors": ("MemosError",),
    "filters": ("F",),
    "mos": ("MOS", "CubeInfo"),
    "plaintext.added": ("Added",),
    "session": ("Session",),
    "types.access": ("Actor", "Grant", "Right"),
    "types.inputs": ("Document", "Draft", "Message"),
    "types.items": (
        "Hit",
        "Hits",
        "LifecycleState",
        "Link",
        "MemoryItem",
        "Page",
        "Provenance",
        "SourceRef",
        "Version",
    ),
    "view": ("CompositeView",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "MOS",
    "Actor",
    "Added",
    "AsyncMOS",
    "AsyncSession",
    "CompositeView",
    "Context",
    "CubeInfo",
    "Document",
    "Draft",
    "F",
    "Grant",
    "Hit",
    "Hits",
    "LifecycleState",
    "Link",
    "MemCube",
    "MemoryItem",
    "MemosError",
    "Message",
    "Page",
    "Provenance",
    "Right",
    "Session",
    "SourceRef",
    "Version",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'memos_core' has no attribute {name!r}")
    return getattr(import_module(f"memos_core.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
