"""If these fail, what a user adds without waiting is lost, cannot be found, is found in the wrong order, or changes its id."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from cli_running import Memos

from memos_core import MOS
from memos_core.aio import AsyncMOS
from memos_core.errors import AlreadyExists, InvalidInput, JobFailed, QueueFull
from memos_core.scheduler.clock import ManualClock
from memos_core.types.jobs import NewJob
from memos_core.types.work import micros

WORDS = ["without", "waiting"]


class Slow:
    """An embedder that can be told to fail, or to wait."""

    identity = "slow"
    dims = 8

    def __init__(self) -> None:
        self.fails = False
        self.free = threading.Event()
        self.free.set()
        self.asked: list[str] = []

    def embed(self, texts: Any) -> Any:
        self.free.wait(30)
        if self.fails:
            raise ConnectionError(f"cannot embed {texts}")
        self.asked += texts
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Any:
        seed = sum(text.encode()) % 997
        return np.random.default_rng(seed).standard_normal(self.dims).astype(np.float32)


@pytest.fixture
def embedder() -> Slow:
    return Slow()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgres"])
def mos(request: pytest.FixtureRequest, tmp_path: Path, embedder: Slow, clock: ManualClock) -> Iterator[MOS]:
    where = tmp_path / "memory" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with MOS.open(where, embedder=embedder, now=clock, cache=tmp_path / "cache") as opened:
        yield opened


def vectors(mos: MOS, cube: str = "alice") -> int:
    return int(mos.cube(cube).stats()["vectors"])


def test_words_are_found_at_once_and_meaning_when_the_job_has_run(mos: MOS, embedder: Slow) -> None:
    alice = mos.session("alice", conversation="c")
    alice.add("the first")
    embedder.asked.clear()
    adding = alice.add(["I moved to Lisbon in May", "It is warm here"], wait=False)
    assert (adding.status(), adding.error(), adding.wait(0), embedder.asked) == ("pending", None, False, [])
    assert [hit.text for hit in alice.search("Lisbon", without=["dense", "near"])][:1] == ["I moved to Lisbon in May"]
    assert vectors(mos) == 1
    before = alice.get(adding.ids[0])
    mos.scheduler.run_pending()  # the search has filed a job, too
    assert (adding.status(), vectors(mos)) == ("done", 3)
    assert {"I moved to Lisbon in May", "It is warm here"} <= set(embedder.asked)
    assert [item.id for item in adding.result()] == adding.ids
    nearest = mos.cube("alice").nearest(embedder.embed_query("It is warm here"), 1)
    assert [item.text for item, _ in nearest] == ["It is warm here"]
    after = alice.get(adding.ids[0])
    assert (after.version, after.updated_at, after.provenance) == (1, before.updated_at, before.provenance)
    assert [(version.version, version.op) for version in alice.history(adding.ids[0])] == [(1, "add")]
    assert alice.get(adding.ids[0], as_of=before.seq) == before
    assert mos.verify() == []


def test_the_order_of_messages_is_kept(mos: MOS) -> None:
    alice = mos.session("alice", conversation="c")
    said = [f"message number {n}" for n in range(12)]
    handles = [alice.add({"role": "user", "content": text}, wait=n % 3 == 0) for n, text in enumerate(said)]
    mos.scheduler.run_pending(2)
    listed = alice.list(newest_first=False)
    assert [item.text for item in listed] == said
    assert [item.provenance.source.position for item in listed if item.provenance.source] == list(range(12))
    mos.scheduler.run_pending()
    assert [item.text for item in alice.list(newest_first=False)] == said
    assert [item.id for item in alice.list(newest_first=False)] == [id for each in handles for id in each.ids]
    assert vectors(mos) == 12


def test_what_was_changed_or_deleted_meanwhile_stays_so(mos: MOS, embedder: Slow) -> None:
    alice = mos.session("alice")
    ids = [alice.add(f"thing {n}", wait=False, id=f"i{n}").id for n in range(5)]
    alice.update("i0", text="thing zero", expect_version=1)
    alice.update("i1", tags=["a"])
    alice.delete("i2")
    alice.archive("i3")
    alice.update("i4", indexed=False)
    embedder.asked.clear()
    mos.scheduler.run_pending()
    assert embedder.asked == ["thing 3"], "the others have their vectors by now, or need none"
    assert [item.id for item in alice.list(newest_first=False)] == ["i0", "i1", "i4"]
    assert {id: alice.get(id).version for id in ids if id != "i2"} == {"i0": 2, "i1": 2, "i3": 2, "i4": 2}
    assert {job.state for job in mos.scheduler.jobs()} == {"done"}
    alice.restore("i2")
    alice.restore("i0", version=1) if hasattr(alice, "nothing") else alice.rollback("i0", to_version=1)
    mos.scheduler.run_pending()
    assert mos.verify() == []
    assert {"thing 0", "thing 2"} <= set(embedder.asked), "what comes back without vectors gets them"


def test_going_back_to_a_moment_before_the_vectors_came_keeps_them(mos: MOS) -> None:
    alice = mos.session("alice")
    alice.add("something", id="x", wait=False)
    seq = alice.get("x").seq
    mos.scheduler.run_pending()
    assert not alice.rollback_cube(seq).changed, "nothing that people see has changed"
    alice.update("x", text="something else")
    assert alice.rollback_cube(seq).changed == ("x",)
    mos.scheduler.run_pending()
    (record,) = mos.store.records(mos.store.cubes()[0], [alice.get("x").seq]).values()
    assert record.vectors_of


def test_a_fork_gets_the_vectors_that_were_not_there_yet(mos: MOS, embedder: Slow) -> None:
    alice = mos.session("alice")
    alice.add("something shared", id="x", wait=False)
    mos.fork("alice", "alice/if")
    mos.scheduler.run_pending()
    fork = mos.session("alice", read_from=["alice/if"], write_to=["alice/if"])
    item = fork.get("x")
    (record,) = mos.store.records(next(r for r in mos.store.cubes() if r.name == "alice/if"), [item.seq]).values()
    assert record.vectors_of
    assert (item.version, [v.op for v in fork.history("x")]) == (1, ["add"])
    assert mos.verify() == []


def test_redaction_runs_before_anything_is_stored(mos: MOS) -> None:
    alice = mos.session("alice")
    alice.add("hello")
    cube = mos.cube("alice")
    cube.set_policy(msgspec.structs.replace(cube.policy, redact=("email",)))
    adding = alice.add("write to bob@example.com", wait=False)
    assert "bob@example.com" not in alice.get(adding.id).text
    assert "bob" not in str([job.payload for job in mos.scheduler.jobs()])
    mos.scheduler.run_pending()
    assert adding.result(0).new == adding.ids


def test_a_full_queue_says_so_and_keeps_nothing(mos: MOS) -> None:
    from memos_core.plaintext.later import set_max_pending

    alice = mos.session("alice")
    set_max_pending(mos.store, 2)
    alice.add("one", wait=False)
    alice.add("two", wait=False)
    with pytest.raises(QueueFull, match="max_pending"):
        alice.add("three", wait=False)
    with pytest.raises(QueueFull):
        alice.add("three", wait=False, timeout=0.05)
    assert len(alice.list()) == 2
    alice.add("three")
    running = threading.Timer(0.1, mos.scheduler.run_pending)
    running.start()
    assert alice.add("four", wait=False, timeout=30).ids
    running.join()
    assert len(alice.list()) == 4


def test_what_is_for_later_takes_no_room_until_its_time_has_come(mos: MOS, clock: ManualClock) -> None:
    from memos_core.plaintext.later import set_max_pending

    alice = mos.session("alice")
    alice.add("zero")
    set_max_pending(mos.store, 3)
    mos.scheduler.every("retain", 3600, cube="alice")
    mos.store.jobs.enqueue([NewJob(kind="x", run_at=micros(clock()) + n * 60_000_000) for n in (60, 60, 90)])
    mos.store.jobs.enqueue([NewJob(kind="x", key=f"one of a kind {n}") for n in range(9)])
    assert alice.add("one", wait=False).status() == "pending"
    assert alice.add("two", wait=False).status() == "pending"
    clock.go(3600)  # two of them are due now, beside the two that waited
    with pytest.raises(QueueFull):
        alice.add("three", wait=False)
    mos.scheduler.run_pending()
    assert alice.add("three", wait=False).ids


def test_what_is_tried_again_takes_room(mos: MOS, monkeypatch: pytest.MonkeyPatch) -> None:
    from memos_core.plaintext.later import set_max_pending
    from memos_core.stores.sql import room

    alice = mos.session("alice")
    set_max_pending(mos.store, 3)
    mos.store.jobs.enqueue([NewJob(kind="unheard of") for _ in range(4)])
    mos.scheduler.run_pending()
    assert alice.add("one", wait=False).ids
    assert len(mos.scheduler.retry([job.id for job in mos.scheduler.jobs(states=["failed"])])) == 4
    monkeypatch.setattr(room, "_GOOD_FOR", 0.0)  # as if a second had gone by
    with pytest.raises(QueueFull):
        alice.add("two", wait=False)


def test_room_is_found_again_each_time_jobs_have_been_done(mos: MOS) -> None:
    from memos_core.plaintext.later import set_max_pending

    alice = mos.session("alice")
    set_max_pending(mos.store, 3)
    for n in range(30):
        alice.add(f"number {n}", wait=False)
        if n % 3 == 2:
            with pytest.raises(QueueFull):
                alice.add("one too many", wait=False)
            mos.scheduler.run_pending()
    assert len(alice.list()) == 30


def test_a_model_that_fails_is_tried_again_and_can_be_looked_at(mos: MOS, embedder: Slow, clock: ManualClock) -> None:
    alice = mos.session("alice")
    alice.add("before")
    adding = alice.add("a secret sentence", wait=False)
    embedder.fails = True
    for _ in range(20):
        mos.scheduler.run_pending()
        clock.go(4000)
    assert adding.status() == "failed"
    (job,) = mos.scheduler.jobs(states=["failed"])
    assert (job.attempts, "EmbeddingFailed" in (job.error or ""), "secret" in (job.error or "")) == (8, True, False)
    with pytest.raises(JobFailed, match="embed"):
        adding.result(1)
    embedder.fails = False
    assert alice.search("sentence", without=["dense", "near"])[0].text == "a secret sentence"
    assert mos.scheduler.retry() == [job.id]
    mos.scheduler.run_pending()
    assert adding.result(1).ids == adding.ids


def test_all_cubes_or_none(mos: MOS) -> None:
    mos.create_cube("team", owner="alice")
    both = mos.session("alice", write_to=["alice", "team"])
    both.add("known", key="k")
    with pytest.raises(AlreadyExists):
        both.add("other", key="k", wait=False)
    assert mos.scheduler.jobs() == []
    adding = both.add(["a", "b"], wait=False)
    assert len(adding.job_ids) == 2
    mos.scheduler.run_pending()
    assert (vectors(mos), vectors(mos, "team")) == (3, 3)


def test_where_nothing_is_to_be_done_nothing_waits(tmp_path: Path, mos: MOS) -> None:
    with MOS.open(tmp_path / "other") as plain:
        adding = plain.session("a").add("words alone", wait=False)
        assert (adding.status(), adding.job_ids, adding.result(0).ids) == ("done", [], adding.ids)
    alice = mos.session("alice", conversation="c")
    message = {"role": "user", "content": "hello", "id": "m1"}
    first = alice.add(message, wait=False)
    again = alice.add(message, wait=False)
    assert (again.ids, again.added.known, again.job_ids) == (first.ids, first.ids, [])
    with pytest.raises(InvalidInput, match="wait=False"):
        alice.add("x", timeout=1.0)  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match="vectors"):
        alice.add("x", wait=False, vectors=np.ones((1, 8), dtype=np.float32))


def test_many_at_once_are_embedded_together(mos: MOS, embedder: Slow) -> None:
    alice = mos.session("alice")
    for n in range(40):
        alice.add(f"thing {n}", wait=False)
    entries = len(mos.cube("alice").audit())
    assert mos.scheduler.run_pending() == 40
    assert vectors(mos) == 40
    assert len(mos.cube("alice").audit()) <= entries + 4, "32 of one cube in one transaction"
    assert mos.verify() == []


def test_threads_do_it_while_others_go_on(mos: MOS) -> None:
    alice = mos.session("alice")
    mos.scheduler.start(2)
    handles = [alice.add(f"thing {n}", wait=False) for n in range(10)]
    assert all(each.wait(30) for each in handles)
    assert vectors(mos) == 10
    assert mos.scheduler.stop(30)


def test_awaited(tmp_path: Path, embedder: Slow) -> None:
    async def tell() -> None:
        async with AsyncMOS.open(tmp_path / "memory", embedder=embedder) as mos:
            alice = await mos.session("alice")
            adding = await alice.add("I moved to Lisbon", wait=False)
            assert await adding.status() == "pending"
            assert not await adding.wait(0.01)
            mos.scheduler.start()
            assert (await adding.result(30)).ids == adding.ids
            assert await adding.error() is None

    asyncio.run(tell())


def test_what_is_erased_before_its_vectors_come_leaves_the_others_theirs(mos: MOS, embedder: Slow) -> None:
    alice = mos.session("alice")
    alice.add(["something first", "something secret", "something last"], wait=False)
    secret = alice.list(newest_first=False)[1].id
    assert secret in str(mos.scheduler.jobs()[0].payload)
    alice.erase([secret], reason="asked for")
    assert secret not in str(mos.scheduler.jobs())
    mos.scheduler.run_pending()
    assert (vectors(mos), "something secret" in embedder.asked) == (2, False)
    alice.erase([alice.list()[0].id], reason="asked for")
    assert vectors(mos) == 1
    assert mos.verify() == []


def test_backups_bring_back_what_waits_and_vectors_that_came_later(mos: MOS, embedder: Slow, tmp_path: Path) -> None:
    alice = mos.session("alice", conversation="c")
    ids = alice.add(["one thing", "another thing"], wait=False).ids
    mos.backup(tmp_path / "safe")
    MOS.restore(tmp_path / "safe", tmp_path / "early")
    mos.scheduler.run_pending()
    mos.backup(tmp_path / "safe")
    MOS.restore(tmp_path / "safe", tmp_path / "late")
    for name, waits in (("early", 1), ("late", 0)):
        with MOS.open(tmp_path / name, embedder=embedder) as again:
            assert again.scheduler.run_pending() == waits
            assert [item.id for item in again.session("alice").list(newest_first=False)] == ids
            assert vectors(again) == 2
            assert again.verify() == []


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memos = Memos(tmp_path)
    with MOS.open(memos.store, embedder="hashing") as opened:
        opened.session("alice").add("something secret", wait=False)
        opened.store.jobs.enqueue([NewJob(kind="unknown-kind")])
    assert [row["kind"] for row in memos("jobs", "--json").lines] == ["embed", "unknown-kind"]
    assert "2 jobs run" in memos("worker", "--once").out
    (failed,) = memos("jobs", "--failed", "--json").lines
    assert "unknown-kind" in failed["error"]
    memos("jobs", "retry", "--all")
    memos("jobs", "cancel", failed["id"])
    assert memos("jobs", "show", failed["id"], "--json").json["state"] == "cancelled"
    memos("jobs", "cancel", 999, code=1)
    assert "secret" not in memos("jobs", "--state", "done", "--json").out


def test_an_item_that_is_called_like_a_part_of_a_job_takes_no_job_along(mos: MOS) -> None:
    alice = mos.session("alice")
    for name in ("ids", "actor", "cubes"):
        alice.add("An item with a strange name.", id=name)
        adding = alice.add(f"The {name} car is red.", wait=False)
        alice.erase(name, reason="asked to")
        mos.scheduler.run_pending()
        assert adding.status() == "done"
        assert not mos.verify_erased(name)
