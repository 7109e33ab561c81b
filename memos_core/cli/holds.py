"""`memos hold`, `release`, `holds`: what may not be deleted or erased."""

from __future__ import annotations

from typing import Final

import click

from memos_core.cli.failures import DONE, NOT_FOUND
from memos_core.cli.opening import actor_of, opened
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, moment

_EXAMPLES: Final = """
Examples:
  memos hold --cube alice "item:01a1fea6e76e00c1826ac550c85ec7f1" --reason "case 7"
  memos hold --cube team "subject:bob" --reason "case 7"
  memos release --cube team "subject:bob" --reason "case 7 is closed"
"""
_TARGET: Final = click.argument("target", default="*")
_REASON: Final = click.option("--reason", metavar="TEXT", required=True, help="Why; it is kept in the audit.")


@click.command("hold", cls=Command, short_help="Keep things from being deleted or erased.", epilog=_EXAMPLES)
@_TARGET
@_REASON
@pass_settings
def hold_command(settings: Settings, target: str, reason: str) -> None:
    """Place a legal hold on TARGET in the actor's cube (or those of --cube).

    TARGET is item:ID, subject:ACTOR (what it wrote or said), or * for all of the cube.
    """
    output = Output(settings)
    with opened(settings) as mos:
        for name in _names(settings):
            mos.cube(name, actor=actor_of(settings)).hold(target, reason=reason)
            if output.as_json:
                output.document({"cube": name, "target": target, "held": True})
            else:
                output.done(f"{target} in cube {name} is on hold")


@click.command("release", cls=Command, short_help="End a legal hold.", epilog=_EXAMPLES)
@_TARGET
@_REASON
@pass_settings
def release_command(settings: Settings, target: str, reason: str) -> int:
    """End the legal hold on TARGET in the actor's cube (or those of --cube); exit code 1 where there is none."""
    output = Output(settings)
    ended = []
    with opened(settings) as mos:
        for name in _names(settings):
            ended.append(mos.cube(name, actor=actor_of(settings)).release(target, reason=reason))
            if output.as_json:
                output.document({"cube": name, "target": target, "released": ended[-1]})
            else:
                output.done(
                    f"{target} in cube {name} is free" if ended[-1] else f"{target} in cube {name} was not on hold"
                )
    return DONE if all(ended) else NOT_FOUND


@click.command("holds", cls=Command, short_help="What is on hold.")
@pass_settings
def holds_command(settings: Settings) -> None:
    """Show the legal holds on the actor's cube (or those of --cube)."""
    output = Output(settings)
    with opened(settings) as mos:
        found = [hold for name in _names(settings) for hold in mos.cube(name, actor=actor_of(settings)).holds()]
    if output.as_json:
        for hold in found:
            output.document(hold)
        return
    rows = [(hold.cube, hold.target, hold.reason, hold.by, moment(hold.at)) for hold in found]
    output.table(("cube", "on hold", "reason", "by", "since"), rows)


def _names(settings: Settings) -> list[str]:
    return list(settings.cubes) or [actor_of(settings)]
