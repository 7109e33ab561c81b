"""Restoring a backup into an empty place, every byte compared with what was written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from memos_core.errors import AlreadyExists, BackupDamaged
from memos_core.events import event
from memos_core.operations import archive
from memos_core.operations.archive import Kind, Manifest
from memos_core.operations.backup import Progress
from memos_core.plaintext.embedding import SETTING, EmbedderRecord
from memos_core.protocols.copying import Filling
from memos_core.protocols.storage import RecordStore
from memos_core.stores.opening import DATABASE, folder_of, is_server, open_sqlite, open_store
from memos_core.types.copies import (
    ChangeCopy,
    CheckpointCopy,
    ConversationCopy,
    CubeCopy,
    EntryCopy,
    GrantCopy,
    HoldCopy,
    JobCopy,
)
from memos_core.types.work import utc_now

_ROWS: Final[dict[Kind, Any]] = {
    "changes": msgspec.msgpack.Decoder(list[ChangeCopy]).decode,
    "entries": msgspec.msgpack.Decoder(list[EntryCopy]).decode,
    "conversations": msgspec.msgpack.Decoder(list[ConversationCopy]).decode,
    "grants": msgspec.msgpack.Decoder(list[GrantCopy]).decode,
    "holds": msgspec.msgpack.Decoder(list[HoldCopy]).decode,
    "checkpoints": msgspec.msgpack.Decoder(list[CheckpointCopy]).decode,
    "jobs": msgspec.msgpack.Decoder(list[JobCopy]).decode,
}
_REPLACED: Final = frozenset(
    {"conversations", "grants", "checkpoints", "holds", "jobs"}
)  # a later backup has all of them again


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was restored (or, after `check`, could be).

    Attributes:
        number: of the backup.
        store: id of the store; the restored one has the same.
        cubes, changes, entries, vectors: how many.
        bytes: that were read.
    """

    number: int
    store: str
    cubes: int
    changes: int
    entries: int
    vectors: int
    bytes: int


class _Contents(msgspec.Struct):
    """What the files of a backup hold.

    Attributes:
        latest: (kind, cube) -> number of the newest backup that has such rows.
        changes, entries, vectors: counted, of the cubes that the backup has.
    """

    latest: dict[tuple[str, int], int] = {}
    changes: int = 0
    entries: int = 0
    vectors: int = 0


def check(folder: Path, number: int | None = None, *, progress: Progress | None = None) -> Restored:
    """Read a backup as a whole and compare everything with its checksums.

    Args:
        folder: of backups.
        number: which; None for the newest.
        progress: called with (bytes read, bytes to read).

    Raises:
        NotABackup: there is none.
        BackupDamaged: it cannot be restored; the message names every file that is wrong.
        NewerSchema: a newer memos has written it.
    """
    folder = folder.expanduser().absolute()
    manifest = archive.chosen(folder, number)
    _contents(folder, manifest, progress or _unseen)
    return _told(manifest)


def restore(
    folder: Path,
    store: RecordStore | Callable[[], RecordStore],
    number: int | None = None,
    *,
    progress: Progress | None = None,
) -> Restored:
    """Fill an empty store with a backup: all of it, verified, or nothing.

    Args:
        folder: of backups.
        store: to fill; or opens it, and is not called before the backup has been found sound.
        number: which backup; None for the newest.
        progress: called with (bytes read, bytes to read); everything is read twice.

    Raises:
        AlreadyExists: the store is not empty.
        NotABackup, BackupDamaged, NewerSchema: as for `check`; the store stays empty.
        StoreDamaged: digests, vectors or the audit chain do not fit together; the store stays empty.
        StoreFull: no space left; the store stays empty.
    """
    folder = folder.expanduser().absolute()
    manifest = archive.chosen(folder, number)
    progress = progress or _unseen
    total = 2 * sum(file.bytes for file in manifest.files)
    contents = _contents(folder, manifest, lambda done, _: progress(done, total))
    target = store() if callable(store) else store
    with event("memos.restore_store", number=manifest.number, store=manifest.store), target.filling() as filling:
        _fill(filling, folder, manifest, contents, lambda done: progress(total // 2 + done, total))
    return _told(manifest)


def restore_to(
    folder: Path,
    location: str | Path,
    number: int | None = None,
    *,
    deadline: float = 30.0,
    progress: Progress | None = None,
) -> Restored:
    """Restore a backup to a place where there is no store yet; raises as `restore` does, and leaves nothing if it fails.

    Args:
        folder: of backups.
        location: as for `MOS.open`.
        number: which backup; None for the newest.
        deadline: seconds to wait at most while other processes write there.
        progress: called with (bytes read, bytes to read); everything is read twice.

    Raises:
        AlreadyExists: there is something at the location; it is not touched. (On a server an empty store does no harm.)
    """
    if is_server(location):
        with closing(open_store(location, deadline=deadline, now=utc_now)) as store:
            return restore(folder, store, number, progress=progress)
    place = folder_of(location)
    fresh = not place.exists()
    there = [] if fresh else sorted(path.name for path in place.iterdir())
    if any(not name.startswith(DATABASE) for name in there):
        raise AlreadyExists(
            f"{place} is not empty ({', '.join(there[:3])}{', ...' if len(there) > 3 else ''}); nothing is overwritten, "
            "restore to a new folder"
        )
    opened: list[RecordStore] = []

    def open_place() -> RecordStore:
        opened.append(open_sqlite(place, deadline=deadline, now=utc_now))
        return opened[0]

    try:
        restored = restore(folder, open_place, number, progress=progress)
    except BaseException as error:
        for store in opened:
            store.close()
        if not there and not isinstance(error, AlreadyExists):  # then somebody else has made a store here meanwhile
            for path in place.glob(f"{DATABASE}*"):
                path.unlink()
            if fresh and place.exists():
                place.rmdir()
        raise
    opened[0].close()
    return restored


def _contents(folder: Path, manifest: Manifest, progress: Progress) -> _Contents:
    found, wrong = _Contents(), []
    cubes = {cube.number for cube in manifest.cubes} | {0}
    done, total = 0, sum(file.bytes for file in manifest.files)
    for file in manifest.files:
        try:
            for frame in archive.frames(folder, file):
                if frame.cube not in cubes:
                    continue
                rows = _ROWS[frame.kind](frame.rows)
                found.latest[frame.kind, frame.cube] = file.backup
                if frame.kind == "changes":
                    found.changes += len(rows)
                    found.vectors += sum(row.dense is not None for row in rows)
                elif frame.kind == "entries":
                    found.entries += len(rows)
        except (BackupDamaged, msgspec.MsgspecError) as error:
            wrong.append(str(error) if isinstance(error, BackupDamaged) else f"{folder / file.name}: {error}")
        done += file.bytes
        progress(done, total)
    expected = sum(cube.seq - cube.base_seq for cube in manifest.cubes), sum(cube.entries for cube in manifest.cubes)
    if not wrong and (found.changes, found.entries) != expected:
        wrong.append(
            f"backup {manifest.number} should have {expected[0]:,} changes and {expected[1]:,} audit entries, its files have "
            f"{found.changes:,} and {found.entries:,}"
        )
    if wrong:
        raise BackupDamaged(
            f"backup {manifest.number} in {folder} cannot be restored: {'; '.join(wrong)}. Take another copy of the folder, "
            "or an earlier backup"
        )
    return found


def _fill(
    filling: Filling, folder: Path, manifest: Manifest, contents: _Contents, progress: Callable[[int], None]
) -> None:
    cubes = {cube.number: cube for cube in manifest.cubes}
    for cube in manifest.cubes:
        filling.cube(cube)
    done = 0
    for file in manifest.files:
        for frame in archive.frames(folder, file):
            if frame.cube and frame.cube not in cubes:
                continue  # a cube that was gone when this backup was made
            if frame.kind in _REPLACED and contents.latest[frame.kind, frame.cube] != file.backup:
                continue
            _put(filling, cubes.get(frame.cube), frame.kind, _ROWS[frame.kind](frame.rows))
        done += file.bytes
        progress(done)
    raw = manifest.settings.get(SETTING)
    record = None if raw is None else msgspec.json.decode(raw, type=EmbedderRecord)
    filling.finish(manifest.settings, record.dims or None if record is not None else None)


def _put(filling: Filling, cube: CubeCopy | None, kind: Kind, rows: Any) -> None:
    if cube is None:
        if kind == "jobs":
            filling.jobs(rows)
    elif kind == "changes":
        filling.changes(cube, rows)
    elif kind == "entries":
        filling.entries(cube, rows)
    elif kind == "conversations":
        filling.conversations(cube, rows)
    elif kind == "grants":
        filling.grants(cube, rows)
    elif kind == "holds":
        filling.holds(cube, rows)
    elif kind == "checkpoints":
        filling.checkpoints(cube, rows)


def _told(manifest: Manifest) -> Restored:
    return Restored(
        number=manifest.number,
        store=manifest.store,
        cubes=len(manifest.cubes),
        changes=sum(cube.seq - cube.base_seq for cube in manifest.cubes),
        entries=sum(cube.entries for cube in manifest.cubes),
        vectors=manifest.vectors,
        bytes=sum(file.bytes for file in manifest.files),
    )


def _unseen(done: int, total: int) -> None:
    """Progress that nobody looks at."""
