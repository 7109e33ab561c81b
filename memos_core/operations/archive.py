"""Folders of backups: files of framed rows that never change, and a manifest for each backup that names those it needs.

A file of rows begins with a line that says what it is, followed by frames: length and CRC-32 of the payload, then the
payload in MessagePack: kind of rows, number of the cube, the rows. Nothing in it is code. A manifest is JSON with a SHA-256
of itself in its last line, and it holds size and SHA-256 of every file. Files are written under another name, made durable
and renamed; a backup exists from the moment its manifest has its name.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, Literal

import msgspec

from memos_core.errors import BackupDamaged, NewerSchema, NotABackup
from memos_core.types.copies import CubeCopy

FORMAT: Final = 1
Kind = Literal["changes", "entries", "conversations", "grants", "checkpoints", "holds", "jobs"]
MAGIC: Final = b"memos backup rows 1\n"
FRAME_HEAD: Final = struct.Struct("<II")
MANIFEST_NAME: Final = re.compile(r"backup-(\d{6,})\.json")
ROWS_NAME: Final = re.compile(r"rows-(\d{6,})-\d{4,}\.memos")


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
        names = sorted(path.name for path in folder.iterdir() if MANIFEST_NAME.fullmatch(path.name))
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
    path = folder / manifest_name(number)
    if path not in paths:
        there = ", ".join(str(_number(each)) for each in paths)
        raise NotABackup(f"{folder} has no backup {number}; there are: {there}")
    return read_manifest(path)


def manifest_name(number: int) -> str:
    return f"backup-{number:06d}.json"


def _number(path: Path) -> int:
    found = MANIFEST_NAME.fullmatch(path.name)
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
            if _take(source, len(MAGIC), digest, path) != MAGIC:
                raise BackupDamaged(f"{path} is no file of backup rows")
            while head := source.read(FRAME_HEAD.size):
                digest.update(head)
                length, crc = FRAME_HEAD.unpack(head) if len(head) == FRAME_HEAD.size else (0, -1)
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
