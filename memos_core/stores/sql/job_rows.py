"""Rows of jobs inside a transaction: filing, ending, and who is next in a lane."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, cast

import msgspec
from sqlalchemy import Connection, bindparam, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.sql.elements import BindParameter, ColumnElement

from memos_core.stores.sql import schema
from memos_core.stores.sql.databases import SqlDatabase
from memos_core.stores.sql.statements import Statements
from memos_core.types.jobs import Done, Failure, Job, JobState, NewJob

J: Final = schema.jobs.c
STEP: Final = 60_000_000  # microseconds of waiting that a step of priority is worth
SECOND: Final = 1_000_000
_NEW: Final = (
    *("kind", "key", "cube", "lane", "state", "waiting", "priority", "rank", "attempts", "max_attempts", "run_at"),
    *("every", "fence", "cancelling", "payload", "created"),
)
_JOB: Final = (
    *(
        "job",
        "kind",
        "payload",
        "cube",
        "key",
        "lane",
        "priority",
        "state",
        "attempts",
        "max_attempts",
        "run_at",
        "every",
    ),
    *("leased_until", "worker", "fence", "cancelling", "error", "result", "created", "started", "finished"),
)
# Literally as in the definitions of the indexes, which are used only then.
READY: Final[ColumnElement[bool]] = literal_column("state = 'pending' AND waiting = 0")
_UNFINISHED: Final[ColumnElement[bool]] = literal_column("lane <> '' AND state IN ('pending', 'running')")
_RUNNING: Final[ColumnElement[bool]] = literal_column("lane <> '' AND state = 'running'")
_PENDING: Final[ColumnElement[bool]] = literal_column("key IS NOT NULL AND state = 'pending'")
_IN_LANE: Final = (J.cube == bindparam("cube"), J.lane == bindparam("lane"), _UNFINISHED)
_LATER: Final = (J.attempts == 0) & (J.run_at > bindparam("now")) & (J.run_at > J.created)
COLUMNS: Final = tuple(J[name] for name in _JOB)
_encode = msgspec.json.Encoder().encode
_payload = msgspec.json.Decoder(dict[str, Any]).decode
Lane = tuple[int, str]
Values = dict[str, Any]


def job_of(row: Sequence[Any]) -> Job:
    """A job from a row of `COLUMNS`."""
    return Job(
        id=row[0],
        kind=row[1],
        payload=_payload(row[2]),
        cube=row[3],
        key=row[4],
        lane=row[5],
        priority=row[6],
        state=cast(JobState, row[7]),
        attempts=row[8],
        max_attempts=row[9],
        run_at=row[10],
        interval=row[11],
        leased_until=row[12],
        worker=row[13],
        fence=row[14],
        cancelling=bool(row[15]),
        error=row[16],
        result=None if row[17] is None else msgspec.json.decode(row[17]),
        created=row[18],
        started=row[19],
        finished=row[20],
    )


class JobRows:
    """Jobs of one database, inside one transaction.

    Args:
        connection: inside a transaction that may write.
        statements: compiled ones of this database.
        database: what they are in.
        now: microseconds since 1970.
    """

    def __init__(self, connection: Connection, statements: Statements, database: SqlDatabase, now: int) -> None:
        self._connection = connection
        self._statements = statements
        self._database = database
        self._now = now

    # -- lanes ------------------------------------------------------------------------------------------------------

    def lock(self, lanes: Iterable[Lane]) -> None:
        """Have others wait who file into these lanes, or end jobs of them."""
        for cube, lane in sorted({lane for lane in lanes if lane[1]}):
            self._database.lock(self._connection, f"lane {cube} {lane}")

    def settle(self, lanes: Iterable[Lane]) -> None:
        """Have the first job of each lane be the one that may run, if none of them is running; the lanes are locked.

        One that is scheduled for later lets the others go first until its time has come.
        """
        for cube, lane in sorted({lane for lane in lanes if lane[1]}):
            named = {"cube": cube, "lane": lane, "now": self._now}
            # Leases do not lock lanes: where several write at once, one of the head that is under way is waited for.
            known = None if self._connection.dialect.name == "sqlite" else self._heads(named)
            if self._runs(cube, lane):
                continue
            row = self._statements.run(
                self._connection,
                "lane due",
                lambda: select(J.job).where(*_IN_LANE, ~_LATER).order_by(J.job).limit(1),
                named,
            ).first()
            if row is None:
                row = self._statements.run(
                    self._connection,
                    "lane later",
                    lambda: select(J.job).where(*_IN_LANE).order_by(J.run_at, J.job).limit(1),
                    named,
                ).first()
            if row is None:
                continue
            heads = self._heads(named) if known is None else known
            first = row[0]
            self._wait([head for head in heads if head != first], 1)
            if first not in heads:
                self._wait([first], 0)

    def _heads(self, named: dict[str, Any]) -> list[int]:
        """The jobs of a lane that may run, locked."""
        found = self._statements.run(
            self._connection,
            "lane heads",
            lambda: (
                select(J.job).where(J.cube == bindparam("cube"), J.lane == bindparam("lane"), READY).with_for_update()
            ),
            named,
        )
        return [row[0] for row in found.rows]

    def _runs(self, cube: int, lane: str) -> bool:
        query = self._statements.run(
            self._connection,
            "lane runs",
            lambda: select(J.job).where(J.cube == bindparam("cube"), J.lane == bindparam("lane"), _RUNNING).limit(1),
            {"cube": cube, "lane": lane},
        )
        return query.first() is not None

    def _wait(self, jobs: Sequence[int], waiting: int) -> None:
        self._statements.run_each(
            self._connection,
            "job waits",
            lambda: update(schema.jobs).where(J.job == bindparam("of_job")).values(waiting=bindparam("whether")),
            [{"of_job": job, "whether": waiting} for job in jobs],
        )

    # -- filing -----------------------------------------------------------------------------------------------------

    def file(self, jobs: Sequence[NewJob]) -> list[int]:
        """File jobs; the ids, in order. For one whose key waits already it is the id of that one."""
        lanes = [(job.cube, job.lane) for job in jobs]
        self.lock(lanes)
        ids = [self._file(job) for job in jobs]
        self.settle(lanes)
        return ids

    def _file(self, job: NewJob) -> int:
        run_at = job.run_at or self._now
        values = {
            "kind": job.kind,
            "key": job.key,
            "cube": job.cube,
            "lane": job.lane,
            "state": "pending",
            "waiting": int(bool(job.lane)),  # until its lane is settled
            "priority": job.priority,
            "rank": run_at - job.priority * STEP,
            "attempts": 0,
            "max_attempts": job.max_attempts,
            "run_at": run_at,
            "every": job.interval,
            "fence": 0,
            "cancelling": 0,
            "payload": _encode(job.payload).decode(),
            "created": self._now,
        }
        insert = sqlite_insert if self._connection.dialect.name == "sqlite" else postgres_insert

        def build() -> Any:
            statement = insert(schema.jobs).values({name: bindparam(name) for name in _NEW})
            return statement.on_conflict_do_nothing().returning(J.job)

        while True:
            row = self._statements.run(self._connection, "file job", build, values).first()
            if row is not None:
                return int(row[0])
            twin = self.twin(job.kind, job.key, job.cube)
            if twin is not None:  # else it has just been leased: then another one may wait
                return twin

    def twin(self, kind: str, key: str | None, cube: int) -> int | None:
        """The job of that kind, key and cube that waits."""
        if key is None:
            return None
        found = self._statements.run(
            self._connection,
            "twin",
            lambda: select(J.job).where(
                J.cube == bindparam("cube"), J.kind == bindparam("kind"), J.key == bindparam("key"), _PENDING
            ),
            {"cube": cube, "kind": kind, "key": key},
        ).first()
        return None if found is None else int(found[0])

    # -- reading ----------------------------------------------------------------------------------------------------

    def get(self, ids: Sequence[int], *, lock: bool = False) -> dict[int, Job]:
        """Jobs by id, in the order of their ids; those that there are not are left out."""

        def build(members: list[BindParameter[Any]]) -> Any:
            query = select(*COLUMNS).where(J.job.in_(members)).order_by(J.job)
            return query.with_for_update() if lock else query

        rows = self._statements.run_list(self._connection, ("jobs", lock), build, sorted(set(ids))) if ids else ()
        return {row[0]: job_of(row) for row in rows}

    def held(self, jobs: Iterable[Job]) -> dict[int, Job]:
        """Those jobs that still belong to whom they were leased to, as they stand, locked."""
        leased = {job.id: job for job in jobs}
        now = self.get(list(leased), lock=True)
        return {id: job for id, job in now.items() if job.state == "running" and job.fence == leased[id].fence}

    def hold(self, ids: Sequence[int], until: int) -> None:
        """Make leases last until a time."""
        self._update(ids, {"leased_until": until})

    # -- ending -----------------------------------------------------------------------------------------------------

    def finish(self, done: Sequence[Done]) -> list[int]:
        """End jobs; ids of those that were still held. The next run of periodic ones is filed."""
        self.lock((each.job.cube, each.job.lane) for each in done)
        held = self.held(each.job for each in done)
        ended = [each for each in done if each.job.id in held]
        silent = [each.job.id for each in ended if each.result is None]
        self._set("done", silent, self._now)
        for each in ended:
            if each.result is not None:
                self._set("done", [each.job.id], self._now, result=_encode(each.result).decode())
        for each in ended:
            if each.began is not None:
                self._update([each.job.id], {"started": each.began, "finished": each.ended or self._now})
        self._end_of(held.values())
        return list(held)

    def _set(
        self, state: JobState, ids: Sequence[int], at: int, *, result: str | None = None, error: Any = ...
    ) -> None:
        """Bring jobs to the state in which they end."""
        for start in range(0, len(ids), 256):
            members = list(ids[start : start + 256])
            values: Values = {"state": state, "finished": at, "leased_until": None, "worker": None, "waiting": 0}
            if result is not None:
                values["result"] = result
            if error is not ...:
                values["error"] = error
            self._update(members, values)

    def _update(self, ids: Sequence[int], values: Values) -> None:
        names = tuple(values)

        def build(members: list[BindParameter[Any]]) -> Any:
            return (
                update(schema.jobs).where(J.job.in_(members)).values({name: bindparam(f"to_{name}") for name in names})
            )

        self._statements.write_list(
            self._connection,
            ("update jobs", names),
            build,
            ids,
            {f"to_{name}": value for name, value in values.items()},
        )

    def _end_of(self, jobs: Collection[Job]) -> None:
        """What follows from these jobs having ended: the next run of periodic ones, the next one of their lanes."""
        for job in jobs:
            if job.interval and not job.cancelling:
                self._file(_again(job, self._now))
        self.settle((job.cube, job.lane) for job in jobs)

    def fail(self, failures: Sequence[Failure]) -> list[int]:
        """Put jobs back, or give them up; ids of those that were still held."""
        self.lock((each.job.cube, each.job.lane) for each in failures)
        held = self.held(each.job for each in failures)
        for each in failures:
            if each.job.id in held:
                self.put_back(held[each.job.id], each.error, each.retry_at, begun=each.counts)
        self.settle((job.cube, job.lane) for job in held.values())
        return list(held)

    def put_back(self, job: Job, error: str | None, retry_at: int | None, *, begun: bool = True) -> None:
        """Have a job that was running wait again, or give it up. Its lane has to be settled afterwards.

        Args:
            retry_at: None gives it up.
            begun: whether the attempt counts.
        """
        twin = self.twin(job.kind, job.key, job.cube)
        if job.cancelling:
            self._set("cancelled", [job.id], self._now, error=error)
        elif retry_at is None:
            self._set("failed", [job.id], self._now, error=error)
        elif twin is not None:
            self._set("cancelled", [job.id], self._now, error=f"{error} (job {twin} of the same key does the same)")
            return
        else:
            back: Values = {
                "state": "pending",
                "waiting": int(bool(job.lane)),  # until its lane is settled
                "run_at": retry_at,
                "rank": retry_at - job.priority * STEP,
                "attempts": job.attempts if begun else job.attempts - 1,
                "error": error,
                "leased_until": None,
                "worker": None,
            }
            self._update([job.id], back)
            return
        if job.interval and not job.cancelling:
            self._file(_again(job, self._now))

    def cancel(self, ids: Sequence[int]) -> list[int]:
        """Cancel jobs: those that wait at once, those that run are told. Ids of those that had not ended."""
        self.lock((job.cube, job.lane) for job in self.get(ids).values())
        found = [job for job in self.get(ids, lock=True).values() if not job.ended]
        self._set("cancelled", [job.id for job in found if job.state == "pending"], self._now)
        self._update([job.id for job in found if job.state == "running"], {"cancelling": 1})
        self.settle((job.cube, job.lane) for job in found)
        return [job.id for job in found]

    def retry(self, ids: Sequence[int]) -> list[int]:
        """Have jobs that failed or were cancelled wait again, as if new; ids of those that do."""
        self.lock((job.cube, job.lane) for job in self.get(ids).values())
        tried = []
        for job in self.get(ids, lock=True).values():
            if job.state not in ("failed", "cancelled") or self.twin(job.kind, job.key, job.cube) is not None:
                continue
            anew: Values = {
                "state": "pending",
                "waiting": int(bool(job.lane)),
                "run_at": self._now,
                "rank": self._now - job.priority * STEP,
                "attempts": 0,
                "cancelling": 0,
                "finished": None,
            }
            if job.state == "failed":  # the next run of a periodic one was filed then
                anew["every"] = 0
            self._update([job.id], anew)
            tried.append(job)
        self.settle((job.cube, job.lane) for job in tried)
        return [job.id for job in tried]

    def scrub(self, gone: Collection[str], names: Callable[[str], bool]) -> None:
        """Have no job name what has been erased: it goes from lists in payloads; what names it elsewhere is emptied, and
        cancelled if it has not ended.

        Args:
            gone: ids.
            names: whether a text names anything of it.
        """
        query = select(J.job, J.state, J.cube, J.lane, J.payload, J.error, J.key, J.result)
        stopped: list[Lane] = []
        for id, state, cube, lane, payload, error, key, result in self._connection.execute(query).fetchall():
            if not any(text and names(text) for text in (payload, error, key, result)):
                continue
            left = _encode(_without(_payload(payload), gone)).decode()
            clean: Values = {"payload": left, "error": None, "result": None}
            if names(left) or (key and names(key)):
                clean |= {"payload": "{}", "key": None}
                if state in ("pending", "running"):  # who runs it finds that it belongs to nobody any more
                    clean |= {"state": "cancelled", "finished": self._now, "waiting": 0}
                    stopped.append((cube, lane))
            self._update([id], clean)
        self.settle(stopped)

    def count(self, at_most: int) -> int:
        """How many jobs wait that can pile up, at most so many: their time has come, no other one of their lane comes before,
        and they have no key, of which one waits at most.
        """
        due = (J.run_at <= bindparam("now")) | (J.attempts > 0)
        found = self._statements.run(
            self._connection,
            "count jobs",
            lambda: select(func.count()).select_from(
                select(J.job).where(READY, due, J.key.is_(None)).limit(bindparam("most")).subquery()
            ),
            {"most": at_most, "now": self._now},
        )
        return int(found.value())

    def scheduled(self, at_most: int) -> int:
        """How many of these run or are for later, at most so many: they may come to wait without being filed again."""
        later = (J.run_at > bindparam("now")) & (J.attempts == 0)
        found = self._statements.run(
            self._connection,
            "scheduled jobs",
            lambda: select(func.count()).select_from(
                select(J.job)
                .where((J.state == "running") | (READY & later), J.key.is_(None))
                .limit(bindparam("most"))
                .subquery()
            ),
            {"most": at_most, "now": self._now},
        )
        return int(found.value())

    def newest(self) -> int:
        """The number of the newest job; 0 where there is none."""
        found = self._statements.run(self._connection, "newest job", lambda: select(func.max(J.job)), {})
        return int(found.value() or 0)


def _without(value: Any, gone: Collection[str]) -> Any:
    """JSON without certain texts in its lists."""
    if isinstance(value, dict):
        return {name: _without(each, gone) for name, each in value.items()}
    if isinstance(value, list):
        return [_without(each, gone) for each in value if not (isinstance(each, str) and each in gone)]
    return value


def _again(job: Job, now: int) -> NewJob:
    """The next run of a periodic job."""
    return NewJob(
        kind=job.kind,
        payload=job.payload,
        cube=job.cube,
        key=job.key,
        lane=job.lane,
        priority=job.priority,
        run_at=now + job.interval,
        interval=job.interval,
        max_attempts=job.max_attempts,
    )
