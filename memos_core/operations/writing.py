"""Writing a backup's files: beside their places, made durable, renamed; what an interrupted one left behind is removed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import msgspec

from memos_core.errors import Conflict, NotABackup, StoreFull, StoreReadOnly
from memos_core.operations.archive import (
    FRAME_HEAD,
    MAGIC,
    MANIFEST_NAME,
    ROWS_NAME,
    DataFile,
    Kind,
    Manifest,
    manifest_name,
)
from memos_core.stores.index.segment import LOCK, writer_lock

_FILE_BYTES: Final = 256 << 20  # a file of rows is ended behind so many
_FRAME_BYTES: Final = 16 << 20  # rows beyond so many begin a new frame
_MOST_BYTES: Final = (1 << 31) - 1
_PART: Final = ".part"


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
    return bare == LOCK or bool(MANIFEST_NAME.fullmatch(bare) or ROWS_NAME.fullmatch(bare))


def _sweep(folder: Path) -> None:
    """Remove what a backup that was interrupted has left: its manifest never got its name."""
    numbers = {found[1] for path in folder.iterdir() if (found := MANIFEST_NAME.fullmatch(path.name))}
    for path in folder.iterdir():
        rows = ROWS_NAME.fullmatch(path.name)
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
        self._write(FRAME_HEAD.pack(len(payload), zlib.crc32(payload)))
        self._write(payload)
        if self._file is not None and self._file.tell() >= _FILE_BYTES:
            self._end_file()

    def _write(self, data: bytes) -> None:
        if self._file is None:
            path = self._folder / (self._name() + _PART)
            self._file = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
            self._digest = hashlib.sha256()
            self._write(MAGIC)
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
        path = self._folder / manifest_name(self._number)
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
