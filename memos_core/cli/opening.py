"""Which store, on whose behalf, which cubes: what the command line, the environment and a memos.toml say together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from memos_core.cli.options import Settings
from memos_core.errors import StoreNotFound

if TYPE_CHECKING:
    from memos_core.mos import MOS
    from memos_core.session import Session

DEFAULT_STORE: Final = "./memory"
DEADLINE: Final = 30.0  # seconds, where no memos.toml says otherwise


def actor_of(settings: Settings) -> str:
    """On whose behalf: as said, else as the environment says, else the login name."""
    said = settings.actor or os.environ.get("MEMOS_ACTOR")
    if said:
        return said
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise click.UsageError(
            "your login name cannot be found out; say who you are with --as or $MEMOS_ACTOR"
        ) from error


def arguments_of(settings: Settings) -> dict[str, Any]:
    """The arguments of `MOS.open`.

    Raises:
        click.UsageError: both a store and a memos.toml were named.
        InvalidConfig: the memos.toml cannot be read.
    """
    if settings.store and settings.config:
        raise click.UsageError("--store and --config both say where the store is; give one of them")
    if settings.config:
        from memos_core.config import read_config

        arguments = read_config(Path(settings.config)).arguments() | {"scheduler": False}  # `memos worker` runs jobs
    else:
        arguments = {"location": settings.store or os.environ.get("MEMOS_STORE") or DEFAULT_STORE}
    if os.environ.get("MEMOS_CACHE") and not arguments.get("cache"):
        arguments["cache"] = os.environ["MEMOS_CACHE"]
    if settings.embedder:
        arguments["embedder"] = settings.embedder
    if settings.vectors:
        arguments["vectors"] = settings.vectors
    return arguments


def folder_of_store(settings: Settings) -> Path | None:
    """The folder of a store; None for one on a server.

    Raises:
        UnsupportedStore: it is a URL of a database that is not supported.
    """
    from memos_core.stores.opening import folder_of, is_server

    location = arguments_of(settings)["location"]
    return None if is_server(location) else folder_of(location)


def there_is_a_store(settings: Settings) -> bool:
    """Whether there is a store where the settings say; nothing is made by merely asking.

    Raises:
        StoreError: it cannot be found out.
    """
    from memos_core.stores.opening import store_exists

    arguments = arguments_of(settings)
    return store_exists(arguments["location"], deadline=float(arguments.get("deadline", DEADLINE)))


def require_store(settings: Settings) -> None:
    """Make sure that there is a store.

    Raises:
        StoreNotFound: there is none.
    """
    from memos_core.stores.opening import shown

    if not there_is_a_store(settings):
        raise StoreNotFound(
            f"there is no store at {shown(arguments_of(settings)['location'])}; name one with --store or $MEMOS_STORE, "
            "or make one with `memos add` or `memos ingest`"
        )


@contextmanager
def opened(settings: Settings, *, create: bool = False) -> Iterator[MOS]:
    """The store, closed at the end.

    Args:
        settings: which.
        create: make it if there is none.

    Raises:
        StoreNotFound: there is none, and none shall be made; or as `MOS.open` says.
    """
    from memos_core.mos import MOS
    from memos_core.stores.opening import named

    arguments = arguments_of(settings)
    fresh = not there_is_a_store(settings)
    if fresh and not create:
        require_store(settings)
    with MOS.open(**arguments, usage=False) as mos:  # what an operator looks up says nothing about what is needed
        if fresh and not settings.quiet and not settings.as_json:
            said = f"made a new store at {named(arguments['location'])}"
            if arguments.get("embedder") is None:
                said += "; it has no embedder, so search goes by words alone (`memos reembed minilm` adds one)"
            click.echo(f"memos: {said}", err=True)
        yield mos


@contextmanager
def reading(settings: Settings) -> Iterator[Session]:
    """A session that reads, from a store that there is."""
    with opened(settings) as mos:
        yield mos.session(actor_of(settings), read_from=settings.cubes or None, write_to=[])


@contextmanager
def writing(settings: Settings, *, create: bool = False, conversation: str | None = None) -> Iterator[Session]:
    """A session that reads and writes.

    Args:
        settings: in which store, for whom, in which cubes.
        create: make the store if there is none.
        conversation: what is added belongs to it.
    """
    with opened(settings, create=create) as mos:
        cubes = settings.cubes or None
        yield mos.session(actor_of(settings), conversation=conversation, read_from=cubes, write_to=cubes)
