"""Backing up a store while it is in use: one moment of it, and of that only what the folder has not got yet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from memos_core.errors import Conflict, InvalidInput, NotABackup
from memos_core.events import event
from memos_core.operations import archive
from memos_core.operations.archive import FORMAT, Manifest
from memos_core.operations.writing import Writer, writing
from memos_core.plaintext.embedding import SETTING
from memos_core.protocols.copying import Snapshot
from memos_core.protocols.storage import RecordStore
from memos_core.types.copies import JobCopy
from memos_core.types.erasure import ERASURES
from memos_core.types.work import utc_now

Progress = Callable[[int, int], None]


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup did, or one that there is.

    Attributes:
        folder: where it lies.
        number: by which it can be restored.
        made_at: when.
        cubes, changes, entries, vectors: how much it holds with those before it.
        new_changes: how many changes this call wrote.
        new_bytes: how many bytes this call wrote; 0 where nothing was new, and no backup was made.
        whole: whether it needs no earlier one.
    """

    folder: str
    number: int
    made_at: datetime
    cubes: int
    changes: int
    entries: int
    vectors: int
    new_changes: int = 0
    new_bytes: int = 0
    whole: bool = False


def backup(
    store: RecordStore,
    folder: Path,
    *,
    now: Callable[[], datetime] = utc_now,
    progress: Progress | None = None,
) -> Backup:
    """Bring a folder of backups up to date. Others may go on reading and writing; what they do meanwhile is not in it.

    The first backup holds everything, later ones the changes since the one before. Where all vectors were replaced since
    (`memos reembed`), everything is written again.

    Args:
        store: what to back up.
        folder: of its own; made, private to the user, if there is none.
        now: the clock.
        progress: called with (changes written, changes to write).

    Raises:
        NotABackup: there is something else in the folder, or backups of another store.
        Conflict: the store is not the one that was backed up last (an older backup was restored since), or another backup
            into the folder is under way.
        StoreDamaged: a row is not what was written; no backup is made of it.
        BackupDamaged: the newest backup's manifest cannot be read, or files of it are missing or cut.
        StoreFull, StoreReadOnly: the folder cannot be written; the backups in it are kept.
    """
    folder = folder.expanduser().absolute()
    own = Path(store.name).parent
    if own.is_dir() and (folder == own.absolute() or own.absolute() in folder.parents):
        raise InvalidInput(f"{folder} is in the folder of the store itself; give backups a place of their own")
    with writing(folder):
        last = _newest(folder)
        with event("memos.backup", store=store.id) as heard, store.snapshot() as snapshot:
            made = _backup(snapshot, store, folder, last, now, progress)
            heard.note(number=made.number, changes=made.new_changes, bytes=made.new_bytes)
            return made


def _newest(folder: Path) -> Manifest | None:
    """The newest backup in a folder, if it can be added to; None where there is none yet."""
    try:
        last = archive.chosen(folder, None)
    except NotABackup:
        return None
    archive.check_there(folder, last)
    return last


def backups(folder: Path) -> list[Backup]:
    """The backups in a folder, oldest first.

    Raises:
        NotABackup: there are none.
        BackupDamaged: a manifest cannot be read.
    """
    return [_told(folder, archive.read_manifest(path)) for path in archive.manifests(folder.expanduser().absolute())]


def _backup(
    snapshot: Snapshot,
    store: RecordStore,
    folder: Path,
    last: Manifest | None,
    now: Callable[[], datetime],
    progress: Progress | None,
) -> Backup:
    settings = dict(snapshot.settings)
    if last is not None:
        _check_same(snapshot, store, folder, last)
    before = {} if last is None or _revised(last, settings) else {cube.number: cube for cube in last.cubes}
    fresh = [cube for cube in snapshot.cubes if before.get(cube.number) != cube]
    jobs = snapshot.jobs()
    jobs_digest = _digest(jobs)
    cubes = list(snapshot.cubes)
    if last is not None and not fresh and (last.settings, last.cubes, last.jobs) == (settings, cubes, jobs_digest):
        return _told(folder, last)
    number = 1 if last is None else last.number + 1
    whole = last is None or not before
    seqs = {cube.number: before[cube.number].seq if cube.number in before else cube.base_seq for cube in fresh}
    total = sum(cube.seq - seqs[cube.number] for cube in fresh)
    done = vectors = 0
    with Writer(folder, number) as writer:
        for cube in fresh:
            known = before.get(cube.number)
            for changes in snapshot.changes(cube, seqs[cube.number]):
                writer.put("changes", cube.number, changes)
                done += len(changes)
                vectors += sum(change.dense is not None for change in changes)
                if progress is not None:
                    progress(done, total)
            for slice_ in snapshot.entries(cube, known.entries if known is not None else 0):
                writer.put("entries", cube.number, slice_)
            writer.put("conversations", cube.number, snapshot.conversations(cube))
            writer.put("grants", cube.number, snapshot.grants(cube))
            writer.put("holds", cube.number, snapshot.holds(cube))
            writer.put("checkpoints", cube.number, snapshot.checkpoints(cube))
        if whole or last is None or last.jobs != jobs_digest:
            writer.put("jobs", 0, jobs)
        kept = None if whole else last
        manifest = writer.finish(
            Manifest(
                format=FORMAT,
                memos=_version(),
                store=store.id,
                number=number,
                base=number if kept is None else kept.base,
                made_at=now(),
                settings=settings,
                cubes=cubes,
                jobs=jobs_digest,
                changes=sum(cube.seq - cube.base_seq for cube in cubes),
                entries=sum(cube.entries for cube in cubes),
                vectors=vectors + (0 if kept is None else kept.vectors),
                files=[] if kept is None else list(kept.files),
            )
        )
    written = sum(file.bytes for file in manifest.files if file.backup == number)
    return msgspec.structs.replace(_told(folder, manifest), new_changes=done, new_bytes=written)


def _check_same(snapshot: Snapshot, store: RecordStore, folder: Path, last: Manifest) -> None:
    """Make sure that the store is a later state of the one that was backed up."""
    if last.store != store.id:
        raise NotABackup(
            f"{folder} holds backups of another store (id {last.store}; {store.name} has {store.id}); give each a folder"
        )
    now = {cube.number: cube for cube in snapshot.cubes}
    for then in last.cubes:
        cube = now.get(then.number)
        if cube is None or cube.chain == then.chain:
            continue
        if cube.entries < then.entries or (then.entries and snapshot.entry_hash(cube, then.entries) != then.chain):
            raise Conflict(
                f"cube {then.name!r} of {store.name} has not the history that backup {last.number} in {folder} has: an older "
                "state was restored since, perhaps. Nothing was written; back up into a new folder"
            )


def _revised(last: Manifest, settings: dict[str, str]) -> bool:
    """Whether rows that were backed up may have been changed since: all vectors were replaced, or something was erased."""
    return last.changes > 0 and any(last.settings.get(name) != settings.get(name) for name in (SETTING, ERASURES))


def _digest(jobs: list[JobCopy]) -> str:
    return hashlib.sha256(msgspec.msgpack.encode(jobs)).hexdigest() if jobs else ""


def _told(folder: Path, manifest: Manifest) -> Backup:
    return Backup(
        folder=str(folder),
        number=manifest.number,
        made_at=manifest.made_at,
        cubes=len(manifest.cubes),
        changes=manifest.changes,
        entries=manifest.entries,
        vectors=manifest.vectors,
        whole=manifest.base == manifest.number,
    )


def _version() -> str:
    from memos_core import __version__

    return __version__
