"""Migrations of the truth: in order, each in one transaction with the record that it ran.

A migration never changes once released. `upgrade` runs those that a database has not had yet; a database that has had
one this version does not know was written by a newer memos and is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, inspect, select

from memos_core.errors import ForeignStore, NewerSchema
from memos_core.stores.sql import schema
from memos_core.stores.sql.migrations import m001_ground_floor, m002_governance, m003_jobs, m004_usage

Migration = tuple[str, Callable[[Connection], None]]

MIGRATIONS: tuple[Migration, ...] = (
    ("m001_ground_floor", m001_ground_floor.upgrade),
    ("m002_governance", m002_governance.upgrade),
    ("m003_jobs", m003_jobs.upgrade),
    ("m004_usage", m004_usage.upgrade),
)


def applied(connection: Connection) -> list[str] | None:
    """Names of the migrations a database has had, in order; None for an empty database.

    Raises:
        ForeignStore: the database has tables, but no record of migrations.
    """
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    if "migrations" not in tables or "store" not in tables:
        raise ForeignStore(
            f"the database has the tables {', '.join(sorted(tables)[:5])} but no memos store; "
            "give memos a folder or database of its own"
        )
    rows = connection.execute(select(schema.migrations.c.name).order_by(schema.migrations.c.name))
    return [str(row[0]) for row in rows]


def pending(connection: Connection, known: Sequence[Migration] = MIGRATIONS) -> list[Migration]:
    """The migrations that the database still needs.

    Raises:
        NewerSchema: it has had one that this version does not know.
        ForeignStore: it is somebody else's database.
    """
    done = set(applied(connection) or ())
    unknown = sorted(done - {name for name, _ in known})
    if unknown:
        raise NewerSchema(
            f"the store was written by a newer memos (it has had {', '.join(unknown)}); "
            "upgrade with: pip install -U memoskit"
        )
    return [migration for migration in known if migration[0] not in done]


def upgrade(connection: Connection, known: Sequence[Migration] = MIGRATIONS) -> list[str]:
    """Run what is pending inside the caller's transaction; returns the names that ran."""
    ran = []
    for name, migrate in pending(connection, known):
        migrate(connection)
        connection.execute(schema.migrations.insert().values(name=name, applied_at=time.time_ns() // 1000))
        ran.append(name)
    return ran
