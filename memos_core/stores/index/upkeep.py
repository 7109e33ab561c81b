"""Files of indexes that nobody needs any more: of cubes that are gone, of other stores, left by a process that was killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from memos_core.stores.index.segment import MANIFEST, Manifest, sweep, writer_lock


def drop_stale(folder: Path, store: str, cubes: Callable[[], Collection[int]]) -> int:
    """Remove what is of no use in the folder of a store's indexes. Others may use the rest meanwhile.

    Args:
        folder: with one folder a cube.
        store: id of the store.
        cubes: gives the numbers of all cubes; asked after the folders, so that a new cube's is never taken for a stale one.

    Returns:
        How many bytes were freed.
    """
    if not folder.is_dir():
        return 0
    before = size_of(folder)
    places = [path for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()]
    known = cubes()
    for place in places:
        if int(place.name) not in known:
            shutil.rmtree(place, ignore_errors=True)
            continue
        with writer_lock(place) as mine:
            if mine:
                sweep(place, _manifest(place, store))
    return before - size_of(folder)


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder and below; those that go meanwhile are not counted."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def segments_before(place: Path, erased: int) -> bool:
    """Whether a cube's folder holds files that were made before an erasure (the number of its change)."""
    files = [path.name for path in place.iterdir()] if place.is_dir() else []
    if not any(name.endswith(".segment") for name in files):
        return False
    found = _read(place)
    return found is None or found.clean < erased


def _manifest(place: Path, store: str) -> Manifest | None:
    """The manifest of a folder; None where it cannot be believed (then its segments are of no use)."""
    found = _read(place)
    return found if found is not None and found.belongs.get("store") == store else None


def _read(place: Path) -> Manifest | None:
    try:
        text, _, _ = (place / MANIFEST).read_bytes().rpartition(b"\n")
        return msgspec.json.decode(text, type=Manifest)
    except (OSError, msgspec.MsgspecError):
        return None
