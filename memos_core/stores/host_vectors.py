"""Vector stores of LangChain and LlamaIndex as keepers of vectors, by their methods; neither is imported here.

A host's store knows no collections and no marks. So a cube's vectors bear the cube's key in their metadata, and the mark is
one more record, whose id says it all: there are stores that give nothing back but ids. Ids have the form of UUIDs, because
there are stores that take no other. How a store is told a filter is found out with the mark's own record; where it has none,
more is asked for than needed, and the rest left out here.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.errors import InvalidConfig
from memos_core.protocols.vectors import Mark, TableAbilities

Floats = NDArray[np.float32]
Row = tuple[str, Floats]
FIELD: Final = "memos"  # metadata: which cube's vector this is
_SPARE: Final = 4  # where cubes cannot be told apart by a filter, so many times as many vectors are asked for
_MANY: Final = 1000
_MOST_AMONG: Final = 1000


class Hosted(Protocol):
    """A host's vector store, reduced to what both hosts have."""

    name: str
    narrows: bool  # whether `search` understands `among`

    def put(self, rows: Sequence[Row], group: str) -> None:
        """Keep vectors under ids, as of a group; those that are there are replaced."""

    def delete(self, ids: Sequence[str]) -> None:
        """Forget some; those that there are not are no error."""

    def search(self, vector: Floats, count: int, group: str | None, among: Sequence[str] | None = None) -> list[str]:
        """Ids of the nearest of a group (None: of all); an error of any kind where it cannot tell groups apart."""


class HostTables:
    """The vectors of all cubes in one store of a host.

    Args:
        hosted: the store.
    """

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        """Host and class."""
        return self._hosted.name

    def table(self, mark: Mark) -> HostTable:
        """The vectors of one cube."""
        return HostTable(self._hosted, self._lock, mark)

    def strays(self, mark: Mark) -> list[str]:
        """None that could be found: such a store lists nothing."""
        return []

    def remove(self, name: str) -> None:
        """Nothing, as there are no strays."""

    def purge(self) -> str | None:
        """Nothing can be done here: what deleting leaves behind is the store's own business."""
        return (
            f"{self.name} was told to delete the vectors; whether its files still hold them, its documentation must say"
        )

    def close(self) -> None:
        """Nothing: the store belongs to the application."""

    def after_fork(self) -> None:
        """A lock that a thread of the parent held would never be released."""
        self._lock = threading.RLock()


class HostTable:
    """The vectors of one cube in a host's store.

    Args:
        hosted: the store.
        lock: held while something is written to it.
        mark: whose vectors.
    """

    def __init__(self, hosted: Hosted, lock: threading.RLock, mark: Mark) -> None:
        self._hosted = hosted
        self._lock = lock
        self._mine = mark
        told = f"{mark.store}\x00{mark.cube}\x00{mark.embedder}\x00{mark.dims}".encode()
        self._key = int.from_bytes(hashlib.sha256(told).digest()[:4], "big")
        self._group = f"{self._key:08x}"
        self._place = np.eye(1, mark.dims, dtype=np.float32)[0]  # where marks lie, to be found by searching
        self._filters: bool | None = None  # whether the store tells cubes apart; None: not found out yet
        self._born = ""

    @property
    def abilities(self) -> TableAbilities:
        """It lists nothing; the rest is as found out."""
        among = _MOST_AMONG if self._hosted.narrows else 0
        return TableAbilities(among=among, lists=False, alone=bool(self._filters), shared=True)

    def mark(self) -> Mark | None:
        """As `VectorTable.mark`; of two (a process ended between writing one and removing the other) the earlier one."""
        found = [each for id in self._marks() if (each := self._told(id)) is not None]
        mark = min(found, key=lambda each: each.seq, default=None)
        self._born = "" if mark is None else mark.born
        return mark

    def create(self, mark: Mark) -> None:
        """As `VectorTable.create`; finds out whether the store tells cubes apart."""
        self.drop()
        self._put_mark(mark)
        self._born = mark.born[:_BORN]
        self._find_out()

    def put_mark(self, mark: Mark) -> None:
        """As `VectorTable.put_mark`."""
        before = self._marks()
        written = self._put_mark(mark)
        self._delete([id for id in before if id != written])

    def upsert(self, seqs: Sequence[int], vectors: Floats) -> None:
        """As `VectorTable.upsert`."""
        with self._lock:
            self._hosted.put([(self._id(seq), row) for seq, row in zip(seqs, vectors, strict=True)], self._group)

    def delete(self, seqs: Sequence[int]) -> None:
        """As `VectorTable.delete`."""
        self._delete([self._id(seq) for seq in seqs])

    def nearest(self, vector: Floats, count: int, among: Sequence[int] | None = None) -> list[int]:
        """As `VectorTable.nearest`."""
        ids = None if among is None else [self._id(seq) for seq in among]
        found = self._search(vector, count, self._group, ids)
        if not any(told is not None and told.born == self._born for told in map(self._told, self._marks())):
            raise LookupError(f"the vectors of cube {self._mine.cube} are gone, or were made anew")
        return [seq for id in found if (seq := self._seq(id)) is not None][:count]

    def seqs(self) -> list[int]:
        """Not here: such a store lists nothing."""
        raise NotImplementedError(f"{self._hosted.name} lists nothing")

    def vectors(self, seqs: Sequence[int]) -> dict[int, Floats]:
        """Not here: such a store lists nothing."""
        raise NotImplementedError(f"{self._hosted.name} lists nothing")

    def count(self) -> int | None:
        """Such a store does not say."""
        return None

    def drop(self) -> None:
        """As `VectorTable.drop`: what a search finds is removed, until it finds nothing."""
        self._delete(self._marks())
        while True:
            ids = [id for id in self._search(self._place, _MANY, self._group) if self._seq(id) is not None]
            if not ids:
                return
            self._delete(ids)

    # -- ids and marks --------------------------------------------------------------------------------------------

    def _id(self, seq: int, *, told: int | None = None) -> str:
        return str(uuid.UUID(int=self._key << 96 | (told is not None) << 88 | seq << 40 | (told or 0)))

    def _parts(self, id: str) -> tuple[bool, int, int] | None:
        """Whether it is a mark's, the change, and what a mark says; None for an id that is not of this cube."""
        try:
            number = uuid.UUID(id).int
        except ValueError:
            return None
        if number >> 96 != self._key:
            return None
        return bool(number >> 88 & 0xFF), number >> 40 & (1 << 48) - 1, number & (1 << 40) - 1

    def _seq(self, id: str) -> int | None:
        parts = self._parts(id)
        return None if parts is None or parts[0] else parts[1]

    def _told(self, id: str) -> Mark | None:
        parts = self._parts(id)
        if parts is None or not parts[0]:
            return None
        told = f"{parts[2]:010x}"
        digest = told[_BORN:] if parts[1] else ""
        return msgspec.structs.replace(self._mine, born=told[:_BORN], seq=parts[1], digest=digest)

    def _put_mark(self, mark: Mark) -> str:
        told = int(f"{mark.born[:_BORN]}{mark.digest[: 10 - _BORN]:0<{10 - _BORN}}", 16)
        id = self._id(mark.seq, told=told)
        with self._lock:
            self._hosted.put([(id, self._place)], f"{self._group}-mark")
        return id

    def _marks(self) -> list[str]:
        found = self._search(self._place, 8, f"{self._group}-mark")
        return [id for id in found if self._told(id) is not None]

    # -- what the store can do ------------------------------------------------------------------------------------

    def _find_out(self) -> None:
        """Whether the store tells groups apart: its mark is found in its own group and in no other."""
        try:
            own = self._hosted.search(self._place, 8, f"{self._group}-mark")
            others = self._hosted.search(self._place, 8, "nobody")
            self._filters = bool(own) and not others
        except Exception:  # noqa: BLE001 - each store has its own way of not understanding a filter
            self._filters = False

    def _search(self, vector: Floats, count: int, group: str, among: Sequence[str] | None = None) -> list[str]:
        if self._filters is None:
            self._find_out()
            if not self._filters:  # nothing is there yet, or it does not tell them apart: known when a mark is there
                self._filters = None
        if self._filters:
            return self._again(lambda: self._hosted.search(vector, count, group, among))
        return self._again(lambda: self._hosted.search(vector, _SPARE * max(count, _MANY), None, among))

    def _again(self, search: Callable[[], list[str]]) -> list[str]:
        """Search, once more with nobody writing where that fails: stores in memory stumble over it."""
        try:
            return search()
        except Exception:  # noqa: BLE001 - whatever it raised, the second time it leaves this module
            with self._lock:
                return search()

    def _delete(self, ids: Sequence[str]) -> None:
        with self._lock:
            for first in range(0, len(ids), _MANY):
                self._hosted.delete(ids[first : first + _MANY])


_BORN: Final = 4  # hexadecimal digits of `born` in a mark's id; six of the digest follow


def as_tables(store: object) -> HostTables:
    """Any LangChain `VectorStore` or LlamaIndex vector store, by its methods.

    Raises:
        InvalidConfig: it has not the methods, or embeds texts by itself.
    """
    if callable(getattr(store, "similarity_search_by_vector", None)) and callable(getattr(store, "add_texts", None)):
        return HostTables(LangChainStore(store))
    if callable(getattr(store, "query", None)) and callable(getattr(store, "delete_nodes", None)):
        return HostTables(LlamaIndexStore(store))
    raise InvalidConfig(
        f"{type(store).__name__} keeps no vectors: vectors= takes 'chroma:...', a LangChain VectorStore (add_texts, delete, "
        "similarity_search_by_vector) or a vector store of LlamaIndex (add, delete_nodes, query)"
    )


class GivenEmbeddings:
    """For the `embedding=` of a LangChain vector store that follows memos: hands over the vectors that memos has.

    A LangChain store embeds what it is given by itself. With this as its embedding model it takes the vectors of the truth
    as they are, and no text leaves memos.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._vectors: dict[str, list[float]] = {}

    def hand_over(self, rows: Iterable[tuple[str, Floats]], call: Callable[[], object]) -> None:
        """Make a call during which the vectors of these texts are known."""
        told = {text: vector.tolist() for text, vector in rows}
        with self._lock:
            self._vectors |= told
        try:
            call()
        finally:
            with self._lock:
                for text in told:
                    self._vectors.pop(text, None)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors that are being handed over."""
        with self._lock:
            missing = next((text for text in texts if text not in self._vectors), None)
            if missing is not None:
                raise InvalidConfig(
                    "this vector store follows memos, which gives it vectors and no texts; add to memos instead"
                )
            return [self._vectors[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Refused: questions come as vectors."""
        raise InvalidConfig("this vector store follows memos and has no embedding model; search memos instead")


class LangChainStore:
    """A LangChain `VectorStore`, by its methods.

    Args:
        store: it must have been made with `GivenEmbeddings()` as its embedding model.

    Raises:
        InvalidConfig: it embeds texts by itself.
    """

    narrows = False

    def __init__(self, store: Any) -> None:
        self._store = store
        self.name = f"LangChain {type(store).__name__}"
        given = getattr(store, "embeddings", None)
        if not isinstance(given, GivenEmbeddings):
            raise InvalidConfig(
                f"{type(store).__name__} embeds texts by itself ({type(given).__name__}); make it with "
                "embedding=memos_core.stores.host_vectors.GivenEmbeddings() (some call it embedding_function), so that it "
                "takes the vectors of memos as they are"
            )
        self._given = given
        self._by_function = False  # some stores take a dict as filter, some a function

    def put(self, rows: Sequence[Row], group: str) -> None:
        """As `Hosted.put`. The text of each record is its id."""
        ids = [id for id, _ in rows]
        metadatas = [{FIELD: group} for _ in rows]
        self._given.hand_over(rows, lambda: self._store.add_texts(list(ids), metadatas=metadatas, ids=list(ids)))

    def delete(self, ids: Sequence[str]) -> None:
        """As `Hosted.delete`."""
        if ids:
            self._store.delete(ids=list(ids))

    def search(self, vector: Floats, count: int, group: str | None, among: Sequence[str] | None = None) -> list[str]:
        """As `Hosted.search`."""
        if group is None:
            return self._found(vector, count)
        if not self._by_function:
            try:
                return self._found(vector, count, filter={FIELD: group})
            except TypeError:  # 'dict' object is not callable
                self._by_function = True
        return self._found(vector, count, filter=lambda document: document.metadata.get(FIELD) == group)

    def _found(self, vector: Floats, count: int, **options: Any) -> list[str]:
        documents = self._store.similarity_search_by_vector(vector.tolist(), k=count, **options)
        return [str(document.page_content) for document in documents]


class LlamaIndexStore:
    """A vector store of LlamaIndex, by its methods.

    The classes of its nodes and queries are those of the module that its own base class comes from, which is loaded.
    """

    narrows = True

    def __init__(self, store: Any) -> None:
        self._store = store
        self.name = f"LlamaIndex {type(store).__name__}"
        bases = [each for each in type(store).__mro__ if each.__name__ == "BasePydanticVectorStore"]
        if not bases:
            raise InvalidConfig(f"{type(store).__name__} is no BasePydanticVectorStore of LlamaIndex")
        self._words: Any = sys.modules[bases[0].__module__]

    def put(self, rows: Sequence[Row], group: str) -> None:
        """As `Hosted.put`. Some stores keep what is there under an id, so that is deleted first."""
        self.delete([id for id, _ in rows])
        node = self._words.TextNode
        self._store.add(
            [node(id_=id, text=id, embedding=vector.tolist(), metadata={FIELD: group}) for id, vector in rows]
        )

    def delete(self, ids: Sequence[str]) -> None:
        """As `Hosted.delete`."""
        if ids:  # some stores take an empty list for all
            self._store.delete_nodes(node_ids=list(ids))

    def search(self, vector: Floats, count: int, group: str | None, among: Sequence[str] | None = None) -> list[str]:
        """As `Hosted.search`."""
        words, filters = self._words, None
        if group is not None:
            filters = words.MetadataFilters(filters=[words.MetadataFilter(key=FIELD, value=group)])
        query = words.VectorStoreQuery(
            query_embedding=vector.tolist(),
            similarity_top_k=count,
            filters=filters,
            node_ids=None if among is None else list(among),
        )
        answer = self._store.query(query)
        ids = answer.ids if answer.ids is not None else [node.node_id for node in answer.nodes or ()]
        return [str(id) for id in ids]
