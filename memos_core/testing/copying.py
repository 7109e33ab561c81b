"""The part of the RecordStore contract about copies: a snapshot of one store, with which another is filled."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from memos_core.errors import AlreadyExists, StoreDamaged
from memos_core.protocols.copying import Filling, Snapshot
from memos_core.protocols.storage import RecordStore
from memos_core.testing.stores import Clock, StoreTests, vector
from memos_core.types.access import Right
from memos_core.types.items import Link
from memos_core.types.work import Body, Checkpoint, CubeRow, Put


def rows_of(snapshot: Snapshot) -> list[object]:
    """Everything that a snapshot holds."""
    found: list[object] = [dict(snapshot.settings), snapshot.jobs()]
    for cube in snapshot.cubes:
        found += [cube, snapshot.conversations(cube), snapshot.grants(cube), snapshot.checkpoints(cube)]
        found += [row for part in snapshot.changes(cube, 0) for row in part]
        found += [row for part in snapshot.entries(cube, 0) for row in part]
    return found


def fill(
    filling: Filling, source: Snapshot, *, dims: int | None, text: str | None = None, entries_last: bool = False
) -> None:
    """Fill a store with a snapshot of another, two changes at a time.

    Args:
        text: put in the place of every text.
        entries_last: audit entries follow the changes of all cubes, not those of their own.
    """
    for cube in source.cubes:
        filling.cube(cube)
        for rows in source.changes(cube, 0):
            told = rows if text is None else [msgspec.structs.replace(row, text=text) for row in rows]
            for start in range(0, len(told), 2):
                filling.changes(cube, told[start : start + 2])
        for entries in source.entries(cube, 0) if not entries_last else ():
            filling.entries(cube, entries)
        filling.conversations(cube, source.conversations(cube))
        filling.grants(cube, source.grants(cube))
        filling.checkpoints(cube, source.checkpoints(cube))
    for cube in source.cubes if entries_last else ():
        for entries in source.entries(cube, 0):
            filling.entries(cube, entries)
    filling.jobs(source.jobs())
    filling.finish(source.settings, dims)


class CopyingContract(StoreTests):
    """Part of `RecordStoreContract`."""

    def make_empty_store(self, folder: Path, clock: Clock) -> RecordStore:
        """A store on other data than `make_store`'s, with nothing in it yet; a server's contract needs its own."""
        (folder / "copy").mkdir()
        return self.make_store(folder / "copy", clock)

    def name(self, store: RecordStore, cube: CubeRow, id: str, key: str) -> None:
        """Give an item a name."""
        put = Put(id=id, op="update", text=f"is {key}", body=Body(key=key), head=store.heads(cube, [id])[id])
        self.write(store, cube, put)

    def test_a_copy_is_the_same_row_by_row(self, store: RecordStore, clock: Clock, tmp_path: Path) -> None:
        cube, empty = self.create(store), self.create(store, "bob", "bob")
        for n in range(4):
            clock.go(1)
            links = (Link("about", "i0", 0.5),) if n else ()
            body = Body(key=f"key {n}", links=links, payload={"n": n}, conversation="talk")
            self.write(
                store, cube, Put(id=f"i{n}", op="add", text=f"t{n}", body=body, vectors=vector(n), dedup=n or None)
            )
        self.name(store, cube, "i1", "key 1")
        self.edit(store, cube, "i2", None)
        self.name(store, cube, "i3", "key 2")
        with store.begin(actor="alice", action="add") as transaction:
            locked = transaction.cube("alice")
            assert locked is not None
            transaction.reserve_positions(locked, "talk", 3)
        store.share(cube, "carol", frozenset({Right.READ}), by="alice")
        store.put_setting("a setting", "its value")
        end = store.chain_ends()[0]
        store.put_checkpoints(
            [
                Checkpoint(
                    store=store.id,
                    cube=end.cube,
                    number=end.number,
                    hash=end.hash,
                    at=1,
                    after=0,
                    key="k",
                    signature=b"s",
                )
            ]
        )
        copy = self.make_empty_store(tmp_path, clock)
        with store.snapshot() as source, copy.filling() as filling:
            fill(filling, source, dims=8)
        assert copy.id == store.id
        with store.snapshot() as one, copy.snapshot() as two:
            assert rows_of(one) == rows_of(two)
        assert copy.cubes() == store.cubes()
        assert copy.checkpoints() == store.checkpoints() != []
        assert copy.audit(cube)[-1].detail == {"grantee": "carol", "rights": ["read"]}
        assert copy.check_audit(cube) == store.check_audit(cube)
        for each in (cube, empty):
            assert copy.audit(each) == store.audit(each)
            assert copy.grants(each) == store.grants(each)
            assert copy.counts(each) == store.counts(each)
            assert copy.check(each, 8) == []
        assert copy.heads(cube, ["i0", "i1", "i2", "i3"]) == store.heads(cube, ["i0", "i1", "i2", "i3"])
        assert copy.heads_by_key(cube, ["key 1", "key 2"]) == store.heads_by_key(cube, ["key 1", "key 2"])
        assert copy.heads_by_dedup(cube, [1, 2, 3]) == store.heads_by_dedup(cube, [1, 2, 3])
        assert [record for record, _ in self.log(copy, cube)] == [record for record, _ in self.log(store, cube)]
        assert self.write(copy, cube, Put(id="more", op="add", text="x", body=Body())) == store.head_seq(cube) + 1
        copy.close()

    def test_a_snapshot_is_one_moment(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.create(store)
        self.write(store, cube, Put(id="x", op="add", text="x", body=Body()))
        with store.snapshot() as snapshot:
            self.write(other, cube, Put(id="y", op="add", text="y", body=Body()))
            self.create(other, "bob", "bob")
            other.share(cube, "carol", frozenset({Right.READ}), by="alice")
            assert [(each.name, each.seq) for each in snapshot.cubes] == [("alice", 1)]
            assert [row.id for part in snapshot.changes(snapshot.cubes[0], 0) for row in part] == ["x"]
            assert sum(map(len, snapshot.entries(snapshot.cubes[0], 0))) == 2
            assert snapshot.grants(snapshot.cubes[0]) == []

    def test_only_an_empty_store_is_filled_and_all_or_nothing(
        self, store: RecordStore, clock: Clock, tmp_path: Path
    ) -> None:
        cube = self.create(store)
        self.write(store, cube, Put(id="x", op="add", text="x", body=Body()))
        with pytest.raises(AlreadyExists), store.filling():
            pass
        copy = self.make_empty_store(tmp_path, clock)
        before = copy.id
        with store.snapshot() as source, pytest.raises(StoreDamaged, match="digest differs"), copy.filling() as filling:
            fill(filling, source, dims=None, text="forged")
        assert (copy.cubes(), copy.id) == ([], before)
        copy.close()

    def test_vacuuming_loses_nothing(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.create(store)
        self.write(store, cube, Put(id="x", op="add", text="x", body=Body(), vectors=vector(1)))
        log = self.log(other, cube)
        store.vacuum()
        assert self.log(other, cube) == self.log(store, cube) == log
        facts = store.facts()
        assert isinstance(facts["database"], str)
        assert int(facts["bytes"]) > 0
