"""MemosRetriever: an actor's memory as a LlamaIndex retriever."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters

from memos_core.aio import AsyncSession
from memos_core.errors import InvalidInput
from memos_core.filters import Where
from memos_core.session import Session
from memos_llamaindex import _live
from memos_llamaindex._convert import to_nodes
from memos_llamaindex._filters import joined


class MemosRetriever(BaseRetriever):
    """Finds what an actor's memory says to a question: for query engines, tools, fusion with other retrievers.

    A node has the item's id, words and calibrated score in [0, 1]; in its metadata stand the item's own metadata, its
    cube, type, speaker, conversation, times and provenance, and what each signal added (`parts`).

    The question is `query_str`, and memos embeds it with the store's embedder; embeddings and made-up answers that query
    transforms attach to a question belong to other models, and take no part.

    Args:
        session: whose memory, and which cubes of it.
        similarity_top_k: how many nodes at most.
        where: only items that fulfil this filter of memos.
        filters: only items that fulfil these filters of LlamaIndex, as well.
        min_score: only items at least this likely to be what was asked for, in [0, 1].
        as_of: search as it was after that change or at that time.
        without: signals that are turned off.
        callback_manager: for LlamaIndex's events.
        verbose: print where LlamaIndex's own retrievers do.

    Raises:
        InvalidInput: no session.
        InvalidFilter: a filter that has no meaning.
    """

    def __init__(
        self,
        session: Session | AsyncSession,
        *,
        similarity_top_k: int = 10,
        where: Where = None,
        filters: MetadataFilters | None = None,
        min_score: float = 0.0,
        as_of: int | datetime | None = None,
        without: Collection[str] = (),
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(callback_manager=callback_manager, verbose=verbose)
        if not isinstance(session, Session | AsyncSession):
            raise InvalidInput(f"a retriever needs a session (mos.session(...)), not a {type(session).__name__}")
        self._session = session if isinstance(session, AsyncSession) else AsyncSession.of(session)
        self._options: dict[str, Any] = {
            "top_k": similarity_top_k,
            "where": joined(where, filters),
            "min_score": min_score,
            "as_of": as_of,
            "without": tuple(without),
        }

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return to_nodes(self._session.sync.search(query_bundle.query_str, **self._options))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return to_nodes(await self._session.search(query_bundle.query_str, **self._options))

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "MemosRetriever"

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """A ticket that stands for this retriever within this process (see `_live`)."""
        return _live.ticket_of(self, self.class_name())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], **kwargs: Any) -> MemosRetriever:
        """The retriever that the ticket was made from.

        Raises:
            NotFound: it is not of this process.
        """
        return _live.find(data, cls)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> MemosRetriever:
        """A copy on the same memory: an open store cannot be copied. Nothing else in it ever changes."""
        return copy.copy(self)

    def __repr__(self) -> str:
        return f"MemosRetriever({self._session!r}, similarity_top_k={self._options['top_k']})"
