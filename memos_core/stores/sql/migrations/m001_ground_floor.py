"""The first tables: cubes, items, versions, vectors, conversations, links, audit batches, jobs, grants."""

from __future__ import annotations

from sqlalchemy import Connection

# {text} is ordered by its UTF-8 bytes, which is the order of characters by number, in both databases.
# {int} is a 64-bit integer that SQLite uses as its row number where it is the primary key; {clustered} keeps small rows
# inside the tree of their primary key (SQLite only).
TABLES = (
    "CREATE TABLE store (key {text} PRIMARY KEY, value {text} NOT NULL) {clustered}",
    "CREATE TABLE migrations (name {text} PRIMARY KEY, applied_at {int} NOT NULL) {clustered}",
    """CREATE TABLE cubes (
        cube {int} PRIMARY KEY,
        name {text} NOT NULL UNIQUE,
        owner {text} NOT NULL,
        seq {int} NOT NULL,      -- number of the newest change: the counter that every writer locks
        batches {int} NOT NULL,  -- number of the newest audit entry
        chain {blob} NOT NULL,   -- hash of the newest audit entry
        created {int} NOT NULL,
        changed {int} NOT NULL   -- time of the newest audit entry: times never run backwards within a cube
    )""",
    """CREATE TABLE items (
        item {int} PRIMARY KEY,  -- place of its first version
        cube {int} NOT NULL,
        id {text} NOT NULL,
        key {text},                -- null while deleted, so that the name is free
        head {int} NOT NULL,     -- number of its newest change
        version {int} NOT NULL,
        deleted {int} NOT NULL,
        dedup {int},
        created {int} NOT NULL
    )""",
    "CREATE UNIQUE INDEX items_by_id ON items (cube, id)",
    "CREATE UNIQUE INDEX items_by_key ON items (cube, key) WHERE key IS NOT NULL",
    "CREATE INDEX items_by_dedup ON items (cube, dedup) WHERE dedup IS NOT NULL",
    """CREATE TABLE versions (
        place {int} PRIMARY KEY, -- cube and number of the change
        item {int} NOT NULL,
        version {int} NOT NULL,
        op {text} NOT NULL,
        state {text} NOT NULL,
        prev {int} NOT NULL,     -- number of the change that made the version before
        batch {int} NOT NULL,    -- audit entry of its transaction
        vectors_of {int} NOT NULL,
        text {text},
        body {text},
        salt {blob},             -- erased with the text, so that the digest tells nothing
        digest {blob} NOT NULL
    )""",
    """CREATE TABLE vectors (
        place {int} PRIMARY KEY,
        crc {int} NOT NULL,
        dense {blob} NOT NULL,
        tokens {blob}
    )""",
    """CREATE TABLE conversations (
        cube {int} NOT NULL, name {text} NOT NULL, next_position {int} NOT NULL, PRIMARY KEY (cube, name)
    ) {clustered}""",
    """CREATE TABLE links (
        cube {int} NOT NULL,
        item {int} NOT NULL,
        relation {text} NOT NULL,
        target {text} NOT NULL,
        weight {float} NOT NULL,
        PRIMARY KEY (cube, item, relation, target)
    ) {clustered}""",
    "CREATE INDEX links_by_target ON links (cube, target)",
    """CREATE TABLE batches (
        cube {int} NOT NULL,
        number {int} NOT NULL,
        actor {text},
        action {text} NOT NULL,
        first_seq {int} NOT NULL,
        last_seq {int} NOT NULL,
        at {int} NOT NULL,
        salt {blob},             -- the chain holds a salted commitment to the actor: erase both, and it still verifies
        root {blob} NOT NULL,
        hash {blob} NOT NULL,
        PRIMARY KEY (cube, number)
    ) {clustered}""",
    """CREATE TABLE jobs (
        job {int} PRIMARY KEY,
        kind {text} NOT NULL,
        key {text} UNIQUE,
        cube {int},
        state {text} NOT NULL,
        priority {int} NOT NULL,
        attempts {int} NOT NULL,
        run_at {int} NOT NULL,
        leased_until {int},
        payload {text} NOT NULL,
        error {text},
        created {int} NOT NULL
    )""",
    """CREATE TABLE grants (
        cube {int} NOT NULL,
        grantee {text} NOT NULL,
        rights {text} NOT NULL,
        granted_by {text} NOT NULL,
        granted_at {int} NOT NULL,
        PRIMARY KEY (cube, grantee)
    ) {clustered}""",
)

WORDS = {
    "sqlite": {"int": "INTEGER", "text": "TEXT", "blob": "BLOB", "float": "REAL", "clustered": "WITHOUT ROWID"},
    "postgresql": {
        "int": "BIGINT",
        "text": 'TEXT COLLATE "C"',
        "blob": "BYTEA",
        "float": "DOUBLE PRECISION",
        "clustered": "",
    },
}

# A server needs to be asked what is new: rows that every commit writes one of bear the number of their transaction.
# Several transactions make cubes at once there, so their numbers come from a sequence.
_POSTGRESQL = (
    "ALTER TABLE batches ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()",
    "CREATE INDEX batches_by_xid ON batches (xid)",
    "ALTER TABLE store ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()",
    "CREATE SEQUENCE cube_numbers",
    "ALTER TABLE cubes SET (fillfactor = 50)",  # a counter's new row stays on its page
    "ALTER TABLE vectors ALTER COLUMN dense SET STORAGE EXTERNAL",  # numbers do not get smaller by being compressed
    "ALTER TABLE vectors ALTER COLUMN tokens SET STORAGE EXTERNAL",
)


def upgrade(connection: Connection) -> None:
    """Make the tables."""
    words = WORDS[connection.dialect.name]
    for statement in TABLES:
        connection.exec_driver_sql(statement.format_map(words))
    for statement in _POSTGRESQL if connection.dialect.name == "postgresql" else ():
        connection.exec_driver_sql(statement)
