"""`memos stats`, `verify`, `reindex`: how a store is, and putting right what is derived."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from memos_core.cli.bars import progress
from memos_core.cli.erasing import verify_erased
from memos_core.cli.failures import DONE, NOT_FOUND
from memos_core.cli.opening import actor_of, folder_of_store, opened, require_store
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted, in_bytes

if TYPE_CHECKING:
    from memos_core.mos import MOS

_COUNTS: Final = ("items", "deleted", "versions", "vectors", "changes")


@click.command("stats", cls=Command, short_help="What the store holds, and how it is searched.")
@click.option("--all", "every", is_flag=True, help="All cubes of the store, not only the actor's.")
@pass_settings
def stats_command(settings: Settings, every: bool) -> None:
    """Show what the store and the actor's cubes (or those of --cube) hold, and how they are searched."""
    output = Output(settings)
    require_store(settings)
    with opened(settings) as mos:
        store = mos.stats()
        if every:
            cubes = [mos.cube(cube.name).stats() for cube in mos.cubes()]
        else:
            session = mos.session(actor_of(settings), read_from=settings.cubes or None, write_to=[])
            cubes = list(session.stats()["cubes"].values())
        folder = folder_of_store(settings)
        store["disk_bytes"] = (
            None if folder is None else _disk_bytes(folder)
        )  # a server's disk is the server's business
    if output.as_json:
        output.document({"store": store, "cubes": cubes})
        return
    _show_stats(store, cubes, output)
    if not cubes:
        output.note(f"{actor_of(settings)!r} has no cube here yet; --all shows all")


def _disk_bytes(folder: Path) -> int:
    """What a store takes on the disk; files that come and go meanwhile may be missed."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def _show_stats(store: dict[str, Any], cubes: list[dict[str, Any]], output: Output) -> None:
    dims = f", {store['dims']} dimensions" if store["dims"] else ""
    tokens = f", {store['token_dims']} for each word" if store["token_dims"] else ""
    output.pairs(
        [
            ("store", str(store["location"])),
            *([] if store["disk_bytes"] is None else [("on disk", in_bytes(store["disk_bytes"]))]),
            ("embedder", f"{store['embedder']}{dims}{tokens}" if store["embedder"] else "none"),
            ("search", str(store["lexical_only"] or "by meaning and by words")),
            ("vectors", str(store["vectors"] or "in the store alone")),
            ("cubes", f"{store['cubes']:,}"),
        ]
    )
    if not output.terminal:
        for cube in cubes:
            output.fields("cube", cube["cube"], cube["owner"], " ".join(f"{name}={cube[name]}" for name in _COUNTS))
    elif cubes:
        output.line("")
        rows = [
            (cube["cube"], cube["owner"], *(cube[name] for name in _COUNTS), in_bytes(cube["index"]["memory_bytes"]))
            for cube in cubes
        ]
        output.table(("cube", "owner", *_COUNTS, "index"), rows)


def _chosen(mos: MOS, settings: Settings) -> list[str]:
    """The cubes that were named, or all; the holder of the store may look after every one."""
    return [mos.cube(name).name for name in settings.cubes] or [cube.name for cube in mos.cubes()]


@click.command("verify", cls=Command, short_help="Compare the truth with what is derived from it.")
@click.option("--repair", is_flag=True, help="Build what is derived anew where it differs; the truth is never changed.")
@click.option("--audit", is_flag=True, help="The audit alone: chains, signed checkpoints, and what the anchor has.")
@click.option(
    "--anchor", metavar="PLACE", help="With --audit: a path or URL to compare with (else the store's anchor)."
)
@click.option("--key", "keys", metavar="FILE", multiple=True, help="With --audit: the key that is believed.")
@click.option("--erased", is_flag=True, help="Instead: whether what was erased is gone, from raw files too.")
@click.option("--text", "texts", metavar="TEXT", multiple=True, help="With --erased: words that no file may hold.")
@click.argument("ids", metavar="[ID...]", nargs=-1)
@pass_settings
def verify_command(
    settings: Settings,
    repair: bool,
    audit: bool,
    anchor: str | None,
    keys: tuple[str, ...],
    erased: bool,
    texts: tuple[str, ...],
    ids: tuple[str, ...],
) -> int:
    """Compare the truth with itself and with what is derived from it; exit code 1 where a difference is left.

    All cubes, or those of --cube. With --json each difference is a line: cube, part, what, repaired. With --audit: cube,
    level, what; exit code 1 where something is wrong, 0 where something cannot be known.
    """
    output = Output(settings)
    if audit:
        if repair:
            raise click.UsageError("the audit is never repaired; leave --repair out")
        from memos_core.cli.audit import verify_audit

        return verify_audit(settings, anchor, keys)
    if anchor or keys:
        raise click.UsageError("--anchor and --key go with --audit")
    if erased and not repair:
        with opened(settings) as mos:
            return verify_erased(mos, settings, ids, texts, output)
    if erased or texts or ids:
        raise click.UsageError("IDs and --text belong to --erased, which repairs nothing (memos erase --finish does)")
    with opened(settings) as mos, progress("verifying cubes", settings) as advance:
        names = _chosen(mos, settings)
        findings = []
        for done, name in enumerate(names):
            advance(done, len(names))
            findings.extend(mos.verify(name, repair=repair))
    if output.as_json:
        for found in findings:
            output.document(found)
    else:
        output.table(
            ("cube", "part", "difference", ""),
            [(found.cube, found.part, found.what, "repaired" if found.repaired else "left") for found in findings],
        )
    left = sum(not found.repaired for found in findings)
    if not output.as_json:
        checked = counted(len(names), "cube")
        repaired = f", {len(findings) - left:,} of them repaired" if repair and findings else ""
        hint = "" if repair or not left else "; --repair builds what is derived anew"
        output.note(
            f"{checked} verified: {counted(len(findings), 'difference') if findings else 'all is well'}{repaired}{hint}"
        )
    return NOT_FOUND if left else DONE


@click.command("reindex", cls=Command, short_help="Build the indexes anew.")
@pass_settings
def reindex_command(settings: Settings) -> None:
    """Throw the indexes of all cubes (or of --cube) away and build them from the truth."""
    output = Output(settings)
    with opened(settings) as mos, progress("indexing cubes", settings) as advance:
        names = _chosen(mos, settings)
        counts: dict[str, int] = {}
        for done, name in enumerate(names):
            advance(done, len(names))
            counts.update(mos.reindex(name))
    if output.as_json:
        for name, rows in counts.items():
            output.document({"cube": name, "rows": rows})
    elif not settings.quiet:
        output.table(("cube", "rows"), list(counts.items()))
