"""Adding whose vectors come later: which jobs that takes, what they do, and what the caller holds meanwhile.

The raw item is stored without vectors, and its words can be found at once. The job repeats its newest version as a change of
the log with the op "embed": the same version number, words, state, author and time, with vectors. So whoever follows the log
(indexes of other processes, Chroma, backups) learns of the vectors like of any other change, nothing is edited in place, and
an answer `as_of` a moment before stays what it was. People's history does not show it: nobody said anything new.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from memos_core.errors import InvalidInput, JobFailed, JobNotFound, QueueFull
from memos_core.plaintext.commit import Overtaken
from memos_core.plaintext.embedding import SETTING
from memos_core.plaintext.general import GeneralTextMemory
from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.protocols.work import JobStore
from memos_core.stores.index.cube_index import indexed_text
from memos_core.types.checks import checked_patience
from memos_core.types.jobs import Job, JobState
from memos_core.types.work import CubeRow, Put, Record, VectorBlobs

MAX_PENDING: Final = 10_000
MAX_PENDING_SETTING: Final = "max_pending"
_LONGEST_PAUSE: Final = 0.1  # seconds between two looks at a job that somebody waits for
_R = TypeVar("_R")


def check_room(transaction: Transaction) -> None:
    """Refuse to file more than the store takes on.

    Raises:
        QueueFull: too many jobs wait.
    """
    most = int(transaction.setting(MAX_PENDING_SETTING) or MAX_PENDING)
    if not transaction.has_room(most):
        raise QueueFull(
            f"{most} jobs wait already (max_pending); start more workers, wait with timeout=..., or add with wait=True"
        )


def set_max_pending(store: RecordStore, most: int) -> None:
    """Have a store remember how many jobs may wait before adding refuses more.

    Raises:
        InvalidInput: not a positive number.
    """
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise InvalidInput(f"max_pending={most!r} should be a number of jobs, at least 1")
    now = store.setting(MAX_PENDING_SETTING)
    while now != str(most) and not store.put_setting(MAX_PENDING_SETTING, str(most), expect=now):
        now = store.setting(MAX_PENDING_SETTING)


class Embedded(msgspec.Struct, frozen=True):
    """Vectors for items, made without holding any lock.

    Attributes:
        records: their newest versions, which had none.
        blobs: of each.
        mark: of the vectors (`Embedding.mark`).
    """

    records: Sequence[Record]
    blobs: Sequence[VectorBlobs]
    mark: str


def embed_now(store: RecordStore, memory: GeneralTextMemory, cube: CubeRow, ids: Sequence[str]) -> Embedded:
    """Vectors for those of these items that search may find and that have none.

    Raises:
        EmbedderUnavailable, EmbeddingFailed, EmbedderMismatch: as `Embedding` says.
    """
    memory.embedding.confirm()
    mark = memory.embedding.mark
    heads = [head for head in store.heads(cube, list(dict.fromkeys(ids))).values() if not head.deleted]
    found = store.records(cube, [head.seq for head in heads]).values()
    wanted = [r for r in found if r.body is not None and r.body.indexed and not r.vectors_of]
    texts = [indexed_text(r.text or "", r.body.context) for r in wanted if r.body is not None]
    blobs = [blob for blob in memory.embedding.encode(texts) if blob is not None]
    return Embedded(wanted if blobs else [], blobs, mark)


def put_embedded(memory: GeneralTextMemory, transaction: Transaction, cube: CubeRow, made: Embedded) -> None:
    """Store vectors of items that stand where they stood.

    Raises:
        EmbedderMismatch: all vectors of the store have been replaced since.
        Overtaken: an item has changed since; look anew whether it needs vectors, and of which words.
    """
    memory.embedding.check_setting(transaction.setting(SETTING), made.mark)
    heads = transaction.heads(cube, [record.id for record in made.records])
    puts = []
    for record, blobs in zip(made.records, made.blobs, strict=True):
        head = heads.get(record.id)
        if head is None or head.deleted:  # erased, or deleted, meanwhile
            continue
        if head.seq != record.seq:
            raise Overtaken
        puts.append(
            Put(
                id=record.id,
                op="embed",
                text=record.text,
                body=record.body,
                state=record.state,
                head=head,
                vectors=blobs,
            )
        )
    if puts:
        transaction.put(cube, puts)


class JobHandle:
    """Work that was filed. It is durable: another process may do it, and ask about it by its ids.

    Args:
        jobs: where jobs are.
        ids: of the jobs.
    """

    def __init__(self, jobs: JobStore, ids: Sequence[int]) -> None:
        self._jobs = jobs
        self.job_ids = list(ids)
        self._ended: dict[int, Job] = {}  # jobs that have ended may be forgotten by the store, not here

    def jobs(self) -> list[Job]:
        """The jobs as they stand.

        Raises:
            JobNotFound: one was done so long ago that it has been forgotten.
        """
        asked = [id for id in self.job_ids if id not in self._ended]
        found = self._jobs.get(asked) if asked else {}
        self._ended |= {id: job for id, job in found.items() if job.state == "done"}
        found |= self._ended
        missing = next((id for id in self.job_ids if id not in found), None)
        if missing is not None:
            raise JobNotFound(f"there is no job {missing} any more: it ended long ago, and has been forgotten")
        return [found[id] for id in self.job_ids]

    def status(self) -> JobState:
        """How it stands: of several jobs the worst ("failed", "cancelled"), or the one that is furthest behind."""
        states = {job.state for job in self.jobs()}
        order: tuple[JobState, ...] = ("failed", "cancelled", "running", "pending")
        return next((state for state in order if state in states), "done")

    def error(self) -> str | None:
        """What went wrong last, as "TypeName: words"; None where nothing has."""
        return next((job.error for job in self.jobs() if job.error and job.state != "done"), None)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all of it has ended; whether it has.

        Args:
            timeout: seconds; None waits for ever. Somebody must be running jobs (`mos.scheduler.start()`, `memos worker`).
        """
        checked_patience(timeout)
        until = None if timeout is None else time.monotonic() + timeout
        pause = 0.002
        while not all(job.ended for job in self.jobs()):
            if until is not None and time.monotonic() >= until:
                return False
            time.sleep(pause if until is None else max(0.0, min(pause, until - time.monotonic())))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        return True

    def late(self, timeout: float | None) -> TimeoutError:
        """What to raise where it has not ended in so many seconds."""
        return TimeoutError(f"jobs {self.job_ids} have not ended in {timeout} s; they go on, if somebody runs jobs")

    def results(self, timeout: float | None = None) -> list[Any]:
        """What the jobs returned, once all are done.

        Raises:
            TimeoutError: they are not done in time.
            JobFailed: one of them was given up, or cancelled.
        """
        if not self.wait(timeout):
            raise self.late(timeout)
        jobs = self.jobs()
        for job in jobs:
            if job.state != "done":
                raise JobFailed(f"job {job.id} ({job.kind}) {job.state}: {job.error or 'no error'}; see `memos jobs`")
        return [job.result for job in jobs]


class Adding(JobHandle, Generic[_R]):
    """What `add(..., wait=False)` gives: the items are durable and their words can be found; their vectors come later.

    Args:
        jobs: where jobs are.
        ids: of the jobs.
        added: what became of the things that were given.
        items: the id of each thing given, in order.
    """

    def __init__(self, jobs: JobStore, ids: Sequence[int], added: _R, items: Sequence[str]) -> None:
        super().__init__(jobs, ids)
        self.added = added
        self.ids = list(items)

    @property
    def id(self) -> str:
        """The id, where just one thing was given.

        Raises:
            InvalidInput: none or several were.
        """
        if len(self.ids) != 1:
            raise InvalidInput(f"{len(self.ids)} things were added; use .ids")
        return self.ids[0]

    def result(self, timeout: float | None = None) -> _R:
        """The items, once all can be found by meaning too.

        Raises:
            TimeoutError: they are not in time; they can be found by their words all the same.
            JobFailed: their vectors could not be made.
        """
        self.results(timeout)
        return self.added

    def __repr__(self) -> str:
        return f"Adding({len(self.ids)} things, jobs {self.job_ids})"
