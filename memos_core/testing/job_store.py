"""The contract of a JobStore: leases, fences, lanes, keys, order, fairness, what is kept of what ended."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from memos_core.errors import JobStopped
from memos_core.protocols.storage import RecordStore
from memos_core.testing.stores import Clock, StoreTests, vector
from memos_core.types.jobs import Done, Failure, Job, NewJob
from memos_core.types.work import Body, Put, micros

_LEASE = 60.0


def job(kind: str = "k", **fields: Any) -> NewJob:
    """Some job."""
    return NewJob(kind=kind, **fields)


def lease(store: RecordStore, count: int = 100, worker: str = "w", **options: Any) -> list[Job]:
    """Lease jobs for a minute."""
    return store.jobs.lease(worker, count, seconds=_LEASE, **options)


def drain(store: RecordStore, count: int = 1) -> list[int]:
    """Run all that may run now; the ids in the order in which they were run."""
    ran = []
    while leased := lease(store, count):
        store.jobs.finish([Done(each) for each in leased])
        ran += [each.id for each in leased]
    return ran


class JobStoreContract(StoreTests):
    """Subclass it, say how to make a store, and its jobs are tested."""

    # -- filing -------------------------------------------------------------------------------------------------------

    def test_what_is_filed_is_there_for_everybody(self, store: RecordStore, other: RecordStore, clock: Clock) -> None:
        ids = store.jobs.enqueue([job(payload={"ids": ["ä", "b"]}, priority=2), job("l")])
        assert ids == sorted(ids)
        found = other.jobs.get(ids)
        assert [found[id].state for id in ids] == ["pending", "pending"]
        assert found[ids[0]].payload == {"ids": ["ä", "b"]}
        assert (found[ids[0]].priority, found[ids[0]].created_at) == (2, clock())
        assert other.jobs.get([999]) == {}

    def test_a_job_is_filed_with_the_transaction_that_causes_it_or_not_at_all(
        self, store: RecordStore, other: RecordStore
    ) -> None:
        cube = self.create(store)

        def file_and_fail() -> None:
            with store.begin(actor="a", action="add") as transaction:
                row = transaction.cube(cube.name)
                assert row is not None
                transaction.put(row, [Put(id="x", op="add", text="t", body=Body(), vectors=vector(1))])
                transaction.file([job(cube=row.number)])
                raise RuntimeError

        with pytest.raises(RuntimeError):
            file_and_fail()
        assert other.jobs.list() == []
        with store.begin(actor="a", action="add") as transaction:
            row = transaction.cube(cube.name)
            assert row is not None
            transaction.put(row, [Put(id="x", op="add", text="t", body=Body(), vectors=vector(1))])
            (id,) = transaction.file([job(cube=row.number)])
            assert transaction.has_room(2)
            assert not transaction.has_room(1)
        assert [(each.id, each.cube) for each in other.jobs.list()] == [(id, cube.number)]

    def test_there_is_room_for_as_many_as_may_wait_by_now(self, store: RecordStore, other: RecordStore) -> None:
        """Whoever opens the store anew may say another number; and others file, run and forget jobs, too."""

        def room(most: int) -> bool:
            with store.begin(actor="a", action="look") as transaction:
                return transaction.has_room(most)

        other.jobs.enqueue([job() for _ in range(5)])
        assert [room(most) for most in (2, 4, 5, 6, 3, 9)] == [False, False, False, True, False, True]
        other.jobs.enqueue([job() for _ in range(5)])
        assert [room(most) for most in (9, 10, 11)] == [False, False, True]
        taken = other.jobs.lease("w", 8, seconds=60)
        assert [room(most) for most in (2, 3)] == [False, True]
        other.jobs.fail([Failure(each, "E: again", each.run_at) for each in taken])
        assert [room(most) for most in (9, 10, 11)] == [False, False, True], "those that ran wait again"

    def test_of_a_key_one_waits_and_one_more_while_one_runs(self, store: RecordStore, other: RecordStore) -> None:
        first, second = store.jobs.enqueue([job(key="x"), job(key="x", payload={"n": 2})])
        assert first == second
        assert len(set(store.jobs.enqueue([job(key="x"), job("l", key="x"), job(key="x", cube=7), job()]))) == 4
        running = lease(store, kinds=["k"])
        (again,) = other.jobs.enqueue([job(key="x")])
        assert again not in [each.id for each in running]
        assert other.jobs.enqueue([job(key="x")]) == [again]
        # the one that runs goes wrong: the one that waits does the same, so it is not put back
        store.jobs.fail([Failure(each, "E: x", 0) for each in running if each.id == first])
        assert store.jobs.get([first])[first].state == "cancelled"
        assert store.jobs.get([again])[again].state == "pending"

    def test_many_file_the_same_key_at_once_and_one_waits(self, store: RecordStore, other: RecordStore) -> None:
        found: list[int] = []

        def file(each: RecordStore) -> None:
            for _ in range(10):
                found.extend(each.jobs.enqueue([job(key="x")]))

        threads = [threading.Thread(target=file, args=(each,)) for each in (store, other, store)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 1
        assert len(store.jobs.list()) == 1

    # -- leases -------------------------------------------------------------------------------------------------------

    def test_a_leased_job_is_nobody_elses_until_its_lease_runs_out(
        self, store: RecordStore, other: RecordStore, clock: Clock
    ) -> None:
        store.jobs.enqueue([job(), job()])
        held = lease(store, worker="one")
        assert {each.worker for each in held} == {"one"}
        assert lease(other) == []
        clock.go(_LEASE - 1)
        kept, cancelling = store.jobs.heartbeat(held, seconds=_LEASE)
        assert (sorted(kept), cancelling) == (sorted(each.id for each in held), [])
        clock.go(_LEASE - 1)
        assert lease(other) == []
        clock.go(2)
        again = lease(other, worker="two")
        assert len(again) == 1, "what may have taken its worker down is given alone"
        assert (again[0].attempts, again[0].worker) == (2, "two")
        assert (again[0].error or "").startswith("LeaseLost")

    def test_who_has_lost_a_lease_can_change_nothing(
        self, store: RecordStore, other: RecordStore, clock: Clock
    ) -> None:
        cube = self.create(store)
        store.jobs.enqueue([job(cube=cube.number)])
        (old,) = lease(store)
        clock.go(_LEASE + 1)
        (new,) = lease(other)
        assert store.jobs.heartbeat([old], seconds=_LEASE) == ([], [])
        assert store.jobs.finish([Done(old, {"mine": 1})]) == []
        assert store.jobs.fail([Failure(old, "E: x", None)]) == []
        store.jobs.release([old])

        def write_and_finish() -> None:
            with store.begin(actor="a", action="add") as transaction:
                row = transaction.cube(cube.name)
                assert row is not None
                transaction.put(row, [Put(id="x", op="add", text="t", body=Body())])
                transaction.end_jobs([Done(old)])

        with pytest.raises(JobStopped):
            write_and_finish()
        assert store.heads(cube, ["x"]) == {}, "nothing of that transaction is kept"
        assert other.jobs.finish([Done(new, {"mine": 2})]) == [new.id]
        ended = store.jobs.get([new.id])[new.id]
        assert (ended.state, ended.result, ended.worker, ended.leased_until) == ("done", {"mine": 2}, None, None)
        assert other.jobs.finish([Done(new)]) == [], "it ends once"

    def test_a_job_ends_with_the_transaction_that_has_its_effect(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.create(store)
        store.jobs.enqueue([job(cube=cube.number)])
        (held,) = lease(store)
        for fails in (True, False):
            try:
                with store.begin(actor="a", action="add") as transaction:
                    row = transaction.cube(cube.name)
                    assert row is not None
                    transaction.put(row, [Put(id="x", op="add", text="t", body=Body())])
                    transaction.end_jobs([Done(held, {"n": 1})])
                    if fails:
                        raise RuntimeError
            except RuntimeError:
                pass
            assert other.jobs.get([held.id])[held.id].state == ("running" if fails else "done")
            assert bool(other.heads(cube, ["x"])) == (not fails)

    def test_what_is_given_back_was_never_leased(self, store: RecordStore, other: RecordStore) -> None:
        store.jobs.enqueue([job()])
        store.jobs.release(lease(store))
        (again,) = lease(other)
        assert (again.attempts, again.error) == (1, None)

    def test_a_lease_under_a_clock_that_went_back_does_not_last_for_ever(
        self, store: RecordStore, other: RecordStore, clock: Clock
    ) -> None:
        store.jobs.enqueue([job(), job(kind="later", run_at=micros(clock.now) + 3_600_000_000)])
        lease(store)
        store.jobs.enqueue([job("third")])
        clock.go(-10_000_000)
        found = [[each.kind for each in lease(other)] for _ in range(3)]
        assert sorted(found) == [[], ["k"], ["third"]], "what was to run at once does, what was leased is lost"
        assert other.jobs.list(kinds=["later"])[0].state == "pending"

    # -- what goes wrong ----------------------------------------------------------------------------------------------

    def test_a_failure_is_kept_and_waits_for_its_time(
        self, store: RecordStore, other: RecordStore, clock: Clock
    ) -> None:
        (id,) = store.jobs.enqueue([job(max_attempts=3)])
        for attempt in (1, 2, 3):
            (held,) = lease(other)
            assert held.attempts == attempt
            last = attempt == 3
            failure = Failure(held, f"Bad: {attempt}", None if last else micros(clock.go(0)) + 5_000_000)
            assert other.jobs.fail([failure]) == [id]
            found = store.jobs.get([id])[id]
            assert (found.state, found.error) == ("failed" if last else "pending", f"Bad: {attempt}")
            assert lease(store) == []
            clock.go(6)
        assert lease(store) == []
        assert store.jobs.retry([id]) == [id]
        (held,) = lease(store)
        assert (held.attempts, held.error) == (1, "Bad: 3")
        assert store.jobs.retry([id]) == []

    def test_a_job_that_takes_its_workers_down_is_given_up(self, store: RecordStore, clock: Clock) -> None:
        bad, *good = store.jobs.enqueue([job(max_attempts=3), *(job(max_attempts=3) for _ in range(4))])
        for _ in range(20):
            leased = lease(store)
            if bad in [each.id for each in leased]:  # kill -9: nothing is heard of any of them
                clock.go(_LEASE + 1)
            else:
                store.jobs.finish([Done(each) for each in leased])
        states = {id: each.state for id, each in store.jobs.get([bad, *good]).items()}
        assert states == {bad: "failed", **dict.fromkeys(good, "done")}

    def test_cancelling(self, store: RecordStore, other: RecordStore) -> None:
        waits, runs, ended = store.jobs.enqueue([job("a"), job("b"), job("c")])
        held = {each.kind: each for each in lease(store, kinds=["b", "c"])}
        store.jobs.finish([Done(held["c"])])
        assert other.jobs.cancel([waits, runs, ended, 999]) == [waits, runs]
        assert other.jobs.get([waits])[waits].state == "cancelled"
        assert store.jobs.heartbeat([held["b"]], seconds=_LEASE) == ([runs], [runs])
        store.jobs.fail([Failure(held["b"], "JobStopped: x", 0)])
        assert other.jobs.get([runs])[runs].state == "cancelled"
        assert lease(other) == []
        assert other.jobs.retry([waits, runs, ended]) == [waits, runs]
        assert sorted(drain(store)) == [waits, runs]

    # -- order --------------------------------------------------------------------------------------------------------

    def test_priority_goes_first_and_waiting_makes_up_for_it(self, store: RecordStore, clock: Clock) -> None:
        low, high = store.jobs.enqueue([job(priority=-1), job(priority=2)])
        assert [each.id for each in lease(store, 1)] == [high]
        clock.go(200)
        (later,) = store.jobs.enqueue([job(priority=2)])
        assert [each.id for each in lease(store, 1)] == [low], "it has waited for more than three minutes"
        assert [each.id for each in lease(store, 1)] != [later], "nobody had heard of the first, which comes back"

    def test_a_scheduled_job_waits_for_its_time(self, store: RecordStore, clock: Clock) -> None:
        due = micros(clock.now) + 60_000_000
        (id,) = store.jobs.enqueue([job(run_at=due)])
        assert lease(store) == []
        assert store.jobs.next_at() == due
        clock.go(60)
        assert [each.id for each in lease(store)] == [id]

    def test_a_periodic_job_files_its_next_run_as_it_ends(self, store: RecordStore, clock: Clock) -> None:
        store.jobs.enqueue([job(key="p", interval=60_000_000, payload={"n": 1}, max_attempts=1)])
        for turn in range(3):
            (held,) = lease(store)
            if turn == 1:
                store.jobs.fail([Failure(held, "E: x", None)])
            else:
                store.jobs.finish([Done(held)])
            (waits,) = store.jobs.list(states=["pending"])
            assert (waits.run_at, waits.payload) == (micros(clock.now) + 60_000_000, {"n": 1})
            assert lease(store) == []
            clock.go(60)
        assert [each.state for each in store.jobs.list()] == ["pending", "done", "failed", "done"]
        assert store.jobs.cancel([waits.id]) == [waits.id]
        assert drain(store) == []

    def test_of_a_lane_one_runs_at_a_time_in_order(self, store: RecordStore, other: RecordStore, clock: Clock) -> None:
        lane = [job(cube=1, lane="x", payload={"n": n}, priority=n) for n in range(4)]
        ids = store.jobs.enqueue([*lane, job(cube=2, lane="x"), job(cube=1, lane="y")])
        assert {each.id for each in lease(store, 1)} == {ids[0]}
        assert {each.id for each in lease(other)} == set(ids[4:]), "other cubes and lanes go on"
        assert lease(other) == []
        first = store.jobs.get([ids[0]])[ids[0]]
        store.jobs.fail([Failure(first, "E: x", micros(clock.now) + 5_000_000)])
        assert lease(other) == [], "those behind it wait for it"
        clock.go(6)
        assert drain(other, 3) == ids[:4]

    def test_in_a_lane_one_for_later_lets_the_others_go_first(self, store: RecordStore, clock: Clock) -> None:
        due = micros(clock.now) + 60_000_000
        (later,) = store.jobs.enqueue([job(cube=1, lane="x", run_at=due)])
        ids = store.jobs.enqueue([job(cube=1, lane="x") for _ in range(3)])
        assert drain(store, 2) == ids
        assert store.jobs.next_at() == due
        (last,) = store.jobs.enqueue([job(cube=1, lane="x")])
        clock.go(60)
        assert drain(store) == [last, later]
        assert drain(store) == []

    def test_one_for_later_waits_for_the_one_that_runs_when_its_time_comes(
        self, store: RecordStore, other: RecordStore, clock: Clock
    ) -> None:
        (later,) = store.jobs.enqueue([job(cube=1, lane="x", run_at=micros(clock.now) + 10_000_000)])
        ids = store.jobs.enqueue([job(cube=1, lane="x") for _ in range(2)])
        (runs,) = lease(store, 1)
        assert runs.id == ids[0]
        clock.go(11)
        assert lease(other) == [], "one of its lane runs"
        store.jobs.enqueue([job(cube=1, lane="x", key="more")])
        assert lease(other) == [], "and does so still when more is filed"
        store.jobs.finish([Done(runs)])
        assert drain(other)[:2] == [later, ids[1]]

    def test_a_worker_may_take_a_stretch_of_a_lane(self, store: RecordStore, other: RecordStore, clock: Clock) -> None:
        ids = store.jobs.enqueue([job(cube=1, lane="x") for _ in range(6)])
        held = lease(store, 4)
        assert [each.id for each in held] == ids[:4]
        assert lease(other) == []
        store.jobs.finish([Done(held[0])])
        store.jobs.fail([Failure(held[1], "E: x", micros(clock.now))])
        assert lease(other) == [], "the rest of the stretch is still held"
        store.jobs.release(held[2:])
        assert drain(other, 4) == ids[1:]

    def test_a_lane_goes_on_behind_what_is_given_up_cancelled_or_lost(
        self, store: RecordStore, other: RecordStore, clock: Clock
    ) -> None:
        ids = store.jobs.enqueue([job(cube=1, lane="x", max_attempts=2) for _ in range(6)])
        (held,) = lease(store, 1)
        store.jobs.fail([Failure(held, "E: x", None)])
        assert store.jobs.cancel([ids[1]]) == [ids[1]]
        assert [each.id for each in lease(store, 2)] == ids[2:4]
        clock.go(_LEASE + 1)
        assert [each.id for each in lease(other, 3)] == [ids[2]]
        clock.go(_LEASE + 1)
        assert [each.id for each in lease(other, 3)] == [ids[3]], "it has been lost twice, and is given up"
        clock.go(_LEASE + 1)
        assert drain(store, 3) == ids[4:]
        assert store.jobs.retry([ids[0]]) == [ids[0]]
        assert drain(store) == [ids[0]]

    def test_no_cube_keeps_the_others_waiting(self, store: RecordStore, clock: Clock) -> None:
        store.jobs.enqueue([job(cube=1) for _ in range(300)])
        clock.go(1)
        others = store.jobs.enqueue([job(cube=cube) for cube in range(2, 12)])
        taken: Counter[int] = Counter()
        for _ in range(8):
            leased = lease(store, 10)
            store.jobs.finish([Done(each) for each in leased])
            taken.update(each.cube for each in leased)
        assert {id: each.state for id, each in store.jobs.get(others).items()} == dict.fromkeys(others, "done")
        assert taken[1] >= 40

    def test_only_some_kinds(self, store: RecordStore) -> None:
        store.jobs.enqueue([job("a"), job("b"), job("c")])
        assert [each.kind for each in lease(store, kinds=["b"])] == ["b"]
        assert [each.kind for each in lease(store, without=["c"])] == ["a"]

    # -- at once ------------------------------------------------------------------------------------------------------

    def test_workers_at_once_take_each_job_once_and_keep_the_order_of_lanes(
        self, store: RecordStore, other: RecordStore
    ) -> None:
        ids = store.jobs.enqueue([job(cube=n % 3, lane="x" if n % 2 else "") for n in range(60)])
        ran: list[tuple[int, str, int]] = []
        wrong: list[str] = []
        lock = threading.Lock()

        def work(each: RecordStore, name: str) -> None:
            while leased := lease(each, 4, worker=name):
                for one in leased:
                    with lock:
                        ran.append((one.cube, one.lane, one.id))
                if sorted(each.jobs.finish([Done(one) for one in leased])) != sorted(one.id for one in leased):
                    wrong.append("somebody else had it")

        threads = [threading.Thread(target=work, args=(e, str(n))) for n, e in enumerate((store, other, store, other))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        drained = drain(store)
        ran += [(0, "", id) for id in drained]
        assert wrong == []
        assert sorted(id for _, _, id in ran) == ids
        for cube in range(3):
            lane = [id for c, name, id in ran if (c, name) == (cube, "x") and id not in drained]
            assert lane == sorted(lane)

    # -- looking ------------------------------------------------------------------------------------------------------

    def test_statistics(self, store: RecordStore, clock: Clock) -> None:
        store.jobs.enqueue([job("a"), job("a"), job("b")])
        clock.go(10)
        held = lease(store, kinds=["a"])
        clock.go(4)
        store.jobs.finish([Done(held[0])])
        a, b = store.jobs.stats()
        assert a.counts == {"pending": 0, "running": 1, "done": 1, "failed": 0, "cancelled": 0}
        assert (a.oldest, a.late, a.wait, a.run) == (None, 0, (10.0, 10.0, 10.0), (4.0, 4.0, 4.0))
        assert a.per_second == pytest.approx(1 / 300)
        assert (b.kind, b.oldest, b.wait) == ("b", 14.0, None)
        clock.go(_LEASE)
        assert store.jobs.stats()[0].late == 1

    def test_a_busy_kind_hides_no_other_in_the_numbers(self, store: RecordStore, clock: Clock) -> None:
        store.jobs.enqueue([job("rare")])
        (rare,) = lease(store, 1)
        clock.go(2)
        store.jobs.finish([Done(rare)])
        for _ in range(10):
            store.jobs.enqueue([job(kind) for kind in ("a", "b") for _ in range(300)])
            held = [each for _ in range(10) for each in lease(store, 64)]
            clock.go(1)
            store.jobs.finish([Done(each) for each in held])
        a, b, last = store.jobs.stats()
        assert (a.per_second, b.per_second, last.per_second) == pytest.approx((10.0, 10.0, 1 / 300))
        assert (last.kind, last.run) == ("rare", (2.0, 2.0, 2.0))

    def test_times_are_those_of_the_job_not_of_its_batch(self, store: RecordStore, clock: Clock) -> None:
        store.jobs.enqueue([job("a")])
        (held,) = lease(store, 1)
        now = micros(clock.now)
        clock.go(30)
        store.jobs.finish([Done(held, None, now + 10_000_000, now + 12_000_000)])
        (stats,) = store.jobs.stats()
        assert (stats.wait, stats.run) == ((10.0,) * 3, (2.0,) * 3)

    def test_what_was_done_long_ago_is_forgotten_and_what_failed_is_not(self, store: RecordStore, clock: Clock) -> None:
        ids = store.jobs.enqueue([job(), job(), job(), job()])
        held = lease(store, 3)
        store.jobs.finish([Done(held[0])])
        store.jobs.fail([Failure(held[1], "E: x", None)])
        clock.go(10)
        store.jobs.finish([Done(held[2])])
        assert store.jobs.prune(micros(clock.now)) == 1
        assert sorted(each.id for each in store.jobs.list()) == ids[1:]
        assert store.jobs.enqueue([job()])[0] > ids[-1], "numbers are not used again"

    def test_lists(self, store: RecordStore) -> None:
        ids = store.jobs.enqueue([job("a", cube=1), job("b", cube=2), job("a", cube=2)])
        lease(store, 1, kinds=["b"])
        assert [each.id for each in store.jobs.list(limit=2)] == ids[:0:-1]
        assert [each.id for each in store.jobs.list(kinds=["a"], cube=2)] == [ids[2]]
        assert [each.id for each in store.jobs.list(states=["running"])] == [ids[1]]

    def test_who_waits_hears_of_others(self, store: RecordStore, other: RecordStore) -> None:
        store.jobs.wait_for_news(0.01)
        woken = threading.Event()

        def wait() -> None:
            store.jobs.wait_for_news(0.5)
            store.jobs.wait_for_news(60)
            woken.set()

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        while not woken.wait(0.1):
            other.jobs.enqueue([job()])
        waiting.join()
