"""Asking a text model: what it answers is checked against a schema, and its name and the hash of the prompt are kept."""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from memos_core.errors import AnswerRefused
from memos_core.protocols.models import TextModel

_T = TypeVar("_T")
_FENCE = "```"


def prompt_hash(prompt: str) -> str:
    """SHA-256 of a prompt, as hexadecimal digits."""
    return hashlib.sha256(prompt.encode("utf-8")).hexdigest()


def ask(model: TextModel, prompt: str, schema: type[_T]) -> _T:
    """What a model answers, as a value.

    Args:
        model: asked once.
        prompt: says that JSON is wanted, and which.
        schema: a msgspec struct. Its constraints hold; with `forbid_unknown_fields` nothing else may be said.

    Raises:
        AnswerRefused: it raised, or answered something else. The message says what is wrong, and quotes nothing of it: the
            answer may hold words of a memory, and messages are kept with jobs.
    """
    try:
        answer = model.complete(prompt)
    except Exception as error:  # whatever somebody else's model raises; the cause is kept
        raise AnswerRefused(f"the model {model.identity!r} raised {type(error).__name__}; is it there?") from error
    if not isinstance(answer, str):
        raise AnswerRefused(f"the model {model.identity!r} answered with a {type(answer).__name__}, not with text")
    try:
        return msgspec.json.decode(_unfenced(answer), type=schema)
    except msgspec.ValidationError as error:
        raise AnswerRefused(f"the answer of {model.identity!r} does not fit {schema.__name__}: {error}") from None
    except msgspec.DecodeError as error:
        raise AnswerRefused(
            f"the answer of {model.identity!r} is no JSON ({error}); {schema.__name__} was asked for"
        ) from None


def _unfenced(answer: str) -> str:
    """What stands in a block of code, where the answer is one. (No pattern: one that tries every line break takes for ever.)"""
    first, _, rest = answer.strip().partition("\n")
    kind = first.removeprefix(_FENCE).strip()
    fenced = first.startswith(_FENCE) and kind in ("", "json") and rest.endswith(_FENCE)
    return rest.removesuffix(_FENCE) if fenced else answer
