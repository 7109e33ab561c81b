"""Upkeep: what is done to a store as a whole: erasing, checking, indexing anew, copies, figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from memos_core.errors import (
    AnchorUnavailable,
    InvalidConfig,
    MissingPackage,
)
from memos_core.filters import Where, parse_where
from memos_core.governance.audit_check import AuditFinding, AuditVerifier
from memos_core.governance.erasing import Wanted
from memos_core.governance.keys import TrustedKeys
from memos_core.models.loading import load_embedder
from memos_core.open_store import OpenStore, cube_names
from memos_core.plaintext.reembed import Progress, reembed
from memos_core.plaintext.verify import Finding, verify_cube
from memos_core.stores.anchors import open_anchor
from memos_core.stores.index.upkeep import drop_stale
from memos_core.types.access import OPERATOR, Actor
from memos_core.types.erasure import Erasure, ErasurePreview, Finished
from memos_core.types.names import check_name
from memos_core.types.work import Checkpoint, CubeRow

if TYPE_CHECKING:
    from memos_core.operations.backup import Backup
    from memos_core.operations.subject_export import ExportedSubject


class Vacuumed(msgspec.Struct, frozen=True):
    """What vacuuming did: bytes of the database, before and after, and of files of indexes that nobody needed."""

    database_before: int
    database_after: int
    index_freed: int

    @property
    def freed(self) -> int:
        """Bytes that the disk has got back."""
        return self.database_before - self.database_after + self.index_freed


class Upkeep(OpenStore):
    """What is done to a store as a whole."""

    def retain(self, *, preview: bool = False) -> dict[str, dict[str, list[str]]]:
        """Put away what has had its time in all cubes, as their policies say (`MemCube.retain`).

        Args:
            preview: only say what would be put away.

        Returns:
            For each cube where something was: ids by why.
        """
        found = {row.name: self.cube(row.name).retain(preview=preview) for row in self._rows(None)}
        return {name: due for name, due in found.items() if due}

    # -- erasing --------------------------------------------------------------------------------------------------

    def preview_erase(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        subject: str | None = None,
        where: Where = None,
        cubes: Iterable[str] | None = None,
        actor: str | Actor | None = None,
        derived: bool = False,
        copies: bool = False,
    ) -> ErasurePreview:
        """What `erase` would take, with a token to pass to it as `confirm`; the arguments are the same."""
        wanted, who, names = self._wanted(ids, subject, where, cubes, actor, derived, copies)
        return self._erasing.preview(who, wanted, names)

    def erase(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        reason: str,
        subject: str | None = None,
        where: Where = None,
        cubes: Iterable[str] | None = None,
        actor: str | Actor | None = None,
        derived: bool = False,
        copies: bool = False,
        confirm: str | None = None,
    ) -> Erasure:
        """Erase items for good, as `Session.erase` does: by id, by subject, or by filter.

        Args:
            ids: of items.
            subject: an actor to be forgotten: what it wrote or said in any version, what is private to it, all of its own
                cubes, its grants, and its name in the audit and as the owner of cubes.
            where: items that fulfil this filter, in whatever state.
            cubes: where; None for all cubes that the actor administrates.
            actor: on whose behalf; None for the holder of the store, who may do everything.
            reason, derived, copies, confirm: as for `Session.erase`.

        Raises:
            InvalidInput: not one of ids, subject and where, or no reason.
            ItemNotFound, CubeNotFound, AccessDenied, OnHold, Conflict: as for `Session.erase`.
        """
        wanted, who, names = self._wanted(ids, subject, where, cubes, actor, derived, copies)
        return self._erasing.erase(who, wanted, names, reason=reason, confirm=confirm)

    def _wanted(
        self,
        ids: str | Iterable[str] | None,
        subject: str | None,
        where: Where,
        cubes: Iterable[str] | None,
        actor: str | Actor | None,
        derived: bool,
        copies: bool,
    ) -> tuple[Wanted, Actor, list[str] | None]:
        self._check_open()
        named = None if ids is None else tuple([ids] if isinstance(ids, str) else ids)
        wanted = Wanted(ids=named, subject=subject, where=parse_where(where), derived=derived, copies=copies)
        who = OPERATOR if actor is None else Actor.of(actor)
        return wanted, who, None if cubes is None else cube_names(cubes, "cubes")

    def finish_erasures(self) -> Finished:
        """Clean up after erasures that were interrupted, or found somebody in the way; does nothing where there is none."""
        self._check_open()
        return self._eraser.finish()

    def verify_erased(
        self, ids: str | Iterable[str] = (), *, texts: Iterable[str] = (), cube: str | None = None
    ) -> list[Finding]:
        """Whether what was erased is gone: from every row, from what was made of them, and from raw files.

        Args:
            ids: of items that should have been erased.
            texts: words that nothing may hold; every file of the store is read for them.
            cube: name of the cube to look at; None for all.

        Returns:
            Every place where something is left; none when all is well.
        """
        named = [ids] if isinstance(ids, str) else list(ids)
        return self._eraser.verify(self._rows(cube), named, [texts] if isinstance(texts, str) else list(texts))

    def export_subject(self, subject: str, folder: str | Path, *, actor: str | Actor | None = None) -> ExportedSubject:
        """Everything that is held on an actor, as files to read and to hand over: JSON and Markdown.

        Args:
            subject: the actor.
            folder: new; made, private to the user.
            actor: on whose behalf: only cubes that it administrates are looked at; None for the holder of the store.

        Raises:
            AlreadyExists: there is something there; nothing is overwritten.
            ItemNotFound: nothing is held on the actor.
        """
        from memos_core.operations.subject_export import export_subject

        self._check_open()
        who = OPERATOR if actor is None else Actor.of(actor)
        rows = self._erasing.administrated(who)
        return export_subject(self._store, rows, check_name(subject, "subject"), Path(folder), now=self._clock)

    # -- checking -------------------------------------------------------------------------------------------------

    def verify(self, name: str | None = None, *, repair: bool = False) -> list[Finding]:
        """Compare the truth with itself and with what is derived from it.

        Args:
            name: of a cube; None for all.
            repair: build what is derived anew where it differs. The truth itself is never changed.

        Returns:
            Every difference; none when all is well.
        """
        found: list[Finding] = []
        for row in self._rows(name):
            found += verify_cube(self._store, self._embedding, self._indexes, row, repair=repair)
            found += self._followers.verify(row, repair=repair)
        return found

    def checkpoint(self, name: str | None = None) -> list[Checkpoint]:
        """Sign how far the audit of a cube (None: of all) has got, and anchor it, now.

        Returns:
            The checkpoints that are new; none where nothing has been written since the last ones.

        Raises:
            AnchorUnavailable: the anchor cannot be written, or was not given; nothing is kept.
            InvalidConfig, MissingPackage: the key cannot be used.
        """
        self._check_open()
        if self._checkpoints.anchoring.lacking is not None:
            raise AnchorUnavailable(self._checkpoints.anchoring.lacking)
        self._audit.flush()
        cubes = self._rows(name)
        return self._checkpoints.make(None if name is None else cubes[0].number)

    @property
    def anchor(self) -> str | None:
        """Where signed checkpoints of the audit go; None for nowhere but the store."""
        anchor = self._checkpoints.anchoring.anchor
        return None if anchor is None else anchor.name

    def verify_audit(
        self,
        name: str | None = None,
        *,
        anchor: object = None,
        key: str | Path | Sequence[str | Path] | None = None,
    ) -> list[AuditFinding]:
        """Compare the audit with itself, with its signed checkpoints, and with the anchor. See docs/audit.md.

        Args:
            name: of a cube; None for all.
            anchor: as for `open`, or a list of what a function was given; None for the store's.
            key: file of the private or public key (or of several) that is believed; None for the user's own.

        Returns:
            What is "wrong", what is "unknown" and cannot be found out here, and what has been "erased".

        Raises:
            InvalidConfig, MissingPackage: an anchor or key that was named cannot be used.
        """
        self._check_open()
        self._audit.flush()
        trusted, without = self._trusted(key)
        anchoring = self._checkpoints.anchoring
        place = anchoring.anchor if anchor is None else open_anchor(anchor)
        try:
            verifier = AuditVerifier(self._store, trusted, without, place, anchoring.lacking)
            return verifier.verify(self._rows(name), everything=name is None)
        finally:
            if place is not None and place is not anchoring.anchor:
                place.close()

    def _trusted(self, key: str | Path | Sequence[str | Path] | None) -> tuple[TrustedKeys | None, str]:
        """The keys that are believed, or why there are none."""
        if key is not None:
            paths = [key] if isinstance(key, str | Path) else key
            return TrustedKeys([Path(path).expanduser() for path in paths]), ""
        own = self._checkpoints.key
        if not own.exists():
            return None, f"there is no key at {own}; give the public key that they were signed with"
        try:
            return TrustedKeys([own]), ""
        except (InvalidConfig, MissingPackage) as error:
            return None, str(error)

    # -- looking after what is derived ----------------------------------------------------------------------------

    def reindex(self, name: str | None = None) -> dict[str, int]:
        """Throw the index of a cube (None: of all) away and build it from the truth; rows by cube.

        Copies of its vectors that others keep are made anew too.

        Raises:
            FollowerUnavailable: whoever keeps them cannot be reached; the index itself has been built.
        """
        counts = {}
        for row in self._rows(name):
            index = self._indexes.get(row)
            index.drop()
            index.catch_up()
            index.flush()
            counts[row.name] = len(index.table)
            self._followers.reindex(row)
        return counts

    def reembed(self, embedder: object, *, progress: Progress | None = None) -> int:
        """Replace all vectors by those of another embedder; goes on where it was interrupted.

        Search goes on with the old vectors until all new ones are there. Other processes that have the store open must
        open it anew afterwards.

        Args:
            embedder: as for `open`; None removes all vectors.
            progress: called with (versions done, versions in all).

        Returns:
            How many versions were embedded by this call.
        """
        self._check_open()
        made, spec = (None, "") if embedder is None else load_embedder(embedder)
        done = reembed(self._store, self._embedding, made, spec, progress)
        self._indexes.close()
        return done

    def vacuum(self) -> Vacuumed:
        """Give space that nothing uses back to the disk. Others may go on; writers wait meanwhile.

        Raises:
            StoreBusy: others kept the store locked until the deadline; nothing is lost, try again.
            StoreFull: the disk has no room for the copy that this takes.
        """
        self._check_open()
        before = int(self._store.facts()["bytes"])
        freed = 0
        if self._index_folder is not None:
            freed = drop_stale(self._index_folder, self._store.id, lambda: {row.number for row in self._store.cubes()})
        self._store.vacuum()
        return Vacuumed(before, int(self._store.facts()["bytes"]), freed)

    # -- copies, figures ------------------------------------------------------------------------------------------

    def backup(self, folder: str | Path, *, progress: Progress | None = None) -> Backup:
        """Bring a folder of backups up to date, while others go on reading and writing.

        The first backup holds everything, later ones what is new since. `MOS.restore` makes a store of it again.

        Args:
            folder: of its own; made, private to the user, if there is none.
            progress: called with (changes written, changes to write).

        Raises:
            NotABackup, Conflict, StoreDamaged, StoreFull, ...: as `memos_core.operations.backup.backup` says.
        """
        from memos_core.operations.backup import backup

        self._check_open()
        return backup(self._store, Path(folder), now=self._clock, progress=progress)

    def stats(self) -> dict[str, Any]:
        """The store as a whole: where it is, its embedder, its cubes, memory of the loaded indexes."""
        self._check_open()
        record = self._embedding.record
        return {
            "location": self._store.name,
            "store_id": self._store.id,
            "embedder": record.identity or None,
            "dims": record.dims,
            "token_dims": record.token_dims,
            "lexical_only": self._embedding.lacking,
            "cubes": len(self._store.cubes()),
            "index_bytes": self._indexes.nbytes,
            "vectors": self._followers.name,
        }

    def _rows(self, name: str | None) -> list[CubeRow]:
        self._check_open()
        if name is not None:
            self.cube(name)  # there is one
        return [row for row in self._store.cubes() if name is None or row.name == name]
