"""The folder of a cube's index: reading the parts that are there, adding the tail to them, merging what has piled up.

Parts grow like a log-structured merge tree: a new one swallows those before it that are less than `_RATIO` times its own
size, and not large yet, so there are few of them and each row is rewritten a few times. Rows that have died are moved to
parts of their own (`history`), which only `as_of` looks at: searching the present pays nothing for the past.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.stores.index.parts import MappedPart, Part, light, merge, restore_light
from memos_core.stores.index.rows import ALIVE, RowTable
from memos_core.stores.index.segment import (
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

log = logging.getLogger(__name__)
_RATIO = 2
_LARGE = 200_000  # rows; a larger part is not rewritten for its size, so that no search waits for long
_WORTH_MOVING = 256  # dead rows in a part, before they get a part of their own
Rows = NDArray[np.int64]


class CubeFiles:
    """One cube's folder.

    Args:
        folder: where; made when first written to.
        belongs: what segments must have been made from.
    """

    def __init__(self, folder: Path, belongs: Mapping[str, str]) -> None:
        self.folder = folder
        self._belongs = dict(belongs)
        self.manifest = Manifest(self._belongs, 0)

    def load(self, table: RowTable, digest_of: Callable[[int], str]) -> list[MappedPart]:
        """Map what the folder holds and fill the table with its rows; nothing where there is nothing to believe.

        Args:
            table: empty.
            digest_of: what the truth says a change was.
        """
        for attempt in (1, 2, 3):
            try:
                manifest = read_manifest(self.folder, self._belongs)
                if manifest is not None and manifest.seq and digest_of(manifest.seq) != manifest.digest:
                    raise SegmentRefused(f"made from a change {manifest.seq} that is another one in the truth")
                loaded = [(entry, open_segment(self.folder, entry)) for entry in manifest.segments] if manifest else []
                break
            except SegmentRefused as refused:
                # another process may have replaced the segments between reading the manifest and opening them
                if attempt == 3:
                    log.warning("index of %s thrown away, it is built anew: %s", self.folder.name, refused)
                    self.clear()
                    manifest, loaded = None, []
        self.manifest = manifest or Manifest(self._belongs, 0)
        parts: list[MappedPart] = []
        for entry, arrays in loaded:
            parts.append(MappedPart(len(table), arrays, entry.file, history=entry.history))
            restore_light(table, arrays)
        for _, arrays in loaded:
            table.end(arrays["ended_seq"], arrays["ended_at"])
        return parts

    def newer(self, seq: int) -> bool:
        """Whether another process has written segments that go further than change `seq`."""
        try:
            found = read_manifest(self.folder, self._belongs)
        except SegmentRefused:
            return False
        return found is not None and found.seq > seq

    def save(
        self, table: RowTable, parts: Sequence[Part], seq: int, clean: int, digest: str, languages: Mapping[str, int]
    ) -> tuple[Rows, list[MappedPart]] | None:
        """Write the tail (and the parts that go with it) as a segment.

        Args:
            parts: all parts in order of rows, the tail last.
            seq: number of the last change they hold.
            clean: number of the newest erasure that they were made after.
            digest: of that change.
            languages: found in the texts so far, each with the first change of such a text.

        Returns:
            The order that the table must now be put in, and the parts; None where another process is writing, or the
            disk does not let us (the index goes on in memory).
        """
        try:
            for folder in (self.folder.parent, self.folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with writer_lock(self.folder) as mine:
                if not mine or self.newer(self.manifest.seq):
                    return None
                return self._save(table, parts, Manifest(self._belongs, seq, digest, dict(languages), clean=clean))
        except OSError as error:
            log.warning("index of %s cannot be written, it stays in memory: %s", self.folder.name, error)
            return None

    def _save(self, table: RowTable, parts: Sequence[Part], manifest: Manifest) -> tuple[Rows, list[MappedPart]]:
        until = table["until"]
        alive = [until[part.start : part.start + len(part)] == ALIVE for part in parts]
        merged = _to_merge(parts, alive)
        entries: list[SegmentEntry] = []
        order: list[Rows] = []
        for kept, entry in zip(parts, self.manifest.segments, strict=False):
            if kept not in merged:
                entries.append(entry)
                order.append(np.arange(kept.start, kept.start + len(kept), dtype=np.int64))
        dead = [np.flatnonzero(~alive[parts.index(part)]) for part in merged]
        separate = sum(map(len, dead)) >= _WORTH_MOVING
        written: list[tuple[list[Rows], bool]] = []
        if separate:
            written.append((dead, True))
            written.append(([np.flatnonzero(alive[parts.index(part)]) for part in merged], False))
        else:
            written.append(([np.arange(len(part), dtype=np.int64) for part in merged], False))
        # rows of the parts that stay as they are which have died since those were written
        stale = np.concatenate([np.zeros(0, dtype=np.int64), *order])
        stale = stale[until[stale] != ALIVE]
        for keep, history in written:
            rows = np.concatenate([part.start + kept for part, kept in zip(merged, keep, strict=True)])
            if not len(rows):
                continue
            by_time = np.argsort(table["seq"][rows], kind="stable")  # rows of a part ascend by change
            rows = rows[by_time]
            arrays = light(table, rows) | merge(merged, keep, by_time)
            arrays["ended_seq"], arrays["ended_at"] = table["seq"][stale], until[stale]
            entries.append(write_segment(self.folder, f"{uuid.uuid4().hex}.segment", arrays, history=history))
            order.append(rows)
        known = {part.file: part for part in parts if isinstance(part, MappedPart)}
        published = self._publish(msgspec.structs.replace(manifest, segments=tuple(entries)), known)
        return np.concatenate(order) if order else np.zeros(0, dtype=np.int64), published

    def _publish(self, manifest: Manifest, known: Mapping[str, MappedPart]) -> list[MappedPart]:
        """Have a manifest name its segments. Those that are in use already have been checked when they were opened."""
        parts: list[MappedPart] = []
        start = 0
        for entry in manifest.segments:
            part = known.get(entry.file)
            if part is None:
                arrays = open_segment(self.folder, entry, written=True)
                part = MappedPart(start, arrays, entry.file, history=entry.history)
            elif not (self.folder / entry.file).is_file():
                raise SegmentRefused(f"{self.folder / entry.file} is gone")
            parts.append(part.at(start))
            start += entry.rows
        write_manifest(self.folder, manifest)
        self.manifest = manifest
        sweep(self.folder, manifest)
        return parts

    def clear_before(self, erased: int) -> None:
        """Throw the segments away that were made before an erasure; those that another process has made since stay.

        Args:
            erased: number of the change that erased.
        """
        with suppress(SegmentRefused):
            found = read_manifest(self.folder, self._belongs)
            if found is not None and found.clean >= erased:
                return
        self.clear()

    def clear(self) -> None:
        """Throw all segments away."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.manifest = Manifest(self._belongs, 0)


def _to_merge(parts: Sequence[Part], alive: Sequence[NDArray[np.bool_]]) -> list[Part]:
    """The tail, and the parts that are rewritten with it."""
    chosen = [parts[-1]]
    size = len(parts[-1])
    for part, living in zip(reversed(parts[:-1]), reversed(alive[:-1]), strict=True):
        many_dead = not part.history and len(part) >= _WORTH_MOVING and 3 * int(living.sum()) < 2 * len(part)
        if many_dead or len(part) < min(_RATIO * size, _LARGE):
            chosen.append(part)
            size += len(part)
    return chosen[::-1]
