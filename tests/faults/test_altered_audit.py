"""If this fails, somebody who can write to the database can change what the audit says, and verifying does not tell."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from audited import EDITS, Audited, relinked, stripped
from sqlalchemy.exc import SQLAlchemyError

from memos_core.errors import AnchorUnavailable, InvalidConfig, MemosError, StoreDamaged
from memos_core.governance.audit_check import AuditFinding
from memos_core.governance.checkpoints import Anchoring, Checkpoints
from memos_core.governance.keys import load_or_make
from memos_core.stores.anchors import CallbackAnchor, FileAnchor, GivenAnchor, open_anchor
from memos_core.stores.opening import open_sql
from memos_core.stores.sql import audit, schema

Rounds = Callable[[int, int], int]


@pytest.fixture(params=["sqlite", "postgres"])
def story(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Audited]:
    place = tmp_path / "store" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    store = open_sql(place, deadline=10.0)
    yield Audited(store, tmp_path, FileAnchor(tmp_path / "anchor.jsonl")).tell()
    store.close()


def unknown(found: list[AuditFinding]) -> str:
    return "; ".join(each.what for each in found if each.level == "unknown")


def test_an_audit_that_nobody_touched_is_sound(story: Audited) -> None:
    assert story.verify(anchor=story.anchor) == []
    assert [found.level for found in story.verify()] == ["unknown"]
    assert "no anchor: that chains were cut, or an older copy put back, cannot be excluded" in unknown(story.verify())
    assert len(story.states) == 12
    signed = [(row["cube"], row["number"]) for row in story.states[-1]["checkpoints"]]
    assert sorted(signed) == [(1, 3), (1, 6), (1, 9), (2, 2), (2, 3)]


def test_every_edit_is_found(story: Audited, rounds: Rounds) -> None:
    whole = story.states[-1]
    missed, refused = [], 0
    count = rounds(40, 400)
    for round_ in range(count):
        chance = random.Random(round_)
        rows = copy.deepcopy(whole)
        what = chance.choice(EDITS)(rows, chance)
        if rows == whole:
            refused += 1
            continue
        try:
            story.put_back(rows)
        except (MemosError, SQLAlchemyError):  # the database itself takes no such row
            refused += 1
            continue
        try:
            if not story.bad(anchor=story.anchor):
                missed.append(f"round {round_}: {what}")
        except StoreDamaged:
            continue
    story.put_back(whole)
    assert missed == []
    assert refused < count / 2
    assert story.verify(anchor=story.anchor) == [], "put back, all is well again"


def test_every_older_copy_is_found_with_an_anchor_and_admitted_without(story: Audited) -> None:
    for length, state in enumerate(story.states[:-1], 1):
        story.put_back(state)
        assert any("older copy put back" in each or "is gone" in each for each in story.bad(anchor=story.anchor)), (
            length
        )
        assert story.bad() == [], f"{length} transactions of 12 contradict nothing in themselves"
        assert "older copy put back, cannot be excluded" in unknown(story.verify())


def test_every_tail_cut_is_found(story: Audited) -> None:
    """Entries cut off by hand, counters and all, item rows left as they are or the whole of it consistent."""
    whole = story.states[-1]
    ann = whole["cubes"][0]["cube"]
    last = max(row["number"] for row in whole["batches"] if row["cube"] == ann)
    for end in range(last):
        rows = stripped(whole)
        for table in ("batches", "details"):
            rows[table] = [row for row in rows[table] if row["cube"] != ann or row["number"] <= end]
        kept = max([row["last_seq"] for row in rows["batches"] if row["cube"] == ann], default=0)
        rows["versions"] = [
            row
            for row in rows["versions"]
            if schema.cube_of(row["place"]) != ann or schema.seq_of(row["place"]) <= kept
        ]
        heads = {row["item"]: row for row in rows["versions"]}
        rows["items"] = [row for row in rows["items"] if row["item"] in heads]
        for row in rows["items"]:
            newest = heads[row["item"]]
            row.update(
                head=schema.seq_of(newest["place"]), version=newest["version"], deleted=int(newest["text"] is None)
            )
        rows = relinked(rows, ann)
        rows["cubes"][0]["seq"] = kept
        story.put_back(rows)
        assert [found for found in story.verify() if found.level == "wrong"] == [], (
            f"cut at {end}, nothing shows inside"
        )
        assert any("it was cut" in each for each in story.bad(anchor=story.anchor)), f"cut at {end}"


def test_a_chain_written_anew_is_found_by_its_checkpoints_alone(story: Audited) -> None:
    rows = copy.deepcopy(story.states[-1])
    row = next(each for each in rows["batches"] if each["number"] == 2)
    row["actor"] = "eve"
    story.put_back(relinked(rows, row["cube"]))
    (found, *_) = story.bad()
    assert "is not the one that was signed: the chain was written anew" in found
    story.put_back(stripped(relinked(rows, row["cube"])))
    assert story.bad() == [], "without checkpoints it cannot be told"
    assert "not signed yet: that it was written anew cannot be excluded" in unknown(story.verify())


def test_a_checkpoint_signed_with_another_key_is_no_checkpoint(story: Audited, tmp_path: Path) -> None:
    rows = copy.deepcopy(story.states[-1])
    next(each for each in rows["batches"] if each["number"] == 2)["actor"] = "eve"
    story.put_back(stripped(relinked(rows, rows["batches"][0]["cube"])))
    forger = Checkpoints(story.store, Anchoring(anchor=story.anchor, key=tmp_path / "eve.key"))
    forger.make()
    assert any("is signed with the key" in found for found in story.bad())
    assert any("is signed with the key" in found for found in story.bad(anchor=story.anchor))
    assert any("is signed with the key" in each for each in story.bad(key=tmp_path / "eve.key", anchor=story.anchor))


def test_chains_of_two_cubes_that_were_exchanged_are_found(story: Audited) -> None:
    """Everything of one cube under the number of the other: each is whole in itself, but they are not theirs."""
    rows = stripped(story.states[-1])
    one, two = (row["cube"] for row in sorted(rows["cubes"], key=lambda row: row["cube"]))
    number = {one: two, two: one}
    for table in ("batches", "details", "items"):
        for row in rows[table]:
            row["cube"] = number[row["cube"]]
    for table, name in (("items", "item"), ("versions", "item"), ("versions", "place")):
        for row in rows[table]:
            row[name] = schema.position(number[schema.cube_of(row[name])], schema.seq_of(row[name]))
    first, second = rows["cubes"]
    for name in ("seq", "batches", "chain", "changed"):
        first[name], second[name] = second[name], first[name]
    story.put_back(rows)
    bad = story.bad()
    assert sum("its hash does not follow" in found for found in bad) == 12
    assert all("its hash does not follow" in found for found in bad), "nothing else shows it"


def test_what_is_erased_leaves_a_chain_that_verifies(story: Audited) -> None:
    ann, bob = (row["cube"] for row in story.states[-1]["cubes"])
    with story.store.database.writing(alone=True) as connection:
        audit.erase(connection, ann, [3, 4])
        audit.erase(connection, bob, [1], detail=False)
    bad = story.bad(anchor=story.anchor)
    assert bad == [
        "erased: who did it, or a detail, has been erased from audit entries 3, 4",
        "erased: who did it, or a detail, has been erased from audit entry 1",
    ]
    assert story.store.check(story.store.cubes()[0], None) == []
    entries = story.store.audit(story.store.cubes()[0])
    assert [(entry.actor, entry.detail) for entry in entries[2:4]] == [("", {}), ("", {})]
    rows = story.rows()
    assert not any(b"carol" in str(row).encode() for table in rows.values() for row in table), (
        "carol was in entry 3 alone"
    )
    rows["details"].append({"cube": ann, "number": 3, "salt": bytes(16), "detail": '{"by":"forged"}'})
    story.put_back(rows)
    assert "wrong: audit entry 3: its detail is not what was written" in story.bad(anchor=story.anchor)


def test_entries_of_the_first_version_verify_as_they_did(story: Audited) -> None:
    """Their hashes covered a commitment to the actor, and nothing was sealed."""
    rows = copy.deepcopy(story.states[-1])
    bob = rows["cubes"][1]["cube"]
    previous = audit.GENESIS
    old = sorted((row for row in rows["batches"] if row["cube"] == bob), key=lambda row: row["number"])
    rows["details"] = [row for row in rows["details"] if row["cube"] != bob]
    for row in old:
        row["sealed"] = None
        facts = (row["number"], row["action"], row["first_seq"], row["last_seq"], row["at"])
        row["hash"] = audit.link(previous, *facts, audit.commitment(row["salt"], row["actor"]), row["root"])
        previous = row["hash"]
    rows["cubes"][1]["chain"] = previous
    story.put_back(stripped(rows))
    cube = story.store.cubes()[1]
    assert story.bad() == []
    story.note(cube, "bob", "look", by="owner")
    assert story.bad() == []
    assert [row["sealed"] is None for row in story.rows()["batches"] if row["cube"] == bob] == [True] * 3 + [False]
    with story.store.database.writing(alone=True) as connection:
        audit.erase(connection, bob, [2])
    assert story.bad() == ["erased: who did it, or a detail, has been erased from audit entry 2"]
    new = max((row for row in story.rows()["batches"] if row["cube"] == bob), key=lambda row: row["number"])
    for name, value, what in (
        ("sealed", None, "its hash does not follow"),
        ("actor", "eve", "who did it is not who was written"),
    ):
        before = story.rows()
        story.change("batches", new, **{name: value})
        assert any(what in found for found in story.bad()), name
        story.put_back(before)


# -- anchors ------------------------------------------------------------------------------------------------------------


def lines(story: Audited) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(str(story.anchor and story.anchor.name)).read_text().splitlines()]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Audited]:
    store = open_sql(tmp_path / "store", deadline=10.0)
    yield Audited(store, tmp_path, FileAnchor(tmp_path / "kept" / "anchor.jsonl")).tell()
    store.close()


def test_an_anchor_that_was_altered_is_found(small: Audited) -> None:
    path = Path(str(small.anchor and small.anchor.name))
    whole = path.read_text()
    chance = random.Random(5)
    for name, value in lines(small)[1].items():
        told = [json.loads(line) for line in whole.splitlines()]
        told[1][name] = value + 1 if isinstance(value, int) else format(int(value, 16) ^ 1, f"0{len(value)}x")
        path.write_text("".join(json.dumps(each) + "\n" for each in told))
        if name == "store":
            continue  # a line of another store's says nothing of this one
        assert small.bad(anchor=small.anchor), name
    for _ in range(40):
        place = chance.randrange(len(whole) - 1)
        path.write_text(whole[:place] + chance.choice("x0}") + whole[place + 1 :])
        found = small.verify(anchor=small.anchor)
        told = path.read_text()
        another_store = told.count(small.store.id) < whole.count(small.store.id) and told.count('"store":"') == 5
        assert found or told == whole or another_store, place
    path.write_text("")
    assert "has nothing of this store" in unknown(small.verify(anchor=small.anchor))
    path.unlink()
    assert any("cannot be read" in each for each in small.bad(anchor=small.anchor))


def test_a_line_that_a_crash_cut_off_spoils_no_other(small: Audited) -> None:
    path = Path(str(small.anchor and small.anchor.name))
    path.write_text(path.read_text()[:-30])
    small.add(small.store.cubes()[0], "late")
    small.checkpoints.make()
    assert len(lines_of(path)) == len([line for line in path.read_text().splitlines() if line])
    assert [each for each in small.bad(anchor=small.anchor) if "no checkpoint" not in each] == []


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line]


def test_an_anchor_and_a_key_are_their_owners_alone(small: Audited) -> None:
    path = Path(str(small.anchor and small.anchor.name))
    assert path.stat().st_mode & 0o777 == 0o600
    assert small.key.stat().st_mode & 0o777 == 0o600
    small.key.chmod(0o644)
    with pytest.raises(InvalidConfig, match="chmod 600"):
        load_or_make(small.key)
    small.key.chmod(0o600)
    public = small.key.with_name("audit.key.pub")
    assert small.bad(anchor=small.anchor, key=public) == [], "whoever may only verify has the public key"
    assert load_or_make(small.key).fingerprint == load_or_make(small.key).fingerprint
    for wrong in (b"", b"no key", public.read_bytes().replace(b"PUBLIC", b"PRIVATE")):
        small.key.write_bytes(wrong)
        with pytest.raises(InvalidConfig, match=r"no private key|no key"):
            load_or_make(small.key)


def test_an_anchor_that_came_later_gets_what_was_signed_before(small: Audited, tmp_path: Path) -> None:
    later = FileAnchor(tmp_path / "later.jsonl")
    again = Checkpoints(small.store, Anchoring(anchor=later, key=small.key))
    assert {(one.cube, one.number) for one in again.make()} == {(1, 9), (2, 3)}
    assert again.make() == [], "once"
    assert small.bad(anchor=later) == []
    small.put_back(small.states[-2])
    assert small.bad(anchor=later)


def test_a_function_is_an_anchor(small: Audited) -> None:
    kept: list[Any] = []
    small.add(small.store.cubes()[0], "more")
    Checkpoints(small.store, Anchoring(anchor=open_anchor(kept.append), key=small.key)).make()
    (one,) = kept
    assert sorted(one) == ["after", "at", "cube", "hash", "key", "number", "signature", "store"]
    assert "cannot be asked what it has" in unknown(small.verify(anchor=CallbackAnchor(kept.append)))
    assert small.verify(anchor=GivenAnchor(kept)) == [] == small.bad(anchor=GivenAnchor(json.loads(json.dumps(kept))))
    small.put_back(small.states[-2])
    assert any("was cut" in each for each in small.bad(anchor=GivenAnchor(kept)))


def test_an_anchor_that_cannot_be_written_keeps_the_store_from_saying_so(tmp_path: Path) -> None:
    store = open_sql(tmp_path / "store", deadline=10.0)
    (tmp_path / "file").write_text("")
    story = Audited(store, tmp_path, FileAnchor(tmp_path / "file" / "anchor.jsonl"))
    story.create("ann")
    with pytest.raises(AnchorUnavailable, match="cannot be written"):
        story.checkpoints.make()
    assert store.checkpoints() == []
    assert store.chain_ends() != []
    store.close()


@pytest.mark.parametrize("where", ["sqlite", "postgres"])
def test_a_table_elsewhere_keeps_what_it_was_given(where: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/elsewhere/anchor.db" if where == "sqlite" else request.getfixturevalue("postgres_url")
    store = open_sql(tmp_path / "store", deadline=10.0)
    anchor = open_anchor(url)
    story = Audited(store, tmp_path, anchor).tell()
    assert story.verify(anchor=anchor) == []
    assert story.verify(anchor=open_anchor(url)) == [], "also for somebody who opens it anew"
    for statement in ("DELETE FROM memos_anchors", "UPDATE memos_anchors SET number = 1"):
        with pytest.raises(Exception, match="never"):
            _run(url, statement)
    story.put_back(story.states[4])
    assert any("older copy put back" in each for each in story.bad(anchor=anchor))
    if where == "sqlite":
        assert (tmp_path / "elsewhere" / "anchor.db").stat().st_mode & 0o777 == 0o600
        _run(url, "DROP TRIGGER memos_anchors_no_update")
        _run(url, "UPDATE memos_anchors SET number = 1 WHERE place = 4")
        assert any("signature does not fit" in each for each in story.bad(anchor=anchor))
        _run(url, "DROP TABLE memos_anchors")
        assert any("no table memos_anchors" in each for each in story.bad(anchor=anchor))
    anchor.close()
    store.close()


def _run(url: str, statement: str) -> None:
    from sqlalchemy import create_engine

    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


@pytest.mark.parametrize("spec", ["", "mysql://x/y", "sqlite://", 7])
def test_what_is_no_anchor_is_refused(spec: object) -> None:
    with pytest.raises(InvalidConfig):
        open_anchor(spec)


def test_a_password_is_not_remembered() -> None:
    anchor = open_anchor("postgresql://me:s3cret@localhost/there")
    assert (anchor.spec, "s3cret" in anchor.name) == ("", False)
