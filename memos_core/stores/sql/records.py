"""SqlStore: the RecordStore on a relational database. The same statements drive SQLite and PostgreSQL."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Connection, Select, bindparam, func, select
from sqlalchemy.sql.elements import ColumnElement

from memos_core.errors import ItemNotFound, StoreDamaged, StoreError, VersionNotFound
from memos_core.events import event
from memos_core.protocols.storage import Finish
from memos_core.stores.sql import audit, checks, erasing, grants, holds, migrations, schema, signed, staging
from memos_core.stores.sql.changes import WriteTransaction, decode_body, vector_crc, vector_row
from memos_core.stores.sql.copying import SqlFilling, SqlSnapshot
from memos_core.stores.sql.databases import SqlDatabase
from memos_core.stores.sql.erasing_plan import Finder, held
from memos_core.stores.sql.jobs import SqlJobs
from memos_core.stores.sql.lookups import cube_row, heads_by, times, whole_numbers
from memos_core.stores.sql.room import Room
from memos_core.stores.sql.schema import cube_of, position, seq_of
from memos_core.stores.sql.spans import Piece, Spans, own_spans, spans_of
from memos_core.stores.sql.statements import MEMBERS_AT_ONCE, Statement, Statements
from memos_core.stores.sql.uses import SqlUses
from memos_core.types.access import Grant, Right
from memos_core.types.erasure import Erasing, ErasurePlan, ErasureRecord, Hold
from memos_core.types.items import LifecycleState
from memos_core.types.work import (
    AuditEntry,
    Body,
    ChainCheck,
    ChainEnd,
    Checkpoint,
    CubeRow,
    Head,
    Record,
    VectorBlobs,
    from_micros,
    micros,
    utc_now,
)

_v, _i, _b = schema.versions.c, schema.items.c, schema.batches.c
_SLICE = 2000
STAGED = "staged_embedder"  # setting: whose vectors are being staged
MOVING = "moving_from"  # setting: of a store that is being filled by `memos migrate`, and not done yet
_P = ParamSpec("_P")
_R = TypeVar("_R")


def _repeatable(
    read: Callable[Concatenate[SqlStore, _P], _R],
) -> Callable[Concatenate[SqlStore, _P], _R]:
    """A read that is tried again while the database is away for a moment. Doing it twice does no harm."""

    @wraps(read)
    def again(store: SqlStore, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return store._database.repeated(lambda: read(store, *args, **kwargs))

    return again


class SqlStore:
    """The truth. Every method is one transaction and may be called from any thread.

    Args:
        database: an open database; its schema is brought up to date.
        now: the clock (aware, UTC); tests pass their own.
        moving: open it even if it is being filled by `memos migrate`, and not done yet.

    Raises:
        NewerSchema, ForeignStore: the database is not one that this version can use.
        StoreError: it is being filled by `memos migrate`.
    """

    def __init__(self, database: SqlDatabase, *, now: Callable[[], datetime] = utc_now, moving: bool = False) -> None:
        self._database = database
        self._now = now
        self._statements = Statements(database)
        self._threads = threading.local()
        self.jobs = SqlJobs(database, self._statements, now)
        self._written: Callable[[Mapping[int, int]], None] | None = None
        self._forked: dict[tuple[int, int, int, int], Spans] = {}  # of forks, as they were found
        self._room = Room()
        self.uses = SqlUses(database, self._statements)
        with database.reading() as connection:
            current = migrations.applied(connection) is not None and not migrations.pending(connection)
        if not current:
            with database.writing(alone=True) as connection:
                migrations.upgrade(connection)
                if connection.execute(select(schema.store.c.value).where(schema.store.c.key == "id")).first() is None:
                    connection.execute(schema.store.insert().values(key="id", value=uuid.uuid4().hex))
        self.id = self.setting("id") or ""
        database.belongs_to(self.id)
        if not moving and self.setting(MOVING) is not None:
            raise StoreError(
                f"{self.name}: a store is being moved here and not all of it has arrived; finish it with `memos migrate`"
            )

    @property
    def name(self) -> str:
        """Where the store is, for messages."""
        return self._database.name

    @property
    def database(self) -> SqlDatabase:
        """What the tables are in."""
        return self._database

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def change_token(self) -> int:
        """Differs from the last one exactly when somebody has committed since; takes microseconds."""
        return self._database.change_token()

    def rules_token(self) -> int:
        """Differs from the last one wherever cubes, grants or settings may have changed since; takes microseconds."""
        return self._database.rules_token()

    def lineage(self) -> int:
        """Differs from the last one where what was read before may be gone: another server, an older copy."""
        return self._database.lineage()

    def operation(self) -> AbstractContextManager[None]:
        """Inside, `change_token` goes by what had been committed when the block began, and by this process's commits."""
        return self._database.operation()

    # -- settings -----------------------------------------------------------------------------------------------------

    @_repeatable
    def setting(self, key: str) -> str | None:
        """A setting of the store, or None."""
        with self._database.asking() as connection:
            row = self._statements.run(
                connection,
                "setting",
                lambda: select(schema.store.c.value).where(schema.store.c.key == bindparam("key")),
                {"key": key},
            ).first()
            return None if row is None else str(row[0])

    def put_setting(self, key: str, value: str, *, expect: str | None = None) -> bool:
        """Set a setting if it is still as expected (None: not set at all); whether it was."""
        with self._database.writing(alone=True) as connection:
            row = connection.execute(select(schema.store.c.value).where(schema.store.c.key == key)).first()
            if (None if row is None else row[0]) != expect:
                return False
            connection.execute(schema.store.delete().where(schema.store.c.key == key))
            connection.execute(schema.store.insert().values(key=key, value=value))
            return True

    # -- cubes ----------------------------------------------------------------------------------------------------

    @_repeatable
    def cubes(self) -> list[CubeRow]:
        """All cubes, by name."""
        with self._database.asking() as connection:
            rows = connection.execute(select(schema.cubes).order_by(schema.cubes.c.name)).mappings()
            return [cube_row(row) for row in rows]

    @_repeatable
    def cube(self, name: str) -> CubeRow | None:
        """The cube of that name as it stands, or None."""
        c = schema.cubes.c
        with self._database.asking() as connection:
            rows = self._statements.run(
                connection,
                "cube",
                lambda: select(schema.cubes).where(c.name == bindparam("name")),
                {"name": name},
            ).by_name()
            return cube_row(rows[0]) if rows else None

    @_repeatable
    def head_seq(self, cube: CubeRow) -> int:
        """Number of the cube's newest change; 0 before the first."""
        c = schema.cubes.c
        with self._database.asking() as connection:
            seq: Any = self._statements.run(
                connection,
                "head seq",
                lambda: select(c.seq).where(c.cube == bindparam("cube")),
                {"cube": cube.number},
            ).value()
            if not whole_numbers(seq):
                raise StoreDamaged(
                    f"{self.name}: cube {cube.name!r} is not there any more; restore this store from a backup"
                )
            return int(seq)

    @_repeatable
    def reached(self, cube: CubeRow) -> tuple[int, int]:
        """Numbers of the cube's newest change, and of the newest one that erased bytes of earlier ones."""
        c = schema.cubes.c
        with self._database.asking() as connection:
            row = self._statements.run(
                connection,
                "reached",
                lambda: select(c.seq, c.erased).where(c.cube == bindparam("cube")),
                {"cube": cube.number},
            ).first()
        if row is None or not whole_numbers(*row):
            raise StoreDamaged(
                f"{self.name}: cube {cube.name!r} is not there any more; restore this store from a backup"
            )
        return row[0], row[1]

    @_repeatable
    def seq_at(self, cube: CubeRow, moment: datetime) -> int:
        """Number of the newest change that was committed at or before a moment; 0 where there was none."""
        spans = self._spans(cube)
        with self._database.asking() as connection:
            for base, end in zip(reversed(spans.bases), reversed(spans.ends), strict=True):
                query = select(func.max(_b.last_seq)).where(_b.cube == cube_of(base), _b.at <= micros(moment))
                found = int(connection.execute(query).scalar() or 0)
                if found:  # a fork's own changes come after all that it shares
                    return min(found, end)
            return 0

    def _spans(self, cube: CubeRow) -> Spans:
        """Where the changes of a cube lie. That never changes, and is asked once."""
        if not cube.base_seq:
            return own_spans(cube.number)
        key = (self._database.lineage(), cube.number, cube.base, cube.base_seq)
        found = self._forked.get(key)
        if found is None:
            with self._database.asking() as connection:
                found = self._forked[key] = spans_of(connection, self._statements, cube)
        return found

    @_repeatable
    def time_of(self, cube: CubeRow, seq: int) -> datetime:
        """When a change was committed; of change 0 when the cube was made.

        Raises:
            VersionNotFound: there is no such change.
        """
        if not seq:
            return cube.created_at
        place = self._spans(cube).place(seq)
        with self._database.asking() as connection:
            query = (
                select(_b.at)
                .select_from(schema.versions)
                .join(schema.batches, (_b.number >= _v.batch) & (_b.cube == cube_of(place)))
                .where(_v.place == place, _b.last_seq >= seq)
                .order_by(_b.number)  # what brings vectors names the entry of the version that it repeats
                .limit(1)
            )
            found = connection.execute(query).scalar()
        if found is None:
            raise VersionNotFound(f"cube {cube.name!r} has had no change {seq}")
        return from_micros(int(found))

    @_repeatable
    def counts(self, cube: CubeRow) -> dict[str, int]:
        """How many items, deleted items, versions, vectors and audit entries the cube has."""
        spans = self._spans(cube)
        with self._database.reading() as connection:

            def count(query: Select[Any]) -> int:
                return int(connection.execute(query).scalar_one())

            counted = select(func.count())
            return {
                "items": count(counted.where(_i.cube == cube.number, _i.deleted == 0)),
                "deleted": count(counted.where(_i.cube == cube.number, _i.deleted == 1)),
                "versions": count(counted.where(spans.within(_v.place, 0))),
                "vectors": count(counted.where(spans.within(schema.vectors.c.place, 0))),
                "audit_entries": count(counted.where(_b.cube == cube.number)),
            }

    # -- items ----------------------------------------------------------------------------------------------------

    @_repeatable
    def heads(self, cube: CubeRow, ids: Sequence[str]) -> dict[str, Head]:
        """Where these items stand now, by id; ids that the cube has never had are left out."""
        with self._looking(ids) as connection:
            return heads_by(connection, self._statements, cube.number, "id", ids)

    @_repeatable
    def heads_by_key(self, cube: CubeRow, keys: Sequence[str]) -> dict[str, Head]:
        """Where the items that bear these keys stand now, by key."""
        with self._looking(keys) as connection:
            return heads_by(connection, self._statements, cube.number, "key", keys)

    def heads_by_dedup(self, cube: CubeRow, identities: Sequence[int]) -> dict[int, Head]:
        """Where the items read from these messages or spans stand now, by 64-bit identity."""
        with self._database.reading() as connection:
            return heads_by(connection, self._statements, cube.number, "dedup", identities)

    @_repeatable
    def records(self, cube: CubeRow, seqs: Sequence[int]) -> dict[int, Record]:
        """The versions that these changes made, by number, ascending; digests are checked.

        Raises:
            StoreDamaged: a row is not what was written, or not there.
        """
        places = self._spans(cube).places(seqs)
        with self._looking(seqs) as connection:
            rows = self._statements.run_list(
                connection, "records", lambda members: _select_records(_v.place.in_(members)), places
            )
            found = {record.seq: record for record in (self._record(cube, row) for row in rows)}
        for seq in seqs:
            if seq not in found:
                raise StoreDamaged(
                    f"{self.name}: cube {cube.name!r} has lost change {seq}; run `memos verify`, restore this store from a "
                    "backup"
                )
        return dict(sorted(found.items()))

    @_repeatable
    def history(self, cube: CubeRow, head: Head) -> list[Record]:
        """All versions of an item up to its head, oldest first."""
        found: list[Record] = []
        seq = head.seq
        while seq:
            record = self.records(cube, [seq])[seq]
            found.append(record)
            seq = record.prev
        return found[::-1]

    @_repeatable
    def at(self, cube: CubeRow, head: Head, as_of: int) -> Record:
        """The version of an item that was current after change `as_of`.

        Raises:
            ItemNotFound: it did not exist then.
        """
        seq = head.seq
        while seq:
            record = self.records(cube, [seq])[seq]
            if seq <= as_of:
                return record
            seq = record.prev
        raise ItemNotFound(f"cube {cube.name!r} had no item {head.id!r} after change {as_of}")

    @_repeatable
    def digest(self, cube: CubeRow, seq: int) -> str:
        """What the truth says change `seq` was, as hexadecimal digits; "" where there is no such change."""
        spans = self._spans(cube)
        with self._database.asking() as connection:
            query = select(_v.digest).where(_v.place == spans.place(seq))
            found = connection.execute(query).scalar()
            return found.hex() if found is not None else ""

    @_repeatable
    def texts(self, cube: CubeRow, seqs: Sequence[int]) -> dict[int, str]:
        """Only the texts of these changes, by number; deletions are left out."""
        places = self._spans(cube).places(seqs)
        with self._looking(seqs) as connection:
            rows = self._statements.run_list(
                connection,
                "texts",
                lambda members: select(_v.place, _v.text).where(_v.place.in_(members), _v.text.is_not(None)),
                places,
            )
            return {seq_of(row[0]): row[1] for row in rows}

    def bodies(self, cube: CubeRow, after: int, until: int) -> Iterator[tuple[int, str, int, str, Body]]:
        """(change, id, version, state, body) of the changes after one number up to another; deletions are left out."""
        for base, low, high in self._slices(cube, after, until):
            for place, id_, version, state, body in self._rows(
                "bodies",
                lambda: (
                    select(_v.place, _i.id, _v.version, _v.state, _v.body)
                    .select_from(schema.versions)
                    .join(schema.items, _i.item == _v.item)
                    .where(_v.place > bindparam("low"), _v.place <= bindparam("high"), _v.body.is_not(None))
                    .order_by(_v.place)
                ),
                {"low": base + low, "high": base + high},
            ):
                if state not in _STATES:
                    raise self._altered(cube, id_, version)
                yield seq_of(place), id_, version, state, decode_body(body)

    def _slices(self, cube: CubeRow, after: int, until: int) -> Iterator[Piece]:
        """The stretches of a cube's log that hold these changes, each short enough to be read at once."""
        for base, low, high in self._spans(cube).pieces(after, until):
            for start in range(low, high, _SLICE):
                yield Piece(base, start, min(start + _SLICE, high))

    @_repeatable
    def _rows(self, key: str, build: Callable[[], Statement], values: dict[str, Any]) -> Sequence[Any]:
        """All rows of one statement."""
        with self._database.asking() as connection:
            return self._statements.run(connection, key, build, values).rows

    def _looking(self, members: Sequence[object]) -> AbstractContextManager[Connection]:
        """A connection to look so many things up at one moment."""
        return self._database.asking() if len(members) <= MEMBERS_AT_ONCE else self._database.reading()

    @_repeatable
    def vectors(self, cube: CubeRow, seqs: Sequence[int]) -> dict[int, VectorBlobs]:
        """Vectors stored by these changes, by number; changes without any are left out."""
        c = schema.vectors.c
        places = self._spans(cube).places(seqs)
        with self._looking(seqs) as connection:
            rows = self._statements.run_list(
                connection,
                "vectors",
                lambda members: select(c.place, c.dense, c.tokens).where(c.place.in_(members)),
                places,
            )
            return {seq_of(row[0]): VectorBlobs(row[1], row[2]) for row in rows}

    @_repeatable
    def dense_vectors(self, cube: CubeRow, seqs: Sequence[int]) -> dict[int, bytes]:
        """Only the float32 vectors stored by these changes, by number: what exact rescoring reads."""
        c = schema.vectors.c
        places = self._spans(cube).places(seqs)
        with self._looking(seqs) as connection:
            rows = self._statements.run_list(
                connection,
                "dense vectors",
                lambda members: select(c.place, c.dense).where(c.place.in_(members)),
                places,
            )
            return {seq_of(row[0]): row[1] for row in rows}

    def changes(
        self, cube: CubeRow, after: int, until: int | None = None
    ) -> Iterator[list[tuple[Record, VectorBlobs | None]]]:
        """The change log: versions with the vectors that hold for them, in order, in slices.

        Args:
            after: number of the last change already known.
            until: last number wanted; None for all there are when the call is made.
        """
        if until is None:
            until = self.head_seq(cube)
        x = schema.vectors.c
        for base, low, high in self._slices(cube, after, until):
            rows = self._rows(
                "changes",
                lambda: (
                    _select_records(_v.place > bindparam("low"), _v.place <= bindparam("high"))
                    .add_columns(x.crc, x.dense, x.tokens)
                    .outerjoin(schema.vectors, (x.place == _v.vectors_of + bindparam("base")) & (_v.vectors_of > 0))
                    .order_by(_v.place)
                ),
                {"low": base + low, "high": base + high, "base": base},
            )
            if len(rows) != high - low:
                raise StoreDamaged(
                    f"{self.name}: cube {cube.name!r} should have changes {low + 1} to {high}, "
                    f"but only {len(rows)} are there"
                )
            if cube.base_seq:
                rows = self._with_shared_vectors(cube, rows)
            yield [(self._record(cube, row), self._vectors(cube, row)) for row in rows]

    @_repeatable
    def _with_shared_vectors(self, cube: CubeRow, rows: Sequence[Any]) -> Sequence[Any]:
        """The rows of a fork's changes, with the vectors of those that go on using some of the cube it was forked from."""
        x = schema.vectors.c
        lacking = [row for row in rows if row[-2] is None and 0 < row[7] <= cube.base_seq]
        if not lacking:
            return rows
        places = self._spans(cube).places([row[7] for row in lacking])
        with self._looking(places) as connection:
            found = self._statements.run_list(
                connection,
                "shared vectors",
                lambda members: select(x.place, x.crc, x.dense, x.tokens).where(x.place.in_(members)),
                places,
            )
            shared = {seq_of(row[0]): row[1:] for row in found}
        own = {row[0]: (*row[:-3], *shared[row[7]]) for row in lacking if row[7] in shared}
        return [own.get(row[0], row) for row in rows]

    def _vectors(self, cube: CubeRow, row: Sequence[Any]) -> VectorBlobs | None:
        crc, dense, tokens = row[-3:]
        if crc is None and dense is None:
            return None
        if dense is None or vector_crc(dense, tokens) != crc:
            raise StoreDamaged(
                f"{self.name}: the vectors of change {row[7]} in cube {cube.name!r} are not what was written (their checksum "
                "differs); run `memos verify`, make all vectors anew with `memos reembed` or restore this store from a backup"
            )
        return VectorBlobs(dense, tokens)

    def _record(self, cube: CubeRow, row: Sequence[Any]) -> Record:
        (
            place,
            item,
            id_,
            version,
            op,
            prev,
            state,
            vectors_of,
            text,
            body,
            salt,
            digest,
            actor,
            action,
            at,
            created,
            head,
            deleted,
        ) = row[:18]
        try:
            header = audit.header_of(id_, version, op, state, prev)
            if salt is None and text is None and body is None:  # erased: a later change says so (`memos verify` looks)
                written = bool(deleted) or seq_of(place) != head
            else:
                written = salt is not None and digest == audit.digest(salt, header, text, body)
        except TypeError:  # a page that has rotted may give a number where a text was
            written = False
        if not written or not whole_numbers(item, vectors_of) or not times(at, created):
            raise self._altered(cube, id_, version)
        return Record(
            cube=cube.name,
            seq=seq_of(place),
            item=item if not cube.base_seq else position(cube.number, seq_of(item)),
            id=id_,
            version=version,
            op=op,
            prev=prev,
            state=_STATES[state],
            vectors_of=vectors_of,
            text=text,
            body=None if body is None else decode_body(body),
            actor=actor or "",
            action=action,
            at=at,
            created=created,
        )

    def _altered(self, cube: CubeRow, id: str, version: int) -> StoreDamaged:
        return StoreDamaged(
            f"{self.name}: version {version} of item {id!r} in cube {cube.name!r} is not what was written (its digest differs); "
            "run `memos verify`, restore this store from a backup"
        )

    # -- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def begin(self, *, actor: str, action: str) -> Iterator[WriteTransaction]:
        """One transaction over any number of cubes: all of it is kept, with its audit entries, or nothing."""
        made: list[WriteTransaction] = []

        def kept(other: Connection) -> bool:
            return made[0].kept(other)

        writing = self._database.writing(kept=kept, same_rules=lambda: not made[0].rules_changed)
        with self._database.operation(anew=True), writing as connection, self._inside():
            at = micros(self._now())
            transaction = WriteTransaction(
                connection, self._statements, self._database, actor=actor, action=action, at=at, room=self._room
            )
            made.append(transaction)
            yield transaction
            transaction.finish()
        if made[0].filed:
            self.jobs.news.set()
        if self._written is not None and made[0].entries:
            self._written(made[0].entries)

    @property
    def writing(self) -> bool:
        """Whether this thread is inside of a transaction of this object."""
        return bool(getattr(self._threads, "writing", False))

    @contextmanager
    def _inside(self) -> Iterator[None]:
        self._threads.writing = True
        try:
            yield
        finally:
            self._threads.writing = False

    # -- grants ---------------------------------------------------------------------------------------------------

    @_repeatable
    def grants(self, cube: CubeRow) -> list[Grant]:
        """All grants on the cube, by grantee."""
        with self._database.asking() as connection:
            return grants.grants_on(connection, self._statements, cube.number, cube.name)

    def share(
        self,
        cube: CubeRow,
        grantee: str,
        rights: frozenset[Right],
        *,
        by: str,
        until: datetime | None = None,
        reason: str | None = None,
    ) -> None:
        """Set the rights of a grantee on the cube; an empty set takes them away. Audited in the same transaction.

        Args:
            until: when they end; None for never.
            reason: why `by` may, for the audit.
        """
        with self.begin(actor=by, action="share" if rights else "unshare") as transaction:
            locked = transaction.cube(cube.name)
            if locked is not None:
                transaction.grant(locked, grantee, rights, until)
                if reason is not None:
                    transaction.note(locked, by=reason)

    # -- vectors of another embedder ------------------------------------------------------------------------------

    def stage(self, identity: str) -> tuple[int, int]:
        """Begin (or go on) to stage vectors of an embedder: how many versions take them, and how many have them staged."""
        with self._database.writing(alone=True) as connection:
            staging.prepare(connection, identity, STAGED)
            return staging.count(connection)

    @_repeatable
    def unstaged(self, identity: str, after: int, limit: int) -> tuple[list[tuple[int, str, Body]], int | None]:
        """Versions behind a place without staged vectors: (place, text, body), and how far was looked (None: the end).

        Raises:
            Conflict: vectors of another embedder are being staged, or those of this one are in place.
        """
        with self._database.reading() as connection:
            staging.confirm(connection, identity, STAGED)
            return staging.missing(connection, after, limit)

    def put_staged(self, identity: str, rows: Sequence[tuple[int, VectorBlobs]]) -> None:
        """Stage vectors of the versions at these places; raises as `unstaged` does."""
        with self._database.writing() as connection:
            self._database.lock(connection, "staging")
            staging.confirm(connection, identity, STAGED)
            staging.put(connection, self._statements, [vector_row(place, blobs) for place, blobs in rows])

    def switch_vectors(self, identity: str, key: str, value: str, finish: Finish | None = None) -> bool:
        """Put staged vectors in the place of the old ones, and set a setting, in one transaction.

        Args:
            identity: of the embedder; "" removes all vectors instead.
            key, value: the setting that says whose vectors they are.
            finish: makes vectors of versions (place, text, body) that have come in meanwhile, while everybody waits.

        Returns:
            Whether it was done; without `finish`, not if versions without staged vectors have come in meanwhile.

        Raises:
            Conflict: as for `unstaged`.
        """
        with self._database.writing(alone=True) as connection:
            if identity:
                staging.confirm(connection, identity, STAGED)
                after: int | None = 0
                while after is not None:
                    missing, after = staging.missing(connection, after, _SLICE)
                    if missing and finish is None:
                        return False
                    if missing and finish is not None:
                        made = zip(missing, finish(missing), strict=True)
                        rows = [vector_row(place, blobs) for (place, _, _), blobs in made]
                        staging.put(connection, self._statements, rows)
                staging.switch(connection)
            else:
                staging.remove(connection)
            c = schema.store.c
            connection.execute(schema.store.delete().where(c.key.in_([key, STAGED])))
            connection.execute(schema.store.insert().values(key=key, value=value))
            return True

    # -- audit and checks -----------------------------------------------------------------------------------------

    @_repeatable
    def audit(self, cube: CubeRow, after: int = 0) -> list[AuditEntry]:
        """Entries of the cube's audit chain after a number, oldest first."""
        with self._database.reading() as connection:
            return [entry for entry, _ in audit.entries(connection, cube.number, cube.name, after)]

    @_repeatable
    def check(self, cube: CubeRow, dims: int | None) -> list[str]:
        """Every way in which the cube's rows contradict each other, as sentences; nothing when all is well.

        Args:
            dims: length of the store's vectors; None where it has no embedder.
        """
        with self._database.reading() as connection:
            row = connection.execute(select(schema.cubes.c.seq).where(schema.cubes.c.cube == cube.number)).scalar()
            if not whole_numbers(row):
                return [f"the cube's row is gone or was altered: its number of changes is {row!r}"]
            cube = msgspec.structs.replace(cube, seq=row)
            try:
                spans = spans_of(connection, self._statements, cube)
            except StoreDamaged as error:
                return [str(error)]
            return list(checks.check_all(connection, cube, spans, dims))

    @_repeatable
    def check_audit(self, cube: CubeRow) -> ChainCheck:
        """Whether the cube's audit chain, and the versions that it covers, are what was written."""
        with self._database.reading() as connection:
            row = connection.execute(select(schema.cubes.c.seq).where(schema.cubes.c.cube == cube.number)).scalar()
            if not whole_numbers(row):
                return ChainCheck([f"the cube's row is gone or was altered: its number of changes is {row!r}"], [], 0)
            try:
                spans = spans_of(connection, self._statements, cube)
            except StoreDamaged as error:
                return ChainCheck([str(error)], [], 0)
            return checks.check_audit(connection, msgspec.structs.replace(cube, seq=row), spans)

    @_repeatable
    def chain_ends(self) -> list[ChainEnd]:
        """The newest audit entry of every cube whose newest one is not signed, by number of the cube."""
        with self._database.asking() as connection:
            return signed.chain_ends(connection)

    @_repeatable
    def chain_hashes(self, cube: int, numbers: Sequence[int]) -> dict[int, bytes]:
        """Hashes of these entries of a cube's chain, by number; those that there are not are left out."""
        with self._looking(numbers) as connection:
            rows = self._statements.run_list(
                connection,
                "chain hashes",
                lambda members: select(_b.number, _b.hash).where(_b.cube == bindparam("cube"), _b.number.in_(members)),
                numbers,
                {"cube": cube},
            )
            return {row[0]: row[1] for row in rows}

    @_repeatable
    def checkpoints(self) -> list[Checkpoint]:
        """All signed checkpoints, by cube and number."""
        with self._database.asking() as connection:
            return signed.all_checkpoints(connection, self.id)

    def put_checkpoints(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Keep signed checkpoints. Of two of the same entry the later one is kept."""
        with self._database.writing() as connection:
            signed.put(connection, checkpoints)

    def watch(self, written: Callable[[Mapping[int, int]], None] | None) -> None:
        """Have this called after each commit of this object, with the numbers of the audit entries it wrote by cube."""
        self._written = written

    # -- erasing and legal holds ----------------------------------------------------------------------------------

    @_repeatable
    def plan_erasure(self, what: Erasing) -> ErasurePlan:
        """What erasing would take; nothing is changed."""
        with self._database.reading() as connection:
            return Finder(connection, self._statements, what).find().plan

    @_repeatable
    def check_erased(self, cube: CubeRow, ids: Collection[str] = ()) -> list[str]:
        """Every way in which rows of the cube hold what was erased, as sentences.

        Args:
            ids: of items that should have been erased.
        """
        with self._database.reading() as connection:
            return list(checks.check_erased(connection, cube, spans_of(connection, self._statements, cube), ids))

    @_repeatable
    def holds(self, cube: CubeRow) -> list[Hold]:
        """All legal holds on the cube, by target."""
        with self._database.asking() as connection:
            return holds.holds_on(connection, cube)

    @_repeatable
    def held(self, cube: CubeRow, ids: Sequence[str]) -> dict[str, str]:
        """Those of these items that a legal hold covers, with a sentence that says so: they may not be deleted."""
        with self._database.reading() as connection:
            return held(connection, self._statements, cube, ids)

    @_repeatable
    def erasures(self) -> ErasureRecord:
        """What the store remembers of its erasures."""
        with self._database.asking() as connection:
            return erasing.read_record(connection)

    def finish_erasures(self, record: ErasureRecord) -> bool:
        """Remember that files have been cleaned after all erasures up to this one; whether there was none since."""
        with self._database.writing(alone=True) as connection:
            if erasing.read_record(connection) != record:
                return False
            erasing.put_record(connection, msgspec.structs.replace(record, unfinished=()))
            return True

    def everything_said(self) -> Iterator[str]:
        """What versions say that were not erased (texts, and bodies as JSON), and every name that is there."""
        with self._database.reading() as connection:
            yield from erasing.everything_said(connection)

    @_repeatable
    def vectors_of_others(self, blobs: Collection[bytes]) -> set[bytes]:
        """Those of these vectors that something which was not erased has too."""
        with self._database.reading() as connection:
            return erasing.vectors_of_others(connection, blobs)

    @_repeatable
    def copies_of(
        self, identities: Collection[int], words: Collection[str], without: Collection[int]
    ) -> dict[int, list[str]]:
        """Ids of items that were read from the same messages or say the same words, by number of the cube.

        Args:
            identities: as `Put.dedup`.
            words: whole texts.
            without: numbers of cubes that do not count.
        """
        with self._database.reading() as connection:
            return erasing.copies_of(connection, identities, words, without)

    # -- copies and upkeep ----------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[SqlSnapshot]:
        """One moment of the whole store, to be copied while others go on."""
        with self._database.reading() as connection:
            yield SqlSnapshot(connection, self._statements, self.name, without=[STAGED])

    @contextmanager
    def filling(self) -> Iterator[SqlFilling]:
        """One transaction that fills this store with a copy of another; raises AlreadyExists where it is not empty."""
        with self._database.writing(alone=True) as connection:
            filling = SqlFilling(connection, self._statements, self.name)
            yield filling
            self._database.numbers_taken(connection)
        self.id = filling.id or self.id
        self._database.belongs_to(self.id)

    def facts(self) -> dict[str, str | int]:
        """What the database says of itself: name and version, bytes on disk, settings that matter."""
        return self._database.facts()

    def vacuum(self, *, whole: bool = False) -> list[str]:
        """Give space that nothing uses back to the disk; raises StoreBusy or StoreFull where that cannot be.

        Args:
            whole: write all of it anew, so that nothing is left of what was erased, however long that takes.

        Returns:
            What may be left, and what to do about it; only of what was to be written anew.
        """
        with event("memos.vacuum", store=self.id):
            return self._database.vacuum(whole=whole)


_STATES = {str(state): state for state in LifecycleState}


def _select_records(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            _v.place,
            _v.item,
            _i.id,
            _v.version,
            _v.op,
            _v.prev,
            _v.state,
            _v.vectors_of,
            _v.text,
            _v.body,
            _v.salt,
            _v.digest,
            _b.actor,
            _b.action,
            _b.at,
            _i.created,
            _i.head,
            _i.deleted,
        )
        .select_from(schema.versions)
        .join(schema.items, _i.item == _v.item)
        .join(schema.batches, (_b.cube == _i.cube) & (_b.number == _v.batch))
        .where(*conditions)
    )
