"""Folders of backups: files of framed rows that never change, and a manifest for each backup that names those it needs.

A file of rows begins with a line that says what it is, followed by frames: length and CRC-32 of the payload, then the
payload in MessagePack: kind of rows, number of the cube, the rows. Nothing in it is code. A manifest is JSON with a SHA-256
of itself in its last line, and it holds size and SHA-256 of every file. Files are written under another name, made durable
and renamed; a backup exists from the moment its manifest has its name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Literal, Self

import msgspec

from memos_core.errors import BackupDamaged, Conflict, NewerSchema, NotABackup, StoreFull, StoreReadOnly
from memos_core.stores.index.segment import LOCK, writer_lock
from memos_core.types.copies import CubeCopy

FORMAT: Final = 1
Kind = Literal["changes", "entries", "conversations", "grants", "jobs"]
_MAGIC: Final = b"memos backup rows 1\n"
_HEAD: Final = struct.Struct("<II")
_FILE_BYTES: Final = 256 << 20  # a file of rows is ended behind so many
_FRAME_BYTES: Final = 16 << 20  # rows beyond so many begin a new frame
_MOST_BYTES: Final = (1 << 31) - 1
_MANIFEST: Final = re.compile(r"backup-(\d{6,})\.json")
_ROWS: Final = re.compile(r"rows-(\d{6,})-\d{4,}\.memos")
_PART: Final = ".part"


class DataFile(msgspec.Struct, frozen=True):
    """A file of rows.

    Attributes:
        name: in the folder.
        backup: number of the backup that wrote it.
        bytes: its size.
        sha256: of all of it, in hexadecimal digits.
    """

    name: str
    backup: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One backup.

    Attributes:
        format: of this and of the files.
        memos: version that made it.
        store: id of the store.
        number: 1, 2, 3, ... in the folder.
        base: number of the first backup whose files it needs.
        made_at: when.
        settings: of the store.
        cubes: as they were.
        jobs: SHA-256 of the jobs that were filed; "" for none.
        changes, entries, vectors: how many rows its files hold for its cubes.
        files: all it needs, oldest first.
    """

    format: int
    memos: str
    store: str
    number: int
    base: int
    made_at: datetime
    settings: dict[str, str]
    cubes: list[CubeCopy]
    jobs: str = ""
    changes: int = 0
    entries: int = 0
    vectors: int = 0
    files: list[DataFile] = []


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """Rows of one kind. `cube` is 0 for what belongs to the store as a whole."""

    kind: Kind
    cube: int
    rows: msgspec.Raw


class _Format(msgspec.Struct):
    format: int


# -- manifests ------------------------------------------------------------------------------------------------------------


def manifests(folder: Path) -> list[Path]:
    """The manifests in a folder, oldest first.

    Raises:
        NotABackup: it is no folder, or holds no backup.
    """
    try:
        names = sorted(path.name for path in folder.iterdir() if _MANIFEST.fullmatch(path.name))
    except OSError as error:
        raise NotABackup(f"{folder}: cannot be read as a folder of backups: {error.strerror or error}") from error
    if not names:
        raise NotABackup(
            f"{folder} holds no backups (no backup-000001.json); name the folder that `memos backup` wrote to"
        )
    return [folder / name for name in names]


def read_manifest(path: Path) -> Manifest:
    """A manifest.

    Raises:
        BackupDamaged: it cannot be read, or its own checksum differs.
        NewerSchema: it was written by a newer memos.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BackupDamaged(f"{path}: cannot be read: {error.strerror or error}") from error
    text, _, digest = raw.rstrip(b"\n").rpartition(b"\n")
    if digest.decode("latin-1") != hashlib.sha256(text).hexdigest():
        raise BackupDamaged(f"{path}: its checksum differs, it was cut or altered; choose another backup with --to")
    try:
        if msgspec.json.decode(text, type=_Format).format > FORMAT:
            raise NewerSchema(f"{path} was written by a newer memos; upgrade with: pip install -U memoskit")
        return msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BackupDamaged(f"{path}: {error}") from error


def chosen(folder: Path, number: int | None) -> Manifest:
    """A backup by its number; None for the newest.

    Raises:
        NotABackup: there are none, or not this one.
        BackupDamaged, NewerSchema: its manifest cannot be read.
    """
    paths = manifests(folder)
    if number is None:
        return read_manifest(paths[-1])
    path = folder / _manifest_name(number)
    if path not in paths:
        there = ", ".join(str(_number(each)) for each in paths)
        raise NotABackup(f"{folder} has no backup {number}; there are: {there}")
    return read_manifest(path)


def _manifest_name(number: int) -> str:
    return f"backup-{number:06d}.json"


def _number(path: Path) -> int:
    found = _MANIFEST.fullmatch(path.name)
    assert found is not None
    return int(found[1])


# -- reading --------------------------------------------------------------------------------------------------------------


def frames(folder: Path, file: DataFile) -> Iterator[Frame]:
    """The frames of a file, in order; at the end all of it has been compared with what the manifest says.

    Raises:
        BackupDamaged: the file is missing, cut, altered, or another one.
    """
    path = folder / file.name
    digest = hashlib.sha256()
    decode = msgspec.msgpack.Decoder(Frame).decode
    try:
        with open(path, "rb") as source:
            size = os.fstat(source.fileno()).st_size
            if size != file.bytes:
                raise BackupDamaged(f"{path} has {size:,} bytes, {file.bytes:,} were written: it was cut or replaced")
            if _take(source, len(_MAGIC), digest, path) != _MAGIC:
                raise BackupDamaged(f"{path} is no file of backup rows")
            while head := source.read(_HEAD.size):
                digest.update(head)
                length, crc = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, -1)
                payload = _take(source, length, digest, path) if length <= size else b""
                if zlib.crc32(payload) != crc:
                    raise BackupDamaged(f"{path}: the rows before byte {source.tell():,} are not what was written")
                yield decode(payload)
    except OSError as error:
        raise BackupDamaged(f"{path}: cannot be read: {error.strerror or error}") from error
    except msgspec.MsgspecError as error:
        raise BackupDamaged(f"{path}: {error}") from error
    if digest.hexdigest() != file.sha256:
        raise BackupDamaged(f"{path}: its SHA-256 is not that of the file that was written")


def _take(source: IO[bytes], count: int, digest: Any, path: Path) -> bytes:
    data = source.read(count)
    if len(data) != count:
        raise BackupDamaged(f"{path} ends in the middle of a frame")
    digest.update(data)
    return data


def check_there(folder: Path, manifest: Manifest) -> None:
    """Make sure that the files of a backup are there and as long as they were: nothing is added to what is broken.

    Raises:
        BackupDamaged: some are not.
    """
    wrong = []
    for file in manifest.files:
        try:
            size = (folder / file.name).stat().st_size
        except OSError:
            size = -1
        if size != file.bytes:
            wrong.append(f"{file.name} {'is missing' if size < 0 else f'has {size:,} of {file.bytes:,} bytes'}")
    if wrong:
        raise BackupDamaged(
            f"backup {manifest.number} in {folder} is damaged ({'; '.join(wrong[:5])}): nothing was added to it. Bring the "
            "files back, or back up into a new folder"
        )


# -- writing --------------------------------------------------------------------------------------------------------------


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for one backup alone; what one that was interrupted left behind is removed.

    Raises:
        NotABackup: there is something else in it.
        Conflict: another backup into it is under way.
        StoreReadOnly: it cannot be written.
        StoreFull: no space left.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        foreign = sorted(path.name for path in folder.iterdir() if not _ours(path.name))
        if foreign:
            raise NotABackup(
                f"{folder} holds something else ({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}); give backups "
                "a folder of their own"
            )
        with writer_lock(folder) as mine:
            if not mine:
                raise Conflict(f"another backup into {folder} is under way; wait for it")
            _sweep(folder)
            yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreFull(
                f"{folder}: no space left; the backups that were there are kept. Free some space"
            ) from error
        raise StoreReadOnly(f"{folder}: cannot be written: {error.strerror or error}") from error


def _ours(name: str) -> bool:
    bare = name.removesuffix(_PART)
    return bare == LOCK or bool(_MANIFEST.fullmatch(bare) or _ROWS.fullmatch(bare))


def _sweep(folder: Path) -> None:
    """Remove what a backup that was interrupted has left: its manifest never got its name."""
    numbers = {found[1] for path in folder.iterdir() if (found := _MANIFEST.fullmatch(path.name))}
    for path in folder.iterdir():
        rows = _ROWS.fullmatch(path.name)
        if path.name.endswith(_PART) or (rows is not None and rows[1] not in numbers):
            path.unlink()


class Writer:
    """Writes the files of one backup. What it wrote is removed again if its block ends with an error.

    Args:
        folder: where to.
        number: of the backup.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._encode = msgspec.msgpack.Encoder().encode
        self.files: list[DataFile] = []

    def put(self, kind: Kind, cube: int, rows: Sequence[msgspec.Struct]) -> None:
        """Write rows; one frame, or several where they are large."""
        encoded = [self._encode(row) for row in rows]
        size = sum(map(len, encoded))
        if size > _FRAME_BYTES and len(rows) > 1:
            half = len(rows) // 2
            self.put(kind, cube, rows[:half])
            self.put(kind, cube, rows[half:])
            return
        payload = self._encode([kind, cube, msgspec.Raw(_array(encoded))])
        if len(payload) > _MOST_BYTES:
            raise OSError(errno.EFBIG, "a single row is larger than 2 GB")
        self._write(_HEAD.pack(len(payload), zlib.crc32(payload)))
        self._write(payload)
        if self._file is not None and self._file.tell() >= _FILE_BYTES:
            self._end_file()

    def _write(self, data: bytes) -> None:
        if self._file is None:
            path = self._folder / (self._name() + _PART)
            self._file = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
            self._digest = hashlib.sha256()
            self._write(_MAGIC)
        self._file.write(data)
        self._digest.update(data)

    def _name(self) -> str:
        return f"rows-{self._number:06d}-{len(self.files) + 1:04d}.memos"

    def _end_file(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        with file:
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        name = self._name()
        os.replace(self._folder / (name + _PART), self._folder / name)
        self.files.append(DataFile(name, self._number, size, self._digest.hexdigest()))

    def finish(self, manifest: Manifest) -> Manifest:
        """End the backup: from now on there is one. `manifest.files` are those of earlier backups; these are added."""
        self._end_file()
        full = msgspec.structs.replace(manifest, files=[*manifest.files, *self.files])
        text = msgspec.json.encode(full)
        path = self._folder / _manifest_name(self._number)
        temporary = path.with_name(path.name + _PART)
        with open(temporary, "xb", opener=_private) as file:
            file.write(text + b"\n" + hashlib.sha256(text).hexdigest().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(self._folder)  # the rows must have their names before anything names them
        os.replace(temporary, path)
        _sync_folder(self._folder)
        self.files = []
        return full

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if error is not None:
            with contextlib.suppress(OSError):
                for path in self._folder.glob(f"rows-{self._number:06d}-*"):
                    path.unlink()


def _array(encoded: Sequence[bytes]) -> bytes:
    """Values that are encoded already, as one array of MessagePack."""
    return b"\xdd" + struct.pack(">I", len(encoded)) + b"".join(encoded)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
