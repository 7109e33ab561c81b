"""If these fail, somebody reads, changes or finds out what is not theirs by one of the ways into memory, or the audit is
silent about it. Every public operation, by every right, for everybody: the operations are found by looking, and one that
the tables in `access_table` do not know fails by its name."""

from __future__ import annotations

import re
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
from tests.story.access_table import CLI, HANDED, QUIET, TABLES, Hands, Op, finished, public_operations
from tests.story.telling import Clock

READ, WRITE, SHARE, ADMIN = Right.READ, Right.WRITE, Right.SHARE, Right.ADMIN
GIVES: dict[str, frozenset[Right]] = {
    "read": frozenset({READ}),
    "write": frozenset({READ, WRITE}),
    "share": frozenset({READ, SHARE}),
    "admin": frozenset(Right),
}
READING = {"search", "list", "get", "history", "nearest", "diff", "working"}
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

    def cube(self, standing: Standing, told: str = "") -> str:
        """A cube like the template, shared as the standing says.

        Args:
            told: the audit entry of what will be done to it. Erasing takes bytes, so those must be its own.
        """
        name = f"vault{next(self._numbers)}"
        if told == "erase":
            self.mos.create_cube(name, owner="alice")
            self.mos.session("alice", read_from=[name], write_to=[name]).add("a lamp", id="a")
        else:
            self.mos.fork("template", name, owner="alice")
        if told == "release":
            self.mos.cube(name).hold("subject:nobody", reason="a case")
        self.mos.share(name, with_="dora")
        if standing.grantee:
            end = self.clock.now + timedelta(hours=1) if standing.ends == "expired" else None
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
                    side.execute(f"SELECT * FROM {table} WHERE cube = ? ORDER BY 1, 2", [number]).fetchall()
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


def drive(
    place: Place, standing: Standing, name: str, where: str, op: Op, hands: Hands | None = None
) -> MemosError | None:
    """Do it; the error that it raised."""
    try:
        finished(HANDED[where](op.do)(hands or made(place, standing, name, where, op)))
    except MemosError as error:
        return error
    return None


def wrong_with(
    place: Place, standing: Standing, where: str, name: str, op: Op, shared: str, hands: Hands | None
) -> str:
    """What is wrong with one cell; "" for nothing."""
    allowed = op.right in standing.held
    cube = (
        place.cube(standing, "erase" if "eras" in name else op.told) if allowed and op.told not in READING else shared
    )
    before, entries = None if allowed else place.dump(cube), place.entries(cube)
    error = drive(place, standing, cube, where, op, hands)
    told = place.told(cube, entries)
    if allowed:
        if error is not None:
            return f"{type(error).__name__}: {error}"
        reads = op.told in READING
        wanted = (standing.who.id, "read" if reads else op.told, op.told if reads else "", standing.by)
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
    """Allowed: it is done, and the audit says by which right. Denied: as if it were not there, or that it may not; nothing has
    changed, and the audit says so. Where the rights have ended, sessions that were open before are asked."""
    who = STANDINGS[standing]
    shared = place.cube(who)
    cells = [cell for cell in CELLS if cell[0] is who and not _not_his(who, cell[1])]
    held = [_made_before(place, who, shared, where, op) for _, where, _, op in cells]
    place.end(who, shared)
    place.mos._audit.flush()
    found = {}
    for (_, where, name, op), hands in zip(cells, held, strict=True):
        wrong = wrong_with(place, who, where, name, op, shared, hands)
        if wrong:
            found[f"{where}.{name}"] = wrong
    assert not found, "\n".join(f"{name}: {wrong}" for name, wrong in found.items())


def _made_before(place: Place, standing: Standing, name: str, where: str, op: Op) -> Hands | None:
    """What the operation is called on, from before the rights ended; None where it has not, or never had enough."""
    try:
        return made(place, standing, name, where, op) if standing.ends else None
    except AccessDenied:
        return None


def _not_his(standing: Standing, where: str) -> bool:
    """The holder of the store has no sessions: they are for actors."""
    return standing.who == OPERATOR and where != "MemCube"


# -- the command line -----------------------------------------------------------------------------------------------------

COMMANDS = [(name, row) for name, row in CLI.items() if isinstance(row, tuple) and ("memos", name) in FOUND]
AT_THE_DESK = [each for each in STANDINGS.values() if not each.who.roles and each.who != OPERATOR] + [
    Standing(Actor("bob"), grantee, rights, held, "share")
    for grantee in ("bob", "*")
    for rights, held in GIVES.items()
    if grantee == "bob" or rights == "read"
]
AT_THE_DESK += [Standing(Actor("bob"), "bob", "admin", ends="expired")]


@pytest.mark.parametrize("standing", AT_THE_DESK, ids=str)
def test_each_command_by_each_right(place: Place, tmp_path: Path, standing: Standing) -> None:
    (tmp_path / "notes.md").write_text("# Light\n\nThe lamp is bright.")
    shared = place.cube(standing)
    place.end(standing, shared)
    place.mos._audit.flush()
    found = {}
    for name, (right, told, words) in COMMANDS:
        if "CHROMA" in words:  # needs a collection of Chroma's; it writes by the same session as `add`
            continue
        allowed = right in standing.held
        cube = place.cube(standing, told) if allowed and told not in READING else shared
        own = {"CUBE": cube, "OWN": f"{standing.who.id}/{cube}", "FILE": str(tmp_path / "notes.md")}
        line = [own.get(word, word) for word in words]
        before, entries = place.dump(cube), place.entries(cube)
        asked = ["--store", str(place.folder), "--as", standing.who.id, "--json", *line]
        done = CliRunner().invoke(main, asked)
        said = place.told(cube, entries)
        if allowed:
            wanted = (
                standing.who.id,
                "read" if told in READING else told,
                told if told in READING else "",
                standing.by,
            )
            if done.exit_code or (told != QUIET and wanted not in said):
                found[name] = f"{done.exit_code} {done.output} {said}"
        else:
            code, kind = (3, "AccessDenied") if READ in standing.held else (1, "CubeNotFound")
            refused = [each for each in said if each[:2] == (standing.who.id, "denied")]
            if done.exit_code != code or kind not in done.output or not refused or place.dump(cube) != before:
                found[name] = f"{done.exit_code} {done.output} {said}"
    assert not found, "\n".join(f"{name}: {wrong}" for name, wrong in found.items())


def test_how_many_cells_there_are(record_property: Any) -> None:
    """The documentation says how many; it must not promise more than there are."""
    driven = [1 for standing, where, *_ in CELLS if not _not_his(standing, where)]
    cells = len(driven) + len(COMMANDS) * len(AT_THE_DESK)
    record_property("rounds", f"{cells} cells of the access matrix")
    text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    (promised,) = re.findall(r"([\d,]+) cells", text)
    assert int(promised.replace(",", "")) <= cells
