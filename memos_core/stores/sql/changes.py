"""Writing: one transaction that puts versions, change numbers, vectors, links and the audit entry together.

The counter row of a cube is locked by the writing transaction, so numbers 1, 2, 3, ... follow the order of commits and a
reader that has seen number n has seen everything up to n.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from memos_core.errors import JobStopped, StoreDamaged, VersionConflict
from memos_core.stores.sql import audit, forking, grants, holds, schema
from memos_core.stores.sql.databases import SqlDatabase
from memos_core.stores.sql.job_rows import JobRows
from memos_core.stores.sql.lookups import cube_row, heads_by
from memos_core.stores.sql.room import Room
from memos_core.stores.sql.schema import position
from memos_core.stores.sql.spans import spans_of
from memos_core.stores.sql.statements import Statements
from memos_core.stores.sql.uses import UseWriting
from memos_core.types.access import Right
from memos_core.types.erasure import Erasing, ErasurePlan
from memos_core.types.jobs import Done, NewJob
from memos_core.types.work import Body, CubeRow, Head, Put, VectorBlobs, from_micros, micros

_encode = msgspec.json.Encoder().encode
_ITEM = ("item", "cube", "id", "key", "head", "version", "deleted", "dedup", "created")
_VERSION = ("place", "item", "version", "op", "state", "prev", "batch", "vectors_of", "text", "body", "salt", "digest")
VECTOR_COLUMNS = ("place", "crc", "dense", "tokens")
_LINK = ("cube", "item", "relation", "target", "weight")
_BATCH = ("cube", "number", "actor", "action", "first_seq", "last_seq", "at", "salt", "root", "hash", "sealed")
_DETAIL = ("cube", "number", "salt", "detail")
_CUBE = ("cube", "name", "owner", "seq", "batches", "chain", "created", "changed", "base", "base_seq", "policy")


class _Counter:
    """A locked cube: its numbers as this transaction has moved them so far."""

    def __init__(self, number: int, name: str, seq: int, batches: int, chain: bytes, at: int, changed: int) -> None:
        self.number = number
        self.name = name
        self.seq = self.first = seq
        self.batches = batches
        self.chain = chain
        self.at = max(at, changed)
        self.digests: list[bytes] = []
        self.entered = False  # an audit entry is written even if no item changes
        self.actor: str | None = None  # of that entry; None for that of the transaction
        self.detail: dict[str, Any] = {}


class WriteTransaction:
    """A unit of work on one store. Made by `SqlStore.begin`; committed when its block ends without an error."""

    def __init__(
        self,
        connection: Connection,
        statements: Statements,
        database: SqlDatabase,
        *,
        actor: str,
        action: str,
        at: int,
        room: Room,
    ) -> None:
        self._room = room
        self._connection = connection
        self._database = database
        self._statements = statements
        self._actor = actor
        self._action = action
        self._at = at
        self._locked: dict[int, _Counter] = {}
        self._written: tuple[_Counter, int, bytes] | None = None  # an audit entry: its cube, number and hash
        self._ended: list[Done] = []
        self.rules_changed = False  # whether cubes, grants or settings may be others afterwards
        self.filed = False  # whether there is anything new for workers
        self.entries: dict[int, int] = {}  # number of the audit entry that was written for each cube
        self.uses = UseWriting(connection, statements, database)

    @property
    def connection(self) -> Connection:
        """What it writes on; for what belongs to the store itself."""
        self.rules_changed = True  # for all that is known here
        return self._connection

    @property
    def at(self) -> int:
        """When it began, microseconds since 1970."""
        return self._at

    # -- cubes ----------------------------------------------------------------------------------------------------

    def cube(self, name: str) -> CubeRow | None:
        """The cube, locked until the transaction ends; None where there is none. Lock several in order of name."""
        row = self._lock(name)
        if row is None and self._database.lock(self._connection, f"cube {name}"):  # whoever may be making it has ended
            row = self._lock(name)
        if row is None:
            return None
        if row["cube"] not in self._locked:
            counter = _Counter(row["cube"], name, row["seq"], row["batches"], row["chain"], self._at, row["changed"])
            self._locked[row["cube"]] = counter
        return cube_row(row)

    def _lock(self, name: str) -> dict[str, Any] | None:
        c = schema.cubes.c
        query = self._statements.run(
            self._connection,
            "lock cube",
            lambda: select(schema.cubes).where(c.name == bindparam("name")).with_for_update(),
            {"name": name},
        )
        return next(iter(query.by_name()), None)

    def create_cube(self, name: str, owner: str) -> CubeRow:
        """A new, empty cube. Whether the name is free must have been asked in this transaction."""
        self.rules_changed = True
        number = self._database.new_cube_number(self._connection)
        row = (number, name, owner, 0, 0, audit.GENESIS, self._at, self._at, 0, 0, None)
        self._statements.insert(self._connection, schema.cubes, _CUBE, [row])
        self._locked[number] = counter = _Counter(number, name, 0, 0, audit.GENESIS, self._at, 0)
        counter.entered = True
        return CubeRow(number, name, owner, 0, from_micros(self._at))

    def fork(self, source: CubeRow, name: str, owner: str, seq: int) -> CubeRow:
        """A new cube that has the first changes of another one, which is locked, and its rules; no change is copied.

        Whether the name is free must have been asked in this transaction.

        Args:
            source: the other cube.
            name, owner: of the new one.
            seq: how many changes they share, at most as many as there are.
        """
        self.rules_changed = True
        connection, base = self._connection, self._locked[source.number]
        number = self._database.new_cube_number(connection)
        at = max(self._at, base.at)
        row = (number, name, owner, seq, 0, audit.GENESIS, at, at, source.number, seq, source.policy)
        self._statements.insert(connection, schema.cubes, _CUBE, [row])
        spans = spans_of(connection, self._statements, source)
        forking.copy_items(connection, self._statements, spans, number, seq)
        forking.copy_conversations(connection, spans, number, seq, source.seq)
        self._locked[number] = counter = _Counter(number, name, seq, 0, audit.GENESIS, at, 0)
        counter.digests.append(forking.root_of(connection, source.number, seq)[1])
        counter.entered = True
        counter.detail = {"forked": source.name, "as_of": seq}
        return CubeRow(number, name, owner, seq, from_micros(at), source.number, seq, source.policy)

    def setting(self, key: str) -> str | None:
        """A setting of the store, or None."""
        known = None if self.rules_changed else self._database.settings(self._connection)
        if known is not None:
            return known.get(key)
        c = schema.store.c
        row = self._statements.run(
            self._connection, "setting", lambda: select(c.value).where(c.key == bindparam("key")), {"key": key}
        ).first()
        return None if row is None else str(row[0])

    # -- looking, under the lock ----------------------------------------------------------------------------------

    def heads(self, cube: CubeRow, ids: Sequence[str]) -> dict[str, Head]:
        """Where these items stand, by id; ids that the cube has never had are left out."""
        return heads_by(self._connection, self._statements, cube.number, "id", ids)

    def heads_by_key(self, cube: CubeRow, keys: Sequence[str]) -> dict[str, Head]:
        """Where the items that bear these keys stand, by key."""
        return heads_by(self._connection, self._statements, cube.number, "key", keys)

    def heads_by_dedup(self, cube: CubeRow, identities: Sequence[int]) -> dict[int, Head]:
        """Where the items read from these messages or spans stand, by 64-bit identity."""
        return heads_by(self._connection, self._statements, cube.number, "dedup", identities)

    def without_vectors(self, cube: CubeRow, ids: Sequence[str] | None = None) -> list[str]:
        """Ids of the items of a locked cube whose newest version search may find but has no vectors, in no order.

        Args:
            ids: only of these; None for all.
        """
        spans = spans_of(self._connection, self._statements, cube)
        v, i = schema.versions.c, schema.items.c
        query = (
            select(i.id, v.body)
            .select_from(schema.items)
            .join(schema.versions, v.place == spans.place_of(i.head))
            .where(i.cube == cube.number, i.deleted == 0, v.vectors_of == 0, v.text.is_not(None))
        )
        found: list[tuple[str, str]] = []
        slices = [None] if ids is None else [ids[start : start + 500] for start in range(0, len(ids), 500)]
        for some in slices:
            narrowed = query if some is None else query.where(i.id.in_(some))
            found += [(row[0], row[1]) for row in self._connection.execute(narrowed)]
        return [id for id, body in found if decode_body(body).indexed]

    def reserve_positions(self, cube: CubeRow, conversation: str, count: int, at_least: int = 0) -> int:
        """The first of `count` places at the end of a conversation, now taken.

        Args:
            at_least: the conversation is at least this long already (places that callers gave themselves).
        """
        c = schema.conversations.c
        row = self._statements.run(
            self._connection,
            "next position",
            lambda: select(c.next_position).where(c.cube == bindparam("cube"), c.name == bindparam("name")),
            {"cube": cube.number, "name": conversation},
        ).first()
        first = max(row[0] if row else 0, at_least)
        if row is None:
            self._statements.insert(
                self._connection,
                schema.conversations,
                ("cube", "name", "next_position"),
                [(cube.number, conversation, first + count)],
            )
        elif first + count != row[0]:
            self._statements.run_each(
                self._connection,
                "move position",
                lambda: (
                    update(schema.conversations)
                    .where(c.cube == bindparam("in_cube"), c.name == bindparam("named"))
                    .values(next_position=bindparam("next"))
                ),
                [{"in_cube": cube.number, "named": conversation, "next": first + count}],
            )
        return first

    # -- writing --------------------------------------------------------------------------------------------------

    def put(self, cube: CubeRow, puts: Sequence[Put]) -> int:
        """Write versions, in order; returns the number of the first change.

        Raises:
            VersionConflict: an item has moved on since its `head` was read.
        """
        counter = self._locked[cube.number]
        self._check_heads(cube, [one.head for one in puts if one.head is not None])
        first = counter.seq + 1
        counter.seq += len(puts)
        batch = counter.batches + 1
        salts = audit.new_salts(len(puts))
        items: list[tuple[Any, ...]] = []
        moved: list[tuple[Any, ...]] = []
        versions: list[tuple[Any, ...]] = []
        vectors: list[tuple[Any, ...]] = []
        base = position(cube.number, 0)
        repeated = self._batches_of([base + one.head.seq for one in puts if one.op == "embed" and one.head is not None])
        for seq, (one, salt) in enumerate(zip(puts, salts, strict=True), first):
            head, body = one.head, one.body
            place = base + seq
            key = body.key if body else None
            if head is None:
                item, version, prev = place, 1, 0
                items.append((place, cube.number, one.id, key, seq, 1, 0, one.dedup, counter.at))
            else:
                item, version, prev = head.item, head.version + (one.op != "embed"), head.seq
                moved.append((seq, version, int(body is None), key, item))
            vectors_of = seq if one.vectors is not None else one.vectors_of
            encoded = None if body is None else _encode(body).decode()
            header = audit.header_of(one.id, version, one.op, one.state, prev)
            digest = audit.digest(salt, header, one.text, encoded)
            counter.digests.append(digest)
            row = (
                place,
                item,
                version,
                one.op,
                str(one.state),
                prev,
                repeated.get(base + prev, batch) if one.op == "embed" else batch,
                vectors_of,
                one.text,
                encoded,
                salt,
                digest,
            )
            versions.append(row)
            if one.vectors is not None:
                vectors.append(vector_row(place, one.vectors))
        self._statements.insert(self._connection, schema.items, _ITEM, items)
        self._move_heads(moved)
        self._statements.insert(self._connection, schema.versions, _VERSION, versions)
        self._statements.insert(self._connection, schema.vectors, VECTOR_COLUMNS, vectors)
        self._put_links(cube, puts, first, base)
        return first

    def _batches_of(self, places: Sequence[int]) -> dict[int, int]:
        """The audit entries of the versions at these places.

        What repeats a version names the entry of that one: who said it, and when, stays what it was. (A fork repeats what it
        shares under an entry of its own, as it has no other.)
        """
        c = schema.versions.c
        rows = self._statements.run_list(
            self._connection,
            "batches of",
            lambda members: select(c.place, c.batch).where(c.place.in_(members)),
            places,
        )
        return {row[0]: row[1] for row in rows} if places else {}

    # -- jobs -------------------------------------------------------------------------------------------------------

    def file(self, jobs: Sequence[NewJob]) -> list[int]:
        """File jobs, which are there when this is committed, and only then; the ids, in order."""
        self.filed = True
        return self.jobs.file(jobs)

    def has_room(self, most: int) -> bool:
        """Whether fewer than so many jobs wait."""
        return self._room.left(self.jobs, most)

    def end_jobs(self, done: Sequence[Done]) -> None:
        """End jobs together with everything else that this transaction does.

        Raises:
            JobStopped: one of them belongs to somebody else by now; nothing is kept.
        """
        held = self.jobs.finish(done)
        self._ended.extend(done)
        lost = [str(each.job.id) for each in done if each.job.id not in held]
        if lost:
            raise JobStopped(
                f"job {', '.join(lost)} belongs to another worker by now, or was cancelled; nothing is kept"
            )

    @property
    def jobs(self) -> JobRows:
        """The jobs of the store; for what belongs to the store itself."""
        return JobRows(self._connection, self._statements, self._database, self._at)

    def grant(self, cube: CubeRow, grantee: str, rights: frozenset[Right], until: datetime | None = None) -> None:
        """Set the rights of a grantee on a cube; none takes them away. Audited even where no item changes."""
        self.rules_changed = True
        if rights:
            ends = None if until is None else micros(until)
            grants.put_grant(self._connection, cube.number, grantee, rights, self._actor, self._at, ends)
        else:
            grants.drop_grant(self._connection, cube.number, grantee)
        given: dict[str, Any] = {"grantee": grantee, "rights": sorted(map(str, rights))}
        self.note(cube, **given, **({} if until is None else {"until": until.isoformat()}))
        self.enter(cube)

    # -- erasing and legal holds ----------------------------------------------------------------------------------

    def erase(self, what: Erasing, *, reason: str, confirm: str | None = None) -> ErasurePlan:
        """Erase the bytes of items, all versions of them; as `erasing.erase` says. Before anything else is locked."""
        from memos_core.stores.sql.erasing import erase

        return erase(self, self._statements, what, reason=reason, confirm=confirm)

    def hold(self, cube: CubeRow, target: str, reason: str) -> None:
        """Place a legal hold."""
        holds.put(self._connection, cube.number, target, reason, self._actor, self._at)
        self.note(cube, target=target, reason=reason)
        self.enter(cube)

    def release(self, cube: CubeRow, target: str, reason: str) -> bool:
        """Release a legal hold; whether there was one."""
        if not holds.drop(self._connection, cube.number, target):
            return False
        self.note(cube, target=target, reason=reason)
        self.enter(cube)
        return True

    def held(self, cube: CubeRow, ids: Sequence[str]) -> dict[str, str]:
        """Those of these items that a legal hold covers, with a sentence that says so: they may not be deleted."""
        from memos_core.stores.sql.erasing_plan import held

        return held(self._connection, self._statements, cube, ids)

    # -- the audit ------------------------------------------------------------------------------------------------

    def enter(self, cube: CubeRow, *, actor: str | None = None) -> None:
        """Write an audit entry for the cube even if none of its items changes; under another actor, if one is given."""
        counter = self._locked[cube.number]
        counter.entered = True
        counter.actor = actor or counter.actor

    def set_policy(self, cube: CubeRow, policy: str | None) -> None:
        """Set the policy of a cube (JSON; None for the usual one). Audited even where no item changes."""
        self.rules_changed = True
        c = schema.cubes.c
        self._connection.execute(update(schema.cubes).where(c.cube == cube.number).values(policy=policy))
        self.enter(cube)

    def note(self, cube: CubeRow, **detail: Any) -> None:
        """Add to the detail of the cube's audit entry, if there will be one.

        Args:
            detail: JSON. Of what is noted twice, lists are joined and numbers by name added up.
        """
        counter = self._locked[cube.number]
        counter.detail = audit.merged(counter.detail, detail)

    def _check_heads(self, cube: CubeRow, expected: list[Head]) -> None:
        if not expected:
            return
        current = self.heads(cube, [head.id for head in expected])
        for head in expected:
            now = current.get(head.id)
            if now is None or now.seq != head.seq:
                raise VersionConflict(
                    f"item {head.id!r} of cube {cube.name!r} is at version {now.version if now else 0}, "
                    f"not {head.version} any more; read it again and decide anew"
                )

    def _move_heads(self, moved: list[tuple[Any, ...]]) -> None:
        if not moved:
            return
        c = schema.items.c
        names = ("to_head", "to_version", "to_deleted", "to_key", "of_item")
        self._statements.run_each(
            self._connection,
            "move head",
            lambda: (
                update(schema.items)
                .where(c.item == bindparam("of_item"))
                .values(
                    head=bindparam("to_head"),
                    version=bindparam("to_version"),
                    deleted=bindparam("to_deleted"),
                    key=bindparam("to_key"),
                )
            ),
            [dict(zip(names, row, strict=True)) for row in moved],
        )

    def _put_links(self, cube: CubeRow, puts: Sequence[Put], first: int, base: int) -> None:
        changed = [
            (one.head.item if one.head else base + seq, one)
            for seq, one in enumerate(puts, first)
            if one.head is not None or (one.body is not None and one.body.links)
        ]
        c = schema.links.c
        for item, one in changed:
            if one.head is not None:
                self._statements.run_each(
                    self._connection,
                    "drop links",
                    lambda: schema.links.delete().where(c.cube == bindparam("in_cube"), c.item == bindparam("of_item")),
                    [{"in_cube": cube.number, "of_item": item}],
                )
            if one.body is not None:
                rows = [(cube.number, item, link.relation, link.target, link.weight) for link in one.body.links]
                self._statements.insert(self._connection, schema.links, _LINK, rows)

    # -- the end --------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Write the audit entries and the counters. Called by the store just before it commits."""
        c = schema.cubes.c
        for counter in self._locked.values():
            if counter.seq == counter.first and not counter.entered:
                continue
            number, at = counter.batches + 1, counter.at
            first = counter.first + 1 if counter.seq > counter.first else 0
            last = counter.seq if first else 0
            action = self._action
            (salt, detail_salt), root = audit.new_salts(2), audit.merkle_root(counter.digests)
            detail = audit.encode_detail(counter.detail)
            actor = counter.actor or self._actor
            sealed = audit.seal(salt, actor, detail_salt, detail)
            chain = audit.sealed_link(counter.chain, counter.number, number, action, first, last, at, sealed, root)
            row = (counter.number, number, actor, action, first, last, at, salt, root, chain, sealed)
            self._statements.insert(self._connection, schema.batches, _BATCH, [row])
            if detail is not None:
                told = (counter.number, number, detail_salt, detail)
                self._statements.insert(self._connection, schema.details, _DETAIL, [told])
            self._written = (counter, number, chain)
            self.entries[counter.number] = number
            self._statements.run_each(
                self._connection,
                "move counter",
                lambda: (
                    update(schema.cubes)
                    .where(c.cube == bindparam("of_cube"))
                    .values(
                        seq=bindparam("to_seq"),
                        batches=bindparam("to_batches"),
                        chain=bindparam("to_chain"),
                        changed=bindparam("to_changed"),
                    )
                ),
                [
                    {
                        "of_cube": counter.number,
                        "to_seq": counter.seq,
                        "to_batches": number,
                        "to_chain": chain,
                        "to_changed": at,
                    }
                ],
            )

    def kept(self, connection: Connection) -> bool:
        """Whether this transaction was committed, asked over another connection after its own was lost.

        Locking the cube waits until the server has done with it; then its audit entry is there, or it is not.
        """
        if self._written is None:  # it wrote nothing, but may have ended jobs
            jobs = JobRows(connection, self._statements, self._database, self._at).get([e.job.id for e in self._ended])
            return all(
                job.state == "done" and job.fence == each.job.fence
                for each in self._ended
                if (job := jobs.get(each.job.id))
            )
        cube, number, chain = self._written
        self._database.lock(connection, f"cube {cube.name}")  # it may have been made by this very transaction
        c, b = schema.cubes.c, schema.batches.c
        connection.execute(select(c.cube).where(c.cube == cube.number).with_for_update())
        return connection.execute(select(b.hash).where(b.cube == cube.number, b.number == number)).scalar() == chain


def vector_row(place: int, vectors: VectorBlobs) -> tuple[Any, ...]:
    """A row of `vectors`, with the checksum that `verify` compares."""
    return (place, vector_crc(vectors.dense, vectors.tokens), vectors.dense, vectors.tokens)


def vector_crc(dense: bytes, tokens: bytes | None) -> int:
    """CRC-32 over all vectors of a version."""
    return zlib.crc32(tokens or b"", zlib.crc32(dense))


def decode_body(encoded: str) -> Body:
    """A version's body from its JSON.

    Raises:
        StoreDamaged: it is not what was written.
    """
    try:
        return _decoder.decode(encoded)
    except msgspec.MsgspecError as error:
        raise StoreDamaged(
            f"a version's body is not what was written ({error}); run `memos verify`, restore this store from a backup"
        ) from error


_decoder = msgspec.json.Decoder(Body)
