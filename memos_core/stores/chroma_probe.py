"""A program that reads a Chroma folder and ends well only if everything in it can be found.

It runs in a process of its own, because reading a damaged folder may crash or stall. Whoever starts it sets a timeout.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

_SAMPLE: Final = 50
_WIDE: Final = (
    3  # of those are asked for as many neighbours as any search asks for: a torn graph crashes where it is torn
)
_MOST: Final = 20_000
_MISSES: Final = 0.1


def main(folder: str) -> None:
    """End with code 0 where all collections of a folder can be read and searched, else with another one."""
    from memos_core.stores.chroma import names
    from memos_core.stores.chroma_places import import_chromadb, settings

    if not (Path(folder) / "chroma.sqlite3").exists():
        return
    chromadb = import_chromadb()
    client = chromadb.PersistentClient(folder, settings=settings(chromadb))
    for name in names(client):
        fault = _fault(client.get_collection(name, embedding_function=None))
        if fault:
            sys.exit(f"collection {name}: {fault}")
    client.close()


def _fault(collection: Any) -> str | None:
    count = collection.count()
    if not count:
        return None
    lost = looked = 0
    for offset in np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).astype(int)).tolist():
        one = collection.get(include=["embeddings"], limit=1, offset=offset)
        if not one["ids"]:
            return f"{count} vectors are counted, number {offset} is not there"
        looked += 1
        vector = np.asarray(one["embeddings"][0], dtype=np.float32)
        found = collection.query(query_embeddings=vector[None, :], n_results=min(10, count), include=["embeddings"])
        near = max((float(np.asarray(each) @ vector) for each in found["embeddings"][0]), default=-1.0)
        lost += near < float(vector @ vector) - 1e-3
        if looked <= _WIDE:
            collection.query(query_embeddings=vector[None, :], n_results=min(_MOST, count), include=["distances"])
    return f"{lost} of {looked} vectors are not found by searching for them" if lost > _MISSES * looked else None
