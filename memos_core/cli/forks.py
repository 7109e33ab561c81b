"""`memos fork`: a new cube that shares the history of another up to a moment, for a what-if."""

from __future__ import annotations

from typing import Final

import click

from memos_core.cli.opening import actor_of, opened
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted
from memos_core.cli.values import parse_moment

_EXAMPLES: Final = """
Examples:
  memos fork alice alice/what-if
  memos fork alice alice/last-year --as-of 2025-12-31
  memos diff --cube alice/what-if 120
"""


@click.command("fork", cls=Command, short_help="Make a cube that shares another's history.", epilog=_EXAMPLES)
@click.argument("source", metavar="CUBE")
@click.argument("name")
@click.option("--as-of", metavar="WHEN", help="After a change (its number), or at a time (ISO 8601); else now.")
@pass_settings
def fork_command(settings: Settings, source: str, name: str, as_of: str | None) -> None:
    """Make a cube NAME that has what CUBE had, with its history, and goes its own way from there.

    Nothing is copied but the list of items. You must administrate CUBE, and NAME must be yours: named like you, or below.
    """
    if settings.cubes:
        raise click.UsageError("name the cubes behind the command, not with --cube")
    output = Output(settings)
    with opened(settings) as mos:
        row = mos.cube(source, actor=actor_of(settings)).fork(name, as_of=parse_moment(as_of))
    if output.as_json:
        output.document({"name": row.name, "owner": row.owner, "forked": source, "changes": row.seq})
    else:
        output.done(f"made cube {row.name}, which shares {counted(row.seq, 'change')} of {source}")
