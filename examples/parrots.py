"""Scripted models for the examples: each answers with the first remembered line that its prompt shows."""

from typing import Any

from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import BaseMessage
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ChatResponseAsyncGen, LLMMetadata
from llama_index.core.llms import MockLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import ToolSelection


def answer(prompt: str) -> str:
    """What a parrot says to a prompt."""
    remembered = [line for line in prompt.splitlines() if line.startswith("- ")]
    return f"I remember: {remembered[0].removeprefix('- ')}" if remembered else "Nice to meet you."


class LangChainParrot(SimpleChatModel):
    """A chat model for LangChain."""

    @property
    def _llm_type(self) -> str:
        return "parrot"

    def _call(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return answer(str(messages[-1].content))


class LlamaIndexParrot(MockLLM, FunctionCallingLLM):
    """A function calling model for LlamaIndex's agents; it calls no tools."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_function_calling_model=True)

    def _prepare_chat_with_tools(
        self, tools: Any, user_msg: Any = None, chat_history: Any = None, **kwargs: Any
    ) -> Any:
        return {"messages": [*(chat_history or []), *([user_msg] if user_msg else [])]}

    def get_tool_calls_from_response(self, response: Any, **kwargs: Any) -> list[ToolSelection]:
        return []

    async def astream_chat(self, messages: Any, **kwargs: Any) -> ChatResponseAsyncGen:
        said = answer("\n".join(str(message.content) for message in messages))

        async def stream() -> ChatResponseAsyncGen:
            yield ChatResponse(message=ChatMessage(role="assistant", content=said), delta=said)

        return stream()

    async def astream_chat_with_tools(
        self, tools: Any, user_msg: Any = None, chat_history: Any = None, **kwargs: Any
    ) -> Any:
        return await self.astream_chat(self._prepare_chat_with_tools(tools, user_msg, chat_history)["messages"])
