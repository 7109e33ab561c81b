"""Embedding models of LangChain and LlamaIndex, by their methods; neither is imported here.

LangChain's `Embeddings` have `embed_documents` and `embed_query`, LlamaIndex's `BaseEmbedding` have
`get_text_embedding_batch` and `get_query_embedding`. LangChain's have asynchronous twins (`aembed_documents`, ...), which
memos awaits in the caller's own event loop, so that the model's connections stay where they were made. LlamaIndex's have
some too, but many of its models compute in them, and stop the loop meanwhile; so these are asked on a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memos_core.errors import EmbeddingFailed, InvalidConfig
from memos_core.protocols.models import Embedder

Floats = NDArray[np.float32]

# (many texts, one question, their asynchronous twins) as each host names them; "" where they are not awaited
_HOSTS = {
    "langchain": ("embed_documents", "embed_query", "aembed_documents", "aembed_query"),
    "llama-index": ("get_text_embedding_batch", "get_query_embedding", "", ""),
}
_NAMES = ("model_name", "model", "model_id", "deployment_name", "deployment", "repo_id", "size")


class HostEmbedder:
    """A host's embedding model as an Embedder.

    Args:
        model: the host's object.
        host: "langchain" or "llama-index".
        name: what distinguishes its vectors; None takes its class and the model name it was given.
    """

    def __init__(self, model: Any, host: str, *, name: str | None = None) -> None:
        many, one, amany, aone = _HOSTS[host]
        self._many: Callable[[list[str]], Any] = getattr(model, many)
        self._one: Callable[[str], Any] = getattr(model, one)
        self._amany: Callable[[list[str]], Awaitable[Any]] | None = getattr(model, amany, None) if amany else None
        self._aone: Callable[[str], Awaitable[Any]] | None = getattr(model, aone, None) if aone else None
        self._identity = f"{host}:{name or model_name(model)}"
        self._dims: int | None = None

    @property
    def identity(self) -> str:
        """Host, class and model name."""
        return self._identity

    @property
    def dims(self) -> int:
        """Length of a vector; asks the model once if nothing has been embedded yet."""
        if self._dims is None:
            self.embed_query("memos")
        assert self._dims is not None
        return self._dims

    def embed(self, texts: Sequence[str]) -> Floats:
        """Vectors (texts, dims) of texts to be stored.

        Raises:
            EmbeddingFailed: the model raised, or answered with something that is no vector for each text.
        """
        if not texts:
            return np.zeros((0, self._dims or 0), dtype=np.float32)
        return self._checked(self._called(self._many, list(texts)), len(texts))

    def embed_query(self, text: str) -> Floats:
        """The vector (dims,) of a question.

        Raises:
            EmbeddingFailed: as for `embed`.
        """
        answer: Floats = self._checked([self._called(self._one, text)], 1)[0]
        return answer

    async def aembed(self, texts: Sequence[str]) -> Floats:
        """As `embed`, through the model's own asynchronous method; on a thread where it has none."""
        if not texts or self._amany is None:
            return await asyncio.to_thread(self.embed, texts)
        return self._checked(await self._awaited(self._amany, list(texts)), len(texts))

    async def aembed_query(self, text: str) -> Floats:
        """As `embed_query`, through the model's own asynchronous method; on a thread where it has none."""
        if self._aone is None:
            return await asyncio.to_thread(self.embed_query, text)
        answer: Floats = self._checked([await self._awaited(self._aone, text)], 1)[0]
        return answer

    def _called(self, method: Callable[[Any], Any], argument: object) -> Any:
        try:
            return method(argument)
        except Exception as error:
            raise EmbeddingFailed(f"{self._identity} failed: {error}") from error

    async def _awaited(self, method: Callable[[Any], Awaitable[Any]], argument: object) -> Any:
        try:
            return await method(argument)
        except Exception as error:
            raise EmbeddingFailed(f"{self._identity} failed: {error}") from error

    def _checked(self, answer: Any, count: int) -> Floats:
        try:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
                vectors = np.array(answer, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise EmbeddingFailed(f"{self._identity} answered with something that is no list of vectors") from error
        if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1]:
            raise EmbeddingFailed(f"{self._identity} answered with shape {vectors.shape} for {count} texts")
        if not np.isfinite(vectors).all():
            raise EmbeddingFailed(f"{self._identity} answered with numbers that are not finite")
        if self._dims not in (None, vectors.shape[1]):
            raise EmbeddingFailed(f"{self._identity} answered with {vectors.shape[1]} dimensions, before {self._dims}")
        self._dims = int(vectors.shape[1])
        return vectors


def as_embedder(model: object) -> Embedder:
    """Any object with the methods of an Embedder, of LangChain's Embeddings or LlamaIndex's BaseEmbedding.

    Raises:
        InvalidConfig: it has none of them.
    """
    if isinstance(model, type):  # it has the methods, too
        raise InvalidConfig(f"the class {model.__name__} is no embedder; give an object of it: {model.__name__}(...)")
    if isinstance(model, Embedder):
        return model
    for host, (many, one, *_) in _HOSTS.items():
        if callable(getattr(model, many, None)) and callable(getattr(model, one, None)):
            return HostEmbedder(model, host)
    raise InvalidConfig(
        f"{type(model).__name__} is no embedder: it needs the methods embed, embed_query, identity and dims, or those of "
        "LangChain's Embeddings (embed_documents, embed_query) or LlamaIndex's BaseEmbedding (get_text_embedding_batch, "
        "get_query_embedding)"
    )


def model_name(model: object) -> str:
    """The class of a host's model, and the name of the model that it was given."""
    kind = type(model)
    for attribute in _NAMES:
        value = getattr(model, attribute, None)
        if isinstance(value, str | int) and not isinstance(value, bool) and value:
            return f"{kind.__name__}:{value}"
    return f"{kind.__module__}.{kind.__qualname__}"
