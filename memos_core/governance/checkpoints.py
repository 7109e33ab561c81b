"""Signed checkpoints of audit chains: made now and then and when a store is closed, kept in the store and in its anchor.

A checkpoint says how far the chain of one cube had got. Whoever rewrites the chain afterwards cannot sign another one, and
whoever cuts it, or puts an older copy of the whole store back, cannot take away what the anchor has.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from memos_core.errors import AnchorUnavailable, InvalidConfig, MemosError, StoreDamaged, StoreReadOnly
from memos_core.events import event
from memos_core.governance.keys import SigningKey, default_key, load_or_make, need_package
from memos_core.protocols.storage import Anchor, RecordStore
from memos_core.stores.anchors import open_anchor
from memos_core.types.work import Checkpoint, micros, utc_now

SETTING: Final = "audit"
EVERY: Final = 1000  # audit entries of one cube
NO_ANCHOR: Final = "none"
_VERSION: Final = b"memos checkpoint 1\n"
log = logging.getLogger(__name__)


class AuditRecord(msgspec.Struct, frozen=True):
    """What a store remembers of its anchor. Holds no secret, and not where the key is: that is for whoever verifies to know.

    Attributes:
        anchor: how it can be opened again; "" for one that only the application has.
        name: what it is called in messages.
        every: audit entries of a cube from one checkpoint to the next.
    """

    anchor: str = ""
    name: str = ""
    every: int = EVERY


class Anchoring(msgspec.Struct, frozen=True):
    """Where checkpoints go.

    Attributes:
        anchor: None for none.
        lacking: why there is none although the store remembers one, or None.
        key: file of the private key.
        every: audit entries of a cube from one checkpoint to the next.
        automatic: checkpoints are made without being asked for.
    """

    anchor: Anchor | None = None
    lacking: str | None = None
    key: Path | None = None
    every: int = EVERY
    automatic: bool = False


NO_ANCHORING: Final = Anchoring()


def settle_anchor(store: RecordStore, *, anchor: object, key: str | Path | None, every: int | None) -> Anchoring:
    """Where checkpoints go: as is said here, else as the store remembers; from now on it remembers what is said here.

    Args:
        anchor: as `open_anchor` takes it; None for the one the store remembers, "none" has it forget that one.
        key: file of the private key; None for the user's own.
        every: audit entries from one checkpoint to the next; None for what the store remembers.

    Raises:
        InvalidConfig: something of it cannot be used.
        MissingPackage: `cryptography`, or the driver of the anchor's database, is not installed.
    """
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        raise InvalidConfig(f"checkpoint_every is a number of audit entries from 1 on, not {every!r}")
    raw = store.setting(SETTING)
    try:
        have = msgspec.json.decode(raw, type=AuditRecord) if raw else AuditRecord()
    except msgspec.MsgspecError as error:
        raise StoreDamaged(f"{store.name}: what it remembers of its anchor is not what was written: {error}") from error
    opened: Anchor | None = None
    lacking: str | None = None
    if anchor == NO_ANCHOR:
        have = msgspec.structs.replace(have, anchor="", name="")
    elif anchor is not None:
        need_package()
        opened = open_anchor(anchor)
        have = msgspec.structs.replace(have, anchor=opened.spec, name=opened.name)
    elif have.name:
        opened, lacking = _remembered(have)
    if every is not None:
        have = msgspec.structs.replace(have, every=every)
    told = msgspec.json.encode(have).decode() if have != AuditRecord() else ""
    if told != (raw or ""):
        with suppress(StoreReadOnly):
            store.put_setting(SETTING, told, expect=raw)
    place = None if key is None else Path(key).expanduser()
    return Anchoring(opened, lacking, place, have.every, opened is not None or key is not None)


def _remembered(record: AuditRecord) -> tuple[Anchor | None, str | None]:
    if not record.anchor:
        return None, f"the store's anchor ({record.name}) was not given (MOS.open(..., anchor=...))"
    try:
        need_package()
        return open_anchor(record.anchor), None
    except MemosError as error:
        return None, f"the store's anchor ({record.name}) cannot be used: {error}"


def signed_content(checkpoint: Checkpoint) -> bytes:
    """What the signature is of: everything but itself, in one way of writing."""
    facts = {
        "after": checkpoint.after,
        "at": checkpoint.at,
        "cube": checkpoint.cube,
        "hash": checkpoint.hash.hex(),
        "key": checkpoint.key,
        "number": checkpoint.number,
        "store": checkpoint.store,
    }
    return _VERSION + msgspec.json.encode(facts, order="sorted")


class Checkpoints:
    """Makes checkpoints of one open store.

    Args:
        store: whose chains.
        anchoring: where they go, and when.
        now: the clock.
    """

    def __init__(
        self, store: RecordStore, anchoring: Anchoring = NO_ANCHORING, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._store = store
        self._now = now
        self.anchoring = anchoring
        self._making = threading.Lock()
        self._signing: SigningKey | None = None
        if anchoring.automatic:
            store.watch(self._written)

    @property
    def key(self) -> Path:
        """File of the private key."""
        return self.anchoring.key or default_key()

    def make(self, cube: int | None = None) -> list[Checkpoint]:
        """Sign how far the chains have got, and anchor it; those that have not gone on since are signed already.

        Args:
            cube: number of one; None for all.

        Returns:
            The checkpoints that are new, in the store or in the anchor.

        Raises:
            AnchorUnavailable: the anchor cannot be written; nothing is kept.
            InvalidConfig, MissingPackage: the key cannot be used.
        """
        with self._making:
            made = self._sign([end.cube for end in self._store.chain_ends() if cube in (None, end.cube)])
            signed = {one.cube: one for one in self._store.checkpoints() if cube in (None, one.cube)}
            late = self._unanchored([one for number, one in signed.items() if number not in {new.cube for new in made}])
            self._keep(made, late)
            return sorted([*made, *late], key=lambda one: one.cube)

    def _sign(self, cubes: Sequence[int]) -> list[Checkpoint]:
        ends = [end for end in self._store.chain_ends() if end.cube in set(cubes)]
        if not ends:
            return []
        if self._signing is None:
            self._signing = load_or_make(self.key)
        key, at = self._signing, micros(self._now())
        made = []
        for end in ends:
            blank = Checkpoint(
                store=self._store.id,
                cube=end.cube,
                number=end.number,
                hash=end.hash,
                at=at,
                after=end.signed,
                key=key.fingerprint,
                signature=b"",
            )
            made.append(msgspec.structs.replace(blank, signature=key.sign(signed_content(blank))))
        return made

    def _unanchored(self, checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
        """Those that the anchor has not got: it may have come later than they."""
        anchor = self.anchoring.anchor
        if anchor is None or not checkpoints:
            return []
        try:
            have = anchor.read()
        except AnchorUnavailable:
            have = []  # it is yet to be made, or it cannot be written either
        if have is None:
            return []
        known = {one.signature for one in have if isinstance(one, Checkpoint)}
        return [one for one in checkpoints if one.signature not in known]

    def _keep(self, made: Sequence[Checkpoint], late: Sequence[Checkpoint] = ()) -> None:
        """The anchor first: what the store says is anchored must be."""
        if self.anchoring.anchor is not None and (made or late):
            self.anchoring.anchor.append([*made, *late])
        if made:
            self._store.put_checkpoints(made)

    # -- without being asked ----------------------------------------------------------------------------------------

    def _written(self, entries: Mapping[int, int]) -> None:
        """After a commit: every so many entries of a cube, a checkpoint. The commit stands, whatever becomes of this."""
        due = [cube for cube, number in entries.items() if number % self.anchoring.every == 0]
        if not due:
            return
        try:
            with event("memos.checkpoint", cubes=len(due)), self._making:
                self._keep(self._sign(due))
        except MemosError as error:
            log.warning("a checkpoint of the audit could not be made, the next one is tried: %s", error)

    def close(self) -> None:
        """Sign what has been written since the last checkpoint, where that is wanted.

        Raises:
            AnchorUnavailable, InvalidConfig, ...: as `make` says.
        """
        self._store.watch(None)
        try:
            if self.anchoring.automatic:
                with event("memos.checkpoint"), suppress(StoreReadOnly), self._making:
                    self._keep(self._sign([end.cube for end in self._store.chain_ends()]))
        finally:
            if self.anchoring.anchor is not None:
                self.anchoring.anchor.close()

    def after_fork(self) -> None:
        """In a forked child: a lock that a thread of the parent held would never be released."""
        self._making = threading.Lock()
