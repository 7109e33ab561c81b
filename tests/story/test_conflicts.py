"""If these fail, two that change the same thing at once overwrite each other without anybody noticing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from telling import started, tell, texts, wait_for

from memos_core import MOS
from memos_core.errors import AlreadyExists, MemosError, VersionConflict

ROUNDS = 15


def at_once(count: int, do: Callable[[int], object]) -> list[object]:
    """What becomes of a call made by so many threads at one moment: its answer, or memos' error."""
    ready = threading.Barrier(count)

    def one(number: int) -> object:
        ready.wait()
        try:
            return do(number)
        except MemosError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_expect_version_says_what_was_expected_and_what_is_there() -> None:
    with MOS.open(":memory:") as mos:
        alice = mos.session("alice")
        id = alice.add("one").id
        alice.update(id, text="two", expect_version=1)
        with pytest.raises(VersionConflict, match="at version 2, not 1; read it again"):
            alice.update(id, text="three", expect_version=1)
        with pytest.raises(VersionConflict, match="at version 2, not 7"):
            alice.update(id, text="three", expect_version=7)
        assert alice.get(id).text == "two"


def test_of_threads_that_saw_the_same_version_one_wins() -> None:
    with MOS.open(":memory:", embedder="hashing") as mos:
        alice = mos.session("alice")
        id = alice.add("start").id
        for version in range(1, ROUNDS + 1):
            said = at_once(3, lambda n, seen=version: alice.update(id, text=f"{seen} by {n}", expect_version=seen))
            won = [each for each in said if not isinstance(each, Exception)]
            assert len(won) == 1
            assert sum(isinstance(each, VersionConflict) for each in said) == 2
            assert alice.get(id) == won[0]
        assert [each.version for each in alice.history(id)] == list(range(1, ROUNDS + 2))


def test_without_expect_version_every_change_is_made_and_none_undoes_another() -> None:
    fields = ("tags", "metadata", "payload", "confidence")
    values = {"tags": ["x"], "metadata": {"x": 1}, "payload": ["x"], "confidence": 0.5}
    with MOS.open(":memory:") as mos:
        alice = mos.session("alice")
        for number in range(5):
            id = alice.add(f"start {number}").id
            said = at_once(4, lambda n, id=id: alice.update(id, **{fields[n]: values[fields[n]]}))  # type: ignore[arg-type]
            assert not [each for each in said if isinstance(each, Exception)]
            item = alice.get(id)
            assert (item.tags, item.metadata, item.payload, item.confidence) == (("x",), {"x": 1}, ["x"], 0.5)
            assert item.version == 5


def test_one_thread_gets_the_key_and_the_others_are_told() -> None:
    with MOS.open(":memory:") as mos:
        said = at_once(4, lambda n: mos.session("alice").add(f"by {n}", key="home"))
        assert sum(isinstance(each, AlreadyExists) for each in said) == 3
        assert len(mos.session("alice").list()) == 1


def test_one_message_sent_by_many_threads_is_stored_once() -> None:
    with MOS.open(":memory:", embedder="hashing") as mos:
        said = at_once(6, lambda _: mos.session("alice").add({"content": "Rex is ill", "id": "m1"}).ids)
        assert len({tuple(ids) for ids in said}) == 1  # type: ignore[arg-type]
        assert texts(mos.session("alice").list()) == ["Rex is ill"]


def test_deleting_and_updating_at_once_leaves_one_of_the_two() -> None:
    with MOS.open(":memory:") as mos:
        alice = mos.session("alice")
        for number in range(8):
            id = alice.add(f"start {number}").id
            at_once(2, lambda n, id=id: alice.delete(id) if n else alice.update(id, text="new"))
            ops = [version.op for version in alice.history(id)]
            # the deletion is never followed by a change that did not see it
            assert ops in (["add", "delete"], ["add", "update", "delete"])
        assert mos.verify() == []


_COUNTER = """
    import sys
    from memos_core import MOS
    from memos_core.errors import VersionConflict

    folder, id, rounds = sys.argv[1:]
    with MOS.open(folder) as mos:
        alice = mos.session("alice")
        print("ready", flush=True)
        sys.stdin.readline()
        conflicts = 0
        for _ in range(int(rounds)):
            while True:
                item = alice.get(id)
                try:
                    alice.update(id, metadata={"count": item.metadata["count"] + 1}, expect_version=item.version)
                    break
                except VersionConflict:
                    conflicts += 1
        print(conflicts, flush=True)
"""


def test_two_processes_count_together_and_lose_no_step(tmp_path: Path) -> None:
    with MOS.open(tmp_path) as mos:
        alice = mos.session("alice")
        id = alice.add("counter", metadata={"count": 0}).id
        processes = [started(_COUNTER, tmp_path, id, "20") for _ in range(2)]
        for process in processes:
            wait_for(process, "ready")
        for process in processes:
            tell(process, "go")
        for process in processes:
            _, complained = process.communicate(timeout=120)
            assert process.returncode == 0, complained
        item = alice.get(id)
        assert (item.metadata["count"], item.version) == (40, 41)
        assert mos.verify() == []
