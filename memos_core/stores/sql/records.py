"""SqlStore: the RecordStore on a relational database. The same statements drive SQLite and PostgreSQL."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from memos_core.errors import StoreError
from memos_core.stores.sql import grants, migrations, schema
from memos_core.stores.sql.changes import WriteTransaction
from memos_core.stores.sql.copying import SqlFilling
from memos_core.stores.sql.databases import SqlDatabase
from memos_core.stores.sql.jobs import SqlJobs
from memos_core.stores.sql.keeping import SqlKeeping
from memos_core.stores.sql.room import Room
from memos_core.stores.sql.tables import repeatable
from memos_core.stores.sql.uses import SqlUses
from memos_core.stores.sql.versions import SqlVersions
from memos_core.types.access import Grant, Right
from memos_core.types.work import CubeRow, micros, utc_now

MOVING = "moving_from"  # setting: of a store that is being filled by `memos migrate`, and not done yet


class SqlStore(SqlVersions, SqlKeeping):
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
        super().__init__(database)
        self._now = now
        self._threads = threading.local()
        self.jobs = SqlJobs(database, self._statements, now)
        self._written: Callable[[Mapping[int, int]], None] | None = None
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

    @repeatable
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

    @repeatable
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

    # -- the whole of it -----------------------------------------------------------------------------------------

    def watch(self, written: Callable[[Mapping[int, int]], None] | None) -> None:
        """Have this called after each commit of this object, with the numbers of the audit entries it wrote by cube."""
        self._written = written

    @contextmanager
    def filling(self) -> Iterator[SqlFilling]:
        """One transaction that fills this store with a copy of another; raises AlreadyExists where it is not empty."""
        with self._database.writing(alone=True) as connection:
            filling = SqlFilling(connection, self._statements, self.name)
            yield filling
            self._database.numbers_taken(connection)
        self.id = filling.id or self.id
        self._database.belongs_to(self.id)
