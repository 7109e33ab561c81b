"""memos.toml: the settings of a store in a file.

::

    location = "./memory"        # relative to the file
    embedder = "minilm"          # "minilm:./weights" is relative to the file, too
    vectors = "chroma"           # who keeps copies of the vectors of larger cubes (docs/vectors.md)
    deadline = 30.0              # seconds to wait while other processes write
    index_budget_mb = 512
    cache = "./cache"            # for the indexes of a store on a server; relative to the file
    anchor = "../anchor.jsonl"   # where signed checkpoints of the audit go (docs/audit.md); relative to the file
    audit_key = "~/keys/audit"   # of the key that signs them; relative to the file
    checkpoint_every = 1000      # audit entries of a cube from one to the next
    scheduler = true             # run background jobs in threads of whatever opens it (docs/jobs.md)
    max_pending = 10000          # jobs that may wait before add(..., wait=False) refuses more
    rank_by_use = false          # whether what was used lately and often ranks higher
    model = "my_package:chat"    # import path of a language model that background jobs ask
    preferences = true           # find preferences in what users say (docs/preferences.md)
    preferences_after = 30.0     # seconds to wait for more to be said

Secrets have no place in it.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from memos_core.errors import InvalidConfig


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a memos.toml may say; see `MOS.open` for what it means."""

    location: str = "./memory"
    embedder: str | None = None
    vectors: str | None = None
    vectors_from: Annotated[int, msgspec.Meta(ge=0)] | None = None
    vectors_deadline: Annotated[float, msgspec.Meta(gt=0)] | None = None
    deadline: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    index_budget_mb: Annotated[int, msgspec.Meta(ge=0)] = 512
    cache: str | None = None
    anchor: str | None = None
    audit_key: str | None = None
    checkpoint_every: Annotated[int, msgspec.Meta(ge=1)] | None = None
    scheduler: bool = False
    max_pending: Annotated[int, msgspec.Meta(ge=1)] | None = None
    rank_by_use: bool = False
    model: str | None = None
    preferences: bool = False
    preferences_after: Annotated[float, msgspec.Meta(ge=0)] = 0.0

    def arguments(self) -> dict[str, Any]:
        """The arguments of `MOS.open`."""
        return {
            "location": self.location,
            "embedder": self.embedder,
            "vectors": self.vectors,
            "vectors_from": self.vectors_from,
            "vectors_deadline": self.vectors_deadline,
            "deadline": self.deadline,
            "index_budget": self.index_budget_mb << 20,
            "cache": self.cache,
            "anchor": self.anchor,
            "audit_key": self.audit_key,
            "checkpoint_every": self.checkpoint_every,
            "scheduler": self.scheduler,
            "max_pending": self.max_pending,
            "rank_by_use": self.rank_by_use,
            "model": self.model,
            "preferences": self.preferences,
            "preferences_after": self.preferences_after,
        }


def read_config(path: Path) -> Config:
    """The settings in a file; a relative location is taken from the file's folder.

    Raises:
        InvalidConfig: the file cannot be read, is no TOML, or has a setting that does not exist or fit.
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path} is no TOML: {error}") from error
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        known = ", ".join(Config.__struct_fields__)
        raise InvalidConfig(f"{path}: {error}; settings are: {known}") from error
    config = msgspec.structs.replace(
        config, embedder=_beside(config.embedder, path.parent), vectors=_beside(config.vectors, path.parent)
    )
    for name in ("cache", "anchor", "audit_key"):
        place = getattr(config, name)
        if place is not None and "://" not in place and (name, place) != ("anchor", "none"):
            config = msgspec.structs.replace(config, **{name: str(path.parent / Path(place).expanduser())})
    if "://" in config.location or config.location == ":memory:" or not config.location.strip():
        return config
    return msgspec.structs.replace(config, location=str(path.parent / Path(config.location).expanduser()))


def _beside(spec: str | None, folder: Path) -> str | None:
    """A name with a folder ("minilm:./weights"), the folder taken from that of the file."""
    name, separator, rest = (spec or "").partition(":")
    if separator and rest.startswith((".", "~")):
        return f"{name}:{folder / Path(rest).expanduser()}"
    return spec
