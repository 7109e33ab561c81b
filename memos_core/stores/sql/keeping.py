"""SqlKeeping: what keeps a store in order: its audit, checks, erasures and holds, new vectors for all of it, copies, vacuum."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import msgspec
from sqlalchemy import bindparam, select

from memos_core.errors import StoreDamaged
from memos_core.events import event
from memos_core.protocols.storage import Finish
from memos_core.stores.sql import audit, checks, erasing, holds, schema, signed, staging
from memos_core.stores.sql.changes import vector_row
from memos_core.stores.sql.copying import SqlSnapshot
from memos_core.stores.sql.erasing_plan import Finder, held
from memos_core.stores.sql.lookups import whole_numbers
from memos_core.stores.sql.spans import spans_of
from memos_core.stores.sql.tables import SqlTables, repeatable
from memos_core.types.erasure import Erasing, ErasurePlan, ErasureRecord, Hold
from memos_core.types.work import (
    AuditEntry,
    Body,
    ChainCheck,
    ChainEnd,
    Checkpoint,
    CubeRow,
    VectorBlobs,
)

_b = schema.batches.c
_SLICE = 2000
STAGED = "staged_embedder"  # setting: whose vectors are being staged


class SqlKeeping(SqlTables):
    """What is done to a store as a whole."""

    # -- vectors of another embedder ------------------------------------------------------------------------------

    def stage(self, identity: str) -> tuple[int, int]:
        """Begin (or go on) to stage vectors of an embedder: how many versions take them, and how many have them staged."""
        with self._database.writing(alone=True) as connection:
            staging.prepare(connection, identity, STAGED)
            return staging.count(connection)

    @repeatable
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

    @repeatable
    def audit(self, cube: CubeRow, after: int = 0) -> list[AuditEntry]:
        """Entries of the cube's audit chain after a number, oldest first."""
        with self._database.reading() as connection:
            return [entry for entry, _ in audit.entries(connection, cube.number, cube.name, after)]

    @repeatable
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

    @repeatable
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

    @repeatable
    def chain_ends(self) -> list[ChainEnd]:
        """The newest audit entry of every cube whose newest one is not signed, by number of the cube."""
        with self._database.asking() as connection:
            return signed.chain_ends(connection)

    @repeatable
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

    @repeatable
    def checkpoints(self) -> list[Checkpoint]:
        """All signed checkpoints, by cube and number."""
        with self._database.asking() as connection:
            return signed.all_checkpoints(connection, self.id)

    def put_checkpoints(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Keep signed checkpoints. Of two of the same entry the later one is kept."""
        with self._database.writing() as connection:
            signed.put(connection, checkpoints)

    # -- erasing and legal holds ----------------------------------------------------------------------------------

    @repeatable
    def plan_erasure(self, what: Erasing) -> ErasurePlan:
        """What erasing would take; nothing is changed."""
        with self._database.reading() as connection:
            return Finder(connection, self._statements, what).find().plan

    @repeatable
    def check_erased(self, cube: CubeRow, ids: Collection[str] = ()) -> list[str]:
        """Every way in which rows of the cube hold what was erased, as sentences.

        Args:
            ids: of items that should have been erased.
        """
        with self._database.reading() as connection:
            return list(checks.check_erased(connection, cube, spans_of(connection, self._statements, cube), ids))

    @repeatable
    def holds(self, cube: CubeRow) -> list[Hold]:
        """All legal holds on the cube, by target."""
        with self._database.asking() as connection:
            return holds.holds_on(connection, cube)

    @repeatable
    def held(self, cube: CubeRow, ids: Sequence[str]) -> dict[str, str]:
        """Those of these items that a legal hold covers, with a sentence that says so: they may not be deleted."""
        with self._database.reading() as connection:
            return held(connection, self._statements, cube, ids)

    @repeatable
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

    @repeatable
    def vectors_of_others(self, blobs: Collection[bytes]) -> set[bytes]:
        """Those of these vectors that something which was not erased has too."""
        with self._database.reading() as connection:
            return erasing.vectors_of_others(connection, blobs)

    @repeatable
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
