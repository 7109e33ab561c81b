"""Put a conversation in, twice, and get the right memories for a prompt out."""

from memos_core import MOS

MESSAGES = [
    {
        "id": "1",
        "role": "user",
        "content": "Hi! I'm planning a trip to Iceland in March.",
        "at": "2024-01-15T09:00:00Z",
    },
    {"id": "2", "role": "assistant", "content": "How exciting! Are you going alone?", "at": "2024-01-15T09:00:20Z"},
    {"id": "3", "role": "user", "content": "With my sister Nora. She can't eat gluten.", "at": "2024-01-15T09:01:00Z"},
]

with MOS.open(":memory:", embedder="hashing") as mos:
    alice = mos.session("alice", conversation="trip")
    print(alice.add(MESSAGES))
    print(alice.add(MESSAGES))  # the same messages again: known
    alice.add("Always answer me in English.", tags=["pinned"])

    context = alice.context("What should we eat in Iceland?", max_tokens=80)
    print("-- stable, the same from turn to turn\n" + context.stable)
    print("-- what this question needs\n" + context.volatile)

    earlier = alice.search("Nora", where={"role": "user"})[0].item
    print(earlier.provenance.source, earlier.mentions)
