"""MemosRetriever: memory as a LangChain retriever. It searches a session; whose memory that is the application decides."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Self, TypeAlias

from memos_core.errors import InvalidInput
from memos_core.filters import Condition, Group, Where, parse_where
from memos_core.types.items import Hits
from memos_langchain._packages import needed
from memos_langchain._sessions import AnySession, awaitable, plain

with needed("langchain-core", "langchain", "MemosRetriever"):  # which brings pydantic
    from pydantic import Field, model_validator

with needed("langchain-core", "langchain", "MemosRetriever"):
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
    from langchain_core.runnables import RunnableConfig, ensure_config, run_in_executor

    from memos_langchain._convert import to_documents

SessionFor: TypeAlias = Callable[[Mapping[str, Any]], AnySession | Awaitable[AnySession]]


class MemosRetriever(BaseRetriever):
    """The memories that answer a question, as documents, best first.

        retriever = MemosRetriever(session=mos.session("alice"), k=5)
        retriever.invoke("where does she live?")
        retriever.invoke("where does she live?", k=1)

    A document's `page_content` is the memory's text, its `id` the item's. Its `metadata` is that of the item, with "score",
    "cube", "provenance", "parts", "origins", "speaker", "conversation", "occurred_at", "type", "tags", "version", "id", and
    "metadata": what the item itself says, also under these names. "degraded" says why fewer signals than usual took part.

    One retriever for many users asks the application whose memory to search, call by call:

        retriever = MemosRetriever(session_for=lambda configurable: mos.session(configurable["user_id"]))
        retriever.invoke("where does she live?", {"configurable": {"user_id": "alice"}})

    Without `session_for`, nothing in a config changes whose memory is searched.

    Attributes:
        session: whose memory; of a `MOS` or an `AsyncMOS`, either serves `invoke` and `ainvoke`.
        session_for: instead of `session`: makes one from the "configurable" of a call's config. It may be a coroutine
            function (then only asynchronous calls are possible). Whatever it raises, the call raises: make it refuse
            (`configurable["user_id"]`, not `.get`) where nobody is named.
        k: how many documents at most.
        where: only memories that fulfil this filter. One that is given to a call narrows further.
        min_score: only memories at least this likely to be what was asked for, in [0, 1].
        as_of: search as it was at this time (or after this change, where one cube is read).
        without: signals that are turned off, as in `Session.search`.

    `k`, `where`, `min_score`, `as_of` and `without` may be given to a call, too.
    """

    session: AnySession | None = Field(default=None, exclude=True)
    session_for: SessionFor | None = Field(default=None, exclude=True, repr=False)
    k: int = 4
    where: Condition | Group | dict[str, Any] | None = None
    min_score: float = 0.0
    as_of: int | datetime | None = None
    without: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.session is None) == (self.session_for is None):
            raise InvalidInput("give session=, or session_for= (a function that makes one from a call's config)")
        return self

    # BaseRetriever hands no config down, so it is read here; `session_for` gets it, and nobody else.
    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """The documents for a question; `kwargs` are search options for this call."""
        return super().invoke(input, config, **_with_configurable(kwargs, config))

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """As `invoke`; the event loop goes on meanwhile."""
        return await super().ainvoke(input, config, **_with_configurable(kwargs, config))

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        where: Where = None,
        min_score: float | None = None,
        as_of: int | datetime | None = None,
        without: tuple[str, ...] | None = None,
        configurable: Mapping[str, Any] | None = None,
        verbose: bool = False,  # BaseRetriever reads it, and hands it down with the rest
    ) -> list[Document]:
        made: object = self.session if self.session_for is None else self.session_for(configurable or {})
        if inspect.iscoroutine(made):
            made.close()
        options = self._options(k, where, min_score, as_of, without)
        return to_documents(plain(_checked(made)).search(query, **options))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        where: Where = None,
        min_score: float | None = None,
        as_of: int | datetime | None = None,
        without: tuple[str, ...] | None = None,
        configurable: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> list[Document]:
        made: object = self.session
        if self.session_for is not None:
            if inspect.iscoroutinefunction(self.session_for):
                made = self.session_for(configurable or {})
            else:  # making a session reads the store
                made = await run_in_executor(None, self.session_for, configurable or {})
            made = await made if inspect.isawaitable(made) else made
        options = self._options(k, where, min_score, as_of, without)
        hits: Hits = await awaitable(_checked(made)).search(query, **options)
        return to_documents(hits)

    def _options(
        self,
        k: int | None,
        where: Where,
        min_score: float | None,
        as_of: int | datetime | None,
        without: tuple[str, ...] | None,
    ) -> dict[str, Any]:
        """Options of `Session.search`: those of the call, otherwise those of the retriever."""
        filters = tuple(part for part in (parse_where(self.where), parse_where(where)) if part is not None)
        return {
            "top_k": self.k if k is None else k,
            "where": Group("and", filters) if filters else None,  # a call may narrow, never widen
            "min_score": self.min_score if min_score is None else min_score,
            "as_of": self.as_of if as_of is None else as_of,
            "without": self.without if without is None else without,
        }

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """What tracing says about it."""
        params = super()._get_ls_params(**kwargs)
        params["ls_vector_store_provider"] = "memos"
        if self.session is not None:
            embedder = plain(self.session).view.embedding.record.identity
            if embedder:
                params["ls_embedding_model"] = embedder
        return params


def _with_configurable(kwargs: dict[str, Any], config: RunnableConfig | None) -> dict[str, Any]:
    if "configurable" in kwargs:
        raise InvalidInput('"configurable" belongs into the config: invoke(query, {"configurable": {...}})')
    # With what an enclosing chain or graph was called with, where no config is passed on.
    return {**kwargs, "configurable": ensure_config(config).get("configurable", {})}


def _checked(made: object) -> AnySession:
    if not isinstance(made, AnySession):
        hint = "; it is asynchronous: use ainvoke, or make a plain session" if inspect.isawaitable(made) else ""
        raise InvalidInput(f"session_for made a {type(made).__name__}, not a session{hint}")
    return made
