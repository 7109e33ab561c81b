"""MemosMemoryBlock: an actor's memory as a block of LlamaIndex's `Memory`."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import Field
from llama_index.core.memory.memory import BaseMemoryBlock
from llama_index.core.utils import get_tokenizer
from llama_index.core.vector_stores.types import MetadataFilters

from memos_core.aio import AsyncSession
from memos_core.context import build
from memos_core.errors import InvalidInput, ModelError, StoreError
from memos_core.filters import F, Filter, Group
from memos_core.plaintext.search import MOST_HITS
from memos_core.session import Session
from memos_core.types.items import PINNED, Hit, MemoryItem
from memos_llamaindex import _live
from memos_llamaindex._convert import SESSION, Turn, to_turns, words
from memos_llamaindex._filters import joined
from memos_llamaindex._places import not_yet_stored
from memos_llamaindex._recalled import Recalled, named

_log = logging.getLogger(__name__)
_HITS = 50  # looked at to fill the block


class MemosMemoryBlock(BaseMemoryBlock[str]):
    """Remembers what is said in a `Memory`, and recalls what the latest message of the user needs.

        memory = Memory.from_defaults(session_id="thread-42", memory_blocks=[MemosMemoryBlock(session=alice)])

    Whose memory it is was decided when the session was made; `Memory`'s session_id is the conversation. One block may serve
    any number of `Memory` objects at once. What it recalls may come from every conversation of its cubes; what is tagged
    "pinned" is always there, whatever the settings. Turns that are still in the short-term memory are not repeated.

    A turn is stored as soon as the block sees it, or (`remember_window=False`) when it leaves the short-term memory; once,
    however often it comes in. Messages without words, and those of the system, are not stored. After a failed write
    nothing is lost that `Memory` still has: `await block.aput(await memory.aget_all(), session_id=memory.session_id)`.

    Agents of the ReAct kind never see what is inserted into the system message: give their `Memory`
    `insert_method=InsertMethod.USER`.

    Attributes:
        session: on whose behalf, and which cubes. With `write_to=[]` nothing is stored.
        name: the tag around the memories in the prompt.
        priority: 0 is never cut; others are, when the prompt gets too long.
        accept_short_term_memory: False stores nothing but what is put into the block by hand.
        max_tokens: of what is recalled, by the tokenizer.
        where: only items that fulfil this filter of memos.
        filters: only items that fulfil these filters of LlamaIndex, as well.
        min_score: only items at least this likely to be what the message is about.
        all_conversations: False recalls from the `Memory`'s own conversation alone.
        remember_window: whether turns are stored while they are still in the short-term memory.
        roles: whose messages are stored.
        speaker: who the user is, where a message does not say; None takes the session's actor.
        fail_open: True goes on without memory when the store or the embedder is out of order, and logs it. Wrong arguments
            and denied access are errors all the same.
        tokenizer_fn: None takes LlamaIndex's. Give it the one that `Memory` has.

    Raises:
        ValidationError: a filter that has no meaning, or a session that cannot read what it writes.
    """

    name: str = Field(default="memories", description="The tag around the memories in the prompt.")
    description: str | None = Field(default="What is remembered of this and earlier conversations.")
    priority: int = Field(default=1, description="0 is never cut; others are, when the prompt gets too long.")
    session: Session | AsyncSession = Field(exclude=True, description="On whose behalf, and which cubes.")
    max_tokens: int = Field(default=800, ge=1, description="Tokens of what is recalled.")
    where: Any = Field(default=None, exclude=True, description="Only items that fulfil this filter of memos.")
    filters: MetadataFilters | None = Field(default=None, description="Only items that fulfil these, as well.")
    min_score: float = Field(default=0.0, ge=0.0, le=1.0, description="Only items at least this likely to be meant.")
    all_conversations: bool = Field(default=True, description="Whether other conversations are recalled, too.")
    remember_window: bool = Field(default=True, description="Whether turns are stored before they are flushed.")
    roles: tuple[str, ...] = Field(default=("user", "assistant", "tool"), description="Whose messages are stored.")
    speaker: str | None = Field(default=None, description="Who the user is; None takes the session's actor.")
    fail_open: bool = Field(default=False, description="Whether to go on without memory when it is out of order.")
    tokenizer_fn: Callable[[str], Sequence[Any]] | None = Field(default=None, exclude=True)

    def model_post_init(self, context: Any, /) -> None:
        """Say now what would go wrong later."""
        joined(self.where, self.filters)
        unread = [cube for cube in self._awaited.sync.write_to if cube not in self._awaited.sync.read_from]
        if unread:
            raise InvalidInput(f"the session writes to {unread}, which it does not read: it could not tell what is new")

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises it."""
        return "MemosMemoryBlock"

    # -- recalling ----------------------------------------------------------------------------------------------------

    async def _aget(
        self, messages: list[ChatMessage] | None = None, session_id: str | None = None, **block_kwargs: Any
    ) -> str:
        window = messages or []
        conversation = session_id or self._awaited.sync.conversation
        try:
            recalled = await self._recall(window, conversation)
        except (StoreError, ModelError) as error:
            self._do_without(error, "recalled")
            recalled = Recalled()
        if self.remember_window and self._stores and conversation is not None:
            await self._store(_without_echo(window), conversation)
        return recalled

    async def _recall(self, window: Sequence[ChatMessage], conversation: str | None) -> Recalled:
        session = self._awaited
        asked = next((words(message) for message in reversed(window) if message.role == "user"), "")
        said = {words(message) for message in window}
        pinned = await session.list(where=F.tags.contains(PINNED), newest_first=False, limit=_HITS)
        hits = await session.search(
            asked,
            top_k=min(_HITS + len(said), MOST_HITS),
            where=self._filter(conversation),
            min_score=self.min_score,
        )
        first = [named(item) for item in pinned]
        others = [named(hit.item) for hit in hits if not _is_said(hit, said)][:_HITS]
        context = build(first, others, max_tokens=self.max_tokens, count_tokens=self._count)
        chosen = {_identity(item) for item in context.items}
        return Recalled.of(*([item for item in part if _identity(item) in chosen] for part in (first, others)))

    def _filter(self, conversation: str | None) -> Filter | None:
        where = joined(self.where, self.filters)
        if self.all_conversations:
            return where
        here = F.conversation == conversation
        return here if where is None else Group("and", (here, where))

    async def atruncate(self, content: str, tokens_to_truncate: int) -> str | None:
        """The content without its least likely memories, at least so many tokens shorter; None if nothing is left."""
        if not content:
            return None
        wanted = self._count(content) - tokens_to_truncate
        shorter = content if isinstance(content, Recalled) else Recalled(content)
        while shorter and self._count(shorter) > wanted:
            shorter = shorter.without_least()
        return shorter or None

    def _count(self, text: str) -> int:
        return len((self.tokenizer_fn or get_tokenizer())(text))

    # -- storing ------------------------------------------------------------------------------------------------------

    async def aput(
        self, messages: list[ChatMessage], from_short_term_memory: bool = False, session_id: str | None = None
    ) -> None:
        """Store messages. They are not changed: LlamaIndex's own method stamps its session_id on them."""
        if from_short_term_memory and not self._stores:
            return
        own = [message.model_copy(update={"additional_kwargs": {**message.additional_kwargs}}) for message in messages]
        await super().aput(own, from_short_term_memory=from_short_term_memory, session_id=session_id)

    async def _aput(self, messages: list[ChatMessage]) -> None:
        for stamp, own in groupby(messages, key=lambda message: message.additional_kwargs.get(SESSION)):
            await self._store(list(own), stamp or self._awaited.sync.conversation)

    async def _store(self, messages: Sequence[ChatMessage], conversation: str | None) -> None:
        turns = to_turns(messages, roles=self.roles, user=self.speaker or self._awaited.actor.id)
        try:
            new: Sequence[Turn] = turns
            if turns and conversation is not None and self._awaited.sync.write_to:
                new = await not_yet_stored(self._awaited, conversation, turns)
            if new:
                await self._awaited.add(list(new), conversation=conversation)
        except (StoreError, ModelError) as error:
            self._do_without(error, "stored")

    @property
    def _stores(self) -> bool:
        return self.accept_short_term_memory and bool(self._awaited.sync.write_to)

    @property
    def _awaited(self) -> AsyncSession:
        return self.session if isinstance(self.session, AsyncSession) else AsyncSession.of(self.session)

    def _do_without(self, error: Exception, what: str) -> None:
        """Go on without memory, if that is what the application wants."""
        if not self.fail_open:
            raise error
        # Only the kind of error: messages of databases and models may quote what is remembered.
        _log.warning("memory is out of order (%s): nothing was %s for %r", type(error).__name__, what, self.session)

    # -- as part of other things --------------------------------------------------------------------------------------

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """A ticket that stands for this block within this process (see `_live`)."""
        return _live.ticket_of(self, self.class_name())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], **kwargs: Any) -> MemosMemoryBlock:
        """The block that the ticket was made from.

        Raises:
            NotFound: it is not of this process.
        """
        return _live.find(data, cls)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> MemosMemoryBlock:
        """A copy with settings of its own, on the same memory: an open store cannot be copied."""
        shared = {} if memo is None else memo
        shared |= {id(handle): handle for handle in (self.session, self.tokenizer_fn)}
        return super().__deepcopy__(shared)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> MemosMemoryBlock:
        """As pydantic's; a deep copy is on the same memory, too."""
        return super(MemosMemoryBlock, copy.deepcopy(self) if deep else self).model_copy(update=update)


def _identity(item: MemoryItem) -> tuple[str, str]:
    return item.cube_id, item.id


def _is_said(hit: Hit, said: Collection[str]) -> bool:
    """Whether the prompt has these words anyway; of very long messages pieces are stored."""
    source = hit.item.provenance.source
    return hit.text in said or bool(source and source.span and any(hit.text in text for text in said))


def _without_echo(window: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """The window without its last message where that is the user's again, word for word.

    Agents pass what the user has said as `input` beside a history that has it already; `Memory` appends it.
    """
    last = window[-2:]
    echo = len(last) == 2 and all(message.role == "user" for message in last) and words(last[0]) == words(last[1])
    return window[:-1] if echo else window
