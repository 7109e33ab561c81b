"""A small audited store that tests may alter behind its back: every row of it can be read, put back, and forged."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import TableClause, delete, select, update

from memos_core.governance.audit_check import AuditFinding, AuditVerifier
from memos_core.governance.checkpoints import Anchoring, Checkpoints
from memos_core.governance.keys import TrustedKeys
from memos_core.protocols.storage import Anchor
from memos_core.stores.sql import audit, schema
from memos_core.stores.sql.records import SqlStore
from memos_core.types.access import Right
from memos_core.types.work import Body, CubeRow, Put

Rows = dict[str, list[dict[str, Any]]]
TABLES: tuple[TableClause, ...] = (
    *(schema.cubes, schema.items, schema.versions),
    *(schema.batches, schema.details, schema.checkpoints),
)
KEYS = {
    "cubes": ("cube",),
    "items": ("item",),
    "versions": ("place",),
    "batches": ("cube", "number"),
    "details": ("cube", "number"),
    "checkpoints": ("cube", "number"),
}


class Audited:
    """A store, its anchor and its key.

    Attributes:
        states: all rows as they were after each transaction, oldest first; the last is the whole story.
    """

    def __init__(self, store: SqlStore, folder: Path, anchor: Anchor | None) -> None:
        self.store = store
        self.anchor = anchor
        self.key = folder / "audit.key"
        self.checkpoints = Checkpoints(store, Anchoring(anchor=anchor, key=self.key))
        self.states: list[Rows] = []

    # -- the story ------------------------------------------------------------------------------------------------

    def tell(self) -> Audited:
        """Two cubes, twelve transactions, three checkpoints."""
        ann, bob = (self.create(name) for name in ("ann", "bob"))
        self.add(ann, "a1", "a2")
        self.add(bob, "b1")
        self.note(ann, "carol", "read", operations=[{"operation": "get", "ids": ["a1"], "by": "owner"}])
        self.checkpoints.make()
        self.share(ann, "dave", Right.READ)
        self.edit(ann, "a1", "changed")
        self.add(ann, "a3", "a4", "a5")
        self.share(bob, "dave", Right.READ, Right.WRITE)
        self.checkpoints.make(ann.number)
        self.edit(ann, "a2", None)
        self.note(ann, "eve", "denied", operations=[{"operation": "write", "by": "only: read"}])
        self.share(ann, "dave")
        self.checkpoints.make()
        self.states[-1] = self.rows()
        return self

    def create(self, name: str) -> CubeRow:
        with self.store.begin(actor=name, action="create") as transaction:
            made = transaction.create_cube(name, name)
        return self._remembered(made)

    def add(self, cube: CubeRow, *ids: str) -> None:
        with self.store.begin(actor=cube.name, action="add") as transaction:
            assert transaction.cube(cube.name)
            transaction.note(cube, by="owner")
            transaction.put(cube, [Put(id=each, op="add", text=f"text of {each}", body=Body()) for each in ids])
        self._remembered(cube)

    def edit(self, cube: CubeRow, id: str, text: str | None) -> None:
        head = self.store.heads(cube, [id])[id]
        op: Any = "delete" if text is None else "update"
        with self.store.begin(actor=cube.name, action=op) as transaction:
            assert transaction.cube(cube.name)
            transaction.put(cube, [Put(id=id, op=op, text=text, body=None if text is None else Body(), head=head)])
        self._remembered(cube)

    def note(self, cube: CubeRow, actor: str, action: str, **detail: Any) -> None:
        with self.store.begin(actor=actor, action=action) as transaction:
            assert transaction.cube(cube.name)
            transaction.note(cube, **detail)
            transaction.enter(cube)
        self._remembered(cube)

    def share(self, cube: CubeRow, grantee: str, *rights: Right) -> None:
        self.store.share(cube, grantee, frozenset(rights), by=cube.name)
        self._remembered(cube)

    def _remembered(self, cube: CubeRow) -> CubeRow:
        self.states.append(self.rows())
        return cube

    # -- verifying ------------------------------------------------------------------------------------------------

    def verify(self, *, anchor: Anchor | None = None, key: Path | None = None) -> list[AuditFinding]:
        """What is found with an anchor (None: without one)."""
        trusted = TrustedKeys([key or self.key])
        return AuditVerifier(self.store, trusted, "", anchor, None).verify(self.store.cubes(), everything=True)

    def bad(self, **how: Any) -> list[str]:
        """What is found to be wrong, or erased."""
        return [f"{found.level}: {found.what}" for found in self.verify(**how) if found.level != "unknown"]

    # -- behind its back ------------------------------------------------------------------------------------------

    def rows(self) -> Rows:
        """Every row."""
        with self.store.database.reading() as connection:
            return {table.name: [dict(row) for row in connection.execute(select(table)).mappings()] for table in TABLES}

    def put_back(self, rows: Rows) -> None:
        """Have these rows and no others."""
        with self.store.database.writing(alone=True) as connection:
            for table in TABLES:
                connection.execute(delete(table))
                if rows[table.name]:
                    connection.execute(table.insert(), rows[table.name])

    def change(self, table: str, row: dict[str, Any], **values: Any) -> None:
        """Change one row."""
        it = next(each for each in TABLES if each.name == table)
        here = [it.c[name] == row[name] for name in KEYS[table]]
        with self.store.database.writing(alone=True) as connection:
            connection.execute(update(it).where(*here).values(**values))


def relinked(rows: Rows, cube: int) -> Rows:
    """The same rows with every digest, seal, root and hash of a cube made anew: all that can be done without the key."""
    rows = copy.deepcopy(rows)
    ids = {row["item"]: row["id"] for row in rows["items"]}
    for row in rows["versions"]:
        if schema.cube_of(row["place"]) == cube:
            header = audit.header_of(ids[row["item"]], row["version"], row["op"], row["state"], row["prev"])
            row["digest"] = audit.digest(row["salt"], header, row["text"], row["body"])
    digests = {row["place"]: row["digest"] for row in rows["versions"]}
    details = {(row["cube"], row["number"]): row for row in rows["details"]}
    previous = audit.GENESIS
    own = sorted((row for row in rows["batches"] if row["cube"] == cube), key=lambda row: row["number"])
    for row in own:
        told = details.get((cube, row["number"]))
        row["sealed"] = audit.seal(
            row["salt"], row["actor"], told["salt"] if told else b"", told["detail"] if told else None
        )
        places = range(schema.position(cube, row["first_seq"]), schema.position(cube, row["last_seq"]) + 1)
        row["root"] = audit.merkle_root([digests[place] for place in places] if row["first_seq"] else [])
        facts = (row["action"], row["first_seq"], row["last_seq"], row["at"])
        row["hash"] = audit.sealed_link(previous, cube, row["number"], *facts, row["sealed"], row["root"])
        previous = row["hash"]
    (counter,) = (row for row in rows["cubes"] if row["cube"] == cube)
    counter.update(batches=len(own), chain=previous)
    return rows


def stripped(rows: Rows) -> Rows:
    """The same rows without any signed checkpoint."""
    rows = copy.deepcopy(rows)
    rows["checkpoints"] = []
    for row in rows["cubes"]:
        row["checkpointed"] = 0
    return rows


def other(value: Any, chance: random.Random) -> Any:
    """Another value of the same kind, or one of no kind where that may be."""
    if isinstance(value, int):
        return value + chance.choice((-1, 1, 7))
    if isinstance(value, str):
        return chance.choice((value + "x", value[:-1] + "~", "")) if value else "x"
    if isinstance(value, bytes):
        place = chance.randrange(len(value))
        return value[:place] + bytes([value[place] ^ (1 << chance.randrange(8))]) + value[place + 1 :]
    return chance.choice(("eve", "x"))


Edit = Callable[[Rows, random.Random], str]


def _column(rows: Rows, chance: random.Random) -> str:
    table = chance.choice(("batches", "batches", "details", "checkpoints", "versions"))
    row = chance.choice(rows[table])
    committed = {"versions": ("item", "version", "op", "state", "prev", "batch", "text", "body", "salt", "digest")}
    name = chance.choice(committed.get(table, tuple(row)))
    before = row[name]
    if before is None and isinstance(chance, random.Random) and name in ("salt", "sealed"):
        row[name] = b"x"
    elif name in ("actor", "salt", "sealed", "text", "body") and before is not None and chance.random() < 0.3:
        row[name] = None if table in ("batches", "versions") else other(before, chance)
    else:
        row[name] = other(before, chance)
    return f"{table}.{name} from {before!r} to {row[name]!r}"


def _deleted(rows: Rows, chance: random.Random) -> str:
    table = chance.choice(("batches", "batches", "details", "checkpoints", "versions", "items"))
    row = rows[table].pop(chance.randrange(len(rows[table])))
    return f"a row of {table} deleted: {row}"


def _inserted(rows: Rows, chance: random.Random) -> str:
    table = chance.choice(("batches", "details", "checkpoints"))
    row = dict(chance.choice(rows[table]))
    row["number"] = chance.choice(
        (0, 20, max(each["number"] for each in rows[table] if each["cube"] == row["cube"]) + 1)
    )
    if any((each["cube"], each["number"]) == (row["cube"], row["number"]) for each in rows[table]):
        row["number"] += 40
    rows[table].append(row)
    return f"a row of {table} inserted as number {row['number']}"


def _swapped(rows: Rows, chance: random.Random) -> str:
    table = chance.choice(("batches", "batches", "details", "checkpoints"))
    one, two = chance.sample(rows[table], 2)
    names = [name for name in one if name not in ("number", "cube")]
    if chance.random() < 0.5:  # what is in the rows, not the rows themselves
        names = [chance.choice([name for name in names if one[name] != two[name]] or names)]
    for name in names:
        one[name], two[name] = two[name], one[name]
    return f"rows {one['number']} and {two['number']} of {table} swapped: {names}"


def _rewritten(rows: Rows, chance: random.Random) -> str:
    """An edit, and the whole chain made to fit it; with the signed checkpoints gone in half of the cases."""
    row = chance.choice(rows["batches"])
    kind = chance.choice(("actor", "action", "at", "detail", "text", "tail"))
    cube = row["cube"]
    if kind == "text":
        chance.choice([each for each in rows["versions"] if each["text"] and schema.cube_of(each["place"]) == cube])[
            "text"
        ] = "forged"
    elif kind == "detail":
        told = [each for each in rows["details"] if each["cube"] == cube]
        chance.choice(told)["detail"] = '{"by":"forged"}'
    elif kind == "tail":  # the last entry changed no item
        last = max(each["number"] for each in rows["batches"] if each["cube"] == cube)
        for table in ("batches", "details"):
            rows[table] = [each for each in rows[table] if (each["cube"], each["number"]) != (cube, last)]
    else:
        row[kind] = other(row[kind], chance) or "x"
        made = next((each for each in rows["items"] if each["created"] == row["at"] - 1), None)
        if kind == "at" and made is not None:
            made["created"] = row["at"]
    changed = relinked(rows, cube)
    gone = chance.random() < 0.5
    rows.update(stripped(changed) if gone else changed)
    return f"{kind} of entry {row['number']} of cube {cube} forged, the chain made anew{', checkpoints gone' if gone else ''}"


EDITS: Sequence[Edit] = (_column, _column, _deleted, _inserted, _swapped, _rewritten, _rewritten)
