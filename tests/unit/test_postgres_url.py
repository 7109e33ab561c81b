"""If these fail, a URL of a store is misunderstood, or a password in it ends up in a message, a log or a traceback."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest

from memos_core import MOS
from memos_core.errors import InvalidConfig, MemosError, UnsupportedStore

pytest.importorskip("psycopg")

from memos_core.stores.sql.postgres.connecting import Connector
from memos_core.stores.sql.postgres.url import PostgresUrl

SECRET = "correct-horse-battery"


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg", "postgres"])
def test_what_a_url_says(scheme: str) -> None:
    url = PostgresUrl(
        f"{scheme}://al%40ice:{SECRET}@db.example.org:6543/app?schema=team_a&pool_size=2&max_overflow=3&sslmode=require"
        "&reads=eventual&poll=2.5&answer_timeout=9&prepare_threshold=none"
    )
    assert url.parameters == {
        "user": "al@ice",
        "password": SECRET,
        "host": "db.example.org",
        "port": "6543",
        "dbname": "app",
        "sslmode": "require",
    }
    assert (url.schema, url.pool_size, url.max_overflow) == ("team_a", 2, 3)
    assert (url.eventual, url.poll, url.answer_timeout, url.prepare_threshold) == (True, 2.5, 9.0, None)
    assert url.name == "postgresql://al%40ice@db.example.org:6543/app?schema=team_a"


def test_what_is_left_out_is_as_documented() -> None:
    url = PostgresUrl("postgresql:///app")
    assert (url.schema, url.pool_size, url.max_overflow, url.eventual) == ("memos", 5, 15, False)
    assert url.name == "postgresql:///app"


def test_several_hosts_are_kept_for_failover() -> None:
    url = PostgresUrl("postgresql://me@one:5432,two:5433/app?target_session_attrs=read-write")
    assert url.parameters["host"] == "one,two"
    assert url.parameters["port"] == "5432,5433"
    assert url.name == "postgresql://me@one:5432,two:5433/app"


@pytest.mark.parametrize(
    "query",
    [
        *("schema=Big", "schema=a-b", "schema=", "schema=pg_x", 'schema=a"b', "schema=a;drop", f"schema={'x' * 60}"),
        *("pool_size=0", "pool_size=-1", "pool_size=x", "max_overflow=0", "reads=sometimes", "poll=0", "poll=nan"),
        *("answer_timeout=-1", "prepare_threshold=x", "colour=blue", "&&", "x"),
    ],
)
def test_settings_that_do_not_exist_or_fit_are_named(query: str) -> None:
    with pytest.raises(InvalidConfig):
        PostgresUrl(f"postgresql://me:{SECRET}@host/app?{query}")


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://me:{SECRET}@tail@host/app",  # an @ that was not encoded
        f"postgresql://me:{SECRET}#tail@host/app",
        f"postgresql://me:{SECRET}/tail@host/app",
        f"postgresql://me:{SECRET}@host:port/app",
        f"postgresql://me:{SECRET}@[::1/app",
        f"postgresql://me:{SECRET}%zz@host/app",
        f"postgresql://me:{SECRET}@host/a%00b",
        f"postgresql://me:{SECRET}@host/app?schema=Big",
        f"postgresql://me:{SECRET}@host/app?nonsense=1",
        f"postgresql://me:{SECRET}@127.0.0.1:1/app",
        f"postgresql://127.0.0.1:1/app?password={SECRET}",
        f"postgresql+asyncpg://me:{SECRET}@host/app",
        f"mysql://me:{SECRET}@host/app",
    ],
)
def test_a_password_is_never_shown(text: str, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(MemosError) as caught:
        MOS.open(text, deadline=1, cache=tmp_path)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    # the line of this very file that a traceback quotes has the name of the constant, not what it holds
    assert SECRET not in shown


def test_nothing_that_holds_a_password_shows_it() -> None:
    url = PostgresUrl(f"postgresql://me:{SECRET}@host/app")
    for each in (url, Connector(url, 1.0)):
        assert SECRET not in repr(each)
        assert SECRET not in str(each)


def test_other_drivers_and_databases_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedStore, match="psycopg 3"):
        PostgresUrl("postgresql+asyncpg://host/app")
