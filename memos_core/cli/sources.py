"""Which files an ingest means: those named, those in folders and behind globs, without what nobody wants to remember."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

VERSION_CONTROL: Final = frozenset({".git", ".hg", ".svn", ".bzr", ".jj", "CVS", "_darcs", ".fslckout"})
GENERATED: Final = frozenset({"__pycache__", "node_modules"})
LARGE: Final = 64 << 20  # bytes; a file found in a folder is read whole only below that


class Source(msgspec.Struct, frozen=True):
    """A file to read.

    Attributes:
        path: absolute.
        shown: as the user would write it.
        named: whether it stood on the command line itself: then it must be readable.
    """

    path: Path
    shown: str
    named: bool


class Failure(msgspec.Struct, frozen=True):
    """What was not read.

    Attributes:
        path: as the user would write it.
        reason: in one sentence.
        named: whether it stood on the command line itself.
    """

    path: str
    reason: str
    named: bool


class Found(msgspec.Struct, frozen=True):
    """What an ingest means.

    Attributes:
        sources: files to read, in order, each once.
        failures: what there is not, or is no file.
    """

    sources: list[Source]
    failures: list[Failure]


def find_sources(
    given: Sequence[str], *, exclude: Sequence[str] = (), hidden: bool = False, without: Path | None = None
) -> Found:
    """Files that are named, lie in folders named, or match globs named.

    Args:
        given: paths of files and folders, and globs ("notes/**/*.md").
        exclude: globs of names, or of paths below a folder named; what they match, and what is in it, is left out.
        hidden: also what begins with a dot; folders of version control are left out even then.
        without: a folder to leave out: that of the store itself; None for none.
    """
    sources: dict[Path, Source] = {}
    failures: list[Failure] = []
    for name in given:
        paths = [name]
        matched = not os.path.lexists(name) and glob.has_magic(name)
        if matched:
            paths = sorted(glob.glob(name, recursive=True, include_hidden=hidden))
        if not paths or not (matched or os.path.exists(name)):
            failures.append(
                Failure(as_text(name), "nothing matches" if matched else "there is no such file or folder", True)
            )
            continue
        for each in paths:
            if os.path.isdir(each):
                for path in _walk(each, exclude, hidden, without, failures):
                    _take(path, os.path.relpath(path, each), each, sources, failures)
            elif not _excluded(os.path.basename(each), each, exclude):
                path = Path(os.path.abspath(each))
                if not matched:
                    sources[path] = Source(path, as_text(each), True)
                elif not any(_skipped_folder(part) for part in Path(each).parts):
                    _take(path, each, "", sources, failures)
    return Found(list(sources.values()), failures)


def as_text(name: str) -> str:
    """A file's name as text: bytes in it that are none are shown as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _take(path: Path, relative: str, folder: str, sources: dict[Path, Source], failures: list[Failure]) -> None:
    """Take a file that was found, unless reading it would hang or take all memory."""
    shown = as_text(os.path.join(folder, relative))
    try:
        found = path.stat()
    except OSError as error:
        failures.append(Failure(shown, error.strerror or str(error), False))
        return
    if not stat.S_ISREG(found.st_mode):
        return  # pipes, sockets and devices have no end
    if found.st_size > LARGE:
        failures.append(Failure(shown, f"larger than {LARGE >> 20} MB; name the file itself to read it", False))
        return
    sources.setdefault(path, Source(path, shown, False))


def _walk(
    folder: str, exclude: Sequence[str], hidden: bool, without: Path | None, failures: list[Failure]
) -> Iterator[Path]:
    """Absolute paths of the files in a folder and those below it, sorted; links to folders are not followed."""
    root = os.path.abspath(folder)

    def closed(error: OSError) -> None:
        failures.append(Failure(as_text(str(error.filename)), error.strerror or str(error), False))

    for place, folders, files in os.walk(root, onerror=closed):
        below = os.path.relpath(place, root)

        def wanted(name: str, below: str = below) -> bool:
            relative = name if below == os.curdir else os.path.join(below, name)
            return (hidden or not name.startswith(".")) and not _excluded(name, relative, exclude)

        folders[:] = sorted(
            name for name in folders if wanted(name) and not _skipped_folder(name) and Path(place, name) != without
        )
        if Path(place) != without:
            yield from (Path(place, name) for name in sorted(files) if wanted(name))


def _skipped_folder(name: str) -> bool:
    return name in VERSION_CONTROL or name in GENERATED


def _excluded(name: str, relative: str, exclude: Sequence[str]) -> bool:
    globs = [each.rstrip("/") for each in exclude]
    return any(fnmatch.fnmatch(name, each) or fnmatch.fnmatch(relative, each) for each in globs)
