"""Background work as values: what is filed, what is kept of it, what is counted. Payloads hold ids, never words of a memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from memos_core.errors import InvalidInput
from memos_core.types.names import check_text
from memos_core.types.work import from_micros

JobState = Literal["pending", "running", "done", "failed", "cancelled"]
STATES: Final[tuple[JobState, ...]] = ("pending", "running", "done", "failed", "cancelled")
MAX_ATTEMPTS: Final = 8
_HIGHEST: Final = 1_000_000  # priority
_MOST: Final = 1 << 61  # microseconds: some 73,000 years
EMBED: Final = "embed"  # the kind that makes vectors
ITEMS_A_JOB: Final = 256


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """Work to be filed.

    Attributes:
        kind: name of the kind of job that does it.
        payload: a small JSON object: ids and numbers, never words of a memory.
        cube: number of the cube it is about; 0 for none.
        key: of jobs of one kind and cube with the same key, one waits at most; filing another gives that one.
        lane: jobs of one cube and lane run one at a time, in the order in which they were filed; "" for any order.
        priority: higher ones go first; each step is worth a minute of waiting.
        run_at: not before this time, microseconds since 1970; 0 for now.
        interval: microseconds from the end of a run to the next, which is filed as this one finishes; 0 for once.
        max_attempts: how often it is begun before it is left for a person to look at.
    """

    kind: str
    payload: dict[str, Any] = {}
    cube: int = 0
    key: str | None = None
    lane: str = ""
    priority: int = 0
    run_at: int = 0
    interval: int = 0
    max_attempts: int = MAX_ATTEMPTS

    def __post_init__(self) -> None:
        """Refuse what could not be read again: one such job would keep all others from being taken.

        Raises:
            InvalidInput: what is wrong with it.
        """
        if not isinstance(self.payload, dict):
            raise InvalidInput(f"the payload of a job is a JSON object (a dict), not a {type(self.payload).__name__}")
        for name, value, least, most in (
            ("cube", self.cube, 0, _MOST),
            ("priority", self.priority, -_HIGHEST, _HIGHEST),
            ("run_at", self.run_at, -_MOST, _MOST),
            ("interval", self.interval, 0, _MOST),
            ("max_attempts", self.max_attempts, 1, _MOST),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InvalidInput(f"the {name} of a job is a whole number from {least} to {most}, not {value!r}")
        if not check_text(self.kind, "the kind of a job"):
            raise InvalidInput("the kind of a job is empty")
        if self.key is not None and not check_text(self.key, "the key of a job"):
            raise InvalidInput("the key of a job is empty; leave it out where it has none")
        check_text(self.lane, "the lane of a job")


def embed_jobs(cube: int, ids: Sequence[str]) -> list[NewJob]:
    """The jobs that give these items of a cube (by its number) their vectors."""
    return [
        NewJob(kind=EMBED, cube=cube, payload={"ids": list(ids[start : start + ITEMS_A_JOB])})
        for start in range(0, len(ids), ITEMS_A_JOB)
    ]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is kept.

    Attributes:
        id: its number; they rise in the order of filing, and are never used again.
        state: "pending" (waits), "running" (somebody has leased it), "done", "failed" (given up: a person should look at
            it), "cancelled".
        attempts: how often it has been begun.
        leased_until: until when it belongs to `worker`, who must say before then that it is still at it.
        worker: who has leased it.
        fence: differs for each lease: who holds an older one can change nothing any more.
        cancelling: whether somebody wants it cancelled while it runs.
        error: the last one, as "TypeName: words".
        result: what its handler returned, JSON.
        created, started, finished: microseconds since 1970; None: not yet.
        The others are as in `NewJob`.
    """

    id: int
    kind: str
    payload: dict[str, Any]
    cube: int
    key: str | None
    lane: str
    priority: int
    state: JobState
    attempts: int
    max_attempts: int
    run_at: int
    interval: int
    leased_until: int | None = None
    worker: str | None = None
    fence: int = 0
    cancelling: bool = False
    error: str | None = None
    result: Any = None
    created: int = 0
    started: int | None = None
    finished: int | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it (unless somebody has it tried again)."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def created_at(self) -> datetime:
        """When it was filed."""
        return from_micros(self.created)


class Done(msgspec.Struct, frozen=True):
    """A job that was leased and has come to its end.

    Attributes:
        job: as it was leased.
        result: JSON, or None.
        began: when it was begun, microseconds since 1970, where that was long after it was leased; None: then.
        ended: when its handler came back; None: now.
    """

    job: Job
    result: Any = None
    began: int | None = None
    ended: int | None = None


class Failure(msgspec.Struct, frozen=True):
    """A job that was leased and went wrong.

    Attributes:
        job: as it was leased.
        error: what went wrong, as "TypeName: words".
        retry_at: when it may be tried again, microseconds since 1970; None: never, a person should look at it.
        counts: whether the attempt counts; not where it was no fault of the job.
    """

    job: Job
    error: str
    retry_at: int | None
    counts: bool = True


class JobStats(msgspec.Struct, frozen=True):
    """How the jobs of one kind stand.

    Attributes:
        kind: of the jobs.
        counts: how many there are in each state.
        oldest: seconds that the oldest one that could run has been waiting; None where none waits.
        late: how many are running whose lease has run out.
        wait, run: seconds from when a job could run to its beginning, and from there to its end, as (median, 95th, 99th
            percentile) over the last finished ones; None where there are none.
        per_second: jobs done per second over the last five minutes.
    """

    kind: str
    counts: dict[str, int]
    oldest: float | None
    late: int
    wait: tuple[float, float, float] | None
    run: tuple[float, float, float] | None
    per_second: float
