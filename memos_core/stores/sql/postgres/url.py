"""Where a store on a PostgreSQL server is, as a URL says it.

::

    postgresql+psycopg://alice@db.example.org:5432/app?schema=memos&pool_size=5&sslmode=verify-full

Everything that libpq understands may stand in the query (`sslmode`, `target_session_attrs`, several hosts, ...); the names
in `OWN` are ours. A store is a schema: several stores share a database by having different ones.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from memos_core.errors import InvalidConfig, MissingPackage, UnsupportedStore

SCHEMES: Final = ("postgresql", "postgresql+psycopg", "postgres")
DEFAULT_SCHEMA: Final = "memos"
OWN: Final = ("schema", "pool_size", "max_overflow", "reads", "poll", "answer_timeout", "prepare_threshold")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_ADVICE = "write it as postgresql://USER@HOST:PORT/DATABASE; @ : / ? # % in a name or password are percent-encoded"


class PostgresUrl:
    """Where a store is. Its `repr` and `name` never show a password.

    Attributes:
        name: for messages.
        schema: that holds the tables.
        pool_size: connections that are kept open, once they have been needed.
        max_overflow: more of them in times of need.
        eventual: writes of other processes may be seen late (`reads=eventual`).
        poll: seconds after which such a reader looks without having been told.
        answer_timeout: seconds after which a server that says nothing counts as gone; None for 30 more than a store waits.
        prepare_threshold: uses of a statement before the server is asked to keep it; None never asks.
        secret: the password, so that it can be kept out of messages; "" for none.

    Raises:
        UnsupportedStore: another kind of URL.
        InvalidConfig: a setting that does not exist or fit.
    """

    def __init__(self, text: str) -> None:
        scheme, _, rest = text.partition("://")
        if scheme not in SCHEMES:
            raise UnsupportedStore(f"{scheme!r} stores are not supported; PostgreSQL is postgresql:// (psycopg 3)")
        try:
            parts = urlsplit(f"postgresql://{rest}")
            query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise InvalidConfig(f"the {scheme} URL cannot be read; {_ADVICE}") from None  # the cause would quote it
        own = {key: value for key, value in query if key in OWN}
        self.parameters = _for_libpq(parts.netloc, parts.path, parts.fragment, [p for p in query if p[0] not in OWN])
        self.secret = self.parameters.get("password") or ""
        self.schema = own.get("schema", DEFAULT_SCHEMA)
        if not _SCHEMA.fullmatch(self.schema) or self.schema.startswith("pg_"):
            raise InvalidConfig(
                f"schema={self.schema!r} will not do: a small letter or _, then at most 47 small letters, digits, _"
            )
        self.pool_size = _whole(own, "pool_size", 5, 1)
        self.max_overflow = _whole(own, "max_overflow", 15, 1)
        self.poll = _seconds(own, "poll") or 1.0
        self.answer_timeout = _seconds(own, "answer_timeout")
        never = own.get("prepare_threshold") == "none"
        self.prepare_threshold = None if never else _whole(own, "prepare_threshold", 5, 0)
        if own.get("reads", "current") not in ("current", "eventual"):
            raise InvalidConfig(f"reads={own['reads']!r}: it is current (the default) or eventual")
        self.eventual = own.get("reads") == "eventual"
        self.name = self._name()

    def _name(self) -> str:
        hosts, ports = (self.parameters.get(key, "").split(",") for key in ("host", "port"))
        ports = ports * len(hosts) if len(ports) == 1 else ports
        where = ",".join(f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False))
        user = f"{quote(self.parameters['user'], safe='')}@" if self.parameters.get("user") else ""
        schema = "" if self.schema == DEFAULT_SCHEMA else f"?schema={self.schema}"
        return f"postgresql://{user}{where}/{quote(self.parameters.get('dbname', ''), safe='')}{schema}"

    def __repr__(self) -> str:
        return f"PostgresUrl({self.name!r})"


def _for_libpq(netloc: str, path: str, fragment: str, query: list[tuple[str, str]]) -> dict[str, str]:
    try:
        from psycopg import Error
        from psycopg.conninfo import conninfo_to_dict
        from psycopg.pq import Conninfo
    except ImportError as error:
        raise MissingPackage("psycopg", "postgres", "a store on a PostgreSQL server") from error
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    unknown = sorted({key for key, _ in query} - known)
    if unknown:
        raise InvalidConfig(
            f"a PostgreSQL URL has no setting {', '.join(map(repr, unknown))}; ours are {', '.join(OWN)}, "
            "and there are those of libpq (sslmode, connect_timeout, target_session_attrs, ...)"
        )
    if fragment or netloc.count("@") > 1:
        raise InvalidConfig(f"the postgresql URL cannot be read; {_ADVICE}")
    try:
        # what stands in the query wins, as libpq has it
        found = conninfo_to_dict(f"postgresql://{netloc}{path}?{urlencode(query, quote_via=quote)}")
    except (Error, UnicodeError):
        raise InvalidConfig(f"the postgresql URL cannot be read; {_ADVICE}") from None
    parameters = {key: str(value) for key, value in found.items() if value is not None}
    if any(port and not port.isdecimal() for port in parameters.get("port", "").split(",")):
        raise InvalidConfig(f"the postgresql URL cannot be read: its port is no number; {_ADVICE}")
    if "\x00" in unquote(path) or any("\x00" in value for value in parameters.values()):
        raise InvalidConfig(f"the postgresql URL has a NUL character in it; {_ADVICE}")
    return parameters


def _whole(own: dict[str, str], key: str, default: int, least: int) -> int:
    value = own.get(key, str(default))
    if not value.isdecimal() or int(value) < least:
        raise InvalidConfig(f"{key}={value!r} is a whole number from {least} on")
    return int(value)


def _seconds(own: dict[str, str], key: str) -> float | None:
    if key not in own:
        return None
    try:
        value = float(own[key])
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise InvalidConfig(f"{key}={own[key]!r} is a number of seconds above 0")
    return value
