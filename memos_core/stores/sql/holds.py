"""Legal holds as rows, and what they cover."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, select

from memos_core.stores.sql import schema
from memos_core.types.erasure import EVERYTHING_HELD, ITEM_HELD, SUBJECT_HELD, Hold
from memos_core.types.work import CubeRow, from_micros

_h = schema.holds.c


def holds_on(connection: Connection, cube: CubeRow) -> list[Hold]:
    """All holds on a cube, by target."""
    rows = connection.execute(select(schema.holds).where(_h.cube == cube.number).order_by(_h.target)).mappings()
    return [Hold(cube.name, row["target"], row["reason"], row["placed_by"], from_micros(row["at"])) for row in rows]


def put(connection: Connection, cube: int, target: str, reason: str, by: str, at: int) -> None:
    """Place a hold; one on the same target is replaced."""
    drop(connection, cube, target)
    connection.execute(schema.holds.insert().values(cube=cube, target=target, reason=reason, placed_by=by, at=at))


def drop(connection: Connection, cube: int, target: str) -> bool:
    """Release a hold; whether there was one."""
    return connection.execute(schema.holds.delete().where(_h.cube == cube, _h.target == target)).rowcount > 0


def covering(holds: Iterable[Hold], items: Iterable[tuple[str, frozenset[str]]]) -> Iterator[tuple[str, list[str]]]:
    """A sentence for each hold that covers some of these items of its cube, and their ids.

    Args:
        items: id, and names of those who wrote or said any version, or to whom one is private.
    """
    items = list(items)
    for hold in holds:
        kind, _, name = hold.target.partition(":")
        covered = [
            id
            for id, names in items
            if hold.target == EVERYTHING_HELD
            or (f"{kind}:" == ITEM_HELD and id == name)
            or (f"{kind}:" == SUBJECT_HELD and name in names)
        ]
        if covered:
            which = f"item {covered[0]!r}" if len(covered) == 1 else f"{len(covered):,} of the items"
            yield (
                f"{which} of cube {hold.cube!r} is under a legal hold on {hold.target!r} (since {hold.at:%Y-%m-%d}, by "
                f"{hold.by!r}: {hold.reason}); release it first",
                covered,
            )
