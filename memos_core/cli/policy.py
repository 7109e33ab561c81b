"""`memos policy` and `memos retain`: what holds in a cube, and putting away what has had its time."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from memos_core.cli.opening import actor_of, opened
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted, plain

_POLICY_EXAMPLES: Final = """
Examples:
  memos policy alice
  memos policy alice --max-age-days 365 --max-items 10000 --when-over archive
  memos policy team --redact email,card,password --strict-reads --reason "GDPR"
  memos policy team --mask phone --unmasked-roles support
"""


@click.command("policy", cls=Command, short_help="Show or set what holds in a cube.", epilog=_POLICY_EXAMPLES)
@click.argument("name", metavar="CUBE")
@click.option("--max-age-days", type=float, metavar="DAYS", help="`memos retain` puts older items away; 0: never.")
@click.option("--max-items", type=int, metavar="N", help="`memos retain` puts the oldest of more away; 0: keep all.")
@click.option("--when-over", type=click.Choice(["archive", "delete"]), help="What becomes of what is put away.")
@click.option("--duplicates", type=click.Choice(["merge", "propose", "keep"]), help="What the job does with them.")
@click.option("--archive-below", type=float, metavar="B", help="The job archives what has less activation than this.")
@click.option("--archive-after-days", type=float, metavar="DAYS", help="And was added at least so long ago.")
@click.option("--strict-reads/--no-strict-reads", default=None, help="Audit every read before it is answered.")
@click.option("--redact", metavar="KINDS", help='Take these out before anything is stored (commas; "": nothing).')
@click.option("--mask", metavar="KINDS", help="Show these to administrators and --unmasked-roles only.")
@click.option("--unmasked-roles", metavar="ROLES", help="Roles that see what is masked.")
@click.option("--names", metavar="NAMES", help='Names that the kind "name" looks for.')
@click.option("--reason", metavar="TEXT", help="Why; kept in the audit.")
@pass_settings
def policy_command(settings: Settings, /, name: str, reason: str | None, **given: Any) -> None:
    """Show what holds in a cube, or set some of it; the rest stays. Setting needs the right to administrate."""
    changes: dict[str, Any] = {option: value for option, value in given.items() if value is not None}
    for listed in ("redact", "mask", "unmasked_roles", "names"):
        if listed in changes:
            changes[listed] = tuple(word.strip() for word in changes[listed].split(",") if word.strip())
    for number in ("max_age_days", "max_items"):
        if changes.get(number) == 0:
            changes[number] = None
    if reason is not None and not changes:
        raise click.UsageError("--reason goes with something to set")
    output = Output(settings)
    with opened(settings) as mos:
        cube = mos.cube(name, actor=actor_of(settings))
        policy = cube.policy
        if changes:
            policy = msgspec.structs.replace(policy, **changes)
            cube.set_policy(policy, reason=reason)
    if output.as_json:
        output.document(plain(policy))
        return
    said = {field: getattr(policy, field) for field in policy.__struct_fields__}
    output.pairs([(field.replace("_", " "), _shown(value)) for field, value in said.items()])


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


@click.command(
    "retain",
    cls=Command,
    short_help="Put away what has had its time.",
    epilog="\nExamples:\n  memos retain alice --preview\n  memos retain\n",
)
@click.argument("name", metavar="[CUBE]", required=False)
@click.option("--preview", is_flag=True, help="Only say what would be put away.")
@pass_settings
def retain_command(settings: Settings, name: str | None, preview: bool) -> None:
    """Put away what has expired, is too old or too many, as the policies of the cubes say (one, or all there are)."""
    output = Output(settings)
    done = {}
    with opened(settings) as mos:
        if name is not None:
            done[name] = mos.cube(name, actor=actor_of(settings)).retain(preview=preview)
        else:
            done = mos.retain(preview=preview)
    if output.as_json:
        output.document({"preview": preview, "cubes": done})
        return
    rows = [(cube, why, len(ids)) for cube, found in done.items() for why, ids in found.items()]
    output.table(("cube", "why", "items"), rows)
    total = sum(count for _, _, count in rows)
    output.note(f"{counted(total, 'item')} {'would be ' if preview else ''}put away")
