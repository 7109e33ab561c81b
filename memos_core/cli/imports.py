"""`memos import`: what other programs have stored, taken over as memories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
import msgspec

from memos_core.cli.bars import progress
from memos_core.cli.failures import DONE, INTERRUPTED, NOT_FOUND
from memos_core.cli.opening import writing
from memos_core.cli.options import Group, Settings, pass_settings
from memos_core.cli.output import Output, counted
from memos_core.errors import AlreadyExists, InvalidInput, WrongDimension
from memos_core.types.inputs import Draft
from memos_core.types.items import SourceRef
from memos_core.types.names import check_name

if TYPE_CHECKING:
    from memos_core.session import Session
    from memos_core.stores.chroma_reading import ForeignCollection, ForeignRecord

_SHOWN: Final = 10
_EXAMPLES: Final = """
Examples:
  memos import chroma ./chroma-db --embedder minilm
  memos import chroma http://127.0.0.1:8000 --collection notes --cube team
  memos import chroma ./chroma-db --embedded-by minilm
"""


@click.group("import", cls=Group, short_help="Take over what other programs have stored: chroma.")
def import_command() -> None:
    """Take over what other programs have stored. What was taken over before is recognised."""


class Counts(msgspec.Struct):
    """What became of the records of a collection.

    Attributes:
        collection: its name.
        added, known, changed: as for `memos ingest`.
        without_text: records without a document: there is nothing to remember.
        refused: records that cannot be stored, with the reason.
    """

    collection: str
    added: int = 0
    known: int = 0
    changed: int = 0
    without_text: int = 0
    refused: list[tuple[str, str]] = []


@import_command.command("chroma", short_help="Collections of a Chroma folder or server.", epilog=_EXAMPLES)
@click.argument("place", metavar="PATH|URL")
@click.option("--collection", metavar="NAME", help="Only this one (else all that memos has not made itself).")
@click.option(
    "--embedded-by",
    metavar="SPEC",
    help="The embedder that made the collection's vectors: they are taken as they are. It must be the store's.",
)
@pass_settings
def chroma_command(settings: Settings, place: str, collection: str | None, embedded_by: str | None) -> int:
    """Take over the documents of Chroma collections, with their ids, metadata and (with --embedded-by) vectors.

    Each document becomes a fact; the collection is not changed. It can be run again and again: what is known is not stored
    twice, an edited document becomes a new version, and an interrupted run goes on. Stop whoever writes to the folder first.
    """
    from memos_core.stores.chroma_reading import foreign_collections

    output = Output(settings)
    settings.embedder = settings.embedder or embedded_by
    counts: list[Counts] = []
    code = DONE
    with foreign_collections(place, collection) as found, writing(settings, create=True) as session:
        if embedded_by is not None:
            _check_embedder(session, embedded_by)
        total, done = sum(map(len, found)), 0
        try:
            with progress("importing", settings) as advance:
                advance(0, total)
                for each in found:
                    counts.append(Counts(each.name))
                    for page in each.pages(vectors=embedded_by is not None):
                        _take(session, each, page, counts[-1])
                        done += len(page)
                        advance(done, max(total, done))
        except KeyboardInterrupt:
            output.note(f"interrupted after {done:,} of {total:,} records; run it again to go on")
            code = INTERRUPTED
    _report(counts, output)
    return code or (NOT_FOUND if any(each.refused for each in counts) else DONE)


def _check_embedder(session: Session, spec: str) -> None:
    from memos_core.models.loading import load_embedder

    said, have = load_embedder(spec)[0].identity, session.view.embedding.record.identity
    if said != have:
        raise InvalidInput(
            f"the collection's vectors are said to be of {said!r}, the store's are of {have or 'no embedder'!r}: they cannot "
            "be compared. Leave --embedded-by out to have the documents embedded anew"
        )


def _take(session: Session, collection: ForeignCollection, page: list[ForeignRecord], counts: Counts) -> None:
    """Store a page of records; where it is refused as a whole, one by one."""
    told = [record for record in page if record.document is not None and record.document.strip()]
    counts.without_text += len(page) - len(told)
    try:
        _add(session, collection, told, counts)
    except WrongDimension:
        raise
    except (InvalidInput, AlreadyExists):
        for record in told:
            try:
                _add(session, collection, [record], counts)
            except AlreadyExists:  # its id is that of something else here
                _add(session, collection, [record], counts, named=False)
            except InvalidInput as error:
                counts.refused.append((record.id, str(error)))


def _add(
    session: Session, collection: ForeignCollection, records: list[ForeignRecord], counts: Counts, *, named: bool = True
) -> None:
    import numpy as np

    if not records:
        return
    drafts = [_draft(collection, record, named=named) for record in records]
    given = [record.vector for record in records if record.vector is not None]
    added = session.add(drafts, vectors=np.stack(given) if len(given) == len(records) else None)
    counts.added += len(added.new)
    counts.known += len(added.known)
    counts.changed += len(added.changed)


def _draft(collection: ForeignCollection, record: ForeignRecord, *, named: bool) -> Draft:
    return Draft(
        text=record.document or "",
        id=record.id if named and _is_name(record.id) else None,
        metadata={name: value for name, value in record.metadata.items() if value is not None},
        source=SourceRef(message_id=record.id),
        identity=("chroma", collection.id, record.id),
    )


def _is_name(id: str) -> bool:
    try:
        check_name(id, "item id")
    except InvalidInput:
        return False
    return True


def _report(counts: list[Counts], output: Output) -> None:
    for each in counts:
        if output.as_json:
            output.document(each)
            continue
        output.done(
            f"{each.collection}: {each.added:,} added · {each.known:,} known · {each.changed:,} changed · "
            f"{each.without_text:,} without a document · {len(each.refused):,} refused"
        )
        for id, reason in each.refused[:_SHOWN]:
            output.note(f"refused: {id}: {reason}")
        if len(each.refused) > _SHOWN:
            output.note(f"and {counted(len(each.refused) - _SHOWN, 'more record')}; --json names them all")
    if not counts and not output.as_json:
        output.note("no collection there")
