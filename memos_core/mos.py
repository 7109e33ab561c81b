"""MOS: the front door. Opens a store, gives out sessions, looks after cubes and followers."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from memos_core.cube import MemCube
from memos_core.errors import (
    AlreadyExists,
    AnchorUnavailable,
    EmbedderMismatch,
    InvalidConfig,
    InvalidInput,
    MissingPackage,
    ModelError,
    StoreClosed,
)
from memos_core.filters import Where, parse_where
from memos_core.governance.audit import AuditLog
from memos_core.governance.audit_check import AuditFinding, AuditVerifier
from memos_core.governance.checkpoints import NO_ANCHORING, Anchoring, Checkpoints, settle_anchor
from memos_core.governance.erasing import ErasureDesk, Wanted
from memos_core.governance.governance import DEFAULT_POLICIES, Governance
from memos_core.governance.keys import TrustedKeys
from memos_core.governance.policies import Policy
from memos_core.models.host_text import check_text_model
from memos_core.models.loading import load_embedder
from memos_core.operations.erasure import Eraser
from memos_core.plaintext.embedding import Embedding, recorded
from memos_core.plaintext.followers import Followers
from memos_core.plaintext.general import GeneralTextMemory
from memos_core.plaintext.indexes import Indexes
from memos_core.plaintext.later import set_max_pending
from memos_core.plaintext.reembed import Progress, reembed
from memos_core.plaintext.search import Searcher
from memos_core.plaintext.uses import Uses
from memos_core.plaintext.verify import Finding, verify_cube
from memos_core.protocols.models import Embedder
from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.scheduler.jobs.preferences import jobs_for
from memos_core.scheduler.jobs.preferences import preferences as preferences_kind
from memos_core.scheduler.jobs.working import job_for
from memos_core.scheduler.usage import UseNotes
from memos_core.session import Session
from memos_core.stores.anchors import open_anchor
from memos_core.stores.following import NOBODY_FOLLOWS, Following, settle
from memos_core.stores.index.upkeep import drop_stale
from memos_core.stores.opening import IN_MEMORY, folder_of, index_folder, is_server, open_store
from memos_core.types.access import OPERATOR, Actor, Right
from memos_core.types.checks import in_utc
from memos_core.types.differences import RolledBack
from memos_core.types.erasure import Erasure, ErasurePreview, Finished
from memos_core.types.names import NO_EMBEDDER, check_cube_name, check_name, check_text
from memos_core.types.uses import Holder
from memos_core.types.work import Checkpoint, CubeRow, micros, utc_now
from memos_core.view import CompositeView, Follow

if TYPE_CHECKING:
    from memos_core.operations.backup import Backup
    from memos_core.operations.restore import Restored
    from memos_core.operations.subject_export import ExportedSubject
    from memos_core.scheduler.scheduler import MemScheduler

_SEARCHERS = 4  # threads for searches of several cubes


class CubeInfo(msgspec.Struct, frozen=True):
    """A cube, as the holder of the store sees it.

    Attributes:
        name: unique in the store.
        owner: the actor it belongs to.
        changes: how many changes it has had.
        created_at: when it was made.
    """

    name: str
    owner: str
    changes: int
    created_at: datetime


class Vacuumed(msgspec.Struct, frozen=True):
    """What vacuuming did: bytes of the database, before and after, and of files of indexes that nobody needed."""

    database_before: int
    database_after: int
    index_freed: int

    @property
    def freed(self) -> int:
        """Bytes that the disk has got back."""
        return self.database_before - self.database_after + self.index_freed


class MOS:
    """An open store. Use `MOS.open`, close it when done (or use it in a `with` block).

    Everything here may be called from several threads. Several processes may have the same store open.

    Args:
        store: the truth.
        embedder: None for none.
        spec: the name it was loaded under; "" for an object.
        missing: why the embedder that the store remembers is not here; "" where nobody tried to load it.
        index_folder: where indexes keep their segments; None keeps them in memory.
        index_budget: bytes of memory for the indexes of all cubes together.
        policies: who may do what.
        now: the clock.
        scratch: a folder to remove when closed.
        following: who keeps copies of the vectors of the larger cubes.
        anchoring: where signed checkpoints of the audit go, and when they are made.
        usage: whether uses are counted.
        rank_by_use: whether they take part in ranking.
        model: what jobs ask, as for `open`; None: jobs that take one are left to others.
        follow: which jobs an add brings about, by what became of it; None for none.

    Raises:
        EmbedderMismatch: the store's vectors come from another embedder.
    """

    def __init__(
        self,
        store: RecordStore,
        *,
        embedder: Embedder | None = None,
        spec: str = "",
        missing: str = "",
        index_folder: Path | None = None,
        index_budget: int = 1 << 29,
        policies: Sequence[Policy] = DEFAULT_POLICIES,
        now: Callable[[], datetime] = utc_now,
        scratch: Path | None = None,
        following: Following = NOBODY_FOLLOWS,
        anchoring: Anchoring = NO_ANCHORING,
        usage: bool = True,
        rank_by_use: bool = False,
        model: object = None,
        follow: Follow | None = None,
    ) -> None:
        self._store = store
        self._now = now
        self._scratch = scratch
        self._index_folder = index_folder
        self._audit = AuditLog(store, now=self._clock)
        self._governance = Governance(store, policies=policies, now=self._clock, audit=self._audit)
        self._pool = ThreadPoolExecutor(_SEARCHERS, thread_name_prefix="memos-search")
        self._closing = threading.Lock()
        self._closed = False
        self._embedding = Embedding(store, embedder, spec=spec, missing=missing)
        self._indexes = Indexes(store, self._embedding, folder=index_folder, budget=index_budget)
        self._followers = Followers(store, self._embedding, self._indexes, following)
        self._memory = GeneralTextMemory(store, self._embedding, self._indexes, self._followers)
        self._uses = Uses(store)
        self._notes = UseNotes(store, _follow) if usage else None
        self._searcher = Searcher(
            store,
            self._embedding,
            self._indexes,
            self._followers,
            pool=self._pool,
            now=now,
            uses=self._uses if rank_by_use else None,
        )
        self._checkpoints = Checkpoints(store, anchoring, now=self._clock)
        self._eraser = Eraser(store, self._indexes, self._followers, self._folders)
        self._erasing = ErasureDesk(store, self._governance, self._eraser, self._audit.flush)
        self._scheduler: MemScheduler | None = None
        self._model = model
        self._follow = follow
        own = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _begin_anew(own()))

    @classmethod
    def open(
        cls,
        location: str | Path = "./memory",
        *,
        embedder: object = None,
        create: bool = True,
        vectors: object = None,
        vectors_from: int | None = None,
        vectors_deadline: float | None = None,
        deadline: float = 30.0,
        index_budget: int = 1 << 29,
        cache: str | Path | None = None,
        anchor: object = None,
        audit_key: str | Path | None = None,
        checkpoint_every: int | None = None,
        policies: Sequence[Policy] = DEFAULT_POLICIES,
        now: Callable[[], datetime] = utc_now,
        scheduler: bool = False,
        max_pending: int | None = None,
        usage: bool = True,
        rank_by_use: bool = False,
        model: object = None,
        preferences: bool = False,
        preferences_after: float = 0.0,
    ) -> MOS:
        """Open the store at a location, or make it.

        Args:
            location: a folder (it holds `memos.db` and derived files); postgresql://USER@HOST:PORT/DATABASE for a store on a
                server (see docs/postgres.md); ":memory:" for a store that is gone when closed.
            embedder: "minilm" (also "minilm:FOLDER" or "minilm:ORGANISATION/MODEL"), "hashing", "given:DIMS", or an object with
                the methods of LangChain's Embeddings, LlamaIndex's BaseEmbedding or memos' own Embedder. None takes the one
                that the store remembers by name; a new store then has none, and search is lexical. "none" loads none
                whatever the store remembers: reading goes on by words alone.
            vectors: who keeps copies of the vectors of larger cubes, and finds candidates among them: "chroma" (in the store's
                folder), "chroma:FOLDER", "chroma:http://HOST:PORT", or a vector store object of LangChain or LlamaIndex.
                None takes those that the store remembers by name, "none" has it forget them. See docs/vectors.md.
            vectors_from: cubes with fewer items are left to the embedded index (200,000).
            vectors_deadline: seconds a search waits for them (0.5); then the embedded index answers.
            create: False refuses to make a store where there is none.
            deadline: seconds to wait at most while other processes write.
            index_budget: bytes of memory for the indexes of all cubes together.
            cache: a local folder for the indexes; None has them beside `memos.db`, or for a store on a server in the
                user's cache folder. They are derived, and may be deleted at any time.
            anchor: where signed checkpoints of the audit go, outside of the store: a path, the URL of a database, or a
                function. None takes the one that the store remembers, "none" has it forget that one. See docs/audit.md.
            audit_key: file of the key that signs them, made if there is none; None for the user's own.
            checkpoint_every: audit entries of a cube from one to the next, with an anchor or a key (1,000).
            policies: who may do what.
            now: the clock (aware times).
            scheduler: run background jobs in threads of this process from the beginning (`mos.scheduler.start()`).
            max_pending: how many jobs may wait before `add(..., wait=False)` refuses more; remembered by the store. None takes
                what it remembers (at first 10,000).
            usage: False counts no uses, so that working memories stay as they are (docs/working.md).
            rank_by_use: have what was used lately and often rank a little higher: asking changes what is answered next. A
                search leaves it out with `without=["usage"]`.
            model: a language model that background jobs of this process ask: an object with `identity` and `complete(prompt)`, a
                chat model of LangChain, an LLM of LlamaIndex, or the import path of one ("my_package.models:chat"), loaded
                when jobs are first run.
            preferences: have a job look for preferences in what users say after each add (docs/preferences.md); needs `model`.
            preferences_after: seconds that it waits for more to be said, so that the model is asked less often.

        Raises:
            StoreNotFound: there is none, and none shall be made.
            InvalidConfig: nobody is known under what `vectors` says, or an object has not the methods; preferences without a
                model.
            UnsupportedStore: a URL of a database that is not supported.
            StoreUnreachable, StoreRefused: the server is not there, or does not let us in.
            EmbedderMismatch: the store was filled with another embedder.
            ModelNotFound, MissingPackage: the embedder cannot be loaded.
            StoreReadOnly, ForeignStore, NewerSchema, StoreDamaged: the folder or its database cannot be used.
        """
        follow = _following(model, preferences, preferences_after, now)
        made, spec, missing = None, "", ""
        if embedder is not None and embedder != NO_EMBEDDER:
            made, spec = load_embedder(embedder)
        scratch = Path(tempfile.mkdtemp(prefix="memos-")) if str(location) == IN_MEMORY else None
        store = open_store(scratch or location, deadline=deadline, now=now, create=create or scratch is not None)
        try:
            if embedder is None:
                made, spec, missing = _remembered(store)
            indexes = index_folder(scratch or location, store, cache)
            folder = indexes if is_server(location) else folder_of(scratch or location)
            following = settle(store, vectors, least=vectors_from, deadline=vectors_deadline, folder=folder)
            anchoring = settle_anchor(store, anchor=anchor, key=audit_key, every=checkpoint_every)
            if max_pending is not None:
                set_max_pending(store, max_pending)
            opened = cls(
                store,
                embedder=made,
                spec=spec,
                missing=missing,
                index_folder=indexes,
                index_budget=index_budget,
                policies=policies,
                now=now,
                scratch=scratch,
                following=following,
                anchoring=anchoring,
                usage=usage,
                rank_by_use=rank_by_use,
                model=model,
                follow=follow,
            )
            if scheduler:
                opened.scheduler.start()
            return opened
        except BaseException:
            store.close()
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
            raise

    @classmethod
    def from_config(cls, path: str | Path) -> MOS:
        """Open the store that a TOML file describes (see `memos_core.config`).

        Raises:
            InvalidConfig: the file cannot be read, or has a setting that does not exist.
        """
        from memos_core.config import read_config

        return cls.open(**read_config(Path(path)).arguments())

    # -- sessions -------------------------------------------------------------------------------------------------

    def session(
        self,
        actor: str | Actor,
        *,
        conversation: str | None = None,
        read_from: Iterable[str] | None = None,
        write_to: Iterable[str] | None = None,
    ) -> Session:
        """What an actor may do with memory.

        Args:
            actor: on whose behalf: an id ("alice"), or an Actor with roles.
            conversation: the thread that is going on; what is added belongs to it.
            read_from: cubes to search; None takes the actor's own and those written to.
            write_to: cubes to write to, all of them in one transaction; None takes the actor's own.

        Raises:
            InvalidName: a name that could be mistaken for another.
            CubeNotFound: a cube that there is not, or that the actor may not read.
            AccessDenied: a cube that the actor may read, but not write to.
        """
        self._check_open()
        who = Actor.of(actor)
        if conversation is not None and not check_text(conversation, "conversation").strip():
            raise InvalidInput("conversation is empty; leave it out where there is none")
        writes = [who.id] if write_to is None else _names(write_to, "write_to")
        reads = list(dict.fromkeys([who.id, *writes])) if read_from is None else _names(read_from, "read_from")
        write = [self._cube(name, who) for name in writes]
        read = [self._cube(name, who) for name in reads]
        with self._store.operation():
            for cube in read:
                cube.readable()
            for cube in write:
                cube.writable()
        view = CompositeView(
            read=read,
            write=write,
            store=self._store,
            memory=self._memory,
            searcher=self._searcher,
            now=self._clock,
            erasing=self._erasing,
            uses=self._notes,
            follow=self._follow,
        )
        return Session(actor=who, conversation=conversation, view=view, now=self._clock)

    def _cube(self, name: str, actor: Actor) -> MemCube:
        return MemCube(
            name, actor, store=self._store, governance=self._governance, memory=self._memory, now=self._clock
        )

    def _clock(self) -> datetime:
        return in_utc(self._now())

    # -- cubes ----------------------------------------------------------------------------------------------------

    def create_cube(self, name: str, *, owner: str | Actor) -> None:
        """A new cube, closed to everybody but its owner until it is shared.

        An actor's own cubes (named like the actor, or below it: "alice/home") need not be made: the first write does.

        Raises:
            AlreadyExists: the name is taken.
            InvalidName: it could be mistaken for another one.
        """
        self._check_open()
        check_cube_name(name)
        who = Actor.of(owner)
        with self._store.begin(actor=OPERATOR.id, action="create") as transaction:
            if transaction.cube(name) is not None:
                raise AlreadyExists(f"there is a cube {name!r} already")
            transaction.create_cube(name, who.id)

    def cubes(self) -> list[CubeInfo]:
        """All cubes of the store, by name."""
        self._check_open()
        return [CubeInfo(row.name, row.owner, row.seq, row.created_at) for row in self._store.cubes()]

    def cube(self, name: str, *, actor: str | Actor | None = None) -> MemCube:
        """One cube: its statistics, history, grants.

        Args:
            actor: on whose behalf; None for the holder of the store, who may do everything.

        Raises:
            CubeNotFound: there is none, or the actor may not read it.
        """
        self._check_open()
        cube = self._cube(name, OPERATOR if actor is None else Actor.of(actor))
        cube.require(Right.READ)
        return cube

    def fork(
        self, name: str, new_name: str, *, as_of: int | datetime | None = None, owner: str | Actor | None = None
    ) -> CubeInfo:
        """A new cube that has the history of another up to a moment, for a what-if; as `MemCube.fork` says.

        Raises:
            CubeNotFound: there is no such cube.
            AlreadyExists: the new name is taken.
        """
        row = self.cube(name).fork(new_name, as_of=as_of, owner=owner)
        return CubeInfo(row.name, row.owner, row.seq, row.created_at)

    def rollback_cube(self, name: str, as_of: int | datetime, *, reason: str | None = None) -> RolledBack:
        """Make what a cube holds now what it held at a moment; as `MemCube.rollback` says.

        Raises:
            CubeNotFound: there is no such cube.
        """
        return self.cube(name).rollback(as_of, reason=reason)

    def share(
        self,
        name: str,
        *,
        with_: str,
        rights: str | Right | Sequence[str | Right] = Right.READ,
        until: datetime | None = None,
    ) -> None:
        """Give rights on a cube to an actor, a role ("role:team") or everybody ("*"); those it had are replaced.

        Args:
            rights: "read", "write", "share", "admin", or several ("read,share").
            until: when they end; None for when they are taken away.

        Raises:
            CubeNotFound: there is no such cube.
            InvalidInput: a word that is no right.
        """
        self.cube(name).share(with_, rights, until=until)

    def rights(self, name: str, actor: str | Actor) -> frozenset[Right]:
        """What an actor may do with a cube; nothing where there is no such cube."""
        self._check_open()
        return self._governance.rights(Actor.of(actor), name)

    def unshare(self, name: str, *, with_: str) -> None:
        """Take all rights of an actor, a role or everybody on a cube away; its owner keeps theirs."""
        self.cube(name).unshare(with_)

    @property
    def store(self) -> RecordStore:
        """The truth itself. Nothing asks governance on this way: it is for looking after the store."""
        return self._store

    @property
    def embedder(self) -> Embedder | None:
        """The store's embedder; None for none."""
        return self._embedding.embedder

    def count_uses(self) -> int:
        """Write what has been noted of uses, and bring working memories up to date; returns how many notes that were.

        The scheduler does so before it looks for jobs, and `close` does.
        """
        self._check_open()
        return 0 if self._notes is None else self._notes.flush()

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
        return wanted, who, None if cubes is None else _names(cubes, "cubes")

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

    def _folders(self) -> list[Path]:
        """Everything that memos keeps in files."""
        found = [] if is_server(self._store.name) else [Path(self._store.name).parent]
        found += [] if self._index_folder is None else [self._index_folder]
        copies = (self._followers.name or "").removeprefix("chroma:")
        return found + ([Path(copies)] if copies.startswith("/") else [])

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

    # -- looking after what is derived ----------------------------------------------------------------------------

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

    @staticmethod
    def restore(
        folder: str | Path, location: str | Path, *, number: int | None = None, progress: Progress | None = None
    ) -> Restored:
        """Make a store from a backup, at a place where there is none: all of it, verified, or nothing.

        Args:
            folder: of backups.
            location: as for `open`.
            number: which backup; None for the newest.
            progress: called with (bytes read, bytes to read).

        Raises:
            AlreadyExists, NotABackup, BackupDamaged, ...: as `memos_core.operations.restore.restore` says.
        """
        from memos_core.operations.restore import restore_to

        return restore_to(Path(folder), location, number, progress=progress)

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

    # -- background work ------------------------------------------------------------------------------------------

    @property
    def scheduler(self) -> MemScheduler:
        """Who runs background jobs. Nothing runs in threads before its `start`."""
        with self._closing:
            if self._scheduler is None:
                from memos_core.scheduler.jobs.conflicts import conflicts
                from memos_core.scheduler.jobs.deduplicate import deduplicate
                from memos_core.scheduler.scheduler import MemScheduler

                made = MemScheduler(self._store, self._memory, self._searcher, self._clock, first=self.count_uses)
                if self._model is None:
                    made.leave("preferences")
                else:
                    for kind in (preferences_kind, deduplicate, conflicts):
                        made.register(kind(self._model))
                self._scheduler = made
        return self._scheduler

    # -- closing --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the store. Doing it twice does nothing.

        Raises:
            StoreError: reads could not be audited, or the audit not be anchored, as was wanted; it is closed nevertheless.
            Conflict: it is called by a job in a thread of the scheduler; the store stays open.
        """
        if self._scheduler is not None:
            self._scheduler.need_outside()
        with self._closing:
            if self._closed:
                return
            self._closed = True
        if self._scheduler is not None:
            self._scheduler.stop()
        self._pool.shutdown(wait=True)
        with ExitStack() as closing:  # all of it, whatever of it fails
            if self._scratch is not None:
                closing.callback(shutil.rmtree, self._scratch, ignore_errors=True)
            closing.callback(self._store.close)
            closing.callback(self._indexes.close)
            closing.callback(self._followers.close)
            closing.callback(self._checkpoints.close)
            closing.callback(self._audit.close)
            if self._notes is not None:
                closing.callback(self._notes.close)

    def after_fork(self) -> None:
        """In a forked child: what belonged to the parent's threads is made anew, what belongs to the parent is left alone."""
        self._scratch = None
        self._closing = threading.Lock()
        self._pool = self._searcher.pool = ThreadPoolExecutor(_SEARCHERS, thread_name_prefix="memos-search")
        self._governance.after_fork()
        self._audit.after_fork()
        self._checkpoints.after_fork()
        if self._scheduler is not None:
            self._scheduler.after_fork()
        self._embedding.after_fork()
        self._indexes.after_fork()
        self._followers.after_fork()
        self._uses.after_fork()
        if self._notes is not None:
            self._notes.after_fork()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed(f"{self._store.name} is closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"MOS({self._store.name!r}, embedder={self._embedding.mark.partition('#')[0] or None!r})"


def _follow(transaction: Transaction, holders: Sequence[Holder]) -> None:
    """File what is to be done after conversations have gone on."""
    transaction.file([job_for(holder) for holder in holders])


def _following(model: object, preferences: bool, after: float, now: Callable[[], datetime]) -> Follow | None:
    """Which jobs an add brings about.

    Raises:
        InvalidConfig: preferences without a model, or something that is no model.
    """
    if model is not None:
        check_text_model(model)
    elif preferences:
        raise InvalidConfig(
            "preferences=True takes a language model that finds them: give model=...; see docs/preferences.md"
        )
    if isinstance(after, bool) or not isinstance(after, int | float) or not 0 <= after < 1e6:
        raise InvalidConfig(f"preferences_after={after!r} should be a number of seconds from 0")
    if after and not preferences:
        raise InvalidConfig(f"preferences_after={after!r} is for preferences=True")
    if not preferences:
        return None
    wait = int(after * 1e6)
    return lambda drafts, outcomes: jobs_for(drafts, outcomes, micros(now()) + wait if wait else 0)


def _begin_anew(mos: MOS | None) -> None:
    if mos is not None:
        mos.after_fork()


def _names(names: Iterable[str], what: str) -> list[str]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidInput(f"{what} is a list of cube names; for one, give [{names!r}]")
    return list(dict.fromkeys(names))


def _remembered(store: RecordStore) -> tuple[Embedder | None, str, str]:
    """The embedder that the store remembers by name and that name, or None and why it is not to be had here.

    Reading then goes on by words alone and says so; writing says what is missing.

    Raises:
        EmbedderMismatch: that name loads something else here.
    """
    record = recorded(store)
    if record is None or not record.spec:
        return None, "", ""
    try:
        made, spec = load_embedder(record.spec)
    except (ModelError, MissingPackage) as error:
        return None, "", f"cannot be loaded ({error})"
    if made.identity != record.identity:
        raise EmbedderMismatch(
            f"{store.name} was filled with {record.identity!r}; what {record.spec!r} loads here is {made.identity!r}. "
            "Bring the old weights back, or change all vectors with `memos reembed` (in Python: open it with "
            "embedder='none', then mos.reembed)"
        )
    return made, spec, ""
