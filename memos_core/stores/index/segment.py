"""Segments: files of arrays that never change, mapped into memory, checked before they are believed.

A segment is a file laid out like safetensors: a JSON header, then plain arrays, each at a multiple of 64 bytes. Its header
has a CRC-32 for each array. A manifest beside the segments says which store, cube, embedder and analysis they were made from
and lists them with the CRC-32 of their headers; it is replaced by renaming, after everything it names is on disk, and ends
with a CRC-32 of itself. Bytes that no manifest names do not count; a segment that differs from what the manifest says in any
way is thrown away with all others, and the index is filled from the truth again.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

FORMAT: Final = "2"
MANIFEST: Final = "manifest.json"
_ALIGN: Final = 64
_AT_ONCE: Final = 1 << 20  # bytes that are read to be checked
_CODES: Final = {"int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32"} | {
    "int64": "I64",
    "uint64": "U64",
    "float16": "F16",
    "float32": "F32",
    "bool": "BOOL",
}
_DTYPES: Final = {code: np.dtype(name) for name, code in _CODES.items()}

Arrays = dict[str, NDArray[Any]]


class SegmentRefused(Exception):
    """Why a segment or manifest is not believed. Never leaves the index: it rebuilds."""


class SegmentEntry(msgspec.Struct, frozen=True):
    """A segment as the manifest names it.

    Attributes:
        file: its name in the folder.
        rows: how many rows it holds.
        crc: CRC-32 of its header, which holds those of the arrays.
        history: whether all its rows are of the past (only asked with `as_of`).
    """

    file: str
    rows: int
    crc: int
    history: bool = False


class Manifest(msgspec.Struct, frozen=True):
    """What the segments of a cube's index are, and how far they go.

    Attributes:
        belongs: what they were made from and how; anything else is not ours.
        seq: number of the last change they hold.
        digest: of that change in the truth; another one means that the truth has gone another way since (a restored
            backup).
        languages: those that texts were found to be in, each with the first change of such a text; of private ones with
            the reader behind it (`language_of`).
        segments: in order of rows.
        clean: number of the newest change that erased bytes, before they were made.
    """

    belongs: dict[str, str]
    seq: int
    digest: str = ""
    languages: dict[str, int] = {}
    segments: tuple[SegmentEntry, ...] = ()
    clean: int = 0


def write_segment(
    folder: Path, name: str, arrays: Mapping[str, NDArray[Any]], *, history: bool = False
) -> SegmentEntry:
    """Write arrays to a file, durable when this returns. All arrays named "row_..." have one entry a row.

    Raises:
        OSError: the disk is full or cannot be written; nothing points to what was written.
    """
    plain = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
    header: dict[str, Any] = {
        "__metadata__": {
            key: f"{zlib.crc32(value.data.cast('B') if value.size else b''):08x}" for key, value in plain.items()
        }
    }
    end = 0
    for key, value in plain.items():
        end += -end % _ALIGN
        header[key] = {
            "dtype": _CODES[value.dtype.name],
            "shape": list(value.shape),
            "data_offsets": [end, end + value.nbytes],
        }
        end += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % _ALIGN)
    with open(folder / name, "wb", opener=_private) as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for key, value in plain.items():
            file.seek(8 + len(text) + header[key]["data_offsets"][0])
            file.write(value.data.cast("B") if value.size else b"")
        file.truncate(8 + len(text) + end)
        file.flush()
        os.fsync(file.fileno())
    return SegmentEntry(name, len(plain["row_seq"]), zlib.crc32(text), history)


def open_segment(folder: Path, entry: SegmentEntry, *, written: bool = False) -> Arrays:
    """The arrays of a segment, after every byte has been compared with its checksum.

    Plain columns ("row_..."), which are copied anyway, are read; the others are mapped (read only).

    Args:
        written: this process has just written it: only its header is compared.

    Raises:
        SegmentRefused: the file is missing, cut, altered, or not what the manifest says.
    """
    path = folder / entry.file
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = struct.unpack("<Q", file.read(8))[0] if size >= 8 else 0
            if not 2 <= length <= size - 8:
                raise SegmentRefused(f"{path} is cut")
            text = file.read(length)
            if zlib.crc32(text) != entry.crc:
                raise SegmentRefused(f"{path}: header differs from the manifest")
            header = json.loads(text)
            checks = header.pop("__metadata__")
            # a plain array over the mapping: slicing one of numpy's own memmap class costs microseconds each time
            whole = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
            arrays = {}
            for key, place in header.items():
                low, high = (8 + length + offset for offset in place["data_offsets"])
                raw = whole[low:high]
                if len(raw) != high - low:
                    raise SegmentRefused(f"{path} is cut")
                if not written:
                    file.seek(low)
                    if key.startswith("row_"):
                        raw = np.frombuffer(file.read(high - low), dtype=np.uint8)
                        crc = zlib.crc32(raw.data)
                    else:
                        crc = _crc_of(file, high - low)
                    if crc != int(checks[key], 16):
                        raise SegmentRefused(f"{path}: {key}: checksum differs")
                arrays[key] = raw.view(_DTYPES[place["dtype"]]).reshape(place["shape"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SegmentRefused(f"{path}: {error}") from error
    if len(arrays["row_seq"]) != entry.rows:
        raise SegmentRefused(f"{path} has another number of rows than the manifest says")
    return arrays


def _crc_of(file: BinaryIO, size: int) -> int:
    """CRC-32 of the next bytes of a file.

    They are read, not looked at through a mapping: what nobody asks for then takes none of the process's memory.
    """
    buffer = memoryview(bytearray(min(size, _AT_ONCE)))
    crc = 0
    while size and (count := file.readinto(buffer[:size])):  # type: ignore[attr-defined]
        crc = zlib.crc32(buffer[:count], crc)
        size -= count
    return crc


def read_manifest(folder: Path, belongs: Mapping[str, str]) -> Manifest | None:
    """The manifest of a folder; None where there is none.

    Raises:
        SegmentRefused: it cannot be read, or belongs to something else.
    """
    try:
        raw = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SegmentRefused(f"{folder / MANIFEST}: {error}") from error
    text, _, crc = raw.rpartition(b"\n")
    if crc != _crc_line(text):
        raise SegmentRefused(f"{folder / MANIFEST}: checksum differs")
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise SegmentRefused(f"{folder / MANIFEST}: {error}") from error
    if manifest.belongs != dict(belongs):
        raise SegmentRefused(f"{folder / MANIFEST} belongs to something else")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put a manifest in the place of the one before; durable when this returns."""
    temporary = folder / f"{MANIFEST}.{os.getpid()}"
    with open(temporary, "wb", opener=_private) as file:
        text = msgspec.json.encode(manifest)
        file.write(text + b"\n" + _crc_line(text))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / MANIFEST)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _crc_line(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)


def sweep(folder: Path, keep: Manifest | None) -> None:
    """Remove files that the manifest does not name; those that cannot be removed are left for the next time."""
    named = {MANIFEST, LOCK, *(entry.file for entry in keep.segments)} if keep else {LOCK}
    for path in folder.iterdir():
        if path.name not in named:
            with contextlib.suppress(OSError):
                path.unlink()


LOCK: Final = "writer.lock"


@contextlib.contextmanager
def writer_lock(folder: Path) -> Iterator[bool]:
    """Whether this process may write segments here now. Never waits: whoever comes second leaves it to the first."""
    handle = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        yield _try_lock(handle)
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
