"""Verifying the truth: rows against their digests, heads against versions, vectors against checksums, the audit chain.

Each function yields one sentence for every way in which what is there contradicts what was written.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from memos_core.stores.sql import audit, schema
from memos_core.stores.sql.changes import vector_crc
from memos_core.stores.sql.schema import position, seq_of
from memos_core.types.work import CubeRow

_v, _i = schema.versions.c, schema.items.c


def check_versions(connection: Connection, cube: CubeRow) -> Iterator[str]:
    """Numbers without gaps, digests that fit, items that point to their newest version, links that lead somewhere."""
    low, high = position(cube.number, 0), position(cube.number + 1, 0)
    expected = 1
    newest: dict[int, tuple[int, int, bool]] = {}
    query = (
        select(schema.versions, _i.id)
        .select_from(schema.versions)
        .outerjoin(schema.items, _i.item == _v.item)
        .where(_v.place > low, _v.place < high)
        .order_by(_v.place)
    )
    for row in connection.execute(query).mappings():
        seq = seq_of(row["place"])
        if seq != expected:
            yield f"changes {expected} to {seq - 1} are missing"
        expected = seq + 1
        if row["id"] is None:
            yield f"change {seq} belongs to an item that is not there"
            continue
        header = audit.header_of(row["id"], row["version"], row["op"], row["state"], row["prev"])
        if row["salt"] is None or audit.digest(row["salt"], header, row["text"], row["body"]) != row["digest"]:
            yield f"item {row['id']!r}, version {row['version']} (change {seq}): digest differs, the row was altered"
        newest[row["item"]] = (seq, row["version"], row["op"] == "delete")
    if expected - 1 != cube.seq:
        yield f"the counter says {cube.seq} changes, the log ends at {expected - 1}"
    items = select(_i.item, _i.id, _i.head, _i.version, _i.deleted).where(_i.cube == cube.number)
    for item, id_, head, version, deleted in connection.execute(items):
        if newest.pop(item, None) != (head, version, bool(deleted)):
            yield f"item {id_!r} points to change {head}, version {version}; its newest version is another one"


def check_vectors(connection: Connection, cube: CubeRow, dims: int | None) -> Iterator[str]:
    """Vectors that are there, of the right length, with the checksum they were written with.

    Args:
        dims: length of the store's vectors; None where it has no embedder (then there must be none).
    """
    low, high = position(cube.number, 0), position(cube.number + 1, 0)
    x = schema.vectors.c
    present = set()
    for row in connection.execute(select(schema.vectors).where(x.place > low, x.place < high)).mappings():
        seq = seq_of(row["place"])
        present.add(seq)
        if vector_crc(row["dense"], row["tokens"]) != row["crc"]:
            yield f"vectors of change {seq}: checksum differs, the bytes were altered"
        elif dims is None or len(row["dense"]) != 4 * dims:
            yield f"vectors of change {seq}: {len(row['dense']) // 4} dimensions, the store's embedder has {dims}"
    pointers = select(_v.place, _v.vectors_of).where(_v.place > low, _v.place < high, _v.vectors_of > 0)
    for place, vectors_of in connection.execute(pointers):
        if vectors_of not in present:
            yield f"change {seq_of(place)} uses the vectors of change {vectors_of}, which are not there"


def check_chain(connection: Connection, cube: CubeRow) -> Iterator[str]:
    """Audit entries without gaps, each hash over the one before, each root over the digests it covers."""
    base = position(cube.number, 0)
    number, covered, previous = 0, 0, audit.GENESIS
    for entry, salt in audit.entries(connection, cube.number, cube.name):
        number += 1
        if entry.number != number:
            yield f"audit entries {number} to {entry.number - 1} are missing"
            number = entry.number
        if salt is None:
            yield f"audit entry {number}: its salt is missing"
            continue
        digests: list[bytes] = []
        if entry.first_seq:
            if entry.first_seq != covered + 1:
                yield f"audit entry {number} covers change {entry.first_seq} on, expected {covered + 1}"
            covered = entry.last_seq
            places = _v.place.between(base + entry.first_seq, base + entry.last_seq)
            digests = [row[0] for row in connection.execute(select(_v.digest).where(places).order_by(_v.place))]
        root = audit.merkle_root(digests)
        actor = audit.commitment(salt, entry.actor)
        span = (entry.first_seq, entry.last_seq, entry.at)
        if root != entry.root:
            yield f"audit entry {number}: the changes it covers are not those that were written"
        if audit.link(previous, number, entry.action, *span, actor, entry.root) != entry.hash:
            yield f"audit entry {number}: its hash does not follow from its content and the entry before"
        previous = entry.hash
    c = schema.cubes.c
    stored = connection.execute(select(c.batches, c.chain).where(c.cube == cube.number)).first()
    if stored is not None and (stored[0], stored[1]) != (number, previous):
        yield f"the cube says its audit chain has {stored[0]} entries; it ends at {number} with another hash"
    if covered != cube.seq:
        yield f"audit entries cover changes up to {covered}, the cube is at {cube.seq}"
