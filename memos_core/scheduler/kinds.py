"""Kinds of jobs: what a kind promises, what its handler gets, and how a kind is registered.

A kind is a `JobKind`; it is known by its name in one of four ways:

- it is built in: `BUILT_IN` below names "module:attribute" (one file per kind in `memos_core/scheduler/jobs/`);
- an installed package has an entry point of that name in the group "memos.jobs";
- the name itself is an import path: "my_package.work:SUMMARISE";
- `mos.scheduler.register(kind)` was called in this process.

A job of a kind that nobody here knows is parked as failed, with a message that names it: it is never lost.

    from memos_core.scheduler.kinds import JobContext, JobKind

    def run(context: JobContext) -> object:
        for id in context.payload["ids"]:
            context.check()                                # raises if it was cancelled, or belongs to another by now
            ...
        with context.transaction(action="merge") as transaction:   # the job is finished in this very transaction
            ...
        return {"merged": 3}                               # kept as the job's result (small JSON, never words)

    MERGE = JobKind(name="merge", run=run, ordered=True)

What is written inside `context.transaction` happens exactly once. Anything else may happen more than once, as a worker may
die behind it: such work must be harmless when done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from importlib import import_module, metadata
from typing import Any, Final, Protocol

import msgspec

from memos_core.errors import InvalidConfig
from memos_core.plaintext.general import GeneralTextMemory
from memos_core.plaintext.search import Searcher
from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.types.jobs import MAX_ATTEMPTS, Job, NewJob
from memos_core.types.names import check_text
from memos_core.types.work import CubeRow

BUILT_IN: Final = {
    "embed": "memos_core.scheduler.jobs.embed:EMBED",
    **{
        name: f"memos_core.scheduler.jobs.{name}:{name.upper()}"
        for name in ("deduplicate", "conflicts", "archive_cold", "retain", "catch_up_followers", "rebuild_stale")
    },
    "preferences": "memos_core.scheduler.jobs.preferences:PREFERENCES",
    "prune": "memos_core.scheduler.jobs.prune:PRUNE",
    "working": "memos_core.scheduler.jobs.working:WORKING",
}
ENTRY_POINTS: Final = "memos.jobs"


class JobContext(Protocol):
    """What a handler gets.

    Attributes:
        job: the job, or the first of those that are done together.
        jobs: all of them; more than one only for kinds with `together` above 1, and then all of the same cube.
        payload: of the first.
        cube: the cube they are about, as it stands; None where they are about none, or it is gone.
        store, memory, searcher: the store, what it holds, and how it is asked. Nothing asks governance here.
    """

    job: Job
    jobs: Sequence[Job]
    payload: dict[str, Any]
    cube: CubeRow | None
    store: RecordStore
    memory: GeneralTextMemory
    searcher: Searcher

    def now(self) -> datetime:
        """What time it is (aware, UTC). The only clock that a handler may ask."""

    @property
    def cancelled(self) -> bool:
        """Whether somebody wants it cancelled, or it belongs to another worker by now, or has taken too long."""

    def check(self) -> None:
        """Go on only if that is wanted; call it between steps.

        Raises:
            JobStopped: it is to be cancelled, has taken too long, or belongs to another worker by now.
        """

    def transaction(self, *, action: str, actor: str = "") -> AbstractContextManager[Transaction]:
        """The transaction in which the job is finished, all or nothing. At most once, as the last step.

        Args:
            action: for the audit.
            actor: for the audit; "" for the scheduler.

        Raises:
            JobStopped: at its end, if the job belongs to another worker by now; nothing is kept then.
        """

    def returns(self, result: Any) -> None:
        """What the job has as its result, said before `transaction` ends (else what the handler returns is taken)."""


Run = Callable[[JobContext], object]


class JobKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of job.

    Attributes:
        name: unique; jobs bear it.
        run: the handler.
        ordered: jobs of one cube run one at a time, in the order of filing.
        lane: kinds with the same lane share that order; "" for a lane of its own.
        together: up to so many jobs of one cube are given to the handler at once, where so many wait.
        priority: of its jobs, unless they say otherwise.
        max_attempts: how often a job is begun before it is left for a person to look at.
        timeout: seconds that the handler may take; then it is told to stop, and another worker may have the job.
        first_wait, longest_wait: seconds before the second attempt, and at most; they double in between, with jitter.
        per_second: of all workers of one process together, at most so many are begun; 0 for any number.
        every: seconds from one run to the next, for kinds that the scheduler files by itself when it is started; 0: none.
    """

    name: str
    run: Run
    ordered: bool = False
    lane: str = ""
    together: int = 1
    priority: int = 0
    max_attempts: int = MAX_ATTEMPTS
    timeout: float = 300.0
    first_wait: float = 1.0
    longest_wait: float = 3600.0
    per_second: float = 0.0
    every: float = 0.0

    def new(
        self,
        payload: dict[str, Any] | None = None,
        *,
        cube: int = 0,
        key: str | None = None,
        priority: int | None = None,
        run_at: int = 0,
        interval: int = 0,
    ) -> NewJob:
        """A job of this kind, to be filed; the arguments are those of `NewJob`."""
        return NewJob(
            kind=self.name,
            payload={} if payload is None else payload,
            cube=cube,
            key=key,
            lane=(self.lane or self.name) if self.ordered else "",
            priority=self.priority if priority is None else priority,
            run_at=run_at,
            interval=interval,
            max_attempts=self.max_attempts,
        )


def check_kind(kind: object) -> JobKind:
    """The kind, if all it says means something.

    Raises:
        InvalidConfig: what does not.
    """
    if not isinstance(kind, JobKind):
        raise InvalidConfig(f"a kind of job is a JobKind, not {kind!r}")
    check_text(kind.name, "the name of a kind of job")
    check_text(kind.lane, "the lane of a kind of job")
    if not kind.name or not callable(kind.run):
        raise InvalidConfig(f"a kind of job has a name and a handler, not {kind.name!r} and {kind.run!r}")
    for name, least in (("together", 1), ("max_attempts", 1), ("priority", -1_000_000)):
        value = getattr(kind, name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 1_000_000:
            raise InvalidConfig(f"{name}={value!r} of the kind of job {kind.name!r} is no whole number from {least} on")
    for name in ("timeout", "first_wait", "longest_wait", "per_second", "every"):
        value = getattr(kind, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e10:
            raise InvalidConfig(f"{name}={value!r} of the kind of job {kind.name!r} is no number of seconds")
    if not kind.timeout:
        raise InvalidConfig(f"timeout=0 leaves the kind of job {kind.name!r} no time to run")
    return kind


def find_kind(name: str) -> JobKind:
    """The kind of that name, loaded on first use.

    Raises:
        InvalidConfig: nobody knows it, or what is there is none.
    """
    path = BUILT_IN.get(name, name if ":" in name else "")
    try:
        if path:
            module, _, attribute = path.partition(":")
            found = getattr(import_module(module), attribute)
        else:
            points = {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}
            if name not in points:
                raise InvalidConfig(
                    f"no kind of job {name!r} is known here; there are {', '.join(sorted({*BUILT_IN, *points}))}. Install what "
                    "brings it and run `memos jobs retry`"
                )
            found = points[name].load()
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidConfig(f"the kind of job {name!r} cannot be loaded: {error}") from error
    if not isinstance(found, JobKind):
        raise InvalidConfig(f"the kind of job {name!r} leads to {found!r}, which is no JobKind")
    return check_kind(found)
