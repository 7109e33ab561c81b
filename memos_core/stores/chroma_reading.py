"""Reading collections that somebody else has made, to take them over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.errors import ForeignStore, NotFound, StoreError
from memos_core.stores.chroma import PREFIX, names
from memos_core.stores.chroma_places import DATABASE, OURS, ChromaServer, import_chromadb, settings
from memos_core.stores.waiting import Patience

PAGE: Final = 200
_SECONDS: Final = 60.0


class ForeignRecord(msgspec.Struct, frozen=True):
    """A record of a collection.

    Attributes:
        id: as the collection has it.
        document: its words; None for none.
        metadata: {} for none.
        vector: (dims,), or None.
    """

    id: str
    document: str | None
    metadata: dict[str, Any]
    vector: NDArray[np.float32] | None


class ForeignCollection:
    """A collection of somebody else.

    Args:
        collection: Chroma's object.
        patience: asks for it.
    """

    def __init__(self, collection: Any, patience: Patience) -> None:
        self._collection = collection
        self._patience = patience
        self.name = str(collection.name)
        self.id = str(collection.id)  # stays the same wherever the data are moved

    def __len__(self) -> int:
        return int(self._patience.ask(self._collection.count, _SECONDS))

    def pages(self, *, vectors: bool) -> Iterator[list[ForeignRecord]]:
        """All records, some hundred at a time.

        Args:
            vectors: read them too.

        Raises:
            FollowerUnavailable: whoever has them has stopped answering.
        """
        include = ["documents", "metadatas", *(["embeddings"] if vectors else [])]
        offset = 0
        while True:
            page = self._patience.ask(
                lambda offset=offset: self._collection.get(limit=PAGE, offset=offset, include=include),  # type: ignore[misc]
                _SECONDS,
            )
            if not page["ids"]:
                return
            yield list(_records(page))
            offset += len(page["ids"])


def _records(page: dict[str, Any]) -> Iterator[ForeignRecord]:
    count = len(page["ids"])
    documents, metadatas = page["documents"] or [None] * count, page["metadatas"] or [None] * count
    vectors = page.get("embeddings")
    vectors = [None] * count if vectors is None else vectors
    for id, document, metadata, vector in zip(page["ids"], documents, metadatas, vectors, strict=True):
        found = None if vector is None else np.asarray(vector, dtype=np.float32)
        yield ForeignRecord(str(id), document, dict(metadata or {}), found)


@contextmanager
def foreign_collections(place: str, wanted: str | None) -> Iterator[list[ForeignCollection]]:
    """The collections of a folder or server, by name; open for as long as the block runs.

    Args:
        place: a folder, or the URL of a server.
        wanted: the name of the one that is wanted; None for all that memos has not made itself.

    Raises:
        StoreError: there is no Chroma.
        ForeignStore: the folder holds what memos has made itself.
        NotFound: there is no such collection.
        FollowerUnavailable: the server does not answer.
    """
    patience = Patience(place.rpartition("@")[2])
    with _client(place, patience) as client:
        found = [name for name in patience.ask(lambda: names(client), _SECONDS) if not name.startswith(PREFIX)]
        if wanted is not None and wanted not in found:
            there = ", ".join(map(repr, found)) or "none"
            raise NotFound(f"there is no collection {wanted!r} at {patience.name}; there are: {there}")
        chosen = found if wanted is None else [wanted]
        yield [
            ForeignCollection(
                patience.ask(lambda name=name: client.get_collection(name, embedding_function=None), _SECONDS),  # type: ignore[misc]
                patience,
            )
            for name in sorted(chosen)
        ]


def _client(place: str, patience: Patience) -> AbstractContextManager[Any]:
    if place.startswith(("http://", "https://")):
        return _server(place, patience)
    return _folder(Path(place).expanduser(), patience)


@contextmanager
def _server(url: str, patience: Patience) -> Iterator[Any]:
    server = ChromaServer(url)
    client = patience.ask(server.client, _SECONDS)
    try:
        yield client
    finally:
        server.close()


@contextmanager
def _folder(folder: Path, patience: Patience) -> Iterator[Any]:
    if not (folder / DATABASE).is_file():
        raise StoreError(f"{folder} holds no Chroma (no {DATABASE} in it); give its folder, or http://HOST:PORT")
    if (folder / OURS).exists():
        raise ForeignStore(
            f"{folder} holds copies of vectors that memos has made itself; there is nothing to take over"
        )
    chromadb = import_chromadb()
    with ExitStack() as stack:
        client = patience.ask(lambda: chromadb.PersistentClient(str(folder), settings=settings(chromadb)), _SECONDS)
        stack.callback(client.close)
        yield client
