"""`memos explain` and `memos lineage`: the story of an item, and what it was made from and into."""

from __future__ import annotations

from typing import Final

import click

from memos_core.cli.listing import require_one
from memos_core.cli.opening import reading
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output

_EXPLAIN_EXAMPLE: Final = (
    "\nExamples:\n  memos explain 01a1fea6e76e00c1826ac550c85ec7f1\n  memos explain --key rent --json\n"
)
_LINEAGE_EXAMPLE: Final = """
Examples:
  memos lineage --key rent
  memos lineage --key rent --as-graphviz | dot -Tsvg > rent.svg
"""


@click.command("explain", cls=Command, short_help="Tell the story of an item.", epilog=_EXPLAIN_EXAMPLE)
@click.argument("id", required=False)
@click.option("--key", metavar="NAME", help="Of the item, in the place of its id.")
@pass_settings
def explain_command(settings: Settings, id: str | None, key: str | None) -> None:
    """Tell where an item comes from, who did what to it and why, and where it stands."""
    require_one(id, key)
    output = Output(settings)
    with reading(settings) as session:
        explained = session.explain(id, key=key)
    if output.as_json:
        output.document(explained.to_dict())
        return
    for sentence in explained.story:
        output.paragraph(sentence)


@click.command("lineage", cls=Command, short_help="Draw what an item was made from, and into.", epilog=_LINEAGE_EXAMPLE)
@click.argument("id", required=False)
@click.option("--key", metavar="NAME", help="Of the item, in the place of its id.")
@click.option("--depth", default=10, show_default=True, metavar="N", help="Steps to go in each direction.")
@click.option("--as-mermaid", is_flag=True, help="As a Mermaid flowchart.")
@click.option("--as-graphviz", is_flag=True, help="As a graph for Graphviz.")
@pass_settings
def lineage_command(
    settings: Settings, id: str | None, key: str | None, depth: int, as_mermaid: bool, as_graphviz: bool
) -> None:
    """Draw what an item was made from (above it), and what was made from it (below)."""
    require_one(id, key)
    if as_mermaid and as_graphviz:
        raise click.UsageError("draw it in one way: --as-mermaid or --as-graphviz")
    output = Output(settings)
    with reading(settings) as session:
        lineage = session.lineage(id, key=key, depth=depth)
    if output.as_json:
        output.document(lineage.to_dict())
    else:
        output.line(lineage.mermaid() if as_mermaid else lineage.graphviz() if as_graphviz else lineage.text())
