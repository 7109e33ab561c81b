"""Writing every table of a store on a PostgreSQL server anew, so that nothing is left in them of what was erased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import psycopg
from sqlalchemy.exc import DBAPIError

from memos_core.errors import StoreBusy
from memos_core.stores.sql.databases import SqlDatabase

REMAINS: Final = (
    "the server's write-ahead log holds what was written until its files are used again: run CHECKPOINT; archived files, "
    "replication slots and standby servers keep it as long as they are set up to",
    "base backups and dumps of the server made before hold it: make new ones, then delete the old ones",
)
_STATISTICS: Final = (
    "the server's statistics (pg_statistic) may quote what was erased: have the owner of the database run VACUUM FULL "
    "pg_catalog.pg_statistic"
)


def write_anew(database: SqlDatabase, tables: Sequence[str], seconds: float) -> list[str]:
    """Write all tables and their indexes anew, then the statistics, which quote values.

    Args:
        database: the store's.
        tables: names of its tables.
        seconds: to wait at most for others that use a table.

    Returns:
        What remains, and what to do about it.

    Raises:
        StoreBusy: others used a table until the deadline.
    """
    remains: list[str] = []
    with database.asking() as connection:
        staged = connection.exec_driver_sql("SELECT to_regclass('staged_vectors') IS NOT NULL").scalar_one()
        connection.exec_driver_sql(f"SET lock_timeout = {int(seconds * 1000)}")
        try:
            for name in (*tables, "staged_vectors") if staged else tables:
                connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {name}")
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise StoreBusy(f"{database.name}: others used its tables for over {seconds:g} s; try again") from error
            raise
        finally:
            connection.exec_driver_sql("RESET lock_timeout")
        # Somebody who does not own the database is told by a warning, and nothing is done.
        owner = connection.exec_driver_sql(
            "SELECT pg_has_role(datdba, 'MEMBER') FROM pg_database WHERE datname = current_database()"
        ).scalar_one()
        if owner:
            connection.exec_driver_sql("VACUUM (FULL) pg_catalog.pg_statistic")
        else:
            remains.append(_STATISTICS)
    return [*remains, *REMAINS]
