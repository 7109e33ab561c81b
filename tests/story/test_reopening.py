"""If these fail, a memory is not there any more after closing, crashing or moving on to another process."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from telling import in_another_process, snapshot, started, tell, texts, wait_for

from memos_core import MOS, AsyncMOS, MemCube, Session
from memos_core.errors import StoreClosed, StoreNotFound, UnsupportedStore
from memos_core.types.uses import Holder

QUESTION = "where does Ann live?"


def fill(mos: MOS) -> None:
    alice = mos.session("alice", conversation="t")
    alice.add([{"content": f"Ann lived in town {number}", "id": f"m{number}"} for number in range(20)])
    alice.add("Ann lives in Lisbon", id="home", key="home", tags=["pinned"])
    alice.update("home", text="Ann lives in Porto")
    alice.delete(alice.list(newest_first=False)[0].id)
    mos.create_cube("team", owner="alice")
    mos.share("team", with_="bob", rights="write")
    mos.session("bob", write_to=["team"]).add("Ann is away in May")


def seen(mos: MOS) -> object:
    """Everything that can be asked."""
    alice = mos.session("alice", read_from=["alice", "team"])
    hits = alice.search(QUESTION)
    return (
        snapshot(mos),
        [(hit.item, hit.score, hit.parts) for hit in hits],
        hits.degraded,
        [version.to_dict() if hasattr(version, "to_dict") else version for version in alice.history("home")],
        alice.context(QUESTION),
        [grant for info in mos.cubes() for grant in mos.cube(info.name).grants()],
        [entry for info in mos.cubes() for entry in mos.cube(info.name).audit() if entry.action != "read"],
        mos.stats()["store_id"],
    )


# -- closing and opening ------------------------------------------------------------------------------------------------


def test_opened_again_everything_is_as_it_was(tmp_path: Path) -> None:
    with MOS.open(
        tmp_path, embedder="hashing", usage=False
    ) as mos:  # asking is no use here: it would change the ranking
        fill(mos)
        before = seen(mos)
    for _ in range(2):
        with MOS.open(tmp_path, usage=False) as mos:
            assert seen(mos) == before
            assert mos.verify() == []


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with MOS.open(tmp_path) as mos:
        first = mos.session("alice", conversation="t").add(["one", "two"])
    with MOS.open(tmp_path) as mos:
        alice = mos.session("alice", conversation="t")
        again = alice.add("three")
        assert again[0].seq == 3
        assert [item.id for item in alice.list(newest_first=False)] == [*first.ids, again.id]
        assert again.id > max(first.ids)


def test_a_store_in_memory_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with MOS.open(":memory:") as one, MOS.open(":memory:") as two:
        one.session("alice").add("x")
        assert two.cubes() == []
        assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnsupportedStore):
        MOS.open("mongodb://localhost")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("location", ["", "  ", "mongodb://x/y", "http://x", "sqlite://relative"])
def test_what_is_no_place_for_a_store_is_refused(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsupportedStore, match="folder"):
        MOS.open(location)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_store_and_none_is_made_where_none_shall_be(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UnsupportedStore, match="is a file"):
        MOS.open(tmp_path / "notes.txt")
    with pytest.raises(StoreNotFound, match="nowhere"):
        MOS.open(tmp_path / "nowhere", create=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    MOS.open(tmp_path / "made").close()
    MOS.open(tmp_path / "made", create=False).close()
    MOS.open(f"sqlite:///{tmp_path}/made", create=False).close()


# -- closed -----------------------------------------------------------------------------------------------------------

SESSION_CALLS: dict[str, Callable[[Session], Any]] = {
    "add": lambda session: session.add("x"),
    "search": lambda session: session.search("x"),
    "context": lambda session: session.context("x"),
    "get": lambda session: session.get("home"),
    "list": lambda session: session.list(),
    "history": lambda session: session.history("home"),
    "stats": lambda session: session.stats(),
    "update": lambda session: session.update("home", text="x"),
    "delete": lambda session: session.delete("home"),
    "restore": lambda session: session.restore("home"),
    "rollback": lambda session: session.rollback("home", 1),
}
SESSION_CALLS |= {
    "explain": lambda session: session.explain("home"),
    "lineage": lambda session: session.lineage("home"),
    "archive": lambda session: session.archive("home"),
    "activate": lambda session: session.activate("home"),
    "freeze": lambda session: session.freeze("home"),
    "unfreeze": lambda session: session.unfreeze("home"),
    "merge": lambda session: session.merge(["home", "cat"], "both"),
    "diff": lambda session: session.diff("home"),
    "fork": lambda session: session.fork("alice/other", cube="alice"),
    "rollback_cube": lambda session: session.rollback_cube(1, cube="alice"),
    "preferences": lambda session: session.preferences(),
    "working": lambda session: session.view.working(Holder("alice", "thread", ("alice",))),
    "erase": lambda session: session.erase("home", reason="x"),
    "preview_erase": lambda session: session.preview_erase("home"),
}
MOS_CALLS: dict[str, Callable[[MOS], Any]] = {
    "session": lambda mos: mos.session("alice"),
    "create_cube": lambda mos: mos.create_cube("x", owner="alice"),
    "cubes": lambda mos: mos.cubes(),
    "cube": lambda mos: mos.cube("alice"),
    "share": lambda mos: mos.share("alice", with_="bob"),
    "rights": lambda mos: mos.rights("alice", "bob"),
    "checkpoint": lambda mos: mos.checkpoint(),
    "verify_audit": lambda mos: mos.verify_audit(),
    "unshare": lambda mos: mos.unshare("alice", with_="bob"),
    "verify": lambda mos: mos.verify(),
    "reindex": lambda mos: mos.reindex(),
    "reembed": lambda mos: mos.reembed("hashing"),
    "stats": lambda mos: mos.stats(),
    "count_uses": lambda mos: mos.count_uses(),
    "vacuum": lambda mos: mos.vacuum(),
    "retain": lambda mos: mos.retain(),
    "fork": lambda mos: mos.fork("alice", "alice/other"),
    "rollback_cube": lambda mos: mos.rollback_cube("alice", 1),
    "erase": lambda mos: mos.erase("home", reason="x"),
    "preview_erase": lambda mos: mos.preview_erase("home"),
    "finish_erasures": lambda mos: mos.finish_erasures(),
    "verify_erased": lambda mos: mos.verify_erased(),
    "export_subject": lambda mos: mos.export_subject("alice", "never made"),
    "backup": lambda mos: mos.backup("never made"),
}
CUBE_CALLS: dict[str, Callable[[MemCube], Any]] = {
    "get": lambda cube: cube.get("home"),
    "history": lambda cube: cube.history("home"),
    "stats": lambda cube: cube.stats(),
    "catch_up": lambda cube: cube.catch_up(),
    "grants": lambda cube: cube.grants(),
    "audit": lambda cube: cube.audit(),
    "share": lambda cube: cube.share("bob"),
    "nearest": lambda cube: cube.nearest([1.0] * 256),  # type: ignore[arg-type]
}


def _public(kind: type) -> set[str]:
    return {
        name
        for name in dir(kind)
        if not name.startswith("_") and inspect.isfunction(inspect.getattr_static(kind, name))
    }


def test_no_method_is_forgotten_below() -> None:
    assert _public(Session) - {"now", "read"} == set(SESSION_CALLS)
    assert _public(MOS) - {"close", "after_fork"} == set(MOS_CALLS)


@pytest.mark.parametrize("cubes", [["alice"], ["alice", "team"]], ids=["one cube", "two cubes"])
def test_everything_that_was_closed_says_so(tmp_path: Path, cubes: list[str]) -> None:
    mos = MOS.open(tmp_path, embedder="hashing")
    fill(mos)
    session = mos.session("alice", read_from=cubes, write_to=cubes)
    cube = mos.cube("alice")
    before = snapshot(mos)
    mos.close()
    mos.close()
    calls: list[tuple[str, Callable[[Any], Any], Any]] = [
        *((name, call, session) for name, call in SESSION_CALLS.items()),
        *((name, call, mos) for name, call in MOS_CALLS.items()),
        *((name, call, cube) for name, call in CUBE_CALLS.items()),
    ]
    for name, call, thing in calls:
        with pytest.raises(StoreClosed, match="closed"):
            call(thing)
        assert name
    with MOS.open(tmp_path) as mos:
        assert snapshot(mos) == before


def test_closing_waits_for_none_and_harms_none(tmp_path: Path) -> None:
    """Whoever is still at work gets their answer, or hears that the store is closed: never anything else."""
    mos = MOS.open(tmp_path, embedder="hashing")
    fill(mos)
    session = mos.session("alice", read_from=["alice", "team"], write_to=["alice", "team"])
    begun = threading.Barrier(5)
    ends: list[object] = []
    acknowledged: list[str] = []

    def work(number: int) -> None:
        begun.wait()
        try:
            while True:
                if number % 2:
                    acknowledged.append(session.add(f"note {number}").id)
                else:
                    assert session.search(QUESTION)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at below
            ends.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    while len(acknowledged) < 4:
        assert all(thread.is_alive() for thread in threads)
    mos.close()
    for thread in threads:
        thread.join(60)
    assert [type(error) for error in ends] == [StoreClosed] * 4, ends
    with MOS.open(tmp_path) as mos:
        assert {item.id for item in mos.session("alice").list(limit=10_000)} >= set(acknowledged)
        assert mos.verify() == []


def test_a_search_of_several_cubes_that_meets_the_closing_says_so(tmp_path: Path) -> None:
    """The threads that ask cubes side by side are let go first."""
    with MOS.open(tmp_path) as mos:
        fill(mos)
        both = mos.session("alice", read_from=["alice", "team"], write_to=[])
        mos._pool.shutdown()
        with pytest.raises(StoreClosed, match="is closed"):
            both.search(QUESTION)


def test_async_sessions_of_a_closed_store_say_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with AsyncMOS.open(tmp_path) as mos:
            session = await mos.session("alice")
            await session.add("x")
        for call in (session.add("y"), session.search("x"), session.list(), mos.cubes(), mos.session("alice")):
            with pytest.raises(StoreClosed):
                await call

    asyncio.run(story())


# -- crashing ---------------------------------------------------------------------------------------------------------

_WRITER = """
    import sys
    from memos_core import MOS

    with MOS.open(sys.argv[1], embedder="hashing") as mos:
        alice = mos.session("alice", write_to=["alice", "alice/copy"])
        number = len(alice.list(limit=10_000)) // 6
        while True:
            alice.add([f"fact {number} of writer, part {part}" for part in range(3)])
            print(f"fact {number}", flush=True)
            number += 1
"""


@pytest.mark.soak
def test_killed_while_writing_all_that_was_acknowledged_is_there(
    tmp_path: Path, rounds: Callable[[int, int], int]
) -> None:
    """In both cubes, findable, and no call is half there."""
    chance = random.Random(7)
    for _ in range(rounds(2, 50)):
        process = started(_WRITER, tmp_path)
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 12)):
            last = process.stdout.readline().strip()
        process.kill()
        rest, complained = process.communicate()
        last = rest.split("\n")[-2] if "\n" in rest else last
        assert last.startswith("fact"), complained
        with MOS.open(tmp_path) as mos:
            held = [
                sorted(texts(mos.session("alice", read_from=[cube]).list(limit=10_000)))
                for cube in ("alice", "alice/copy")
            ]
            count = len(held[0]) // 3
            assert held[0] == held[1] == sorted(f"fact {n} of writer, part {p}" for n in range(count) for p in range(3))
            assert count >= int(last.removeprefix("fact ")) + 1
            (hit, *_) = mos.session("alice").search(f"{last} of writer, part 2", top_k=3)
            assert hit.text.startswith(f"{last} ")
            assert mos.verify() == []


def test_a_process_that_ends_without_closing_loses_nothing(tmp_path: Path) -> None:
    in_another_process(
        """
        import os, sys
        from memos_core import MOS
        mos = MOS.open(sys.argv[1], embedder="hashing")
        mos.session("alice").add([f"fact {n}" for n in range(50)])
        os._exit(0)
        """,
        tmp_path,
    )
    with MOS.open(tmp_path) as mos:
        assert mos.session("alice").search("fact 7", top_k=50)
        assert len(mos.session("alice").list()) == 50
        assert mos.verify() == []


# -- several processes ------------------------------------------------------------------------------------------------

_ANSWERING = """
    import sys
    from memos_core import MOS

    with MOS.open(sys.argv[1]) as mos:
        alice = mos.session("alice")
        print("ready", flush=True)
        for line in sys.stdin:
            word, _, rest = line.strip().partition(" ")
            if word == "add":
                print(alice.add(rest).id, flush=True)
            else:
                print(alice.search(rest, top_k=1)[0].text, flush=True)
"""


def test_two_processes_see_each_other_s_writes_at_once(tmp_path: Path) -> None:
    with MOS.open(tmp_path, embedder="hashing") as mos:
        alice = mos.session("alice")
        alice.add("the first word")
        other = started(_ANSWERING, tmp_path)
        assert other.stdout is not None
        wait_for(other, "ready")
        for number in range(10):
            alice.add(f"mine{number} is here")
            tell(other, f"search mine{number}")
            assert other.stdout.readline() == f"mine{number} is here\n"
            tell(other, f"add yours{number} is there")
            id = other.stdout.readline().strip()
            assert alice.search(f"yours{number}", top_k=1)[0].id == id
        other.communicate(timeout=60)
        assert other.returncode == 0
        assert mos.verify() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_and_its_parent_both_go_on(tmp_path: Path) -> None:
    code = """
        import os, sys
        from memos_core import MOS
        with MOS.open(sys.argv[1], embedder="hashing") as mos:
            alice = mos.session("alice", read_from=["alice", "alice/copy"], write_to=["alice", "alice/copy"])
            alice.add("before")
            child = os.fork()
            who = "parent" if child else "child"
            for number in range(5):
                alice.add(f"{who} {number}")
                assert alice.search(f"{who} {number}", top_k=1)[0].text == f"{who} {number}"
            if child:
                assert os.waitpid(child, 0)[1] == 0
            else:
                mos.close()
                os._exit(0)
            assert len(alice.list()) == 22, len(alice.list())
            assert mos.verify() == []
            print("both")
    """
    assert in_another_process(code, tmp_path) == "both"
