"""SqlVersions: cubes, and the versions of their items, as they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.sql.elements import ColumnElement

from memos_core.errors import ItemNotFound, StoreDamaged, VersionNotFound
from memos_core.stores.sql import audit, schema
from memos_core.stores.sql.changes import decode_body, vector_crc
from memos_core.stores.sql.lookups import cube_row, heads_by, times, whole_numbers
from memos_core.stores.sql.schema import cube_of, position, seq_of
from memos_core.stores.sql.spans import Piece
from memos_core.stores.sql.statements import Statement
from memos_core.stores.sql.tables import SqlTables, repeatable
from memos_core.types.items import LifecycleState
from memos_core.types.work import (
    Body,
    CubeRow,
    Head,
    Record,
    VectorBlobs,
    from_micros,
    micros,
)

_v, _i, _b = schema.versions.c, schema.items.c, schema.batches.c
_SLICE = 2000


class SqlVersions(SqlTables):
    """What is read of cubes and items."""

    # -- cubes ----------------------------------------------------------------------------------------------------

    @repeatable
    def cubes(self) -> list[CubeRow]:
        """All cubes, by name."""
        with self._database.asking() as connection:
            rows = connection.execute(select(schema.cubes).order_by(schema.cubes.c.name)).mappings()
            return [cube_row(row) for row in rows]

    @repeatable
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

    @repeatable
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

    @repeatable
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

    @repeatable
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

    @repeatable
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

    @repeatable
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

    @repeatable
    def heads(self, cube: CubeRow, ids: Sequence[str]) -> dict[str, Head]:
        """Where these items stand now, by id; ids that the cube has never had are left out."""
        with self._looking(ids) as connection:
            return heads_by(connection, self._statements, cube.number, "id", ids)

    @repeatable
    def heads_by_key(self, cube: CubeRow, keys: Sequence[str]) -> dict[str, Head]:
        """Where the items that bear these keys stand now, by key."""
        with self._looking(keys) as connection:
            return heads_by(connection, self._statements, cube.number, "key", keys)

    def heads_by_dedup(self, cube: CubeRow, identities: Sequence[int]) -> dict[int, Head]:
        """Where the items read from these messages or spans stand now, by 64-bit identity."""
        with self._database.reading() as connection:
            return heads_by(connection, self._statements, cube.number, "dedup", identities)

    @repeatable
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

    @repeatable
    def history(self, cube: CubeRow, head: Head) -> list[Record]:
        """All versions of an item up to its head, oldest first."""
        found: list[Record] = []
        seq = head.seq
        while seq:
            record = self.records(cube, [seq])[seq]
            found.append(record)
            seq = record.prev
        return found[::-1]

    @repeatable
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

    @repeatable
    def digest(self, cube: CubeRow, seq: int) -> str:
        """What the truth says change `seq` was, as hexadecimal digits; "" where there is no such change."""
        spans = self._spans(cube)
        with self._database.asking() as connection:
            query = select(_v.digest).where(_v.place == spans.place(seq))
            found = connection.execute(query).scalar()
            return found.hex() if found is not None else ""

    @repeatable
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

    @repeatable
    def _rows(self, key: str, build: Callable[[], Statement], values: dict[str, Any]) -> Sequence[Any]:
        """All rows of one statement."""
        with self._database.asking() as connection:
            return self._statements.run(connection, key, build, values).rows

    @repeatable
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

    @repeatable
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

    @repeatable
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
