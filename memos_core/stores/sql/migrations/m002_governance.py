"""States, owners and ends: forks and rules of cubes, grants that expire, what the audit chain says beyond its hashes."""

from __future__ import annotations

from sqlalchemy import Connection

from memos_core.stores.sql.migrations.m001_ground_floor import WORDS

STATEMENTS = (
    "ALTER TABLE cubes ADD COLUMN base {int} NOT NULL DEFAULT 0",  # number of the cube it was forked from; 0 for none
    "ALTER TABLE cubes ADD COLUMN base_seq {int} NOT NULL DEFAULT 0",  # changes 1 to this are those of that cube
    "ALTER TABLE cubes ADD COLUMN policy {text}",  # its rules as JSON: retention, redaction, strict reads
    "ALTER TABLE grants ADD COLUMN expires_at {int}",
    # What the chain holds of who did it and of the detail, so that both can be erased; NULL in entries made before.
    "ALTER TABLE batches ADD COLUMN sealed {blob}",
    """CREATE TABLE details (
        cube {int} NOT NULL,
        number {int} NOT NULL,   -- of the audit entry
        salt {blob} NOT NULL,
        detail {text} NOT NULL,    -- JSON
        PRIMARY KEY (cube, number)
    ) {clustered}""",
    "ALTER TABLE cubes ADD COLUMN checkpointed {int} NOT NULL DEFAULT 0",  # number of the newest entry that is signed
    """CREATE TABLE checkpoints (
        cube {int} NOT NULL,
        number {int} NOT NULL,   -- of the audit entry
        hash {blob} NOT NULL,
        at {int} NOT NULL,
        after {int} NOT NULL,    -- the entry that the checkpoint before is of; 0 for none
        key {text} NOT NULL,       -- fingerprint of the public key
        signature {blob} NOT NULL,
        PRIMARY KEY (cube, number)
    ) {clustered}""",
    "ALTER TABLE cubes ADD COLUMN erased {int} NOT NULL DEFAULT 0",  # number of the newest change that erased bytes
    """CREATE TABLE holds (
        cube {int} NOT NULL,
        target {text} NOT NULL,    -- "*", "item:ID" or "subject:NAME"
        reason {text} NOT NULL,
        placed_by {text} NOT NULL,
        at {int} NOT NULL,
        PRIMARY KEY (cube, target)
    ) {clustered}""",
)


def upgrade(connection: Connection) -> None:
    """Add the columns and tables."""
    words = WORDS[connection.dialect.name]
    for statement in STATEMENTS:
        connection.exec_driver_sql(statement.format_map(words))
