"""`memos reembed`: all vectors of a store made anew by another embedder."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Final

import click

from memos_core.cli.bars import progress
from memos_core.cli.failures import DONE, INTERRUPTED
from memos_core.cli.opening import DEADLINE, arguments_of, folder_of_store, require_store
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted, is_terminal
from memos_core.types.names import NO_EMBEDDER

_EXAMPLES: Final = """
Examples:
  memos reembed minilm
  memos reembed minilm:./my-model --yes
  memos reembed none
"""


@click.command("reembed", cls=Command, short_help="Replace all vectors by another embedder's.", epilog=_EXAMPLES)
@click.argument("spec", required=False)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also where the vectors are of that embedder already.")
@pass_settings
def reembed_command(settings: Settings, spec: str | None, yes: bool, force: bool) -> int:
    """Replace all vectors by those of another embedder (minilm, minilm:FOLDER, hashing, none).

    Says what it will do and asks. Search goes on meanwhile with the old vectors; an interrupted run is taken up by the
    next one. Other programs that have the store open must open it anew afterwards.
    """
    # Not through MOS.open: that would load the old embedder, which may be the one that cannot be loaded any more.
    from memos_core.models.loading import load_embedder
    from memos_core.plaintext.embedding import Embedding, recorded
    from memos_core.plaintext.reembed import reembed
    from memos_core.stores.opening import open_store
    from memos_core.types.work import utc_now

    spec = spec or settings.embedder
    if spec is None:
        raise click.UsageError("name the new embedder: minilm, minilm:FOLDER, hashing, or none")
    output = Output(settings)
    require_store(settings)
    new, name = (None, "") if spec == NO_EMBEDDER else load_embedder(spec)
    arguments = arguments_of(settings)
    deadline = float(arguments.get("deadline", DEADLINE))
    with closing(open_store(arguments["location"], deadline=deadline, now=utc_now)) as store:
        record = recorded(store)
        old = record.identity if record else ""
        identity = new.identity if new is not None else ""
        if record is not None and old == identity and not force:
            _tell(output, old, identity, 0, f"the vectors are of {old or 'no embedder'} already; nothing to do")
            return DONE
        where = folder_of_store(settings) or store.name
        cubes = store.cubes()
        versions = sum(store.counts(cube)["versions"] for cube in cubes)
        plan = (
            f"{where}: replace the vectors of {old or 'no embedder'} by those of {identity or 'no embedder'}: "
            f"{counted(versions, 'version')} in {counted(len(cubes), 'cube')}"
        )
        if yes:
            output.note(plan)
        elif not _agreed(plan):
            output.note("nothing was changed")
            return INTERRUPTED
        try:
            with progress("embedding", settings) as advance:
                done = reembed(store, Embedding(store, None), new, name, advance)
        except KeyboardInterrupt:
            output.note("interrupted; the old vectors are still in use. Run it again to go on where it was")
            return INTERRUPTED
        _tell(
            output,
            old,
            identity,
            done,
            f"{counted(done, 'version')} embedded; the store is one of {identity or 'no embedder'} now",
        )
    return DONE


def _agreed(plan: str) -> bool:
    if not is_terminal(sys.stdin):
        raise click.UsageError(f"{plan}. Say --yes where nobody can be asked")
    return click.confirm(f"{plan}.\nGo on?", err=True)


def _tell(output: Output, old: str, new: str, done: int, what: str) -> None:
    if output.as_json:
        output.document({"from": old or None, "to": new or None, "embedded": done})
    else:
        output.done(what)
