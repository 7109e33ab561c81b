"""If this fails, what people do with memory is not in its audit, or its checkpoints are not made when they were promised."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memos_core import MOS, Actor, Right
from memos_core.errors import (
    AccessDenied,
    AnchorUnavailable,
    CubeNotFound,
    InvalidConfig,
    MissingPackage,
    StoreBusy,
)
from memos_core.types.cube_policy import CubePolicy


def anchored(place: Path) -> list[tuple[int, int]]:
    """Cube and entry of every line of an anchor."""
    return [(line["cube"], line["number"]) for line in map(json.loads, place.read_text().splitlines())]


def levels(mos: MOS) -> set[str]:
    return {found.level for found in mos.verify_audit()}


def test_checkpoints_are_made_every_so_often_and_at_the_end(tmp_path: Path) -> None:
    anchor, key = tmp_path / "anchor.jsonl", tmp_path / "audit.key"
    with MOS.open(tmp_path / "store", anchor=anchor, audit_key=key, checkpoint_every=4) as mos:
        alice = mos.session("alice")
        for n in range(9):
            alice.add(f"note {n}")
        assert anchored(anchor) == [(1, 4), (1, 8)]
    assert anchored(anchor)[-1] == (1, 9)
    with MOS.open(tmp_path / "store", audit_key=key) as mos:
        assert mos.anchor == str(anchor), "it is remembered"
        assert levels(mos) == set()
        mos.session("bob").add("hello")
        assert levels(mos) == {"unknown"}, "not signed yet"
        assert [(one.cube, one.number) for one in mos.checkpoint("bob")] == [(2, 1)]
        assert mos.checkpoint("bob") == []
        assert levels(mos) == set()
    with MOS.open(tmp_path / "store", anchor="none", audit_key=key) as mos:
        assert mos.anchor is None
        assert levels(mos) == {"unknown"}
        mos.session("bob").add("and again")
    before = anchored(anchor)
    with MOS.open(tmp_path / "store") as mos:
        assert mos.anchor is None, "that is remembered, too"
        mos.session("bob").add("and again, again")
    assert anchored(anchor) == before


def test_without_anchor_and_key_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMOS_HOME", str(tmp_path / "home"))
    with MOS.open(tmp_path / "store") as mos:
        mos.session("alice").add("hello")
        assert levels(mos) == {"unknown"}
    assert not (tmp_path / "home").exists()


def test_a_function_gets_every_checkpoint_and_is_missed_where_it_is_not_given(tmp_path: Path) -> None:
    kept: list[object] = []
    key = tmp_path / "audit.key"
    with MOS.open(tmp_path / "store", anchor=kept.append, audit_key=key) as mos:
        mos.session("alice").add("hello")
    assert len(kept) == 1

    def broken(checkpoint: object) -> None:
        raise ZeroDivisionError

    mos = MOS.open(tmp_path / "store", anchor=broken, audit_key=key, checkpoint_every=1)
    assert mos.session("alice").add("it is kept").new
    with pytest.raises(AnchorUnavailable, match="ZeroDivisionError"):
        mos.close()
    with MOS.open(tmp_path / "store", anchor=kept.append, audit_key=key):
        pass
    with MOS.open(tmp_path / "store", audit_key=key) as mos:
        with pytest.raises(AnchorUnavailable, match="was not given"):
            mos.checkpoint()
        (unknown,) = mos.verify_audit()
        assert "was not given" in unknown.what
        assert mos.verify_audit(anchor=kept) == []


def test_a_write_stands_when_its_checkpoint_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    mos = MOS.open(
        tmp_path / "store", anchor=tmp_path / "file" / "anchor", audit_key=tmp_path / "audit.key", checkpoint_every=1
    )
    with caplog.at_level("WARNING"):
        mos.session("alice").add("hello")
    assert any("a checkpoint of the audit could not be made" in record.message for record in caplog.records)
    with pytest.raises(AnchorUnavailable):
        mos.close()
    with MOS.open(tmp_path / "store", anchor="none") as again:
        assert len(again.session("alice").list()) == 1


def test_settings_that_have_no_meaning_are_refused(tmp_path: Path) -> None:
    for wrong in ({"checkpoint_every": 0}, {"checkpoint_every": True}, {"anchor": 7}, {"anchor": ""}):
        with pytest.raises(InvalidConfig):
            MOS.open(tmp_path / "store", **wrong)  # type: ignore[arg-type]


def test_without_cryptography_it_says_what_to_install(tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules["cryptography"] = sys.modules["cryptography.hazmat"] = None
from memos_core import MOS
from memos_core.errors import MissingPackage
with MOS.open({str(tmp_path / "store")!r}) as mos:
    mos.session("alice").add("hello")
    try:
        mos.checkpoint()
    except MissingPackage as error:
        print(error)
    assert all(found.level == "unknown" for found in mos.verify_audit())
try:
    MOS.open({str(tmp_path / "store")!r}, anchor="x")
except MissingPackage as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pip install 'memoskit[audit]'") == 2
    assert issubclass(MissingPackage, ImportError)


def test_opening_and_writing_load_no_cryptography(tmp_path: Path) -> None:
    script = f"""
import sys
from memos_core import MOS
with MOS.open({str(tmp_path / "store")!r}) as mos:
    mos.session("alice").add("hello")
    mos.session("alice").search("hello")
print([name for name in sys.modules if name.startswith("cryptography")])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_checkpoints_survive_backup_and_move(tmp_path: Path) -> None:
    anchor, key = tmp_path / "anchor.jsonl", tmp_path / "audit.key"
    with MOS.open(tmp_path / "store", anchor=anchor, audit_key=key) as mos:
        mos.session("alice").add("hello")
        mos.backup(tmp_path / "safe")
        mos.checkpoint()
        assert mos.backup(tmp_path / "safe").number == 2, "a checkpoint alone is worth a backup"
    MOS.restore(tmp_path / "safe", tmp_path / "again")
    with MOS.open(tmp_path / "again", audit_key=key) as mos:
        assert [found.level for found in mos.verify_audit()] == []
        assert [(one.cube, one.number) for one in mos.store.checkpoints()] == [(1, 1)]


# -- who read what, and who was refused -----------------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[MOS]:
    """alice's cube, which bob may read; and a cube of bob's."""
    with MOS.open(tmp_path / "store", embedder="hashing:64") as mos:
        alice = mos.session("alice")
        alice.add("Ann lives in Lisbon", id="home", key="home")
        alice.add("The cat is called Mo", id="cat")
        mos.share("alice", with_="bob")
        mos.session("bob").add("Ann came to lunch", id="lunch")
        yield mos


def reads(mos: MOS, cube: str, action: str = "read") -> list[tuple[str, str, tuple[str, ...], str]]:
    """Actor, operation, ids and reason of what was read, or refused, in a cube."""
    mos._audit.flush()
    return [
        (entry.actor, each["operation"], tuple(each.get("ids", ())), each["by"])
        for entry in mos.cube(cube).audit()
        if entry.action == action
        for each in entry.detail["operations"]
    ]


def test_every_way_of_reading_is_in_the_audit(shared: MOS) -> None:
    bob = shared.session("bob", read_from=["alice"])
    ways: dict[str, tuple[Callable[[], object], set[str]]] = {
        "search": (lambda: bob.search("Lisbon", top_k=1), {"home"}),
        "list": (bob.list, {"home", "cat"}),
        "get": (lambda: bob.get("home"), {"home"}),
        "history": (lambda: bob.history("home"), {"home"}),
        "nearest": (lambda: shared.cube("alice", actor="bob").nearest([1.0] * 64, 2), {"home", "cat"}),  # type: ignore[arg-type]
    }
    for operation, (read, ids) in ways.items():
        before = reads(shared, "alice")
        read()
        (told,) = reads(shared, "alice")[len(before) :]
        assert (told[0], told[1], set(told[2]), told[3]) == ("bob", operation, ids, "share"), operation
    before = reads(shared, "alice")
    bob.context("Lisbon")
    assert [told[1] for told in reads(shared, "alice")[len(before) :]] == ["list", "search"]
    assert reads(shared, "bob") == []
    words = str([entry.detail for entry in shared.cube("alice").audit()])
    assert "Lisbon" not in words, "no words of a question, or of a memory"


def test_reading_two_cubes_is_told_in_both_by_the_name_of_each(shared: MOS) -> None:
    shared.session("bob", read_from=["alice", "bob"]).search("Ann")
    assert [sorted(told[2]) for told in reads(shared, "alice")] == [["cat", "home"]]
    assert [told[2] for told in reads(shared, "bob")] == [("lunch",)]
    assert reads(shared, "bob")[0][3] == "owner"


def test_whoever_holds_the_store_is_told_too_and_upkeep_is_not(shared: MOS, tmp_path: Path) -> None:
    shared.cube("alice").get("home")
    assert reads(shared, "alice") == [("memos:operator", "get", ("home",), "operator")]
    shared.verify()
    shared.reindex()
    shared.backup(tmp_path / "safe")
    shared.verify_audit()
    shared.rights("alice", "eve")
    assert len(reads(shared, "alice")) == 1
    assert reads(shared, "alice", "denied") == []


def test_writing_says_why_it_was_allowed_and_is_no_reading(shared: MOS) -> None:
    shared.share("alice", with_="role:team", rights="write")
    carol = shared.session(Actor("carol", roles=("team",)), write_to=["alice"], read_from=["alice"])
    carol.update("home", text="Ann lives in Porto")
    shared.session("alice").delete("cat", reason="asked to")
    entries = shared.cube("alice").audit()
    assert [(entry.action, entry.actor, entry.detail) for entry in entries[-2:]] == [
        ("update", "carol", {"by": "role"}),
        ("delete", "alice", {"by": "owner", "reason": "asked to"}),
    ]
    assert reads(shared, "alice") == []


def test_denials_are_told_and_repeated_ones_counted(shared: MOS) -> None:
    with pytest.raises(AccessDenied):
        shared.session("bob", write_to=["alice"])
    last = shared.cube("alice").audit()[-1]
    assert (last.actor, last.action) == ("bob", "denied"), "it was there before the answer"
    assert reads(shared, "alice", "denied") == [("bob", "write", (), "may only read")]
    number = len(shared.cube("alice").audit())
    for _ in range(5):
        with pytest.raises(CubeNotFound):
            shared.session("eve", read_from=["alice"])
    assert len(shared.cube("alice").audit()) == number, "the answer does not wait for it"
    shared._audit.flush()
    (told,) = shared.cube("alice").audit()[-1].detail["operations"]
    assert (told["operation"], told["times"], told["by"]) == ("read", 5, "may not even read")
    with pytest.raises(CubeNotFound):
        shared.session("eve", read_from=["nowhere"])


def test_strict_reads_are_there_before_the_answer_or_there_is_none(shared: MOS) -> None:
    shared.cube("alice").set_policy(CubePolicy(strict_reads=True))
    bob = shared.session("bob", read_from=["alice", "bob"])
    for read in (lambda: bob.search("Ann"), bob.list, lambda: bob.get("home"), lambda: bob.history("home")):
        before = len(shared.cube("alice").audit())
        read()
        entries = shared.cube("alice").audit()
        assert len(entries) == before + 1
        assert entries[-1].action == "read"
    database = shared.store.database  # type: ignore[attr-defined]
    database._deadline = 0.2
    with sqlite3.connect(database.path, isolation_level=None) as side:
        side.execute("BEGIN IMMEDIATE")  # nobody can write
        with pytest.raises(StoreBusy):
            bob.search("Ann")
        assert shared.session("bob").search("lunch"), "a cube that is not strict answers nevertheless"
        side.execute("ROLLBACK")
    database._deadline = 30.0


def test_an_entry_about_reading_does_not_have_others_read_their_index_anew(shared: MOS, tmp_path: Path) -> None:
    with MOS.open(tmp_path / "store") as other:
        alice = other.session("alice")
        alice.search("Lisbon")
        index = other._indexes.get(other.cube("alice").require(Right.READ))
        seq, table = index.seq, index.table
        shared.session("bob", read_from=["alice"]).search("Lisbon")
        shared._audit.flush()
        alice.search("Lisbon")
        assert (index.seq, index.table) == (seq, table)
