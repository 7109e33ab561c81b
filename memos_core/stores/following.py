"""Who keeps copies of the vectors: from what `vectors=` says to tables, and what the store remembers of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from memos_core.errors import ForeignStore, InvalidConfig, MissingPackage, StoreReadOnly
from memos_core.protocols.storage import RecordStore
from memos_core.protocols.vectors import VectorTables
from memos_core.stores.registry import VECTORS, find

SETTING: Final = "vectors"
NOBODY: Final = "none"
LEAST_ROWS: Final = 200_000  # below, the embedded index is as fast
DEADLINE: Final = 0.5
LONGEST_DEADLINE: Final = 3600.0


class FollowingRecord(msgspec.Struct, frozen=True):
    """What a store remembers of who keeps copies of its vectors. Holds no secret.

    Attributes:
        spec: the name by which it can be opened again; "" for an object that only the application has.
        name: what it is called in messages.
        least: cubes with fewer items are not followed; None for the usual number.
        deadline: seconds a search waits; None for the usual ones.
    """

    spec: str
    name: str
    least: int | None = None
    deadline: float | None = None


class Following(msgspec.Struct, frozen=True):
    """Who keeps copies of the vectors, opened.

    Attributes:
        tables: None for nobody.
        lacking: why nobody does although the store remembers somebody, or None.
        least: cubes (and what a filter leaves of them) with fewer items are answered by the embedded index alone.
        deadline: seconds that a search waits.
    """

    tables: VectorTables | None = None
    lacking: str | None = None
    least: int = LEAST_ROWS
    deadline: float = DEADLINE


NOBODY_FOLLOWS: Final = Following()


class _Opens(Protocol):
    def __call__(self, rest: str, *, folder: Path) -> tuple[VectorTables, str]: ...


def recorded(store: RecordStore) -> FollowingRecord | None:
    """What the store remembers; None for nobody."""
    raw = store.setting(SETTING)
    return msgspec.json.decode(raw, type=FollowingRecord) if raw else None


def remember(store: RecordStore, record: FollowingRecord | None) -> None:
    """Have the store remember who keeps copies (None: nobody), where it can be written."""
    raw = store.setting(SETTING)
    value = "" if record is None else msgspec.json.encode(record).decode()
    if value != (raw or ""):
        with suppress(StoreReadOnly):
            store.put_setting(SETTING, value, expect=raw)


def settle(
    store: RecordStore, vectors: object, *, least: int | None, deadline: float | None, folder: Path
) -> Following:
    """Who keeps copies: as is said here, else as the store remembers; from now on it remembers what is said here.

    Args:
        store: the truth.
        vectors: as `load_tables` takes it; None for those that the store remembers, "none" for nobody.
        least: items that a cube must have to be followed; None for what the store remembers.
        deadline: seconds that a search waits; None for what the store remembers.
        folder: of the store.

    Raises:
        InvalidConfig, MissingPackage, ForeignStore: as `load_tables` says, of what is said here. Of what the store
            remembers, `lacking` says why it is not there.
    """
    _check(least, deadline)
    have = recorded(store)
    if vectors == NOBODY:
        remember(store, None)
        return NOBODY_FOLLOWS
    tables: VectorTables | None
    lacking: str | None = None
    if vectors is not None:
        tables, spec = load_tables(vectors, folder=folder)
        same = have if have is not None and have.name == tables.name else FollowingRecord(spec, tables.name)
        have = msgspec.structs.replace(same, spec=spec)
    elif have is None:
        return NOBODY_FOLLOWS
    else:
        tables, lacking = _remembered(have, folder)
    have = msgspec.structs.replace(
        have,
        least=have.least if least is None else least,
        deadline=have.deadline if deadline is None else deadline,
    )
    remember(store, have)
    return Following(
        tables,
        lacking,
        LEAST_ROWS if have.least is None else have.least,
        DEADLINE if have.deadline is None else have.deadline,
    )


def _remembered(record: FollowingRecord, folder: Path) -> tuple[VectorTables | None, str | None]:
    if not record.spec:
        return None, f"{record.name} keeps copies of the vectors and was not given (MOS.open(..., vectors=...))"
    try:
        return load_tables(record.spec, folder=folder)[0], None
    except (MissingPackage, InvalidConfig, ForeignStore) as error:
        return None, f"{record.name} cannot be opened: {error}"


def _check(least: int | None, deadline: float | None) -> None:
    if least is not None and (isinstance(least, bool) or not isinstance(least, int) or least < 0):
        raise InvalidConfig(f"vectors_from is a number of items from 0 on, not {least!r}")
    number = isinstance(deadline, int | float) and not isinstance(deadline, bool)
    if deadline is not None and not (number and 0 < deadline <= LONGEST_DEADLINE):
        raise InvalidConfig(f"vectors_deadline is a number of seconds above 0, up to an hour, not {deadline!r}")


def load_tables(spec: object, *, folder: Path) -> tuple[VectorTables, str]:
    """Tables of vectors, and the name under which they can be opened again ("" for an object).

    Args:
        spec: "chroma" (a folder inside the store's), "chroma:FOLDER", "chroma:http://HOST:PORT"; an object with the methods of
            LangChain's VectorStore or of LlamaIndex's vector stores; or `VectorTables`.
        folder: of the store.

    Raises:
        InvalidConfig: no such name, or no such methods.
        MissingPackage: it needs a package that is not installed.
        ForeignStore: somebody else's data is where ours should be.
    """
    if isinstance(spec, str):
        name, _, rest = spec.partition(":")
        opens: _Opens = find(name, VECTORS, "memos.vectors", "keeper of vectors")
        return opens(rest, folder=folder)
    if all(
        callable(getattr(spec, name, None)) for name in ("table", "strays", "remove", "purge", "close", "after_fork")
    ):
        tables: Any = spec
        return tables, ""
    from memos_core.stores.host_vectors import as_tables

    return as_tables(spec), ""
