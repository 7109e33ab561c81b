"""Copying the truth: one moment of a whole database read in slices, and an empty database filled with such a copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, TableClause, bindparam, delete, func, select, update

from memos_core.errors import AlreadyExists, StoreDamaged
from memos_core.stores.sql import audit, checks, forking, schema
from memos_core.stores.sql.changes import VECTOR_COLUMNS, decode_body, vector_crc, vector_row
from memos_core.stores.sql.lookups import cube_row
from memos_core.stores.sql.schema import position, seq_of
from memos_core.stores.sql.spans import spans_of
from memos_core.stores.sql.statements import Statements
from memos_core.types.copies import (
    ChangeCopy,
    CheckpointCopy,
    ConversationCopy,
    CubeCopy,
    EntryCopy,
    GrantCopy,
    HoldCopy,
    JobCopy,
)
from memos_core.types.work import VectorBlobs

_v, _i, _x = schema.versions.c, schema.items.c, schema.vectors.c
_SLICE = 2000
_JOB = (
    *("job", "kind", "key", "cube", "state", "priority", "attempts", "run_at", "payload", "error", "created"),
    *("lane", "waiting", "rank", "max_attempts", "every", "fence", "cancelling", "result", "started", "finished"),
)
_ENTRY = ("number", "actor", "action", "first_seq", "last_seq", "at", "salt", "root", "hash", "sealed")
_CHECKPOINT = ("number", "hash", "at", "after", "key", "signature")
_HOLD = ("target", "reason", "placed_by", "at")
_GRANT = ("grantee", "rights", "granted_by", "granted_at", "expires_at")
_ITEM = ("item", "cube", "id", "key", "head", "version", "deleted", "dedup", "created")
_VERSION = ("place", "item", "version", "op", "state", "prev", "batch", "vectors_of", "text", "body", "salt", "digest")
_CUBE = (
    *("cube", "name", "owner", "seq", "batches", "chain", "created", "changed"),
    *("base", "base_seq", "policy", "checkpointed", "erased"),
)
_LINK = ("cube", "item", "relation", "target", "weight")
_NAMES = {"entries": "batches", "number": "cube"}  # of a CubeCopy -> of the table
_T = TypeVar("_T")


class SqlSnapshot:
    """One moment of a database.

    Args:
        connection: inside a transaction that sees one moment.
        statements: compiled ones of this database.
        name: of the store, for messages.
        without: settings that are about work under way, and mean nothing in a copy.
    """

    def __init__(self, connection: Connection, statements: Statements, name: str, without: Sequence[str]) -> None:
        self._connection = connection
        self._statements = statements
        self._name = name
        rows = connection.execute(select(schema.store.c.key, schema.store.c.value)).fetchall()
        self.settings: dict[str, str] = {str(key): str(value) for key, value in rows if key not in without}
        columns = [schema.cubes.c[_NAMES.get(name, name)] for name in CubeCopy.__struct_fields__]
        found = connection.execute(select(*columns).order_by(schema.cubes.c.cube)).fetchall()
        self.cubes: list[CubeCopy] = [self._copied(CubeCopy, row) for row in found]

    def _copied(self, kind: type[_T], row: Sequence[Any]) -> _T:
        """A row as a value; a page that has rotted may give anything in the place of a number or a text."""
        try:
            return msgspec.convert(tuple(row), kind)
        except msgspec.ValidationError as error:
            raise StoreDamaged(
                f"{self._name}: a row holds something else than what was written ({error}); it is not copied. Run `memos "
                "verify`, restore an earlier backup"
            ) from error

    def changes(self, cube: CubeCopy, after: int) -> Iterator[list[ChangeCopy]]:
        """The cube's own changes behind a number, in order, in slices; every digest and checksum is compared.

        What a fork shares is copied with the cube that it was forked from.

        Raises:
            StoreDamaged: a row is missing, or not what was written.
        """
        base = position(cube.number, 0)
        after = max(after, cube.base_seq)
        while after < cube.seq:
            end = min(after + _SLICE, cube.seq)
            rows = self._statements.run(
                self._connection,
                "copy changes",
                lambda: (
                    select(
                        _v.place,
                        _v.item,
                        _i.id,
                        _v.version,
                        _v.op,
                        _v.state,
                        _v.prev,
                        _v.batch,
                        _v.vectors_of,
                        _i.dedup,
                        _v.text,
                        _v.body,
                        _v.salt,
                        _v.digest,
                        _x.dense,
                        _x.tokens,
                        _x.crc,
                    )
                    .select_from(schema.versions)
                    .join(schema.items, _i.item == _v.item)
                    .outerjoin(schema.vectors, _x.place == _v.place)
                    .where(_v.place > bindparam("low"), _v.place <= bindparam("high"))
                    .order_by(_v.place)
                ),
                {"low": base + after, "high": base + end},
            ).rows
            if len(rows) != end - after:
                raise StoreDamaged(
                    f"{self._name}: cube {cube.name!r} should have changes {after + 1} to {end}, but only {len(rows)} are "
                    "there; run `memos verify`"
                )
            yield [self._change(cube, row) for row in rows]
            after = end

    def _change(self, cube: CubeCopy, row: Sequence[Any]) -> ChangeCopy:
        place, item, id_, version, op, state, prev, batch, vectors_of, dedup, text, body, salt, digest = row[:14]
        dense, tokens, crc = row[14:]
        own = dedup if seq_of(place) == seq_of(item) else None
        facts = (op, state, prev, batch, vectors_of, own, text, body, salt, digest, dense, tokens)
        copied = self._copied(ChangeCopy, (seq_of(place), seq_of(item), id_, version, *facts))
        header = audit.header_of(id_, version, op, state, prev)
        # What was erased has no salt; that an erasure accounts for it is checked where all of it has arrived.
        gone = salt is None and text is None and body is None
        wrong = not gone and (salt is None or audit.digest(salt, header, text, body) != digest)
        if wrong or (dense is not None and vector_crc(dense, tokens) != crc):
            raise StoreDamaged(
                f"{self._name}: version {version} of item {id_!r} in cube {cube.name!r} is not what was written (its "
                f"{'digest' if wrong else 'vectors'} differ); it is not copied. Run `memos verify`, restore an earlier backup"
            )
        return copied

    def entries(self, cube: CubeCopy, after: int) -> Iterator[list[EntryCopy]]:
        """The cube's audit entries behind a number, in order, in slices; raises StoreDamaged where some are missing."""
        names = [*_ENTRY, "detail", "detail_salt"]
        while after < cube.entries:
            slice_ = audit.rows_of(cube.number, after + 1).where(schema.batches.c.number <= after + _SLICE)
            rows = [tuple(row[name] for name in names) for row in self._connection.execute(slice_).mappings()]
            end = min(after + _SLICE, cube.entries)
            if len(rows) != end - after:
                raise StoreDamaged(
                    f"{self._name}: cube {cube.name!r} should have audit entries {after + 1} to {end}, but only {len(rows)} are "
                    "there; run `memos verify`"
                )
            yield [self._copied(EntryCopy, row) for row in rows]
            after = end

    def entry_hash(self, cube: CubeCopy, number: int) -> bytes | None:
        """Hash of one entry of the cube's audit chain; None where there is no such entry."""
        c = schema.batches.c
        query = select(c.hash).where(c.cube == cube.number, c.number == number)
        found: bytes | None = self._connection.execute(query).scalar()
        return found

    def conversations(self, cube: CubeCopy) -> list[ConversationCopy]:
        """All conversations of the cube, by name."""
        c = schema.conversations.c
        query = select(c.name, c.next_position).where(c.cube == cube.number).order_by(c.name)
        return [self._copied(ConversationCopy, row) for row in self._connection.execute(query)]

    def grants(self, cube: CubeCopy) -> list[GrantCopy]:
        """All grants on the cube, by grantee."""
        c = schema.grants.c
        query = select(*(c[name] for name in _GRANT)).where(c.cube == cube.number).order_by(c.grantee)
        return [self._copied(GrantCopy, row) for row in self._connection.execute(query)]

    def holds(self, cube: CubeCopy) -> list[HoldCopy]:
        """All legal holds on the cube, by target."""
        c = schema.holds.c
        query = select(*(c[name] for name in _HOLD)).where(c.cube == cube.number).order_by(c.target)
        return [self._copied(HoldCopy, row) for row in self._connection.execute(query)]

    def checkpoints(self, cube: CubeCopy) -> list[CheckpointCopy]:
        """All signed checkpoints of the cube's audit chain, by number."""
        c = schema.checkpoints.c
        query = select(*(c[name] for name in _CHECKPOINT)).where(c.cube == cube.number).order_by(c.number)
        return [self._copied(CheckpointCopy, row) for row in self._connection.execute(query)]

    def jobs(self) -> list[JobCopy]:
        """All jobs of the store, by number."""
        c = schema.jobs.c
        query = select(*(c[name] for name in _JOB)).order_by(c.job)
        return [self._copied(JobCopy, row) for row in self._connection.execute(query)]


class SqlFilling:
    """An empty database being filled, in one transaction.

    Args:
        connection: inside a transaction that may write.
        statements: compiled ones of this database.
        name: of the store, for messages.

    Raises:
        AlreadyExists: there is something in it.
    """

    def __init__(self, connection: Connection, statements: Statements, name: str) -> None:
        self._connection = connection
        self._statements = statements
        self._name = name
        self.id = ""  # of the store that was copied, once all has been
        self._forks: dict[int, CubeCopy] = {}  # those whose shared items are not there yet
        cubes = int(connection.execute(select(func.count()).select_from(schema.cubes)).scalar_one())
        jobs = int(connection.execute(select(func.count()).select_from(schema.jobs)).scalar_one())
        if cubes or jobs:
            raise AlreadyExists(
                f"{name} is not empty: it has {cubes} cubes and {jobs} jobs; nothing is overwritten, choose an empty place"
            )

    def cube(self, cube: CubeCopy) -> None:
        """Make a cube, as it shall be in the end; its changes and entries follow."""
        row = msgspec.structs.astuple(cube)
        self._insert(schema.cubes, _CUBE, [row])
        if cube.base_seq:
            self._forks[cube.number] = cube

    def changes(self, cube: CubeCopy, rows: Sequence[ChangeCopy]) -> None:
        """Add changes of a cube, in order, behind those that are there; of a fork once those that it shares are there."""
        self._share_items(cube.number)
        base = position(cube.number, 0)
        newest = {row.first: row for row in rows}
        heads = {first: _head(base, cube.number, row) for first, row in newest.items()}
        new = {row.first: row for row in rows if row.seq == row.first}
        moved = [heads[first] for first in newest if first not in new]
        if moved:
            self._free_keys(moved)
        self._insert(schema.items, _ITEM, [_item(heads[first], row) for first, row in new.items()])
        self._move(moved)
        self._insert(schema.versions, _VERSION, [_version(base, row) for row in rows])
        vectors = [(base + row.seq, VectorBlobs(row.dense, row.tokens)) for row in rows if row.dense is not None]
        self._insert(schema.vectors, VECTOR_COLUMNS, [vector_row(place, blobs) for place, blobs in vectors])
        self._links(cube.number, base, newest)

    def _share_items(self, number: int) -> None:
        """Give a fork the items that it shares, as they stood when it was made."""
        cube = self._forks.pop(number, None)
        if cube is not None:
            self._share_items(cube.base)
            query = select(schema.cubes).where(schema.cubes.c.cube == cube.base)
            row = self._connection.execute(query).mappings().first()
            if row is None:
                raise StoreDamaged(f"{self._name}: cube {cube.name!r} was forked from one that was not copied")
            spans = spans_of(self._connection, self._statements, cube_row(row))
            forking.copy_items(self._connection, self._statements, spans, number, cube.base_seq)

    def _free_keys(self, moved: list[dict[str, Any]]) -> None:
        """Names move from item to item: all are freed before any is given."""
        c = schema.items.c
        statement = update(schema.items).where(c.item == bindparam("of_item")).values(key=None)
        self._connection.execute(statement, [{"of_item": head["of_item"]} for head in moved])

    def _move(self, moved: list[dict[str, Any]]) -> None:
        if not moved:
            return
        names: dict[str, Any] = {name: bindparam(f"to_{name}") for name in ("head", "version", "deleted", "key")}
        statement = update(schema.items).where(schema.items.c.item == bindparam("of_item")).values(**names)
        wanted = ("of_item", "to_head", "to_version", "to_deleted", "to_key")
        self._connection.execute(statement, [{name: head[name] for name in wanted} for head in moved])

    def _links(self, number: int, base: int, newest: Mapping[int, ChangeCopy]) -> None:
        """Links of the items as these changes leave them. Most items have none."""
        c = schema.links.c
        again = [{"in_cube": number, "of_item": base + first} for first, row in newest.items() if row.seq != row.first]
        if again:
            statement = delete(schema.links).where(c.cube == bindparam("in_cube"), c.item == bindparam("of_item"))
            self._connection.execute(statement, again)
        rows = [
            (number, base + first, link.relation, link.target, link.weight)
            for first, row in newest.items()
            if row.body is not None and '"links"' in row.body
            for link in decode_body(row.body).links
        ]
        self._insert(schema.links, _LINK, rows)

    def entries(self, cube: CubeCopy, rows: Sequence[EntryCopy]) -> None:
        """Add entries of a cube's audit chain. They come after the changes that they cover, and before `finish`."""
        facts = [msgspec.structs.astuple(row)[: len(_ENTRY)] for row in rows]
        self._insert(schema.batches, ("cube", *_ENTRY), [(cube.number, *row) for row in facts])
        told = [(cube.number, row.number, row.detail_salt, row.detail) for row in rows if row.detail is not None]
        self._insert(schema.details, ("cube", "number", "salt", "detail"), told)
        c = schema.items.c
        firsts = [
            {
                "low": position(cube.number, row.first_seq),
                "high": position(cube.number, row.last_seq),
                "made_at": row.at,
            }
            for row in rows
            if row.first_seq
        ]
        if firsts:
            statement = update(schema.items).where(c.item.between(bindparam("low"), bindparam("high")))
            self._connection.execute(statement.values(created=bindparam("made_at")), firsts)

    def conversations(self, cube: CubeCopy, rows: Sequence[ConversationCopy]) -> None:
        """Add the conversations of a cube."""
        columns = ("cube", *ConversationCopy.__struct_fields__)
        self._insert(schema.conversations, columns, [(cube.number, row.name, row.next_position) for row in rows])

    def grants(self, cube: CubeCopy, rows: Sequence[GrantCopy]) -> None:
        """Add the grants on a cube."""
        self._insert(schema.grants, ("cube", *_GRANT), [(cube.number, *msgspec.structs.astuple(row)) for row in rows])

    def holds(self, cube: CubeCopy, rows: Sequence[HoldCopy]) -> None:
        """Add the legal holds on a cube."""
        self._insert(schema.holds, ("cube", *_HOLD), [(cube.number, *msgspec.structs.astuple(row)) for row in rows])

    def checkpoints(self, cube: CubeCopy, rows: Sequence[CheckpointCopy]) -> None:
        """Add the signed checkpoints of a cube's audit chain."""
        columns = ("cube", *_CHECKPOINT)
        self._insert(schema.checkpoints, columns, [(cube.number, *msgspec.structs.astuple(row)) for row in rows])

    def jobs(self, rows: Sequence[JobCopy]) -> None:
        """Add jobs."""
        self._insert(schema.jobs, _JOB, [msgspec.structs.astuple(row) for row in rows])

    def finish(self, settings: Mapping[str, str], dims: int | None) -> None:
        """Set the settings, the store's own id among them, and read everything back: rows, vectors, audit chains.

        Args:
            settings: of the store that was copied.
            dims: length of its vectors; None where it has no embedder.

        Raises:
            StoreDamaged: something is not what was written there; nothing is kept.
        """
        self.id = settings["id"]
        self._connection.execute(delete(schema.store))
        self._insert(schema.store, ("key", "value"), list(settings.items()))
        for number in list(self._forks):
            self._share_items(number)
        rows = self._connection.execute(select(schema.cubes).order_by(schema.cubes.c.cube)).mappings().fetchall()
        for cube in map(cube_row, rows):
            if cube.base_seq:  # each after the one that it was forked from, whose number is lower
                forking.date_items(self._connection, cube.number, cube.base, cube.base_seq)
        for cube in map(cube_row, rows):
            spans = spans_of(self._connection, self._statements, cube)
            for wrong in checks.check_all(self._connection, cube, spans, dims):
                raise StoreDamaged(f"{self._name}: cube {cube.name!r} is not what was copied: {wrong}")

    def _insert(self, table: TableClause, columns: tuple[str, ...], rows: list[Any]) -> None:
        self._statements.insert(self._connection, table, columns, rows)


def _head(base: int, cube: int, row: ChangeCopy) -> dict[str, Any]:
    """Where an item stands after a change."""
    return {
        "of_item": base + row.first,
        "in_cube": cube,
        "to_head": row.seq,
        "to_version": row.version,
        "to_deleted": int(row.body is None),
        "to_key": decode_body(row.body).key if row.body is not None and '"key"' in row.body else None,
    }


def _item(head: dict[str, Any], row: ChangeCopy) -> tuple[Any, ...]:
    """The row of a new item; when it was made, its audit entry says later."""
    state = (head["to_head"], head["to_version"], head["to_deleted"], row.dedup, 0)
    return (head["of_item"], head["in_cube"], row.id, head["to_key"], *state)


def _version(base: int, row: ChangeCopy) -> tuple[Any, ...]:
    facts = (row.version, row.op, row.state, row.prev, row.entry, row.vectors_of, row.text, row.body)
    return (base + row.seq, base + row.first, *facts, row.salt, row.digest)
