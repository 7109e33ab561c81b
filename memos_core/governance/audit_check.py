"""Verifying the audit: chains against themselves, against signed checkpoints, and against what the anchor has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from memos_core.errors import AnchorUnavailable, StoreDamaged
from memos_core.governance.checkpoints import signed_content
from memos_core.governance.keys import TrustedKeys
from memos_core.protocols.storage import Anchor, RecordStore
from memos_core.types.work import Checkpoint, CubeRow

_MOST = 10  # numbers that are named one by one


class AuditFinding(msgspec.Struct, frozen=True):
    """Something to know about the audit.

    Attributes:
        cube: its name; "" for the store as a whole.
        level: "wrong": it is not what was written, or the anchor that there should be cannot be read. "unknown": it cannot
            be found out, and why. "erased": who did it, or a detail, has been erased; the chain holds.
        what: one sentence.
    """

    cube: str
    level: Literal["wrong", "unknown", "erased"]
    what: str


class AuditVerifier:
    """Compares the audit of a store with everything that is known of it.

    Args:
        store: to verify.
        trusted: keys whose signatures are believed; None where there are none here.
        without: why there are none.
        anchor: None for none.
        lacking: why there is none.
    """

    def __init__(
        self, store: RecordStore, trusted: TrustedKeys | None, without: str, anchor: Anchor | None, lacking: str | None
    ) -> None:
        self._store = store
        self._trusted = trusted
        self._without = without
        self._anchor = anchor
        self._lacking = lacking

    def verify(self, cubes: Sequence[CubeRow], *, everything: bool) -> list[AuditFinding]:
        """Everything that is wrong, that cannot be known, or has been erased.

        Args:
            cubes: to verify.
            everything: these are all cubes of the store: one that the anchor knows must be among them.
        """
        found: list[AuditFinding] = []
        anchored = self._anchored(found)
        try:
            signed = _by_cube(self._store.checkpoints())
        except StoreDamaged as error:
            found.append(AuditFinding("", "wrong", str(error)))
            signed = {}
        ends: dict[int, int] = {}
        for cube in cubes:
            own = self._store.check_audit(cube)
            ends[cube.number] = own.end
            found += [AuditFinding(cube.name, "wrong", what) for what in own.wrong]
            if own.erased:
                what = f"who did it, or a detail, has been erased from {_listed(own.erased)}"
                found.append(AuditFinding(cube.name, "erased", what))
            found += [AuditFinding(cube.name, "wrong", what) for what in self._signed(cube, signed, own.end, "signed")]
            if anchored is not None:
                told = self._signed(cube, anchored, own.end, "anchored")
                found += [AuditFinding(cube.name, "wrong", what) for what in told]
                found += self._lost(cube, signed, anchored)
            found += self._uncovered(cube, signed, anchored, own.end)
        known = {cube.number for cube in cubes}
        for number in sorted({*(anchored or {}), *signed}) if everything else ():
            if number not in known:
                found.append(AuditFinding("", "wrong", f"cube number {number} has signed checkpoints, and is gone"))
        return found

    # -- the anchor ---------------------------------------------------------------------------------------------------

    def _anchored(self, found: list[AuditFinding]) -> dict[int, list[Checkpoint]] | None:
        """The anchor's checkpoints of this store, by cube; None where there are none to compare with."""
        if self._anchor is None:
            lacking = self._lacking or "the store has no anchor"
            found.append(AuditFinding("", "unknown", f"{lacking}: {_CUT}"))
            return None
        try:
            lines = self._anchor.read()
        except AnchorUnavailable as error:
            found.append(AuditFinding("", "wrong", f"{error}: {_CUT}"))
            return None
        if lines is None:
            found.append(AuditFinding("", "unknown", f"{self._anchor.name} cannot be asked what it has: {_CUT}"))
            return None
        found += [AuditFinding("", "wrong", line) for line in lines if isinstance(line, str)]
        own = [line for line in lines if isinstance(line, Checkpoint) and line.store == self._store.id]
        if not own:
            found.append(
                AuditFinding("", "unknown", f"the anchor {self._anchor.name} has nothing of this store: {_CUT}")
            )
            return None
        return _by_cube(own)

    def _lost(
        self, cube: CubeRow, signed: Mapping[int, list[Checkpoint]], anchored: Mapping[int, list[Checkpoint]]
    ) -> Iterator[AuditFinding]:
        """Checkpoints that should be in the anchor, since earlier ones are, and are not."""
        there = {one.signature for one in anchored.get(cube.number, ())}
        first = min((one.number for one in anchored.get(cube.number, ())), default=None)
        for one in signed.get(cube.number, ()):
            if first is not None and one.number > first and one.signature not in there:
                what = f"the signed checkpoint of entry {one.number} is not in the anchor, which has earlier ones"
                yield AuditFinding(cube.name, "unknown", what)

    # -- signatures ---------------------------------------------------------------------------------------------------

    def _signed(self, cube: CubeRow, checkpoints: Mapping[int, list[Checkpoint]], end: int, how: str) -> Iterator[str]:
        own = checkpoints.get(cube.number, [])
        hashes = self._store.chain_hashes(cube.number, [one.number for one in own]) if own else {}
        there = {0, *(one.number for one in own)}
        for one in own:
            if how == "signed" and one.after not in there:
                yield f"the signed checkpoint of entry {one.after}, which that of entry {one.number} follows, is gone"
            wrong = self._forged(one)
            if wrong:
                yield f"the {how} checkpoint of entry {one.number} {wrong}"
            elif one.number > end or one.number not in hashes:
                yield f"entry {one.number} was {how}, and the chain ends at {end}: it was cut, or an older copy put back"
            elif hashes[one.number] != one.hash:
                yield f"entry {one.number} is not the one that was {how}: the chain was written anew, or another copy put back"

    def _forged(self, one: Checkpoint) -> str | None:
        if self._trusted is None:
            return None
        if one.key not in self._trusted.fingerprints:
            return f"is signed with the key {one.key}, not with {' or '.join(self._trusted.fingerprints)}"
        if not self._trusted.signed(one.key, signed_content(one), one.signature):
            return "was altered: its signature does not fit"
        return None

    def _uncovered(
        self,
        cube: CubeRow,
        signed: Mapping[int, list[Checkpoint]],
        anchored: Mapping[int, list[Checkpoint]] | None,
        end: int,
    ) -> Iterator[AuditFinding]:
        """What no signature holds: it may have been written anew as a whole."""
        both = [*signed.get(cube.number, ()), *(anchored or {}).get(cube.number, ())]
        newest = max((one.number for one in both), default=0)
        if both and self._trusted is None:
            what = f"its {len(both)} signed checkpoints cannot be compared: {self._without}"
            yield AuditFinding(cube.name, "unknown", what)
        if newest < end:
            part = "the whole chain" if not newest else f"what follows entry {newest} (up to {end})"
            yield AuditFinding(
                cube.name, "unknown", f"{part} is not signed yet: that it was written anew cannot be excluded"
            )


_CUT = "that chains were cut, or an older copy put back, cannot be excluded"


def _by_cube(checkpoints: Sequence[Checkpoint]) -> dict[int, list[Checkpoint]]:
    found: dict[int, list[Checkpoint]] = {}
    for one in checkpoints:
        found.setdefault(one.cube, []).append(one)
    return found


def _listed(numbers: Sequence[int]) -> str:
    told = ", ".join(map(str, numbers[:_MOST]))
    more = f" and {len(numbers) - _MOST} more" if len(numbers) > _MOST else ""
    return f"audit entr{'y' if len(numbers) == 1 else 'ies'} {told}{more}"
