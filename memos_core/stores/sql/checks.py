"""Verifying the truth: rows against their digests, heads against versions, vectors against checksums, the audit chain.

Each function yields one sentence for every way in which what is there contradicts what was written.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select
from sqlalchemy.sql.elements import ColumnElement

from memos_core.errors import StoreDamaged
from memos_core.stores.sql import audit, schema
from memos_core.stores.sql.changes import decode_body, vector_crc
from memos_core.stores.sql.schema import position, seq_of
from memos_core.types.work import Body, CubeRow

_ROWS = 1000  # at a time: a server would send all of them at once
_v, _i, _b, _l = schema.versions.c, schema.items.c, schema.batches.c, schema.links.c


def check_all(connection: Connection, cube: CubeRow, dims: int | None) -> Iterator[str]:
    """Everything below.

    Args:
        dims: length of the store's vectors; None where it has no embedder.
    """
    try:
        yield from check_versions(connection, cube)
        yield from check_items(connection, cube)
        yield from check_chain(connection, cube)
        yield from check_vectors(connection, cube, dims)
    except TypeError as error:  # a page that has rotted may give anything in the place of a number or a text
        yield f"rows hold something else than what was written ({error}); the rest was not compared"


def check_versions(connection: Connection, cube: CubeRow) -> Iterator[str]:
    """Numbers without gaps, digests that fit, versions that belong to an item."""
    expected = 1
    query = (
        select(schema.versions, _i.id)
        .select_from(schema.versions)
        .outerjoin(schema.items, _i.item == _v.item)
        .where(*_of(cube, _v.place))
        .order_by(_v.place)
    )
    for row in connection.execute(query.execution_options(yield_per=_ROWS)).mappings():
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
    if expected - 1 != cube.seq:
        yield f"the counter says {cube.seq} changes, the log ends at {expected - 1}"


def check_items(connection: Connection, cube: CubeRow) -> Iterator[str]:
    """Items that point to their newest version, and bear the key, the links and the time of making that versions say."""
    newest = {}
    log = select(_v.place, _v.item, _v.version, _v.op).where(*_of(cube, _v.place)).order_by(_v.place)
    for place, item, version, op in connection.execute(log):
        newest[item] = (seq_of(place), version, op == "delete")
    links: dict[int, set[tuple[str, str, float]]] = {}
    edges = select(_l.item, _l.relation, _l.target, _l.weight).where(_l.cube == cube.number)
    for item, relation, target, weight in connection.execute(edges):
        links.setdefault(item, set()).add((relation, target, weight))
    first = schema.versions.alias("first")
    made = (
        select(_b.at)
        .select_from(schema.batches)
        .join(first, (_b.cube == cube.number) & (_b.number == first.c.batch))
        .where(first.c.place == _i.item)
        .scalar_subquery()
    )
    items = (
        select(schema.items, _v.body, made.label("at"))
        .select_from(schema.items)
        .outerjoin(schema.versions, _v.place == _i.head + position(cube.number, 0))
        .where(_i.cube == cube.number)
    )
    for row in connection.execute(items.execution_options(yield_per=_ROWS)).mappings():
        pointer = (row["head"], row["version"], bool(row["deleted"]))
        if newest.pop(row["item"], None) != pointer:
            yield f"item {row['id']!r} points to change {pointer[0]}, version {pointer[1]}; its newest version is another one"
        body = _body(row["body"])
        if body is not None and row["key"] != body.key:
            yield f"item {row['id']!r} bears the key {row['key']!r}, its newest version says {body.key!r}"
        said = {(link.relation, link.target, link.weight) for link in body.links} if body is not None else set()
        if body is not None and links.pop(row["item"], set()) != said:
            yield f"item {row['id']!r} has other links than its newest version says"
        if row["created"] != row["at"]:
            yield f"item {row['id']!r} was made at another time than the audit entry of its first version says"
    for item in links:
        yield f"links of an item that is not there (number {item})"


def _body(encoded: str | None) -> Body | None:
    """A body; that of a deletion is empty. None for one that cannot be read: its digest says so."""
    try:
        return Body() if encoded is None else decode_body(encoded)
    except StoreDamaged:
        return None


def _of(cube: CubeRow, place: ColumnElement[int]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return place > position(cube.number, 0), place < position(cube.number + 1, 0)


def check_vectors(connection: Connection, cube: CubeRow, dims: int | None) -> Iterator[str]:
    """Vectors that are there, of the right length, with the checksum they were written with.

    Args:
        dims: length of the store's vectors; None where it has no embedder (then there must be none).
    """
    x = schema.vectors.c
    present = set()
    query = select(schema.vectors).where(*_of(cube, x.place)).execution_options(yield_per=_ROWS)
    for row in connection.execute(query).mappings():
        seq = seq_of(row["place"])
        present.add(seq)
        if vector_crc(row["dense"], row["tokens"]) != row["crc"]:
            yield f"vectors of change {seq}: checksum differs, the bytes were altered"
        elif dims is None or len(row["dense"]) != 4 * dims:
            yield f"vectors of change {seq}: {len(row['dense']) // 4} dimensions, the store's embedder has {dims}"
    unused = set(present)
    item_of: dict[int, int] = {}
    pointers = select(_v.place, _v.item, _v.vectors_of).where(*_of(cube, _v.place)).order_by(_v.place)
    for place, item, vectors_of in connection.execute(pointers):
        seq = seq_of(place)
        item_of[seq] = item
        if vectors_of == seq:
            unused.discard(seq)
        if vectors_of and vectors_of not in present:
            yield f"change {seq} uses the vectors of change {vectors_of}, which are not there"
        elif vectors_of and item_of.get(vectors_of) != item:
            yield f"change {seq} uses the vectors of change {vectors_of}, which are not those of its item"
    for seq in sorted(unused):
        yield f"vectors of change {seq}: that change does not use them"


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
            for place, batch, written in connection.execute(
                select(_v.place, _v.batch, _v.digest).where(places).order_by(_v.place)
            ):
                digests.append(written)
                if batch != number:
                    yield f"change {seq_of(place)} names audit entry {batch}, it was written with entry {number}"
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
