"""What a PostgreSQL server or its driver says went wrong, in our words; passwords and memory texts left out."""

from __future__ import annotations

from typing import Final

import psycopg

from memos_core.errors import (
    Conflict,
    ForeignStore,
    InvalidText,
    MemosError,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreRefused,
    StoreUnreachable,
    UnsupportedStore,
)
from memos_core.stores.sql.postgres.url import PostgresUrl

# What libpq says when it cannot connect carries no code, only words.
_REFUSED: Final = (
    ("password authentication failed", "check the user and the password (in the URL, ~/.pgpass or PGPASSWORD)"),
    ("no password supplied", "give a password (in ~/.pgpass, in PGPASSWORD, or in the URL)"),
    ("authentication failed", "check how the server lets this user in (pg_hba.conf)"),
    ("no pg_hba.conf entry", "have the server let this user in from here (pg_hba.conf)"),
    ("permission denied for database", "have it granted: GRANT CONNECT ON DATABASE"),
    ("does not exist", "check the names in the URL; `createdb NAME` makes a database, `createuser NAME` a user"),
    ("certificate", "check sslmode, sslrootcert and the names in the server's certificate"),
    ("does not support SSL", "the server offers no encryption: sslmode=prefer goes on without"),
)
_FOREIGN: Final = (
    *("invalid response to SSL negotiation", "expected authentication request", "unsupported frontend protocol"),
    *("unexpected response from server", "invalid response", "invalid protocol", "lost synchronization"),
)
_COMING_BACK: Final = (
    "starting up",
    "shutting down",
    "recovery mode",
    "terminating connection",
    "closed the connection",
)
GONE: Final = ("08", "57P", "25P03")  # of the connection, or of the server behind it


def translate(error: BaseException, url: PostgresUrl) -> MemosError:
    """A driver's error in our words."""
    raw = getattr(error, "orig", None) or error
    state = getattr(raw, "sqlstate", None) or ""
    said, where = words_of(raw, url), url.name
    if state in ("53100", "53P01"):
        return StoreFull(f"{where}: no space left on the server ({said}); nothing of this change was kept")
    if state in ("55P03", "40001", "40P01", "57014") or state.startswith("53"):
        return StoreBusy(
            f"{where}: the server could not do it in time ({said}); nothing of this change was kept, try again"
        )
    if state == "25006":
        return StoreReadOnly(f"{where}: the server only reads ({said}); name the primary, not a standby")
    if state.startswith("28") or state in ("3D000", "42501"):
        return StoreRefused(
            f"{where}: {said}; check the user, its password and its rights on the database and the schema"
        )
    if state.startswith("XX0") and state != "XX000":
        return StoreDamaged(f"{where}: the server found its own files damaged ({said}); restore a backup")
    if state in ("42P01", "3F000", "42703"):
        return StoreDamaged(f"{where}: tables of the store are gone or altered ({said}); restore a backup")
    if state in ("22021", "22P05") or isinstance(raw, psycopg.DataError):
        return InvalidText(f"{where}: cannot be stored as text: {said}")
    if state == "23505":
        return Conflict(f"{where}: somebody else wrote the same just now ({said}); nothing was kept, try again")
    if state.startswith(GONE) or (not state and isinstance(raw, psycopg.OperationalError | psycopg.InterfaceError)):
        return StoreUnreachable(
            f"{where}: the connection to the server was lost ({said}); nothing of this change was kept"
        )
    if state.startswith("58"):
        return StoreError(f"{where}: the server's disk failed ({said}); what was acknowledged before is kept")
    return StoreError(f"{where}: {said}")


def translate_connecting(error: psycopg.Error, url: PostgresUrl) -> MemosError:
    """Why no connection could be made, in our words."""
    said = words_of(error, url)
    if any(words in said for words in _FOREIGN):
        return UnsupportedStore(f"{url.name}: what answers there is no PostgreSQL server ({said}); check host and port")
    if "too many clients" in said or "connection slots" in said or "too many connections" in said:
        return StoreBusy(
            f"{url.name}: the server has no connection left ({said}); use a smaller pool, or raise its limit"
        )
    for words, advice in _REFUSED:
        if words in said and "translate host name" not in said and "No such file" not in said:
            return StoreRefused(f"{url.name}: {said}; {advice}")
    return StoreUnreachable(
        f"{url.name}: the server cannot be reached ({said}); is it running, and reachable from here?"
    )


def coming_back(error: StoreUnreachable) -> bool:
    """Whether a server said, in so many words, that it is there and will be back; no typing error in a URL does that."""
    return any(words in str(error) for words in _COMING_BACK)


def words_of(error: BaseException, url: PostgresUrl) -> str:
    """The gist of an error: no details of rows (they are people's memories), no password."""
    diagnosis = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    said = diagnosis or " ".join(str(error).split()) or type(error).__name__
    return said.replace(url.secret, "***") if len(url.secret) > 2 else said


def another_store(url: PostgresUrl) -> ForeignStore:
    """The store behind the URL is not the one that was opened."""
    return ForeignStore(
        f"{url.name} is another store by now than the one that was opened; if that is meant, open it anew"
    )
