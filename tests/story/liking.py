"""A text model without any weights: it reads the prompt that it is given, and answers by rules, as a good model would."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from memos_core import MOS, MemoryItem, Session
from memos_core.types.jobs import Job

_RULES = (
    (r"\bI (?:really )?love (?P<topic>\w+(?: \w+)?)", "likes", True),
    (r"\bI hate (?P<topic>\w+)", "dislikes", True),
    (r"\bI no longer like (?P<topic>\w+)", "withdrawn", True),
    (r"\bhad (?P<topic>\w+) again\b", "likes", False),
)


def shown(prompt: str) -> dict[str, Any]:
    """What a prompt shows: {"known": [...], "messages": [...]}."""
    found: dict[str, Any] = json.loads(prompt.rpartition("\n")[2])
    return found


def found_in(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The preferences in one message, by the rules."""
    return [
        {
            "topic": match["topic"],
            "statement": f"{message['person']} {polarity} {match['topic']}.",
            "polarity": polarity,
            "explicit": explicit,
            "messages": [message["n"]],
            "quote": match[0] if explicit else "",
        }
        for pattern, polarity, explicit in _RULES
        for match in re.finditer(pattern, message["text"])
    ]


def by_rules(prompt: str) -> str:
    """The answer to a prompt: what the user says in new messages."""
    messages = [each for each in shown(prompt)["messages"] if each["role"] == "user" and each["new"]]
    return json.dumps({"preferences": [found for each in messages for found in found_in(each)]})


class Ruled:
    """The model. `asked` holds the prompts; `answers` may be changed while it is used."""

    identity = "ruled-1"

    def __init__(self, answers: Callable[[str], str] = by_rules) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def complete(self, prompt: str) -> str:
        self.asked.append(prompt)
        return self.answers(prompt)


def saying(**said: Any) -> Callable[[str], str]:
    """Answers with one preference, whatever is asked: what is not given is that tea is loved, as message 1 says."""
    usual = {
        "topic": "tea",
        "statement": "Loves tea.",
        "polarity": "likes",
        "explicit": True,
        "messages": [1],
        "quote": "I love tea",
    }
    return lambda _: json.dumps({"preferences": [{**usual, **said}]})


def found_by(mos: MOS) -> list[Job]:
    """The jobs that look for preferences, oldest first."""
    return mos.scheduler.jobs(kinds=["preferences"])[::-1]


def result(mos: MOS) -> Any:
    """What the last of them has returned, after all that wait have run."""
    mos.scheduler.run_pending()
    last = found_by(mos)[-1]
    assert last.state == "done", last.error
    return last.result


def user(text: str, **more: Any) -> dict[str, Any]:
    """A message of the user's."""
    return {"role": "user", "content": text, **more}


def assistant(text: str) -> dict[str, Any]:
    """A message of the assistant's."""
    return {"role": "assistant", "content": text}


def told(session: Session, *include: str) -> list[tuple[str, str]]:
    """Preferences as (words, state), newest first."""
    return [(item.text, str(item.state)) for item in session.preferences(include=include)]


def only(session: Session, *include: str) -> MemoryItem:
    """The one preference that there is."""
    (item,) = session.preferences(include=include)
    return item
