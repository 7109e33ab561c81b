"""Anchors: places outside of the store where signed checkpoints go, so that a store that was cut or put back is found out.

An anchor is a file to which lines are added, a table in another database, or a function of the application's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from memos_core.errors import AnchorUnavailable, InvalidConfig
from memos_core.protocols.storage import Anchor
from memos_core.types.work import Checkpoint

_PRIVATE: Final = 0o600
Callback = Callable[[Mapping[str, Any]], object]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A checkpoint as text: bytes in hexadecimal digits."""

    store: str
    cube: int
    number: int
    hash: str
    at: int
    after: int
    key: str
    signature: str

    @staticmethod
    def of(checkpoint: Checkpoint) -> Line:
        """A checkpoint as a line."""
        facts = msgspec.structs.asdict(checkpoint)
        return Line(**{**facts, "hash": checkpoint.hash.hex(), "signature": checkpoint.signature.hex()})

    def checkpoint(self) -> Checkpoint:
        """The checkpoint; raises ValueError where it holds no hexadecimal digits."""
        facts = msgspec.structs.asdict(self)
        return Checkpoint(**{**facts, "hash": bytes.fromhex(self.hash), "signature": bytes.fromhex(self.signature)})


class FileAnchor:
    """A file of JSON lines that only ever grows.

    Args:
        path: made, private to the user, if there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.expanduser().absolute()
        self.name = str(self._path)
        self.spec = self.name

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Add them, durably, in one write."""
        lines = b"".join(msgspec.json.encode(Line.of(one)) + b"\n" for one in checkpoints)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            opened = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_APPEND, _PRIVATE)
            try:
                end = os.fstat(opened).st_size
                if end and os.pread(opened, 1, end - 1) != b"\n":  # a line that was cut off by a crash
                    lines = b"\n" + lines
                if os.write(opened, lines) != len(lines):
                    raise OSError("not all of it was written")
                os.fsync(opened)
            finally:
                os.close(opened)
        except OSError as error:
            raise AnchorUnavailable(f"the anchor {self.name} cannot be written: {error.strerror or error}") from error

    def read(self) -> list[Checkpoint | str]:
        """All checkpoints, in order; a sentence in the place of one that cannot be read."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except OSError as error:
            raise AnchorUnavailable(f"the anchor {self.name} cannot be read: {error.strerror or error}") from error
        return [_read(line, f"line {place}") for place, line in enumerate(lines, 1) if line.strip()]

    def close(self) -> None:
        """Nothing is held open."""


def _read(line: bytes, where: str) -> Checkpoint | str:
    try:
        return msgspec.json.decode(line, type=Line).checkpoint()
    except (msgspec.MsgspecError, ValueError):
        return f"{where} of the anchor is no checkpoint: it was altered, or not written as a whole"


class CallbackAnchor:
    """A function that takes each checkpoint as a dict of JSON; what it does with it, it says itself."""

    spec = ""
    name = "a function of the application"

    def __init__(self, callback: Callback) -> None:
        self._callback = callback

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Call it with each."""
        for one in checkpoints:
            try:
                self._callback(msgspec.to_builtins(Line.of(one)))
            except Exception as error:  # whatever the application's own function raises
                raise AnchorUnavailable(
                    f"{self.name} did not take a checkpoint: {type(error).__name__}: {error}"
                ) from error

    def read(self) -> None:
        """It cannot be read."""

    def close(self) -> None:
        """Nothing is held open."""


class GivenAnchor:
    """Checkpoints that were kept somewhere, given back to be compared.

    Args:
        lines: as a callback was given them, or `Checkpoint`.
    """

    spec = ""
    name = "the checkpoints that were given"

    def __init__(self, lines: Sequence[object]) -> None:
        self._lines = lines

    def append(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Nothing can be added to a list that was given."""
        raise AnchorUnavailable("checkpoints cannot be added to a list that was given to compare with")

    def read(self) -> list[Checkpoint | str]:
        """All checkpoints, in order; a sentence in the place of one that cannot be read."""
        return [
            one if isinstance(one, Checkpoint) else _read(msgspec.json.encode(one), f"place {place}")
            for place, one in enumerate(self._lines, 1)
        ]

    def close(self) -> None:
        """Nothing is held open."""


def open_anchor(spec: object) -> Anchor:
    """The anchor that is meant.

    Args:
        spec: a path; the URL of a database (postgresql://..., sqlite:///FILE); a function; a list of checkpoints to compare
            with; or an object with `append` and `read`.

    Raises:
        InvalidConfig: it is none of these.
    """
    if isinstance(spec, str) and "://" in spec:
        from memos_core.stores.sql.anchors import TableAnchor

        return TableAnchor(spec)
    if isinstance(spec, str | Path):
        if not str(spec).strip():
            raise InvalidConfig("the anchor is empty; give a path, the URL of a database, or a function")
        return FileAnchor(Path(spec))
    if isinstance(spec, list | tuple):
        return GivenAnchor(spec)
    if all(callable(getattr(spec, name, None)) for name in ("append", "read", "close")):
        own: Any = spec
        return own  # type: ignore[no-any-return]
    if callable(spec):
        return CallbackAnchor(spec)
    raise InvalidConfig(f"an anchor is a path, the URL of a database, or a function, not {spec!r}")
