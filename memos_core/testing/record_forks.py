"""The part of the RecordStore contract about forks: cubes that share the first changes of another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memos_core.protocols.storage import RecordStore
from memos_core.testing.copying import CopyingContract, fill, rows_of
from memos_core.testing.stores import Clock, vector
from memos_core.types.items import LifecycleState, Link, SourceRef
from memos_core.types.work import Body, CubeRow, Put


def seen(store: RecordStore, cube: CubeRow, until: int) -> list[Any]:
    """Everything that a log says up to a change, but for whose it is."""
    found: list[Any] = []
    for piece in store.changes(cube, 0, until):
        for record, blobs in piece:
            facts = (record.id, record.version, record.op, record.prev, record.state, record.text, record.body)
            found.append((record.seq, *facts, record.actor, record.action, record.at, record.created, blobs))
    return found


class ForkContract(CopyingContract):
    """Part of `RecordStoreContract`."""

    @staticmethod
    def fork(store: RecordStore, source: str, name: str, seq: int | None = None) -> CubeRow:
        """A fork of a cube; without a number, of all that it has."""
        with store.begin(actor="alice", action="fork") as transaction:
            locked = transaction.cube(source)
            assert locked is not None
            assert transaction.cube(name) is None
            return transaction.fork(locked, name, "alice", locked.seq if seq is None else seq)

    def told(self, store: RecordStore, clock: Clock) -> CubeRow:
        """A cube with versions, tombstones, names that move, links, identities, conversations; changes 1 to 10."""
        cube = self.create(store)
        for n in range(4):  # 1 to 4
            clock.go(10)
            with store.begin(actor="alice", action="add") as transaction:
                locked = transaction.cube("alice")
                assert locked is not None
                place = transaction.reserve_positions(locked, "talk", 1)
                body = Body(
                    key=f"k{n}",
                    conversation="talk",
                    source=SourceRef(position=place),
                    links=(Link("about", "i0", n / 4),),
                )
                put = Put(id=f"i{n}", op="add", text=f"text {n}", body=body, vectors=vector(n), dedup=n)
                transaction.put(locked, [put])
        clock.go(10)
        self.edit(store, cube, "i0", "text 0, changed", vector(10))  # 5: its name is free
        self.edit(store, cube, "i1", None)  # 6
        clock.go(10)
        head = store.heads(cube, ["i2"])["i2"]
        named = Body(key="k0", tags=("t",), links=(Link("about", "i3", 1.0), Link("beside", "i3", 0.5)))
        self.write(store, cube, Put(id="i2", op="update", text="text 2", body=named, head=head, vectors_of=3))  # 7
        self.edit(store, cube, "i1", "text 1, again", vector(11))  # 8
        head = store.heads(cube, ["i3"])["i3"]
        frozen = Put(
            id="i3", op="update", text="text 3", body=Body(), state=LifecycleState.FROZEN, head=head, vectors_of=4
        )
        self.write(store, cube, frozen)  # 9
        body = Body(conversation="other", source=SourceRef(position=4))
        self.write(store, cube, Put(id="i4", op="add", text="text 4", body=body))  # 10
        with store.begin(actor="alice", action="add") as transaction:
            locked = transaction.cube("alice")
            assert locked is not None
            transaction.reserve_positions(locked, "talk", 2)
            transaction.reserve_positions(locked, "other", 0, at_least=5)
        return cube

    @pytest.mark.parametrize("seq", [*range(11), None])
    def test_a_fork_is_the_cube_as_it_stood(
        self, store: RecordStore, other: RecordStore, clock: Clock, seq: int | None
    ) -> None:
        cube = self.told(store, clock)
        ids = [f"i{n}" for n in range(5)]
        keys, numbers = [f"k{n}" for n in range(4)], list(range(5))
        fork = self.fork(store, "alice", "alice/what-if", seq)
        until = 10 if seq is None else seq
        assert (fork.base, fork.base_seq, fork.seq, fork.owner) == (cube.number, until, until, "alice")
        assert other.cube("alice/what-if") == fork
        assert other.head_seq(fork) == until
        assert seen(other, fork, until) == seen(other, cube, until)
        seqs = range(1, until + 1)
        assert other.texts(fork, seqs) == other.texts(cube, seqs)
        assert other.vectors(fork, seqs) == other.vectors(cube, seqs)
        assert other.dense_vectors(fork, seqs) == other.dense_vectors(cube, seqs)
        assert list(other.bodies(fork, 0, until)) == list(other.bodies(cube, 0, until))
        assert [other.digest(fork, each) for each in seqs] == [other.digest(cube, each) for each in seqs]
        assert other.digest(fork, until + 1) == ""
        records = other.records(fork, seqs)
        assert {record.cube for record in records.values()} == ({"alice/what-if"} if until else set())
        alive: dict[str, Any] = {record.id: record for record in records.values()}  # the newest of each
        heads = other.heads(fork, ids)
        assert {id: (head.seq, head.version, head.deleted) for id, head in heads.items()} == {
            id: (record.seq, record.version, record.body is None) for id, record in alive.items()
        }
        assert {head.item for head in heads.values()} == {record.item for record in records.values()}
        assert {key: head.id for key, head in other.heads_by_key(fork, keys).items()} == {
            record.body.key: id for id, record in alive.items() if record.body and record.body.key
        }
        assert {number: head.id for number, head in other.heads_by_dedup(fork, numbers).items()} == {
            int(id[1:]): id for id in alive if id != "i4"
        }
        for id, head in heads.items():
            past = other.history(fork, head)
            assert [record.seq for record in past] == [record.seq for record in records.values() if record.id == id]
            assert other.at(fork, head, until) == past[-1]
        for moment in {record.at for record in records.values()}:
            expected = max(record.seq for record in records.values() if record.at <= moment)
            at = next(record for record in records.values() if record.at == moment).to_version().at
            assert other.seq_at(fork, at) == expected
        counts = other.counts(fork)
        assert counts["items"] == sum(record.body is not None for record in alive.values())
        assert (counts["items"] + counts["deleted"], counts["versions"]) == (len(alive), until)
        assert (counts["vectors"], counts["audit_entries"]) == (len(other.vectors(cube, seqs)), 1)
        assert other.check(fork, 8) == []
        with store.begin(actor="alice", action="look") as transaction:
            locked = transaction.cube("alice/what-if")
            assert locked is not None
            talk = {"talk": min(until, 4), "other": 5 if until == 10 else 0}
            talk["talk"] = 6 if until == 10 else talk["talk"]
            assert {name: transaction.reserve_positions(locked, name, 0) for name in talk} == talk

    def test_a_fork_and_its_source_go_their_own_ways(
        self, store: RecordStore, other: RecordStore, clock: Clock
    ) -> None:
        cube = self.told(store, clock)
        fork = self.fork(store, "alice", "fork", 7)
        before = seen(other, cube, 10)
        clock.go(10)
        then = clock.now
        self.edit(store, fork, "i0", None)
        self.edit(store, fork, "i1", "back in the fork", vector(20))
        head = store.heads(fork, ["i2"])["i2"]
        kept = Put(id="i2", op="update", text="text 2", body=Body(key="k9"), head=head, vectors_of=3)
        again = Put(id="i4", op="add", text="another i4", body=Body(key="k0"), vectors=vector(21), dedup=0x7FFF)
        assert self.write(store, fork, kept) == 10
        assert self.write(store, fork, again) == 11
        assert seen(other, cube, 10) == before
        assert store.head_seq(cube) == 10
        log = self.log(other, fork)
        assert [record.seq for record, _ in log] == list(range(1, 12))
        assert [(r.id, r.text, b) for r, b in log[7:]] == [
            ("i0", None, None),
            ("i1", "back in the fork", vector(20)),
            ("i2", "text 2", vector(2)),  # still those of the version that both share
            ("i4", "another i4", vector(21)),
        ]
        assert [record.version for record in other.history(fork, other.heads(fork, ["i1"])["i1"])] == [1, 2, 3]
        assert {key: head.id for key, head in other.heads_by_key(fork, ["k0", "k9"]).items()} == {
            "k9": "i2",
            "k0": "i4",
        }
        assert other.seq_at(fork, then) == 11
        assert other.check(fork, 8) == other.check(cube, 8) == []
        after = seen(other, fork, 11)
        self.edit(store, cube, "i1", "on in the source", vector(22))
        self.edit(store, cube, "i0", None)
        assert seen(other, fork, 11) == after
        assert other.head_seq(fork) == 11
        assert other.counts(fork)["versions"] == 11
        assert other.check(fork, 8) == other.check(cube, 8) == []

    @pytest.mark.parametrize("seq", [2, 4, 8, 9, 10])
    def test_forks_of_forks(self, store: RecordStore, other: RecordStore, clock: Clock, seq: int) -> None:
        """Below, at, and beyond what the first fork shares with its source."""
        cube = self.told(store, clock)
        first = self.fork(store, "alice", "first", 8)
        self.edit(store, first, "i1", "in the first", vector(30))
        self.edit(store, first, "i3", None)
        self.edit(store, cube, "i2", None)
        second = self.fork(store, "first", "second", seq)
        assert seen(other, second, seq) == seen(other, first, seq)
        assert {id: head.seq for id, head in other.heads(second, ["i0", "i1", "i2", "i3"]).items()} == {
            record.id: record.seq for record in other.records(first, range(1, seq + 1)).values()
        }
        self.edit(store, second, "i0", "in the second")
        self.edit(store, first, "i0", None)
        self.edit(store, cube, "i0", "in the source")
        third = self.fork(store, "second", "third")
        assert seen(other, third, seq + 1) == seen(other, second, seq + 1)
        texts = [other.records(each, [other.heads(each, ["i0"])["i0"].seq]) for each in (cube, first, second, third)]
        assert [record.text for each in texts for record in each.values()] == [
            "in the source",
            None,
            "in the second",
            "in the second",
        ]
        for each in (cube, first, second, third):
            assert other.check(each, 8) == []

    def test_a_fork_begins_its_own_audit(self, store: RecordStore, other: RecordStore, clock: Clock) -> None:
        cube = self.told(store, clock)
        fork = self.fork(store, "alice", "fork", 6)
        twin = self.fork(store, "alice", "twin", 7)
        self.edit(store, fork, "i0", "changed")
        entries = other.audit(fork)
        assert [(e.cube, e.number, e.actor, e.action, e.first_seq, e.last_seq) for e in entries] == [
            ("fork", 1, "alice", "fork", 0, 0),
            ("fork", 2, "alice", "add", 7, 7),
        ]
        assert entries[0].prev_hash == bytes(32)
        roots = {entry.root for each in (cube, fork, twin) for entry in other.audit(each) if entry.number == 1}
        assert len(roots) == 3, "each says what it began from"

    def test_vectors_that_are_shared_are_replaced_once(
        self, store: RecordStore, other: RecordStore, clock: Clock
    ) -> None:
        cube = self.told(store, clock)
        fork = self.fork(store, "alice", "fork", 8)
        head = store.heads(fork, ["i2"])["i2"]
        self.write(store, fork, Put(id="i2", op="update", text="text 2", body=Body(), head=head, vectors_of=3))
        self.edit(store, fork, "i0", "of the fork", vector(40))
        assert other.counts(fork)["vectors"] == 7
        assert store.stage("new") == (8, 0)  # of both together: 1 to 5, 8 and 10 there, 10 here
        after: int | None = 0
        while after is not None:
            rows, after = store.unstaged("new", after, 3)
            store.put_staged("new", [(place, vector(place % 97, 4)) for place, _, _ in rows])
        assert store.switch_vectors("new", "embedder", "new")
        assert other.check(fork, 4) == other.check(cube, 4) == []
        of_fork = [blobs for _, blobs in self.log(other, fork)]
        assert of_fork[:8] == [blobs for _, blobs in self.log(other, cube)][:8]
        assert of_fork[8] == of_fork[2]
        assert {len(blobs.dense) for blobs in of_fork if blobs} == {16}

    @pytest.mark.parametrize("entries_last", [False, True])
    def test_forks_are_copied_as_forks(
        self, store: RecordStore, clock: Clock, tmp_path: Path, entries_last: bool
    ) -> None:
        self.told(store, clock)
        first = self.fork(store, "alice", "first", 8)
        self.edit(store, first, "i1", "in the first", vector(30))
        idle = self.fork(store, "first", "idle", 5)
        second = self.fork(store, "first", "second")
        self.edit(store, second, "i3", None)
        copy = self.make_empty_store(tmp_path, clock)
        with store.snapshot() as source, copy.filling() as filling:
            fill(filling, source, dims=8, entries_last=entries_last)
        with store.snapshot() as one, copy.snapshot() as two:
            assert rows_of(one) == rows_of(two)
            assert [sum(map(len, one.changes(each, 0))) for each in one.cubes] == [10, 1, 0, 1]
        ids = [f"i{n}" for n in range(5)]
        for each in (first, idle, second):
            assert copy.cube(each.name) == store.cube(each.name)
            assert self.log(copy, each) == self.log(store, each)
            assert copy.heads(each, ids) == store.heads(each, ids)
            assert copy.counts(each) == store.counts(each)
            assert copy.check(each, 8) == []
        self.edit(copy, idle, "i2", "goes on")
        assert copy.check(idle, 8) == []
        copy.close()
