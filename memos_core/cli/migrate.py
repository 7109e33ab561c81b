"""`memos migrate`: a whole store moved to another database."""

from __future__ import annotations

from contextlib import closing
from typing import Final

import click

from memos_core.cli.bars import progress
from memos_core.cli.failures import DONE, INTERRUPTED
from memos_core.cli.opening import DEADLINE, arguments_of, require_store
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted

_EXAMPLES: Final = """
Examples:
  memos migrate --to postgresql://alice@db.example.org/app
  memos migrate --store postgresql://alice@db.example.org/app --to ./memory
"""


@click.command("migrate", cls=Command, short_help="Move the store to another database.", epilog=_EXAMPLES)
@click.option("--to", "target", metavar="PLACE", required=True, help="Folder or URL of an empty store, or of none.")
@pass_settings
def migrate_command(settings: Settings, target: str) -> int:
    """Move the store to another database, SQLite or PostgreSQL, with everything in it, and compare both.

    Ids, versions, change numbers, the audit chain, vectors, grants and settings stay what they are. Nobody can write to the
    store meanwhile. It is not changed: when all is done, have your programs open the new one. An interrupted run is taken
    up by the next one.
    """
    from memos_core.stores.opening import open_sql
    from memos_core.stores.sql.moving import move

    output = Output(settings)
    require_store(settings)
    arguments = arguments_of(settings)
    deadline = float(arguments.get("deadline", DEADLINE))
    with (
        closing(open_sql(arguments["location"], deadline=deadline)) as source,
        closing(open_sql(target, deadline=deadline, moving=True)) as new,
    ):
        try:
            with progress("moving", settings) as advance:
                counts = move(source, new, advance)
        except KeyboardInterrupt:
            output.note("interrupted; the store is as it was. Run it again to go on where it was")
            return INTERRUPTED
        where = new.name
    if output.as_json:
        output.document({"to": where, "rows": counts})
    else:
        cubes, versions = counted(counts["cubes"], "cube"), counted(counts["versions"], "version")
        output.done(f"{cubes} with {versions} moved to {where}, and compared; the old store is as it was")
    return DONE
