"""Looking for erased words and vectors in raw files, thousands of them at once.

A word is cut into pieces, as databases spread a long text over pages. Any piece of 15 bytes or more covers an aligned 8-byte
word of the file wherever it lies, so only every eighth position is looked at, by a table of hashes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.types.erasure import ErasedWords

LEAST: Final = 15  # bytes; what is shorter is not looked for, it is everywhere
_PIECE: Final = 24  # characters, or bytes of a vector
_PIECES: Final = 8  # of a text
_OF_VECTOR: Final = 3
_VARIED: Final = 8  # different bytes that a piece of a vector must have
_CHUNK: Final = 1 << 20
_BITS: Final = 22
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)


class Found(msgspec.Struct, frozen=True):
    """What a scan has found.

    Attributes:
        texts: pieces of texts, with the files that hold them.
        vectors: vectors, likewise.
        unread: files that could not be read.
        files, bytes: how many were looked at.
    """

    texts: dict[str, list[Path]]
    vectors: dict[bytes, list[Path]]
    unread: list[Path]
    files: int
    bytes: int


def scan(words: ErasedWords, folders: Iterable[Path]) -> Found:
    """Look for words and vectors in every file of these folders and below.

    Args:
        words: what to look for, in UTF-8, UTF-16 and as JSON escapes it.
        folders: those that there are not are passed over.
    """
    meanings: dict[bytes, str | bytes] = {}
    for text in (*words.texts, *words.ids):
        for piece in _cut(text):
            meanings.update(dict.fromkeys(_encoded(piece), piece))
    for vector in words.vectors:
        meanings.update(dict.fromkeys(_cut_vector(vector), vector))
    scanner = _Scanner([needle for needle in meanings if len(needle) >= LEAST])
    found = Found({}, {}, [], 0, 0)
    files = bytes_ = 0
    for path in _files(folders):
        try:
            hits = scanner.find(path)
            files, bytes_ = files + 1, bytes_ + path.stat().st_size
        except FileNotFoundError:
            continue  # it has gone meanwhile
        except OSError:
            found.unread.append(path)
            continue
        for needle in hits:
            meaning = meanings[needle]
            if isinstance(meaning, str):
                paths = found.texts.setdefault(meaning, [])
            else:
                paths = found.vectors.setdefault(meaning, [])
            if path not in paths:
                paths.append(path)
    return msgspec.structs.replace(found, files=files, bytes=bytes_)


def said_in(pieces: Collection[str], said: Iterable[str]) -> set[str]:
    """Those of these pieces of texts that something says.

    Args:
        pieces: as a scan has found them.
        said: texts, or bodies as JSON.
    """
    meanings = {needle: piece for piece in pieces for needle in _encoded(piece) if len(needle) >= LEAST}
    scanner, found = _Scanner(list(meanings)), set[bytes]()
    waiting: list[bytes] = []
    size = 0
    for text in said if pieces else ():
        waiting.append(text.encode())
        size += len(waiting[-1])
        if size > _CHUNK:
            scanner.look(b"\n".join(waiting), found)
            waiting, size = [], 0
    scanner.look(b"\n".join([*waiting, bytes(8)]), found)
    return {meanings[needle] for needle in found}


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path not in seen and path.is_file() and not path.is_symlink():
                seen.add(path)
                yield path


def _cut(text: str) -> Iterator[str]:
    """Pieces of a text, spread over all of it."""
    last = max(len(text) - _PIECE, 0)
    count = min(_PIECES, 1 + last // _PIECE)
    for place in {round(step * last / max(count - 1, 1)) for step in range(count)} | {0, last}:
        yield text[place : place + _PIECE]


def _encoded(piece: str) -> set[bytes]:
    escaped = msgspec.json.encode(piece)[1:-1]
    ascii_only = json.dumps(piece)[1:-1].encode()
    return {piece.encode(), escaped, ascii_only, piece.encode("utf-16-le"), piece.encode("utf-16-be")}


def _cut_vector(vector: bytes) -> Iterator[bytes]:
    last = max(len(vector) - _PIECE, 0)
    for step in range(_OF_VECTOR):
        place = step * last // (_OF_VECTOR - 1) // 4 * 4
        piece = vector[place : place + _PIECE]
        if len(set(piece)) >= _VARIED:
            yield piece


class _Scanner:
    """Finds which of many byte strings, each of at least 15 bytes, a file holds."""

    def __init__(self, needles: Collection[bytes]) -> None:
        self._at: dict[int, set[int]] = {}  # aligned word -> how far behind the beginning of a needle it may lie
        self._beginning: dict[bytes, list[bytes]] = {}
        for needle in needles:
            self._beginning.setdefault(needle[:LEAST], []).append(needle)
            for offset in range(8):
                word = int.from_bytes(needle[offset : offset + 8], "little")
                self._at.setdefault(word, set()).add(offset)
        self._words = np.array(sorted(self._at), dtype=np.uint64)
        self._table = np.zeros(1 << _BITS, dtype=np.bool_)
        self._table[_hashes(self._words)] = True
        self._longest = max(map(len, needles), default=0)

    def find(self, path: Path) -> set[bytes]:
        """The needles that a file holds."""
        found: set[bytes] = set()
        if not self._at:
            return found
        overlap = -(-self._longest // 8) * 8
        with open(path, "rb") as file:
            before = b""
            while chunk := file.read(_CHUNK):
                data = before + chunk
                self.look(data, found)
                # What begins here may end in the next chunk; positions stay multiples of eight of the file.
                keep = min(len(data), overlap + len(data) % 8)
                before = data[len(data) - keep :]
        return found

    def look(self, data: bytes, found: set[bytes]) -> None:
        """Add the needles that some bytes hold."""
        words = np.frombuffer(data, dtype="<u8", count=len(data) // 8)
        likely = np.flatnonzero(self._table[_hashes(words)])
        if len(likely):
            likely = likely[np.isin(words[likely], self._words)]
        for place in likely.tolist():
            for offset in self._at[int(words[place])]:
                start = place * 8 - offset
                for needle in self._beginning.get(data[start : start + LEAST], ()) if start >= 0 else ():
                    if needle not in found and data.startswith(needle, start):
                        found.add(needle)


def _hashes(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    hashed: NDArray[np.uint64] = (words * _FACTOR) >> np.uint64(64 - _BITS)
    return hashed
