"""Erasing: the bytes of items go from every row that has them, in the transaction that says so.

Of each version stay its number, its digest and what it did; text, body and salt are null, so the digest tells nothing and
the audit chain above it still verifies. A last change ("erase") accounts for that. An item that stays and named what is
erased gets a new version without it ("scrub"); where it named an id that a caller gave, its earlier versions that do go too.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, delete, func, inspect, or_, select, update

from memos_core.errors import Conflict, OnHold
from memos_core.stores.sql import audit, schema, uses
from memos_core.stores.sql.changes import WriteTransaction, decode_body
from memos_core.stores.sql.erasing_plan import MADE, Finder, Found, Member, own_name, pieces
from memos_core.stores.sql.forking import text_of
from memos_core.stores.sql.schema import SEQ_BITS, position
from memos_core.stores.sql.spans import spans_of
from memos_core.stores.sql.statements import Statements
from memos_core.types.erasure import ERASURES, Erasing, ErasurePlan, ErasureRecord
from memos_core.types.items import LifecycleState
from memos_core.types.work import CubeRow, Head, Put

_v, _i, _b, _l, _d = schema.versions.c, schema.items.c, schema.batches.c, schema.links.c, schema.details.c
_c, _g, _s, _t = schema.cubes.c, schema.grants.c, schema.store.c, schema.conversations.c
ERASING: Final = ("erase", "scrub")  # changes that account for bytes that are gone
_MEMBERS: Final = re.compile(r'"(?:ids|actor|conversation|cubes)":')  # of what the built-in kinds of jobs are told
_json = msgspec.json.Encoder().encode


def new_name() -> str:
    """What stands in the place of a name that is erased."""
    return f"erased-{secrets.token_hex(12)}"


def erase(
    transaction: WriteTransaction, statements: Statements, what: Erasing, *, reason: str, confirm: str | None = None
) -> ErasurePlan:
    """Erase the bytes of items, and of what names them, inside a transaction.

    Args:
        transaction: nothing has been locked or written in it yet.
        what: what to erase.
        reason: for the audit.
        confirm: the token of a preview; None erases whatever is found.

    Returns:
        What was erased.

    Raises:
        OnHold: a legal hold covers some of it; nothing is erased.
        Conflict: what would go is not what was previewed, or a cube was made from one of these meanwhile.
    """
    connection = transaction.connection
    wanted = _names(Finder(connection, statements, what))
    cubes = {name: transaction.cube(name) for name in wanted}
    finder = Finder(connection, statements, what)
    if _names(finder) != wanted or any(cube is None for cube in cubes.values()):
        raise Conflict("cubes were made or renamed meanwhile; look again at what would be erased")
    found = finder.find()
    if confirm is not None and confirm != found.plan.token:
        raise Conflict("what would be erased is not what was previewed any more; look at it again")
    if found.plan.holds:
        raise OnHold("; ".join(found.plan.holds))
    rows = {cube.number: cube for cube in cubes.values() if cube is not None}
    work = _Work(transaction, statements, rows, found, reason)
    work.items()
    work.namers()
    if what.subject is not None:
        work.subject(what.subject, what.cubes)
    return work.finish()


def _names(finder: Finder) -> list[str]:
    return sorted(finder.cubes[number].name for number in finder.family())


class _Work:
    """Carries an erasure out.

    Args:
        transaction: has all cubes locked.
        cubes: by number.
        found: what goes.
    """

    def __init__(
        self,
        transaction: WriteTransaction,
        statements: Statements,
        cubes: Mapping[int, CubeRow],
        found: Found,
        reason: str,
    ) -> None:
        self._transaction = transaction
        self._connection: Connection = transaction.connection
        self._statements = statements
        self._cubes = cubes
        self._found = found
        self._reason = reason
        self._touched: set[int] = set()

    # -- items ----------------------------------------------------------------------------------------------------

    def items(self) -> None:
        """The items themselves, in every cube that has them."""
        going = [member for each in self._found.members.values() for member in each]
        places = sorted({row.place for member in going for row in member.rows})
        said = {(m.cube, body.conversation) for m in going for body in _bodies(m) if body.conversation is not None}
        self._blank(places, vectors=True)
        for each in self._found.members.values():
            fresh = new_name()
            for member in each:
                named = fresh if not MADE.fullmatch(member.id) else member.id
                statement = update(schema.items).where(_i.item == member.item)
                self._connection.execute(statement.values(id=named, key=None, dedup=None))
                member.id = named
        for number, own in _by_cube(going):
            puts = [
                Put(id=m.id, op="erase", text=None, body=None, state=LifecycleState(m.rows[0].state), head=_head(m))
                for m in own
            ]
            self._put(number, puts)
        uses.forget(self._connection, sorted(member.item for member in going))
        given = {id for id in self._found.given if id}
        self._conversations(said)
        self._details({cube for cube, _ in _by_cube(going)}, given)
        self._jobs(going, given)

    def _blank(self, places: Sequence[int], *, vectors: bool) -> None:
        """Take what versions say, and their vectors if they go too."""
        gone: dict[str, Any] = {"text": None, "body": None, "salt": None} | ({"vectors_of": 0} if vectors else {})
        staged = inspect(self._connection).has_table("staged_vectors")
        for piece in pieces(places):
            self._connection.execute(update(schema.versions).where(_v.place.in_(piece)).values(**gone))
            if vectors:
                for table in (schema.vectors, schema.staged_vectors) if staged else (schema.vectors,):
                    self._connection.execute(delete(table).where(table.c.place.in_(piece)))

    def _put(self, number: int, puts: Sequence[Put]) -> None:
        """Write changes that account for what is gone."""
        cube = self._cubes[number]
        first = self._transaction.put(cube, puts)
        statement = update(schema.cubes).where(_c.cube == number).values(erased=first + len(puts) - 1)
        self._connection.execute(statement)
        self._touched.add(number)

    def namers(self) -> None:
        """The items that stay and named them: a version without that, and earlier ones gone where they named a given id."""
        ids: dict[int, set[str]] = {}
        for number, id in self._found.old_ids:
            ids.setdefault(number, set()).add(id)
        naming = [member for each in self._found.naming.values() for member in each]
        for number, own in _by_cube(naming):
            self._put(number, [_without(member, ids.get(number, set())) for member in own])
        self._blank(sorted(self._found.stale), vectors=False)

    # -- beside the items -----------------------------------------------------------------------------------------

    def _conversations(self, said: Collection[tuple[int, str]]) -> None:
        """Conversations that have nothing in them any more are forgotten."""
        for number in sorted({cube for cube, _ in said}):
            cube = self._cubes[number]
            spans = spans_of(self._connection, self._statements, cube)
            name = text_of(self._connection, _v.body, "conversation")
            query = select(name).where(spans.within(_v.place, 0), _v.body.like('%"conversation":%')).distinct()
            kept = {row[0] for row in self._connection.execute(query)}
            for gone in sorted({name for its, name in said if its == number} - kept):
                self._connection.execute(delete(schema.conversations).where(_t.cube == number, _t.name == gone))
                uses.forget_conversation(self._connection, number, gone)

    def _details(self, cubes: Collection[int], names: Collection[str]) -> None:
        """Details of audit entries that name somebody or something: their commitments stay."""
        if not names:
            return
        encoded = [start + _json(name).decode()[1:] for name in sorted(names) for start in '":']  # also in "item:NAME"
        query = select(_d.cube, _d.number, _d.detail).where(_d.cube.in_(sorted(cubes)))
        for cube, number, detail in self._connection.execute(query).fetchall():
            if any(name in detail for name in encoded):
                audit.erase(self._connection, cube, [number], actor=False)
                self._touched.add(cube)

    def _jobs(self, going: Sequence[Member], names: Collection[str]) -> None:
        """Work that was filed for them: nothing is left to do of it, and it must not name them any more."""
        told = {_json(id).decode() for _, id in self._found.old_ids} | {_json(name).decode() for name in names}
        told |= {_json(text).decode()[1:-1] for text in self._found.plan.words.texts}
        gone = {id for _, id in self._found.old_ids} | set(names)

        def names_any(text: str) -> bool:
            values = _MEMBERS.sub("", text)  # else every job would name an item that is called "ids"
            return any(each in values for each in told)

        self._transaction.jobs.scrub(gone, names_any)

    def subject(self, subject: str, cubes: Collection[int]) -> None:
        """What bears the name of an actor: audit entries, grants, cubes, holds."""
        named = new_name()
        for number in sorted(cubes):
            mine = (_b.cube == number, _b.actor == subject)
            old = self._connection.execute(select(_b.number).where(*mine, _b.sealed.is_(None))).fetchall()
            audit.erase(self._connection, number, [row[0] for row in old], detail=False)
            done = self._connection.execute(update(schema.batches).where(*mine).values(actor=None, salt=None))
            granted = self._connection.execute(delete(schema.grants).where(_g.cube == number, _g.grantee == subject))
            gave = update(schema.grants).where(_g.cube == number, _g.granted_by == subject).values(granted_by=named)
            changed = bool(old) + done.rowcount + granted.rowcount + self._connection.execute(gave).rowcount
            cube = self._cubes[number]
            values = {"owner": named} if cube.owner == subject else {}
            if own_name(cube.name, subject):
                values["name"] = named if cube.name == subject else f"{named}/{secrets.token_hex(6)}"
            if values:
                self._connection.execute(update(schema.cubes).where(_c.cube == number).values(**values))
            if changed or values:
                self._touched.add(number)
        self._details(cubes, {subject})
        uses.forget_actor(self._connection, subject)

    # -- the end --------------------------------------------------------------------------------------------------

    def finish(self) -> ErasurePlan:
        """Say in the audit that it was done and why, and in the settings that files are to be cleaned."""
        for number in sorted(self._touched):
            cube = self._cubes[number]
            count = sum(member.cube == number for each in self._found.members.values() for member in each)
            self._transaction.note(cube, reason=self._reason, items=count)
            self._transaction.enter(cube)
        before = read_record(self._connection)
        record = ErasureRecord(
            before.count + 1, self._transaction.at, tuple(sorted({*before.unfinished, *self._touched}))
        )
        put_record(self._connection, record)
        names = tuple(sorted(self._cubes[number].name for number in self._touched))
        return msgspec.structs.replace(self._found.plan, cubes=names)


def read_record(connection: Connection) -> ErasureRecord:
    """What the store remembers of its erasures."""
    raw = connection.execute(select(_s.value).where(_s.key == ERASURES)).scalar()
    return ErasureRecord() if raw is None else msgspec.json.decode(raw, type=ErasureRecord)


def put_record(connection: Connection, record: ErasureRecord) -> None:
    """Have the store remember it."""
    connection.execute(delete(schema.store).where(_s.key == ERASURES))
    connection.execute(schema.store.insert().values(key=ERASURES, value=_json(record).decode()))


def everything_said(connection: Connection) -> Iterator[str]:
    """What versions say that were not erased, and every name that is there."""
    said = select(_v.text, _v.body).where(or_(_v.text.is_not(None), _v.body.is_not(None)))
    for row in connection.execute(said.execution_options(yield_per=1000)):
        yield from (part for part in row if part is not None)
    for column in (_c.name, _c.owner, _i.id, _t.name, _g.grantee, _d.detail, _b.actor, schema.holds.c.target):
        for (name,) in connection.execute(select(column).where(column.is_not(None)).distinct()):
            yield name


def copies_of(
    connection: Connection, identities: Collection[int], words: Collection[str], without: Collection[int]
) -> dict[int, list[str]]:
    """Ids of items now that have one of these identities or say one of these texts, by number of the cube."""
    found: dict[int, set[str]] = {}
    there = (_i.deleted == 0, _i.cube.not_in(sorted(without)))
    items = select(_i.cube, _i.id).where(*there)
    base = _i.cube * (1 << SEQ_BITS)
    said = items.select_from(schema.items.join(schema.versions, _v.place == base + _i.head)).where(*there)
    queries = [items.where(_i.dedup.in_(piece)) for piece in pieces(sorted(identities))]
    queries += [said.where(_v.text.in_(piece)) for piece in pieces(sorted(words))]
    for query in queries:
        for cube, id in connection.execute(query):
            found.setdefault(cube, set()).add(id)
    return {cube: sorted(ids) for cube, ids in sorted(found.items())}


def vectors_of_others(connection: Connection, blobs: Collection[bytes]) -> set[bytes]:
    """Those of these vectors that something which was not erased has too."""
    x = schema.vectors.c
    found: set[bytes] = set()
    for piece in pieces(sorted(blobs)):
        for column in (x.dense, x.tokens):
            found |= {bytes(row[0]) for row in connection.execute(select(column).where(column.in_(piece)))}
    return found


def accounted_for(connection: Connection, cubes: Iterable[int]) -> dict[int, int]:
    """For each item (its number where it was made) the place of the newest change that accounts for bytes that are gone."""
    found: dict[int, int] = {}
    for number in cubes:
        low, high = position(number, 0), position(number + 1, 0)
        query = (
            select(_v.item, func.max(_v.place))
            .where(_v.place > low, _v.place < high, _v.op.in_(ERASING))
            .group_by(_v.item)
        )
        found.update((item, place) for item, place in connection.execute(query))
    return found


def _head(member: Member) -> Head:
    return Head(member.item, member.id, member.head, member.version, member.deleted)


def _without(member: Member, ids: Collection[str]) -> Put:
    """The newest version of an item, without what names those that are erased."""
    newest = member.rows[0]
    body = None if newest.body is None else decode_body(newest.body)
    if body is not None:
        given = {id for id in ids if not MADE.fullmatch(id)}
        body = msgspec.structs.replace(
            body,
            links=tuple(link for link in body.links if link.target not in ids),
            derived_from=tuple(source for source in body.derived_from if source[0] not in given),
        )
    return Put(
        id=member.id,
        op="scrub",
        text=newest.text,
        body=body,
        state=LifecycleState(newest.state),
        head=_head(member),
        vectors_of=newest.vectors_of,
    )


def _bodies(member: Member) -> Iterator[Any]:
    yield from (decode_body(row.body) for row in member.rows if row.body is not None)


def _by_cube(members: Iterable[Member]) -> Iterator[tuple[int, list[Member]]]:
    found: dict[int, list[Member]] = {}
    for member in members:
        found.setdefault(member.cube, []).append(member)
    yield from sorted(found.items())
