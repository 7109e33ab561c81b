"""A LlamaIndex agent that remembers across conversations and restarts. The model is scripted: it repeats what it was shown."""

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.memory import InsertMethod, Memory
from parrots import LlamaIndexParrot

from memos_core import MOS
from memos_llamaindex import MemosMemoryBlock


async def talk(conversation: str, said: str) -> str:
    """One run of an agent in a conversation of its own, with the store opened for it and closed after it."""
    with MOS.open("./agent-memory", embedder="hashing") as mos:
        memory = Memory.from_defaults(
            session_id=conversation,
            memory_blocks=[MemosMemoryBlock(session=mos.session("alice"))],
            insert_method=InsertMethod.USER,
        )
        agent = FunctionAgent(llm=LlamaIndexParrot(), tools=[])
        return str(await agent.run(said, memory=memory))


for conversation, said in (("monday", "My sister Nora can't eat gluten."), ("friday", "What can Nora not eat?")):
    print(f"{conversation}: {said}\n  -> {asyncio.run(talk(conversation, said))}")
