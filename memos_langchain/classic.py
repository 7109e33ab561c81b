"""MemosMemory: memory for LangChain's classic chains (`memory=`), that outlasts the process and the conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import msgspec

from memos_core.context import build
from memos_core.errors import InvalidInput
from memos_core.filters import Condition, F, Filter, Group, parse_where
from memos_core.reading.chunking import estimate_tokens
from memos_core.session import Session
from memos_core.types.items import PINNED, MemoryItem, Page
from memos_langchain._keys import answered, said
from memos_langchain._packages import needed
from memos_langchain._sessions import AnySession, Steps, ask, awaited, called, plain

with needed("langchain-classic", "langchain-classic", "MemosMemory"):  # which brings pydantic
    from pydantic import Field, model_validator

with (
    needed("langchain-core", "langchain-classic", "MemosMemory"),
    needed("langchain-classic", "langchain-classic", "MemosMemory"),
):
    from langchain_classic.base_memory import BaseMemory
    from langchain_core.messages import BaseMessage, SystemMessage, get_buffer_string

    from memos_langchain._convert import to_message, words_of
    from memos_langchain._turns import ROLES, Exchange, exchanges_of, that_fit

RECENT_SHARE = 0.75  # of the tokens, at most, for the latest turns, so that there is always room to remember
_MOST = 10_000  # items of one list
_MOST_PINNED = 50


class MemosMemory(BaseMemory):
    """What was said lately, and what is remembered from earlier, in this conversation and all others.

        memory = MemosMemory(session=mos.session("alice", conversation="thread-42"))
        chain = ConversationChain(llm=llm, memory=memory)

    Both stand under `memory_key`: first the memories that may help to answer, one line each, then the latest turns word for
    word. As a string that is the header, the memories, an empty line, and the turns as "Human: ..." and "AI: ...";
    with `return_messages=True` a system message with header and memories, and the turns as messages. Memories tagged
    "pinned" are always among them. What is shown as a turn is not shown as a memory. Without an input
    (`load_memory_variables({})`) there are only the latest turns.

    Attributes:
        session: whose memory, and in which conversation; it must read what it writes. Of a `MOS` or an `AsyncMOS`,
            either serves synchronous and asynchronous chains.
        memory_key: the variable of the prompt that it fills.
        input_key: where the chain has what the user says; None where there is only one such key.
        output_key: where the chain has the answer; None where there is only one, or one called "output".
        return_messages: messages instead of a string.
        human_prefix: how the user is called in the prompt. (Stored as speaker is the session's actor.)
        ai_prefix: how the model is called in the prompt; a name of your own is stored as its speaker.
        exclude_input_keys: inputs that are not what the user says.
        k: how many memories at most; 0 for none, pinned ones included.
        last_k: how many of the latest exchanges (what the user said, and the answer).
        max_tokens: for all of it. The latest turns get at most three quarters; only whole turns and memories are shown.
        min_score: only memories at least this likely to be what is asked for, in [0, 1].
        where: only memories that fulfil this filter.
        header: stands before the memories.
        count_tokens: tokens of a text; give your model's own (`llm.get_num_tokens`) where the limit is a hard one.
    """

    session: AnySession = Field(exclude=True)
    memory_key: str = "history"
    input_key: str | None = None
    output_key: str | None = None
    return_messages: bool = False
    human_prefix: str = "Human"
    ai_prefix: str = "AI"
    exclude_input_keys: Sequence[str] = ()
    k: int = Field(default=5, ge=0)
    last_k: int = Field(default=5, ge=0)
    max_tokens: int = Field(default=2000, ge=1)
    min_score: float = Field(default=0.0, ge=0.0, le=1.0)
    where: Condition | Group | dict[str, Any] | None = None
    header: str = "Memories from earlier that may help to answer:"
    count_tokens: Callable[[str], int] = Field(default=estimate_tokens, exclude=True, repr=False)

    @model_validator(mode="after")
    def _has_a_conversation(self) -> Self:
        own = plain(self.session)
        if own.conversation is None:
            raise InvalidInput("the session has no conversation; make it with mos.session(actor, conversation=...)")
        if not set(own.write_to) & set(own.read_from):
            raise InvalidInput(
                f"the session writes to {list(own.write_to)} and reads from {list(own.read_from)}; "
                "the latest turns are read back from where they are written"
            )
        return self

    # -- what LangChain calls -------------------------------------------------------------------------------------

    @property
    def memory_variables(self) -> list[str]:
        """The variables of the prompt that it fills."""
        return [self.memory_key]

    def load_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """What to remember for these inputs of the chain, under `memory_key`.

        Raises:
            InvalidInput: it is not clear which input the user said, or it has no words that can be searched for.
        """
        return {self.memory_key: called(self._load(inputs), self.session)}

    async def aload_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As `load_memory_variables`; the event loop goes on meanwhile."""
        return {self.memory_key: await awaited(self._load(inputs), self.session)}

    def save_context(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Store what the user said and what the model answered, as two messages of the conversation, in one transaction.

        Raises:
            InvalidInput: it is not clear which input or output that is, or it cannot be stored; nothing is.
            AccessDenied: the session may not write to one of its cubes.
        """
        called(self._save(inputs, outputs), self.session)

    async def asave_context(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """As `save_context`; the event loop goes on meanwhile."""
        await awaited(self._save(inputs, outputs), self.session)

    def clear(self) -> None:
        """Delete (restorably) the messages of this conversation; what is remembered of others stays."""
        called(self._clear(), self.session)

    async def aclear(self) -> None:
        """As `clear`; the event loop goes on meanwhile."""
        await awaited(self._clear(), self.session)

    # -- the steps ------------------------------------------------------------------------------------------------

    def _load(self, inputs: dict[str, Any]) -> Steps[str | list[BaseMessage]]:
        asked = self._said(inputs)
        question = "" if asked is None else words_of(asked[1], f"input {asked[0]!r}")
        recalls = bool(self.k and question.strip())
        latest = yield from self._latest()
        share = int(self.max_tokens * RECENT_SHARE) if recalls else self.max_tokens
        exchanges, left = that_fit(latest, share, lambda each: self.count_tokens(self._text(each.messages)))
        memories = ""
        if recalls:
            shown = [id for exchange in exchanges for id in exchange.ids]
            memories = yield from self._recalled(question, shown, left + self.max_tokens - share)
        turns = [message for exchange in exchanges for message in exchange.messages]
        if self.return_messages:
            return [SystemMessage(memories), *turns] if memories else turns
        return "\n\n".join(part for part in (memories, self._text(turns)) if part)

    def _latest(self) -> Steps[list[Exchange]]:
        """The latest exchanges, oldest first."""
        items: list[MemoryItem] = []
        cursor, limit = None, 4 * self.last_k + 4  # mostly enough at once: two for each exchange, pieces of long ones
        while self.last_k:
            page: Page = yield ask(
                Session.list, where=self._turns & F.role.in_(ROLES), limit=min(limit, _MOST), cursor=cursor
            )
            # Another cube that is read from may have a conversation of that name; and when several are written to, each has
            # the same turns.
            items.extend(item for item in page if item.cube_id == self._home)
            cursor, limit = page.cursor, limit * 2
            if cursor is None or len(exchanges_of(items)) > self.last_k:
                break
        return exchanges_of(items)[-self.last_k :] if items else []

    def _recalled(self, question: str, shown: Sequence[str], tokens: int) -> Steps[str]:
        """The header and the memories for a question, in so many tokens; "" where there are none."""
        tokens -= self.count_tokens(self.header) + 1
        unseen: Filter = ~F.id.in_(shown)
        own = parse_where(self.where)
        pinned: Page = yield ask(
            Session.list, where=unseen & F.tags.contains(PINNED), newest_first=False, limit=_MOST_PINNED
        )
        hits = yield ask(
            Session.search,
            question,
            top_k=self.k,
            where=unseen if own is None else own & unseen,
            min_score=self.min_score,
        )
        if tokens < 1:
            return ""
        context = build(
            [self._named(item) for item in pinned],
            [self._named(hit.item) for hit in hits],
            max_tokens=tokens,
            count_tokens=self.count_tokens,
        )
        return f"{self.header}\n{context.text}" if context.items else ""

    def _save(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> Steps[None]:
        asked = self._said(inputs)
        if asked is None:
            raise InvalidInput("the user has said nothing: there is no input beside those of memory itself")
        own, (key, answer) = plain(self.session), answered(outputs, self.output_key)
        model = None if self.ai_prefix == MemosMemory.model_fields["ai_prefix"].default else self.ai_prefix
        at = own.now()
        messages = [
            to_message(asked[1], f"input {asked[0]!r}", role="user", speaker=own.actor.id, at=at),
            to_message(answer, f"output {key!r}", role="assistant", speaker=model, at=at),
        ]
        stored = [message for message in messages if message is not None]
        if stored:
            yield ask(Session.add, stored)

    def _clear(self) -> Steps[None]:
        writes = plain(self.session).write_to
        ids: list[str] = []
        cursor = None
        while True:
            page: Page = yield ask(Session.list, where=self._turns, limit=_MOST, cursor=cursor)
            ids.extend(item.id for item in page if item.cube_id in writes)
            cursor = page.cursor
            if cursor is None:
                break
        if ids:
            yield ask(Session.delete, ids)

    # -- between the chain's names and ours -----------------------------------------------------------------------

    @property
    def _turns(self) -> Group:
        """The messages of the conversation (not the facts that were noted in it)."""
        return (F.conversation == plain(self.session).conversation) & (F.type == "message")

    @property
    def _home(self) -> str:
        """The cube from which turns are read back."""
        own = plain(self.session)
        return next(name for name in own.write_to if name in own.read_from)

    def _said(self, inputs: dict[str, Any]) -> tuple[str, Any] | None:
        return said(inputs, self.input_key, (*self.memory_variables, *self.exclude_input_keys))

    def _named(self, item: MemoryItem) -> MemoryItem:
        """The item with its speaker called as in the turns: the user and the model by their prefixes."""
        source = item.provenance.source
        if source is None:
            return item
        speaker = source.speaker
        if source.role == "user" and speaker in (None, plain(self.session).actor.id):
            speaker = self.human_prefix
        elif source.role == "assistant" and speaker is None:
            speaker = self.ai_prefix
        named = msgspec.structs.replace(item.provenance, source=msgspec.structs.replace(source, speaker=speaker))
        return msgspec.structs.replace(item, provenance=named)

    def _text(self, messages: Sequence[BaseMessage]) -> str:
        return get_buffer_string(messages, human_prefix=self.human_prefix, ai_prefix=self.ai_prefix)
