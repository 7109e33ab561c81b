"""`memos working`: what a conversation has in mind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from memos_core.cli.opening import actor_of, opened
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output
from memos_core.cli.search import item_json

if TYPE_CHECKING:
    from memos_core.types.uses import Remembered

_EXAMPLES: Final = """
Examples:
  memos working --conversation thread-42
  memos working --conversation thread-42 --as alice --json | jq -r '.items[].text'

In a pipe, each item is a line: score, id, cube, what adds up to the score, text.
"""


@click.command("working", cls=Command, short_help="What a conversation has in mind.", epilog=_EXAMPLES)
@click.option("--conversation", metavar="NAME", required=True, help="The conversation; each actor has its own.")
@pass_settings
def working_command(settings: Settings, conversation: str) -> None:
    """Show the working memory of a conversation, best first: at most 20 items, with scores and what these are made of.

    It belongs to one actor (--as), one conversation, and the cubes that it reads from (--cube). Nothing in mind is no error.
    """
    output = Output(settings)
    with opened(settings) as mos:
        session = mos.session(
            actor_of(settings), conversation=conversation, read_from=settings.cubes or None, write_to=[]
        )
        found = session.working()
    if output.as_json:
        output.document({"conversation": conversation, "items": [_json(each) for each in found]})
        return
    rows = [(f"{each.score:.3f}", each.id, each.item.cube_id, _parts(each), each.text) for each in found]
    output.table(("score", "id", "cube", "parts", "text"), rows)
    if not found:
        output.note(
            f"{actor_of(settings)!r} has nothing in mind in the conversation {conversation!r} as it reads from "
            f"{', '.join(session.read_from) or 'no cube'}. Searches, contexts and messages of a program's sessions in it bring "
            "things in, once its scheduler (or `memos worker`) has counted them; the command line's own do not"
        )


def _parts(each: Remembered) -> str:
    return " ".join(f"{name}={value:.3f}" for name, value in each.parts.items())


def _json(each: Remembered) -> dict[str, object]:
    return {
        "score": each.score,
        "expected": each.expected,
        "cube": each.item.cube_id,
        "id": each.id,
        "text": each.text,
        "parts": each.parts,
        "item": item_json(each.item),
    }
