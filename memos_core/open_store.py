"""OpenStore: a store with all that is opened beside it, and the closing of it."""

from __future__ import annotations

import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from memos_core.cube import MemCube
from memos_core.errors import InvalidInput, StoreClosed
from memos_core.governance.audit import AuditLog
from memos_core.governance.checkpoints import NO_ANCHORING, Anchoring, Checkpoints
from memos_core.governance.erasing import ErasureDesk
from memos_core.governance.governance import DEFAULT_POLICIES, Governance
from memos_core.governance.policies import Policy
from memos_core.operations.erasure import Eraser
from memos_core.plaintext.embedding import Embedding
from memos_core.plaintext.followers import Followers
from memos_core.plaintext.general import GeneralTextMemory
from memos_core.plaintext.indexes import Indexes
from memos_core.plaintext.search import Searcher
from memos_core.plaintext.uses import Uses
from memos_core.protocols.models import Embedder
from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.scheduler.jobs.working import job_for
from memos_core.scheduler.usage import UseNotes
from memos_core.stores.following import NOBODY_FOLLOWS, Following
from memos_core.stores.opening import is_server
from memos_core.types.access import OPERATOR, Actor, Right
from memos_core.types.checks import in_utc
from memos_core.types.uses import Holder
from memos_core.types.work import utc_now
from memos_core.writing import Follow

if TYPE_CHECKING:
    from memos_core.scheduler.scheduler import MemScheduler

_SEARCHERS = 4  # threads for searches of several cubes


def _follow(transaction: Transaction, holders: Sequence[Holder]) -> None:
    """File what is to be done after conversations have gone on."""
    transaction.file([job_for(holder) for holder in holders])


def _begin_anew(opened: OpenStore | None) -> None:
    if opened is not None:
        opened.after_fork()


class OpenStore:
    """An open store: its parts.

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

    def _cube(self, name: str, actor: Actor) -> MemCube:
        return MemCube(
            name, actor, store=self._store, governance=self._governance, memory=self._memory, now=self._clock
        )

    def _clock(self) -> datetime:
        return in_utc(self._now())

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

    def _folders(self) -> list[Path]:
        """Everything that memos keeps in files."""
        found = [] if is_server(self._store.name) else [Path(self._store.name).parent]
        found += [] if self._index_folder is None else [self._index_folder]
        copies = (self._followers.name or "").removeprefix("chroma:")
        return found + ([Path(copies)] if copies.startswith("/") else [])

    @property
    def scheduler(self) -> MemScheduler:
        """Who runs background jobs. Nothing runs in threads before its `start`."""
        with self._closing:
            if self._scheduler is None:
                from memos_core.scheduler.jobs.conflicts import conflicts
                from memos_core.scheduler.jobs.deduplicate import deduplicate
                from memos_core.scheduler.jobs.preferences import preferences
                from memos_core.scheduler.scheduler import MemScheduler

                made = MemScheduler(self._store, self._memory, self._searcher, self._clock, first=self.count_uses)
                if self._model is None:
                    made.leave("preferences")
                else:
                    for kind in (preferences, deduplicate, conflicts):
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


def cube_names(names: Iterable[str], what: str) -> list[str]:
    """Names of cubes that were given, each once.

    Raises:
        InvalidInput: that is no list.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidInput(f"{what} is a list of cube names; for one, give [{names!r}]")
    return list(dict.fromkeys(names))
