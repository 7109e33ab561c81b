"""What was used, and what conversations have in mind: tables that no version, digest, copy or past moment takes part in."""

from __future__ import annotations

from sqlalchemy import Connection

from memos_core.stores.sql.migrations.m001_ground_floor import WORDS

STATEMENTS = (
    """CREATE TABLE usage (
        item {int} PRIMARY KEY,  -- place of the item's first version; of a cube as a whole: the place of its change 0
        cube {int} NOT NULL,
        changed {int} NOT NULL,  -- 1, 2, 3, ...: which writing of the cube's usage this is of
        first_at {int} NOT NULL,
        last_at {int} NOT NULL,
        total {float} NOT NULL,
        newest {float} NOT NULL
    )""",
    "CREATE INDEX usage_by_cube ON usage (cube, changed)",
    """CREATE TABLE working (
        actor {text} NOT NULL,
        conversation {text} NOT NULL,
        cubes {text} NOT NULL,     -- names of those that are read, as JSON
        item {int} NOT NULL,
        cube {int} NOT NULL,
        half {int} NOT NULL,     -- of a turn, in which the item was touched last
        first_at {int} NOT NULL,
        last_at {int} NOT NULL,
        relevance {float} NOT NULL,
        predicted {float} NOT NULL,
        total {float} NOT NULL,
        newest {float} NOT NULL,
        PRIMARY KEY (actor, conversation, cubes, item)
    ) {clustered}""",
    "CREATE INDEX working_by_item ON working (item)",
)


def upgrade(connection: Connection) -> None:
    """Make the tables."""
    words = WORDS[connection.dialect.name]
    for statement in STATEMENTS:
        connection.exec_driver_sql(statement.format_map(words))
