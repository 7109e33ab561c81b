"""Where answers go: JSON, a terminal, or a pipe. Nothing that is stored can command the terminal it is shown on."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from memos_core.cli.options import Settings

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

# Characters that turn the direction of what follows: a text must not rearrange the line it is shown in.
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Output:
    """The answers of one command.

    Args:
        settings: whether in JSON, in colour, at all.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.as_json = settings.as_json
        self.terminal = not settings.as_json and sys.stdout.isatty()

    # -- JSON -----------------------------------------------------------------------------------------------------

    def document(self, value: Any) -> None:
        """One JSON document, on one line."""
        click.echo(msgspec.json.encode(value))

    # -- text -----------------------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """One line, as it is."""
        click.echo(printable(text))

    def fields(self, *values: object) -> None:
        """One line of fields separated by tabs; line breaks and tabs inside of them become spaces."""
        click.echo("\t".join(one_line("" if value is None else str(value)) for value in values))

    def done(self, text: str) -> None:
        """What has been done, in a line; nothing where --quiet was asked for."""
        if not self.settings.quiet:
            self.line(text)

    def note(self, text: str) -> None:
        """Something worth knowing beside the answer, on stderr."""
        if not self.settings.quiet and not self.as_json:
            click.echo(f"memos: {printable(text)}", err=True)

    # -- a terminal -----------------------------------------------------------------------------------------------

    @cached_property
    def console(self) -> Console:
        """The terminal."""
        from rich.console import Console

        return Console(no_color=self.settings.no_color or None, highlight=False, markup=False, emoji=False)

    def show(self, what: RenderableType) -> None:
        """Something drawn for the terminal."""
        self.console.print(what)

    def texts(self, lines: Iterable[Text]) -> None:
        """Lines with styles; a pipe gets them without, and unbroken."""
        for each in lines:
            if self.terminal:
                self.console.print(each)
            else:
                click.echo(each.plain)

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Names and what they stand for, in two columns; those that stand for nothing are left out."""
        said = [(name, value) for name, value in pairs if value]
        if not self.terminal:
            for name, value in said:
                self.fields(name, value)
            return
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for name, value in said:
            table.add_row(name, Text(printable(value)))
        self.show(table)


def printable(text: str) -> str:
    """The text with what would command a terminal (escape sequences, turned writing) shown as escapes."""
    if text.isprintable():
        return text
    return "".join(each if _harmless(each) else f"\\x{ord(each):02x}" for each in text)


def _harmless(character: str) -> bool:
    return character in "\n\t" or (unicodedata.category(character) != "Cc" and character not in _TURNING)


def one_line(text: str) -> str:
    """The text on one line: white space of any kind and length becomes one space."""
    return printable(" ".join(text.split()))


def moment(at: datetime | None) -> str:
    """A time as people read it, in UTC, to the minute; a day alone where it has no time of day; "" for none."""
    if at is None:
        return ""
    at = at.astimezone(UTC)
    return (
        f"{at:%Y-%m-%d}" if (at.hour, at.minute, at.second, at.microsecond) == (0, 0, 0, 0) else f"{at:%Y-%m-%d %H:%M}"
    )


def counted(number: int, thing: str) -> str:
    """ "1 item", "2,000 items"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
