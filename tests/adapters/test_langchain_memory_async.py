"""If this fails, a chain that is awaited blocks everybody else's requests while it remembers, or remembers something else."""

from __future__ import annotations

import asyncio

import pytest
from langchain_classic.chains import ConversationChain
from langchain_core.language_models import FakeListChatModel
from langchain_talk import HEADER, Gated, Prompts

from memos_core import MOS, AsyncMOS
from memos_core.errors import InvalidInput
from memos_langchain import MemosMemory

# LangChain's own chains announce their removal; memos' classes must not (see test_langchain_memory.py).
pytestmark = pytest.mark.filterwarnings("ignore:The class `(Conversation|LLM)Chain` was deprecated")


@pytest.mark.parametrize("own", ["Session", "AsyncSession"])
async def test_the_loop_ticks_while_a_chain_remembers(own: str) -> None:
    gate = Gated()
    with MOS.open(":memory:", embedder=gate) as mos:
        session = (
            mos.session("alice", conversation="t1")
            if own == "Session"
            else await AsyncMOS.of(mos).session("alice", conversation="t1")
        )
        memory, done, seen = MemosMemory(session=session, last_k=1), asyncio.Event(), Prompts()
        chain = ConversationChain(llm=FakeListChatModel(responses=["Nice.", "I see.", "Rex."]), memory=memory)

        async def talk() -> None:
            try:
                for said in ("My dog is called Rex.", "I like tea.", "What is my dog called?"):
                    await chain.ainvoke({"input": said}, {"callbacks": [seen]})
                await memory.aclear()
            finally:
                done.set()

        _, waits = await asyncio.gather(talk(), gate.tick(done))
        assert waits >= 4, "the embedder went on only because the loop did"
        assert "Human: My dog is called Rex.\n" in seen.texts[2].partition(HEADER)[2]
        assert await memory.aload_memory_variables({}) == {"history": ""}


async def test_both_roads_agree() -> None:
    async with AsyncMOS.open(":memory:", embedder="hashing") as mos:
        memory = MemosMemory(session=await mos.session("alice", conversation="t1"), last_k=1)
        for number in range(4):
            await memory.asave_context({"input": f"My dog ate {number} bones."}, {"response": "I see."})
        for inputs in ({}, {"input": "how many bones did my dog eat?"}):
            there = await memory.aload_memory_variables(inputs)
            assert there == await asyncio.to_thread(memory.load_memory_variables, inputs)
            assert there["history"].endswith("Human: My dog ate 3 bones.\nAI: I see.")
        await asyncio.to_thread(memory.save_context, {"input": "Bye."}, {"response": "Bye."})
        assert (await memory.aload_memory_variables({}))["history"] == "Human: Bye.\nAI: Bye."
        with pytest.raises(InvalidInput, match="input_key"):
            await memory.aload_memory_variables({"a": "1", "b": "2"})
        with pytest.raises(InvalidInput, match="output_key"):
            await memory.asave_context({"a": "1"}, {"x": "1", "y": "2"})


async def test_many_chains_at_once_keep_apart() -> None:
    async with AsyncMOS.open(":memory:") as mos:
        users = [f"user{number}" for number in range(6)]
        memories = [MemosMemory(session=await mos.session(user, conversation="t1")) for user in users]

        async def talk(user: str, memory: MemosMemory) -> None:
            chain = ConversationChain(llm=FakeListChatModel(responses=[f"Hello {user}."]), memory=memory)
            for number in range(4):
                await chain.ainvoke({"input": f"I am {user}, {number}."})

        await asyncio.gather(*map(talk, users, memories))
        for user, memory in zip(users, memories, strict=True):
            shown = (await memory.aload_memory_variables({}))["history"].splitlines()
            assert shown == [
                line for number in range(4) for line in (f"Human: I am {user}, {number}.", f"AI: Hello {user}.")
            ]
