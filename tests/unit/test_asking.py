"""If this fails, a good answer of a language model is refused, or a bad one brings the whole process to a halt."""

from __future__ import annotations

import time

import msgspec
import pytest

from memos_core.errors import AnswerRefused
from memos_core.scheduler.asking import ask


class Answer(msgspec.Struct):
    n: int


class Saying:
    identity = "saying-1"

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def complete(self, prompt: str) -> str:
        return self._answer


@pytest.mark.parametrize(
    "answer",
    [
        '{"n": 1}',
        '\n {"n": 1} \n',
        '```\n{"n": 1}\n```',
        '```json\n{"n": 1}\n```',
        ' \n```json \n\n{\n"n":\n1}\n\n  ```\n\n',
        '```json\r\n{"n": 1}\r\n```',
    ],
)
def test_an_answer_may_stand_in_a_block_of_code(answer: str) -> None:
    assert ask(Saying(answer), "?", Answer) == Answer(1)


@pytest.mark.parametrize(
    "answer", ["", "```", "```\n```", "``` ```", '```json\n{"n": 1}', '{"n": 1}\n```', '```x\n{"n": 1}\n```']
)
def test_what_is_no_json_is_refused(answer: str) -> None:
    with pytest.raises(AnswerRefused, match="no JSON"):
        ask(Saying(answer), "?", Answer)


@pytest.mark.parametrize(
    "answer",
    [
        "```json\n" + "\n" * 1_000_000,
        "```\n" + " \n" * 500_000 + "x",
        "\n```" * 300_000,
        "```\n" + "\n```" * 300_000 + "x",
    ],
)
def test_a_model_that_answers_with_nothing_but_space_stops_nobody(answer: str) -> None:
    began = time.process_time()
    with pytest.raises(AnswerRefused, match="no JSON"):
        ask(Saying(answer), "?", Answer)
    assert time.process_time() - began < 2
