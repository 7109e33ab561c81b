"""Chroma as a keeper of vectors: a collection for each cube and embedder, in a folder or on a server.

A collection holds vectors of unit length under the numbers of the changes that made them, and nothing else: no texts, no
metadata of items. Its own metadata bear the mark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.errors import ForeignStore
from memos_core.protocols.vectors import Mark, TableAbilities

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

Floats = NDArray[np.float32]
PREFIX: Final = "memos-"
_FORMAT: Final = "memos_format"
_MOST_AMONG: Final = 10_000  # ids handed over with one search; beyond, sending them takes longer than searching here
_PAGE: Final = 100
_ROWS: Final = 10_000
# Inner product of unit vectors is their cosine, and takes a zero vector without complaint. Looking at more while searching
# finds more for its cost than a denser graph does, which takes longer to build.
_CONFIGURATION: Final[Any] = {"hnsw": {"space": "ip", "ef_construction": 100, "ef_search": 400, "max_neighbors": 16}}


class Clients(Protocol):
    """Where a Chroma is."""

    name: str

    def client(self) -> ClientAPI:
        """The client, connected when first asked for."""

    def purge(self) -> str | None:
        """As `VectorTables.purge`."""

    def close(self) -> None:
        """Let go of it."""

    def after_fork(self) -> None:
        """In a forked child: leave the parent's alone."""


class ChromaTables:
    """The collections of one Chroma.

    Args:
        clients: where it is.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    @property
    def name(self) -> str:
        """The folder or address."""
        return self._clients.name

    def table(self, mark: Mark) -> ChromaTable:
        """The collection of a cube's vectors."""
        return ChromaTable(self._clients, mark)

    def strays(self, mark: Mark) -> list[str]:
        """Collections of the cube under earlier embedders."""
        mine, start = collection_name(mark), _of_cube(mark)
        return [name for name in names(self._clients.client()) if name.startswith(start) and name != mine]

    def remove(self, name: str) -> None:
        """Remove a collection, if it is there."""
        _remove(self._clients.client(), name)

    def purge(self) -> str | None:
        """As `VectorTables.purge`."""
        return self._clients.purge()

    def close(self) -> None:
        """Let go of the client."""
        self._clients.close()

    def after_fork(self) -> None:
        """Leave the parent's client alone."""
        self._clients.after_fork()


class ChromaTable:
    """A collection.

    Args:
        clients: where it is.
        mark: whose vectors.
    """

    def __init__(self, clients: Clients, mark: Mark) -> None:
        self._clients = clients
        self._name = collection_name(mark)
        self._found: Any = None  # the collection: its id is gone when it is made anew, so an old one answers nothing

    @property
    def abilities(self) -> TableAbilities:
        """It narrows to ids, lists, and holds one cube."""
        return TableAbilities(among=_MOST_AMONG, lists=True, alone=True, shared=True)

    def mark(self) -> Mark | None:
        """As `VectorTable.mark`."""
        from chromadb.errors import NotFoundError

        try:
            self._found = self._clients.client().get_collection(self._name, embedding_function=None)
        except NotFoundError:
            self._found = None
            return None
        return _read_mark(self._found.metadata or {}, self._name)

    def create(self, mark: Mark) -> None:
        """As `VectorTable.create`."""
        self.drop()
        self._found = self._clients.client().create_collection(
            self._name, embedding_function=None, metadata=_as_metadata(mark), configuration=_CONFIGURATION
        )

    def put_mark(self, mark: Mark) -> None:
        """As `VectorTable.put_mark`."""
        self._collection.modify(metadata=_as_metadata(mark))

    def upsert(self, seqs: Sequence[int], vectors: Floats) -> None:
        """As `VectorTable.upsert`."""
        self._collection.upsert(ids=[str(seq) for seq in seqs], embeddings=vectors)

    def delete(self, seqs: Sequence[int]) -> None:
        """As `VectorTable.delete`."""
        for first in range(0, len(seqs), _ROWS):
            self._collection.delete(ids=[str(seq) for seq in seqs[first : first + _ROWS]])

    def nearest(self, vector: Floats, count: int, among: Sequence[int] | None = None) -> list[int]:
        """As `VectorTable.nearest`."""
        ids = None if among is None else [str(seq) for seq in among]
        found = self._collection.query(query_embeddings=vector[None, :], n_results=count, ids=ids, include=[])
        return [int(each) for each in found["ids"][0]]

    def seqs(self) -> list[int]:
        """As `VectorTable.seqs`."""
        found: list[int] = []
        while True:
            page = self._collection.get(include=[], limit=_ROWS, offset=len(found))["ids"]
            found.extend(int(each) for each in page)
            if len(page) < _ROWS:
                return found

    def vectors(self, seqs: Sequence[int]) -> dict[int, Floats]:
        """As `VectorTable.vectors`."""
        found = self._collection.get(ids=[str(seq) for seq in seqs], include=["embeddings"])
        rows = zip(found["ids"], found["embeddings"], strict=True)
        return {int(seq): np.asarray(row, dtype=np.float32) for seq, row in rows}

    def count(self) -> int:
        """As `VectorTable.count`."""
        return int(self._collection.count())

    def drop(self) -> None:
        """As `VectorTable.drop`."""
        _remove(self._clients.client(), self._name)
        self._found = None

    @property
    def _collection(self) -> Any:
        if self._found is None:
            raise LookupError(f"collection {self._name} is gone")
        return self._found


def collection_name(mark: Mark) -> str:
    """What the collection of a cube's vectors is called."""
    told = f"{mark.embedder}\x00{mark.dims}".encode()
    return f"{_of_cube(mark)}{hashlib.sha256(told).hexdigest()[:16]}"


def _of_cube(mark: Mark) -> str:
    return f"{PREFIX}{hashlib.sha256(mark.store.encode()).hexdigest()[:16]}-{mark.cube}-"


def names(client: ClientAPI) -> list[str]:
    """Names of all collections."""
    found: list[str] = []
    while True:
        page = client.list_collections(limit=_PAGE, offset=len(found))
        found.extend(each.name for each in page)
        if len(page) < _PAGE:
            return found


def _remove(client: ClientAPI, name: str) -> None:
    from chromadb.errors import NotFoundError

    try:
        client.delete_collection(name)
    except NotFoundError:
        return


def _as_metadata(mark: Mark) -> dict[str, str | int]:
    told: dict[str, str | int] = {f"memos_{name}": value for name, value in msgspec.structs.asdict(mark).items()}
    return told | {_FORMAT: 1}


def _read_mark(metadata: dict[str, Any], name: str) -> Mark:
    told = {key.removeprefix("memos_"): value for key, value in metadata.items() if key != _FORMAT}
    try:
        if metadata.get(_FORMAT) != 1:
            raise msgspec.ValidationError("it bears no mark of memos")
        return msgspec.convert(told, Mark)
    except msgspec.ValidationError as error:
        raise ForeignStore(f"the collection {name} is not what memos made: {error}") from error
