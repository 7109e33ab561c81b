"""Language models of LangChain and LlamaIndex as text models, by their methods; neither is imported here.

LangChain's chat models have `invoke` (which gives a message) and its plain ones too (which gives a string); LlamaIndex's `LLM`
has `complete`, which gives an answer with a `text`. An own model needs `identity` and `complete` (`TextModel`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from typing import Any, Final

from memos_core.errors import InvalidConfig
from memos_core.models.hosts import model_name
from memos_core.protocols.models import TextModel

_IMPORT_PATH: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_NEEDED: Final = "it needs identity and complete(prompt), or invoke (of LangChain) or complete (of LlamaIndex)"


class HostTextModel:
    """A host's language model as a TextModel.

    Args:
        model: the host's object.
        host: "langchain" or "llama-index".
        name: what it is called in provenance; None takes its class and the model name it was given.
    """

    def __init__(self, model: Any, host: str, *, name: str | None = None) -> None:
        self._ask = model.invoke if host == "langchain" else model.complete
        self._identity = f"{host}:{name or model_name(model)}"

    @property
    def identity(self) -> str:
        """Host, class and model name."""
        return self._identity

    def complete(self, prompt: str) -> str:
        """The answer, as text.

        Raises:
            TypeError: it is something else than text, or parts of text.
            Exception: whatever the model raises.
        """
        return _text_of(self._ask(prompt))


def as_text_model(model: object) -> TextModel:
    """Any object with the methods of a TextModel, of LangChain's language models or LlamaIndex's LLM.

    Raises:
        InvalidConfig: it has none of them.
    """
    if isinstance(model, type):  # it has the methods, too
        raise InvalidConfig(f"the class {model.__name__} is no text model; give an object of it: {model.__name__}(...)")
    if isinstance(model, TextModel):
        return model
    for host, method in (("llama-index", "complete"), ("langchain", "invoke")):
        if callable(getattr(model, method, None)):
            return HostTextModel(model, host)
    raise InvalidConfig(f"{type(model).__name__} is no text model: {_NEEDED}")


def check_text_model(model: object) -> None:
    """Make sure, as far as can be told without importing anything, that a model is one, or an import path.

    Raises:
        InvalidConfig: it is neither.
    """
    if not isinstance(model, str):
        as_text_model(model)
    elif not _IMPORT_PATH.fullmatch(model):
        raise InvalidConfig(
            f'model={model!r} is no import path; write "my_package.module:name", of a text model or of a function that makes one'
        )


def load_text_model(model: object) -> TextModel:
    """The text model itself, or the one that an import path leads to.

    Raises:
        InvalidConfig: there is none.
    """
    check_text_model(model)
    if not isinstance(model, str):
        return as_text_model(model)
    module, _, name = model.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidConfig(f"the model {model!r} cannot be loaded: {error}") from error
    made = callable(found) and not any(callable(getattr(found, each, None)) for each in ("complete", "invoke"))
    return as_text_model(found() if made or isinstance(found, type) else found)


class LateTextModel:
    """A text model that is loaded when it is first asked, by whoever asks it.

    Args:
        model: as for `load_text_model`.

    Raises:
        InvalidConfig: it is neither a model nor an import path. Where an import path leads nowhere, asking raises that.
    """

    def __init__(self, model: object) -> None:
        check_text_model(model)
        self._model = model

    @cached_property
    def _loaded(self) -> TextModel:
        return load_text_model(self._model)

    @property
    def identity(self) -> str:
        """Of the model."""
        return self._loaded.identity

    def complete(self, prompt: str) -> str:
        """Its answer."""
        return self._loaded.complete(prompt)


def _text_of(answer: Any) -> str:
    """The text of an answer: of a string itself, of a message its content, of a completion its text."""
    content = answer if isinstance(answer, str) else getattr(answer, "content", None)
    if content is None:
        content = getattr(answer, "text", None)
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        parts = [
            part if isinstance(part, str) else part.get("text") for part in content if isinstance(part, str | dict)
        ]
        return "".join(part for part in parts if isinstance(part, str))
    raise TypeError(f"the answer is a {type(answer).__name__} without text")
