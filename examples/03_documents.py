"""Read a document, ask it, read a new edition of it: only what has changed is written."""

from memos_core import MOS, Document

FIRST = """# The P-7 pump

## Starting
Open the valve, then prime the pump until no bubbles rise.

## Winter
Drain the pump before the first frost, or the housing cracks.
"""
SECOND = FIRST.replace("the first frost", "temperatures fall below 3 degrees")

with MOS.open(":memory:", embedder="hashing") as mos:
    alice = mos.session("alice")
    first = alice.add(Document(uri="pump.md", format="markdown", text=FIRST))
    print(first)
    hit = alice.search("what must be done before winter?")[0]
    print(f"{hit.score:.2f}", hit.item.metadata["heading"], repr(hit.text))
    print(alice.add(Document(uri="pump.md", format="markdown", text=SECOND)))
    print([item.text for item in alice.list(as_of=first.seqs["alice"])])  # the past is still there
