"""If this fails, a classic chain stores the wrong words under the wrong name, or `clear()` deletes what it should not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_talk import history, in_thread, say, texts

from memos_core import MOS, F
from memos_core.errors import AccessDenied, InvalidInput, InvalidText, StoreClosed
from memos_langchain import MemosMemory


@pytest.fixture
def mos() -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing") as made:
        yield made


# -- what is stored -----------------------------------------------------------------------------------------------------


def test_two_messages_with_role_speaker_time_and_conversation() -> None:
    at = datetime(2024, 5, 8, 10, tzinfo=UTC)
    with MOS.open(":memory:", now=lambda: at) as mos:
        say(in_thread(mos), ("I was in Oslo yesterday.", "How was it?"))
        own = in_thread(mos, ai_prefix="Luna")
        say(own, ("Cold.", "I believe it."))
        items = mos.session("alice").list(newest_first=False)
        assert [(item.type, item.provenance.source.role, item.speaker) for item in items if item.provenance.source] == [
            ("message", "user", "alice"),
            ("message", "assistant", None),
            ("message", "user", "alice"),
            ("message", "assistant", "Luna"),
        ]
        assert {(item.occurred_at, item.conversation) for item in items} == {(at, "t1")}
        assert items[0].mentions.dates[0].start == "2024-05-07"
        assert history(own).endswith("Human: Cold.\nLuna: I believe it.")


def test_the_same_words_twice_are_two_turns_even_if_the_clock_stands_still() -> None:
    at = datetime(2024, 5, 8, 10, tzinfo=UTC)
    with MOS.open(":memory:", now=lambda: at) as mos:
        memory = in_thread(mos)
        say(memory, ("ok", "ok"), ("ok", "ok"))
        assert history(memory) == "Human: ok\nAI: ok\nHuman: ok\nAI: ok"


def test_one_save_is_one_transaction(mos: MOS) -> None:
    say(in_thread(mos), ("Hello.", "Hi."))
    (entry,) = [entry for entry in mos.cube("alice").audit() if entry.action == "add"]
    assert (entry.first_seq, entry.last_seq) == (1, 2)


def test_messages_and_parts_as_inputs_and_outputs(mos: MOS) -> None:
    memory = in_thread(mos)
    memory.save_context(
        {"input": HumanMessage("Hello.", name="Ann")},
        {
            "output": AIMessage(
                [{"type": "text", "text": "Hi."}, {"type": "tool_use", "id": "1", "name": "f", "input": {}}]
            )
        },
    )
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    memory.save_context({"input": [{"type": "text", "text": "Look!"}, picture]}, {"output": "Nice."})
    assert history(memory) == "Human: Hello.\nAI: Hi.\nHuman: Look!\nAI: Nice."
    (item,) = mos.session("alice").list(where=F.text == "Hello.")
    assert item.speaker == "Ann"


def test_what_nobody_has_said_is_not_stored(mos: MOS) -> None:
    memory = in_thread(mos)
    memory.save_context({"input": SystemMessage("Be brief.")}, {"output": "Yes."})
    memory.save_context({"input": "  "}, {"output": "Anything else?"})
    call = {"name": "f", "args": {}, "id": "1"}
    memory.save_context({"input": "Look it up."}, {"output": AIMessage("", tool_calls=[call])})
    memory.save_context({"input": ""}, {"output": ""})
    memory.save_context({"input": ToolMessage("42 degrees", tool_call_id="1")}, {"output": "It is hot."})
    assert texts(mos.session("alice")) == ["Yes.", "Anything else?", "Look it up.", "42 degrees", "It is hot."]
    assert history(memory) == "AI: Yes.\nAI: Anything else?\nHuman: Look it up.\nAI: It is hot."


# -- which input, which output ------------------------------------------------------------------------------------------


def test_several_inputs_need_a_name(mos: MOS) -> None:
    memory = in_thread(mos)
    inputs = {"question": "What is my dog called?", "language": "English", "history": "earlier", "stop": ["\n"]}
    for call in (memory.load_memory_variables, lambda inputs: memory.save_context(inputs, {"text": "Rex."})):
        with pytest.raises(InvalidInput, match=r"'language', 'question'.*input_key"):
            call(inputs)
    for options in ({"input_key": "question"}, {"exclude_input_keys": ["language"]}):
        chosen = in_thread(mos, **options)
        chosen.load_memory_variables(inputs)
        chosen.save_context(inputs, {"text": "Rex."})
        assert texts(mos.session("alice"))[-2:] == ["What is my dog called?", "Rex."]
    with pytest.raises(InvalidInput, match="input_key='input'"):
        in_thread(mos, input_key="input").load_memory_variables({"question": "?"})
    with pytest.raises(InvalidInput, match="said nothing"):
        memory.save_context({"history": "earlier"}, {"text": "Rex."})


def test_several_outputs_need_a_name_unless_one_is_called_output(mos: MOS) -> None:
    memory = in_thread(mos)
    with pytest.warns(UserWarning, match="output_key"):
        memory.save_context({"input": "one"}, {"output": "1", "intermediate_steps": "..."})
    with pytest.raises(InvalidInput, match=r"'a', 'b'.*output_key"):
        memory.save_context({"input": "two"}, {"a": "2", "b": "..."})
    with pytest.raises(InvalidInput, match="none"):
        memory.save_context({"input": "two"}, {})
    with pytest.raises(InvalidInput, match="output_key='c'"):
        in_thread(mos, output_key="c").save_context({"input": "two"}, {"a": "2"})
    in_thread(mos, output_key="b").save_context({"input": "three"}, {"a": "...", "b": "3"})
    assert texts(mos.session("alice")) == ["one", "1", "three", "3"]


def test_what_cannot_be_stored_is_refused_and_nothing_is_stored(mos: MOS) -> None:
    memory = in_thread(mos)
    with pytest.raises(InvalidInput, match="input 'input' is a list of messages"):
        memory.load_memory_variables({"input": [HumanMessage("Hello."), AIMessage("Hi.")]})
    with pytest.raises(InvalidInput, match="output 'text' is of type dict"):
        memory.save_context({"input": "Hello."}, {"text": {"answer": 42}})
    with pytest.raises(InvalidText, match="surrogate"):
        memory.save_context({"input": "Hello."}, {"text": "\ud800"})
    with pytest.raises(InvalidText, match="NUL"):
        memory.load_memory_variables({"input": "a\x00b"})
    assert texts(mos.session("alice")) == []


# -- clearing -----------------------------------------------------------------------------------------------------------


def test_clear_deletes_the_messages_of_this_conversation_only(mos: MOS) -> None:
    here, there = in_thread(mos), in_thread(mos, conversation="t2")
    say(here, ("My dog is called Rex.", "Nice."), ("I like tea.", "Me too."))
    say(there, ("I play the violin.", "Bravo."))
    mos.session("alice", conversation="t1").add("Alice has a dog.")  # a fact noted there is no turn
    ids = [item.id for item in mos.session("alice").list(where=F.text == "I like tea.")]
    here.clear()
    assert history(here) == ""
    assert history(there) == "Human: I play the violin.\nAI: Bravo."
    assert sorted(texts(mos.session("alice"))) == ["Alice has a dog.", "Bravo.", "I play the violin."]
    assert "Rex" not in history(there, "what is my dog called?")
    mos.session("alice").restore(ids[0])
    assert history(here) == "Human: I like tea."
    here.clear()
    here.clear()  # with nothing left
    say(here, ("Hello.", "Hi."))
    assert history(here) == "Human: Hello.\nAI: Hi."


def test_a_conversation_of_the_same_name_in_a_cube_that_is_only_read(mos: MOS) -> None:
    say(in_thread(mos, "bob"), *[(f"bob {number}", "ok") for number in range(40)])
    mos.share("bob", with_="alice")
    memory = MemosMemory(session=mos.session("alice", conversation="t1", read_from=["alice", "bob"]), last_k=2)
    say(memory, ("alice 1", "fine"))
    say(in_thread(mos, "bob"), *[(f"bob again {number}", "ok") for number in range(40)])
    assert history(memory) == "Human: alice 1\nAI: fine"
    assert "- [" in history(memory, "bob again")
    memory.clear()
    assert history(memory) == ""
    assert len(texts(mos.session("bob"))) == 160


def test_several_cubes_written_to_show_each_turn_once(mos: MOS) -> None:
    mos.create_cube("team", owner="alice")
    session = mos.session("alice", conversation="t1", write_to=["alice", "team"])
    memory = MemosMemory(session=session, last_k=3)
    turns = [(f"said {number}", f"answer {number}") for number in range(5)]
    say(memory, *turns)
    assert history(memory).splitlines() == [
        line for said, answer in turns[-3:] for line in (f"Human: {said}", f"AI: {answer}")
    ]
    assert history(memory, "said").count("said 0") == 1
    memory.clear()
    assert texts(session) == []


# -- refused sessions ---------------------------------------------------------------------------------------------------


def test_sessions_that_cannot_serve_are_refused_at_once(mos: MOS) -> None:
    with pytest.raises(ValueError, match="no conversation"):
        MemosMemory(session=mos.session("alice"))
    mos.create_cube("team", owner="alice")
    with pytest.raises(ValueError, match="read back"):
        MemosMemory(session=mos.session("alice", conversation="t1", write_to=["team"], read_from=["alice"]))
    with pytest.raises(ValueError, match="read back"):
        MemosMemory(session=mos.session("alice", conversation="t1", write_to=[]))
    with pytest.raises(ValueError, match="session"):
        MemosMemory(session="alice")  # type: ignore[arg-type]


def test_a_right_that_is_taken_away_and_a_closed_store_are_errors(mos: MOS) -> None:
    mos.create_cube("team", owner="alice")
    mos.share("team", with_="bob", rights="write")
    memory = MemosMemory(session=mos.session("bob", conversation="t1", write_to=["team"], read_from=["team"]))
    say(memory, ("Hello.", "Hi."))
    mos.share("team", with_="bob", rights="read")
    assert history(memory) == "Human: Hello.\nAI: Hi."
    with pytest.raises(AccessDenied):
        say(memory, ("And?", "No."))
    with pytest.raises(AccessDenied):
        memory.clear()
    mos.close()
    with pytest.raises(StoreClosed):
        history(memory)
