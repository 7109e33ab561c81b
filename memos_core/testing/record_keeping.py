"""The part of the RecordStore contract about what is kept beside items: settings, grants, the audit chain, other vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import pytest

from memos_core.errors import Conflict, MemosError, StoreClosed
from memos_core.protocols.storage import RecordStore
from memos_core.testing.stores import Clock, StoreTests, vector
from memos_core.types.access import Right
from memos_core.types.work import Body, ChainCheck, Checkpoint, CubeRow, Put, micros


def merkle(leaves: list[bytes]) -> bytes:
    """The root as RFC 6962 defines it, top down; leaves are digests already."""
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + merkle(leaves[:split]) + merkle(leaves[split:])).digest()


class RecordKeepingContract(StoreTests):
    """Part of `RecordStoreContract`."""

    # -- settings and grants ------------------------------------------------------------------------------------------

    def test_settings_are_set_only_from_what_was_expected(self, store: RecordStore, other: RecordStore) -> None:
        assert store.setting("embedder") is None
        assert not store.put_setting("embedder", "a", expect="b")
        assert store.put_setting("embedder", "a")
        assert not other.put_setting("embedder", "b")
        assert not other.put_setting("embedder", "b", expect="x")
        assert other.put_setting("embedder", "b", expect="a")
        assert store.setting("embedder") == "b"
        with store.begin(actor="alice", action="look") as transaction:
            assert transaction.setting("embedder") == "b"
            assert transaction.setting("none") is None
        assert store.put_setting("quoted", "'; DROP TABLE store; -- ü你")
        assert other.setting("quoted") == "'; DROP TABLE store; -- ü你"

    def test_grants_are_set_and_taken_away(self, store: RecordStore, other: RecordStore, clock: Clock) -> None:
        cube, another = self.create(store), self.create(store, "another")
        clock.go(3)
        self.share(store, cube, "role:team", Right.READ)
        self.share(store, cube, "bob", Right.READ, Right.WRITE, by="carol")
        self.share(store, cube, "*", Right.READ)
        found = other.grants(cube)
        assert [(grant.grantee, set(grant.rights)) for grant in found] == [
            ("*", {Right.READ}),
            ("bob", {Right.READ, Right.WRITE}),
            ("role:team", {Right.READ}),
        ]
        assert (found[1].cube_id, found[1].granted_by, found[1].granted_at) == ("alice", "carol", clock.now)
        assert other.grants(another) == []
        self.share(store, cube, "bob", Right.SHARE)
        assert {grant.grantee: set(grant.rights) for grant in other.grants(cube)}["bob"] == {Right.SHARE}
        self.share(store, cube, "bob")
        self.share(store, cube, "nobody")
        assert [grant.grantee for grant in other.grants(cube)] == ["*", "role:team"]

    # -- audit --------------------------------------------------------------------------------------------------------

    def test_every_transaction_is_audited(self, store: RecordStore, clock: Clock) -> None:
        cube = self.create(store)
        puts = [Put(id=each, op="add", text=each, body=Body()) for each in "xy"]
        clock.go(2)
        self.write(store, cube, *puts, actor="bob", action="add")
        self.share(store, cube, "carol", Right.READ)
        entries = store.audit(cube)
        assert [(e.number, e.actor, e.action, e.first_seq, e.last_seq) for e in entries] == [
            (1, "alice", "create", 0, 0),
            (2, "bob", "add", 1, 2),
            (3, "alice", "share", 0, 0),
        ]
        assert [entry.detail for entry in entries] == [{}, {}, {"grantee": "carol", "rights": ["read"]}]
        assert entries[1].at == micros(clock.now)
        assert {entry.cube for entry in entries} == {"alice"}
        assert store.check(cube, None) == []

    def test_what_is_noted_is_the_detail_of_the_entry(self, store: RecordStore, other: RecordStore) -> None:
        cube, another = self.create(store), self.create(store, "another")
        with store.begin(actor="bob", action="add") as transaction:
            for name in ("alice", "another"):
                locked = transaction.cube(name)
                assert locked is not None
                transaction.note(locked, by="owner", redacted={"email": 1, "iban": 2}, ids=["a"])
            transaction.note(cube, by="grant to *", redacted={"email": 2}, ids=("b", "c"), reason="ü你 'x'")
            transaction.put(cube, [Put(id="x", op="add", text="x", body=Body())])
        told = {
            "by": "grant to *",
            "redacted": {"email": 3, "iban": 2},
            "ids": ["a", "b", "c"],
            "reason": "ü你 'x'",
        }
        assert other.audit(cube)[-1].detail == told
        assert [entry.action for entry in other.audit(another)] == ["create"], "a note alone makes no entry"
        with store.begin(actor="bob", action="read") as transaction:
            locked = transaction.cube("another")
            assert locked is not None
            transaction.note(locked, read=1)
            transaction.enter(locked)
        entry = other.audit(another)[-1]
        assert (entry.action, entry.detail, entry.first_seq, entry.last_seq) == ("read", {"read": 1}, 0, 0)
        with store.begin(actor="bob", action="read") as transaction:
            for name, actor in (("alice", "carol"), ("another", None)):
                locked = transaction.cube(name)
                assert locked is not None
                transaction.enter(locked, actor=actor)
        assert [other.audit(each)[-1].actor for each in (cube, another)] == ["carol", "bob"]
        assert store.check(cube, None) == store.check(another, None) == []
        assert store.head_seq(another) == 0, "what changes no item does not move the change log"

    def test_whoever_watches_hears_of_every_entry(self, store: RecordStore, other: RecordStore) -> None:
        heard: list[dict[int, int]] = []
        store.watch(lambda entries: heard.append(dict(entries)))
        cube, another = self.create(store), self.create(store, "another")
        with store.begin(actor="bob", action="add") as transaction:
            assert transaction.cube("alice") is not None
            assert transaction.cube("another") is not None
            transaction.put(cube, [Put(id="x", op="add", text="x", body=Body())])
            transaction.put(another, [Put(id="x", op="add", text="x", body=Body())])
        with store.begin(actor="bob", action="look") as transaction:
            transaction.cube("alice")
        with pytest.raises(MemosError):
            self.write(
                store, cube, Put(id="y", op="add", text="y", body=Body()), Put(id="x", op="add", text="x", body=Body())
            )
        one, two = cube.number, another.number
        assert heard == [{one: 1}, {two: 1}, {one: 2, two: 2}]
        store.watch(None)
        self.share(store, cube, "bob", Right.READ)
        self.share(other, cube, "bob", Right.READ)
        assert len(heard) == 3

    def test_checkpoints_are_kept(self, store: RecordStore, other: RecordStore) -> None:
        cube, another = self.create(store), self.create(store, "another")
        self.write(store, cube, Put(id="x", op="add", text="x", body=Body()))
        entries = store.audit(cube)
        assert store.chain_hashes(cube.number, [2, 1, 7]) == {entry.number: entry.hash for entry in entries}
        ends = other.chain_ends()
        assert [(end.cube, end.number) for end in ends] == [(cube.number, 2), (another.number, 1)]
        assert ends[0].hash == entries[-1].hash

        def signed(number: int, key: str = "key") -> Checkpoint:
            return Checkpoint(
                store=store.id,
                cube=cube.number,
                number=number,
                hash=entries[0].hash,
                at=5,
                after=0,
                key=key,
                signature=b"s",
            )

        store.put_checkpoints([signed(2)])
        store.put_checkpoints([signed(1), msgspec.structs.replace(signed(1), cube=77)])
        assert other.checkpoints() == [signed(1), signed(2)]
        assert [end.cube for end in other.chain_ends()] == [another.number]
        store.put_checkpoints([signed(1, "another key")])
        assert other.checkpoints() == [signed(1, "another key"), signed(2)]
        self.share(store, cube, "bob", Right.READ)
        assert [(end.cube, end.number) for end in other.chain_ends()] == [(cube.number, 3), (another.number, 1)]
        assert store.check_audit(cube) == ChainCheck([], [], 3)

    def test_the_chain_links_every_entry_to_the_one_before(self, store: RecordStore, other: RecordStore) -> None:
        cube, another = self.create(store), self.create(store, "another")
        for n in range(5):
            self.write(store if n % 2 else other, cube, Put(id=f"i{n}", op="add", text="t", body=Body()))
        self.write(store, another, Put(id="i", op="add", text="t", body=Body()))
        entries = store.audit(cube)
        assert [entry.number for entry in entries] == list(range(1, 7))
        assert [entry.prev_hash for entry in entries] == [bytes(32), *(entry.hash for entry in entries[:-1])]
        hashes = {entry.hash for entry in (*entries, *store.audit(another))}
        assert len(hashes) == 8, "each entry has a hash of its own"
        assert other.audit(cube, after=4) == entries[4:]
        assert other.audit(cube, after=6) == []

    def test_an_entry_holds_the_merkle_root_of_what_it_wrote(self, store: RecordStore) -> None:
        cube = self.create(store)
        made = 0
        for count in (1, 2, 3, 4, 5, 6, 7, 8, 9, 17):
            puts = [Put(id=f"i{made + n}", op="add", text="the same words", body=Body()) for n in range(count)]
            first = self.write(store, cube, *puts)
            made += count
            entry = store.audit(cube)[-1]
            assert (entry.first_seq, entry.last_seq) == (first, made)
            digests = [bytes.fromhex(store.digest(cube, seq)) for seq in range(first, made + 1)]
            assert entry.root == merkle(digests), f"{count} changes in one transaction"
        assert len({store.digest(cube, seq) for seq in range(1, made + 1)}) == made, "digests are salted"
        assert store.digest(cube, made + 1) == ""
        assert store.audit(cube)[0].root == merkle([])

    def test_a_transaction_over_two_cubes_is_audited_in_both(self, store: RecordStore) -> None:
        for name in ("one", "two", "three"):
            self.create(store, name)
        with store.begin(actor="bob", action="ingest") as transaction:
            for name in ("one", "three", "two"):
                cube = transaction.cube(name)
                assert cube is not None
                if name != "three":
                    transaction.put(cube, [Put(id="x", op="add", text="x", body=Body())])
        actions = {cube.name: [entry.action for entry in store.audit(cube)] for cube in store.cubes()}
        assert actions == {"one": ["create", "ingest"], "two": ["create", "ingest"], "three": ["create"]}

    def test_check_is_content_with_what_was_written(self, store: RecordStore) -> None:
        cube = self.create(store)
        for n in range(5):
            self.write(store, cube, Put(id=f"i{n}", op="add", text="t", body=Body(), vectors=vector(n)))
        self.edit(store, cube, "i1", "changed")
        self.edit(store, cube, "i2", None)
        assert store.check(cube, 8) == []
        assert store.check(cube, 9), "vectors of another length must be named"
        assert store.check(cube, None), "vectors in a store without an embedder must be named"
        assert store.counts(cube) == {"items": 4, "deleted": 1, "versions": 7, "vectors": 5, "audit_entries": 8}

    # -- vectors of another embedder ----------------------------------------------------------------------------------

    def filled(self, store: RecordStore) -> CubeRow:
        """A cube with items of every sort that re-embedding treats differently; versions 1 to 8."""
        cube = self.create(store)
        for n in range(3):
            self.write(store, cube, Put(id=f"i{n}", op="add", text=f"text {n}", body=Body(), vectors=vector(n)))
        head = store.heads(cube, ["i0"])["i0"]
        tagged = Put(id="i0", op="update", text="text 0", body=Body(tags=("t",)), head=head, vectors_of=1)
        self.write(store, cube, tagged)  # goes on using the vectors of change 1
        self.edit(store, cube, "i1", "changed", vector(9))
        self.edit(store, cube, "i2", None)
        self.write(store, cube, Put(id="hidden", op="add", text="no vectors", body=Body(indexed=False)))
        self.write(store, cube, Put(id="late", op="add", text="not embedded yet", body=Body()))
        return cube

    @staticmethod
    def stage_all(store: RecordStore, identity: str, dims: int) -> list[str]:
        """Stage vectors for everything that needs some, two versions at a time; the texts, in order."""
        after: int | None = 0
        texts: list[str] = []
        while after is not None:
            rows, after = store.unstaged(identity, after, 2)
            store.put_staged(identity, [(place, vector(place % 97 + 100, dims)) for place, _, _ in rows])
            texts.extend(text for _, text, _ in rows)
        return texts

    def test_new_vectors_take_the_place_of_the_old_ones_in_one_step(
        self, store: RecordStore, other: RecordStore
    ) -> None:
        cube = self.filled(store)
        before = self.log(other, cube)
        store.stage("new")
        assert self.stage_all(store, "new", 4) == ["text 0", "text 1", "text 2", "changed", "not embedded yet"]
        assert self.log(other, cube) == before, "nothing changes for others until all are there"
        assert store.unstaged("new", 0, 100) == ([], None)
        assert store.switch_vectors("new", "embedder", "the new one")
        assert other.setting("embedder") == "the new one"
        after = self.log(other, cube)
        assert [len(blobs.dense) // 4 if blobs else 0 for _, blobs in after] == [4, 4, 4, 4, 4, 0, 0, 4]
        assert after[0][1] == after[3][1]
        assert [(record.text, record.body) for record, _ in after] == [(r.text, r.body) for r, _ in before]
        assert store.check(cube, 4) == []

    def test_staging_goes_on_where_it_was_interrupted(self, store: RecordStore, other: RecordStore) -> None:
        self.filled(store)
        store.stage("new")
        rows, _ = store.unstaged("new", 0, 2)
        store.put_staged("new", [(place, vector(1, 4)) for place, _, _ in rows])
        other.stage("new")
        other.put_staged("new", [(place, vector(1, 4)) for place, _, _ in rows])  # what is there already does no harm
        assert self.stage_all(other, "new", 4) == ["text 2", "changed", "not embedded yet"]
        assert other.switch_vectors("new", "embedder", "new")

    def test_what_comes_in_meanwhile_is_not_left_without_vectors(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.filled(store)
        store.stage("new")
        self.stage_all(store, "new", 4)
        self.write(other, cube, Put(id="new", op="add", text="just in time", body=Body(), vectors=vector(5)))
        assert not store.switch_vectors("new", "embedder", "new")
        assert other.setting("embedder") is None
        assert self.stage_all(store, "new", 4) == ["just in time"]
        assert store.switch_vectors("new", "embedder", "new")
        assert store.check(cube, 4) == []

    def test_only_one_embedder_is_staged_at_a_time(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.filled(store)
        store.stage("first")
        rows, _ = store.unstaged("first", 0, 2)
        other.stage("second")
        refused: list[Callable[[], object]] = [
            lambda: store.unstaged("first", 0, 2),
            lambda: store.put_staged("first", [(rows[0][0], vector(1, 4))]),
            lambda: store.switch_vectors("first", "embedder", "first"),
        ]
        for ask in refused:
            with pytest.raises(Conflict, match="second"):
                ask()
        assert len(self.stage_all(other, "second", 4)) == 5, "what was staged of the first is thrown away"
        assert other.switch_vectors("second", "embedder", "second")
        for ask in refused:
            with pytest.raises(Conflict, match="finished"):
                ask()
        assert store.setting("embedder") == "second"
        assert store.check(cube, 4) == []

    def test_all_vectors_can_be_taken_away(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.filled(store)
        store.stage("never finished")
        assert store.switch_vectors("", "embedder", "none")
        assert [blobs for _, blobs in self.log(other, cube)] == [None] * 8
        assert other.counts(cube)["vectors"] == 0
        assert other.setting("embedder") == "none"
        assert other.check(cube, None) == []
        with pytest.raises(Conflict):
            store.unstaged("never finished", 0, 2)

    # -- closing ------------------------------------------------------------------------------------------------------

    def test_a_closed_store_says_so(self, store: RecordStore) -> None:
        cube = self.create(store)
        store.close()
        store.close()
        asked: list[Callable[[], object]] = [
            store.cubes,
            store.change_token,
            lambda: store.cube("alice"),
            lambda: store.heads(cube, ["x"]),
            lambda: self.log(store, cube),
            lambda: store.setting("x"),
            lambda: store.put_setting("x", "y"),
            lambda: self.write(store, cube, Put(id="x", op="add", text="x", body=Body())),
            lambda: self.share(store, cube, "bob", Right.READ),
            lambda: store.stage("new"),
            lambda: store.check(cube, None),
        ]
        for ask in asked:
            with pytest.raises(StoreClosed):
                ask()

    def test_what_was_written_is_there_when_opened_again(self, store: RecordStore, other: RecordStore) -> None:
        cube = self.filled(store)
        before = (self.log(store, cube), store.audit(cube), store.cubes())
        store.close()
        assert (self.log(other, cube), other.audit(cube), other.cubes()) == before
