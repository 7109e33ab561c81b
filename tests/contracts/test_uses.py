"""If this fails, uses are lost or counted twice where several threads or processes count at once, on one database or the other;
or a store from before uses were counted cannot be opened.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from memos_core import MOS
from memos_core.scheduler.usage import UseNotes
from memos_core.types.uses import Holder, Kept, Noted, Use

HOLDER = Holder("alice", "thread", ("alice", "team"))
THREADS, ROUNDS = 4, 10


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "memory") if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


def together(work: list[threading.Thread]) -> None:
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()


def test_what_several_count_at_once_adds_up(location: str) -> None:
    with MOS.open(location) as mos, MOS.open(location) as other:
        ids = mos.session("alice").add(["One.", "Two.", "Three."]).ids

        def count(opened: MOS) -> None:
            notes = UseNotes(opened.store)
            for at in range(ROUNDS):
                notes.note(Noted("get", at, HOLDER, tuple(("alice", id, 1.0, 0.0) for id in ids)))
                notes.flush()

        together([threading.Thread(target=count, args=([mos, other][place % 2],)) for place in range(THREADS)])
        used = mos.cube("alice").used(ids)
        assert {id: use.total for id, use in used.items()} == dict.fromkeys(ids, float(THREADS * ROUNDS))
        assert {(use.first_at, use.last_at) for use in used.values()} == {(0, ROUNDS - 1)}
        whole = mos.store.uses.used_cube(mos.store.cubes()[0])
        assert whole is not None
        assert whole.total == len(ids) * THREADS * ROUNDS
        assert len(mos.store.uses.working(HOLDER)) == len(ids)


def test_what_another_process_has_counted_is_seen(location: str) -> None:
    with MOS.open(location, rank_by_use=True) as mos, MOS.open(location) as other:
        first, second = mos.session("alice").add(["The blue lamp over here.", "The blue lamp over there."]).ids
        assert "usage" not in mos.session("alice").search("blue lamp")[0].parts
        for _ in range(3):
            other.session("alice").get(second)
        other.count_uses()
        mos.session("alice").add("Something else.")  # a server tells of commits to the log, not of uses alone
        hits = mos.session("alice").search("blue lamp", top_k=2)
        assert {hit.id: hit.parts.get("usage", 0.0) > 0 for hit in hits} == {first: False, second: True}


def test_what_was_kept_is_what_comes_back(location: str) -> None:
    kept = [Kept(1 << 40 | place, 1, place, 0.1 * place, 0.5, Use(1.5, 1.0, 7, 1 << 52)) for place in (1, 2, 3)]
    with MOS.open(location) as mos:
        for some in (kept, kept[:1], []):
            with mos.store.begin(actor="memos:test", action="uses") as transaction:
                transaction.uses.keep(HOLDER, some)
            assert mos.store.uses.working(HOLDER) == some
        assert mos.store.uses.working(Holder("alice", "thread", ("alice",))) == []


def test_uses_leave_no_trace_in_the_audit_or_the_log(location: str) -> None:
    with MOS.open(location) as mos:
        id = mos.session("alice").add("One.").id
        before = (mos.cube("alice").stats()["changes"], [e for e in mos.cube("alice").audit() if e.action != "read"])
        mos.session("alice", conversation="thread").get(id)
        assert mos.count_uses() == 1
        assert before == (
            mos.cube("alice").stats()["changes"],
            [e for e in mos.cube("alice").audit() if e.action != "read"],
        )
        assert mos.verify() == []
