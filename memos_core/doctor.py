"""`memos doctor`: is everything as it should be, and what to do where it is not. Looks, tries, and leaves nothing behind."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from memos_core.errors import MemosError
from memos_core.mos import MOS
from memos_core.plaintext.embedding import EmbedderRecord, recorded
from memos_core.protocols.storage import RecordStore
from memos_core.stores.opening import DATABASE, INDEXES, folder_of, is_server, named, store_exists
from memos_core.types.access import OPERATOR
from memos_core.types.items import LifecycleState
from memos_core.types.work import Body, Put, utc_now

State = Literal["ok", "note", "warning", "problem"]
OLDEST_SQLITE: Final = (3, 35, 0)
_NEEDED: Final = ("numpy", "SQLAlchemy", "msgspec", "simsimd", "PyStemmer")
_OPTIONAL: Final = {
    "minilm": ("tokenizers", "safetensors"),
    "documents": ("pypdf", "python-docx", "python-pptx", "openpyxl"),
    "langchain": ("langchain-core",),
    "llamaindex": ("llama-index-core",),
    "chroma": ("chromadb",),
    "postgres": ("psycopg",),
    "neo4j": ("neo4j",),
}
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs", "lustre"}
)
_LITTLE: Final = 256 << 20  # bytes free, below which a store soon stands still
_SKEW: Final = timedelta(minutes=2)
_STUCK: Final = 600.0  # seconds; nobody runs jobs that wait for longer
_CUBES: Final = 50  # whose indexes are brought up to date, the largest first


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        name: what.
        state: "ok", "note" (worth knowing), "warning" (will be a problem some day), "problem".
        found: what was found.
        todo: what to do about it; "" for nothing.
    """

    name: str
    state: State
    found: str
    todo: str = ""


def examine(
    location: str | Path,
    *,
    embedder: object = None,
    deadline: float = 10.0,
    now: Callable[[], datetime] = utc_now,
) -> Iterator[Check]:
    """Look at everything that a store needs, one thing after the other; what cannot be looked at is a finding, not an error.

    Args:
        location: as for `MOS.open`. Nothing is made there.
        embedder: as for `MOS.open`.
        deadline: seconds to wait at most while other processes write.
        now: the clock.
    """
    yield from _packages()
    try:
        folder = None if is_server(location) else folder_of(location)
        if folder is not None:
            yield from _place(folder)
        there = store_exists(location, deadline=deadline)
    except (MemosError, OSError) as error:
        yield Check("store", "problem", str(error), "name a folder, or a server that is there, with --store")
        return
    if not there:
        where = folder or named(location)
        yield Check(
            "store", "warning", f"there is no store at {where}", "make one with `memos add`, or name it with --store"
        )
        return
    try:
        mos = MOS.open(folder or location, embedder=embedder, deadline=deadline, now=now)
    except (MemosError, OSError) as error:
        yield Check(
            "store", "problem", f"{type(error).__name__}: {error}", "do what the message says, then run this again"
        )
        return
    with mos:
        yield from _store(mos, folder, now)


# -- the machine ----------------------------------------------------------------------------------------------------------


def _packages() -> Iterator[Check]:
    from memos_core import __version__

    versions = [f"{name} {_version(name) or 'missing'}" for name in _NEEDED]
    yield Check(
        "versions",
        "ok",
        f"memos {__version__}, Python {platform.python_version()} on {sys.platform}, {', '.join(versions)}",
    )
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        yield Check(
            "sqlite",
            "problem",
            f"SQLite {sqlite3.sqlite_version} is too old",
            "use a Python that brings a newer one (python.org, conda, uv)",
        )
    here = [extra for extra, names in _OPTIONAL.items() if all(_version(name) for name in names)]
    rest = [extra for extra in _OPTIONAL if extra not in here]
    todo = f"pip install 'memoskit[{rest[0]}]' adds one" if rest else ""
    yield Check("extras", "note", f"installed: {', '.join(here) or 'none'}; not: {', '.join(rest) or 'none'}", todo)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _place(folder: Path) -> Iterator[Check]:
    """The folder (or where it would be made): its disk and its permissions."""
    there = next((each for each in (folder, *folder.absolute().parents) if each.exists()), Path("/"))
    kind = _file_system(there)
    if kind in _NETWORK:
        yield Check(
            "disk",
            "problem",
            f"{there} is on a network file system ({kind}), where SQLite's log does not work",
            "move the store to a local disk",
        )
    free = shutil.disk_usage(there).free
    size = (folder / DATABASE).stat().st_size if (folder / DATABASE).exists() else 0
    said = f"{free >> 20:,} MB free on the disk of {there}"
    if free < _LITTLE:
        yield Check("free space", "problem", said, "free some space: writes fail (and lose nothing) once it is full")
    elif free < 2 * size:
        yield Check("free space", "warning", said, f"vacuum and a restore need about {2 * size >> 20:,} MB")
    else:
        yield Check("free space", "ok", said)
    yield from _permissions(folder, there)


def _permissions(folder: Path, there: Path) -> Iterator[Check]:
    if not os.access(there, os.W_OK | os.X_OK):
        yield Check(
            "permissions", "problem", f"{there} cannot be written by this user", f"chown or chmod u+rwx {there}"
        )
    if not folder.is_dir():
        return
    files = [folder, *(path for path in folder.iterdir() if path.name.startswith(DATABASE))]
    locked = [path for path in files if not os.access(path, os.R_OK | os.W_OK)]
    if locked:
        names = " ".join(map(str, locked))
        yield Check(
            "permissions", "problem", f"this user cannot read and write {names}", f"chown or chmod u+rw {names}"
        )
    open_ = [path for path in files if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_:
        names = " ".join(map(str, open_))
        yield Check("permissions", "warning", f"others on this machine may read {names}", f"chmod go= {names}")
    if not locked and not open_:
        yield Check("permissions", "ok", f"{folder} is this user's alone")


def _file_system(path: Path) -> str:
    """The kind of file system that a path is on; "" where that cannot be found out."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except (OSError, IndexError):
        return ""
    whole = str(path.resolve())
    found = ""
    longest = 0
    for point, kind in mounts:
        below = whole == point or whole.startswith(point.rstrip("/") + "/")
        if below and len(point) >= longest:
            found, longest = kind, len(point)
    return found


# -- the store ------------------------------------------------------------------------------------------------------------


def _store(mos: MOS, folder: Path | None, now: Callable[[], datetime]) -> Iterator[Check]:
    looks: dict[str, Callable[[], Iterator[Check]]] = {
        "settings": lambda: _settings(mos.store),
        "clock": lambda: _clock(mos.store, now),
        "embedder": lambda: _embedder(mos, recorded(mos.store)),
        "followers": lambda: _followers(mos, folder),
        "jobs": lambda: _jobs(mos),
        "write": lambda: _write(mos.store, folder),
        "search": lambda: _search(mos),
    }
    for name, look in looks.items():
        try:
            yield from look()
        except (MemosError, OSError) as error:
            yield Check(
                name, "problem", f"{type(error).__name__}: {error}", "do what the message says, then run this again"
            )


def _jobs(mos: MOS) -> Iterator[Check]:
    """Whether background work gets done."""
    stats = mos.scheduler.stats()
    failed = {each.kind: each.counts["failed"] for each in stats if each.counts["failed"]}
    oldest = max((each.oldest for each in stats if each.oldest is not None), default=0.0)
    waiting = sum(each.counts["pending"] for each in stats)
    late = sum(each.late for each in stats)
    if failed:
        said = ", ".join(f"{count:,} of kind {kind!r}" for kind, count in failed.items())
        yield Check(
            "jobs",
            "warning",
            f"jobs were given up: {said}",
            "look with `memos jobs --failed`, then `memos jobs retry --all`",
        )
    if oldest > _STUCK:
        found = f"{waiting:,} jobs wait, the oldest for {oldest / 60:,.0f} minutes"
        yield Check("jobs", "warning", found, "have somebody run them: `memos worker`, or mos.scheduler.start()")
    if late:
        found = f"{late:,} jobs run under a lease that has run out"
        yield Check("jobs", "note", found, "their worker is gone; the next one to look takes them over")
    if not failed and oldest <= _STUCK and not late:
        yield Check("jobs", "ok", f"{waiting:,} wait" if waiting else "none waits")


def _settings(store: RecordStore) -> Iterator[Check]:
    facts = store.facts()
    said = ", ".join(f"{name} {value}" for name, value in facts.items() if not name.endswith("bytes"))
    size, log, unused = (int(facts.get(name, 0)) for name in ("bytes", "log_bytes", "unused_bytes"))
    wanted = {"journal_mode": ("wal",), "synchronous": ("full",), "fsync": ("on",), "full_page_writes": ("on",)}
    wrong = [name for name, good in wanted.items() if facts.get(name, good[0]) not in good]
    if wrong:
        yield Check(
            "settings",
            "problem",
            f"{', '.join(f'{name} is {facts[name]}' for name in wrong)}: what is acknowledged may be lost",
            "have the server's settings put right"
            if "fsync" in facts
            else "another program has changed the database; open it with memos only",
        )
    else:
        yield Check("settings", "ok", f"{said}, {size >> 20:,} MB")
    if log > max(512 << 20, size // 2):
        yield Check(
            "log",
            "warning",
            f"the log of the database has {log >> 20:,} MB: some process reads one moment for very long",
            "look for a process that hangs; then `memos vacuum`",
        )
    if unused > max(64 << 20, size // 4):
        yield Check(
            "unused space", "note", f"{unused >> 20:,} MB of the database are not used", "`memos vacuum` frees them"
        )


def _clock(store: RecordStore, now: Callable[[], datetime]) -> Iterator[Check]:
    """Times never run backwards within a cube, so its newest change tells of a clock that does."""
    with store.snapshot() as snapshot:
        newest = max((cube.changed for cube in snapshot.cubes), default=0)
    try:
        ahead = datetime.fromtimestamp(newest / 1e6, UTC) - now()
    except (OverflowError, ValueError, OSError):
        yield Check(
            "clock",
            "problem",
            f"the newest change is at {newest}, which is no time",
            "`memos verify`; restore a backup",
        )
        return
    if ahead > _SKEW:
        yield Check(
            "clock",
            "problem",
            f"the newest change is {ahead} in the future: this clock is slow, or another was fast",
            "set the clocks (NTP); until then new changes bear the time of the newest one",
        )
    else:
        yield Check("clock", "ok", f"{now():%Y-%m-%d %H:%M:%S} UTC, behind all changes")


def _embedder(mos: MOS, record: EmbedderRecord | None) -> Iterator[Check]:
    stats = mos.stats()
    if stats["lexical_only"] is None:
        yield Check("embedder", "ok", f"{stats['embedder']}, {stats['dims']} dimensions")
    elif record is not None and record.identity:
        name = record.spec.partition(":")[0]
        extra = f"install it (pip install 'memoskit[{name}]', `memos models`)" if record.spec else "give it to MOS.open"
        yield Check("embedder", "problem", str(stats["lexical_only"]), f"{extra}, or choose another: `memos reembed`")
    else:
        yield Check("embedder", "note", str(stats["lexical_only"]), "`memos reembed minilm` makes search go by meaning")


def _followers(mos: MOS, folder: Path | None) -> Iterator[Check]:
    cubes = sorted(mos.cubes(), key=lambda cube: -cube.changes)
    began = time.perf_counter()
    behind = [cube.name for cube in cubes[:_CUBES] if mos.cube(cube.name).catch_up() < cube.changes]
    took = time.perf_counter() - began
    if behind:
        yield Check("followers", "problem", f"indexes do not catch up: {', '.join(behind)}", "`memos reindex`")
    else:
        of = f"{min(len(cubes), _CUBES)} of {len(cubes)} cubes"
        yield Check("followers", "ok", f"the indexes of {of} are up to date (in {took * 1e3:,.0f} ms)")
    if folder is None:
        return
    places = {path.name for path in (folder / INDEXES).glob("*") if path.name.isdecimal()}
    stale = places - {str(cube.number) for cube in mos.store.cubes()}
    if stale:
        yield Check(
            "index files", "note", f"{len(stale)} folders of cubes that are gone", "`memos vacuum` removes them"
        )


class _Undo(Exception):
    """Ends the probe's transaction, so that nothing of it is kept."""


def _write(store: RecordStore, folder: Path | None) -> Iterator[Check]:
    """Write to the store itself, and take it back; then how long the disk takes to keep something."""
    name = f"{OPERATOR.id}/probe-{os.getpid()}"
    token = store.change_token()
    began = time.perf_counter()
    try:
        with store.begin(actor=OPERATOR.id, action="probe") as transaction:
            cube = transaction.create_cube(name, OPERATOR.id)
            body = Body()
            transaction.put(cube, [Put(id="probe", op="add", text="probe", body=body, state=LifecycleState.ACTIVATED)])
            if "probe" not in transaction.heads(cube, ["probe"]):
                yield Check(
                    "write", "problem", "what was written cannot be read back", "`memos verify`; restore a backup"
                )
            raise _Undo
    except _Undo:
        taken = (time.perf_counter() - began) * 1e3
    if store.cube(name) is not None:
        yield Check("write", "problem", "a transaction that was taken back is still there", "report this, please")
        return
    quiet = "" if store.change_token() != token else ", and nothing was left behind"
    if folder is None:  # its disk is elsewhere
        yield Check("write", "ok", f"a probe was written and taken back in {taken:,.1f} ms{quiet}")
        return
    began = time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"probe")
        file.flush()
        os.fsync(file.fileno())
    sync = (time.perf_counter() - began) * 1e3
    yield Check("write", "ok", f"a probe was written and taken back in {taken:,.1f} ms{quiet}")
    if sync > 100:
        yield Check(
            "fsync",
            "warning",
            f"the disk takes {sync:,.0f} ms to keep a write",
            "each add takes as long; use a faster disk",
        )
    else:
        yield Check("fsync", "ok", f"the disk takes {sync:,.1f} ms to keep a write")


def _search(mos: MOS) -> Iterator[Check]:
    """Add and search in a store of its own, in memory, with this store's embedder."""
    said = "The lighthouse keeper's parrot is called Hekla."
    with MOS.open(":memory:", embedder=mos.embedder) as scratch:
        dims = scratch.stats()["dims"]
        vectors: Any = None
        if mos.embedder is not None and getattr(mos.embedder, "identity", "").startswith("given:"):
            import numpy as np

            vectors = np.eye(2, dims, dtype=np.float32)
        session = scratch.session("probe")
        began = time.perf_counter()
        session.add([said, "Bread is baked before sunrise."], vectors=vectors)
        hits = session.search("what is the parrot called?")
        taken = (time.perf_counter() - began) * 1e3
    if not hits or hits[0].text != said:
        yield Check(
            "search", "problem", "a probe that was added was not found again", "report this, please, with --json"
        )
    else:
        yield Check("search", "ok", f"a probe was added and found in {taken:,.0f} ms, in a store of its own")
