"""Uses and working memories as rows, beside the truth: no version, audit entry or past moment takes part in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, select

from memos_core.protocols.uses import Place, Used
from memos_core.stores.sql import schema
from memos_core.stores.sql.databases import SqlDatabase
from memos_core.stores.sql.lookups import heads_by
from memos_core.stores.sql.schema import cube_of, position
from memos_core.stores.sql.statements import Statements
from memos_core.types.uses import Holder, Kept, Use, joined
from memos_core.types.work import CubeRow

_u, _w, _i, _c = schema.usage.c, schema.working.c, schema.items.c, schema.cubes.c
_USE = ("item", "cube", "changed", "total", "newest", "first_at", "last_at")
_OF_HOLDER = ("actor", "conversation", "cubes")
_KEPT = ("item", "cube", "half", "relevance", "predicted", "total", "newest", "first_at", "last_at")
WORKING = "working"  # kind of the jobs whose payload names an actor, a conversation and cubes
_CHUNK = 256  # items that are told apart in one statement, at most


class SqlUses:
    """Uses and working memories of one database. Every method is one transaction.

    Args:
        database: where the tables are.
        statements: compiled ones of it.
    """

    def __init__(self, database: SqlDatabase, statements: Statements) -> None:
        self._database = database
        self._statements = statements

    def used(self, cube: CubeRow, after: int = 0) -> Used:
        """Uses of the cube's items that have been written after a writing, and which was the newest."""

        def asked() -> Used:
            with self._database.asking() as connection:
                rows = self._statements.run(
                    connection,
                    "used",
                    lambda: select(_u.item, _u.changed, _u.total, _u.newest, _u.first_at, _u.last_at).where(
                        _u.cube == bindparam("cube"), _u.changed > bindparam("after")
                    ),
                    {"cube": cube.number, "after": after},
                ).rows
            whole = position(cube.number, 0)
            newest = max((row[1] for row in rows), default=after)
            return Used(newest, {row[0]: Use(*row[2:]) for row in rows if row[0] != whole})

        return self._database.repeated(asked)

    def used_items(self, items: Sequence[int]) -> dict[int, Use]:
        """Uses of these items, by number; those never used are left out."""
        with self._database.asking() as connection:
            return _known(connection, self._statements, items)

    def used_cube(self, cube: CubeRow) -> Use | None:
        """Uses of all items of the cube together; None before the first."""
        with self._database.asking() as connection:
            query = select(_u.total, _u.newest, _u.first_at, _u.last_at).where(_u.item == position(cube.number, 0))
            row = connection.execute(query).first()
            return None if row is None else Use(*row)

    def holders(self, actor: str) -> list[Holder]:
        """The working memories of an actor, by conversation."""
        query = select(_w.conversation, _w.cubes).where(_w.actor == actor).distinct()
        with self._database.asking() as connection:
            rows = connection.execute(query.order_by(_w.conversation, _w.cubes)).fetchall()
        return [Holder(actor, row[0], tuple(msgspec.json.decode(row[1]))) for row in rows]

    def working(self, holder: Holder) -> list[Kept]:
        """What is in a working memory."""

        def asked() -> list[Kept]:
            with self._database.asking() as connection:
                return _working(connection, self._statements, holder)

        return self._database.repeated(asked)

    def ids(self, items: Sequence[int]) -> dict[int, Place]:
        """(cube, id) of items that are not deleted, by number."""
        with self._database.asking() as connection:
            rows = self._statements.run_list(
                connection,
                "ids of items",
                lambda members: (
                    select(_i.item, _c.name, _i.id)
                    .select_from(schema.items)
                    .join(schema.cubes, _c.cube == _i.cube)
                    .where(_i.item.in_(members), _i.deleted == 0)
                ),
                items,
            )
            return {row[0]: (row[1], row[2]) for row in rows}

    def forget(self, items: Sequence[int]) -> int:
        """Remove all that is kept of items, by number; returns how many rows that were."""
        with self._database.writing() as connection:
            return forget(connection, items)


class UseWriting:
    """Uses and working memories inside a transaction.

    Args:
        connection: that may write.
        statements: compiled ones.
        database: to have others wait who count at the same time.
    """

    def __init__(self, connection: Connection, statements: Statements, database: SqlDatabase) -> None:
        self._connection = connection
        self._statements = statements
        self._database = database

    def places(self, items: Sequence[Place]) -> dict[Place, tuple[int, int]]:
        """(number of the item, number of its cube) of those that there are and that are not deleted."""
        found: dict[Place, tuple[int, int]] = {}
        for name in sorted({cube for cube, _ in items}):
            number = self._connection.execute(select(_c.cube).where(_c.name == name)).scalar()
            if number is None:
                continue
            ids = sorted({id for cube, id in items if cube == name})
            heads = heads_by(self._connection, self._statements, int(number), "id", ids)
            found.update({(name, id): (head.item, int(number)) for id, head in heads.items() if not head.deleted})
        return found

    def add(self, uses: Mapping[int, Use]) -> None:
        """Add uses of items, by number, to those that are counted already, and to those of their cubes."""
        by_cube: dict[int, dict[int, Use]] = {}
        for item, use in sorted(uses.items()):
            by_cube.setdefault(cube_of(item), {})[item] = use
        for cube, own in by_cube.items():
            self._database.lock(self._connection, f"usage {cube}")
            changed = int(self._connection.execute(select(func.max(_u.changed)).where(_u.cube == cube)).scalar() or 0)
            whole = position(cube, 0)
            for use in own.values():
                own = {**own, whole: joined(own[whole], use) if whole in own else use}
            known = _known(self._connection, self._statements, list(own))
            rows = []
            for item, use in own.items():
                total = joined(known[item], use) if item in known else use
                rows.append((item, cube, changed + 1, total.total, total.newest, total.first_at, total.last_at))
            _delete_in(self._connection, schema.usage, "item", list(known))
            self._statements.insert(self._connection, schema.usage, _USE, rows)

    def working(self, holder: Holder) -> list[Kept]:
        """What is in a working memory; whoever else would write it waits until the end."""
        self._database.lock(self._connection, "working " + "\x00".join((holder.actor, holder.conversation)))
        return _working(self._connection, self._statements, holder)

    def keep(self, holder: Holder, kept: Sequence[Kept]) -> None:
        """Put this in the place of what was in a working memory."""
        whose = _whose(holder)
        gone = delete(schema.working).where(*(_w[name] == value for name, value in whose.items()))
        self._connection.execute(gone)
        rows = [
            (*whose.values(), *_numbers(each), each.use.total, each.use.newest, each.use.first_at, each.use.last_at)
            for each in kept
        ]
        self._statements.insert(self._connection, schema.working, (*_OF_HOLDER, *_KEPT), rows)


def forget(connection: Connection, items: Sequence[int]) -> int:
    """Remove all that is kept of items, by number, within a transaction (erasing does); returns how many rows that were."""
    gone = _delete_in(connection, schema.usage, "item", items)
    return gone + _delete_in(connection, schema.working, "item", items)


def _known(connection: Connection, statements: Statements, items: Sequence[int]) -> dict[int, Use]:
    rows = statements.run_list(
        connection,
        "uses of items",
        lambda members: select(_u.item, _u.total, _u.newest, _u.first_at, _u.last_at).where(_u.item.in_(members)),
        items,
    )
    return {row[0]: Use(*row[1:]) for row in rows}


def forget_conversation(connection: Connection, cube: int, name: str) -> None:
    """Remove what a conversation of that name has in mind of a cube, within a transaction."""
    connection.execute(delete(schema.working).where(_w.cube == cube, _w.conversation == name))


def forget_actor(connection: Connection, actor: str) -> None:
    """Remove what an actor has in mind, what others have in mind of its own cubes, and jobs that name it, in a transaction."""
    connection.execute(delete(schema.working).where(_w.actor == actor))
    for (cubes,) in connection.execute(select(_w.cubes).distinct()).fetchall():
        if any(name == actor or name.startswith(actor + "/") for name in msgspec.json.decode(cubes)):
            connection.execute(delete(schema.working).where(_w.cubes == cubes))
    jobs = schema.jobs.c
    for job, payload in connection.execute(select(jobs.job, jobs.payload).where(jobs.kind == WORKING)).fetchall():
        told = msgspec.json.decode(payload)
        names = (
            told.get("actor", ""),
            *told.get("cubes", ()),
        )  # none where the job has lost its payload with what it named
        if any(name == actor or name.startswith(actor + "/") for name in names):
            connection.execute(delete(schema.jobs).where(jobs.job == job))


def _delete_in(connection: Connection, table: object, column: str, members: Sequence[int]) -> int:
    gone = 0
    for start in range(0, len(members), _CHUNK):
        piece = members[start : start + _CHUNK]
        gone += connection.execute(delete(table).where(table.c[column].in_(piece))).rowcount  # type: ignore[attr-defined,arg-type]
    return gone


def _whose(holder: Holder) -> dict[str, str]:
    cubes = msgspec.json.encode(holder.cubes).decode()
    return {"actor": holder.actor, "conversation": holder.conversation, "cubes": cubes}


def _numbers(kept: Kept) -> tuple[int | float, ...]:
    return (kept.item, kept.cube, kept.half, kept.relevance, kept.predicted)


def _working(connection: Connection, statements: Statements, holder: Holder) -> list[Kept]:
    rows = statements.run(
        connection,
        "working",
        lambda: (
            select(*(_w[name] for name in _KEPT))
            .where(*(_w[name] == bindparam(f"of_{name}") for name in _OF_HOLDER))
            .order_by(_w.item)
        ),
        {f"of_{name}": value for name, value in _whose(holder).items()},
    ).rows
    return [Kept(row[0], row[1], row[2], row[3], row[4], Use(*row[5:])) for row in rows]
