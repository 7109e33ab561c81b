"""`memos ingest`: files, folders and chat exports into memory, as often as one likes."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import unicodedata
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from memos_core.cli.bars import progress
from memos_core.cli.failures import DONE, INTERRUPTED, NOT_FOUND
from memos_core.cli.opening import folder_of_store, writing
from memos_core.cli.options import Command, Settings, pass_settings
from memos_core.cli.output import Output, counted
from memos_core.cli.sources import Failure, Source, as_text, find_sources
from memos_core.cli.values import parse_metadata
from memos_core.errors import InvalidInput, MissingPackage, ReadingFailed

if TYPE_CHECKING:
    from memos_core.plaintext.added import Added
    from memos_core.session import Session
    from memos_core.types.inputs import Draft

STDIN: Final = "-"
_CHATS: Final = frozenset({".json", ".jsonl", ".ndjson", ".jsonlines"})
_FILES: Final = 64  # documents in one transaction, at most
_DRAFTS: Final = 1000  # pieces and messages in one transaction, at most
_DRAFTS_TO_EMBED: Final = 200  # the same, where each takes a while: so much is lost at Ctrl-C, at most
_SHOWN: Final = 10  # failures that are told one by one

_EXAMPLES: Final = """
Examples:
  memos ingest notes/ README.md 'docs/**/*.html'
  memos ingest conversations.json slack-export/ --tag work
  memos ingest handbook/ --exclude '*.log' --exclude drafts --cube team
  memos ingest log.txt --chat --conversation standup
  export-chat | memos ingest - --conversation thread-42
"""


@click.command("ingest", cls=Command, short_help="Remember files, folders and chat exports.", epilog=_EXAMPLES)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--chat", "kind", flag_value="chat", help="Read every file as a chat export (JSON, JSON lines).")
@click.option("--document", "kind", flag_value="document", help="Read every file as a document, JSON too.")
@click.option("--conversation", metavar="NAME", help="Name of the one conversation that is read (implies --chat).")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Leave out files and folders by name, or by path.")
@click.option("--hidden", is_flag=True, help="Also files and folders whose names begin with a dot.")
@click.option(
    "--relative-to", metavar="FOLDER", help="Know documents by their path from there (else by the whole path)."
)
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="A label for everything that is new.")
@click.option("--meta", metavar="NAME=VALUE", multiple=True, help="Metadata for everything.")
@pass_settings
def ingest_command(
    settings: Settings,
    paths: tuple[str, ...],
    kind: str | None,
    conversation: str | None,
    exclude: tuple[str, ...],
    hidden: bool,
    relative_to: str | None,
    tags: tuple[str, ...],
    meta: tuple[str, ...],
) -> int:
    """Remember files, folders, globs and chat exports; "-" reads messages in JSON lines from standard input.

    JSON and JSON lines are read as chats, everything else as documents (Markdown, HTML, plain text; PDF, Word, PowerPoint
    and Excel with memoskit[documents]). What was read before
    is recognised: only what is new or has changed is stored, and what is gone from a document is removed. What cannot be
    read is reported, and the rest goes on. Hidden files, folders of version control, __pycache__ and node_modules are
    left out.
    """
    if conversation is not None:
        if kind == "document":
            raise click.UsageError("--conversation names a chat; a document is known by its path")
        kind = "chat"
    if kind == "document" and STDIN in paths:
        raise click.UsageError("standard input is read as messages; give a document as a file")
    output = Output(settings)
    folder = folder_of_store(settings)
    store = None if folder is None else Path(os.path.abspath(folder))
    files = [path for path in paths if path != STDIN]
    found = find_sources(files, exclude=exclude, hidden=hidden, without=store)
    sources = [*found.sources, *([Source(Path(STDIN), "standard input", True)] if STDIN in paths else [])]
    if not sources:
        return _report(Ingest(None), found.failures, output)
    quieten_parsers()
    labels: dict[str, Any] = {"tags": tags, "metadata": parse_metadata(meta)}
    with writing(settings, create=True) as session:
        reader = _Reader(session, kind, conversation, relative_to, labels)
        ingest = Ingest(session)
        failures = list(found.failures)
        read = 0
        try:
            with progress("reading files", settings) as advance:
                for read, source in enumerate(sources, 1):
                    try:
                        drafts = reader.read(source)
                    except (ReadingFailed, InvalidInput, MissingPackage) as error:
                        failures.append(Failure(source.shown, _reason(error, source), source.named))
                    else:
                        ingest.take(drafts)
                    advance(read, len(sources))
                ingest.flush()
        except KeyboardInterrupt:
            output.note(f"interrupted at file {read:,} of {len(sources):,}; run it again to go on")
            _report(ingest, failures, output)
            return INTERRUPTED
        return _report(ingest, failures, output)


def quieten_parsers() -> None:
    """What libraries remark about the files they read would break into the progress bar; what matters is reported."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="openpyxl")


class Ingest:
    """Drafts of many files, stored some hundred at a time; what became of them is counted.

    Args:
        session: stores them; None where there is nothing to store.
    """

    def __init__(self, session: Session | None) -> None:
        self._session = session
        slow = session is not None and session.view.embedding.embedder is not None
        self._most = _DRAFTS_TO_EMBED if slow else _DRAFTS
        self._waiting: list[Draft] = []
        self._taken = 0
        self.files = 0  # those of which everything is stored
        self.counts = {"added": 0, "known": 0, "changed": 0, "removed": 0}

    def take(self, drafts: list[Draft]) -> None:
        """Store the drafts of a file, now or with those of the next ones. Pieces of a document stay together."""
        step = len(drafts) if drafts and drafts[0].type == "document" else self._most
        for first in range(0, len(drafts), max(1, step)):
            self._waiting.extend(drafts[first : first + step])
            if len(self._waiting) >= self._most:
                self._store()
        self._taken += 1
        if not self._waiting or self._taken - self.files >= _FILES:
            self.flush()

    def flush(self) -> None:
        """Store what is waiting."""
        if self._waiting:
            self._store()
        self.files = self._taken

    def _store(self) -> None:
        assert self._session is not None
        added: Added = self._session.add(self._waiting)
        self._waiting = []
        for name, ids in (
            ("added", added.new),
            ("known", added.known),
            ("changed", added.changed),
            ("removed", added.removed),
        ):
            self.counts[name] += len(ids)


class _Reader:
    """Reads files as drafts, each as what it is.

    Args:
        session: for whom.
        kind: "chat", "document", or None: by the name of the file.
        conversation: what the one conversation is called; None: as the file says.
        relative_to: where paths that documents are known by begin; None: they are whole.
        labels: tags and metadata for everything.
    """

    def __init__(
        self,
        session: Session,
        kind: str | None,
        conversation: str | None,
        relative_to: str | None,
        labels: dict[str, Any],
    ) -> None:
        self._session = session
        self._kind = kind
        self._conversation = conversation
        self._named: str | None = None  # the file that had the one conversation
        self._relative_to = relative_to
        self._labels = labels

    def read(self, source: Source) -> list[Draft]:
        """The drafts of a file; none for an empty one.

        Raises:
            ReadingFailed, InvalidInput: it is no text, no chat, or holds what cannot be stored.
        """
        if source.path == Path(STDIN):
            with tempfile.TemporaryDirectory(prefix="memos-") as folder:  # an export is read as a whole
                path = Path(folder) / "stdin.jsonl"
                path.write_bytes(sys.stdin.buffer.read())
                return self._chats(path, source.shown)
        if self._kind == "chat" or (self._kind is None and source.path.suffix.lower() in _CHATS):
            return self._chats(source.path, source.shown)
        from memos_core.reading.documents import load_document

        document = load_document(source.path, uri=self._uri(source.path))
        return list(self._session.read(document, **self._labels)) if document.text.strip() else []

    def _uri(self, path: Path) -> str:
        """What a document is known by: the same from wherever one ingests it, and in one spelling."""
        known = str(path) if self._relative_to is None else os.path.relpath(path, self._relative_to)
        return unicodedata.normalize("NFKC", Path(as_text(known)).as_posix())

    def _chats(self, path: Path, shown: str) -> list[Draft]:
        from memos_core.reading.chats import load_chats

        try:
            chats = load_chats(path)
        except ReadingFailed as error:
            raise ReadingFailed(str(error).replace(repr(str(path)), repr(shown))) from error
        if self._conversation is not None and chats:
            if len(chats) > 1:
                raise ReadingFailed(f"it holds {len(chats)} conversations, and --conversation names only one")
            if self._named is not None:
                raise ReadingFailed(f"--conversation names only one, that in {self._named}; ingest this one by itself")
            self._named = shown
        drafts: list[Draft] = []
        for name, messages in chats:
            drafts.extend(self._session.read(messages, conversation=self._conversation or name, **self._labels))
        return drafts


def _reason(error: Exception, source: Source) -> str:
    """What is wrong with a file, without its name, which stands before it."""
    reason = as_text(str(error))
    for name in (str(source.path), source.shown):
        reason = reason.removeprefix(repr(name)).removeprefix(":").lstrip(" ,")
    return reason


def _report(ingest: Ingest, failures: list[Failure], output: Output) -> int:
    """Say what became of everything; the exit code."""
    if output.as_json:
        output.document({"files": ingest.files, **ingest.counts, "failed": failures})
    else:
        said = " · ".join(f"{number:,} {name}" for name, number in ingest.counts.items())
        output.done(f"{said} · {counted(ingest.files, 'file')} read · {len(failures):,} not read")
        for failure in failures[:_SHOWN]:
            output.note(f"not read: {failure.path}: {failure.reason}")
        if len(failures) > _SHOWN:
            output.note(f"and {len(failures) - _SHOWN:,} more files; --json names them all")
    return NOT_FOUND if any(failure.named for failure in failures) or (failures and not ingest.files) else DONE
