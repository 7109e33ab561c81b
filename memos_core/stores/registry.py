"""Short names of backends and models: name -> where it is, and what to install for it.

Other people's packages add their own with entry points (groups "memos.stores", "memos.embedders" and
"memos.vectors").
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any, Final

import msgspec

from memos_core.errors import InvalidConfig, MissingPackage


class Known(msgspec.Struct, frozen=True):
    """Where a class is.

    Attributes:
        path: "package.module:Name".
        package: the optional package it needs; "" for none.
        extra: of memoskit, that installs it.
    """

    path: str
    package: str = ""
    extra: str = ""


STORES: Final = {"sqlite": Known("memos_core.stores.sql.records:SqlStore")}
EMBEDDERS: Final = {
    "minilm": Known("memos_core.models.minilm:MiniLM", "tokenizers", "minilm"),
    "hashing": Known("memos_core.models.hashing:HashingEmbedder"),
    "given": Known("memos_core.models.given:GivenVectors"),
}
VECTORS: Final = {"chroma": Known("memos_core.stores.chroma_places:open_chroma", "chromadb", "chroma")}


def find(name: str, known: dict[str, Known], group: str, what: str) -> Any:
    """The class of a short name, loaded on first use.

    Args:
        name: "minilm".
        known: those of memos.
        group: of entry points, for those of others.
        what: for messages: "embedder".

    Raises:
        InvalidConfig: nobody has registered the name.
        MissingPackage: it needs a package that is not installed.
    """
    entry = known.get(name)
    if entry is None:
        for point in metadata.entry_points(group=group):
            if point.name == name:
                return point.load()
        others = sorted({point.name for point in metadata.entry_points(group=group)})
        raise InvalidConfig(f"no {what} {name!r}; there are: {', '.join([*sorted(known), *others])}")
    module, _, attribute = entry.path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        if entry.package and (error.name or "").split(".")[0] == entry.package:
            raise MissingPackage(entry.package, entry.extra, f"the {what} {name!r}") from error
        raise
