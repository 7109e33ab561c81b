"""If this fails, an application whose chat model is LangChain's or LlamaIndex's finds no preferences, or asks it wrongly."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel, FakeListLLM, SimpleChatModel
from langchain_core.messages import AIMessage, BaseMessage
from liking import by_rules, found_by
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata, MockLLM

from memos_core import MOS

ANSWER = (
    '{"preferences": [{"topic": "tea", "statement": "Loves tea.", "polarity": "likes", "explicit": true, "messages": [1], '
    '"quote": "I love tea"}]}'
)


class Ruled(SimpleChatModel):
    """A chat model of LangChain that answers by rules."""

    @property
    def _llm_type(self) -> str:
        return "ruled"

    def _call(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return by_rules(str(messages[-1].content))


class RuledLLM(CustomLLM):
    """An LLM of LlamaIndex that answers by rules."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="ruled")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=by_rules(prompt))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("model", "identity"),
    [
        (FakeListChatModel(responses=[f"```json\n{ANSWER}\n```"]), "langchain:"),
        (FakeListLLM(responses=[ANSWER]), "langchain:"),
        (Ruled(), "langchain:"),
        (RuledLLM(), "llama-index:"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_their_models_are_asked_as_they_are(model: Any, identity: str) -> None:
    with MOS.open(":memory:", model=model, preferences=True) as mos:
        alice = mos.session("alice", conversation="chat")
        alice.add([{"role": "user", "content": "I love tea."}, AIMessage("Noted.")])
        mos.scheduler.run_pending()
        (item,) = alice.preferences()
        assert (item.metadata["topic"], str(item.state)) == ("tea", "activated")
        assert (item.provenance.model or "").startswith(identity)


def test_one_that_says_something_else_is_asked_again_later() -> None:
    with MOS.open(":memory:", model=MockLLM(), preferences=True) as mos:  # it repeats its prompt
        mos.session("alice").add({"role": "user", "content": "I love tea."})
        mos.scheduler.run_pending()
        (job,) = found_by(mos)
        assert job.state == "pending"
        assert "is no JSON" in (job.error or "")
        assert "tea" not in (job.error or "")
