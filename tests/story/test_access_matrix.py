"""If these fail, somebody reads, changes or finds out what is not theirs by one of the ways into memory, or the audit is
silent about it. Every public operation, by every right, for everybody: the operations are found by looking, and one that
the tables in `access_table` do not know fails by its name."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from memos_core import MOS, Actor, Message, Right
from memos_core.cli.root import main
from memos_core.errors import AccessDenied, CubeNotFound, MemosError
from memos_core.types.access import OPERATOR
from tests.story.access_table import ADAPTERS, CLI, HANDED, QUIET, TABLES, Hands, Op, finished, public_operations
from tests.story.telling import Clock

READ, WRITE, SHARE, ADMIN = Right.READ, Right.WRITE, Right.SHARE, Right.ADMIN
GIVES: dict[str, frozenset[Right]] = {
    "read": frozenset({READ}),
    "write": frozenset({READ, WRITE}),
    "share": frozenset({READ, SHARE}),
    "admin": frozenset(Right),
}
READING = {"search", "list", "get", "history", "nearest", "diff"}
BOB = Actor("bob", ("desk", "team"))  # whose grant is to his second role


@dataclass(frozen=True)
class Standing:
    """Who asks, and what the cube has been shared for with whom.

    Attributes:
        held: the rights that this comes to.
        by: the policy that gives them.
        ends: how they ended, before the operation and after the session was made: "" for not at all.
    """

    who: Actor
    grantee: str = ""
    rights: str = ""
    held: frozenset[Right] = frozenset()
    by: str = ""
    ends: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.who.id, self.grantee and f"{self.rights} to {self.grantee}", self.ends)))


def standings() -> Iterator[Standing]:
    yield Standing(Actor("alice"), held=frozenset(Right), by="owner")
    yield Standing(OPERATOR, held=frozenset(Right), by="operator")
    yield Standing(Actor("eve"))
    yield Standing(Actor("eve", ("guest",)), "role:team", "admin")  # another role's
    yield Standing(BOB, "carol", "admin")  # another one's
    for grantee, by in (("bob", "share"), ("role:team", "role"), ("*", "share")):
        for rights, held in GIVES.items():
            yield Standing(BOB, grantee, rights, held, by)
            yield Standing(BOB, grantee, rights, ends="expired")
        yield Standing(BOB, grantee, "admin", ends="revoked")
    yield Standing(Actor("eve"), "*", "read", GIVES["read"], "share")


STANDINGS = {str(each): each for each in standings()}
ROWS = [(place, name, op) for place, table in TABLES.items() for name, op in table.items() if isinstance(op, Op)]


class Place:
    """A store with a cube to fork from, and the rows of its database."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self._numbers = folder, Clock(), count(1)
        self.mos = MOS.open(folder, embedder="hashing:64", now=self.clock)
        self.mos.create_cube("template", owner="alice")
        alice = self.mos.session("alice", read_from=["template"], write_to=["template"], conversation="talk")
        alice.add("a lamp", id="a", key="k")
        alice.add("a table", id="b")
        alice.add("a chair that was thrown away", id="gone")
        alice.add("an ice cube", id="ice")
        alice.add("an old lamp", id="old")
        alice.add("my own lamp", id="mine", key="own", visibility="private")
        alice.add(Message(content="where is the lamp?", speaker="alice", role="user"))
        alice.update("a", text="a lamp on the table")
        alice.delete("gone")
        alice.freeze("ice")
        alice.archive("old")
        if hasattr(self.mos.cube("template"), "hold"):
            self.mos.cube("template").hold("item:b", reason="a case")

    def cube(self, standing: Standing, *, until: bool = False) -> str:
        """A cube like the template, shared as the standing says."""
        name = f"vault{next(self._numbers)}"
        self.mos.fork("template", name, owner="alice")
        self.mos.share(name, with_="dora")
        if standing.grantee:
            end = self.clock.now + timedelta(hours=1) if until or standing.ends == "expired" else None
            self.mos.share(name, with_=standing.grantee, rights=standing.rights, until=end)
        return name

    def end(self, standing: Standing, name: str) -> None:
        """Have the rights end as the standing says."""
        if standing.ends == "revoked":
            self.mos.unshare(name, with_=standing.grantee)
        elif standing.ends == "expired":
            self.clock.go(3600)

    def dump(self, name: str) -> list[Any]:
        """Everything that the database holds of a cube but its audit, and the names of all cubes."""
        with sqlite3.connect(self.folder / "memos.db") as side:
            ((number, head, policy, owner),) = side.execute(
                "SELECT cube, seq, policy, owner FROM cubes WHERE name = ?", [name]
            )
            low, high = number << 40, (number + 1) << 40
            return [
                (head, policy, owner),
                side.execute("SELECT name FROM cubes ORDER BY name").fetchall(),
                *(
                    side.execute(f"SELECT * FROM {table} WHERE cube = ? ORDER BY 1, 2", [number]).fetchall()  # noqa: S608
                    for table in ("items", "links", "grants", "conversations")
                ),
                side.execute("SELECT * FROM versions WHERE place BETWEEN ? AND ? ORDER BY 1", [low, high]).fetchall(),
                side.execute("SELECT count(*) FROM vectors WHERE place BETWEEN ? AND ?", [low, high]).fetchone(),
            ]

    def entries(self, name: str) -> int:
        """How many entries the audit of a cube has."""
        with sqlite3.connect(self.folder / "memos.db") as side:
            return int(side.execute("SELECT batches FROM cubes WHERE name = ?", [name]).fetchone()[0])

    def told(self, name: str, after: int) -> list[tuple[str, str, str, str]]:
        """What the audit of a cube says since: actor, action, operation, why."""
        self.mos._audit.flush()
        found = []
        for entry in self.mos.cube(name).audit(after):
            for each in entry.detail.get("operations", [entry.detail]):
                found.append((entry.actor or "", entry.action, each.get("operation", ""), each.get("by", "")))
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("matrix") / "store")
    yield made
    made.mos.close()


def test_every_public_operation_is_in_the_matrix() -> None:
    tables: dict[str, Any] = {**TABLES, "memos": CLI}
    missing = [f"{where}.{name}" for where, name in public_operations() if name not in tables[where]]
    assert not missing, f"say in tests/story/access_table.py which right it takes: {', '.join(missing)}"


FOUND = set(public_operations())
CELLS = [
    (standing, where, name, op) for standing in STANDINGS.values() for where, name, op in ROWS if (where, name) in FOUND
]


def made(place: Place, standing: Standing, name: str, where: str, op: Op) -> Hands:
    """What the operation is called on; raises where the actor may not even have that."""
    mos, who = place.mos, standing.who
    hands = Hands(mos, who, name)
    if where in ("MOS", "AsyncMOS"):
        return hands
    if where == "MemCube":
        return replace(hands, cube=mos.cube(name, actor=None if who == OPERATOR else who))
    writes = [name] if (op.needs or op.right) is WRITE else []
    return replace(hands, session=mos.session(who, read_from=[name], write_to=writes, conversation="talk"))


def drive(place: Place, standing: Standing, name: str, where: str, op: Op) -> MemosError | None:
    """Do it; the error that it raised."""
    try:
        hands = made(place, replace(standing, ends=""), name, where, op)
        finished(HANDED[where](op.do)(hands))
    except MemosError as error:
        return error
    return None


def wrong_with(place: Place, standing: Standing, where: str, name: str, op: Op, shared: str) -> str:
    """What is wrong with one cell; "" for nothing."""
    allowed = op.right in standing.held
    cube = place.cube(standing) if (allowed and op.told not in READING) or standing.ends else shared
    hands = None
    if standing.ends:
        try:
            hands = made(place, standing, cube, where, op)
        except AccessDenied:
            hands = None
        place.end(standing, cube)
    place.mos._audit.flush()
    before, entries = place.dump(cube), place.entries(cube)
    error: MemosError | None = None
    if hands is None:
        error = drive(place, standing, cube, where, op)
    else:
        try:
            finished(HANDED[where](op.do)(hands))
        except MemosError as raised:
            error = raised
    told = place.told(cube, entries)
    if allowed:
        if error is not None:
            return f"{type(error).__name__}: {error}"
        if op.told in READING:
            wanted = (standing.who.id, "read", op.told, standing.by)
        else:
            wanted = (standing.who.id, op.told, "", standing.by)
        return "" if op.told == QUIET or wanted in told else f"{wanted} is not in the audit: {told}"
    expected = AccessDenied if READ in standing.held else CubeNotFound
    if type(error) is not expected:
        return f"{expected.__name__} wanted, not {error!r}"
    if place.dump(cube) != before:
        return "something has changed"
    refused = [each for each in told if each[:2] == (standing.who.id, "denied")]
    if not refused or not all(why.startswith("may ") for *_, why in refused):
        return f"the denial is not in the audit: {told}"
    if expected is CubeNotFound:
        absent = drive(place, standing, "nowhere", where, op)
        if type(absent) is not CubeNotFound or str(absent).replace("nowhere", cube) != str(error):
            return f"{error} tells that it is there; of one that is not: {absent!r}"
    return ""


@pytest.mark.parametrize("standing", STANDINGS)
def test_each_operation_by_each_right(place: Place, standing: str) -> None:
    who = STANDINGS[standing]
    shared = place.cube(replace(who, ends=""))
    found = {}
    for own, where, name, op in CELLS:
        if own is who and not (who == OPERATOR and where not in ("MemCube",)) and not _not_his(who, where):
            wrong = wrong_with(place, who, where, name, op, shared)
            if wrong:
                found[f"{where}.{name}"] = wrong
    assert not found, "\n".join(f"{name}: {wrong}" for name, wrong in found.items())


def _not_his(standing: Standing, where: str) -> bool:
    """The holder of the store has no sessions: they are for actors."""
    return standing.who == OPERATOR and where != "MemCube"
