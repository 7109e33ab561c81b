"""`memos preferences`: what users like, dislike, want and avoid, as it holds now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from memos_core.cli.opening import reading
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, moment
from memos_core.cli.search import item_json, nothing
from memos_core.cli.values import words

if TYPE_CHECKING:
    from memos_core.types.items import MemoryItem

_EXAMPLES: Final = """
Examples:
  memos preferences
  memos preferences --topic coffee --json
  memos preferences --include generated        also what nobody has said in so many words
  memos activate ID                            which validates it

In a pipe, each preference is a line: id, cube, when, state, person, polarity, topic, text.
"""


@click.command("preferences", cls=Command, short_help="List what users like and want.", epilog=_EXAMPLES)
@click.option("--topic", metavar="WORDS", help="Only about this.")
@click.option("--person", metavar="NAME", help="Only of this one.")
@click.option("--include", metavar="STATES", default="", help="Also those that are generated, archived (commas).")
@pass_settings
def preferences_command(settings: Settings, topic: str | None, person: str | None, include: str) -> None:
    """List preferences as they hold now, newest first.

    They are found in what is said where a store is opened with a language model (`preferences = true` and `model` in memos.toml),
    by background jobs (`memos worker`).
    """
    output = Output(settings)
    with reading(settings) as session:
        found = session.preferences(topic, person=person, include=words(include))
        if not found:
            output.note(nothing(session, settings))
    for item in found:
        if output.as_json:
            output.document(item_json(item))
        else:
            output.fields(item.id, item.cube_id, *_shown(item), item.text)


def _shown(item: MemoryItem) -> list[str]:
    told = [str(item.metadata.get(name, "")) for name in ("person", "polarity", "topic")]
    return [moment(item.occurred_at or item.created_at), str(item.state), *told]
