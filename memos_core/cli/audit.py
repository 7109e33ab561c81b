"""`memos audit`: who did what, why it was allowed, and signing how far it has got; `memos verify --audit`."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from memos_core.cli.failures import DONE, NOT_FOUND
from memos_core.cli.opening import arguments_of, opened
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted, moment

if TYPE_CHECKING:
    from memos_core.mos import MOS
    from memos_core.types.work import AuditEntry

_EXAMPLES: Final = """
Examples:
  memos audit alice --tail 20
  memos audit --actor bob --since 2026-01-01 --json
  memos audit team --item 01a1fea6e76e00c1826ac550c85ec7f1
  memos audit --export audit.jsonl
  memos audit --checkpoint --anchor /mnt/elsewhere/anchor.jsonl
  memos verify --audit
"""
_TIMES: Final = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M")
Wanted = Callable[["AuditEntry"], bool]


@click.command("audit", cls=Command, short_help="Show who did what, and why they could.", epilog=_EXAMPLES)
@click.argument("cube", required=False)
@click.option("--actor", metavar="ACTOR", help="Only what this one did.")
@click.option(
    "--action", "actions", metavar="WORD", multiple=True, help="Only this: add, update, read, denied, share, ..."
)
@click.option("--since", type=click.DateTime(_TIMES), help="From this time on (UTC).")
@click.option("--until", type=click.DateTime(_TIMES), help="Before this time (UTC).")
@click.option("--item", metavar="ID", help="Only what changed, or read, this item.")
@click.option("--tail", type=click.IntRange(min=1), metavar="N", help="Only the last N of each cube.")
@click.option(
    "--export", metavar="FILE", help="Write a line of JSON for each to a file, which must be new; - for stdout."
)
@click.option("--checkpoint", is_flag=True, help="Sign how far the audit has got, and anchor it.")
@click.option("--anchor", metavar="PLACE", help="With --checkpoint: a path or the URL of a database. It is remembered.")
@click.option("--key", metavar="FILE", help="With --checkpoint: the key that signs; made if there is none.")
@pass_settings
def audit_command(
    settings: Settings,
    cube: str | None,
    actor: str | None,
    actions: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    item: str | None,
    tail: int | None,
    export: str | None,
    checkpoint: bool,
    anchor: str | None,
    key: str | None,
) -> None:
    """Show the audit of a cube (else of those of --cube, else of all), oldest first: a line for each transaction.

    With --json a line each: cube, number, at, actor, action, first_seq, last_seq, detail, hash.
    """
    if cube is not None:
        if settings.cubes:
            raise click.UsageError("name the cube behind the command, or with --cube, not both")
        settings.cubes = (cube,)
    if checkpoint:
        _checkpoint(settings, anchor, key)
        return
    if anchor or key:
        raise click.UsageError("--anchor and --key go with --checkpoint")
    output = Output(settings)
    with opened(settings) as mos:
        entries = (
            entry
            for name in _names(mos, settings)
            for entry in _some(_chosen(mos, name, actor, actions, since, until, item), tail)
        )
        if export is not None:
            count = _export(entries, export)
            if export != "-":
                output.done(f"wrote {counted(count, 'entry').replace('entrys', 'entries')} to {export}")
            return
        if output.as_json:
            for entry in entries:
                output.document(_entry_json(entry))
            return
        rows = [
            (
                entry.cube,
                entry.number,
                moment(_at(entry)),
                entry.actor or "(erased)",
                entry.action,
                _changes(entry),
                _told(entry.detail),
            )
            for entry in entries
        ]
    output.table(("cube", "entry", "at", "who", "did", "changes", "detail"), rows)
    if not rows:
        output.note("nothing of that in the audit")


def _names(mos: MOS, settings: Settings) -> list[str]:
    return [mos.cube(name).name for name in settings.cubes] or [cube.name for cube in mos.cubes()]


def _chosen(
    mos: MOS,
    name: str,
    actor: str | None,
    actions: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    item: str | None,
) -> Iterator[AuditEntry]:
    """The entries of a cube that were asked for."""
    wanted: list[Wanted] = []
    if actor is not None:
        wanted.append(lambda entry: entry.actor == actor)
    if actions:
        wanted.append(lambda entry: entry.action in actions)
    if since is not None:
        first = since.replace(tzinfo=UTC)
        wanted.append(lambda entry: _at(entry) >= first)
    if until is not None:
        last = until.replace(tzinfo=UTC)
        wanted.append(lambda entry: _at(entry) < last)
    if item is not None:
        wanted.append(_about(mos, name, item))
    return (entry for entry in mos.cube(name).audit() if all(each(entry) for each in wanted))


def _some(entries: Iterator[AuditEntry], tail: int | None) -> Iterator[AuditEntry]:
    return entries if tail is None else iter(deque(entries, tail))


def _about(mos: MOS, name: str, item: str) -> Wanted:
    """Whether an entry changed, or read, an item."""
    cube = mos.cube(name)
    seqs = [version.seq for version in cube.history(item)] if cube.knows(item) else []

    def about(entry: AuditEntry) -> bool:
        read = any(item in each.get("ids", ()) for each in entry.detail.get("operations", ()))
        changed = entry.first_seq > 0 and any(entry.first_seq <= seq <= entry.last_seq for seq in seqs)
        return read or changed

    return about


def _at(entry: AuditEntry) -> datetime:
    from memos_core.types.work import from_micros

    return from_micros(entry.at)


def _changes(entry: AuditEntry) -> str:
    if not entry.first_seq:
        return ""
    return str(entry.first_seq) if entry.first_seq == entry.last_seq else f"{entry.first_seq}-{entry.last_seq}"


def _told(detail: dict[str, Any]) -> str:
    """A detail in a few words."""
    words = []
    for name, value in detail.items():
        if name == "operations":
            words += [_operation(each) for each in value]
        else:
            words.append(f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return "; ".join(words)


def _operation(told: dict[str, Any]) -> str:
    count = len(told.get("ids", ())) + int(told.get("more", 0))
    found = f" {counted(count, 'item')}" if "ids" in told else ""
    times = f" {told['times']} times" if "times" in told else ""
    return f"{told['operation']}{found}{times} ({told['by']})"


def _entry_json(entry: AuditEntry) -> dict[str, Any]:
    return {
        "cube": entry.cube,
        "number": entry.number,
        "at": _at(entry),
        "actor": entry.actor or None,
        "action": entry.action,
        "first_seq": entry.first_seq,
        "last_seq": entry.last_seq,
        "detail": entry.detail,
        "root": entry.root.hex(),
        "prev_hash": entry.prev_hash.hex(),
        "hash": entry.hash.hex(),
    }


def _export(entries: Iterator[AuditEntry], place: str) -> int:
    """Write entries as lines of JSON; returns how many."""
    lines = [msgspec.json.encode(_entry_json(entry)) for entry in entries]
    if place == "-":
        for line in lines:
            click.echo(line)
        return len(lines)
    path = Path(place).expanduser()
    try:
        opened_file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError as error:
        raise click.UsageError(f"{place} is there already; nothing is overwritten") from error
    with os.fdopen(opened_file, "wb") as file:
        file.writelines(line + b"\n" for line in lines)
    return len(lines)


def _checkpoint(settings: Settings, anchor: str | None, key: str | None) -> None:
    output = Output(settings)
    from memos_core.mos import MOS

    with opened(settings) as mos:  # says so where there is no store
        names = {row.number: row.name for row in mos.store.cubes()}
        wanted = [mos.cube(name).name for name in settings.cubes]
    arguments = arguments_of(settings)
    arguments |= {name: value for name, value in (("anchor", anchor), ("audit_key", key)) if value is not None}
    with MOS.open(**arguments) as mos:
        made = [one for name in wanted for one in mos.checkpoint(name)] if wanted else mos.checkpoint()
        place = mos.anchor
    if output.as_json:
        for one in made:
            output.document(
                {
                    "cube": names.get(one.cube),
                    "number": one.number,
                    "hash": one.hash.hex(),
                    "key": one.key,
                    "anchor": place,
                }
            )
        return
    if not settings.quiet:
        output.table(("cube", "entry", "key"), [(names.get(one.cube), one.number, one.key) for one in made])
    if not made:
        output.note("nothing has been written since the last checkpoints")
    elif place is None:
        output.note("signed in the store alone; with --anchor a chain that is cut or put back is found out, too")


def verify_audit(settings: Settings, anchor: str | None, keys: tuple[str, ...]) -> int:
    """What `memos verify --audit` says; returns the exit code."""
    output = Output(settings)
    with opened(settings) as mos:
        names: list[str | None] = [mos.cube(name).name for name in settings.cubes]
        count = len(names) or len(mos.cubes())
        findings = {
            found: None for name in names or [None] for found in mos.verify_audit(name, anchor=anchor, key=keys or None)
        }
    if output.as_json:
        for found in findings:
            output.document(found)
    else:
        output.table(
            ("cube", "level", "what"), [(found.cube or "(the store)", found.level, found.what) for found in findings]
        )
    wrong = sum(found.level == "wrong" for found in findings)
    unknown = sum(found.level == "unknown" for found in findings)
    said = f"{wrong:,} wrong" if wrong else "nothing is wrong"
    left = f", {counted(unknown, 'thing')} cannot be known" if unknown else ""
    output.note(f"audit of {counted(count, 'cube')} verified: {said}{left}")
    return NOT_FOUND if wrong else DONE
