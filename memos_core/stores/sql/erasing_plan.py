"""What an erasure takes: every row of the items, in the cubes asked for and in those that share their bytes.

A fork has the rows of the cube that it was forked from, so an item that both have is one: it is found by the cube that its
first change was made in (its origin), and its members are that item in each cube that shares the change.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, or_, select

from memos_core.stores.sql import holds, schema
from memos_core.stores.sql.changes import decode_body
from memos_core.stores.sql.lookups import cube_row
from memos_core.stores.sql.schema import cube_of, position, seq_of
from memos_core.stores.sql.spans import Spans, spans_of
from memos_core.stores.sql.statements import Statements
from memos_core.types.erasure import ErasedWords, Erasing, ErasurePlan
from memos_core.types.preferences import PREFERENCE
from memos_core.types.work import Body, CubeRow

_v, _i, _b, _l, _x = schema.versions.c, schema.items.c, schema.batches.c, schema.links.c, schema.vectors.c
MADE: Final = re.compile(r"[0-9a-f]{32}|erased-[0-9a-f]{24}")  # ids that memos makes: they say nothing of anybody
_AT_ONCE: Final = 500
_LEAST_WORDS: Final = 15  # bytes of what is looked for in files; less is everywhere
_json = msgspec.json.Encoder().encode
Origin = tuple[int, int]  # number of a cube, number of the change that made the item


class Row(msgspec.Struct, frozen=True):
    """A version of an item that is affected. `place` is where it lies, which may be in the range of another cube."""

    place: int
    version: int
    prev: int
    op: str
    state: str
    vectors_of: int
    text: str | None
    body: str | None
    actor: str | None


class Member(msgspec.Struct):
    """An item in one cube.

    Attributes:
        cube: number of the cube.
        item: number of the item, in that cube.
        id, head, version, deleted: as in `Head`.
        rows: all its versions, newest first.
    """

    cube: int
    item: int
    id: str
    head: int
    version: int
    deleted: bool
    rows: list[Row] = []


class Found(msgspec.Struct):
    """What a plan is made of, for whoever carries it out.

    Attributes:
        cubes: all of the store, by number.
        members: of the items that go, by origin.
        naming: of the items that name them and stay, by origin.
        stale: places of earlier versions of those that name an id that a caller gave: they go.
        old_ids: (cube, id) of the items that go, before they get other ones.
        plan: what is told.
    """

    cubes: dict[int, CubeRow]
    members: dict[Origin, list[Member]]
    naming: dict[Origin, list[Member]]
    stale: set[int]
    old_ids: frozenset[tuple[int, str]]
    plan: ErasurePlan

    @property
    def given(self) -> set[str]:
        """The ids among these that callers gave."""
        return {id for _, id in self.old_ids if not MADE.fullmatch(id)}


class Finder:
    """Finds what an erasure takes, at one moment.

    Args:
        connection: inside a transaction.
        statements: compiled ones of this database.
        what: what to erase.
    """

    def __init__(self, connection: Connection, statements: Statements, what: Erasing) -> None:
        self._connection = connection
        self._statements = statements
        self._what = what
        rows = connection.execute(select(schema.cubes).order_by(schema.cubes.c.cube)).mappings().fetchall()
        self.cubes = {row["cube"]: cube_row(row) for row in rows}
        self._forks: dict[int, list[CubeRow]] = defaultdict(list)
        for cube in self.cubes.values():
            if cube.base_seq:
                self._forks[cube.base].append(cube)
        self._known_spans: dict[int, Spans] = {}
        self._preferences: set[Origin] = set()  # that were derived from something

    def family(self) -> set[int]:
        """The cubes looked at, and all that share bytes with them."""
        found, waiting = set[int](), [number for number in self._what.cubes if number in self.cubes]
        while waiting:
            number = waiting.pop()
            if number not in found:
                found.add(number)
                cube = self.cubes[number]
                waiting += [cube.base] if cube.base_seq else []
                waiting += [fork.number for fork in self._forks[number]]
        return found

    def find(self) -> Found:
        """Everything."""
        family = self.family()
        origins = {self._origin(cube, first) for cube, first in self._asked()}
        references = self._references(family)
        members = self._members(origins)
        derived = self._derived(references, members)
        while True:  # preferences quote what they were made from: they go with it, always
            going = derived if self._what.derived else derived & self._preferences
            if not going - origins:
                break
            origins |= going
            members = self._members(origins)
            derived = self._derived(references, members)
        derived -= origins
        naming, stale = self._naming(references, members)
        old_ids = frozenset((member.cube, member.id) for each in members.values() for member in each)
        return Found(self.cubes, members, naming, stale, old_ids, self._told(members, naming, derived))

    def held(self, cube: CubeRow) -> dict[str, str]:
        """Those of the items of a cube that were asked for which a legal hold covers, with a sentence that says so."""
        members = self._members({self._origin(number, first) for number, first in self._asked()})
        own = [member for each in members.values() for member in each if member.cube == cube.number]
        return {id: told for told, ids in self._holds(own) for id in ids}

    # -- which items ----------------------------------------------------------------------------------------------

    def _asked(self) -> Iterator[Origin]:
        """(cube, number of its first change) of each item that was asked for."""
        for number, ids in self._what.items.items():
            for piece in pieces(ids):
                query = select(_i.item).where(_i.cube == number, _i.id.in_(piece))
                yield from ((number, seq_of(item)) for (item,) in self._connection.execute(query))
        if self._what.subject is not None:
            for number in self._what.cubes:
                yield from ((number, first) for first in self._by_or_from(number, self._what.subject))

    def _by_or_from(self, number: int, subject: str) -> Iterator[int]:
        """First changes of the items of a cube that an actor wrote, said, or that are private to it, or that it alone owns."""
        cube = self.cubes[number]
        if own_name(cube.name, subject) and cube.owner == subject:
            yield from (seq_of(item) for (item,) in self._ask(select(_i.item).where(_i.cube == number)))
            return
        low, high = position(number, 0), position(number + 1, 0)
        wrote = (
            select(_v.item)
            .select_from(schema.versions.join(schema.batches, (_b.cube == number) & (_b.number == _v.batch)))
            .where(_v.place > low, _v.place < high, _b.actor == subject, _v.op != "scrub")
        )
        yield from (seq_of(item) for (item,) in self._ask(wrote))
        named = _json(subject).decode()
        said = or_(*(_v.body.contains(f'"{name}":{named}', autoescape=True) for name in ("speaker", "private_to")))
        for item, body in self._ask(select(_v.item, _v.body).where(_v.place > low, _v.place < high, said)):
            if subject in names_in(decode_body(body)):
                yield seq_of(item)

    def _ask(self, query: Select[Any]) -> Sequence[Any]:
        return self._connection.execute(query).fetchall()

    def _spans(self, number: int) -> Spans:
        found = self._known_spans.get(number)
        if found is None:
            found = self._known_spans[number] = spans_of(self._connection, self._statements, self.cubes[number])
        return found

    def _origin(self, number: int, first: int) -> Origin:
        """Where an item of a cube was made: in that cube, or in one that it was forked from."""
        return cube_of(self._spans(number).place(first)), first

    def _sharing(self, origin: Origin) -> Iterator[int]:
        """The cubes that have an item."""
        number, first = origin
        yield number
        for fork in self._forks[number]:
            if fork.base_seq >= first:
                yield from self._sharing((fork.number, first))

    def _members(self, origins: Collection[Origin]) -> dict[Origin, list[Member]]:
        """The items in each cube that has them, with all their versions; those that were erased before are left out."""
        wanted = {position(number, origin[1]): origin for origin in sorted(origins) for number in self._sharing(origin)}
        members: dict[int, Member] = {}
        for piece in pieces(list(wanted)):
            query = select(_i.item, _i.cube, _i.id, _i.head, _i.version, _i.deleted).where(_i.item.in_(piece))
            for item, cube, id_, head, version, deleted in self._ask(query):
                members[item] = Member(cube, item, id_, head, version, bool(deleted), [])
        self._read_versions(list(members.values()))
        found: dict[Origin, list[Member]] = {}
        for item, origin in wanted.items():
            member = members.get(item)
            if member is not None and member.rows and member.rows[0].op != "erase":
                found.setdefault(origin, []).append(member)
        return found

    def _read_versions(self, members: Sequence[Member]) -> None:
        waiting = [(member, member.head) for member in members]
        while waiting:
            rows: dict[int, Row] = {}
            for piece in pieces(sorted({self._spans(member.cube).place(seq) for member, seq in waiting})):
                query = (
                    select(_v.place, _v.version, _v.prev, _v.op, _v.state, _v.vectors_of, _v.text, _v.body, _b.actor)
                    .select_from(schema.versions)
                    .join(schema.items, _i.item == _v.item)
                    .join(schema.batches, (_b.cube == _i.cube) & (_b.number == _v.batch))
                    .where(_v.place.in_(piece))
                )
                rows.update({row[0]: Row(*row) for row in self._ask(query)})
            older = []
            for member, seq in waiting:
                row = rows.get(self._spans(member.cube).place(seq))
                if row is not None:
                    member.rows.append(row)
                    if row.prev:
                        older.append((member, row.prev))
            waiting = older

    # -- who names them -------------------------------------------------------------------------------------------

    def _references(self, family: Collection[int]) -> list[tuple[int, int, frozenset[str], frozenset[str]]]:
        """(cube, first change of the item, ids it links to, ids it was derived from) of each version that names others."""
        found = []
        names = or_(*(_v.body.like(f'%"{name}":[%') for name in ("links", "derived_from")))
        for number in sorted(family):
            low, high = position(number, 0), position(number + 1, 0)
            query = select(_v.place, _v.item, _v.body).where(_v.place > low, _v.place < high, names)
            for _, item, encoded in self._ask(query):
                body = decode_body(encoded)
                targets = frozenset(link.target for link in body.links)
                if body.type == PREFERENCE:
                    self._preferences.add(self._origin(number, seq_of(item)))
                found.append((number, seq_of(item), targets, frozenset(id for id, _ in body.derived_from)))
        return found

    def _derived(
        self,
        references: Iterable[tuple[int, int, frozenset[str], frozenset[str]]],
        members: dict[Origin, list[Member]],
    ) -> set[Origin]:
        ids = self._ids(members)
        return {
            self._origin(number, first)
            for number, first, _, sources in references
            if not sources.isdisjoint(ids.get(number, ()))
        }

    def _ids(self, members: dict[Origin, list[Member]]) -> dict[int, set[str]]:
        ids: dict[int, set[str]] = defaultdict(set)
        for each in members.values():
            for member in each:
                ids[member.cube].add(member.id)
        return ids

    def _naming(
        self,
        references: Iterable[tuple[int, int, frozenset[str], frozenset[str]]],
        members: dict[Origin, list[Member]],
    ) -> tuple[dict[Origin, list[Member]], set[int]]:
        """The items that stay and name those that go, and the places of versions of theirs that go with them."""
        ids = self._ids(members)
        given = {number: {id for id in own if not MADE.fullmatch(id)} for number, own in ids.items()}
        origins = set()
        for number, first, targets, sources in references:
            own, personal = ids.get(number, set()), given.get(number, set())
            if not targets.isdisjoint(own) or not sources.isdisjoint(personal):
                origins.add(self._origin(number, first))
        naming: dict[Origin, list[Member]] = {}
        stale: set[int] = set()
        for origin, each in self._members(origins - members.keys()).items():
            for member in each:
                personal = given.get(member.cube, set())
                old = {row.place for row in member.rows if names_one_of(row.body, personal)}
                newest = member.rows[0].body
                if old or (newest is not None and links_to(newest, ids.get(member.cube, set()))):
                    naming.setdefault(origin, []).append(member)
                    stale |= old
        return naming, stale

    # -- what is told ---------------------------------------------------------------------------------------------

    def _told(
        self, members: dict[Origin, list[Member]], naming: dict[Origin, list[Member]], derived: Collection[Origin]
    ) -> ErasurePlan:
        going = [member for each in members.values() for member in each]
        rows = {row.place: row for member in going for row in member.rows}
        held = sorted(place for place in rows if rows[place].vectors_of == seq_of(place))
        vectors: list[tuple[bytes, bytes | None]] = []
        for piece in pieces(held):
            query = select(_x.dense, _x.tokens).where(_x.place.in_(piece))
            vectors += [(row[0], row[1]) for row in self._ask(query)]
        touched = {member.cube for member in going}
        identities: set[int] = set()
        for piece in pieces(sorted(member.item for member in going)):
            query = select(_i.dedup).where(_i.item.in_(piece), _i.dedup.is_not(None))
            identities |= {row[0] for row in self._ask(query)}
        items = tuple(sorted((self.cubes[member.cube].name, member.id) for member in going))
        state = sorted((member.cube, member.item, member.head) for member in going)
        asked = msgspec.json.encode([state, self._what.subject, sorted(self._what.cubes) if self._what.subject else []])
        return ErasurePlan(
            items=items,
            versions=len(rows),
            vectors=len(vectors),
            cubes=tuple(sorted(self.cubes[number].name for number in touched)),
            shared_with=tuple(sorted(self.cubes[n].name for n in touched.difference(self._what.cubes))),
            derived=tuple(sorted((self.cubes[m.cube].name, m.id) for e in self._members(derived).values() for m in e)),
            naming=tuple(sorted((self.cubes[m.cube].name, m.id) for each in naming.values() for m in each)),
            identities=frozenset(identities),
            holds=tuple(told for told, _ in self._holds(going)),
            said=frozenset(row.text for row in rows.values() if row.text is not None and _long(row.text)),
            words=_words(going, rows.values(), vectors, self._what.subject),
            token=hashlib.sha256(asked).hexdigest()[:16],
        )

    def _holds(self, going: Sequence[Member]) -> Iterator[tuple[str, list[str]]]:
        for number in sorted({member.cube for member in going}):
            cube = self.cubes[number]
            placed = holds.holds_on(self._connection, cube)
            if placed:
                own = [(member.id, people(member.rows)) for member in going if member.cube == number]
                yield from holds.covering(placed, own)


def held(connection: Connection, statements: Statements, cube: CubeRow, ids: Sequence[str]) -> dict[str, str]:
    """Those of these items of a cube that a legal hold covers, with a sentence that says so."""
    if not ids or not holds.holds_on(connection, cube):
        return {}
    what = Erasing(cubes=(cube.number,), items={cube.number: tuple(ids)})
    return Finder(connection, statements, what).held(cube)


def own_name(name: str, actor: str) -> bool:
    """Whether a cube's name is an actor's own, or below it."""
    return name == actor or name.startswith(f"{actor}/")


def names_in(body: Body) -> set[str]:
    """Who said it, and to whom it is private."""
    speaker = body.source.speaker if body.source is not None else None
    return {name for name in (speaker, body.private_to) if name is not None}


def people(rows: Iterable[Row]) -> frozenset[str]:
    """Who wrote or said any of these versions, or to whom one is private."""
    found: set[str] = set()
    for row in rows:
        found |= {row.actor} if row.actor and row.op != "scrub" else set()
        found |= names_in(decode_body(row.body)) if row.body is not None else set()
    return frozenset(found)


def links_to(encoded: str, ids: Collection[str]) -> bool:
    """Whether a body has links to one of these items."""
    return '"links"' in encoded and any(link.target in ids for link in decode_body(encoded).links)


def names_one_of(encoded: str | None, ids: Collection[str]) -> bool:
    """Whether a body links to one of these items, or says that it was derived from one."""
    if encoded is None or not ids or ('"links"' not in encoded and '"derived_from"' not in encoded):
        return False
    body = decode_body(encoded)
    return any(link.target in ids for link in body.links) or any(id in ids for id, _ in body.derived_from)


def _words(
    going: Sequence[Member],
    rows: Iterable[Row],
    vectors: Iterable[tuple[bytes, bytes | None]],
    subject: str | None,
) -> ErasedWords:
    texts: set[str] = set()
    for row in rows:
        if row.text is not None:
            texts.add(row.text)
        if row.body is not None:
            texts.update(_strings(msgspec.json.decode(row.body)))
    ids = {member.id for member in going if not MADE.fullmatch(member.id)} | ({subject} if subject else set())
    long = frozenset(text for text in texts if _long(text) and not MADE.fullmatch(text))
    blobs = tuple(blob for pair in vectors for blob in pair if blob)
    return ErasedWords(long, blobs, frozenset(filter(_long, ids)))


def _long(text: str) -> bool:
    return len(text.encode()) >= _LEAST_WORDS


def _strings(value: Any) -> Iterator[str]:
    """All strings in some JSON that somebody may have written; names of fields and times are not among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            if name not in _PLAIN:
                yield from _strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from _strings(member)


_PLAIN: Final = frozenset({"kind", "type", "occurred_at", "expires_at", "at"})


def pieces(members: Sequence[Any]) -> Iterator[list[Any]]:
    """Few enough at a time to be bound in one statement."""
    for start in range(0, len(members), _AT_ONCE):
        yield list(members[start : start + _AT_ONCE])
