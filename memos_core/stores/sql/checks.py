"""Verifying the truth: rows against their digests, heads against versions, vectors against checksums, the audit chain.

Each function yields one sentence for every way in which what is there contradicts what was written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.sql.elements import ColumnElement

from memos_core.errors import StoreDamaged
from memos_core.stores.sql import audit, erasing, forking, schema
from memos_core.stores.sql.changes import decode_body, vector_crc
from memos_core.stores.sql.lookups import cube_row
from memos_core.stores.sql.schema import SEQ_BITS, cube_of, position, seq_of
from memos_core.stores.sql.spans import END, Spans
from memos_core.types.work import Body, ChainCheck, CubeRow

_ROWS = 1000  # at a time: a server would send all of them at once
_SEAL = 64  # bytes of a seal: of an actor and a detail
_v, _i, _b, _l = schema.versions.c, schema.items.c, schema.batches.c, schema.links.c


def check_all(connection: Connection, cube: CubeRow, spans: Spans, dims: int | None) -> Iterator[str]:
    """Everything below.

    Args:
        spans: where the cube's changes lie.
        dims: length of the store's vectors; None where it has no embedder.
    """
    try:
        yield from check_versions(connection, cube, spans)
        yield from check_items(connection, cube, spans)
        yield from check_chain(connection, cube)
        yield from check_vectors(connection, spans, dims)
    except TypeError as error:  # a page that has rotted may give anything in the place of a number or a text
        yield f"rows hold something else than what was written ({error}); the rest was not compared"


def check_versions(connection: Connection, cube: CubeRow, spans: Spans) -> Iterator[str]:
    """Numbers without gaps, digests that fit, versions that belong to an item."""
    expected = 1
    erased = erasing.accounted_for(connection, [cube_of(base) for base in spans.bases])
    query = select(schema.versions, _i.id).select_from(schema.versions).outerjoin(schema.items, _i.item == _v.item)
    for row in _rows(connection, query, spans, _v.place):
        seq = seq_of(row["place"])
        if seq != expected:
            yield f"changes {expected} to {seq - 1} are missing"
        expected = seq + 1
        if row["id"] is None:
            yield f"change {seq} belongs to an item that is not there"
            continue
        if _gone(row):
            if row["place"] >= erased.get(row["item"], 0):
                yield f"item {row['id']!r}, version {row['version']} (change {seq}): its bytes are gone, and no erasure says so"
            continue
        header = audit.header_of(row["id"], row["version"], row["op"], row["state"], row["prev"])
        if row["salt"] is None or audit.digest(row["salt"], header, row["text"], row["body"]) != row["digest"]:
            yield f"item {row['id']!r}, version {row['version']} (change {seq}): digest differs, the row was altered"
    if expected - 1 != cube.seq:
        yield f"the counter says {cube.seq} changes, the log ends at {expected - 1}"


def check_items(connection: Connection, cube: CubeRow, spans: Spans) -> Iterator[str]:
    """Items that point to their newest version, and bear the key, the links and the time of making that versions say."""
    newest = {}
    own = position(cube.number, 0)
    log = select(_v.place, _v.item, _v.version, _v.op, _v.text.is_(None).label("ended"))
    for row in _rows(connection, log, spans, _v.place):
        newest[own + seq_of(row["item"])] = (seq_of(row["place"]), row["version"], bool(row["ended"]))
    links: dict[int, set[tuple[str, str, float]]] = {}
    edges = select(_l.item, _l.relation, _l.target, _l.weight).where(_l.cube == cube.number)
    for item, relation, target, weight in connection.execute(edges):
        links.setdefault(item, set()).add((relation, target, weight))
    first = schema.versions.alias("first")
    made = (
        select(_b.at)
        .select_from(schema.batches)
        .join(first, (_b.cube == first.c.place // (1 << SEQ_BITS)) & (_b.number == first.c.batch))
        .where(first.c.place == spans.place_of(_i.item % (1 << SEQ_BITS)))
        .scalar_subquery()
    )
    items = (
        select(schema.items, _v.body, made.label("at"))
        .select_from(schema.items)
        .outerjoin(schema.versions, _v.place == spans.place_of(_i.head))
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


def check_erased(connection: Connection, cube: CubeRow, spans: Spans, ids: Collection[str]) -> Iterator[str]:
    """Rows of items that were erased, and of earlier versions that were, which still hold something.

    Args:
        ids: of items that should have been erased.
    """
    accounted = erasing.accounted_for(connection, [cube_of(base) for base in spans.bases])
    whole = {
        item
        for base in spans.bases
        for (item,) in connection.execute(
            select(_v.item).where(_v.place > base, _v.place <= base + END, _v.op == "erase")
        )
    }
    vectors = schema.vectors.c.place
    said = _v.text.is_not(None).label("said"), (_v.body.is_not(None) | _v.salt.is_not(None)).label("more")
    log = select(_v.place, _v.item, _v.op, *said, vectors.is_not(None).label("vectors"))
    log = log.select_from(schema.versions.outerjoin(schema.vectors, vectors == _v.place))
    for row in _rows(connection, log, spans, _v.place):
        if row["item"] in whole and row["place"] < accounted[row["item"]]:
            left = [what for what in ("said", "more", "vectors") if row[what]]
            if left:
                yield f"change {seq_of(row['place'])} is of an item that was erased, and its row still holds bytes of it"
    erased = select(_i.id, _i.key, _i.dedup, _v.op).select_from(
        schema.items.outerjoin(schema.versions, _v.place == spans.place_of(_i.head))
    )
    for row in connection.execute(erased.where(_i.cube == cube.number, _v.op == "erase")).mappings():
        if row["key"] is not None or row["dedup"] is not None:
            yield f"item {row['id']!r} was erased, and its row still holds its name or identity"
    for id in ids:
        op = connection.execute(erased.where(_i.cube == cube.number, _i.id == id).with_only_columns(_v.op)).scalar()
        if op not in (None, "erase"):
            yield f"item {id!r} was not erased"


def _gone(row: Mapping[Any, Any]) -> bool:
    """Whether a version's bytes have been erased: of one that was altered, something is left."""
    return row["salt"] is None and row["text"] is None and row["body"] is None


def _body(encoded: str | None) -> Body | None:
    """A body; that of a deletion is empty. None for one that cannot be read: its digest says so."""
    try:
        return Body() if encoded is None else decode_body(encoded)
    except StoreDamaged:
        return None


def _rows(
    connection: Connection, query: Select[Any], spans: Spans, place: ColumnElement[int]
) -> Iterator[Mapping[Any, Any]]:
    """What a query gives of the rows of a cube, in order of their places; those that a fork shares come first."""
    for base, after, until in spans.pieces(0):
        piece = query.where(place > base + after, place <= base + until).order_by(place)
        yield from connection.execute(piece.execution_options(yield_per=_ROWS)).mappings()


def check_vectors(connection: Connection, spans: Spans, dims: int | None) -> Iterator[str]:
    """Vectors that are there, of the right length, with the checksum they were written with.

    Args:
        dims: length of the store's vectors; None where it has no embedder (then there must be none).
    """
    x = schema.vectors.c
    present = set()
    for row in _rows(connection, select(schema.vectors), spans, x.place):
        seq = seq_of(row["place"])
        present.add(seq)
        if vector_crc(row["dense"], row["tokens"]) != row["crc"]:
            yield f"vectors of change {seq}: checksum differs, the bytes were altered"
        elif dims is None or len(row["dense"]) != 4 * dims:
            yield f"vectors of change {seq}: {len(row['dense']) // 4} dimensions, the store's embedder has {dims}"
    unused = set(present)
    item_of: dict[int, int] = {}
    for row in _rows(connection, select(_v.place, _v.item, _v.vectors_of), spans, _v.place):
        seq, item, vectors_of = seq_of(row["place"]), seq_of(row["item"]), row["vectors_of"]
        item_of[seq] = item
        if vectors_of == seq:
            unused.discard(seq)
        if vectors_of and vectors_of not in present:
            yield f"change {seq} uses the vectors of change {vectors_of}, which are not there"
        elif vectors_of and item_of.get(vectors_of) != item:
            yield f"change {seq} uses the vectors of change {vectors_of}, which are not those of its item"
    for seq in sorted(unused):
        yield f"vectors of change {seq}: that change does not use them"


def check_audit(connection: Connection, cube: CubeRow, spans: Spans) -> ChainCheck:
    """The audit chain, the versions that it covers and the items that bear them; vectors are derived, and left out."""
    wrong: list[str] = []
    erased: list[int] = []
    end = 0
    try:
        for each in (check_versions(connection, cube, spans), check_items(connection, cube, spans)):
            wrong.extend(each)
        wrong.extend(check_chain(connection, cube, erased))
        wrong.extend(_check_signed(connection, cube))
        end = int(connection.execute(select(func.max(_b.number)).where(_b.cube == cube.number)).scalar() or 0)
    except (TypeError, ValueError) as error:
        wrong.append(f"rows hold something else than what was written ({error}); the rest was not compared")
    return ChainCheck(wrong, erased, end)


def check_chain(
    connection: Connection, cube: CubeRow, erased: list[int] | None = None, until: int | None = None
) -> Iterator[str]:
    """Audit entries without gaps, each hash over the one before, each root over the digests it covers, each seal over what
    is there of actor and detail.

    What a fork shares is covered by the chain of the cube that it was forked from, to which its first entry commits.

    Args:
        erased: gets the numbers of entries whose actor or detail has been erased; that is no contradiction.
        until: number of the last entry to look at; None for all.
    """
    root, wrong_before = _shared(connection, cube)
    yield from wrong_before
    number, covered, previous, sealed = 0, cube.base_seq, audit.GENESIS, False
    for row in connection.execute(audit.rows_of(cube.number).execution_options(yield_per=_ROWS)).mappings():
        if until is not None and number >= until:
            return
        number += 1
        if row["number"] != number:
            yield f"audit entries {number} to {row['number'] - 1} are missing"
            number = row["number"]
        wrong = _types(row)
        if wrong:
            yield f"audit entry {number}: {wrong} is no such thing as was written"
            previous = row["hash"] if isinstance(row["hash"], bytes) else audit.GENESIS
            continue
        digests: list[bytes] = [root] if root is not None and number == 1 else []
        if row["first_seq"]:
            if row["first_seq"] != covered + 1:
                yield f"audit entry {number} covers change {row['first_seq']} on, expected {covered + 1}"
            covered = row["last_seq"]
            for seq, batch, written, repeats in _covered(connection, cube, row["first_seq"], row["last_seq"]):
                digests.append(written)
                if batch != (number if repeats is None else repeats):
                    yield f"change {seq} names audit entry {batch}, it was written with entry {number}"
        if audit.merkle_root(digests) != row["root"]:
            yield f"audit entry {number}: the changes it covers are not those that were written"
        if sealed and len(row["sealed"] or b"") != _SEAL:
            yield f"audit entry {number}: its seal is missing, entries before it have one"
        sealed = sealed or len(row["sealed"] or b"") == _SEAL
        yield from (f"audit entry {number}: {what}" for what in _seal(row))
        if erased is not None and _erased(row):
            erased.append(number)
        if _link(cube, row, previous) != row["hash"]:
            yield f"audit entry {number}: its hash does not follow from its content and the entry before"
        previous = row["hash"]
    if until is not None:
        return
    c = schema.cubes.c
    stored = connection.execute(select(c.batches, c.chain).where(c.cube == cube.number)).first()
    if stored is not None and (stored[0], stored[1]) != (number, previous):
        yield f"the cube says its audit chain has {stored[0]} entries; it ends at {number} with another hash"
    if covered != cube.seq:
        yield f"audit entries cover changes up to {covered}, the cube is at {cube.seq}"
    d = schema.details.c
    entries = select(_b.number).where(_b.cube == cube.number)
    for (stray,) in connection.execute(select(d.number).where(d.cube == cube.number, d.number.not_in(entries))):
        yield f"there is a detail of audit entry {stray}, but no such entry"


def _shared(connection: Connection, cube: CubeRow) -> tuple[bytes | None, Iterable[str]]:
    """What the first entry of a fork must say of what it shares (None for no fork), and what is wrong with that."""
    if not cube.base:
        return None, ()
    try:
        last, root = forking.root_of(connection, cube.base, cube.base_seq)
        row = connection.execute(select(schema.cubes).where(schema.cubes.c.cube == cube.base)).mappings().one()
        origin = cube_row(row)
    except (StoreDamaged, NoResultFound) as error:
        return None, [f"what it was forked from cannot be looked at: {error}"]
    found = check_chain(connection, origin, until=last)
    return root, (f"in cube {origin.name!r}, which it was forked from: {what}" for what in found)


def _check_signed(connection: Connection, cube: CubeRow) -> Iterator[str]:
    """The newest signed checkpoint that the cube speaks of is there."""
    c, k = schema.checkpoints.c, schema.cubes.c
    newest = connection.execute(select(func.max(c.number)).where(c.cube == cube.number)).scalar() or 0
    said = connection.execute(select(k.checkpointed).where(k.cube == cube.number)).scalar()
    if said != newest:
        yield f"the cube says that its newest signed checkpoint is of entry {said}; the newest that is there is of {newest}"


def _covered(
    connection: Connection, cube: CubeRow, first: int, last: int
) -> Iterator[tuple[int, int, bytes, int | None]]:
    """(change, the audit entry it names, its digest, the entry that it should name if it repeats a version of the cube's own)
    of the changes from one to another.
    """
    base = position(cube.number, 0)
    places = _v.place.between(base + first, base + last)
    before = schema.versions.alias("before")
    query = (
        select(_v.place, _v.batch, _v.digest, before.c.batch)
        .select_from(schema.versions)
        .outerjoin(before, (_v.op == "embed") & (before.c.place == _v.prev + base))
        .where(places)
        .order_by(_v.place)
    )
    for place, batch, written, repeats in connection.execute(query).fetchall():
        yield seq_of(place), batch, written, repeats


def _types(row: Mapping[Any, Any]) -> str | None:
    """The first column of an entry that holds something of another kind than what was written."""
    kinds: tuple[tuple[str, tuple[type, ...]], ...] = (
        ("actor", (str, type(None))),
        ("action", (str,)),
        *((name, (int,)) for name in ("number", "first_seq", "last_seq", "at")),
        *((name, (bytes,)) for name in ("root", "hash")),
        *((name, (bytes, type(None))) for name in ("salt", "sealed", "detail_salt")),
        ("detail", (str, type(None))),
    )
    return next((f"its {name}" for name, kind in kinds if not isinstance(row[name], kind)), None)


def _seal(row: Mapping[Any, Any]) -> Iterator[str]:
    """Ways in which actor and detail are not those that were sealed. What is gone as a whole has been erased."""
    sealed, salt, actor = row["sealed"], row["salt"], row["actor"]
    if (salt is None) != (actor is None) or (salt is None and sealed is None):
        yield "its salt is missing" if salt is None else "who did it is missing"
    elif sealed is not None and salt is not None and audit.commitment(salt, actor) != sealed[:32]:
        yield "who did it is not who was written"
    if row["detail"] is not None:
        told = audit.commitment(row["detail_salt"] or b"", row["detail"])
        if sealed is None or told != sealed[32:]:
            yield "its detail is not what was written"


def _erased(row: Mapping[Any, Any]) -> bool:
    had_detail = len(row["sealed"] or b"") == _SEAL and row["sealed"][32:] != audit.NO_DETAIL
    return (row["salt"] is None and row["actor"] is None) or (had_detail and row["detail"] is None)


def _link(cube: CubeRow, row: Mapping[Any, Any], previous: bytes) -> bytes:
    """The hash that an entry should have."""
    facts = (row["action"], row["first_seq"], row["last_seq"], row["at"])
    if len(row["sealed"] or b"") == _SEAL:
        return audit.sealed_link(previous, cube.number, row["number"], *facts, row["sealed"], row["root"])
    sealed = row["sealed"] or audit.commitment(row["salt"] or b"", row["actor"] or "")
    return audit.link(previous, row["number"], *facts, sealed, row["root"])
