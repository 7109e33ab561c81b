"""`memos jobs`: how background work stands; `memos worker`: do it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from memos_core.cli.failures import DONE, NOT_FOUND
from memos_core.cli.opening import opened
from memos_core.cli.options import Command, Group, Settings, pass_settings
from memos_core.cli.output import Output, counted, moment
from memos_core.types.work import from_micros

if TYPE_CHECKING:
    from rich.console import RenderableType

    from memos_core.mos import MOS
    from memos_core.types.jobs import Job, JobStats

_EXAMPLES: Final = """
Examples:
  memos jobs                      how the jobs of each kind stand
  memos jobs --watch              the same, live
  memos jobs --failed             jobs that were given up, and why
  memos jobs retry --all
  memos jobs show 17 --json
"""
_STATES: Final = ("pending", "running", "done", "failed", "cancelled")


@click.group(
    "jobs",
    cls=Group,
    short_help="How background work stands; show, retry, cancel.",
    invoke_without_command=True,
    epilog=_EXAMPLES,
)
@click.option("--failed", is_flag=True, help="List those that were given up.")
@click.option("--state", "states", metavar="STATE", multiple=True, type=click.Choice(_STATES), help="List these.")
@click.option("--kind", "kinds", metavar="KIND", multiple=True, help="List those of a kind.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), default=50, show_default=True, help="List so many.")
@click.option("--watch", is_flag=True, help="Show it live, until Ctrl-C.")
@click.pass_context
def jobs_command(
    context: click.Context, failed: bool, states: tuple[str, ...], kinds: tuple[str, ...], limit: int, watch: bool
) -> None:
    """Show how the jobs of each kind stand; with --failed, --state or --kind list jobs, newest first.

    Jobs make the vectors of what was added with wait=False, and whatever else is done in the background. They are run by
    `memos worker`, or by a program that has started its scheduler.
    """
    settings = context.find_object(Settings)
    assert settings is not None
    if context.invoked_subcommand is not None:
        return
    output = Output(settings)
    with opened(settings) as mos:
        if failed or states or kinds:
            wanted: Any = ["failed"] if failed else list(states) or None
            found = mos.scheduler.jobs(states=wanted, kinds=kinds or None, limit=limit)
            _list(found, mos, output)
        elif watch:
            _watch(mos, output)
        else:
            _show(mos.scheduler.stats(), output)


def job_json(job: Job, names: dict[int, str]) -> dict[str, Any]:
    """A job as JSON data."""
    told = {name: getattr(job, name) for name in job.__struct_fields__}
    told |= {"cube": names.get(job.cube)}
    for name in ("created", "started", "finished", "run_at", "leased_until"):
        told[name] = None if told[name] is None else from_micros(told[name])
    return told


def _names(mos: MOS) -> dict[int, str]:
    return {row.number: row.name for row in mos.store.cubes()}


def _list(jobs: list[Job], mos: MOS, output: Output) -> None:
    names = _names(mos)
    if output.as_json:
        for job in jobs:
            output.document(job_json(job, names))
        return
    rows = [
        (
            str(job.id),
            job.kind,
            names.get(job.cube, ""),
            job.state,
            job.attempts,
            moment(from_micros(job.run_at)),
            job.error or "",
        )
        for job in jobs
    ]
    output.table(("job", "kind", "cube", "state", "attempts", "run at", "error"), rows)
    output.note(counted(len(jobs), "job"))


def _show(stats: list[JobStats], output: Output) -> None:
    if output.as_json:
        for each in stats:
            output.document(each)
        return
    output.table(_COLUMNS, [_row(each) for each in stats])
    if not stats:
        output.note("there are no jobs")


_COLUMNS: Final = ("kind", *_STATES, "oldest", "late", "waited p50/p95", "ran p50/p95", "a second")


def _row(each: JobStats) -> tuple[object, ...]:
    return (
        each.kind,
        *(each.counts[state] for state in _STATES),
        "" if each.oldest is None else _seconds(each.oldest),
        each.late,
        _pair(each.wait),
        _pair(each.run),
        f"{each.per_second:.1f}",
    )


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"


def _pair(values: tuple[float, float, float] | None) -> str:
    return "" if values is None else f"{_seconds(values[0])} / {_seconds(values[1])}"


def _watch(mos: MOS, output: Output) -> None:
    """A table that is drawn anew every second; a pipe (and --json) gets the numbers once a second instead."""
    with _until_stopped() as over:
        if not output.terminal:
            while not over.is_set():
                _show(mos.scheduler.stats(), output)
                sys.stdout.flush()
                over.wait(1.0)
            return
        from rich.live import Live

        with Live(_drawn(mos), console=output.console, refresh_per_second=4, screen=False) as live:
            while not over.wait(1.0):
                live.update(_drawn(mos))


@contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    """Set by Ctrl-C and SIGTERM: they are how it ends, and no errors."""
    over = threading.Event()
    before = {each: signal.signal(each, lambda *_: over.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield over
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _drawn(mos: MOS) -> RenderableType:
    from rich.table import Table

    table = Table(*_COLUMNS, box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for each in mos.scheduler.stats():
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in _row(each)))
    return table


@jobs_command.command("show", cls=Command, short_help="Everything that is known of a job.")
@click.argument("ids", metavar="JOB...", nargs=-1, type=int, required=True)
@pass_settings
def show_command(settings: Settings, ids: tuple[int, ...]) -> None:
    """Show all that is known of jobs."""
    output = Output(settings)
    with opened(settings) as mos:
        names = _names(mos)
        for id in ids:
            told = job_json(mos.scheduler.job(id), names)
            if output.as_json:
                output.document(told)
            else:
                output.pairs([(name, "" if value in (None, "", {}) else str(value)) for name, value in told.items()])


@jobs_command.command("retry", cls=Command, short_help="Have jobs that failed or were cancelled tried again.")
@click.argument("ids", metavar="[JOB...]", nargs=-1, type=int)
@click.option("--all", "every", is_flag=True, help="All that failed.")
@pass_settings
def retry_command(settings: Settings, ids: tuple[int, ...], every: bool) -> int:
    """Have jobs that failed or were cancelled wait again, as if new."""
    if bool(ids) == every:
        raise click.UsageError("name jobs by their numbers, or say --all")
    with opened(settings) as mos:
        return _told(mos.scheduler.retry(None if every else list(ids)), ids, "will be tried again", Output(settings))


@jobs_command.command("cancel", cls=Command, short_help="Cancel jobs.")
@click.argument("ids", metavar="JOB...", nargs=-1, type=int, required=True)
@pass_settings
def cancel_command(settings: Settings, ids: tuple[int, ...]) -> int:
    """Cancel jobs: those that wait at once, those that run as soon as they look."""
    with opened(settings) as mos:
        return _told(mos.scheduler.cancel(list(ids)), ids, "cancelled", Output(settings))


def _told(done: list[int], asked: tuple[int, ...], what: str, output: Output) -> int:
    if output.as_json:
        output.document({"jobs": done})
    else:
        output.done(f"{counted(len(done), 'job')} {what}")
        rest = [str(id) for id in asked if id not in done]
        if rest:
            output.note(f"not: {', '.join(rest)} (there is no such job, or its state does not allow it)")
    return DONE if len(done) >= len(set(asked)) else NOT_FOUND


@click.command(
    "worker",
    cls=Command,
    short_help="Run background jobs, until stopped.",
    epilog="\nExamples:\n  memos worker --threads 4\n  memos worker --once          what waits now, and no more\n",
)
@click.option(
    "--threads", metavar="N", type=click.IntRange(1, 64), default=2, show_default=True, help="How many at once."
)
@click.option("--once", is_flag=True, help="Run what may run now, then end.")
@click.option(
    "--grace", metavar="SECONDS", type=float, default=30.0, show_default=True, help="For what runs when it is stopped."
)
@pass_settings
def worker_command(settings: Settings, threads: int, once: bool, grace: float) -> None:
    """Run background jobs until Ctrl-C or SIGTERM; what runs then is finished, or given back after --grace seconds.

    Any number of workers may run: several on one machine for a store in a folder, on any number of machines for one on a
    PostgreSQL server.
    """
    output = Output(settings)
    with opened(settings) as mos:
        if once:
            done = mos.scheduler.run_pending()
            output.document({"jobs": done}) if output.as_json else output.done(f"{counted(done, 'job')} run")
            return
        with _until_stopped() as over:
            mos.scheduler.start(threads)
            output.note(f"running jobs of {mos.store.name} in {counted(threads, 'thread')}; Ctrl-C ends it")
            over.wait()
            finished = mos.scheduler.stop(grace)
        output.note("stopped" if finished else "stopped; what still ran was given back")
