"""If these fail, an application's own language model is called wrongly, or something that is no text is taken for its answer."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from memos_core.errors import InvalidConfig
from memos_core.models.host_text import HostTextModel, as_text_model, check_text_model, load_text_model


class Own:
    identity = "own-1"

    def complete(self, prompt: str) -> str:
        return prompt.upper()


class Chat:
    """The method of LangChain's language models."""

    model_name = "chatty"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def invoke(self, prompt: str) -> Any:
        return self.answer


class Completing:
    """The method of LlamaIndex's LLMs."""

    def complete(self, prompt: str) -> Any:
        return types.SimpleNamespace(text=f"to {prompt}")


def message(content: Any) -> Any:
    return types.SimpleNamespace(content=content)


def test_each_host_is_known_by_its_method() -> None:
    own = Own()
    assert as_text_model(own) is own
    chat = as_text_model(Chat(message("hello")))
    assert (chat.identity, chat.complete("?")) == ("langchain:Chat:chatty", "hello")
    completing = as_text_model(Completing())
    assert completing.identity.startswith("llama-index:")
    assert completing.complete("you") == "to you"
    assert HostTextModel(Chat("x"), "langchain", name="mine").identity == "langchain:mine"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("plain", "plain"),
        (message("of a message"), "of a message"),
        (message(["two ", {"type": "text", "text": "parts"}, {"type": "image", "url": "x"}]), "two parts"),
        (message(""), ""),
    ],
)
def test_the_text_of_an_answer_is_found(answer: Any, text: str) -> None:
    assert as_text_model(Chat(answer)).complete("?") == text


@pytest.mark.parametrize("answer", [None, 17, message(None), message(17), message([]) and object()])
def test_an_answer_without_text_is_an_error(answer: Any) -> None:
    with pytest.raises(TypeError, match="without text"):
        as_text_model(Chat(answer)).complete("?")


@pytest.mark.parametrize("model", [object(), 17, Own, ["x"]])
def test_what_is_no_model_is_refused(model: object) -> None:
    with pytest.raises(InvalidConfig, match="no text model"):
        check_text_model(model)


@pytest.mark.parametrize("path", ["gpt-4", "a.b", "a:b:c", ":b", "a:", "a b:c"])
def test_what_is_no_import_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidConfig, match="no import path"):
        check_text_model(path)


def test_an_import_path_leads_to_a_model_or_to_what_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("some_models")
    vars(module).update(ready=Own(), make=Own, build=lambda: Chat("x"), chat=Chat("y"), wrong=17)
    monkeypatch.setitem(sys.modules, "some_models", module)
    assert load_text_model("some_models:ready") is module.ready
    assert load_text_model("some_models:make").identity == "own-1"
    assert load_text_model("some_models:build").complete("?") == "x"
    assert load_text_model("some_models:chat").complete("?") == "y"
    for path in ("some_models:nothing", "no_such_module:x"):
        with pytest.raises(InvalidConfig, match="cannot be loaded"):
            load_text_model(path)
    with pytest.raises(InvalidConfig, match="no text model"):
        load_text_model("some_models:wrong")
