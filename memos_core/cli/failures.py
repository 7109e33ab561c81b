"""Errors as the command line tells them: one clear line, and an exit code that a script can go by."""

from __future__ import annotations

import re
import sys
import traceback
from typing import Final

import click
import msgspec

from memos_core import errors

DONE: Final = 0
NOT_FOUND: Final = 1
USAGE: Final = 2
ACCESS: Final = 3
CONFLICT: Final = 4
STORE: Final = 5
MODEL: Final = 6
INTERRUPTED: Final = 130
STOPPED_READING: Final = 141

_CODES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (errors.InvalidInput, USAGE),
    (errors.NotFound, NOT_FOUND),
    (errors.ReadingFailed, NOT_FOUND),
    (errors.AccessDenied, ACCESS),
    (errors.Conflict, CONFLICT),
    (errors.StoreError, STORE),
    (errors.ModelError, MODEL),
    (errors.MissingPackage, MODEL),
    (click.ClickException, USAGE),
    (OSError, STORE),
)


def code_of(error: BaseException) -> int:
    """The exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), NOT_FOUND)


def word_of(error: BaseException) -> str:
    """What kind of error it is, in words: "item not found" for ItemNotFound."""
    if isinstance(error, click.UsageError):
        return "usage"
    if isinstance(error, OSError) and not isinstance(error, errors.MemosError):
        return "system error"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def message_of(error: BaseException) -> str:
    """What went wrong, in one line that any encoding can write."""
    said = error.format_message() if isinstance(error, click.ClickException) else str(error)
    return " ".join(said.split()).encode("utf-8", "backslashreplace").decode("utf-8")


def tell_interrupted(*, as_json: bool, quiet: bool) -> int:
    """Say that Ctrl-C was heard; returns the exit code."""
    if as_json:
        told = {"error": {"type": "Interrupted", "message": "interrupted; what was stored stays"}}
        click.echo(msgspec.json.encode(told), err=True)
    elif not quiet:
        click.echo("memos: interrupted; what was stored stays", err=True)
    return INTERRUPTED


def tell(error: BaseException, *, as_json: bool, debug: bool) -> int:
    """Write an error to stderr; returns the exit code."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if as_json:
        told = {"error": {"type": type(error).__name__, "message": message_of(error)}}
        click.echo(msgspec.json.encode(told), err=True)
        return code_of(error)
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
        click.echo(f"Try '{error.ctx.command_path} --help' for help.\n", err=True)
    click.echo(f"memos: {word_of(error)}: {message_of(error)}", err=True)
    return code_of(error)
