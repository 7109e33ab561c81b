"""If these fail, a backup does not bring a person's memories back as they were, or a damaged one is taken for sound."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memos_core import MOS, Link, Message
from memos_core.errors import (
    AlreadyExists,
    BackupDamaged,
    Conflict,
    InvalidInput,
    ItemNotFound,
    MemosError,
    NotABackup,
    StoreDamaged,
    StoreReadOnly,
)
from memos_core.operations import archive, writing
from memos_core.operations.backup import backups
from memos_core.operations.restore import check

Rows = dict[str, list[tuple[Any, ...]]]
DERIVED = {"migrations"}  # when they ran there is no part of the truth


def rows_of(store: Path) -> Rows:
    """Every row of every table of a store, read past memos."""
    with sqlite3.connect(store / "memos.db") as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: sorted(database.execute(f"SELECT * FROM {name}"), key=repr) for name in tables}
    database.close()
    return {name: rows for name, rows in found.items() if name not in DERIVED and not name.startswith("sqlite_")}


class Life:
    """Somebody who adds, changes, deletes, shares; always the same for a seed."""

    def __init__(self, mos: MOS, seed: int) -> None:
        self.mos = mos
        self.random = random.Random(seed)
        self.ids: dict[str, list[str]] = {"alice": [], "bob": [], "alice/home": []}
        self.deleted: dict[str, list[str]] = {name: [] for name in self.ids}
        self.count = 0

    def vector(self, rows: int = 1) -> Any:
        self.count += 1
        return np.random.default_rng(self.count).standard_normal((rows, 8)).astype(np.float32)

    def step(self) -> None:
        """One thing after another, chosen by the seed."""
        cube = self.random.choice(list(self.ids))
        session = self.mos.session(cube.split("/")[0], conversation="talk", read_from=[cube], write_to=[cube])
        known = self.ids[cube]
        what = self.random.choice(["add", "add", "message", "update", "key", "delete", "restore", "share", "link"])
        if what == "message":
            message = Message(content=f"line {self.count} ünïcode \u4f60", speaker="Ann")
            known.extend(session.add([message], vectors=self.vector()).ids)
        elif what == "add" or not known:
            metadata = {"n": self.count, "deep": {"key": "links"}}
            known.append(session.add(f"fact {self.count}", metadata=metadata, vectors=self.vector()).id)
        elif what == "update":
            session.update(self.random.choice(known), metadata={"changed": self.count})
        elif what == "key":  # a name that goes from one item to another
            with suppress(ItemNotFound):
                session.update(key="name", new_key=None)
            if self.random.random() < 0.5:
                session.update(self.random.choice(known), new_key="name")
            else:
                known.append(session.add(f"named {self.count}", key="name", vectors=self.vector()).id)
        elif what == "delete":
            gone = self.random.choice(known)
            session.delete(gone)
            known.remove(gone)
            self.deleted[cube].append(gone)
        elif what == "restore" and self.deleted[cube]:
            back = self.deleted[cube].pop()
            try:
                session.restore(back)
                known.append(back)
            except AlreadyExists:  # another item bears its name by now
                self.deleted[cube].append(back)
        elif what == "share":
            self.mos.share(
                cube, with_=self.random.choice(["eve", "role:team"]), rights=self.random.choice(["read", "write"])
            )
        elif what == "link":
            session.update(known[-1], links=[Link("about", self.random.choice(known), 0.5)])

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def mos(tmp_path: Path) -> Iterator[MOS]:
    with MOS.open(tmp_path / "memory", embedder="given:8") as opened:
        yield opened


def restored(place: Path, folder: Path, number: int | None = None) -> Rows:
    MOS.restore(place, folder, number=number)
    return rows_of(folder)


# -- what comes back --------------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_every_backup_brings_back_every_row_as_it_was(mos: MOS, tmp_path: Path, place: Path, rounds: Any) -> None:
    then: dict[int, Rows] = {}
    for seed in range(rounds(2, 40)):
        life = Life(mos, seed)
        for _ in range(3):
            life.steps(life.random.randint(1, 25))
            made = mos.backup(place)
            then[made.number] = rows_of(tmp_path / "memory")
    assert sorted(then) == [each.number for each in backups(place)]
    for number, rows in then.items():
        folder = tmp_path / f"again-{number}"
        assert restored(place, folder, number) == rows
        with MOS.open(folder) as again:
            assert again.verify() == []
        shutil.rmtree(folder)


def test_a_restored_store_searches_and_goes_on(mos: MOS, tmp_path: Path, place: Path) -> None:
    alice = mos.session("alice", conversation="talk")
    alice.add([Message(content="The lighthouse is red.")], vectors=np.eye(8, dtype=np.float32)[:1])
    mos.share("alice", with_="bob")
    mos.backup(place)
    MOS.restore(place, tmp_path / "again")
    with MOS.open(tmp_path / "again") as again:
        assert again.stats()["store_id"] == mos.stats()["store_id"]
        assert again.session("bob", read_from=["alice"]).search("lighthouse")[0].text == "The lighthouse is red."
        more = again.session("alice", conversation="talk")
        more.add([Message(content="The harbour is deep.")], vectors=np.eye(8, dtype=np.float32)[1:2])
        assert [item.provenance.source.position for item in more.list(newest_first=False)] == [0, 1]
        assert [entry.number for entry in again.cube("alice").audit()] == [1, 2, 3]
        assert again.verify() == []
        made = again.backup(place)  # it goes on where the store that was backed up stood
        assert (made.number, made.new_changes) == (2, 1)


def test_jobs_come_back_and_belong_to_nobody(mos: MOS, tmp_path: Path, place: Path) -> None:
    with sqlite3.connect(tmp_path / "memory" / "memos.db") as database:
        for job in (1, 2):
            row: dict[str, object] = {
                "job": job,
                "kind": "extract",
                "key": f"k{job}",
                "cube": 1,
                "lane": "",
                "state": "running",
                "waiting": 0,
            }
            row |= {
                "priority": 0,
                "rank": 5,
                "attempts": 1,
                "max_attempts": 8,
                "run_at": 5,
                "every": 0,
                "leased_until": 99,
            }
            row |= {"worker": "w", "fence": 1, "cancelling": 0, "payload": "{}", "created": 4}
            names = ",".join(row)
            database.execute(f"INSERT INTO jobs ({names}) VALUES ({','.join('?' * len(row))})", tuple(row.values()))
    database.close()
    assert mos.backup(place).new_bytes > 0
    rows = restored(place, tmp_path / "again")
    assert [(row[0], row[5], row[13], row[14]) for row in rows["jobs"]] == [
        (1, "running", None, None),
        (2, "running", None, None),
    ]
    with MOS.open(tmp_path / "again") as again:
        assert {job.id for _ in range(2) for job in again.store.jobs.lease("w", 1, seconds=60)} == {1, 2}
    with sqlite3.connect(tmp_path / "memory" / "memos.db") as database:
        database.execute("DELETE FROM jobs")
    database.close()
    mos.backup(place)
    assert restored(place, tmp_path / "later")["jobs"] == []


# -- incremental ------------------------------------------------------------------------------------------------------


def test_a_second_backup_adds_only_what_is_new(mos: MOS, place: Path) -> None:
    alice = mos.session("alice")
    alice.add([f"fact {n}" for n in range(500)], vectors=np.ones((500, 8), dtype=np.float32))
    first = mos.backup(place)
    files = {path.name: path.read_bytes() for path in place.iterdir()}
    assert (first.number, first.changes, first.new_changes, first.vectors, first.whole) == (1, 500, 500, 500, True)
    nothing = mos.backup(place)
    assert (nothing.number, nothing.new_changes, nothing.new_bytes) == (1, 0, 0)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == files
    alice.add("one more", vectors=np.ones((1, 8), dtype=np.float32))
    second = mos.backup(place)
    assert (second.number, second.changes, second.new_changes, second.whole) == (2, 501, 1, False)
    assert second.new_bytes < first.new_bytes / 20
    assert {name: (place / name).read_bytes() for name in files} == files  # what was written is never touched again


def test_new_vectors_are_backed_up_although_no_change_is_new(tmp_path: Path, place: Path) -> None:
    with MOS.open(tmp_path / "memory") as mos:
        mos.session("alice").add(["The lighthouse is red.", "The harbour is deep."])
        mos.backup(place)
        mos.reembed("hashing")
        made = mos.backup(place)
        assert (made.number, made.whole, made.vectors) == (2, True, 2)
        now = rows_of(tmp_path / "memory")
    assert restored(place, tmp_path / "again") == now
    assert restored(place, tmp_path / "before", 1)["vectors"] == []


def test_what_is_written_meanwhile_is_not_in_it(mos: MOS, tmp_path: Path, place: Path) -> None:
    life = Life(mos, 1)
    life.steps(30)
    before = rows_of(tmp_path / "memory")
    both = mos.session("alice", write_to=["alice", "alice/home"])

    def write_more(done: int, total: int) -> None:
        both.add(f"meanwhile {done}", vectors=np.ones((1, 8), dtype=np.float32))

    mos.backup(place, progress=write_more)
    assert restored(place, tmp_path / "again") == before


def test_backups_while_others_write_are_each_consistent(mos: MOS, tmp_path: Path, place: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        both = mos.session("alice", write_to=["alice", "alice/home"])
        while not stop.is_set():
            both.add(["a fact", "another"], vectors=np.ones((2, 8), dtype=np.float32))

    until = time.monotonic() + 60
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            made = [mos.backup(place)]
            while made[-1].number < 6 and time.monotonic() < until and not writing.done():
                made.append(mos.backup(place))
        finally:
            stop.set()
        writing.result()
    assert made[-1].changes > made[0].changes
    for each in sorted({each.number for each in made}):
        rows = restored(place, tmp_path / f"again-{each}", each)
        seqs = [row[3] for row in rows["cubes"]]
        assert len(set(seqs)) <= 1  # what was one transaction is there in both cubes, or in none


# -- files ------------------------------------------------------------------------------------------------------------


def test_files_are_private_whatever_the_umask(mos: MOS, place: Path) -> None:
    mos.session("alice").add("a secret", vectors=np.ones((1, 8), dtype=np.float32))
    old = os.umask(0)
    try:
        mos.backup(place)
    finally:
        os.umask(old)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}


def test_a_large_backup_has_several_files_and_frames(
    mos: MOS, tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_FILE_BYTES", 20_000)
    monkeypatch.setattr(writing, "_FRAME_BYTES", 5_000)
    alice = mos.session("alice")
    alice.add([f"fact {n} {'x' * 100}" for n in range(300)], vectors=np.ones((300, 8), dtype=np.float32))
    mos.backup(place)
    assert len(list(place.glob("rows-*"))) > 3
    assert restored(place, tmp_path / "again") == rows_of(tmp_path / "memory")


KILLED = """
import os, sys
import numpy as np
from memos_core import MOS
from memos_core.operations import writing
real, left = getattr(os, sys.argv[3]), [int(sys.argv[4])]
def dying(*args, **kwargs):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), 9)
    return real(*args, **kwargs)
writing._FILE_BYTES = 10_000
with MOS.open(sys.argv[1]) as mos:
    setattr(os, sys.argv[3], dying)
    mos.backup(sys.argv[2])
"""


@pytest.mark.parametrize(("call", "times"), [("fsync", n) for n in range(7)] + [("replace", n) for n in range(5)])
def test_a_backup_that_is_killed_leaves_the_earlier_ones(
    mos: MOS, tmp_path: Path, place: Path, call: str, times: int
) -> None:
    alice = mos.session("alice")
    alice.add("first", vectors=np.ones((1, 8), dtype=np.float32))
    mos.backup(place)
    alice.add([f"fact {n} {'x' * 100}" for n in range(200)], vectors=np.ones((200, 8), dtype=np.float32))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "memory"), str(place), call, str(times)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    newest = backups(place)[-1]
    assert check(place).changes == (201 if newest.number == 2 else 1)
    assert mos.backup(place).number == 2
    assert not list(place.glob("*.part"))
    named = {file.name for each in (1, 2) for file in archive.chosen(place, each).files}
    assert {path.name for path in place.glob("rows-*")} == named
    assert restored(place, tmp_path / "again") == rows_of(tmp_path / "memory")


KILLED_RESTORING = """
import os, sys
from memos_core import MOS
from memos_core.stores.sql import copying
left = [int(sys.argv[3])]
def dying(name):
    real = getattr(copying.SqlFilling, name)
    def method(*args):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), 9)
        return real(*args)
    setattr(copying.SqlFilling, name, method)
for name in ("cube", "changes", "entries", "finish"):
    dying(name)
MOS.restore(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("times", range(6))
def test_a_restore_that_is_killed_leaves_nothing_half_there(mos: MOS, tmp_path: Path, place: Path, times: int) -> None:
    alice = mos.session("alice")
    for n in range(2):
        alice.add([f"fact {n} {m}" for m in range(20)], vectors=np.ones((20, 8), dtype=np.float32))
        mos.backup(place)
    command = [sys.executable, "-c", KILLED_RESTORING, str(place), str(tmp_path / "again"), str(times)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    with MOS.open(tmp_path / "again") as again:
        assert again.cubes() == []
    assert restored(place, tmp_path / "again") == rows_of(tmp_path / "memory")


FULL = """
import resource, sys
from memos_core import MOS
from memos_core.errors import StoreError
with MOS.open(sys.argv[1]) as mos:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        mos.backup(sys.argv[2]) if sys.argv[3] == "backup" else MOS.restore(sys.argv[2], sys.argv[4])
    except StoreError as error:
        print(type(error).__name__, error)
"""


def test_a_full_disk_is_said_and_nothing_half_is_left(mos: MOS, tmp_path: Path, place: Path) -> None:
    alice = mos.session("alice")
    alice.add("first", vectors=np.ones((1, 8), dtype=np.float32))
    mos.backup(place)
    alice.add([f"fact {n} {'x' * 200}" for n in range(2000)], vectors=np.ones((2000, 8), dtype=np.float32))
    arguments = [str(tmp_path / "memory"), str(place), "backup", str(tmp_path / "again")]
    done = subprocess.run([sys.executable, "-c", FULL, *arguments], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(f"StoreFull {place}: no space left; the backups that were there are kept"), done
    assert [each.number for each in backups(place)] == [1]
    assert len(list(place.glob("rows-*"))) == 1
    mos.backup(place)
    arguments[2] = "restore"
    done = subprocess.run([sys.executable, "-c", FULL, *arguments], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(("StoreFull ", "StoreError ")), done
    assert not (tmp_path / "again").exists()


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture
def two(mos: MOS, place: Path) -> Path:
    """Two backups of alice's cube."""
    alice = mos.session("alice")
    for n in range(2):
        alice.add([f"fact {n} {m}" for m in range(50)], vectors=np.ones((50, 8), dtype=np.float32))
        mos.backup(place)
    return place


def test_every_flipped_byte_is_noticed(two: Path, tmp_path: Path, rounds: Any) -> None:
    chance = random.Random(3)
    paths = sorted(path for path in two.iterdir() if path.name != "writer.lock")
    for _ in range(rounds(60, 2000)):
        path = chance.choice(paths)
        sound = path.read_bytes()
        place = chance.randrange(len(sound))
        path.write_bytes(sound[:place] + bytes([sound[place] ^ (1 << chance.randrange(8))]) + sound[place + 1 :])
        if path.name != "backup-000001.json":
            with pytest.raises(BackupDamaged, match=path.name):
                MOS.restore(two, tmp_path / "again")
        else:
            with pytest.raises(BackupDamaged, match=path.name):
                MOS.restore(two, tmp_path / "again", number=1)
        path.write_bytes(sound)
        assert not (tmp_path / "again").exists()
    assert check(two).changes == 100


def test_frames_in_another_order_are_noticed(two: Path, tmp_path: Path) -> None:
    """Each of them is sound, and the file is as long as it was."""
    path = sorted(two.glob("rows-*"))[0]
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    found = []
    while start < len(whole):
        end = start + 8 + int.from_bytes(whole[start : start + 4], "little")
        found.append(whole[start:end])
        start = end
    assert len(found) > 2
    path.write_bytes(whole[: whole.index(b"\n") + 1] + b"".join(reversed(found)))
    with pytest.raises(BackupDamaged, match=rf"{path.name}: its SHA-256"):
        MOS.restore(two, tmp_path / "again")


def test_cut_missing_and_swapped_files_are_named(two: Path, tmp_path: Path) -> None:
    first, second = sorted(two.glob("rows-*"))
    whole = first.read_bytes()
    first.write_bytes(whole[:-10])
    with pytest.raises(BackupDamaged, match=rf"{first.name} has [\d,]+ bytes, {len(whole):,} were written"):
        MOS.restore(two, tmp_path / "again")
    second.unlink()
    with pytest.raises(BackupDamaged) as told:
        MOS.restore(two, tmp_path / "again")
    assert first.name in str(told.value)
    assert second.name in str(told.value)
    with MOS.open(tmp_path / "memory") as mos, pytest.raises(BackupDamaged, match="nothing was added to it"):
        mos.session("alice").add("more", vectors=np.ones((1, 8), dtype=np.float32))
        mos.backup(two)
    first.write_bytes(whole)
    assert MOS.restore(two, tmp_path / "again", number=1).changes == 50  # the earlier one needs only its own file


def test_rows_that_were_forged_with_new_checksums_do_not_pass(two: Path, tmp_path: Path) -> None:
    """Whoever alters words and every checksum of the files still meets the digests and the chain of the truth."""
    import hashlib
    import struct
    import zlib

    import msgspec

    manifest = archive.chosen(two, 1)
    file = manifest.files[0]
    forged = b"memos backup rows 1\n"
    for frame in archive.frames(two, file):
        rows = msgspec.msgpack.decode(frame.rows)
        if frame.kind == "changes":
            rows[7][10] = "fact 0 forged"
        payload = msgspec.msgpack.encode([frame.kind, frame.cube, rows])
        forged += struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
    (two / file.name).write_bytes(forged)
    now = msgspec.structs.replace(file, bytes=len(forged), sha256=hashlib.sha256(forged).hexdigest())
    text = msgspec.json.encode(msgspec.structs.replace(manifest, files=[now]))
    (two / "backup-000001.json").write_bytes(text + b"\n" + hashlib.sha256(text).hexdigest().encode())
    with pytest.raises(StoreDamaged, match=r"change 8\): digest differs"):
        MOS.restore(two, tmp_path / "again", number=1)
    assert not (tmp_path / "again").exists()


def test_nothing_is_ever_overwritten(mos: MOS, two: Path, tmp_path: Path) -> None:
    with pytest.raises(AlreadyExists, match="1 cubes"):
        MOS.restore(two, tmp_path / "memory")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(AlreadyExists, match=r"mine\.txt"):
        MOS.restore(two, tmp_path / "notes")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]
    assert len(mos.session("alice").list()) == 100
    (tmp_path / "empty").mkdir()
    MOS.open(tmp_path / "empty-store").close()
    assert MOS.restore(two, tmp_path / "empty").changes == 100
    assert MOS.restore(two, tmp_path / "empty-store").changes == 100


def test_foreign_folders_are_refused(mos: MOS, two: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(NotABackup, match=r"holds something else \(mine\.txt\)"):
        mos.backup(tmp_path / "notes")
    with pytest.raises(NotABackup, match="holds no backups"):
        MOS.restore(tmp_path / "notes", tmp_path / "again")
    with pytest.raises(NotABackup, match="cannot be read"):
        MOS.restore(tmp_path / "nowhere", tmp_path / "again")
    with pytest.raises(NotABackup, match="has no backup 7; there are: 1, 2"):
        MOS.restore(two, tmp_path / "again", number=7)
    with pytest.raises(InvalidInput, match="folder of the store itself"):
        mos.backup(tmp_path / "memory" / "backups")
    with MOS.open(tmp_path / "other") as other, pytest.raises(NotABackup, match="another store"):
        other.backup(two)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreReadOnly, match="cannot be written"):
        mos.backup(tmp_path / "file" / "below")


def test_a_store_that_went_another_way_is_not_mixed_with_its_backups(mos: MOS, two: Path, tmp_path: Path) -> None:
    MOS.restore(two, tmp_path / "again", number=1)
    with MOS.open(tmp_path / "again") as again:
        with pytest.raises(Conflict, match="has not the history that backup 2"):
            again.backup(two)
        session = again.session("alice")
        for n in range(3):
            session.add(f"another way {n}", vectors=np.ones((1, 8), dtype=np.float32))
        with pytest.raises(Conflict, match="back up into a new folder"):
            again.backup(two)
        assert again.backup(tmp_path / "new").changes == 53
    assert [each.number for each in backups(two)] == [1, 2]


def test_a_damaged_row_is_not_backed_up(mos: MOS, two: Path, tmp_path: Path) -> None:
    mos.session("alice").add("the lighthouse is red", vectors=np.ones((1, 8), dtype=np.float32))
    for change, what in (
        ("UPDATE versions SET text = 'it is blue' WHERE text LIKE '%lighthouse%'", "digest"),
        ("DELETE FROM batches WHERE number = (SELECT max(number) FROM batches)", "audit entries"),
        ("UPDATE vectors SET dense = zeroblob(32) WHERE place = (SELECT max(place) FROM vectors)", "vectors"),
    ):
        kept = (tmp_path / "memory" / "memos.db").with_suffix(".kept")
        with sqlite3.connect(tmp_path / "memory" / "memos.db") as database, sqlite3.connect(kept) as copy:
            database.backup(copy)
            database.execute(change)
        database.close()
        with pytest.raises(StoreDamaged, match=what):
            mos.backup(two)
        with sqlite3.connect(tmp_path / "memory" / "memos.db") as database:
            copy.backup(database)
        copy.close()
        database.close()
        kept.unlink()
    assert [each.number for each in backups(two)] == [1, 2]
    assert mos.backup(two).number == 3


@pytest.mark.soak
def test_a_rotten_database_is_not_backed_up_as_if_it_were_sound(tmp_path: Path, rounds: Any) -> None:
    chance = random.Random(11)
    with MOS.open(tmp_path / "memory", embedder="given:8") as mos:
        Life(mos, 3).steps(60)
        mos.vacuum()
        seqs = {cube.name: cube.changes for cube in mos.cubes()}
    sound = (tmp_path / "memory" / "memos.db").read_bytes()
    refused = 0
    for number in range(rounds(40, 1000)):
        data = bytearray(sound)
        for _ in range(chance.choice([1, 3, 30])):
            data[chance.randrange(100, len(data))] = chance.randrange(256)
        (tmp_path / "memory" / "memos.db").write_bytes(bytes(data))
        folder, again = tmp_path / f"backups-{number}", tmp_path / f"again-{number}"
        try:
            with MOS.open(tmp_path / "memory", embedder="given:8") as mos:
                mos.backup(folder)
            MOS.restore(folder, again)
        except MemosError:
            refused += 1
            assert not again.exists()
        else:
            with MOS.open(again) as restored_:
                assert restored_.verify() == []
                assert {cube.name: cube.changes for cube in restored_.cubes()} == seqs
        for place in (folder, again):
            shutil.rmtree(place, ignore_errors=True)
    assert refused


def test_two_backups_into_one_folder_do_not_mix(mos: MOS, two: Path) -> None:
    mos.session("alice").add("more", vectors=np.ones((1, 8), dtype=np.float32))
    with writing.writing(two), pytest.raises(Conflict, match="under way"):
        mos.backup(two)
    assert mos.backup(two).number == 3


async def test_the_async_twin(tmp_path: Path, place: Path) -> None:
    from memos_core import AsyncMOS

    async with AsyncMOS.open(tmp_path / "memory") as mos:
        await (await mos.session("alice")).add("hello")
        assert (await mos.backup(place)).changes == 1
