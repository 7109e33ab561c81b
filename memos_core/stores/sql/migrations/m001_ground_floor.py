"""The first tables: cubes, items, versions, vectors, conversations, links, audit batches, jobs, grants."""

from __future__ import annotations

from sqlalchemy import Connection

# {int} is a 64-bit integer that SQLite uses as its row number where it is the primary key; {clustered} keeps small rows
# inside the tree of their primary key (SQLite only).
TABLES = (
    "CREATE TABLE store (key TEXT PRIMARY KEY, value TEXT NOT NULL) {clustered}",
    "CREATE TABLE migrations (name TEXT PRIMARY KEY, applied_at {int} NOT NULL) {clustered}",
    """CREATE TABLE cubes (
        cube {int} PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        seq {int} NOT NULL,      -- number of the newest change: the counter that every writer locks
        batches {int} NOT NULL,  -- number of the newest audit entry
        chain {blob} NOT NULL,   -- hash of the newest audit entry
        created {int} NOT NULL,
        changed {int} NOT NULL   -- time of the newest audit entry: times never run backwards within a cube
    )""",
    """CREATE TABLE items (
        item {int} PRIMARY KEY,  -- place of its first version
        cube {int} NOT NULL,
        id TEXT NOT NULL,
        key TEXT,                -- null while deleted, so that the name is free
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
        op TEXT NOT NULL,
        state TEXT NOT NULL,
        prev {int} NOT NULL,     -- number of the change that made the version before
        batch {int} NOT NULL,    -- audit entry of its transaction
        vectors_of {int} NOT NULL,
        text TEXT,
        body TEXT,
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
        cube {int} NOT NULL, name TEXT NOT NULL, next_position {int} NOT NULL, PRIMARY KEY (cube, name)
    ) {clustered}""",
    """CREATE TABLE links (
        cube {int} NOT NULL,
        item {int} NOT NULL,
        relation TEXT NOT NULL,
        target TEXT NOT NULL,
        weight {float} NOT NULL,
        PRIMARY KEY (cube, item, relation, target)
    ) {clustered}""",
    "CREATE INDEX links_by_target ON links (cube, target)",
    """CREATE TABLE batches (
        cube {int} NOT NULL,
        number {int} NOT NULL,
        actor TEXT,
        action TEXT NOT NULL,
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
        kind TEXT NOT NULL,
        key TEXT UNIQUE,
        cube {int},
        state TEXT NOT NULL,
        priority {int} NOT NULL,
        attempts {int} NOT NULL,
        run_at {int} NOT NULL,
        leased_until {int},
        payload TEXT NOT NULL,
        error TEXT,
        created {int} NOT NULL
    )""",
    """CREATE TABLE grants (
        cube {int} NOT NULL,
        grantee TEXT NOT NULL,
        rights TEXT NOT NULL,
        granted_by TEXT NOT NULL,
        granted_at {int} NOT NULL,
        PRIMARY KEY (cube, grantee)
    ) {clustered}""",
)

WORDS = {
    "sqlite": {"int": "INTEGER", "blob": "BLOB", "float": "REAL", "clustered": "WITHOUT ROWID"},
    "postgresql": {"int": "BIGINT", "blob": "BYTEA", "float": "DOUBLE PRECISION", "clustered": ""},
}


def upgrade(connection: Connection) -> None:
    """Make the tables."""
    words = WORDS[connection.dialect.name]
    for statement in TABLES:
        connection.exec_driver_sql(statement.format_map(words))
