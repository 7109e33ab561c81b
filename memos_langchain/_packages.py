"""What to install where an optional package is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from memos_core.errors import MissingPackage


@contextmanager
def needed(package: str, extra: str, purpose: str) -> Iterator[None]:
    """Imports in the block need a package.

    Args:
        package: as it is installed ("langchain-core").
        extra: of memoskit, that installs it.
        purpose: what needs it.

    Raises:
        MissingPackage: it is not there.
    """
    try:
        yield
    except ImportError as error:
        module = package.replace("-", "_")
        if (error.name or "").partition(".")[0] != module and find_spec(module) is not None:
            raise  # it is there; something else is not
        raise MissingPackage(package, extra, purpose) from error
