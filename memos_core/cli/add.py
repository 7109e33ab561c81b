"""`memos add`: facts, or messages, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from memos_core.cli.opening import writing
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted
from memos_core.cli.values import parse_metadata, parse_time, text_or_stdin
from memos_core.errors import InvalidText

if TYPE_CHECKING:
    from memos_core.plaintext.added import Added

_EXAMPLES: Final = """
Examples:
  memos add "I moved to Lisbon in May." --tag home
  memos add "Rent is 900 a month" --key rent --meta currency=EUR --at 2024-05-08
  memos add --speaker Alice --conversation t1 "He turned three yesterday"
  memos add --no-wait "Vectors come later" --json | jq .jobs
  pbpaste | memos add -
"""


@click.command("add", cls=Command, short_help="Remember a text, or several.", epilog=_EXAMPLES)
@click.argument("texts", metavar="TEXT...", nargs=-1, required=True)
@click.option("--type", "type_", metavar="WORD", help="What to call it (else fact, or message).")
@click.option("--id", "id_", metavar="ID", help="An id of your own, unique in the cube.")
@click.option("--key", metavar="NAME", help="A name to address it by, unique in the cube.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="A label (several times for several).")
@click.option("--meta", metavar="NAME=VALUE", multiple=True, help="Metadata; JSON values are taken as such.")
@click.option("--metadata", metavar="JSON", help="Metadata as a JSON object.")
@click.option("--at", metavar="TIME", help="When it happened or was said (ISO 8601; UTC without a zone).")
@click.option("--confidence", type=float, metavar="NUMBER", help="From 0 to 1.")
@click.option("--conversation", metavar="NAME", help="The thread it belongs to.")
@click.option("--speaker", metavar="NAME", help="Take it as a message of this person.")
@click.option("--role", metavar="ROLE", help="Take it as a message in this role (user, assistant, ...).")
@click.option("--not-indexed", is_flag=True, help="Keep it out of every search.")
@click.option("--expires", metavar="TIME", help="From then on it is not found any more (ISO 8601).")
@click.option("--private", is_flag=True, help="Nobody else may read it, besides those who administrate the cube.")
@click.option("--generated", is_flag=True, help="It has to be validated (memos activate) before it is found.")
@click.option("--no-wait", is_flag=True, help="Have `memos worker` make the vectors later; found by its words at once.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="With --no-wait: wait so long for room in a full queue of jobs.",
)
@pass_settings
def add_command(
    settings: Settings,
    texts: tuple[str, ...],
    type_: str | None,
    id_: str | None,
    key: str | None,
    tags: tuple[str, ...],
    meta: tuple[str, ...],
    metadata: str | None,
    at: str | None,
    confidence: float | None,
    conversation: str | None,
    speaker: str | None,
    role: str | None,
    not_indexed: bool,
    expires: str | None,
    private: bool,
    generated: bool,
    no_wait: bool,
    timeout: float | None,
) -> None:
    """Remember a text, or several; "-" reads one from standard input.

    Prints the id of each. The store is made if there is none. With --no-wait, the numbers of the jobs that make the vectors are
    said on stderr (with --json: "jobs"); if too many wait already, nothing is stored (exit code 4).
    """
    if timeout is not None and not no_wait:
        raise click.UsageError("--timeout is for --no-wait: how long to wait for room in the queue of jobs")
    said = [text_or_stdin(text) for text in texts]
    if not all(text.strip() for text in said):  # before a store is made for nothing
        raise InvalidText("the text has no words; there is nothing to remember")
    content: list[Any] = list(said)
    if speaker is not None or role is not None:
        content = [{"role": role or "user", "content": text, "speaker": speaker} for text in said]
    options: dict[str, Any] = {
        "type": type_,
        "id": id_,
        "key": key,
        "tags": tags,
        "metadata": parse_metadata(meta, metadata),
        "occurred_at": None if at is None else parse_time(at, "--at"),
        "confidence": confidence,
        "indexed": not not_indexed,
        "expires_at": None if expires is None else parse_time(expires, "--expires"),
        "visibility": "private" if private else "shared",
        "state": "generated" if generated else "activated",
    }
    with writing(settings, create=True, conversation=conversation) as session:
        if no_wait:
            adding = session.add(content, **options, wait=False, timeout=timeout)
            tell_added(adding.added, Output(settings), jobs=adding.job_ids)
        else:
            tell_added(session.add(content, **options), Output(settings))


def tell_added(added: Added, output: Output, *, jobs: Sequence[int] | None = None) -> None:
    """Say what became of what was added: in a pipe, the ids alone.

    Args:
        jobs: that make the vectors; None where nobody asked for jobs.
    """
    if output.as_json:
        output.document(
            {
                "ids": added.ids,
                "added": added.new,
                "known": added.known,
                "changed": added.changed,
                "removed": added.removed,
                "seqs": added.seqs,
            }
            | ({} if jobs is None else {"jobs": jobs})
        )
        return
    for id in added.ids:
        if not output.terminal:
            output.done(id)
        elif id in added.known:
            output.done(f"{id}  known already")
        elif id in added.changed:
            output.done(f"{id}  changed")
        else:
            output.done(f"{id}  added")
    if output.terminal and len(added.ids) > 1:
        output.note(f"{counted(len(added.new), 'item')} added, {len(added.known)} known, {len(added.changed)} changed")
    if jobs:
        some = f"{'job' if len(jobs) == 1 else 'jobs'} {', '.join(map(str, jobs))}"
        output.note(f"{some} will make the vectors (`memos jobs show {jobs[0]}`, `memos worker`)")
    elif jobs is not None:
        output.note("there is nothing to be done later")
