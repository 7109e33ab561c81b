"""`memos search` and `memos context`: what memory says to a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from memos_core.cli.opening import actor_of, reading
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, moment, plain
from memos_core.cli.values import parse_moment, parse_wheres, text_or_stdin, words

if TYPE_CHECKING:
    from memos_core.session import Session
    from memos_core.types.items import Hit, Hits, MemoryItem

WHERE_HELP: Final = "Only what fulfils 'path operator value' (or JSON); several times: all of them."

_SEARCH_EXAMPLES: Final = """
Conditions (--where): a field (type, key, tags, speaker, role, conversation, uri, occurred_at,
created_at, confidence, ...) or a place in the metadata, an operator, a value:
  = != > >= < <= in nin any all contains text_match text_match_insensitive is_empty

Examples:
  memos search "where does she live?" --parts
  memos search budget --where "year >= 2024" --where "tags contains work"
  memos search budget --where 'status in open,late' --as-of 2024-05-08
  memos search budget --where '{"or": [{"tag": "home"}, {"year": {">": 2020}}]}'
  memos search "what did Rex do" --json | jq -r '.hits[].text'

In a pipe, each hit is a line: score, id, cube, when, who, where, text (and with --parts, the signals).
"""

_CONTEXT_EXAMPLES: Final = """
Examples:
  memos context "plan my week" --max-tokens 400
  memos context - < question.txt
"""


@click.command("search", cls=Command, short_help="Find the memories that answer a question.", epilog=_SEARCH_EXAMPLES)
@click.argument("query")
@click.option("--top-k", "-k", default=10, show_default=True, metavar="N", help="How many hits.")
@click.option("--where", "-w", "wheres", metavar="CONDITION", multiple=True, help=WHERE_HELP)
@click.option("--as-of", metavar="WHEN", help="As it was after a change (its number), or at a time (ISO 8601).")
@click.option(
    "--include", metavar="STATES", default="", help="Also those that are archived, generated, merged (commas)."
)
@click.option("--min-score", default=0.0, metavar="NUMBER", help="Only hits at least this likely, from 0 to 1.")
@click.option("--without", metavar="SIGNAL", multiple=True, help="Turn a signal off (late, dense, lexical, date, ...).")
@click.option("--cursor", metavar="CURSOR", help="Go on after the page that ended with it.")
@click.option("--parts", is_flag=True, help="Show what each signal added to the ranking.")
@click.option("--full", is_flag=True, help="Show texts whole.")
@pass_settings
def search_command(
    settings: Settings,
    query: str,
    top_k: int,
    wheres: tuple[str, ...],
    as_of: str | None,
    include: str,
    min_score: float,
    without: tuple[str, ...],
    cursor: str | None,
    parts: bool,
    full: bool,
) -> None:
    """Find the memories that answer a question, best first, with how likely each is to be what was asked for.

    No hit is no error. "-" reads the question from standard input.
    """
    output = Output(settings)
    question = text_or_stdin(query)
    off = [name.strip() for each in without for name in each.split(",")]
    options: dict[str, Any] = {"where": parse_wheres(wheres), "as_of": parse_moment(as_of), "min_score": min_score}
    options["include"] = words(include)
    with reading(settings) as session:
        hits = session.search(question, top_k=top_k, without=off, cursor=cursor, **options)
        if output.as_json:
            said = [hit_json(hit) for hit in hits]
            output.document({"hits": said, "cursor": hits.cursor, "degraded": hits.degraded})
            return
        _show(hits, question, output, parts=parts, full=full)
        if hits.degraded and (not hits or session.view.embedding.record.identity):
            output.note(hits.degraded)  # a store that never had an embedder said so when it was made
        if not hits:
            output.note(nothing(session, settings))
        elif hits.cursor and output.terminal:
            output.note(f"there are more: --cursor {hits.cursor}")


def nothing(session: Session, settings: Settings) -> str:
    """What to say where nothing was found: a memory that does not exist yet is worth a hint."""
    if settings.cubes or session.stats()["cubes"]:
        return "nothing found"
    return f"nothing found: {actor_of(settings)!r} has no memory in this store yet (`memos cubes` lists what there is)"


def _show(hits: Hits, question: str, output: Output, *, parts: bool, full: bool) -> None:
    if output.terminal:
        from memos_core.cli.looks import hits_table

        width = output.console.width
        output.show(hits_table(hits, question=question, width=width, parts=parts, full=full))
        return
    from memos_core.cli.looks import where, who

    for hit in hits:
        item = hit.item
        when = moment(item.occurred_at or item.created_at)
        signals = [" ".join(f"{name}={value:.3f}" for name, value in hit.parts.items())] if parts else []
        output.fields(f"{hit.score:.3f}", hit.id, hit.cube_id, when, who(item), where(item), hit.text, *signals)


def hit_json(hit: Hit) -> dict[str, Any]:
    """A hit as JSON data."""
    return {
        "score": hit.score,
        "cube": hit.cube_id,
        "id": hit.id,
        "text": hit.text,
        "parts": hit.parts,
        "origins": [{"cube": cube, "id": id} for cube, id in hit.origins],
        "item": item_json(hit.item),
    }


def item_json(item: MemoryItem) -> dict[str, Any]:
    """An item as JSON data, with every field, also where it is empty; speaker and conversation stand beside them."""
    return {**plain(item), "speaker": item.speaker, "conversation": item.conversation}


@click.command(
    "context", cls=Command, short_help="Memory for a prompt, within a number of tokens.", epilog=_CONTEXT_EXAMPLES
)
@click.argument("query")
@click.option("--max-tokens", default=800, show_default=True, metavar="N", help="For the whole text, roughly.")
@click.option("--where", "-w", "wheres", metavar="CONDITION", multiple=True, help=WHERE_HELP)
@click.option("--min-score", default=0.0, metavar="NUMBER", help="Only hits at least this likely, from 0 to 1.")
@pass_settings
def context_command(settings: Settings, query: str, max_tokens: int, wheres: tuple[str, ...], min_score: float) -> None:
    """Memory for a prompt: what is tagged "pinned", then what the question needs, within a number of tokens."""
    output = Output(settings)
    question = text_or_stdin(query)
    with reading(settings) as session:
        found = session.context(question, max_tokens=max_tokens, where=parse_wheres(wheres), min_score=min_score)
        if output.as_json:
            output.document(
                {
                    "stable": found.stable,
                    "volatile": found.volatile,
                    "text": found.text,
                    "tokens": found.tokens,
                    "items": [item_json(item) for item in found.items],
                }
            )
        elif found.items:
            output.paragraph(found.text)
        else:
            output.note(nothing(session, settings))
