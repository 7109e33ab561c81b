"""Find what a user likes in what they say, in the background. The model here goes by rules; put your own in its place."""

import json
import re

from memos_core import MOS

POLARITIES = {"love": "likes", "can't stand": "dislikes", "no longer like": "withdrawn"}


class Rules:
    """Reads the prompt that it is given, as any model would; a chat model of LangChain or LlamaIndex does as well."""

    identity = "rules-1"

    def complete(self, prompt: str) -> str:
        found = []
        for message in json.loads(prompt.rpartition("\n")[2])["messages"]:
            if message["role"] != "user" or not message["new"]:
                continue
            for said in re.finditer(r"I (love|can't stand|no longer like) (\w+)", message["text"]):
                polarity = POLARITIES[said[1]]
                found.append(
                    {
                        "topic": said[2],
                        "statement": f"{message['person']} {polarity} {said[2]}.",
                        "polarity": polarity,
                        "explicit": True,
                        "messages": [message["n"]],
                        "quote": said[0],
                    }
                )
        return json.dumps({"preferences": found})


with MOS.open(":memory:", model=Rules(), preferences=True) as mos:
    alice = mos.session("alice", conversation="breakfast")
    alice.add(
        [
            {"role": "user", "content": "I love coffee, and I can't stand jam."},
            {"role": "assistant", "content": "I love honey."},
        ]
    )
    mos.scheduler.run_pending()  # in an application: mos.scheduler.start(), or `memos worker`
    for item in alice.preferences():
        print(item.text, item.payload, item.state)
    print("-- in every prompt\n" + alice.context("What shall I eat?").stable)

    alice.add({"role": "user", "content": "My doctor called. I no longer like coffee."})
    mos.scheduler.run_pending()
    print("now:", [item.text for item in alice.preferences()])
    print(alice.explain(key="preference:alice:coffee"))
