"""The part of the RecordStore contract about transactions: all or nothing, one writer after the other, nothing seen early."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from memos_core.errors import MemosError, VersionConflict
from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.testing.stores import StoreTests, vector
from memos_core.types.items import Link
from memos_core.types.work import Body, CubeRow, Put

_PATIENCE = 30.0  # seconds; a test that waits as long has failed


def new(id: str, text: str = "words") -> Put:
    """A new item."""
    return Put(id=id, op="add", text=text, body=Body())


def locked(transaction: Transaction, name: str) -> CubeRow:
    """The cube of that name, which must be there."""
    cube = transaction.cube(name)
    assert cube is not None
    return cube


def together(*works: Callable[[], None]) -> None:
    """Run these at the same time; raise what any of them raised."""
    with ThreadPoolExecutor(len(works)) as pool:
        for running in [pool.submit(work) for work in works]:
            running.result(_PATIENCE)


class TransactionContract(StoreTests):
    """Part of `RecordStoreContract`."""

    def state(self, store: RecordStore) -> object:
        """Everything that can be asked of a store about its cubes, to compare."""
        return [
            (cube, self.log(store, cube), store.counts(cube), store.audit(cube), store.grants(cube))
            for cube in store.cubes()
        ]

    # -- all or nothing -----------------------------------------------------------------------------------------------

    def test_a_transaction_that_fails_leaves_nothing_behind(self, store: RecordStore, other: RecordStore) -> None:
        one, two = self.create(store, "one"), self.create(store, "two")
        self.write(store, one, new("x"), Put(id="k", op="add", text="k", body=Body(key="k")))
        with store.begin(actor="alice", action="add") as transaction:
            assert transaction.reserve_positions(locked(transaction, "one"), "c", 3) == 0
        before = self.state(store)
        with pytest.raises(RuntimeError, match="on purpose"):
            self._write_a_lot_and_fail(store)
        assert self.state(store) == self.state(other) == before
        assert other.cube("three") is None
        assert other.heads(one, ["y"]) == {}
        assert other.heads_by_key(one, ["k"])["k"].version == 1
        with store.begin(actor="alice", action="add") as transaction:
            assert transaction.heads_by_dedup(locked(transaction, "one"), [7]) == {}
            assert transaction.reserve_positions(one, "c", 1) == 3
        assert store.check(one, None) == store.check(two, None) == []

    @staticmethod
    def _write_a_lot_and_fail(store: RecordStore) -> None:
        with store.begin(actor="alice", action="add") as transaction:
            one, two = locked(transaction, "one"), locked(transaction, "two")
            transaction.reserve_positions(one, "c", 5)
            linked = Body(links=(Link("knows", "x"),))
            transaction.put(one, [Put(id="y", op="add", text="y", body=linked, vectors=vector(1), dedup=7)])
            transaction.put(two, [new("z")])
            head = transaction.heads(one, ["k"])["k"]
            transaction.put(one, [Put(id="k", op="delete", text=None, body=None, head=head)])
            transaction.create_cube("three", "alice")
            raise RuntimeError("on purpose")

    def test_a_conflict_in_one_cube_undoes_the_other_too(self, store: RecordStore, other: RecordStore) -> None:
        one, two = self.create(store, "one"), self.create(store, "two")
        self.write(store, two, new("x"))
        seen = store.heads(two, ["x"])["x"]
        self.edit(other, two, "x", "changed meanwhile")
        before = self.state(other)
        late = Put(id="x", op="update", text="late", body=Body(), head=seen)
        with pytest.raises(VersionConflict):
            self._write_both(store, new("y"), late)
        assert self.state(other) == before
        self.write(store, one, new("y"))
        assert [record.seq for record, _ in self.log(store, one)] == [1]

    @staticmethod
    def _write_both(store: RecordStore, in_one: Put, in_two: Put) -> None:
        with store.begin(actor="alice", action="add") as transaction:
            transaction.put(locked(transaction, "one"), [in_one])
            transaction.put(locked(transaction, "two"), [in_two])

    def test_an_id_that_is_in_use_is_refused_and_nothing_kept(self, store: RecordStore) -> None:
        cube = self.create(store)
        self.write(store, cube, new("x"))
        before = self.state(store)
        with pytest.raises(MemosError):
            self.write(store, cube, new("y"), new("x"))
        assert self.state(store) == before
        self.write(store, self.create(store, "other"), new("x"))  # another cube has ids of its own

    def test_nothing_is_seen_before_it_is_committed(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.create(store)
        before, token = self.state(other), other.change_token()
        with store.begin(actor="alice", action="add") as transaction:
            transaction.put(locked(transaction, "alice"), [new("x")])
            assert transaction.heads(cube, ["x"])["x"].version == 1, "a transaction sees what it wrote itself"
            assert self.state(other) == before
            assert other.change_token() == token
        assert other.change_token() != token
        assert [record.id for record, _ in self.log(other, cube)] == ["x"]

    def test_several_puts_of_one_transaction_go_on_from_each_other(self, store: RecordStore) -> None:
        cube = self.create(store)
        with store.begin(actor="alice", action="add") as transaction:
            assert transaction.put(locked(transaction, "alice"), [new("x"), new("y")]) == 1
            head = transaction.heads(cube, ["x"])["x"]
            assert transaction.put(cube, [Put(id="x", op="update", text="2", body=Body(), head=head)]) == 3
            with pytest.raises(VersionConflict):
                transaction.put(cube, [Put(id="x", op="update", text="3", body=Body(), head=head)])
            again = transaction.cube("alice")
            assert transaction.put(again or cube, [new("z")]) == 4
        assert [(record.seq, record.id, record.version) for record, _ in self.log(store, cube)] == [
            (1, "x", 1),
            (2, "y", 1),
            (3, "x", 2),
            (4, "z", 1),
        ]
        assert store.check(cube, None) == []
        assert [(entry.first_seq, entry.last_seq) for entry in store.audit(cube)] == [(0, 0), (1, 4)]

    # -- one after the other ------------------------------------------------------------------------------------------

    def test_of_many_that_decided_on_one_version_only_the_first_gets_through(
        self, store: RecordStore, other: RecordStore
    ) -> None:
        cube = self.create(store)
        self.write(store, cube, new("x"))
        seen = store.heads(cube, ["x"])["x"]
        outcomes: list[str] = []

        def decide(through: RecordStore, text: str) -> None:
            try:
                self.write(through, cube, Put(id="x", op="update", text=text, body=Body(), head=seen))
                outcomes.append(text)
            except VersionConflict:
                outcomes.append("refused")

        together(*(lambda n=n: decide((store, other)[n % 2], f"by {n}") for n in range(6)))
        assert outcomes.count("refused") == 5
        (winner,) = set(outcomes) - {"refused"}
        assert [record.text for record, _ in self.log(store, cube)] == ["words", winner]

    def test_what_is_read_under_the_lock_holds_until_the_end(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.create(store)
        self.write(store, cube, new("x", "0"))

        def count(through: RecordStore) -> None:
            for _ in range(10):
                with through.begin(actor="alice", action="count") as transaction:
                    row = locked(transaction, "alice")
                    head = transaction.heads(row, ["x"])["x"]
                    text = str(head.version)
                    transaction.put(row, [Put(id="x", op="update", text=text, body=Body(), head=head)])

        together(*(lambda through=through: count(through) for through in (store, other) * 2))
        assert [record.text for record, _ in self.log(store, cube)] == [str(n) for n in range(41)]
        assert store.check(cube, None) == []

    def test_a_cube_is_made_once_however_many_try(self, store: RecordStore, other: RecordStore) -> None:
        def write(through: RecordStore, id: str) -> None:
            with through.begin(actor="alice", action="add") as transaction:
                cube = transaction.cube("alice") or transaction.create_cube("alice", "alice")
                transaction.put(cube, [new(id)])

        together(*(lambda n=n: write((store, other)[n % 2], f"i{n}") for n in range(4)))
        (cube,) = store.cubes()
        assert {record.id for record, _ in self.log(store, cube)} == {"i0", "i1", "i2", "i3"}

    def test_threads_write_without_losing_or_mixing_anything(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.create(store)

        def work(through: RecordStore, name: str) -> None:
            for n in range(20):
                self.write(through, cube, new(f"{name}{n}.a", name), new(f"{name}{n}.b", name))

        together(*(lambda n=n: work((store, other)[n % 2], f"t{n}-") for n in range(4)))
        log = self.log(store, cube)
        assert [record.seq for record, _ in log] == list(range(1, 161))
        assert all(log[i][0].id[:-1] == log[i + 1][0].id[:-1] for i in range(0, 160, 2)), "transactions were mixed"

    def test_whoever_follows_the_log_misses_nothing(self, store: RecordStore, other: RecordStore) -> None:
        """A follower that has seen change n has seen all before it, also while several write."""
        cube = self.create(store)
        finished = Event()
        followed: list[int] = []

        def write(name: str) -> None:
            for n in range(25):
                self.write(store, cube, new(f"{name}{n}"))

        def follow() -> None:
            while True:
                last = finished.is_set()
                followed.extend(record.seq for record, _ in self.log(other, cube, after=len(followed)))
                if last:
                    return

        def write_all() -> None:
            try:
                together(*(lambda name=name: write(name) for name in "abc"))
            finally:
                finished.set()

        together(write_all, follow)
        assert followed == list(range(1, 76))

    def test_a_log_that_is_being_read_ends_where_it_ended_when_asked(
        self, store: RecordStore, other: RecordStore
    ) -> None:
        cube = self.create(store)
        self.write(store, cube, *(new(f"i{n}") for n in range(4500)))  # several slices
        pieces = store.changes(cube, 10)
        seqs = [record.seq for record, _ in next(pieces)]
        self.write(other, cube, new("late"))
        seqs.extend(record.seq for piece in pieces for record, _ in piece)
        assert seqs == list(range(11, 4501))
        assert [record.id for record, _ in self.log(store, cube, after=4500)] == ["late"]
        middle = [record.seq for piece in store.changes(cube, 1990, 4100) for record, _ in piece]
        assert middle == list(range(1991, 4101))
        assert [row[0] for row in store.bodies(cube, 1990, 4100)] == middle
        assert list(store.changes(cube, 4501)) == []
