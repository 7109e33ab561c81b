"""What every RecordStore must do. What was written is looked at through a second store object on the same data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from memos_core.errors import ItemNotFound, StoreDamaged, VersionConflict
from memos_core.protocols.storage import RecordStore
from memos_core.testing.record_forks import ForkContract
from memos_core.testing.record_keeping import RecordKeepingContract
from memos_core.testing.record_transactions import TransactionContract
from memos_core.testing.stores import Clock, vector
from memos_core.types.access import Right
from memos_core.types.items import LifecycleState, Link, SourceRef
from memos_core.types.work import Body, Put, VectorBlobs

__all__ = ["Clock", "RecordStoreContract", "vector"]

STRANGE = (
    "'; DROP TABLE items; -- %s %(x)s ? :x {}",
    "tab\tline\r\nend\x0b\x1f\x7f",
    "combined e\u0301, whole \xe9, zero\u200bwidth, \u202eright to left, \ufeffmark",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \u4f60\u597d \ufdfd \U0001f3f3\ufe0f",
    "\ufffe\uffff\U0010ffff",
    " leading and trailing ",
    "long " * 200_000,
)


class RecordStoreContract(TransactionContract, RecordKeepingContract, ForkContract):
    """Subclass it and write `make_store`."""

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

    def test_the_rules_token_changes_with_cubes_grants_policies_and_settings_of_anybody(
        self, store: RecordStore, other: RecordStore
    ) -> None:
        cube = self.create(store)
        for writer in (store, other):
            mine = f"{writer is store}"
            for what in ("policy", "fork", "cube"):
                before = store.rules_token()
                with writer.begin(actor="a", action=what) as transaction:
                    row = transaction.cube(cube.name)
                    assert row is not None
                    if what == "policy":
                        transaction.set_policy(row, f'{{"{mine}": 1}}')
                    elif what == "fork":
                        transaction.fork(row, f"fork {mine}", "a", row.seq)
                    else:
                        transaction.create_cube(f"another {mine}", "a")
                assert store.rules_token() != before, what
            before = store.rules_token()
            writer.share(cube, mine, frozenset({Right.READ}), by="a")
            assert store.rules_token() != before
            before = store.rules_token()
            assert writer.put_setting("a setting", mine, expect=store.setting("a setting"))
            assert store.rules_token() != before
            with store.begin(actor="a", action="look") as transaction:
                assert transaction.setting("a setting") == mine
            assert mine in [grant.grantee for grant in store.grants(cube)]

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

    # -- exactly what was given ---------------------------------------------------------------------------------------

    def test_any_text_comes_back_as_it_was(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.create(store)
        puts = [
            Put(
                id=f"i{n}",
                op="add",
                text=text,
                body=Body(key=f"{n}{text[:40]}", payload=text, metadata={text[:99]: text}, tags=(text,)),
            )
            for n, text in enumerate(STRANGE)
        ]
        self.write(store, cube, *puts, actor=STRANGE[0], action=STRANGE[2])
        log = self.log(other, cube)
        assert [(record.text, record.body) for record, _ in log] == [(put.text, put.body) for put in puts]
        assert other.texts(cube, range(1, 9)) == dict(enumerate(STRANGE, 1))
        entry = other.audit(cube)[-1]
        assert (entry.actor, entry.action) == (STRANGE[0], STRANGE[2])
        for put in puts:
            assert put.body is not None
            assert put.body.key is not None
            assert other.heads_by_key(cube, [put.body.key])[put.body.key].id == put.id
        assert other.check(cube, None) == []

    def test_names_that_look_alike_are_kept_apart(self, store: RecordStore) -> None:
        names = [
            "a",
            "A",
            "\xe9",
            "e\u0301",
            "e",
            "\u0430",
            "a b",
            "stra\xdfe",
            "strasse",
            "\u2160",
            "I",
            "1",
            "01",
            "1.0",
        ]
        cube = self.create(store)
        self.write(store, cube, *(Put(id=name, op="add", text=name, body=Body(key=name)) for name in names))
        assert {id: head.seq for id, head in store.heads(cube, names).items()} == {
            name: seq for seq, name in enumerate(names, 1)
        }
        assert store.heads(cube, ["E", "STRASSE", "a%", "_", "1.00", ""]) == {}
        assert {key: head.id for key, head in store.heads_by_key(cube, names).items()} == {n: n for n in names}
        for name in names:
            self.create(store, name)
        assert [each.name for each in store.cubes()] == sorted([*names, "alice"]), "in order of code points"
        assert all((found := store.cube(name)) is not None and found.name == name for name in names)
        assert store.cube("B") is None

    def test_cubes_are_kept_apart(self, store: RecordStore, other: RecordStore) -> None:
        """Equal ids, keys, identities and conversations in two cubes have nothing to do with each other."""
        cubes = [self.create(store, name) for name in ("one", "two", "three")]
        for cube in cubes[:2]:
            put = Put(
                id="x", op="add", text=f"of {cube.name}", body=Body(key="k"), dedup=7, vectors=vector(cube.number)
            )
            self.write(store, cube, put)
        self.write(store, cubes[1], Put(id="y", op="add", text="of two", body=Body(key="other"), dedup=8))
        self.edit(store, cubes[0], "x", "of one, changed")
        self.share(store, cubes[0], "bob", Right.READ)
        for cube, heads in zip(cubes, ({"x": 2}, {"x": 1, "y": 1}, {}), strict=True):
            assert {id: head.version for id, head in other.heads(cube, ["x", "y"]).items()} == heads
            assert {id: head.version for id, head in other.heads_by_dedup(cube, [7, 8]).items()} == (
                {7: 2} if cube.name == "one" else {7: 1, 8: 1} if heads else {}
            )
            assert {head.id for head in other.heads_by_key(cube, ["k", "other"]).values()} == (
                {"y", "x"} if cube.name == "two" else set()  # in "one" the change took the key away
            )
            assert all(record.text and record.text.startswith(f"of {cube.name}") for record, _ in self.log(other, cube))
            assert len(list(other.bodies(cube, 0, 9))) == other.counts(cube)["versions"] == other.head_seq(cube)
            assert other.counts(cube)["items"] == len(heads)
            assert (
                set(other.vectors(cube, [1, 2, 3]))
                == set(other.dense_vectors(cube, [1, 2, 3]))
                == ({1} if heads else set())
            )
            assert [grant.grantee for grant in other.grants(cube)] == (["bob"] if cube.name == "one" else [])
            with store.begin(actor="alice", action="look") as transaction:
                row = transaction.cube(cube.name)
                assert row is not None
                assert set(transaction.heads(row, ["x", "y"])) == set(heads)
                assert transaction.reserve_positions(row, "c", 1) == 0

    def test_numbers_at_the_edges(self, store: RecordStore, clock: Clock) -> None:
        cube = self.create(store)
        identities = [-(2**63), -1, 0, 1, 2**63 - 1]
        times = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), None]
        numbers = {"n": [2**63 - 1, -(2**63), 1e308, 5e-324, 0.1, True, None]}
        puts = [
            Put(id=f"i{n}", op="add", text="t", body=Body(occurred_at=times[n % 3], metadata=numbers), dedup=identity)
            for n, identity in enumerate(identities)
        ]
        self.write(store, cube, *puts)
        with store.begin(actor="alice", action="look") as transaction:
            found = transaction.heads_by_dedup(cube, identities)
        assert {identity: head.id for identity, head in found.items()} == {
            identity: f"i{n}" for n, identity in enumerate(identities)
        }
        assert [record.body for record, _ in self.log(store, cube)] == [put.body for put in puts]
        clock.now = datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
        self.write(store, self.create(store, "old"), Put(id="x", op="add", text="t", body=Body()))

    def test_vectors_are_the_bytes_that_were_given(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.create(store)
        blobs = [VectorBlobs(bytes(range(256)) * 6, bytes(range(255, -1, -1))), VectorBlobs(b"", None), vector(3)]
        self.write(
            store, cube, *(Put(id=f"i{n}", op="add", text="t", body=Body(), vectors=b) for n, b in enumerate(blobs))
        )
        self.write(store, cube, Put(id="none", op="add", text="t", body=Body()))
        assert other.vectors(cube, [1, 2, 3, 4, 5]) == dict(enumerate(blobs, 1))
        assert other.dense_vectors(cube, [4, 3, 1]) == {1: blobs[0].dense, 3: blobs[2].dense}
        assert [found for _, found in self.log(other, cube)] == [*blobs, None]

    def test_states_and_links_stay_with_their_version(self, store: RecordStore) -> None:
        cube = self.create(store)
        first = Body(links=(Link("knows", "b", 0.25), Link("knows", "c"), Link("part of", "b", -1.5)))
        self.write(store, cube, Put(id="a", op="add", text="t", body=first, state=LifecycleState.GENERATED))
        for links, state in (((Link("knows", "d"),), LifecycleState.ARCHIVED), ((), LifecycleState.FROZEN)):
            head = store.heads(cube, ["a"])["a"]
            put = Put(id="a", op="update", text="t", body=Body(links=links), state=state, head=head)
            self.write(store, cube, put)
            assert store.check(cube, None) == []
        self.edit(store, cube, "a", None)
        assert store.check(cube, None) == []
        past = store.history(cube, store.heads(cube, ["a"])["a"])
        assert [record.state for record in past[:3]] == ["generated", "archived", "frozen"]
        assert [record.body.links for record in past if record.body] == [first.links, (Link("knows", "d"),), ()]
        assert [row[3] for row in store.bodies(cube, 0, 4)] == ["generated", "archived", "frozen"]

    def test_what_is_deleted_comes_back_whole(self, store: RecordStore) -> None:
        cube = self.create(store)
        self.write(store, cube, Put(id="x", op="add", text="first", body=Body(key="k"), vectors=vector(1)))
        self.edit(store, cube, "x", None)
        self.write(store, cube, Put(id="y", op="add", text="took its name", body=Body(key="k")))
        head = store.heads(cube, ["x"])["x"]
        back = Put(id="x", op="restore", text="first", body=Body(), head=head, vectors_of=1)
        self.write(store, cube, back)
        found = store.heads(cube, ["x"])["x"]
        assert (found.version, found.deleted, found.item) == (3, False, head.item)
        record, blobs = self.log(store, cube)[-1]
        assert (record.op, record.prev, record.created, blobs) == (
            "restore",
            2,
            self.log(store, cube)[0][0].at,
            vector(1),
        )
        assert store.heads_by_key(cube, ["k"])["k"].id == "y"
        assert [row[1] for row in store.bodies(cube, 0, 9)] == ["x", "y", "x"]
        assert store.check(cube, 8) == []

    def test_a_change_that_is_not_there_is_damage_not_an_empty_answer(self, store: RecordStore) -> None:
        cube = self.create(store)
        self.write(store, cube, Put(id="x", op="add", text="t", body=Body()))
        assert store.records(cube, []) == {}
        with pytest.raises(StoreDamaged, match="change 2"):
            store.records(cube, [1, 2])
