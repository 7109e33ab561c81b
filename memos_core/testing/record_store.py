"""What every RecordStore must do. What was written is looked at through a second store object on the same data."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from memos_core.errors import ItemNotFound, StoreClosed, VersionConflict
from memos_core.protocols.storage import RecordStore
from memos_core.types.access import Right
from memos_core.types.items import Link, SourceRef
from memos_core.types.work import Body, CubeRow, Put, Record, VectorBlobs


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def go(self, seconds: float) -> datetime:
        """Go on by so many seconds; the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now


def vector(seed: int, dims: int = 8) -> VectorBlobs:
    """Some vector of unit length."""
    values = np.random.default_rng(seed).standard_normal(dims).astype("<f4")
    return VectorBlobs((values / np.linalg.norm(values)).astype("<f4").tobytes())


class RecordStoreContract:
    """Subclass it and write `make_store`."""

    def make_store(self, folder: Path, clock: Clock) -> RecordStore:
        """A store on the data in a folder (empty at first); called twice for one folder, both see the same data."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> Clock:
        """The store's clock."""
        return Clock()

    @pytest.fixture
    def store(self, tmp_path: Path, clock: Clock) -> Iterator[RecordStore]:
        """The store that is tested."""
        made = self.make_store(tmp_path, clock)
        yield made
        made.close()

    @pytest.fixture
    def other(self, store: RecordStore, tmp_path: Path, clock: Clock) -> Iterator[RecordStore]:
        """A second object on the same data: the side door."""
        made = self.make_store(tmp_path, clock)
        yield made
        made.close()

    # -- help ---------------------------------------------------------------------------------------------------------

    @staticmethod
    def create(store: RecordStore, name: str = "alice", owner: str = "alice") -> CubeRow:
        """A new cube."""
        with store.begin(actor=owner, action="create") as transaction:
            assert transaction.cube(name) is None
            return transaction.create_cube(name, owner)

    @staticmethod
    def write(store: RecordStore, cube: CubeRow, *puts: Put, actor: str = "alice", action: str = "add") -> int:
        """Write versions in one transaction; the number of the first change."""
        with store.begin(actor=actor, action=action) as transaction:
            locked = transaction.cube(cube.name)
            assert locked is not None
            return transaction.put(locked, puts)

    def edit(self, store: RecordStore, cube: CubeRow, id: str, text: str | None) -> int:
        """Write the next version of an item; None deletes it."""
        head = store.heads(cube, [id])[id]
        body = None if text is None else Body()
        return self.write(store, cube, Put(id=id, op="update" if text else "delete", text=text, body=body, head=head))

    @staticmethod
    def log(store: RecordStore, cube: CubeRow, after: int = 0) -> list[tuple[Record, VectorBlobs | None]]:
        """The whole change log after a number."""
        return [change for piece in store.changes(cube, after) for change in piece]

    # -- cubes and changes ------------------------------------------------------------------------------------------

    def test_a_new_store_is_empty_and_keeps_its_id(self, store: RecordStore, other: RecordStore) -> None:
        assert store.cubes() == []
        assert store.cube("alice") is None
        assert store.id
        assert store.id == other.id

    def test_what_is_put_is_read_back_whole(self, store: RecordStore, other: RecordStore, clock: Clock) -> None:
        cube = self.create(store)
        body = Body(
            type="message",
            payload={"a": [1, None, "ü"]},
            key="greeting",
            occurred_at=datetime(2024, 5, 8, 12, 30, 1, 5, tzinfo=UTC),
            confidence=0.25,
            tags=("a", "b"),
            metadata={"n": 1, "x": {"y": [True, 1.5]}},
            conversation="thread 1",
            source=SourceRef(role="user", speaker="Ann", message_id="m1", position=3, span=(0, 5)),
            derived_from=(("other", 2),),
            links=(Link("supports", "other", 0.5),),
            context="Guide > Start",
        )
        clock.go(5)
        seq = self.write(store, cube, Put(id="x1", op="add", text="Hello, wörld 你好", body=body, vectors=vector(1)))
        assert seq == 1
        record = other.records(cube, [1])[1]
        assert (record.text, record.body, record.version, record.op) == ("Hello, wörld 你好", body, 1, "add")
        item = record.to_item()
        assert (item.cube_id, item.id, item.provenance.actor) == ("alice", "x1", "alice")
        assert item.created_at == item.updated_at == clock.now
        assert other.vectors(cube, [1]) == {1: vector(1)}
        assert other.dense_vectors(cube, [1]) == {1: vector(1).dense}
        assert other.texts(cube, [1, 2]) == {1: "Hello, wörld 你好"}
        assert [row[:4] for row in other.bodies(cube, 0, 1)] == [(1, "x1", 1, "activated")]

    def test_changes_are_numbered_per_cube_without_gaps(self, store: RecordStore) -> None:
        one, two = self.create(store, "one"), self.create(store, "two")
        for n in range(3):
            self.write(store, one, Put(id=f"a{n}", op="add", text="a", body=Body()))
            self.write(store, two, *(Put(id=f"b{n}{m}", op="add", text="b", body=Body()) for m in range(2)))
        assert [record.seq for record, _ in self.log(store, one)] == [1, 2, 3]
        assert [record.seq for record, _ in self.log(store, two)] == [1, 2, 3, 4, 5, 6]
        assert [record.id for record, _ in self.log(store, two, after=4)] == ["b20", "b21"]
        assert store.head_seq(two) == 6
        assert [cube.name for cube in store.cubes()] == ["one", "two"]

    def test_a_transaction_over_two_cubes_is_kept_whole_or_not_at_all(self, store: RecordStore) -> None:
        self.create(store, "one")
        self.create(store, "two")
        with pytest.raises(RuntimeError, match="on purpose"):
            self._write_both_and_fail(store)
        assert [store.head_seq(cube) for cube in store.cubes()] == [0, 0]
        assert all(store.counts(cube)["versions"] == 0 for cube in store.cubes())

    @staticmethod
    def _write_both_and_fail(store: RecordStore) -> None:
        with store.begin(actor="alice", action="add") as transaction:
            for name in ("one", "two"):
                cube = transaction.cube(name)
                assert cube is not None
                transaction.put(cube, [Put(id="x", op="add", text="x", body=Body(), vectors=vector(1))])
            raise RuntimeError("on purpose")

    def test_the_change_token_changes_with_every_commit_of_anybody(
        self, store: RecordStore, other: RecordStore
    ) -> None:
        cube = self.create(store)
        before = store.change_token()
        assert store.change_token() == before
        self.write(other, cube, Put(id="x", op="add", text="x", body=Body()))
        after = store.change_token()
        assert after != before
        self.write(store, cube, Put(id="y", op="add", text="y", body=Body()))
        assert store.change_token() != after

    # -- versions ---------------------------------------------------------------------------------------------------

    def test_every_version_stays(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.create(store)
        self.write(store, cube, Put(id="x", op="add", text="first", body=Body(), vectors=vector(1)))
        self.edit(store, cube, "x", "second")
        self.edit(store, cube, "x", None)
        head = other.heads(cube, ["x", "unknown"])
        assert set(head) == {"x"}
        assert (head["x"].version, head["x"].deleted) == (3, True)
        past = other.history(cube, head["x"])
        assert [(r.version, r.op, r.text, r.prev) for r in past] == [
            (1, "add", "first", 0),
            (2, "update", "second", 1),
            (3, "delete", None, 2),
        ]
        assert other.at(cube, head["x"], 1).text == "first"
        assert other.at(cube, head["x"], 2).text == "second"
        assert other.at(cube, head["x"], 9).body is None
        with pytest.raises(ItemNotFound):
            other.at(cube, head["x"], 0)

    def test_a_version_may_go_on_using_the_vectors_of_an_earlier_one(self, store: RecordStore) -> None:
        cube = self.create(store)
        self.write(store, cube, Put(id="x", op="add", text="words", body=Body(), vectors=vector(1)))
        head = store.heads(cube, ["x"])["x"]
        tagged = Put(id="x", op="update", text="words", body=Body(tags=("t",)), head=head, vectors_of=1)
        self.write(store, cube, tagged)
        assert [blob for _, blob in self.log(store, cube)] == [vector(1), vector(1)]

    def test_whoever_decided_on_an_old_version_is_refused(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.create(store)
        self.write(store, cube, Put(id="x", op="add", text="first", body=Body()))
        seen = store.heads(cube, ["x"])["x"]
        self.edit(other, cube, "x", "second")
        late = Put(id="x", op="update", text="late", body=Body(), head=seen)
        fresh = Put(id="y", op="add", text="in the same transaction", body=Body())
        with pytest.raises(VersionConflict, match="version 2"):
            self.write(store, cube, fresh, late)
        assert store.heads(cube, ["y"]) == {}
        assert store.head_seq(cube) == 2

    def test_keys_and_identities_lead_to_items(self, store: RecordStore) -> None:
        cube = self.create(store)
        self.write(store, cube, Put(id="x", op="add", text="a", body=Body(key="k"), dedup=-5))
        with store.begin(actor="alice", action="look") as transaction:
            locked = transaction.cube("alice")
            assert locked is not None
            assert transaction.heads_by_key(locked, ["k", "none"])["k"].id == "x"
            assert transaction.heads_by_dedup(locked, [-5, 7])[-5].id == "x"
            assert transaction.heads(locked, ["none"]) == {}
        self.edit(store, cube, "x", None)
        assert store.heads_by_key(cube, ["k"]) == {}  # the name is free again

    def test_conversations_have_places_of_their_own(self, store: RecordStore) -> None:
        self.create(store)
        with store.begin(actor="alice", action="add") as transaction:
            cube = transaction.cube("alice")
            assert cube is not None
            assert transaction.reserve_positions(cube, "c", 2) == 0
            assert transaction.reserve_positions(cube, "c", 1) == 2
            assert transaction.reserve_positions(cube, "d", 1) == 0
            assert transaction.reserve_positions(cube, "c", 0, at_least=10) == 10
        with store.begin(actor="alice", action="add") as transaction:
            cube = transaction.cube("alice")
            assert cube is not None
            assert transaction.reserve_positions(cube, "c", 1) == 10

    def test_times_never_run_backwards_in_a_cube(self, store: RecordStore, clock: Clock) -> None:
        cube = self.create(store)
        first = clock.go(100)
        self.write(store, cube, Put(id="x", op="add", text="a", body=Body()))
        clock.go(-50)
        self.write(store, cube, Put(id="y", op="add", text="b", body=Body()))
        assert store.seq_at(cube, first) == 2
        assert store.seq_at(cube, first - timedelta(seconds=1)) == 0

    def test_many_ids_are_found_at_once(self, store: RecordStore) -> None:
        cube = self.create(store)
        ids = [f"item {n}" for n in range(700)]
        self.write(store, cube, *(Put(id=each, op="add", text=each, body=Body()) for each in ids))
        assert set(store.heads(cube, ids)) == set(ids)
        assert len(store.records(cube, range(1, 701))) == 700

    # -- settings, grants, audit --------------------------------------------------------------------------------------

    def test_settings_are_set_only_from_what_was_expected(self, store: RecordStore, other: RecordStore) -> None:
        assert store.setting("embedder") is None
        assert store.put_setting("embedder", "a")
        assert not other.put_setting("embedder", "b")
        assert other.put_setting("embedder", "b", expect="a")
        assert store.setting("embedder") == "b"

    def test_grants_are_set_and_taken_away(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.create(store)
        store.share(cube, "bob", frozenset({Right.READ, Right.WRITE}), by="alice")
        store.share(cube, "role:team", frozenset({Right.READ}), by="alice")
        found = {grant.grantee: set(grant.rights) for grant in other.grants(cube)}
        assert found == {"bob": {Right.READ, Right.WRITE}, "role:team": {Right.READ}}
        store.share(cube, "bob", frozenset(), by="alice")
        assert [grant.grantee for grant in other.grants(cube)] == ["role:team"]

    def test_every_transaction_is_audited(self, store: RecordStore) -> None:
        cube = self.create(store)
        puts = [Put(id=each, op="add", text=each, body=Body()) for each in "xy"]
        self.write(store, cube, *puts, actor="bob", action="add")
        store.share(cube, "carol", frozenset({Right.READ}), by="alice")
        entries = store.audit(cube)
        assert [(e.number, e.actor, e.action, e.first_seq, e.last_seq) for e in entries] == [
            (1, "alice", "create", 0, 0),
            (2, "bob", "add", 1, 2),
            (3, "alice", "share carol read", 0, 0),
        ]
        assert [entry.prev_hash for entry in entries[1:]] == [entry.hash for entry in entries[:-1]]
        assert store.check(cube, None) == []

    def test_check_is_content_with_what_was_written(self, store: RecordStore) -> None:
        cube = self.create(store)
        for n in range(5):
            self.write(store, cube, Put(id=f"i{n}", op="add", text="t", body=Body(), vectors=vector(n)))
        self.edit(store, cube, "i1", "changed")
        self.edit(store, cube, "i2", None)
        assert store.check(cube, 8) == []
        assert store.check(cube, 9), "vectors of another length must be named"
        assert store.counts(cube) == {"items": 4, "deleted": 1, "versions": 7, "vectors": 5, "audit_entries": 8}

    # -- together -----------------------------------------------------------------------------------------------------

    def test_threads_write_without_losing_or_mixing_anything(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.create(store)
        failures: list[BaseException] = []

        def work(through: RecordStore, name: str) -> None:
            try:
                for n in range(20):
                    self.write(
                        through, cube, *(Put(id=f"{name}{n}.{m}", op="add", text=name, body=Body()) for m in "ab")
                    )
            except BaseException as error:  # noqa: BLE001 - shown by the assertion below
                failures.append(error)

        threads = [
            threading.Thread(target=work, args=(through, f"t{i}-")) for i, through in enumerate([store, other] * 2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        log = self.log(store, cube)
        assert [record.seq for record, _ in log] == list(range(1, 161))
        assert all(log[i][0].id[:-1] == log[i + 1][0].id[:-1] for i in range(0, 160, 2)), "transactions were mixed"

    def test_a_closed_store_says_so(self, store: RecordStore) -> None:
        store.close()
        store.close()
        with pytest.raises(StoreClosed):
            store.cubes()
        with pytest.raises(StoreClosed):
            store.change_token()
