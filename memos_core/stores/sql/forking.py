"""Forking: a new cube that shares the log of another up to one of its changes. Texts and vectors stay where they are.

What is copied is small and says how things stood after that change: items (within the database, no value comes this way),
links, and how long conversations were.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from sqlalchemy import JSON, BigInteger, ColumnElement, Connection, case, cast, func, literal, select, update

from memos_core.errors import StoreDamaged
from memos_core.stores.sql import audit, schema
from memos_core.stores.sql.schema import SEQ_BITS, position
from memos_core.stores.sql.spans import Spans
from memos_core.stores.sql.statements import Statements
from memos_core.types.items import Link

_ITEM = ("item", "cube", "id", "key", "head", "version", "deleted", "dedup", "created")
_LINK = ("cube", "item", "relation", "target", "weight")
_i, _l, _v = schema.items.c, schema.links.c, schema.versions.c
_NUMBERS = 1 << SEQ_BITS
_later, _then = schema.versions.alias("later"), schema.versions.alias("then")


class _Linked(msgspec.Struct):
    links: tuple[Link, ...] = ()


_linked = msgspec.json.Decoder(_Linked)


def copy_items(connection: Connection, statements: Statements, source: Spans, number: int, seq: int) -> None:
    """Give a new cube the items of another, with their links, as they stood after a change of that one.

    Args:
        source: of the other cube.
        number: of the new one.
        seq: number of the change.
    """
    base, cube = position(number, 0), literal(number, BigInteger)
    as_now = select(
        _i.item % _NUMBERS + base, cube, _i.id, _i.key, _i.head, _i.version, _i.deleted, _i.dedup, _i.created
    ).where(_i.cube == source.number, _i.head <= seq)
    connection.execute(schema.items.insert().from_select(_ITEM, as_now))
    links = (
        select(cube, _l.item % _NUMBERS + base, _l.relation, _l.target, _l.weight)
        .select_from(schema.links.join(schema.items, _i.item == _l.item))
        .where(_l.cube == source.number, _i.head <= seq)
    )
    connection.execute(schema.links.insert().from_select(_LINK, links))
    for low, after, until in source.pieces(seq):
        # Whoever has moved on since did so in exactly one change that follows a version of before.
        moved = (_later.c.place > low + after, _later.c.place <= low + until, _later.c.prev.between(1, seq))
        here = _later.join(_then, _then.c.place == source.place_of(_later.c.prev))
        item = _later.c.item % _NUMBERS
        as_then = (
            select(
                item + base,
                cube,
                _i.id,
                case((_then.c.body.like('%"key"%'), text_of(connection, _then.c.body, "key"))),
                _later.c.prev,
                _then.c.version,
                case((_then.c.body.is_(None), 1), else_=0),
                _i.dedup,
                _i.created,
            )
            .select_from(here.join(schema.items, _i.item == item + position(source.number, 0)))
            .where(*moved)
        )
        connection.execute(schema.items.insert().from_select(_ITEM, as_then))
        linked = select(item, _then.c.body).select_from(here).where(*moved, _then.c.body.like('%"links"%'))
        rows = [
            (number, base + first, link.relation, link.target, link.weight)
            for first, body in connection.execute(linked)
            for link in _linked.decode(body).links
        ]
        statements.insert(connection, schema.links, _LINK, rows)


def copy_conversations(connection: Connection, source: Spans, number: int, seq: int, head: int) -> None:
    """Give a new cube the conversations of another, as long as they were after a change of that one.

    Args:
        source: of the other cube.
        number: of the new one.
        seq: number of the change.
        head: number of the other cube's newest one.
    """
    c = schema.conversations.c
    cube = literal(number, BigInteger)
    if seq == head:
        found: Any = select(cube, c.name, c.next_position).where(c.cube == source.number)
    else:
        said = (
            select(
                text_of(connection, _v.body, "conversation").label("name"),
                cast(text_of(connection, _v.body, "source", "position"), BigInteger).label("position"),
            )
            .where(source.within(_v.place, 0, seq), _v.version == 1, _v.body.like('%"conversation"%'))
            .subquery("said")
        )
        found = (
            select(cube, said.c.name, func.coalesce(func.max(said.c.position) + 1, 0))
            .where(said.c.name.in_(select(c.name).where(c.cube == source.number)))
            .group_by(said.c.name)
        )
    connection.execute(schema.conversations.insert().from_select(("cube", "name", "next_position"), found))


def date_items(connection: Connection, number: int, base: int, seq: int) -> None:
    """Say of the items that a fork shares when they were made, as the cube that it was forked from does.

    Args:
        number: of the fork.
        base: of the cube that it was forked from.
        seq: number of the last change that they share.
    """
    first = schema.items.alias("first")
    made = select(first.c.created).where(first.c.item == _i.item % _NUMBERS + position(base, 0)).scalar_subquery()
    shared = (_i.cube == number, _i.item <= position(number, seq))
    connection.execute(update(schema.items).where(*shared).values(created=made))


def root_of(connection: Connection, base: int, seq: int) -> tuple[int, bytes]:
    """What the first audit entry of a fork says of what it shares.

    It holds the hash of the entry that covers the last shared change, and so everything up to it.

    Args:
        base: number of the cube that it was forked from.
        seq: number of the last change that they share.

    Returns:
        The number of that entry in the base's chain (0 where nothing is shared), and the root.

    Raises:
        StoreDamaged: there is no such entry.
    """
    c, b = schema.cubes.c, schema.batches.c
    number, link = 0, audit.GENESIS
    if seq:
        inherited = connection.execute(select(c.base_seq).where(c.cube == base)).scalar() or 0
        covering = select(b.number, b.hash).where(b.cube == base).order_by(b.number).limit(1)
        row = connection.execute(covering if seq <= inherited else covering.where(b.last_seq >= seq)).first()
        if row is None:
            raise StoreDamaged(
                f"no audit entry covers change {seq} of the cube with number {base}; run `memos verify`, restore this store "
                "from a backup"
            )
        number, link = row
    return number, hashlib.sha256(f"fork\x00{seq}\x00{number}\x00".encode() + link).digest()


def text_of(connection: Connection, body: ColumnElement[str], *path: str) -> ColumnElement[Any]:
    """A member of a body's JSON."""
    if connection.dialect.name == "postgresql":
        return func.json_extract_path_text(cast(body, JSON), *path)
    return func.json_extract(body, ".".join(("$", *path)))
