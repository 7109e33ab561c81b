"""`memos archive`, `activate`, `freeze`, `unfreeze`, `merge`: items move from state to state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from memos_core.cli.opening import writing
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted
from memos_core.cli.search import item_json
from memos_core.cli.values import text_or_stdin

if TYPE_CHECKING:
    from memos_core.types.items import MemoryItem

_DONE: Final = {"archive": "archived", "activate": "activated", "freeze": "frozen", "unfreeze": "unfrozen"}
_EPILOG: Final = """
Examples:
  memos list --where "year < 2020" --all | cut -f1 | xargs memos {name} --reason "old"
  memos {name} --key rent
"""


def _command(name: str, short: str, said: str) -> click.Command:
    @click.command(name, cls=Command, short_help=short, help=said, epilog=_EPILOG.format(name=name))
    @click.argument("ids", metavar="[ID...]", nargs=-1)
    @click.option("--key", "keys", metavar="NAME", multiple=True, help="Of an item, in the place of its id.")
    @click.option("--reason", metavar="TEXT", help="Why; kept with the version and in the audit.")
    @pass_settings
    def command(settings: Settings, ids: tuple[str, ...], keys: tuple[str, ...], reason: str | None) -> None:
        if not ids and not keys:
            raise click.UsageError("name items by their IDs, or with --key")
        with writing(settings) as session:
            named = list(dict.fromkeys([*ids, *(session.get(key=key).id for key in keys)]))
            items = getattr(session, name)(named, reason=reason)
        _tell(items, _DONE[name], Output(settings))

    return command


def _tell(items: list[MemoryItem], done: str, output: Output) -> None:
    if output.as_json:
        output.document({"items": [item_json(item) for item in items]})
    else:
        output.done(f"{counted(len(items), 'item')} {done}")


archive_command = _command(
    "archive",
    "Put items away; they are found only when asked for.",
    "Put items away: they are found only with --include archived, until `memos activate` brings them back.",
)
activate_command = _command(
    "activate",
    "Have items found: validate them, or bring them back.",
    "Have items found: those that wait to be validated, were archived, or were merged into another.",
)
freeze_command = _command(
    "freeze",
    "Keep items as they are.",
    "Keep items as they are: nobody may change or delete them until somebody who administrates the cube unfreezes them.",
)
unfreeze_command = _command("unfreeze", "Let frozen items be changed again.", "Let frozen items be changed again.")


@click.command(
    "merge",
    cls=Command,
    short_help="Put one item in the place of several.",
    epilog='\nExample:\n  memos merge 01a1… 01a2… --text "Caroline has two lamps." --reason "the same story"\n',
)
@click.argument("ids", metavar="ID ID...", nargs=-1, required=True)
@click.option("--text", metavar="TEXT", required=True, help='What the new item says; "-" reads it from standard input.')
@click.option("--type", "type_", metavar="WORD", default="fact", show_default=True, help="What to call it.")
@click.option("--reason", metavar="TEXT", help="Why; kept with the versions and in the audit.")
@pass_settings
def merge_command(settings: Settings, ids: tuple[str, ...], text: str, type_: str, reason: str | None) -> None:
    """Put one item in the place of several, which are found no more and lead to it; prints its id."""
    output = Output(settings)
    with writing(settings) as session:
        item = session.merge(ids, text_or_stdin(text), type=type_, reason=reason)
    if output.as_json:
        output.document(item_json(item))
    else:
        output.done(f"{item.id}  in the place of {counted(len(ids), 'item')}" if output.terminal else item.id)
