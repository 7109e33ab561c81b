"""`memos cubes`: what cubes there are, whose they are, and who else may do what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from memos_core.cli.opening import actor_of, opened
from memos_core.cli.options import Group, Settings, pass_settings
from memos_core.cli.output import Output, moment
from memos_core.cli.values import parse_time

if TYPE_CHECKING:
    from memos_core.mos import MOS
    from memos_core.types.access import Grant

_EXAMPLES: Final = """
Examples:
  memos cubes
  memos cubes create team
  memos cubes share team --with bob --rights write
  memos cubes share alice/recipes --with '*'
  memos cubes grants team
"""


@click.group(
    "cubes",
    cls=Group,
    short_help="List cubes; create, share, unshare, grants.",
    invoke_without_command=True,
    epilog=_EXAMPLES,
)
@click.pass_context
def cubes_command(context: click.Context) -> None:
    """List the cubes of the store; create one, share one.

    An actor's own cubes (named like the actor, or below: "alice/home") are made by the first write.
    """
    settings = context.find_object(Settings)
    assert settings is not None
    if context.invoked_subcommand is not None:
        return
    output = Output(settings)
    with opened(settings) as mos:
        actor = actor_of(settings)
        for name in settings.cubes:
            mos.cube(name)  # says so where there is none
        rows: list[dict[str, Any]] = [
            {
                "name": cube.name,
                "owner": cube.owner,
                "changes": cube.changes,
                "created_at": cube.created_at,
                "rights": _rights(mos, cube.name, actor),
            }
            for cube in mos.cubes()
            if not settings.cubes or cube.name in settings.cubes
        ]
    if output.as_json:
        for row in rows:
            output.document(row)
        return
    output.table(
        ("cube", "owner", "changes", "made", f"{actor} may"),
        [
            (row["name"], row["owner"], row["changes"], moment(row["created_at"]), ",".join(row["rights"]) or "nothing")
            for row in rows
        ],
    )
    if not rows:
        output.note("no cubes yet")


def _refuse_cube_option(settings: Settings) -> None:
    """--cube would say a second time, or otherwise, which cube is meant.

    Raises:
        click.UsageError: it was given.
    """
    if settings.cubes:
        raise click.UsageError("name the cube behind the command, not with --cube")


def _rights(mos: MOS, name: str, actor: str) -> list[str]:
    """What an actor may do with a cube."""
    from memos_core.types.access import Right

    held = mos.rights(name, actor)
    return [str(right) for right in Right if right in held]


@cubes_command.command("create")
@click.argument("name")
@click.option("--owner", metavar="ACTOR", help="Whose it is (else that of --as).")
@pass_settings
def create_command(settings: Settings, name: str, owner: str | None) -> None:
    """Make a cube, closed to everybody but its owner until it is shared. The store is made if there is none."""
    _refuse_cube_option(settings)
    owner = owner or actor_of(settings)
    with opened(settings, create=True) as mos:
        mos.create_cube(name, owner=owner)
    output = Output(settings)
    if output.as_json:
        output.document({"name": name, "owner": owner})
    else:
        output.done(f"made cube {name}, which belongs to {owner}")


@cubes_command.command("share")
@click.argument("name")
@click.option("--with", "grantee", metavar="WHO", required=True, help="An actor, role:NAME, or * for everybody.")
@click.option(
    "--rights",
    metavar="RIGHTS",
    default="read",
    show_default=True,
    help="read, write, share, admin, or several with commas. They take the place of those it had.",
)
@click.option("--until", metavar="TIME", help="When they end (ISO 8601); else when they are taken away.")
@pass_settings
def share_command(settings: Settings, name: str, grantee: str, rights: str, until: str | None) -> None:
    """Give somebody rights on a cube."""
    _refuse_cube_option(settings)
    with opened(settings) as mos:
        cube = mos.cube(name, actor=actor_of(settings))
        end = None if until is None else parse_time(until, "--until")
        cube.share(grantee, rights, until=end)
        ending = "" if end is None else f" until {moment(end)}"
        _tell(cube.grants(), f"{grantee} has the right to {rights} on {name}{ending}", Output(settings))


@cubes_command.command("unshare")
@click.argument("name")
@click.option("--with", "grantee", metavar="WHO", required=True, help="An actor, role:NAME, or * for everybody.")
@pass_settings
def unshare_command(settings: Settings, name: str, grantee: str) -> None:
    """Take all rights on a cube from somebody; its owner keeps theirs."""
    _refuse_cube_option(settings)
    with opened(settings) as mos:
        cube = mos.cube(name, actor=actor_of(settings))
        cube.unshare(grantee)
        _tell(cube.grants(), f"{grantee} has no right of its own on {name} any more", Output(settings))


@cubes_command.command("grants")
@click.argument("name")
@pass_settings
def grants_command(settings: Settings, name: str) -> None:
    """List who else may do what with a cube, and who said so."""
    _refuse_cube_option(settings)
    output = Output(settings)
    with opened(settings) as mos:
        grants = mos.cube(name, actor=actor_of(settings)).grants()
    if output.as_json:
        for grant in grants:
            output.document(_grant_json(grant))
        return
    output.table(
        ("who", "may", "said by", "at", "until"),
        [
            (
                grant.grantee,
                ",".join(sorted(grant.rights)),
                grant.granted_by,
                moment(grant.granted_at),
                moment(grant.expires_at),
            )
            for grant in grants
        ],
    )
    if not grants:
        output.note(f"{name} is shared with nobody")


def _tell(grants: list[Grant], what: str, output: Output) -> None:
    if output.as_json:
        output.document({"grants": [_grant_json(grant) for grant in grants]})
    else:
        output.done(what)


def _grant_json(grant: Grant) -> dict[str, Any]:
    return {
        "cube": grant.cube_id,
        "grantee": grant.grantee,
        "rights": sorted(grant.rights),
        "granted_by": grant.granted_by,
        "granted_at": grant.granted_at,
        "expires_at": grant.expires_at,
    }
