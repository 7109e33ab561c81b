"""If this fails, what people do with memory is not in its audit, or its checkpoints are not made when they were promised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from memos_core import MOS
from memos_core.errors import AnchorUnavailable, InvalidConfig, MissingPackage


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
