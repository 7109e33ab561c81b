"""MOS: the front door. Opens a store, gives out sessions, looks after cubes and followers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from memos_core.errors import (
    AlreadyExists,
    EmbedderMismatch,
    InvalidConfig,
    InvalidInput,
    MissingPackage,
    ModelError,
)
from memos_core.governance.checkpoints import settle_anchor
from memos_core.governance.governance import DEFAULT_POLICIES
from memos_core.governance.policies import Policy
from memos_core.models.host_text import check_text_model
from memos_core.models.loading import load_embedder
from memos_core.open_store import cube_names
from memos_core.plaintext.embedding import recorded
from memos_core.plaintext.later import set_max_pending
from memos_core.plaintext.reembed import Progress
from memos_core.protocols.models import Embedder
from memos_core.protocols.storage import RecordStore
from memos_core.session import Session
from memos_core.stores.following import settle
from memos_core.stores.opening import IN_MEMORY, folder_of, index_folder, is_server, open_store
from memos_core.types.access import OPERATOR, Actor, Right
from memos_core.types.differences import RolledBack
from memos_core.types.names import NO_EMBEDDER, check_cube_name, check_text
from memos_core.types.work import micros, utc_now
from memos_core.upkeep import Upkeep
from memos_core.view import CompositeView
from memos_core.writing import Follow

if TYPE_CHECKING:
    from memos_core.operations.restore import Restored


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


class MOS(Upkeep):
    """An open store, and the one way to it. Use `MOS.open`, close it when done (or use it in a `with` block).

    Everything here may be called from several threads. Several processes may have the same store open.
    """

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
        writes = [who.id] if write_to is None else cube_names(write_to, "write_to")
        reads = list(dict.fromkeys([who.id, *writes])) if read_from is None else cube_names(read_from, "read_from")
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

    # -- copies ---------------------------------------------------------------------------------------------------

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

    def __repr__(self) -> str:
        return f"MOS({self._store.name!r}, embedder={self._embedding.mark.partition('#')[0] or None!r})"


def _following(model: object, preferences: bool, after: float, now: Callable[[], datetime]) -> Follow | None:
    """Which jobs an add brings about.

    Raises:
        InvalidConfig: preferences without a model, or something that is no model.
    """
    if not isinstance(preferences, bool):
        raise InvalidConfig(f"preferences is True or False, not {preferences!r}")
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
    from memos_core.scheduler.jobs.preferences import jobs_for

    wait = int(after * 1e6)
    return lambda drafts, outcomes: jobs_for(drafts, outcomes, micros(now()) + wait if wait else 0)


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
