"""`memos list` and `memos show`: items by time, and one item whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from memos_core.cli.opening import reading
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, moment
from memos_core.cli.search import WHERE_HELP, item_json, nothing
from memos_core.cli.values import parse_moment, parse_wheres, words

if TYPE_CHECKING:
    from memos_core.session import Session
    from memos_core.types.items import MemoryItem, Page

_PAGE: Final = 1000  # items read at once where all are asked for

_LIST_EXAMPLES: Final = """
Examples:
  memos list --limit 20 --order occurred
  memos list --where "type = document" --all --json > items.jsonl
  memos list --where "tags contains old" --all | cut -f1 | xargs memos delete

In a pipe, each item is a line: id, cube, when, who, where, text.
"""

_SHOW_EXAMPLES: Final = """
Examples:
  memos show 01a1fea6e76e00c1826ac550c85ec7f1
  memos show --key rent --as-of 2024-05-08
  memos show --key rent --text
"""


@click.command("list", cls=Command, short_help="List items by time.", epilog=_LIST_EXAMPLES)
@click.option("--where", "-w", "wheres", metavar="CONDITION", multiple=True, help=WHERE_HELP)
@click.option("--as-of", metavar="WHEN", help="As it was after a change (its number), or at a time (ISO 8601).")
@click.option(
    "--include", metavar="STATES", default="", help="Also those that are archived, generated, merged (commas)."
)
@click.option(
    "--order",
    type=click.Choice(["created", "updated", "occurred"]),
    default="created",
    show_default=True,
    help="By which time.",
)
@click.option("--oldest-first", is_flag=True, help="Else the newest come first.")
@click.option("--limit", "-n", default=100, show_default=True, metavar="N", help="How many.")
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.option("--cursor", metavar="CURSOR", help="Go on after the page that ended with it.")
@click.option("--full", is_flag=True, help="Show texts whole.")
@pass_settings
def list_command(
    settings: Settings,
    wheres: tuple[str, ...],
    as_of: str | None,
    include: str,
    order: str,
    oldest_first: bool,
    limit: int,
    every: bool,
    cursor: str | None,
    full: bool,
) -> None:
    """List items by time, those that no search may find among them.

    With --json each item is a line; where there are more, the cursor of the next page is a line of JSON on stderr.
    """
    output = Output(settings)
    options: dict[str, Any] = {
        "where": parse_wheres(wheres),
        "as_of": parse_moment(as_of),
        "include": words(include),
        "order": order,
        "newest_first": not oldest_first,
    }
    with reading(settings) as session:
        pages = _pages(session, options, limit, every, cursor)
        found = 0
        for page in pages:
            found += len(page)
            _show_page(page, output, full=full)
            if page.cursor and not every:
                if output.as_json:
                    click.echo(msgspec.json.encode({"cursor": page.cursor}), err=True)
                else:
                    output.note(f"there are more: --cursor {page.cursor} (or --all)")
        if not found:
            output.note(nothing(session, settings))


def _pages(session: Session, options: dict[str, Any], limit: int, every: bool, cursor: str | None) -> Iterator[Page]:
    """The page asked for, or all there are from there on."""
    page = session.list(limit=_PAGE if every else limit, cursor=cursor, **options)
    yield page
    while every and page.cursor:
        page = session.list(limit=_PAGE, cursor=page.cursor, **options)
        yield page


def _show_page(page: Page, output: Output, *, full: bool) -> None:
    if output.terminal and page:
        from memos_core.cli.looks import items_table

        output.show(items_table(page, width=output.console.width, full=full))
        return
    from memos_core.cli.looks import where, who

    for item in page:
        if output.as_json:
            output.document(item_json(item))
        else:
            when = moment(item.occurred_at or item.created_at)
            output.fields(item.id, item.cube_id, when, who(item), where(item), item.text)


@click.command("show", cls=Command, short_help="Show an item whole.", epilog=_SHOW_EXAMPLES)
@click.argument("id", required=False)
@click.option("--key", metavar="NAME", help="Of the item, in the place of its id.")
@click.option("--as-of", metavar="WHEN", help="As it was after a change (its number), or at a time (ISO 8601).")
@click.option("--text", "text_only", is_flag=True, help="The text alone, as it is stored, and a line break.")
@pass_settings
def show_command(settings: Settings, id: str | None, key: str | None, as_of: str | None, text_only: bool) -> None:
    """Show an item whole: its text, and everything that is known about it."""
    output = Output(settings)
    require_one(id, key)
    with reading(settings) as session:
        item = session.get(id, key=key, as_of=parse_moment(as_of))
    if output.as_json:
        output.document(item_json(item))
    elif text_only:
        click.echo(item.text.encode("utf-8"))
    else:
        output.pairs(_facts(item))
        output.paragraph("")
        output.paragraph(item.text)


def require_one(id: str | None, key: str | None) -> None:
    """An item is named by its id or by its key, one of the two.

    Raises:
        click.UsageError: none or both were given.
    """
    if (id is None) == (key is None):
        raise click.UsageError("name the item by its ID or with --key, one of the two")


def _facts(item: MemoryItem) -> list[tuple[str, str]]:
    """Everything about an item but its text."""
    source = item.provenance.source
    mentions = item.mentions
    dates = [f"{date.text} ({date.start} to {date.end})" for date in mentions.dates]
    return [
        ("id", item.id),
        ("key", item.key or ""),
        ("cube", item.cube_id),
        ("type", item.type if item.kind == "plaintext" else f"{item.type} ({item.kind})"),
        ("version", f"{item.version} (change {item.seq})"),
        ("state", str(item.state) + ("" if item.indexed else ", kept out of search")),
        ("occurred", moment(item.occurred_at)),
        ("created", moment(item.created_at)),
        ("updated", moment(item.updated_at) if item.version > 1 else ""),
        ("by", f"{item.provenance.actor} ({item.provenance.operation})"),
        ("speaker", item.speaker or ""),
        ("role", (source.role if source else "") or ""),
        ("conversation", item.conversation or ""),
        ("position", str(source.position) if source and source.position is not None else ""),
        ("message id", (source.message_id if source else "") or ""),
        ("uri", (source.uri if source and source.uri != item.conversation else "") or ""),
        ("tags", ", ".join(item.tags)),
        ("confidence", "" if item.confidence == 1 else f"{item.confidence:g}"),
        ("metadata", json.dumps(item.metadata, ensure_ascii=False) if item.metadata else ""),
        ("payload", "" if item.payload is None else json.dumps(item.payload, ensure_ascii=False)),
        ("names", ", ".join(mentions.entities)),
        ("dates", ", ".join(dates)),
        ("language", mentions.language or ""),
        ("links", ", ".join(f"{link.relation} {link.target} ({link.weight:g})" for link in item.links)),
        ("derived from", ", ".join(f"{id} v{version}" for id, version in item.provenance.derived_from)),
    ]
