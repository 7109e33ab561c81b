"""Memory stores beside each other, each with the same five methods. A peer is imported when it is made, not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

Floats = np.ndarray


class Store:
    """What the benchmark asks of each: vectors are given, `share` is a number from 0 to 9,999 to filter by.

    Attributes:
        note: what has to be known to read its figures.
        most: items beyond which it is not run (and why, in `note`).
        durable: whether what it holds is there after its process has ended.
    """

    name: ClassVar[str]
    note: ClassVar[str] = ""
    most: ClassVar[int] = 10**9
    durable: ClassVar[bool] = True

    def __init__(self, folder: Path, dims: int) -> None:
        raise NotImplementedError

    def add(self, texts: Sequence[str], vectors: Floats, shares: Sequence[int]) -> None: ...

    def vector(self, text: str, vector: Floats, share: int | None = None) -> list[Any]:
        """The ten nearest; only those with a smaller share, where one is given."""
        raise NotImplementedError

    def hybrid(self, text: str, vector: Floats, share: int | None = None) -> list[Any]:
        """The ten best by meaning and words, where it can do that."""
        raise NotImplementedError

    def places(self, found: list[Any]) -> list[int]:
        """Where what `vector` answered with stands in the order in which it was added."""
        return [int(each) for each in found]

    def settle(self) -> None:
        """Finish what adding has put off, as the first search would."""

    def close(self) -> None: ...


class Floor(Store):
    """A float32 matrix, multiplied with the question; nothing is stored but the vectors."""

    name = "numpy float32"

    def __init__(self, folder: Path, dims: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._dims, self._new, self._shares = folder, dims, [], []
        if (folder / "vectors.npy").exists():
            self._vectors, self._share = np.load(folder / "vectors.npy"), np.load(folder / "shares.npy")

    def add(self, texts: Sequence[str], vectors: Floats, shares: Sequence[int]) -> None:
        self._new.append(vectors)
        self._shares.extend(shares)

    def vector(self, text: str, vector: Floats, share: int | None = None) -> list[Any]:
        if share is not None:
            rows = np.flatnonzero(self._share < share)
            scores = self._vectors[rows] @ vector
            return rows[np.argsort(-scores)[:10]].tolist()
        scores = self._vectors @ vector
        best = np.argpartition(-scores, 10)[:10]
        return best[np.argsort(-scores[best])].tolist()

    def close(self) -> None:
        if self._new:
            np.save(self._path / "vectors.npy", np.concatenate(self._new))
            np.save(self._path / "shares.npy", np.array(self._shares))


class Memos(Store):
    """memos with its embedded index."""

    name = "memos"
    location: str | None = None

    def __init__(self, folder: Path, dims: int) -> None:
        from memos_core import MOS

        self.mos = MOS.open(self.location or folder, embedder=f"given:{dims}")
        self.session = self.mos.session("alice")

    def add(self, texts: Sequence[str], vectors: Floats, shares: Sequence[int]) -> None:
        from memos_core import Draft

        drafts = [Draft(text=text, metadata={"share": share}) for text, share in zip(texts, shares, strict=True)]
        self.session.add(drafts, vectors=vectors)

    def vector(self, text: str, vector: Floats, share: int | None = None) -> list[Any]:
        from memos_core import F

        return self.mos.cube("alice").nearest(vector, 10, where=None if share is None else F.share < share)

    def hybrid(self, text: str, vector: Floats, share: int | None = None) -> list[Any]:
        from memos_core import F

        return self.session.search(text, vector=vector, where=None if share is None else F.share < share)

    def settle(self) -> None:
        self.mos.cube("alice").catch_up()

    def close(self) -> None:
        self.mos.close()


class Chroma(Store):
    """Chroma, embedded."""

    name = "chroma"
    note = "approximate (HNSW)"

    def __init__(self, folder: Path, dims: int) -> None:
        import chromadb
        from chromadb.config import Settings

        client = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
        self._all = client.get_or_create_collection(
            "memories", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )
        self._count = self._all.count()

    def add(self, texts: Sequence[str], vectors: Floats, shares: Sequence[int]) -> None:
        ids = [str(self._count + place) for place in range(len(texts))]
        self._count += len(texts)
        self._all.add(ids=ids, documents=list(texts), embeddings=vectors, metadatas=[{"share": s} for s in shares])

    def vector(self, text: str, vector: Floats, share: int | None = None) -> list[Any]:
        where = None if share is None else {"share": {"$lt": share}}
        return self._all.query(query_embeddings=[vector], n_results=10, where=where)["ids"][0]


class LangGraphMemory(Store):
    """LangGraph's InMemoryStore."""

    name = "langgraph InMemoryStore"
    note = "in memory only; vectors are lists of Python floats"
    most = 100_000
    durable = False

    def __init__(self, folder: Path, dims: int) -> None:
        from langgraph.store.memory import InMemoryStore

        self._vectors: dict[str, Floats] = {}
        self._count = 0
        index = {"dims": dims, "embed": lambda texts: [self._vectors[t].tolist() for t in texts], "fields": ["text"]}
        self._store = InMemoryStore(index=index)

    def add(self, texts: Sequence[str], vectors: Floats, shares: Sequence[int]) -> None:
        from langgraph.store.base import PutOp

        self._vectors = dict(zip(texts, vectors, strict=True))
        puts = [
            PutOp(("alice",), str(self._count + place), {"text": text, "share": share})
            for place, (text, share) in enumerate(zip(texts, shares, strict=True))
        ]
        self._count += len(texts)
        self._store.batch(puts)

    def places(self, found: list[Any]) -> list[int]:
        return [int(each.key) for each in found]

    def vector(self, text: str, vector: Floats, share: int | None = None) -> list[Any]:
        self._vectors = {text: vector}
        wanted = None if share is None else {"share": {"$lt": share}}
        return self._store.search(("alice",), query=text, limit=10, filter=wanted)


class LangGraphSqlite(LangGraphMemory):
    """LangGraph's SqliteStore (sqlite-vec)."""

    name = "langgraph SqliteStore"
    note = "needs a Python whose sqlite3 loads extensions"
    durable = True

    def __init__(self, folder: Path, dims: int) -> None:
        import sqlite3

        from langgraph.store.sqlite import SqliteStore

        folder.mkdir(parents=True, exist_ok=True)
        self._vectors, self._count = {}, 0
        index = {"dims": dims, "embed": lambda texts: [self._vectors[t].tolist() for t in texts], "fields": ["text"]}
        connection = sqlite3.connect(folder / "store.db", check_same_thread=False, isolation_level=None)
        if not hasattr(connection, "enable_load_extension"):
            raise RuntimeError("this Python's sqlite3 cannot load extensions")
        self._store = SqliteStore(connection, index=index)
        self._store.setup()


class LlamaSimple(Store):
    """LlamaIndex's SimpleVectorStore."""

    name = "llama-index SimpleVectorStore"
    note = "JSON file; all vectors as lists of Python floats"
    most = 100_000

    def __init__(self, folder: Path, dims: int) -> None:
        from llama_index.core.vector_stores import SimpleVectorStore

        self._path = str(folder / "vectors.json")
        there = Path(self._path).exists()
        self._store = SimpleVectorStore.from_persist_path(self._path) if there else SimpleVectorStore()
        self._new, self._count = False, 0

    def add(self, texts: Sequence[str], vectors: Floats, shares: Sequence[int]) -> None:
        from llama_index.core.schema import TextNode

        self._new = True
        rows = enumerate(zip(texts, vectors.tolist(), shares, strict=True), self._count)
        self._store.add([TextNode(id_=str(n), text=t, embedding=v, metadata={"share": s}) for n, (t, v, s) in rows])
        self._count += len(texts)

    def vector(self, text: str, vector: Floats, share: int | None = None) -> list[Any]:
        from llama_index.core.vector_stores.types import (
            FilterOperator,
            MetadataFilter,
            MetadataFilters,
            VectorStoreQuery,
        )

        wanted = None
        if share is not None:
            wanted = MetadataFilters(filters=[MetadataFilter(key="share", value=share, operator=FilterOperator.LT)])
        query = VectorStoreQuery(query_embedding=vector.tolist(), similarity_top_k=10, filters=wanted)
        return list(self._store.query(query).ids or [])

    def close(self) -> None:
        if self._new:
            self._store.persist(self._path)


class Mem0(Store):
    """mem0 without a language model (`infer=False`), on its embedded Qdrant."""

    name = "mem0"
    note = "infer=False; one call an item; embedded Qdrant scans"
    most = 10_000

    def __init__(self, folder: Path, dims: int) -> None:
        import os

        os.environ.update(MEM0_TELEMETRY="False", OPENAI_API_KEY="none", MEM0_DIR=str(folder))
        from langchain_core.embeddings import Embeddings
        from mem0 import Memory

        vectors = self._vectors = {}
        self._count = 0

        class Given(Embeddings):
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return [vectors[text.strip()].tolist() for text in texts]

            def embed_query(self, text: str) -> list[float]:
                return vectors[text.strip()].tolist()

        where = {"path": str(folder / "qdrant"), "embedding_model_dims": dims, "on_disk": True}
        self._memory = Memory.from_config(
            {
                "vector_store": {"provider": "qdrant", "config": where},
                "embedder": {"provider": "langchain", "config": {"model": Given()}},
                "history_db_path": str(folder / "history.db"),
            }
        )

    def add(self, texts: Sequence[str], vectors: Floats, shares: Sequence[int]) -> None:
        for text, vector, share in zip(texts, vectors, shares, strict=True):
            self._vectors[text.strip()] = vector
            self._memory.add(text, user_id="alice", metadata={"share": share, "place": self._count}, infer=False)
            self._count += 1
            del self._vectors[text.strip()]

    def places(self, found: list[Any]) -> list[int]:
        return [int(each["metadata"]["place"]) for each in found]

    def vector(self, text: str, vector: Floats, share: int | None = None) -> list[Any]:
        self._vectors[text.strip()] = vector
        filters: dict[str, Any] = {"user_id": "alice"}
        if share is not None:
            filters["share"] = {"lt": share}
        return self._memory.search(text, filters=filters, top_k=10)["results"]


STORES: dict[str, type[Store]] = {
    "floor": Floor,
    "memos": Memos,
    "chroma": Chroma,
    "langgraph-memory": LangGraphMemory,
    "langgraph-sqlite": LangGraphSqlite,
    "llama-simple": LlamaSimple,
    "mem0": Mem0,
}
