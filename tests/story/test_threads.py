"""If these fail, a server whose threads share a store or a session loses memories, mixes answers up, or stops."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from telling import texts

from memos_core import MOS, F

THREADS = 6


def test_one_session_serves_many_threads(tmp_path: Path) -> None:
    """Each thread tells and asks its own things; what it was told is there for it at once, and for all in the end."""
    with MOS.open(tmp_path, embedder="hashing") as mos:
        session = mos.session("alice", conversation="t")
        ready = threading.Barrier(THREADS)

        def work(number: int) -> list[str]:
            ready.wait()
            own: list[str] = []
            for turn in range(6):
                said = f"code{number}x{turn} belongs to thread {number}"
                added = session.add([said, f"aside {turn} of thread {number}"], metadata={"thread": number})
                own.extend(added.ids)
                assert texts(added) == [said, f"aside {turn} of thread {number}"]
                assert session.search(f"code{number}x{turn}", top_k=1)[0].text == said
                assert session.get(added.ids[0]).text == said
                assert len(session.list(where=F.thread == number)) == len(own)
                session.update(added.ids[1], text=f"changed {turn} of thread {number}")
                if turn % 3 == 2:
                    session.delete(own.pop())
            return own

        with ThreadPoolExecutor(THREADS) as pool:
            kept = list(pool.map(work, range(THREADS)))
        items = session.list(limit=10_000)
        assert {item.id for item in items} == {id for own in kept for id in own}
        positions = [item.provenance.source.position for item in items if item.provenance.source]
        assert len(set(positions)) == len(positions)  # each has a place of its own in the conversation
        assert mos.verify() == []
        changes = mos.cubes()[0].changes
        entries = mos.cube("alice").audit()
        assert [(entry.number, entry.first_seq, entry.last_seq) for entry in entries if entry.last_seq][-1][
            2
        ] == changes


def test_many_sessions_of_many_actors_keep_apart(tmp_path: Path) -> None:
    with MOS.open(tmp_path, embedder="hashing", index_budget=1) as mos:  # indexes come and go all the time
        ready = threading.Barrier(THREADS)

        def work(number: int) -> None:
            ready.wait()
            session = mos.session(f"actor{number}")
            for turn in range(5):
                session.add(f"secret {number} of turn {turn}")
                hits = session.search("what is the secret?", top_k=50)
                assert len(hits) == turn + 1
                assert all(hit.text.startswith(f"secret {number} ") and hit.cube_id == f"actor{number}" for hit in hits)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
        assert Counter(info.changes for info in mos.cubes()) == {5: THREADS}
        assert mos.verify() == []


def test_cubes_are_locked_in_one_order(tmp_path: Path) -> None:
    """Threads that write to the same cubes in different orders wait for each other, and none waits for ever."""
    with MOS.open(tmp_path) as mos:
        for cube in ("a", "b", "c"):
            mos.create_cube(cube, owner="alice")
        orders = [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]]

        def work(number: int) -> None:
            cubes = orders[number % 3]
            session = mos.session("alice", write_to=cubes, read_from=cubes)
            for turn in range(5):
                added = session.add(f"{number} at {turn}")
                assert added[0].cube_id == cubes[0]
                session.update(added.id, tags=["x"])

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
        held = [
            sorted(texts(mos.session("alice", read_from=[cube], write_to=[]).list(limit=1000)))
            for cube in ("a", "b", "c")
        ]
        assert held[0] == held[1] == held[2]
        assert len(held[0]) == 5 * THREADS


def test_first_writes_of_many_threads_make_one_cube(tmp_path: Path) -> None:
    with MOS.open(tmp_path, embedder="hashing") as mos:
        ready = threading.Barrier(THREADS)

        def work(number: int) -> None:
            ready.wait()
            mos.session("alice").add(f"fact {number}")

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
        (info,) = mos.cubes()
        assert (info.name, info.owner, info.changes) == ("alice", "alice", THREADS)
        assert len(mos.session("alice").search("fact")) == THREADS
