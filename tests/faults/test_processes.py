"""If these fail, two programs that share a memory do not know what the other one has just been told, or one that searches
stops the others from writing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import Rounds
from worker import Worker
from writers import opened

from memos_core.errors import CubeNotFound

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600), pytest.mark.xdist_group("processes")]

WRITERS = 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "store"


@pytest.fixture(scope="module")
def workers(store: Path) -> Iterator[list[Worker]]:
    """Four that write, and two that only search."""
    made = [Worker(store, f"p{n}") for n in range(WRITERS + 2)]
    yield made
    for worker in made:
        worker.close()


def test_what_one_process_has_written_all_others_know_at_once(workers: list[Worker], rounds: Rounds) -> None:
    for turn in range(rounds(8, 400)):
        writer = workers[turn % WRITERS]
        others = [worker for worker in workers if worker is not writer]
        text = f"turn token{turn} of {writer.name}"
        id = writer.ask("add", text=text)
        assert told(others, "search", query=f"token{turn}") == [[text]] * 5
        assert told(others, "nearest", like=text) == [text] * 5
        editor = workers[(turn + 1) % WRITERS]
        new = f"turn token{turn} was edited by {editor.name}, edit{turn}"
        assert editor.ask("update", id=id, text=new) == 2
        assert told(workers, "search", query=f"edit{turn}") == [[new]] * 6
        if turn % 2:
            assert workers[(turn + 2) % WRITERS].ask("delete", id=id) == 1
            assert told(workers, "search", query=f"token{turn}") == [[]] * 6


def test_rights_and_rules_that_others_change_hold_at_once_where_somebody_writes_all_the_time(
    workers: list[Worker], store: Path, rounds: Rounds
) -> None:
    """What a process knows of rights and rules it keeps across its own commits: it must not keep it across those of others."""
    assert workers[0].ask("add", text="There is a cube.")
    over = threading.Event()

    def write(number: int) -> int:
        session, count = mos.session(f"writer{number}"), 0
        while not over.is_set():
            session.add(f"number {count}")
            count += 1
        return count

    with opened(store) as mos, ThreadPoolExecutor(2) as pool:
        writing = [pool.submit(write, number) for number in range(2)]
        try:
            for turn in range(rounds(15, 1000)):
                other, mail = workers[turn % WRITERS], f"otto{turn}@example.org"
                other.ask("share", with_="eve")
                eve = mos.session("eve", read_from=["ann"], write_to=[])
                assert eve.search("cube")
                other.ask("unshare", with_="eve")
                with pytest.raises(CubeNotFound):
                    eve.search("cube")
                with pytest.raises(CubeNotFound):
                    mos.session("eve", read_from=["ann"], write_to=[])
                other.ask("policy", redact=["email"] if turn % 2 else [])
                (item,) = mos.session("ann").add(f"Write to {mail}.")
                assert (mail in item.text) == (turn % 2 == 0)
        finally:
            over.set()
        assert all(each.result() > 0 for each in writing)
        workers[0].ask("policy", redact=[])


def told(workers: list[Worker], do: str, **what: str) -> list[object]:
    """All of them do the same at the same time; their answers."""
    for worker in workers:
        worker.tell(do, **what)
    return [worker.answer() for worker in workers]


def test_all_write_and_search_at_the_same_time(workers: list[Worker], store: Path, rounds: Rounds) -> None:
    count = rounds(10, 500)
    assert workers[0].ask("add", text="There is a cube.")
    with opened(store) as mos:
        before = mos.cube("ann").stats()["changes"]
    changes = before + WRITERS * (count + len(range(0, count, 3)) + len(range(4, count, 5)))
    for worker in workers[WRITERS:]:
        worker.tell("watch", until=changes)
    for worker in workers[:WRITERS]:
        worker.tell("run", count=count)
    assert [worker.answer() for worker in workers[:WRITERS]] == [count] * WRITERS
    kept = WRITERS * (count - len(range(4, count, 5)))
    for worker in workers[WRITERS:]:
        seen = worker.answer()
        assert all(later >= earlier - WRITERS for earlier, later in pairwise(seen)), "it fell behind"
        assert all(found <= kept + WRITERS for found in seen)
    for n in range(count):
        for writer in workers[:WRITERS]:
            expected = f"{writer.name} remembers tok{writer.name}{n}" + (" changed" if n % 3 == 0 else "")
            asked = workers[(n + 1) % len(workers)]
            assert asked.ask("search", query=f"tok{writer.name}{n}") == ([] if n % 5 == 4 else [expected])
    assert all(findings == [] for findings in told(workers, "verify"))


def test_one_that_is_killed_stops_nobody(store: Path, workers: list[Worker], rounds: Rounds) -> None:
    for turn in range(rounds(2, 40)):
        victim = Worker(store, f"v{turn}")
        assert victim.ask("add", text=f"last words{turn}")
        victim.tell("run", count=1000)
        for worker in workers[:WRITERS]:
            assert worker.ask("add", text=f"still here{turn} {worker.name}")
        victim.kill()
        assert told(workers, "search", query=f"words{turn}") == [[f"last words{turn}"]] * 6
        assert [len(each) for each in told(workers, "search", query=f"here{turn}")] == [WRITERS] * 6  # type: ignore[arg-type]
    assert workers[0].ask("verify") == []
