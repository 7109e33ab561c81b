"""AsyncMOS and AsyncSession: the same methods, awaited. Nothing here blocks the event loop.

Work runs on a bounded pool of threads. Where the embedder has asynchronous methods of its own (LangChain's and
LlamaIndex's have), `add`, `search` and `context` await it in the caller's loop, in which its connections live, and only the
rest goes to a thread.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Self, TypeVar, overload

from memos_core.context import Context
from memos_core.errors import QueueFull, StoreClosed
from memos_core.mos import MOS
from memos_core.plaintext.added import Added
from memos_core.plaintext.commit import Overtaken
from memos_core.plaintext.later import Adding
from memos_core.plaintext.reembed import Progress
from memos_core.session import Session
from memos_core.types.access import Actor
from memos_core.types.checks import checked_flag, checked_patience, checked_wait
from memos_core.types.items import Hits
from memos_core.types.jobs import JobState
from memos_core.writing import ROOM_PAUSE

if TYPE_CHECKING:
    from memos_core.operations.restore import Restored
    from memos_core.scheduler.scheduler import MemScheduler

WORKERS = 8
_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Threads:
    """Runs calls on a bounded pool of threads."""

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="memos-async")

        self._closed = False

    async def run(self, call: Callable[[], _T]) -> _T:
        if self._closed:
            raise StoreClosed("this store is closed; open it anew")
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def close(self) -> None:
        """Take no more calls, and wait for those under way."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)


_SHARED = _Threads(WORKERS)  # for sessions of a MOS that has no threads for this; none is started before the first call


def _session_twin(
    method: Callable[Concatenate[Session, _P], _T],
) -> Callable[Concatenate[AsyncSession, _P], Coroutine[Any, Any, _T]]:
    """The asynchronous twin of a method of Session: the same arguments, the same answer."""

    async def twin(self: AsyncSession, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await self._threads.run(lambda: method(self.sync, *args, **kwargs))

    functools.update_wrapper(twin, method)
    return twin


def _mos_twin(
    method: Callable[Concatenate[MOS, _P], _T],
) -> Callable[Concatenate[AsyncMOS, _P], Coroutine[Any, Any, _T]]:
    """The asynchronous twin of a method of MOS."""

    async def twin(self: AsyncMOS, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await self._threads.run(lambda: method(self.sync, *args, **kwargs))

    functools.update_wrapper(twin, method)
    return twin


class AsyncSession:
    """A `Session` whose methods are awaited. Made by `AsyncMOS.session`, or `AsyncSession.of` one that there is.

    Args:
        sync: the session that does the work.
        threads: where it does it.
    """

    def __init__(self, sync: Session, threads: _Threads) -> None:
        self.sync = sync
        self._threads = threads

    @classmethod
    def of(cls, session: Session) -> AsyncSession:
        """A session, awaited. All sessions made this way share one bounded pool of threads."""
        return cls(session, _SHARED)

    read = _session_twin(Session.read)
    get = _session_twin(Session.get)
    list = _session_twin(Session.list)
    history = _session_twin(Session.history)
    stats = _session_twin(Session.stats)
    update = _session_twin(Session.update)
    delete = _session_twin(Session.delete)
    erase = _session_twin(Session.erase)
    preview_erase = _session_twin(Session.preview_erase)
    restore = _session_twin(Session.restore)
    explain = _session_twin(Session.explain)
    lineage = _session_twin(Session.lineage)
    archive = _session_twin(Session.archive)
    activate = _session_twin(Session.activate)
    freeze = _session_twin(Session.freeze)
    unfreeze = _session_twin(Session.unfreeze)
    merge = _session_twin(Session.merge)
    rollback = _session_twin(Session.rollback)
    rollback_cube = _session_twin(Session.rollback_cube)
    fork = _session_twin(Session.fork)
    diff = _session_twin(Session.diff)
    working = _session_twin(Session.working)
    preferences = _session_twin(Session.preferences)
    _add = _session_twin(Session.add)
    _search = _session_twin(Session.search)
    _context = _session_twin(Session.context)

    @overload
    async def add(self, content: object, *, wait: Literal[True] = True, **options: Any) -> Added: ...
    @overload
    async def add(self, content: object, *, wait: Literal[False], **options: Any) -> AsyncAdding: ...
    async def add(self, content: object, *, wait: bool = True, **options: Any) -> Added | AsyncAdding:
        """As `Session.add`, with the same options."""
        if not checked_flag(wait, "wait"):
            return await self._add_later(content, options)
        if self._native("aembed") is None or options.get("vectors") is not None:
            added: Added = await self._add(content, **options)
            return added
        options.pop("vectors", None)
        view = self.sync.view
        await self._threads.run(view.check_writable)
        drafts = await self.read(content, **options)
        while True:
            mark = view.embedding.mark  # before the embedder is looked at: another one may come in at any time
            embed = self._native("aembed")
            if embed is None:
                return self._said(await self._threads.run(functools.partial(view.add, drafts)), options)
            drafts = await self._threads.run(functools.partial(view.redacted, drafts))
            places = await self._threads.run(functools.partial(view.places_to_embed, drafts))
            texts = view.texts_to_embed(drafts, places)
            embedded = await embed(texts) if texts else None
            add = functools.partial(view.add, drafts, embedded=embedded, places=places, made_under=mark)
            try:
                return self._said(await self._threads.run(add), options)
            except Overtaken:
                continue

    def _said(self, added: Added, options: dict[str, Any]) -> Added:
        self.sync._said(added.ids, options.get("conversation"))
        return added

    async def _add_later(self, content: object, options: dict[str, Any]) -> AsyncAdding:
        """As `add(wait=False)`; while it waits for room in the queue no thread does, so that everything else goes on."""
        loop = asyncio.get_running_loop()
        until = loop.time() + checked_wait(options.pop("timeout", None))
        content, options = _repeatable(content), {name: _repeatable(value) for name, value in options.items()}
        while True:
            try:
                later: Adding[Added] = await self._threads.run(lambda: self.sync.add(content, wait=False, **options))
                return AsyncAdding(later, self._threads)
            except QueueFull:
                if loop.time() + ROOM_PAUSE > until:
                    raise
            await asyncio.sleep(ROOM_PAUSE)

    async def search(self, query: str, **options: Any) -> Hits:
        """As `Session.search`, with the same options."""
        return await self._search(query, **await self._with_vector(query, options))

    async def context(self, query: str, **options: Any) -> Context:
        """As `Session.context`, with the same options."""
        return await self._context(query, **await self._with_vector(query, options))

    async def _with_vector(self, query: str, options: dict[str, Any]) -> dict[str, Any]:
        """The options, with the vector of the question where the embedder makes it asynchronously."""
        if options.get("vector") is not None or not isinstance(query, str) or not query.strip():
            return options
        view = self.sync.view
        while True:
            mark = view.embedding.mark
            embed = self._native("aembed_query")
            if embed is None:
                return options
            text = await self._threads.run(lambda: view.text_to_embed(query, options.get("as_of")))
            vector = await embed(text)
            if view.embedding.mark == mark:  # else another embedder has come in meanwhile
                return {**options, "vector": view.embedding.answered(vector)}

    def _native(self, method: str) -> Callable[[Any], Awaitable[Any]] | None:
        """The embedder's own asynchronous method, where it has one."""
        embedder = self.sync.view.embedding.embedder
        return getattr(embedder, method, None)

    @property
    def actor(self) -> Actor:
        """On whose behalf it acts."""
        return self.sync.actor

    @property
    def conversation(self) -> str | None:
        """The thread that is going on."""
        return self.sync.conversation

    @property
    def read_from(self) -> Sequence[str]:
        """Names of the cubes it reads from."""
        return self.sync.read_from

    @property
    def write_to(self) -> Sequence[str]:
        """Names of the cubes it writes to."""
        return self.sync.write_to

    def __deepcopy__(self, memo: object) -> AsyncSession:
        """Itself, as for `Session`."""
        return self

    def __repr__(self) -> str:
        return f"Async{self.sync!r}"


def _repeatable(value: Any) -> Any:
    """A value that may be gone through twice."""
    return list(value) if isinstance(value, Iterator) else value


class AsyncAdding:
    """What `add(..., wait=False)` gives, awaited: the methods of `Adding`.

    Args:
        sync: the handle that asks.
        threads: where it does.
    """

    def __init__(self, sync: Adding[Added], threads: _Threads) -> None:
        self.sync = sync
        self.ids = sync.ids
        self.job_ids = sync.job_ids
        self.added = sync.added
        self._threads = threads

    @property
    def id(self) -> str:
        """The id, where just one thing was given."""
        return self.sync.id

    async def status(self) -> JobState:
        """How it stands: "pending", "running", "done", "failed" or "cancelled"."""
        return await self._threads.run(self.sync.status)

    async def error(self) -> str | None:
        """What went wrong last; None where nothing has."""
        return await self._threads.run(self.sync.error)

    async def wait(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as in `Adding`
        """Wait until all of it has ended, at most so many seconds; whether it has. No thread waits meanwhile."""
        loop = asyncio.get_running_loop()
        checked_patience(timeout)
        until = None if timeout is None else loop.time() + timeout
        pause = 0.002
        while not await self._threads.run(lambda: self.sync.wait(0)):
            if until is not None and loop.time() >= until:
                return False
            await asyncio.sleep(pause if until is None else max(0.0, min(pause, until - loop.time())))
            pause = min(pause * 1.5, 0.1)
        return True

    async def result(self, timeout: float | None = None) -> Added:  # noqa: ASYNC109 - as in `Adding`
        """The items, once all can be found by meaning too; raises as `Adding.result` does."""
        if not await self.wait(timeout):
            raise self.sync.late(timeout)
        return await self._threads.run(lambda: self.sync.result(0))

    def __repr__(self) -> str:
        return f"Async{self.sync!r}"


class AsyncMOS:
    """A `MOS` whose methods are awaited: `async with AsyncMOS.open("./memory") as mos: ...`.

    Args:
        opening: opens the MOS that does the work; called on a thread when the block is entered.
        workers: how many calls run at once.
    """

    def __init__(self, opening: Callable[[], MOS], *, workers: int = WORKERS) -> None:
        self._opening = opening
        self._threads = _Threads(workers)
        self._lock = asyncio.Lock()
        self._sync: MOS | None = None

    @classmethod
    def open(cls, location: str | Path = "./memory", *, workers: int = WORKERS, **options: Any) -> AsyncMOS:
        """The store at a location, opened when the `async with` block is entered; options as for `MOS.open`."""
        return cls(functools.partial(MOS.open, location, **options), workers=workers)

    @classmethod
    def from_config(cls, path: str | Path, *, workers: int = WORKERS) -> AsyncMOS:
        """The store that a TOML file describes, opened when the `async with` block is entered."""
        return cls(functools.partial(MOS.from_config, path), workers=workers)

    @staticmethod
    async def restore(
        folder: str | Path, location: str | Path, *, number: int | None = None, progress: Progress | None = None
    ) -> Restored:
        """As `MOS.restore`."""
        return await asyncio.to_thread(MOS.restore, folder, location, number=number, progress=progress)

    @classmethod
    def of(cls, mos: MOS, *, workers: int = WORKERS) -> AsyncMOS:
        """An open MOS, awaited. Closing either closes both."""
        made = cls(lambda: mos, workers=workers)
        made._sync = mos
        return made

    @property
    def sync(self) -> MOS:
        """The MOS that does the work; there once the block is entered."""
        if self._sync is None:
            raise RuntimeError("enter the store first: async with AsyncMOS.open(...) as mos")
        return self._sync

    async def session(
        self,
        actor: str | Actor,
        *,
        conversation: str | None = None,
        read_from: Iterable[str] | None = None,
        write_to: Iterable[str] | None = None,
    ) -> AsyncSession:
        """As `MOS.session`."""
        made = await self._threads.run(
            lambda: self.sync.session(actor, conversation=conversation, read_from=read_from, write_to=write_to)
        )
        return AsyncSession(made, self._threads)

    create_cube = _mos_twin(MOS.create_cube)
    cubes = _mos_twin(MOS.cubes)
    fork = _mos_twin(MOS.fork)
    rollback_cube = _mos_twin(MOS.rollback_cube)
    rights = _mos_twin(MOS.rights)
    share = _mos_twin(MOS.share)
    unshare = _mos_twin(MOS.unshare)
    verify = _mos_twin(MOS.verify)
    verify_audit = _mos_twin(MOS.verify_audit)
    checkpoint = _mos_twin(MOS.checkpoint)
    reindex = _mos_twin(MOS.reindex)
    reembed = _mos_twin(MOS.reembed)
    stats = _mos_twin(MOS.stats)
    retain = _mos_twin(MOS.retain)
    count_uses = _mos_twin(MOS.count_uses)
    erase = _mos_twin(MOS.erase)
    preview_erase = _mos_twin(MOS.preview_erase)
    finish_erasures = _mos_twin(MOS.finish_erasures)
    verify_erased = _mos_twin(MOS.verify_erased)
    export_subject = _mos_twin(MOS.export_subject)
    backup = _mos_twin(MOS.backup)
    vacuum = _mos_twin(MOS.vacuum)

    @property
    def scheduler(self) -> MemScheduler:
        """Who runs background jobs. `start` returns at once; `run_pending` and `stop` block, so call them in a thread."""
        return self.sync.scheduler

    async def close(self) -> None:
        """Let go of the store, after the calls under way. Doing it twice does nothing."""
        await self._threads.close()
        if self._sync is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._sync.close)

    async def __aenter__(self) -> Self:
        async with self._lock:
            if self._sync is None:
                self._sync = await self._threads.run(self._opening)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
