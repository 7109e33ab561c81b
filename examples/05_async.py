"""The same, awaited: the event loop goes on while memory is written and searched."""

import asyncio

from memos_core import AsyncMOS


async def main() -> None:
    async with AsyncMOS.open(":memory:", embedder="hashing") as mos:
        alice = await mos.session("alice")
        await asyncio.gather(*(alice.add(f"Note {number}: the code is {number * 111}.") for number in range(1, 6)))
        hits = await alice.search("what is the code in note 3?", top_k=1)
        print(hits[0].text)


asyncio.run(main())
