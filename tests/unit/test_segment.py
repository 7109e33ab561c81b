"""If these fail, a damaged, cut, foreign or half-written file of the index is believed, and search answers from it; or a good
one is not, and every opening builds the index anew."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from memos_core.stores.index.segment import (
    LOCK,
    MANIFEST,
    Arrays,
    Manifest,
    SegmentEntry,
    SegmentRefused,
    open_segment,
    read_manifest,
    sweep,
    write_manifest,
    write_segment,
    writer_lock,
)

BELONGS = {"store": "one", "cube": "1"}
ARRAYS: Arrays = {
    "row_seq": np.array([3, 5, 9], dtype=np.int64),
    "codes": np.arange(-12, 12, dtype=np.int8).reshape(3, 8),
    "scales": np.array([0.5, -0.0, 3e38], dtype=np.float32),
    "nothing": np.zeros((0, 4), dtype=np.uint8),
    "hashes": np.array([2**64 - 1, 0], dtype=np.uint64),
    "words": np.frombuffer("straße\x00".encode(), dtype=np.uint8),
    "one": np.array([True]),
}


def written(folder: Path, name: str = "a.segment") -> SegmentEntry:
    return write_segment(folder, name, ARRAYS)


def same(found: Arrays) -> bool:
    return set(found) == set(ARRAYS) and all(
        found[name].dtype == array.dtype
        and found[name].shape == array.shape
        and found[name].tobytes() == array.tobytes()
        for name, array in ARRAYS.items()
    )


# -- segments ---------------------------------------------------------------------------------------------------------


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    entry = written(tmp_path)
    assert (entry.file, entry.rows, entry.history) == ("a.segment", 3, False)
    found = open_segment(tmp_path, entry)
    assert same(found)
    assert not any(array.flags.writeable for array in found.values())
    mapped = [array for name, array in found.items() if array.size and not name.startswith("row_")]
    assert all(array.ctypes.data % 64 == 0 for array in mapped), "aligned for SIMD"
    assert stat.S_IMODE((tmp_path / "a.segment").stat().st_mode) == 0o600


def test_arrays_that_are_not_contiguous_are_written_as_they_look(tmp_path: Path) -> None:
    wide = np.arange(40, dtype=np.int32).reshape(5, 8)
    entry = write_segment(tmp_path, "a", {"row_seq": np.arange(10)[::-2], "codes": wide.T, "some": wide[:, 1:3]})
    found = open_segment(tmp_path, entry)
    assert np.array_equal(found["row_seq"], [9, 7, 5, 3, 1])
    assert np.array_equal(found["codes"], wide.T)
    assert np.array_equal(found["some"], wide[:, 1:3])


def test_what_is_mapped_outlives_its_file(tmp_path: Path) -> None:
    found = open_segment(tmp_path, written(tmp_path))
    sweep(tmp_path, None)
    assert not (tmp_path / "a.segment").exists()
    assert same(found)


def test_no_byte_of_a_segment_can_change_unnoticed(tmp_path: Path) -> None:
    entry = written(tmp_path)
    path = tmp_path / "a.segment"
    good = path.read_bytes()
    unnoticed = 0
    with path.open("r+b", buffering=0) as file:
        for place in range(len(good)):
            file.seek(place)
            file.write(bytes([good[place] ^ 1 << place % 8]))
            try:
                assert same(open_segment(tmp_path, entry)), f"byte {place} was changed, and other arrays were believed"
                unnoticed += 1
            except SegmentRefused:
                pass
            file.seek(place)
            file.write(good[place : place + 1])
    padding = sum(-array.nbytes % 64 for array in list(ARRAYS.values())[:-1])
    assert unnoticed <= padding, "only bytes between arrays may change unnoticed"


def test_a_segment_cut_anywhere_is_refused(tmp_path: Path) -> None:
    entry = written(tmp_path)
    path = tmp_path / "a.segment"
    good = path.read_bytes()
    for length in reversed(range(len(good))):
        os.truncate(path, length)
        with pytest.raises(SegmentRefused):
            open_segment(tmp_path, entry)
    path.write_bytes(good + b"more")
    assert same(open_segment(tmp_path, entry))


def test_a_segment_that_was_written_in_part_is_refused(tmp_path: Path) -> None:
    """What a disk may hold after a power cut: the length is right, some blocks were never written."""
    entry = written(tmp_path)
    path = tmp_path / "a.segment"
    good = path.read_bytes()
    for start in range(0, len(good) - 63, 64):
        if good[start : start + 64].strip(b"\x00"):
            path.write_bytes(good[:start] + bytes(64) + good[start + 64 :])
            with pytest.raises(SegmentRefused):
                open_segment(tmp_path, entry)


def test_another_segment_under_the_name_is_refused(tmp_path: Path) -> None:
    entry = written(tmp_path)
    other = write_segment(tmp_path, "b.segment", {**ARRAYS, "row_seq": ARRAYS["row_seq"] + 1})
    (tmp_path / "b.segment").replace(tmp_path / "a.segment")
    with pytest.raises(SegmentRefused, match="differs from the manifest"):
        open_segment(tmp_path, entry)
    with pytest.raises(SegmentRefused, match="number of rows"):
        open_segment(tmp_path, SegmentEntry("a.segment", 4, other.crc))
    for name in ("missing", ".", "../outside", "sub/dir"):
        with pytest.raises(SegmentRefused):
            open_segment(tmp_path, SegmentEntry(name, 3, entry.crc))


# -- the manifest -----------------------------------------------------------------------------------------------------

FULL = Manifest(
    BELONGS, 9, "abcd", {"en": 1, "zh": 4}, (SegmentEntry("a.segment", 3, 123, True), SegmentEntry("b.segment", 1, 4))
)


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    assert read_manifest(tmp_path, BELONGS) is None
    assert read_manifest(tmp_path / "no such folder", BELONGS) is None
    write_manifest(tmp_path, FULL)
    assert read_manifest(tmp_path, BELONGS) == FULL
    write_manifest(tmp_path, Manifest(BELONGS, 10))
    assert read_manifest(tmp_path, BELONGS) == Manifest(BELONGS, 10)
    assert os.listdir(tmp_path) == [MANIFEST]
    assert stat.S_IMODE((tmp_path / MANIFEST).stat().st_mode) == 0o600


def test_a_manifest_of_anything_else_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, FULL)
    for belongs in ({**BELONGS, "store": "two"}, {"store": "one"}, {**BELONGS, "dims": "4"}, {}):
        with pytest.raises(SegmentRefused, match="belongs to something else"):
            read_manifest(tmp_path, belongs)


def test_no_byte_of_a_manifest_can_change_unnoticed(tmp_path: Path) -> None:
    write_manifest(tmp_path, FULL)
    path = tmp_path / MANIFEST
    good = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for place in range(len(good)):
            file.seek(place)
            file.write(bytes([good[place] ^ 1 << place % 8]))
            with pytest.raises(SegmentRefused):
                read_manifest(tmp_path, BELONGS)
            file.seek(place)
            file.write(good[place : place + 1])
        assert read_manifest(tmp_path, BELONGS) == FULL
        for length in reversed(range(len(good))):
            file.truncate(length)
            with pytest.raises(SegmentRefused):
                read_manifest(tmp_path, BELONGS)
    path.unlink()
    path.mkdir()
    with pytest.raises(SegmentRefused):
        read_manifest(tmp_path, BELONGS)


def test_files_that_no_manifest_names_are_swept_away(tmp_path: Path) -> None:
    for name in ("a.segment", "b.segment", "c.segment", f"{MANIFEST}.123", LOCK):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    write_manifest(tmp_path, FULL)
    sweep(tmp_path, FULL)
    assert sorted(os.listdir(tmp_path)) == ["a.segment", "b.segment", "folder", MANIFEST, LOCK]
    sweep(tmp_path, None)
    assert sorted(os.listdir(tmp_path)) == ["folder", LOCK]


# -- one writer -------------------------------------------------------------------------------------------------------


def test_only_one_writes_at_a_time(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from memos_core.stores.index.segment import writer_lock
with writer_lock(Path({str(tmp_path)!r})) as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""
    with writer_lock(tmp_path) as mine, writer_lock(tmp_path) as second:
        assert (mine, second) == (True, False)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"True\n"
    with writer_lock(tmp_path) as mine:
        assert not mine
    process.kill()
    process.communicate()
    with writer_lock(tmp_path) as mine:
        assert mine, "a process that dies lets go"
