"""Signed checkpoints of audit chains, as rows."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from memos_core.errors import StoreDamaged
from memos_core.stores.sql import schema
from memos_core.types.work import ChainEnd, Checkpoint

_c, _k = schema.checkpoints.c, schema.cubes.c
_NAMES = ("cube", "number", "hash", "at", "after", "key", "signature")
_KINDS = (int, int, bytes, int, int, str, bytes)


def chain_ends(connection: Connection) -> list[ChainEnd]:
    """The newest audit entry of every cube whose newest one is not signed, by number of the cube."""
    query = select(_k.cube, _k.batches, _k.chain, _k.checkpointed).where(_k.batches > _k.checkpointed).order_by(_k.cube)
    return [ChainEnd(*row) for row in connection.execute(query)]


def all_checkpoints(connection: Connection, store: str) -> list[Checkpoint]:
    """All signed checkpoints, by cube and number.

    Raises:
        StoreDamaged: a row holds something of another kind than what was written.
    """
    columns = (_c[name] for name in _NAMES)
    found = []
    for row in connection.execute(select(*columns).order_by(_c.cube, _c.number)):
        if not all(isinstance(value, kind) for value, kind in zip(row, _KINDS, strict=True)):
            raise StoreDamaged(f"a signed checkpoint of cube number {row[0]!r} is not what was written")
        found.append(Checkpoint(store=store, **dict(zip(_NAMES, row, strict=True))))
    return found


def put(connection: Connection, checkpoints: Sequence[Checkpoint]) -> None:
    """Keep signed checkpoints, inside a transaction that writes; each cube's counter is locked first."""
    for one in sorted(checkpoints, key=lambda one: one.cube):
        lock = select(_k.checkpointed).where(_k.cube == one.cube).with_for_update()
        newest = connection.execute(lock).scalar()
        if newest is None:
            continue  # the cube is gone
        here = (_c.cube == one.cube) & (_c.number == one.number)
        connection.execute(schema.checkpoints.delete().where(here))
        values = {name: getattr(one, name) for name in _NAMES}
        connection.execute(schema.checkpoints.insert().values(values))
        if one.number > newest:
            connection.execute(update(schema.cubes).where(_k.cube == one.cube).values(checkpointed=one.number))
