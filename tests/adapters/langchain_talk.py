"""What the tests of memos_langchain share: talking to a memory, seeing prompts, and an embedder that waits for the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage

from memos_core import MOS, Session
from memos_core.models.hashing import HashingEmbedder
from memos_langchain import MemosMemory

HEADER = "Memories from earlier that may help to answer:"


def in_thread(mos: MOS, actor: str = "alice", conversation: str = "t1", **options: Any) -> MemosMemory:
    return MemosMemory(session=mos.session(actor, conversation=conversation), **options)


def say(memory: MemosMemory, *exchanges: tuple[str, str]) -> None:
    for said, answer in exchanges:
        memory.save_context({"input": said}, {"response": answer})


def history(memory: MemosMemory, said: str | None = None) -> Any:
    return memory.load_memory_variables({} if said is None else {"input": said})["history"]


def texts(session: Session) -> list[str]:
    """All that is stored, oldest first."""
    return [item.text for item in session.list(newest_first=False, limit=1000)]


class Prompts(BaseCallbackHandler):
    """What the model gets to read."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.messages: list[list[BaseMessage]] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.messages.append(messages[0])
        self.texts.append(messages[0][-1].text)

    def on_llm_start(self, serialized: Any, prompts: Any, **kwargs: Any) -> None:
        self.texts.extend(prompts)


class Gated(HashingEmbedder):
    """Goes on with each call only once the event loop has gone on in the meantime."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting, self._release = threading.Event(), threading.Event()

    def wait(self) -> None:
        self._waiting.set()
        if not self._release.wait(20):
            raise RuntimeError("the event loop stood still")
        self._release.clear()

    def embed(self, texts: Sequence[str]) -> Any:
        self.wait()
        return super().embed(texts)

    def embed_query(self, text: str) -> Any:
        self.wait()
        return super().embed_query(text)

    async def tick(self, done: asyncio.Event) -> int:
        """Calls during each of which the loop ticked fifty times; that lets them go on."""
        calls = ticks = 0
        while not done.is_set():
            await asyncio.sleep(0)
            ticks += self._waiting.is_set()
            if ticks == 50:
                calls, ticks = calls + 1, 0
                self._waiting.clear()
                self._release.set()
        return calls
