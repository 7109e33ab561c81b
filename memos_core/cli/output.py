"""Where answers go: JSON, a terminal, or a pipe. Nothing that is stored can command the terminal it is shown on."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TextIO

import click
import msgspec

from memos_core.cli.options import Settings

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

# Characters that turn the direction of what follows: a text must not rearrange the line it is shown in.
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


class Output:
    """The answers of one command.

    Args:
        settings: whether in JSON, in colour, at all.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.as_json = settings.as_json
        self.terminal = not settings.as_json and is_terminal(sys.stdout)

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

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Rows under headings (numbers to the right); a pipe gets the rows alone, a line of fields each.

        Args:
            columns: headings.
            rows: as many values each as there are headings.
        """
        told = [["" if value is None else value for value in row] for row in rows]
        if not self.terminal:
            for row in told:
                self.fields(*row)
            return
        if not told:
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for name, value in zip(columns, told[0], strict=True):
            table.add_column(name, justify="right" if isinstance(value, int) else "left", overflow="fold")
        for row in told:
            table.add_row(*(f"{each:,}" if isinstance(each, int) else Text(one_line(str(each))) for each in row))
        self.show(table)

    def texts(self, paragraphs: Iterable[tuple[int, Text]]) -> None:
        """Paragraphs with styles, each set in by so many columns; a pipe gets them without styles, and unbroken."""
        from rich.padding import Padding

        for columns, text in paragraphs:
            if self.terminal:
                self.console.print(Padding(text, (0, 0, 0, columns)))
            else:
                click.echo("\n".join(" " * columns + line for line in text.plain.split("\n")))

    def paragraph(self, text: str) -> None:
        """A text, broken between words on a terminal."""
        if self.terminal:
            from rich.text import Text

            self.show(Text(printable(text)))
        else:
            self.line(text)

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


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody looks at it; a stream may be closed, and then there is none."""
    return stream is not None and stream.isatty()


def plain(value: Any) -> Any:
    """The same as JSON data, with every field of every value: what is empty today is no reason for a key to be missing."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    return [plain(member) for member in value] if isinstance(value, tuple) else value


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


def in_bytes(size: float) -> str:
    """A size as people say it."""
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            return f"{size:,.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
