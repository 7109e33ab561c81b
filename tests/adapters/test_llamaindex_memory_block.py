"""If this fails, a LlamaIndex `Memory` with our block forgets what was said, stores it twice, tells one user what another has
said, loses everything when the prompt gets long, or hides that its store is broken."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.base.llms.types import CitableBlock, ThinkingBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.memory import InsertMethod, Memory, StaticMemoryBlock
from llama_index.core.storage.chat_store.base_db import MessageStatus
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from llama_index.core.workflow import Context, StartEvent, StopEvent, Workflow, step
from pydantic import ValidationError

from memos_core import MOS, AsyncMOS, F, Message, Session
from memos_core.errors import AccessDenied, EmbeddingFailed, InvalidInput, NotFound, StoreClosed
from memos_llamaindex import MemosMemoryBlock

MakeMemory = Callable[..., Memory]


def user(text: str, **beside: Any) -> ChatMessage:
    return ChatMessage(role="user", content=text, additional_kwargs=beside)


def assistant(text: str) -> ChatMessage:
    return ChatMessage(role="assistant", content=text)


def texts(session: Session, conversation: str | None = None) -> list[str]:
    """What is stored, in the order of the conversation."""
    items = session.list(where=None if conversation is None else F.conversation == conversation, limit=10_000)
    return [item.text for item in sorted(items, key=lambda item: (item.provenance.source.position, item.seq))]


def inserted(messages: Sequence[ChatMessage]) -> str:
    """What the block has put into the prompt."""
    blocks = [block.text for message in messages for block in message.blocks if isinstance(block, TextBlock)]
    return "\n".join(text for text in blocks if "<memories>" in text)


@pytest.fixture
def mos(tmp_path: Path) -> Iterator[MOS]:
    with MOS.open(tmp_path / "memory", embedder="hashing") as made:
        yield made


@pytest.fixture
def alice(mos: MOS) -> Session:
    return mos.session("alice")


@pytest.fixture
async def memory_of() -> AsyncIterator[MakeMemory]:
    """Makes LlamaIndex's own Memory with its own chat store, and lets go of their connections."""
    made: list[Memory] = []

    def make(*blocks: Any, session_id: str = "thread-1", **options: Any) -> Memory:
        made.append(Memory.from_defaults(session_id=session_id, memory_blocks=list(blocks), **options))
        return made[-1]

    yield make
    for memory in made:
        if memory.sql_store._async_engine is not None:
            await memory.sql_store._async_engine.dispose()


# -- recalling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", list(InsertMethod))
async def test_it_recalls_for_the_latest_message_of_the_user(
    alice: Session, memory_of: MakeMemory, method: InsertMethod
) -> None:
    alice.add(["My dog is called Rex", "The pump needs a new valve"])
    memory = memory_of(MemosMemoryBlock(session=alice, max_tokens=9), insert_method=method)
    await memory.aput(user("The pump again"))
    await memory.aput(assistant("What about it?"))
    await memory.aput(user("No, my dog: what is it called?"))
    messages = await memory.aget()
    assert "- My dog is called Rex" in inserted(messages)
    assert "valve" not in inserted(messages)
    assert messages[0].role == (MessageRole.SYSTEM if method is InsertMethod.SYSTEM else MessageRole.USER)


async def test_pinned_memories_are_always_there(alice: Session, memory_of: MakeMemory) -> None:
    alice.add("Always answer in Portuguese", tags=["pinned"])
    memory = memory_of(MemosMemoryBlock(session=alice))
    assert "Always answer in Portuguese" in inserted(await memory.aget())
    await memory.aput(ChatMessage(role="user", blocks=[ImageBlock(url="https://example.org/dog.png")]))
    assert "Always answer in Portuguese" in inserted(await memory.aget())


async def test_a_pinned_memory_that_is_asked_for_stands_there_once(alice: Session) -> None:
    alice.add("Always answer in Portuguese", tags=["pinned"])
    alice.add("The pump stands behind the red door", tags=["pinned"])
    for tokens, lines in ((100, 2), (20, 2), (15, 2), (9, 1)):
        block = MemosMemoryBlock(session=alice, max_tokens=tokens, tokenizer_fn=str.split)
        recalled = await block.aget([user("Where does the pump stand?")])
        assert len(recalled.splitlines()) == len(set(recalled.splitlines())) == lines
        assert "behind the red door" in recalled


async def test_turns_of_the_window_are_not_repeated(alice: Session, memory_of: MakeMemory) -> None:
    memory = memory_of(MemosMemoryBlock(session=alice))
    alice.add("My dog Rex is three years old")
    for message in (user("My dog is called Rex"), assistant("A good name for a dog"), user("How old is my dog Rex?")):
        await memory.aput(message)
        await memory.aget()
    assert texts(alice, "thread-1") == ["My dog is called Rex", "A good name for a dog", "How old is my dog Rex?"]
    recalled = inserted(await memory.aget())
    assert "three years" in recalled
    assert "called" not in recalled
    assert "good name" not in recalled
    assert "How old" not in recalled


async def test_a_long_message_of_the_window_is_not_repeated_piece_by_piece(
    alice: Session, memory_of: MakeMemory
) -> None:
    long = "\n\n".join(f"Paragraph {number}: Rex ran {number} miles. " * 12 for number in range(40))
    memory = memory_of(MemosMemoryBlock(session=alice))
    await memory.aput(user(long))
    for _ in range(3):
        await memory.aget()
    pieces = alice.list()
    assert len(pieces) > 1
    assert {item.version for item in pieces} == {1}
    await memory.aput(assistant("I see"))
    await memory.aput(user("How far did Rex run?"))
    assert inserted(await memory.aget()) == ""
    assert len(alice.list(where=F.role == "user")) == len(pieces) + 1


async def test_who_said_it_is_told(alice: Session, memory_of: MakeMemory) -> None:
    before = memory_of(MemosMemoryBlock(session=alice), session_id="before")
    await before.aput_messages([user("The code is red"), assistant("Noted: the code"), user("Code blue", name="Bob")])
    await before.aget()
    memory = memory_of(MemosMemoryBlock(session=alice))
    await memory.aput(user("What is the code?"))
    lines = inserted(await memory.aget()).splitlines()
    assert {"- alice: The code is red", "- assistant: Noted: the code", "- Bob: Code blue"} <= set(lines)


async def test_what_is_recalled_can_be_narrowed(alice: Session, memory_of: MakeMemory) -> None:
    alice.add("Rex likes bones", metadata={"topic": "food"}, conversation="thread-1")
    alice.add("Rex likes lakes", metadata={"topic": "swimming"}, conversation="thread-1")
    alice.add("Rex likes steak", metadata={"topic": "food"}, conversation="thread-2")
    food = MetadataFilters(filters=[MetadataFilter(key="topic", value="food")])
    for options, expected in (
        ({}, {"bones", "lakes", "steak"}),
        ({"where": F.topic == "swimming"}, {"lakes"}),
        ({"filters": food}, {"bones", "steak"}),
        ({"filters": food, "all_conversations": False}, {"bones"}),
        ({"where": F.topic == "swimming", "filters": food}, set()),
        ({"min_score": 1.0}, set()),
    ):
        block = MemosMemoryBlock(session=alice, remember_window=False, **options)
        memory = memory_of(block)
        await memory.aput(user("What does Rex like?"))
        recalled = inserted(await memory.aget())
        assert {word for word in ("bones", "lakes", "steak") if word in recalled} == expected


async def test_options_of_chat_engines_are_taken(alice: Session, memory_of: MakeMemory) -> None:
    alice.add("My dog is called Rex")
    memory = memory_of(MemosMemoryBlock(session=alice))
    messages = await memory.aget(input="What is my dog called?", initial_token_count=12)
    assert "Rex" in inserted(messages)


# -- storing ------------------------------------------------------------------------------------------------------------


async def flushed(memory: Memory) -> list[str | None]:
    return [message.content for message in await memory.aget_all(status=MessageStatus.ARCHIVED)]


async def test_what_leaves_the_window_is_stored_once(alice: Session, memory_of: MakeMemory) -> None:
    block = MemosMemoryBlock(session=alice, remember_window=False)
    memory = memory_of(block, token_limit=60, token_flush_size=20)
    said = [user(f"fact number {number} is important") for number in range(12)]
    answers = [assistant(f"noted number {number}") for number in range(12)]
    for question, answer in zip(said, answers, strict=True):
        await memory.aput(question)
        await memory.aput(answer)
        await memory.aget()
    assert len(await flushed(memory)) > 6
    assert texts(alice, "thread-1") == await flushed(memory)
    await memory.aput(user("fact number 0?"))
    assert "fact number 0 is important" in inserted(await memory.aget())
    await block.aput(await memory.aget_all(), session_id="thread-1")  # everything once more, and the rest
    assert texts(alice, "thread-1") == [message.content for message in await memory.aget_all()]


async def test_the_window_is_stored_as_soon_as_it_is_seen(alice: Session, memory_of: MakeMemory) -> None:
    memory = memory_of(MemosMemoryBlock(session=alice), token_limit=60, token_flush_size=20)
    for number in range(12):
        await memory.aput(user(f"fact number {number} is important"))
        await memory.aget()
        assert texts(alice, "thread-1")[-1] == f"fact number {number} is important"
        await memory.aget(input=f"fact number {number} is important")  # as agents do after calling tools
        await memory.aput(assistant(f"noted number {number}"))
        await memory.aget()
    assert await flushed(memory)
    assert texts(alice, "thread-1") == [message.content for message in await memory.aget_all()]
    assert all(item.version == 1 for item in alice.list())


async def test_the_echo_of_the_input_is_not_stored(alice: Session, memory_of: MakeMemory) -> None:
    memory = memory_of(MemosMemoryBlock(session=alice))
    await memory.aput(user("What is the weather?"))
    await memory.aget()
    await memory.aget(input="What is the weather?")
    assert texts(alice) == ["What is the weather?"]


async def test_equal_words_at_two_times_are_two_items(alice: Session, memory_of: MakeMemory) -> None:
    memory = memory_of(MemosMemoryBlock(session=alice))
    said = []
    for day in ("Monday", "Tuesday", "Wednesday"):
        for message in (user(f"It is {day}"), assistant("Yes?"), user("My pressure is 120/80"), assistant("Noted")):
            said.append(message.content)
            await memory.aput(message)
            await memory.aget()
    assert texts(alice) == said


async def test_answers_that_are_always_the_same_are_no_repetition(alice: Session) -> None:
    block = MemosMemoryBlock(session=alice, remember_window=False)
    said = []
    for first in range(0, 12, 3):
        batch = [each for n in range(first, first + 3) for each in (user(f"my pressure is {n}"), assistant("Noted"))]
        await block.aput(batch, session_id="thread-1")
        said += [message.content for message in batch]
    assert texts(alice) == said
    await block.aput([user("hello")], session_id="thread-2")
    batch = [user("one"), assistant("two"), user("three"), assistant("four"), user("hello"), assistant("hi")]
    await block.aput(batch, session_id="thread-2")
    assert texts(alice, "thread-2") == ["hello", *(message.content for message in batch)]


async def test_a_correction_of_the_only_turns_stays(alice: Session) -> None:
    block = MemosMemoryBlock(session=alice)
    window = [user("My dog is called Rex"), assistant("A good name")]
    await block.aget(window, session_id="thread-1")
    wrong = next(item.id for item in alice.list() if "Rex" in item.text)
    alice.update(wrong, text="My dog is called Max")
    await block.aget([*window, user("Really?")], session_id="thread-1")
    assert texts(alice) == ["My dog is called Max", "A good name", "Really?"]


async def test_a_conversation_of_that_name_in_anothers_cube_is_another(mos: MOS, alice: Session) -> None:
    talk = [user("one"), assistant("two"), user("three"), assistant("four")]
    await MemosMemoryBlock(session=alice).aput(talk, session_id="thread-1")
    mos.share("alice", with_="bob")
    bob = mos.session("bob", read_from=["alice", "bob"])
    await MemosMemoryBlock(session=bob).aget(talk, session_id="thread-1")
    assert texts(mos.session("bob")) == ["one", "two", "three", "four"]


async def test_the_same_words_after_a_restart_are_new(alice: Session, memory_of: MakeMemory) -> None:
    for _ in range(3):  # the chat store is in memory, and gone with each Memory; the session_id is the same
        memory = memory_of(MemosMemoryBlock(session=alice))
        for message in (user("My pressure is 120/80"), assistant("Noted")):
            await memory.aput(message)
            await memory.aget()
    assert texts(alice) == ["My pressure is 120/80", "Noted"] * 3


async def test_a_stateless_server_that_sends_the_whole_history_each_time(alice: Session, memory_of: MakeMemory) -> None:
    history: list[ChatMessage] = []
    for number in range(8):
        memory = memory_of(MemosMemoryBlock(session=alice), token_limit=80, token_flush_size=30)
        await memory.aset(history)
        await memory.aput(user(f"question {number} about the pump"))
        await memory.aget()
        history += [user(f"question {number} about the pump"), assistant(f"answer {number}")]
    assert texts(alice) == [message.content for message in history[:-1]]


async def test_two_that_store_the_same_at_once_store_it_once(alice: Session, mos: MOS) -> None:
    batch = [user("one"), assistant("two"), user("three")]
    blocks = [MemosMemoryBlock(session=mos.session("alice")) for _ in range(4)]
    await asyncio.gather(*(block.aput(batch, session_id="thread-1") for block in blocks for _ in range(3)))
    assert texts(alice) == ["one", "two", "three"]


async def test_what_was_deleted_or_corrected_stays_so(alice: Session, memory_of: MakeMemory) -> None:
    memory = memory_of(MemosMemoryBlock(session=alice))
    said = ["My name is Ann", "Hello Ann", "My PIN is 1234", "I did not hear that", "My dog is called Rex", "Fine"]
    for number, text in enumerate(said):
        await memory.aput(assistant(text) if number % 2 else user(text))
        await memory.aget()
    ids = {item.text: item.id for item in alice.list()}
    alice.delete(ids["My PIN is 1234"])
    alice.update(ids["My dog is called Rex"], text="My dog is called Max")
    alice.delete(ids["Fine"])
    for _ in range(2):
        await memory.aput(user("And my cat is called Tom"))
        await memory.aget()
        await memory.aput(assistant("Tom"))
        await memory.aget()
    assert texts(alice)[:4] == ["My name is Ann", "Hello Ann", "I did not hear that", "My dog is called Max"]
    assert texts(alice)[4:] == ["And my cat is called Tom", "Tom"] * 2


async def test_turns_of_others_in_the_conversation_do_no_harm(alice: Session, memory_of: MakeMemory) -> None:
    memory = memory_of(MemosMemoryBlock(session=alice))
    said = []
    for number in range(6):
        for message in (user(f"question {number}"), assistant(f"answer {number}")):
            said.append(message.content)
            await memory.aput(message)
            await memory.aget()
        if number:
            alice.add(Message(content=f"remark {number}", role="assistant"), conversation="thread-1")
            alice.add(f"fact {number}", conversation="thread-1")
    stored = texts(alice, "thread-1")
    assert sorted(stored) == sorted([*said, *(f"{what} {n}" for n in range(1, 6) for what in ("remark", "fact"))])


async def test_a_conversation_that_goes_in_circles_goes_on_at_its_end(alice: Session) -> None:
    block = MemosMemoryBlock(session=alice)
    circle = [user("more?"), assistant("yes"), user("now?")]
    talk = [*circle, assistant("here"), *circle]
    await block.aput(talk, session_id="thread-1")
    await block.aget([*circle, assistant("there")], session_id="thread-1")
    assert texts(alice) == [message.content for message in [*talk, assistant("there")]]


async def test_a_history_with_a_part_cut_out_is_known(alice: Session) -> None:
    block = MemosMemoryBlock(session=alice)
    talk = [(assistant if place % 2 else user)(f"turn {place}") for place in range(12)]
    await block.aput(talk, session_id="thread-1")
    for cut in (talk[:6] + talk[10:], talk[:2] + talk[6:]):
        await block.aget(cut, session_id="thread-1")
    assert texts(alice) == [message.content for message in talk]


async def test_random_windows_over_random_talk_store_each_turn_once(mos: MOS) -> None:
    rng = np.random.default_rng(3)
    for trial in range(25):
        block = MemosMemoryBlock(session=mos.session(f"user-{trial}"))
        talk = [
            (assistant if place % 2 else user)(f"word {rng.integers(8)} and {rng.integers(8)}")
            for place in range(int(rng.integers(5, 40)))
        ]
        start = end = 0
        while end < len(talk):
            new = min(len(talk), end + int(rng.integers(1, 6)))
            start = max(0, min(end - 4, start + int(rng.integers(0, 4))))
            end = new
            put = block.aput if rng.random() < 0.5 else block.aget
            await put(talk[start:end], session_id="thread-1")
        assert texts(mos.session(f"user-{trial}")) == [message.content for message in talk]


async def test_a_history_older_than_what_is_compared_first_is_known(alice: Session) -> None:
    block = MemosMemoryBlock(session=alice)
    talk = [(assistant if place % 2 else user)(f"turn {place}") for place in range(200)]
    await block.aput(talk, session_id="thread-1")
    for start in range(0, 60, 20):
        await block.aput(talk[start : start + 20], session_id="thread-1")
    assert texts(alice) == [message.content for message in talk]


async def test_the_callers_messages_are_not_touched(alice: Session, memory_of: MakeMemory) -> None:
    block = MemosMemoryBlock(session=alice)
    batch = [user("hello", mood="glad"), assistant("hi")]
    before = copy.deepcopy(batch)
    await block.aput(batch, from_short_term_memory=True, session_id="thread-1")
    await block.aget(batch, session_id="thread-1")
    assert batch == before
    (item,) = alice.list(where=F.mood == "glad")
    assert item.metadata == {"mood": "glad"}
    assert item.conversation == "thread-1"


async def test_what_is_stored_of_a_message(alice: Session) -> None:
    batch = [
        ChatMessage(role="system", content="You are a pirate"),
        ChatMessage(role="user", blocks=[ImageBlock(url="https://example.org/a.png")]),
        ChatMessage(
            role="user",
            blocks=[TextBlock(text="Look:"), CitableBlock(title="t", source="s", content="a cited text")],
            additional_kwargs={"name": "Bob", "id": "m-7", "timestamp": "2026-05-08T09:30:00Z", "score": float("nan")},
        ),
        ChatMessage(role="assistant", blocks=[ThinkingBlock(content="hm"), ToolCallBlock(tool_name="weather")]),
        ChatMessage(role="tool", content="18 degrees", additional_kwargs={"tool_call_id": "c1"}),
        ChatMessage(role="chatbot", content="Mild.", additional_kwargs={"tool_calls": [object()]}),
    ]
    block = MemosMemoryBlock(session=alice)
    await block.aput(batch, session_id="thread-1")
    stored = sorted(alice.list(), key=lambda item: item.provenance.source.position)
    seen = [(item.provenance.source.role, item.speaker, item.text, item.metadata) for item in stored]
    assert seen == [
        ("user", "Bob", "Look:\na cited text", {}),
        ("tool", None, "18 degrees", {"tool_call_id": "c1"}),
        ("assistant", None, "Mild.", {}),
    ]
    assert stored[0].provenance.source.message_id == "m-7"
    assert f"{stored[0].occurred_at:%Y-%m-%d}" == "2026-05-08"
    only_users = MemosMemoryBlock(session=alice, roles=("user",), speaker="Ann")
    await only_users.aput([user("mine"), assistant("not mine")], session_id="thread-2")
    assert [(item.speaker, item.text) for item in alice.list(where=F.conversation == "thread-2")] == [("Ann", "mine")]


async def test_blocks_that_only_read(mos: MOS, alice: Session, memory_of: MakeMemory) -> None:
    mos.create_cube("handbook", owner="alice")
    mos.share("handbook", with_="bob", rights="read")
    mos.session("alice", write_to=["handbook"]).add("The pump is behind the door")
    reading = MemosMemoryBlock(session=mos.session("bob", read_from=["handbook"], write_to=[]), name="handbook")
    refusing = MemosMemoryBlock(session=alice, accept_short_term_memory=False)
    memory = memory_of(reading, refusing, token_limit=60, token_flush_size=20)
    for number in range(12):
        await memory.aput(user(f"where is the pump, number {number}?"))
        messages = await memory.aget()
    assert await flushed(memory)
    assert "behind the door" in "\n".join(str(message) for message in messages)
    assert [cube.name for cube in mos.cubes()] == ["handbook"]
    with pytest.raises(AccessDenied):
        await reading.aput([user("by hand")], session_id="thread-1")
    await refusing.aput([user("by hand")], session_id="thread-1")
    assert texts(alice) == ["by hand"]


async def test_beside_a_block_that_takes_the_stamp_away(alice: Session) -> None:
    ours = MemosMemoryBlock(session=alice)
    batch = [user("hello"), assistant("hi")]

    class Popping(StaticMemoryBlock):
        """As LlamaIndex's VectorMemoryBlock: takes its session_id from the messages, and removes it."""

        async def _aput(self, messages: list[ChatMessage]) -> None:
            for message in messages:
                message.additional_kwargs.pop("session_id")

    popping = Popping(static_content="x")
    await asyncio.gather(*(block.aput(batch, session_id="thread-1") for block in (ours, popping, ours)))
    assert texts(alice, "thread-1") == ["hello", "hi"]


# -- several at once ----------------------------------------------------------------------------------------------------


async def test_two_users_are_apart(mos: MOS, memory_of: MakeMemory) -> None:
    for name, secret in (("alice", "My PIN is 1234"), ("bob", "My PIN is 9999")):
        memory = memory_of(MemosMemoryBlock(session=mos.session(name)), session_id="the-same")
        await memory.aput(user(secret))
        await memory.aget()
    for name, own, other in (("alice", "1234", "9999"), ("bob", "9999", "1234")):
        memory = memory_of(MemosMemoryBlock(session=mos.session(name)), session_id="another")
        await memory.aput(user("What is my PIN?"))
        recalled = inserted(await memory.aget())
        assert own in recalled
        assert other not in recalled


async def test_one_block_serves_many_conversations_at_once(mos: MOS, memory_of: MakeMemory) -> None:
    alice = mos.session("alice")
    block = MemosMemoryBlock(session=alice, all_conversations=False)

    async def talk(number: int) -> str:
        memory = memory_of(block, session_id=f"thread-{number}", token_limit=60, token_flush_size=20)
        for turn in range(6):
            await memory.aput(user(f"thread {number} says fact {turn} about pumps"))
            await memory.aput(assistant(f"yes {turn}"))
            await memory.aget()
        await memory.aput(user("which facts about pumps?"))
        recalled = inserted(await memory.aget())
        expected = [m.content for m in await memory.aget_all() if m.content != "which facts about pumps?"]
        assert texts(alice, f"thread-{number}")[: len(expected)] == expected
        return recalled

    recalled = await asyncio.gather(*(talk(number) for number in range(5)))
    for number, text in enumerate(recalled):
        assert f"thread {number} says" in text
        assert all(f"thread {other} says" not in text for other in range(5) if other != number)


class Waiting:
    """An embedder that embeds only once the event loop has turned: were the loop blocked, it never would."""

    identity, dims = "waiting", 4

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.turns = 0

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> np.ndarray:
        turned = threading.Event()
        self.loop.call_soon_threadsafe(turned.set)
        assert turned.wait(20), "the event loop stood still"
        self.turns += 1
        return np.ones(4, dtype=np.float32)


async def test_the_event_loop_goes_on(tmp_path: Path) -> None:
    embedder = Waiting()
    with MOS.open(tmp_path / "memory", embedder=embedder) as mos:
        block = MemosMemoryBlock(session=mos.session("alice"))
        await block.aput([user("My dog is called Rex"), assistant("Good")], session_id="thread-1")
        recalled = await block.aget([user("What is my dog called?")], session_id="thread-2")
    assert "Rex" in recalled
    assert embedder.turns >= 4  # two turns stored, one question, one turn of the window


def test_synchronous_use_from_any_thread(alice: Session) -> None:
    alice.add("My dog is called Rex")
    found: list[str] = []

    def chat(number: int) -> None:
        memory = Memory.from_defaults(session_id=f"t{number}", memory_blocks=[MemosMemoryBlock(session=alice)])
        memory.put(user("What is my dog called?"))
        found.append(inserted(memory.get()))
        asyncio.run(memory.sql_store._async_engine.dispose())

    threads = [threading.Thread(target=chat, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all("Rex" in text for text in found)


async def test_synchronous_use_inside_of_a_running_loop(tmp_path: Path, memory_of: MakeMemory) -> None:
    async with AsyncMOS.open(tmp_path / "memory", embedder="hashing") as mos:
        session = await mos.session("alice")
        await session.add("My dog is called Rex")
        block = MemosMemoryBlock(session=session)
        memory = memory_of(block)
        memory.put(user("What is my dog called?"))  # LlamaIndex runs it in a thread with a loop of its own
        assert "Rex" in inserted(memory.get())
        assert "Rex" in await block.aget([user("What is my dog called?")], session_id="thread-2")


# -- too long ----------------------------------------------------------------------------------------------------------


async def test_the_least_likely_go_first_when_the_prompt_is_too_long(alice: Session) -> None:
    alice.add("Speak Portuguese", tags=["pinned"])
    alice.add([f"The pump has part number {number}" for number in range(6)])
    alice.add("The pump valve was replaced in May")
    block = MemosMemoryBlock(session=alice, remember_window=False)
    question = user("When was the pump valve replaced?")
    content = await block.aget([question], session_id="thread-1")
    ranked = [hit.text for hit in alice.search(question.content, top_k=20) if hit.text != "Speak Portuguese"]
    assert len(content.splitlines()) == 8
    count = len(block.tokenizer_fn(content)) if block.tokenizer_fn else block._count(content)
    for wanted in range(1, count):
        shorter = await block.atruncate(content, wanted)
        left = [] if shorter is None else [line.removeprefix("- ") for line in shorter.splitlines()]
        assert block._count("" if shorter is None else shorter) <= count - wanted
        others = [line for line in left if line != "Speak Portuguese"]
        assert set(others) == set(ranked[: len(others)])
        assert "Speak Portuguese" in left or not left
    assert await block.atruncate(content, count + 5) is None
    assert await block.atruncate("- one\n- two\n- three", 3) == "- one\n- two"
    assert await block.atruncate("", 3) is None


async def test_memory_keeps_its_limit_and_the_best_memories(alice: Session, memory_of: MakeMemory) -> None:
    alice.add([f"The pump has part number {number}" for number in range(30)])
    alice.add("The pump valve was replaced in May")
    window = [user("When was the pump valve replaced?")]
    cut = memory_of(MemosMemoryBlock(session=alice, remember_window=False), token_limit=60)
    whole = memory_of(MemosMemoryBlock(session=alice, remember_window=False, priority=0), token_limit=60)
    lines = {}
    for memory in (cut, whole):
        await memory.aput_messages(window)
        lines[id(memory)] = [line for line in inserted(await memory.aget()).splitlines() if line.startswith("- ")]
    assert 1 < len(lines[id(cut)]) < 8
    assert "- The pump valve was replaced in May" in lines[id(cut)]
    assert len(lines[id(whole)]) == 31
    recalled = "\n".join(lines[id(cut)])
    assert len(cut.tokenizer_fn(recalled)) + len(cut.tokenizer_fn(window[0].content)) <= 60


async def test_max_tokens_are_those_of_the_tokenizer(alice: Session) -> None:
    alice.add([f"The pump has part number {number}" for number in range(30)])
    for tokenizer in (str.split, list):
        block = MemosMemoryBlock(session=alice, max_tokens=100, tokenizer_fn=tokenizer, remember_window=False)
        content = await block.aget([user("pump")], session_id="t")
        assert 60 < len(tokenizer(content)) <= 100


# -- errors, copies -----------------------------------------------------------------------------------------------------


class Broken:
    """An embedder that is out of order from some moment on."""

    identity, dims = "broken", 4

    def __init__(self) -> None:
        self.works = True

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if not self.works:
            raise EmbeddingFailed("out of order")
        return np.ones((len(texts), 4), dtype=np.float32)

    def embed_query(self, text: str) -> np.ndarray:
        return self.embed([text])[0]


async def test_an_outage_is_an_error_and_nothing_is_lost(
    tmp_path: Path, memory_of: MakeMemory, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = Broken()
    with MOS.open(tmp_path / "memory", embedder=embedder) as mos:
        alice = mos.session("alice")
        block = MemosMemoryBlock(session=alice)
        memory = memory_of(block, token_limit=40, token_flush_size=10)
        embedder.works = False
        await memory.aput(user("My dog is called Rex"))
        with pytest.raises(EmbeddingFailed):
            await memory.aget()
        with pytest.raises(EmbeddingFailed):
            for number in range(20):
                await memory.aput(user(f"and number {number} follows the others"))
        embedder.works = True
        await block.aput(await memory.aget_all(), session_id=memory.session_id)
        assert texts(alice) == [message.content for message in await memory.aget_all()]

        embedder.works = False
        going_on = MemosMemoryBlock(session=alice, fail_open=True)
        assert await going_on.aget([user("What is my dog called?")], session_id="thread-2") == ""
        await going_on.aput([user("one more")], session_id="thread-2")
        assert [record.getMessage().split(" for ")[0] for record in caplog.records] == [
            "memory is out of order (EmbeddingFailed): nothing was recalled",
            "memory is out of order (EmbeddingFailed): nothing was stored",
            "memory is out of order (EmbeddingFailed): nothing was stored",
        ]
        assert not any(record.exc_info for record in caplog.records)  # a model's message may quote the text


async def test_errors_that_are_no_outage_are_always_errors(mos: MOS, alice: Session) -> None:
    with pytest.raises(ValidationError, match="session"):
        MemosMemoryBlock(session="alice")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="needs a number"):
        MemosMemoryBlock(session=alice, where={"year": {">": None}})
    with pytest.raises(ValidationError, match="max_tokens"):
        MemosMemoryBlock(session=alice, max_tokens=0)
    mos.create_cube("team", owner="alice")
    with pytest.raises(ValidationError, match="does not read"):
        MemosMemoryBlock(session=mos.session("alice", read_from=["alice"], write_to=["team"]))
    block = MemosMemoryBlock(session=alice, fail_open=True)
    with pytest.raises(InvalidInput):
        await block.aput([user("NUL \x00")], session_id="thread-1")
    strict = MemosMemoryBlock(session=alice)
    mos.close()
    with pytest.raises(StoreClosed):
        await strict.aget([user("hello")], session_id="thread-1")
    assert await block.aget([user("hello")], session_id="thread-1") == ""


async def test_without_a_conversation(mos: MOS) -> None:
    nowhere = MemosMemoryBlock(session=mos.session("alice"))
    await nowhere.aput([user("by hand")])
    await nowhere.aget([user("seen")])
    assert texts(mos.session("alice")) == ["by hand"]
    there = MemosMemoryBlock(session=mos.session("alice", conversation="home"))
    await there.aput([user("one"), assistant("two")])
    await there.aget([user("one"), assistant("two"), user("three")])
    assert texts(mos.session("alice"), "home") == ["one", "two", "three"]


class Idle(Workflow):
    """A workflow to have a context of."""

    @step
    async def rest(self, ev: StartEvent) -> StopEvent:
        return StopEvent()


async def test_it_comes_through_contexts_and_copies(alice: Session, memory_of: MakeMemory) -> None:
    alice.add("My dog is called Rex")
    block = MemosMemoryBlock(session=alice, where=F.type == "fact", tokenizer_fn=str.split)
    context = Context(Idle())
    await context.store.set("block", block)
    async with context.store.edit_state() as state:
        state["edited"] = True
    written = json.dumps(context.to_dict())
    assert "alice" not in written  # a context that is edited outside cannot name another actor
    restored = Context.from_dict(Idle(), json.loads(written))
    question = [user("What is my dog called?")]
    copied = block.model_copy(deep=True, update={"name": "copied"})
    for each in (await restored.store.get("block"), copy.deepcopy(block), copied, copy.copy(block)):
        assert await each.aget(question, session_id="thread-1") == "- My dog is called Rex"
    assert (block.name, copied.name) == ("memories", "copied")
    assert copied.session is block.session
    with pytest.raises(NotFound, match="make a new MemosMemoryBlock"):
        MemosMemoryBlock.from_dict({"class_name": "MemosMemoryBlock", "ticket": "0" * 32})
    assert "session" not in block.model_dump()
    json.dumps(block.model_dump(mode="json"))


def test_it_is_never_taken_for_nothing(alice: Session) -> None:
    assert bool(MemosMemoryBlock(session=alice)) is True
    assert not hasattr(MemosMemoryBlock, "__len__")
