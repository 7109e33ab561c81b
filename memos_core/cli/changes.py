"""`memos update`, `delete`, `restore`, `rollback`: new versions of items. Nothing is edited in place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from memos_core.cli.listing import require_one
from memos_core.cli.opening import writing
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted
from memos_core.cli.search import item_json
from memos_core.cli.values import parse_metadata, parse_moment, parse_time, text_or_stdin
from memos_core.errors import VersionConflict

if TYPE_CHECKING:
    from memos_core.session import Session
    from memos_core.types.items import MemoryItem

_ATTEMPTS: Final = 5  # at a change that others keep overtaking, when no version was named

_UPDATE_EXAMPLES: Final = """
Examples:
  memos update 01a1fea6e76e00c1826ac550c85ec7f1 --text "I moved to Porto in May."
  memos update --key rent --set amount=950 --add-tag home --expect-version 3
  memos update --key rent --unset currency --new-key rent/lisbon
"""


@click.command("update", cls=Command, short_help="Make the next version of an item.", epilog=_UPDATE_EXAMPLES)
@click.argument("id", required=False)
@click.option("--key", metavar="NAME", help="Of the item, in the place of its id.")
@click.option("--text", metavar="TEXT", help='What it says from now on; "-" reads it from standard input.')
@click.option("--type", "type_", metavar="WORD", help="What to call it.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Labels, in the place of all it has.")
@click.option("--add-tag", metavar="TAG", multiple=True, help="A label more.")
@click.option("--remove-tag", metavar="TAG", multiple=True, help="A label less.")
@click.option("--metadata", metavar="JSON", help="A JSON object, in the place of all metadata.")
@click.option("--set", "pairs", metavar="NAME=VALUE", multiple=True, help="One name of the metadata.")
@click.option("--unset", metavar="NAME", multiple=True, help="Take a name out of the metadata.")
@click.option("--at", metavar="TIME", help="When it happened or was said (ISO 8601).")
@click.option("--confidence", type=float, metavar="NUMBER", help="From 0 to 1.")
@click.option("--indexed/--not-indexed", default=None, help="Whether search may find it.")
@click.option("--expires", metavar="TIME", help='When it is not found any more (ISO 8601); "" for never.')
@click.option("--private/--shared", default=None, help="Whether only its owner and administrators may read it.")
@click.option("--new-key", metavar="NAME", help='The name it is addressed by from now on; "" takes it away.')
@click.option("--expect-version", type=int, metavar="N", help="Refuse if another version is the newest.")
@pass_settings
def update_command(
    settings: Settings,
    id: str | None,
    key: str | None,
    text: str | None,
    type_: str | None,
    tags: tuple[str, ...],
    add_tag: tuple[str, ...],
    remove_tag: tuple[str, ...],
    metadata: str | None,
    pairs: tuple[str, ...],
    unset: tuple[str, ...],
    at: str | None,
    confidence: float | None,
    indexed: bool | None,
    expires: str | None,
    private: bool | None,
    new_key: str | None,
    expect_version: int | None,
) -> None:
    """Make the next version of an item; the one before stays in its history."""
    require_one(id, key)
    changes: dict[str, Any] = {}
    if text is not None:
        changes["text"] = text_or_stdin(text)
    if at is not None:
        changes["occurred_at"] = parse_time(at, "--at")
    if expires is not None:
        changes["expires_at"] = parse_time(expires, "--expires") if expires else None
    if private is not None:
        changes["visibility"] = "private" if private else "shared"
    if new_key is not None:
        changes["new_key"] = new_key or None
    for name, value in (("type", type_), ("confidence", confidence), ("indexed", indexed)):
        if value is not None:
            changes[name] = value
    if tags:
        changes["tags"] = tags
    if metadata is not None:
        changes["metadata"] = parse_metadata((), metadata)
    with writing(settings) as session:
        if not (add_tag or remove_tag or pairs or unset):
            item = session.update(id, key=key, expect_version=expect_version, **changes)
        else:
            item = _merged(
                session, id, key, changes, expect_version, (add_tag, remove_tag), (parse_metadata(pairs), unset)
            )
        _tell(item, "now at", Output(settings))


def _merged(
    session: Session,
    id: str | None,
    key: str | None,
    changes: dict[str, Any],
    expect_version: int | None,
    tags: tuple[tuple[str, ...], tuple[str, ...]],
    entries: tuple[dict[str, Any], tuple[str, ...]],
) -> MemoryItem:
    """The next version, with tags and metadata changed one by one; what others change meanwhile is not lost.

    Args:
        session: whose item.
        id, key: of the item.
        changes: everything else.
        expect_version: the version that it must be at; None for whichever is newest.
        tags: to add, to remove.
        entries: of the metadata, to set, to take out.
    """
    for left in range(_ATTEMPTS, 0, -1):
        item = session.get(id, key=key)
        base = dict(changes)
        if any(tags):
            kept = [tag for tag in (*changes.get("tags", item.tags), *tags[0]) if tag not in tags[1]]
            base["tags"] = kept
        if any(entries):
            whole = {**changes.get("metadata", item.metadata), **entries[0]}
            base["metadata"] = {name: value for name, value in whole.items() if name not in entries[1]}
        try:
            return session.update(item.id, expect_version=expect_version or item.version, **base)
        except VersionConflict:
            if expect_version is not None or left == 1:
                raise
    raise AssertionError("unreachable")


def _tell(item: MemoryItem, what: str, output: Output) -> None:
    if output.as_json:
        output.document(item_json(item))
    else:
        output.done(f"{item.id}  {what} version {item.version}" if output.terminal else f"{item.id}\t{item.version}")


@click.command("delete", cls=Command, short_help="Delete items; they can be restored.")
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option("--key", "keys", metavar="NAME", multiple=True, help="Of an item, in the place of its id.")
@click.option("--reason", metavar="TEXT", help="Why; kept in the audit.")
@pass_settings
def delete_command(settings: Settings, ids: tuple[str, ...], keys: tuple[str, ...], reason: str | None) -> None:
    """Delete items: absent everywhere from now on, and `memos restore` brings them back. All of them or none."""
    if not ids and not keys:
        raise click.UsageError("name items by their IDs, or with --key")
    output = Output(settings)
    with writing(settings) as session:
        named = list(dict.fromkeys([*ids, *(session.get(key=key).id for key in keys)]))
        count = session.delete(named, reason=reason)
    if output.as_json:
        output.document({"deleted": count, "ids": named})
    else:
        output.done(f"{counted(count, 'item')} deleted")


_RESTORE_EXAMPLES: Final = """
Examples:
  memos restore 01a1fea6e76e00c1826ac550c85ec7f1
  memos restore --from /mnt/safe/memory --store ./memory-again
  memos restore --from /mnt/safe/memory --to 12 --store ./memory-then
"""


@click.command(
    "restore", cls=Command, short_help="Bring a deleted item back, or a whole store.", epilog=_RESTORE_EXAMPLES
)
@click.argument("id", required=False)
@click.option(
    "--from", "folder", type=click.Path(path_type=Path), metavar="FOLDER", help="Of backups; restores a whole store."
)
@click.option("--to", "number", type=click.IntRange(1), metavar="N", help="Which backup; else the newest.")
@pass_settings
def restore_command(settings: Settings, id: str | None, folder: Path | None, number: int | None) -> None:
    """Bring a deleted item back, as a new version equal to the last before its deletion.

    With --from: make a store at --store from a folder of backups. There must be none yet; nothing is overwritten.
    """
    if (id is None) == (folder is None):
        raise click.UsageError("give the ID of an item, or --from and a folder of backups")
    if folder is not None:
        from memos_core.cli.backup import restore_store

        return restore_store(settings, folder, number)
    if id is None or number is not None:
        raise click.UsageError("--to chooses a backup; it needs --from")
    with writing(settings) as session:
        _tell(session.restore(id), "restored as", Output(settings))
    return None


_ROLLBACK_EXAMPLES: Final = """
Examples:
  memos rollback --key rent 2
  memos rollback --as-of 120
  memos rollback --as-of 2026-11-01 --cube team
"""


@click.command("rollback", cls=Command, short_help="Go back to an earlier version.", epilog=_ROLLBACK_EXAMPLES)
@click.argument("id_and_version", metavar="[ID] VERSION", nargs=-1)
@click.option("--key", metavar="NAME", help="Of the item, in the place of its id.")
@click.option("--as-of", metavar="WHEN", help="Take a whole cube back to how it was after a change, or at a time.")
@pass_settings
def rollback_command(settings: Settings, id_and_version: tuple[str, ...], key: str | None, as_of: str | None) -> None:
    """Make the newest version of an item equal to an earlier one; with --as-of, those of all items of a cube.

    Nothing is lost: what came later stays in the history, and one can go back to it in the same way.
    """
    if as_of is not None:
        if id_and_version or key is not None:
            raise click.UsageError("--as-of takes a whole cube back; leave out the item and its version")
        return _rollback_cube(settings, as_of)
    *ids, version = id_and_version or ("",)
    if len(ids) != (1 if key is None else 0) or not version.isdecimal():
        raise click.UsageError("give the ID (or --key) of one item, then the number of the version to go back to")
    with writing(settings) as session:
        id = ids[0] if key is None else session.get(key=key).id
        _tell(session.rollback(id, int(version)), "rolled back as", Output(settings))
    return None


def _rollback_cube(settings: Settings, as_of: str) -> None:
    output = Output(settings)
    moment = parse_moment(as_of)
    assert moment is not None
    with writing(settings) as session:
        done = session.rollback_cube(moment)
    if output.as_json:
        output.document({name: getattr(done, name) for name in done.__struct_fields__})
        return
    counts = {"restored": done.restored, "changed back": done.changed, "deleted": done.deleted}
    said = ", ".join(f"{counted(len(ids), 'item')} {what}" for what, ids in counts.items())
    output.done(f"{done.cube} stands as after change {done.to}: {said}; undo with memos rollback --as-of {done.before}")
