"""If this fails, an agent of LlamaIndex that has our block in its `Memory` forgets its user when the program ends, mixes up
its users, or stores what tools and frameworks have said instead of what people have."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import InsertMethod, Memory
from llama_index.core.tools import RetrieverTool
from llama_index.core.workflow import Context

from memos_core import MOS, F, Session
from memos_core.errors import EmbeddingFailed
from memos_llamaindex import MemosMemoryBlock, MemosRetriever

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LlamaIndex's own, when an agent is made


class Script:
    """Stands in for a language model: says what it is told to, and keeps the prompts that it was given."""

    def __init__(self, *answers: str | ToolCallBlock) -> None:
        self.answers = list(answers)
        self.prompts: list[str] = []

    def __call__(self, messages: Sequence[ChatMessage], **options: Any) -> ChatMessage:
        said = "\n".join(f"{message.role.value}: {message.content}" for message in messages)
        self.prompts.append(said)
        answer = self.answers.pop(0) if self.answers else "Yes."
        return ChatMessage(role="assistant", content=[answer] if isinstance(answer, ToolCallBlock) else answer)

    @property
    def llm(self) -> MockFunctionCallingLLM:
        return MockFunctionCallingLLM(response_generator=self)


async def converse(
    session: Session,
    script: Script,
    said: Sequence[str],
    *,
    session_id: str,
    tools: Sequence[Any] = (),
    insert: InsertMethod = InsertMethod.SYSTEM,
) -> list[str]:
    """A new agent with a new Memory hears these messages, one after the other; its answers."""
    memory = Memory.from_defaults(
        session_id=session_id, memory_blocks=[MemosMemoryBlock(session=session)], insert_method=insert
    )
    agent = FunctionAgent(llm=script.llm, tools=list(tools), system_prompt="You are helpful.")
    try:
        return [str(await agent.run(user_msg=text, memory=memory)) for text in said]
    finally:
        await memory.sql_store._async_engine.dispose()


def stored(session: Session, conversation: str) -> list[tuple[str | None, str]]:
    items = session.list(where=F.conversation == conversation)
    ordered = sorted(items, key=lambda item: item.provenance.source.position)
    return [(item.provenance.source.role, item.text) for item in ordered]


@pytest.mark.parametrize("insert", list(InsertMethod))
async def test_an_agent_remembers_across_a_restart(tmp_path: Path, insert: InsertMethod) -> None:
    with MOS.open(tmp_path / "memory", embedder="hashing") as mos:
        answers = await converse(
            mos.session("alice"),
            Script("Nice to meet Rex!", "Lisbon is lovely."),
            ["My dog is called Rex.", "I moved to Lisbon."],
            session_id="monday",
        )
        assert answers == ["Nice to meet Rex!", "Lisbon is lovely."]
    with MOS.open(tmp_path / "memory") as mos:
        script = Script("He is called Rex.")
        alice = mos.session("alice")
        await converse(alice, script, ["What is my dog called?"], session_id="tuesday", insert=insert)
        assert "alice: My dog is called Rex." in script.prompts[0]
        assert script.prompts[0].startswith("system: You are helpful.")
        assert stored(alice, "monday") == [
            ("user", "My dog is called Rex."),
            ("assistant", "Nice to meet Rex!"),
            ("user", "I moved to Lisbon."),
            ("assistant", "Lisbon is lovely."),
        ]
        assert stored(alice, "tuesday") == [("user", "What is my dog called?"), ("assistant", "He is called Rex.")]


async def test_with_tools_each_turn_is_stored_once(tmp_path: Path) -> None:
    def weather(city: str) -> str:
        """The weather."""
        return f"18 degrees in {city}"

    call = ToolCallBlock(tool_call_id="c1", tool_name="weather", tool_kwargs={"city": "Lisbon"})
    with MOS.open(tmp_path / "memory", embedder="hashing") as mos:
        alice = mos.session("alice")
        script = Script(call, "It is mild.", call, "Still mild.")
        answers = await converse(alice, script, ["The weather?", "And now?"], session_id="t", tools=[weather])
        assert answers == ["It is mild.", "Still mild."]
        assert stored(alice, "t") == [
            ("user", "The weather?"),
            ("tool", "18 degrees in Lisbon"),
            ("assistant", "It is mild."),
            ("user", "And now?"),
            ("tool", "18 degrees in Lisbon"),
            ("assistant", "Still mild."),
        ]


async def test_memory_as_a_tool(tmp_path: Path) -> None:
    with MOS.open(tmp_path / "memory", embedder="hashing") as mos:
        alice = mos.session("alice")
        alice.add("The pump is behind the red door")
        tool = RetrieverTool.from_defaults(MemosRetriever(alice), name="recall", description="memory")
        script = Script(
            ToolCallBlock(tool_call_id="c1", tool_name="recall", tool_kwargs={"input": "pump"}), "Behind the red door."
        )
        agent = FunctionAgent(llm=script.llm, tools=[tool])
        assert str(await agent.run(user_msg="Where is the pump?")) == "Behind the red door."
        assert "behind the red door" in script.prompts[1]


async def test_several_users_at_once_are_apart(tmp_path: Path) -> None:
    with MOS.open(tmp_path / "memory", embedder="hashing") as mos:
        scripts = {name: Script() for name in ("alice", "bob", "carol")}
        await asyncio.gather(
            *(
                converse(mos.session(name), script, [f"My PIN is {name}-1234"], session_id="same")
                for name, script in scripts.items()
            )
        )
        await asyncio.gather(
            *(
                converse(mos.session(name), script, ["What is my PIN?"], session_id="later")
                for name, script in scripts.items()
            )
        )
        for name, script in scripts.items():
            assert f"{name}-1234" in script.prompts[1]
            assert not any(f"{other}-1234" in script.prompts[1] for other in scripts if other != name)


async def test_a_context_that_is_used_again(tmp_path: Path) -> None:
    """LlamaIndex drops its own Memory from a context between runs; what our block remembers is not in the context."""
    with MOS.open(tmp_path / "memory", embedder="hashing") as mos:
        alice = mos.session("alice")
        script = Script("Hello Rex!", "Rex.")
        agent = FunctionAgent(llm=script.llm, tools=[])
        block = MemosMemoryBlock(session=alice)
        memories: list[Memory] = []
        written = ""
        for text in ("My dog is called Rex.", "What is my dog called?"):
            memories.append(Memory.from_defaults(session_id="thread", memory_blocks=[block]))
            context = Context.from_dict(agent, json.loads(written)) if written else Context(agent)
            await agent.run(user_msg=text, ctx=context, memory=memories[-1])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it drops the Memory
                written = json.dumps(context.to_dict())
        assert "Rex" in script.prompts[1]
        assert [text for _, text in stored(alice, "thread")] == [
            "My dog is called Rex.",
            "Hello Rex!",
            "What is my dog called?",
            "Rex.",
        ]
        for memory in memories:
            await memory.sql_store._async_engine.dispose()


async def test_in_other_agents_and_engines(tmp_path: Path) -> None:
    """ReAct strips the system message, so there what is recalled goes to the user's."""
    with MOS.open(tmp_path / "memory", embedder="hashing") as mos:
        alice = mos.session("alice")
        alice.add("My dog is called Rex")
        block = MemosMemoryBlock(session=alice)

        def fresh(name: str, method: InsertMethod) -> Memory:
            return Memory.from_defaults(session_id=name, memory_blocks=[block], insert_method=method)

        memories = [
            fresh("react", InsertMethod.USER),
            fresh("flow", InsertMethod.SYSTEM),
            fresh("engine", InsertMethod.USER),
        ]
        react = Script("Thought: I know.\nAnswer: Rex.")
        agent = ReActAgent(llm=react.llm, tools=[])
        assert str(await agent.run(user_msg="What is my dog called?", memory=memories[0])) == "Rex."
        assert "My dog is called Rex" in react.prompts[0]
        flow = Script("Rex.")
        team = AgentWorkflow(
            agents=[FunctionAgent(name="one", description="d", llm=flow.llm, tools=[])], root_agent="one"
        )
        assert str(await team.run(user_msg="What is my dog called?", memory=memories[1])) == "Rex."
        assert "My dog is called Rex" in flow.prompts[0]
        engine = SimpleChatEngine.from_defaults(llm=MockLLM(), memory=memories[2])  # answers with its prompt
        assert "My dog is called Rex" in str(await engine.achat("What is my dog called?"))
        assert "My dog is called Rex" in str(engine.chat("And what is my dog called now?"))
        assert [text for role, text in stored(alice, "engine") if role == "user"] == [
            "What is my dog called?",
            "And what is my dog called now?",
        ]
        for memory in memories:
            await memory.sql_store._async_engine.dispose()


async def test_an_outage_reaches_whoever_runs_the_agent(tmp_path: Path) -> None:
    class Broken:
        identity, dims = "broken", 4

        def embed(self, texts: Sequence[str]) -> Any:
            raise EmbeddingFailed("out of order")

        embed_query: Callable[[Any, str], Any] = embed

    with MOS.open(tmp_path / "memory", embedder=Broken()) as mos:
        with pytest.raises(EmbeddingFailed, match="out of order"):
            await converse(mos.session("alice"), Script(), ["hello"], session_id="t")
        going_on = MemosMemoryBlock(session=mos.session("alice"), fail_open=True)
        memory = Memory.from_defaults(session_id="t", memory_blocks=[going_on])
        agent = FunctionAgent(llm=Script("Hi.").llm, tools=[])
        assert str(await agent.run(user_msg="hello", memory=memory)) == "Hi."
        await memory.sql_store._async_engine.dispose()
