"""Which of a chain's inputs the user says, and which of its outputs is the answer."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from memos_core.errors import InvalidInput

_OPTIONS = ("stop",)  # inputs of chains that nobody says


def said(inputs: Mapping[str, Any], input_key: str | None, left_out: Collection[str]) -> tuple[str, Any] | None:
    """The key and value of what the user says; None where there is no input at all.

    Args:
        inputs: of the chain.
        input_key: the key, where somebody has said which.
        left_out: keys that are something else. When a chain saves, it has put the memory's own variables among its
            inputs; if they were stored, memory would feed on itself.

    Raises:
        InvalidInput: there are several, or others than the one that was said.
    """
    if input_key is not None and input_key in inputs:
        return input_key, inputs[input_key]
    rest = [key for key in inputs if key not in left_out and key not in _OPTIONS]
    if not rest:
        return None
    if input_key is not None:
        raise InvalidInput(f"input_key={input_key!r}, but the inputs are {_names(inputs)}")
    if len(rest) > 1:
        raise InvalidInput(f"which one does the user say: {_names(rest)}? Set input_key, or exclude_input_keys")
    return rest[0], inputs[rest[0]]


def answered(outputs: Mapping[str, Any], output_key: str | None) -> tuple[str, Any]:
    """The key and value of the answer: the one that was said, the only one, or "output" (with a warning).

    Raises:
        InvalidInput: there are several, none, or others than the one that was said.
    """
    if output_key is not None:
        if output_key not in outputs:
            raise InvalidInput(f"output_key={output_key!r}, but the outputs are {_names(outputs)}")
        return output_key, outputs[output_key]
    if len(outputs) == 1:
        return next(iter(outputs.items()))
    if "output" not in outputs:
        raise InvalidInput(f"which one is the answer: {_names(outputs)}? Set output_key")
    warnings.warn(f"of the outputs {_names(outputs)}, 'output' is stored; set output_key to say so", stacklevel=5)
    return "output", outputs["output"]


def _names(keys: Iterable[str]) -> str:
    return ", ".join(repr(key) for key in sorted(keys, key=str)) or "none"
