"""States, owners and ends: forks and rules of cubes, grants that expire, what the audit chain says beyond its hashes."""

from __future__ import annotations

from sqlalchemy import Connection

from memos_core.stores.sql.migrations.m001_ground_floor import WORDS

STATEMENTS = (
    "ALTER TABLE cubes ADD COLUMN base {int} NOT NULL DEFAULT 0",  # number of the cube it was forked from; 0 for none
    "ALTER TABLE cubes ADD COLUMN base_seq {int} NOT NULL DEFAULT 0",  # changes 1 to this are those of that cube
    "ALTER TABLE cubes ADD COLUMN policy {text}",  # its rules as JSON: retention, redaction, strict reads
    "ALTER TABLE grants ADD COLUMN expires_at {int}",
)


def upgrade(connection: Connection) -> None:
    """Add the columns and tables."""
    words = WORDS[connection.dialect.name]
    for statement in STATEMENTS:
        connection.exec_driver_sql(statement.format_map(words))
