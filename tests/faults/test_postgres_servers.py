"""If these fail, a server that goes away, is the wrong one, or refuses, costs a user memories, or an hour of searching."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from servers import PASSWORD, PostgresServer, Proxy, need_postgres, until

from memos_core import MOS
from memos_core.errors import (
    CommitUnknown,
    ForeignStore,
    MemosError,
    NewerSchema,
    StoreBusy,
    StoreFull,
    StoreReadOnly,
    StoreRefused,
    StoreUnreachable,
    UnsupportedStore,
)


@pytest.fixture(scope="module", autouse=True)
def _server() -> None:
    need_postgres()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def texts(mos: MOS) -> set[str]:
    return {item.text for item in mos.session("alice").list(limit=10_000)}


@contextmanager
def proxied(server: PostgresServer, database: str) -> Iterator[tuple[Proxy, str]]:
    proxy = Proxy(server.port)
    try:
        yield proxy, f"postgresql://postgres@127.0.0.1:{proxy.port}/{database}"
    finally:
        proxy.held.clear()
        proxy.close()


# -- a server that goes away ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_a_server_that_comes_back_is_found_again(own_postgres: PostgresServer, cache: Path, how: str) -> None:
    """Reads and the beginnings of writes wait for it; what was acknowledged is all there, and is found."""
    with MOS.open(own_postgres.url(), cache=cache, deadline=60) as mos:
        alice = mos.session("alice")
        alice.add(["The lighthouse is red.", "The harbour is deep."])
        assert len(alice.search("lighthouse")) == 1
        own_postgres.kill() if how == "kill" else own_postgres.stop(how)
        back = threading.Timer(0.5, own_postgres.start)
        back.start()
        assert alice.search("lighthouse")[0].text == "The lighthouse is red."
        back.join()
        own_postgres.stop("immediate")
        back = threading.Timer(0.5, own_postgres.start)
        back.start()
        alice.add("The ferry leaves at nine.")
        back.join()
        assert alice.search("ferry")[0].text == "The ferry leaves at nine."
        assert len(texts(mos)) == 3
        assert mos.verify() == []


def test_a_server_that_stays_away_is_an_error_by_the_deadline(own_postgres: PostgresServer, cache: Path) -> None:
    with MOS.open(own_postgres.url(), embedder="given:2", cache=cache, deadline=1.0) as mos:
        vectors = np.ones((1100, 2), dtype=np.float32)
        for name in ("alice", "bob", "carol", "dora"):  # large enough for their indexes to be kept in files
            session = mos.session(name)
            session.add([f"The lighthouse is red {n}." for n in range(1100)], vectors=vectors)
            session.search("lighthouse", top_k=1)
        alice = mos.session("alice")
        own_postgres.stop()
        for ask in (
            lambda: alice.search("lighthouse"),
            lambda: alice.add(["More."], vectors=vectors[:1]),
            alice.list,
            mos.cubes,
        ):
            start = time.monotonic()
            with pytest.raises(StoreUnreachable, match="is it running"):
                ask()
            assert 0.5 < time.monotonic() - start < 8
        closing = time.monotonic()
    assert time.monotonic() - closing < 4, "closing waited for every index in turn"
    with pytest.raises(StoreUnreachable):  # opening says so at once: a typing error in a URL is not waited for
        MOS.open(own_postgres.url(), cache=cache, deadline=60)
    own_postgres.start()
    with MOS.open(own_postgres.url(), cache=cache) as mos:
        assert len(texts(mos)) == 1100


def test_a_write_that_is_interrupted_keeps_nothing(own_postgres: PostgresServer, cache: Path) -> None:
    """The server is stopped while a transaction is under way: it says so, and the store is as it was before."""
    with MOS.open(own_postgres.url(), cache=cache, deadline=30) as mos:
        alice = mos.session("alice")
        alice.add("before")
        store = mos._store
        with pytest.raises(StoreUnreachable, match="nothing of this change was kept"):  # noqa: SIM117
            with store.begin(actor="alice", action="add") as transaction:
                cube = transaction.cube("alice")
                assert cube is not None
                own_postgres.stop()
                own_postgres.start()
                transaction.heads(cube, ["x"])
        assert texts(mos) == {"before"}
        alice.add("after")
        assert texts(mos) == {"before", "after"}
        assert mos.verify() == []


def test_a_catch_up_that_is_interrupted_goes_on(own_postgres: PostgresServer, cache: Path, tmp_path: Path) -> None:
    """An index is being filled slice by slice while the server goes down and comes back: no row is missed or doubled."""
    with MOS.open(own_postgres.url(), embedder="given:4", cache=tmp_path / "other") as writer:
        vectors = np.eye(4, dtype=np.float32)[np.arange(5000) % 4]
        writer.session("alice").add([f"note number {n}" for n in range(5000)], vectors=vectors)
    with MOS.open(own_postgres.url(), cache=cache, deadline=60) as mos:
        store = mos._store
        changes = store.changes

        def interrupted(*arguments: object) -> Iterator[object]:
            for number, piece in enumerate(changes(*arguments)):  # type: ignore[arg-type]
                yield piece
                if number == 0:
                    own_postgres.stop("immediate")
                    threading.Timer(0.3, own_postgres.start).start()

        store.changes = interrupted  # type: ignore[method-assign, assignment]
        assert mos.session("alice").search("note number 4999", top_k=1)[0].text == "note number 4999"
        store.changes = changes  # type: ignore[method-assign]
        assert mos.verify() == []


def test_a_connection_that_breaks_is_made_anew(postgres: PostgresServer, database: str, cache: Path) -> None:
    with proxied(postgres, database) as (proxy, url), MOS.open(url, cache=cache, deadline=20) as mos:
        alice = mos.session("alice")
        for n in range(5):
            alice.add(f"note {n}")
            proxy.cut()
            assert len(alice.search("note")) == n + 1
            proxy.cut()
        assert len(texts(mos)) == 5


def test_a_server_that_says_nothing_is_given_up(postgres: PostgresServer, database: str, cache: Path) -> None:
    with proxied(postgres, database) as (proxy, url):
        mos = MOS.open(f"{url}?answer_timeout=0.5&connect_timeout=2", cache=cache, deadline=1)
        alice = mos.session("alice")
        alice.add("note")
        proxy.held.set()
        start = time.monotonic()
        with pytest.raises(StoreUnreachable):
            alice.search("note")
        assert time.monotonic() - start < 15
        proxy.held.clear()
        assert alice.search("note")[0].text == "note"
        mos.close()


# -- a commit whose answer is lost ------------------------------------------------------------------------------------


def test_a_commit_that_was_kept_is_not_reported_as_lost(postgres: PostgresServer, database: str, cache: Path) -> None:
    """The server commits, and the connection breaks before it can say so: `add` finds out, and nothing is stored twice."""
    with proxied(postgres, database) as (proxy, url), MOS.open(url, cache=cache, deadline=20) as mos:
        alice = mos.session("alice")
        alice.add("first")
        for n in range(3):
            proxy.cut_after = b"COMMIT\x00"
            assert alice.add(f"note {n}").new
            assert proxy.cuts == n + 1
        bob = mos.session("bob")  # a cube that the lost commit itself has made
        proxy.cut_after = b"COMMIT\x00"
        bob.add("his first")
        assert proxy.cuts == 4
        assert texts(mos) == {"first", "note 0", "note 1", "note 2"}
        assert len(bob.list()) == 1
        assert mos.verify() == []


def test_a_commit_that_was_not_kept_is_an_error(postgres: PostgresServer, database: str, cache: Path) -> None:
    """The server dies of the commit itself."""
    with MOS.open(postgres.url(database), cache=cache, deadline=20) as mos:
        alice = mos.session("alice")
        alice.add("first")
        with postgres.connect(database) as side:
            side.execute("SET search_path = memos")
            side.execute(
                "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
            )
            side.execute(
                "CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON versions DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION die()"
            )
        with pytest.raises(StoreUnreachable) as caught:
            alice.add("lost")
        assert not isinstance(caught.value, CommitUnknown)
        with postgres.connect(database) as side:
            side.execute("DROP TRIGGER dies ON memos.versions")
        assert texts(mos) == {"first"}
        alice.add("second")
        assert texts(mos) == {"first", "second"}


def test_a_commit_that_nobody_can_be_asked_about_says_so(
    own_postgres: PostgresServer, tmp_path: Path, cache: Path
) -> None:
    with proxied(own_postgres, "postgres") as (proxy, url):
        mos = MOS.open(url, cache=cache, deadline=1)
        alice = mos.session("alice")
        alice.add("first")
        proxy.cut_after, proxy.for_good = b"COMMIT\x00", True
        with pytest.raises(CommitUnknown, match="look before you try again"):
            alice.add("who knows")
        mos.close()
    with MOS.open(own_postgres.url(), cache=cache) as mos:
        assert texts(mos) == {"first", "who knows"}


# -- another server than meant ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown command\r\n", b"\x00" * 64])
def test_a_server_of_another_kind_is_named(answer: bytes, cache: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                client.recv(1024)
                client.sendall(answer)
                client.close()

    threading.Thread(target=serve, daemon=True).start()
    with pytest.raises((UnsupportedStore, StoreUnreachable)) as caught:
        MOS.open(f"postgresql://me@127.0.0.1:{port}/app", cache=cache, deadline=2)
    listening.close()
    assert str(port) in str(caught.value)
    if not answer.startswith(b"\x00"):
        assert isinstance(caught.value, UnsupportedStore)


def test_a_wrong_password_is_refused_at_once(own_postgres: PostgresServer, cache: Path) -> None:
    with own_postgres.connect() as side:
        side.execute("SET password_encryption = 'scram-sha-256'")
        side.execute(f"CREATE USER alice PASSWORD '{PASSWORD}'")
        side.execute("CREATE DATABASE hers OWNER alice")
    hba = own_postgres.data / "pg_hba.conf"
    hba.write_text(f"host all alice 127.0.0.1/32 scram-sha-256\n{hba.read_text()}")
    with own_postgres.connect() as side:
        side.execute("SELECT pg_reload_conf()")
    port = own_postgres.port
    start = time.monotonic()
    for password in (":wrong-and-secret", ""):
        with pytest.raises(StoreRefused, match="password") as caught:
            MOS.open(f"postgresql://alice{password}@127.0.0.1:{port}/hers", cache=cache)
        assert "wrong-and-secret" not in str(caught.value)
    assert time.monotonic() - start < 5
    with MOS.open(f"postgresql://alice:{PASSWORD}@127.0.0.1:{port}/hers", cache=cache) as mos:
        mos.session("alice").add("mine")
        assert PASSWORD not in repr(mos)
        assert PASSWORD not in str(mos.stats())
        with own_postgres.connect() as side:  # the password is changed while the store is open
            side.execute("ALTER USER alice PASSWORD 'another'")
            side.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'alice'")
        with pytest.raises(StoreRefused):
            mos.session("alice").search("mine")


def test_a_database_that_is_not_there_is_said(postgres: PostgresServer, cache: Path) -> None:
    with pytest.raises(StoreRefused, match="createdb"):
        MOS.open(postgres.url("nowhere"), cache=cache)


def test_a_user_who_may_not_make_a_schema_is_told_what_to_ask_for(
    postgres: PostgresServer, database: str, cache: Path
) -> None:
    user = f"u{database}"
    with postgres.connect(database) as side:
        side.execute(f"CREATE USER {user}")
    try:
        with pytest.raises(StoreRefused, match="CREATE SCHEMA"):
            MOS.open(postgres.url(database, user=user), cache=cache)
        MOS.open(postgres.url(database), cache=cache).close()
        with pytest.raises(StoreRefused, match="GRANT"):
            MOS.open(postgres.url(database, user=user), cache=cache)
        with postgres.connect(database) as side:
            side.execute(f'CREATE SCHEMA "{user}" AUTHORIZATION {user}')
        with MOS.open(postgres.url(database, user=user, more=f"?schema={user}"), cache=cache) as mos:
            mos.session("alice").add("mine")
    finally:
        with postgres.connect(database) as side:
            side.execute(f"DROP OWNED BY {user} CASCADE")
            side.execute(f"DROP USER {user}")


def test_somebody_elses_tables_are_left_alone(postgres: PostgresServer, database: str, cache: Path) -> None:
    with postgres.connect(database) as side:
        side.execute("CREATE TABLE orders (id int)")
        side.execute("CREATE SCHEMA taken")
        side.execute("CREATE TABLE taken.items (id int)")
    with pytest.raises(ForeignStore, match="items"):
        MOS.open(postgres.url(database, more="?schema=taken"), cache=cache)
    with MOS.open(postgres.url(database), cache=cache) as mos:  # beside the application's own tables
        mos.session("alice").add("mine")
    with postgres.connect(database) as side:
        tables = side.execute(
            "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('public', 'taken')"
        ).fetchall()
    assert sorted(tables) == [("public.orders",), ("taken.items",)]


def test_a_database_that_a_newer_version_migrated_is_refused(
    postgres: PostgresServer, database: str, cache: Path
) -> None:
    MOS.open(postgres.url(database), cache=cache).close()
    with postgres.connect(database) as side:
        side.execute("INSERT INTO memos.migrations VALUES ('m999_from_the_future', 0)")
    with pytest.raises(NewerSchema, match="m999_from_the_future"):
        MOS.open(postgres.url(database), cache=cache)


def test_a_database_that_cannot_hold_every_text_is_refused(postgres: PostgresServer, cache: Path) -> None:
    name = postgres.new_database("TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        with pytest.raises(UnsupportedStore, match="UTF8"):
            MOS.open(postgres.url(name), cache=cache)
    finally:
        postgres.drop_database(name)


def test_another_store_behind_the_same_url_is_not_taken_for_it(
    postgres: PostgresServer, database: str, cache: Path
) -> None:
    """Somebody sets the database up anew while a process has it open."""
    with MOS.open(postgres.url(database), cache=cache, deadline=2) as mos:
        mos.session("alice").add("the old one")
        with postgres.connect(database) as side:
            side.execute("DROP SCHEMA memos CASCADE")
        with MOS.open(postgres.url(database), cache=cache) as other:
            other.session("alice").add("the new one")
        with postgres.connect(database) as side:
            side.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with pytest.raises(ForeignStore, match="open it anew"):
            mos.session("alice").search("one")
        with pytest.raises(ForeignStore, match="open it anew"):
            mos.session("alice").add("into the wrong one")
    with MOS.open(postgres.url(database), cache=cache) as mos:
        assert texts(mos) == {"the new one"}
        assert mos.verify() == []


def test_a_database_that_went_back_to_an_older_copy_is_followed(
    postgres: PostgresServer, database: str, cache: Path
) -> None:
    """A backup is put in: numbers are given out a second time, for other memories. No index may go on with the first."""
    with MOS.open(postgres.url(database), embedder="hashing", cache=cache, deadline=20) as mos:
        alice = mos.session("alice")
        alice.add([f"kept {n}" for n in range(20)])
        copy = postgres.new_database(f"TEMPLATE {database}") if _closed(mos) else ""
        alice.add([f"undone {n}" for n in range(20)])
        assert len(alice.search("undone", top_k=50)) > 0
        mos.close()
        with postgres.connect() as side:
            side.execute(f"DROP DATABASE {database} WITH (FORCE)")
            side.execute(f"ALTER DATABASE {copy} RENAME TO {database}")
    with MOS.open(postgres.url(database), cache=cache) as mos:
        mos.session("alice").add([f"instead {n}" for n in range(20)])
        assert texts(mos) == {f"{what} {n}" for what in ("kept", "instead") for n in range(20)}
        assert mos.verify() == []


def _closed(mos: MOS) -> bool:
    """Let go of every connection for a moment: a database in use cannot be copied."""
    database = mos._store._database  # type: ignore[attr-defined]
    database.engine.dispose()
    database.freshness._drop()
    return True


def test_a_standby_is_refused_with_a_word_on_the_primary(own_postgres: PostgresServer, cache: Path) -> None:
    MOS.open(own_postgres.url(), cache=cache).close()
    own_postgres.stop()
    (own_postgres.data / "standby.signal").touch()
    own_postgres.start()
    with pytest.raises(StoreReadOnly, match="primary"):
        MOS.open(own_postgres.url(), cache=cache)


def test_a_promoted_server_with_another_history_empties_the_indexes(
    own_postgres: PostgresServer, cache: Path, tmp_path: Path
) -> None:
    """After a failover, changes that the new primary never got are not found any more, though they had been indexed, and
    others bear their numbers."""
    with MOS.open(own_postgres.url(), cache=cache, deadline=30) as mos:
        alice = mos.session("alice")
        for text in ("kept", "lost one", "lost two"):
            alice.add(text)
        assert len(alice.search("lost")) == 2
        lineage = mos._store.lineage()
        own_postgres.stop()
        (own_postgres.data / "standby.signal").touch()
        own_postgres.start()
        with own_postgres.connect() as side:
            side.execute("SELECT pg_promote()")
            until(lambda: not side.execute("SELECT pg_is_in_recovery()").fetchone()[0], "promotion")
            side.execute("SET search_path = memos")  # what the new primary never got
            for table, column in (("vectors", "place"), ("versions", "place"), ("items", "item")):
                side.execute(f"DELETE FROM {table} WHERE {column} % (1::bigint << 40) > 1")
            for table in ("batches", "details"):
                side.execute(f"DELETE FROM {table} WHERE number > 1")
            side.execute("UPDATE cubes SET seq = 1, batches = 1, chain = (SELECT hash FROM batches)")
        with MOS.open(own_postgres.url(), cache=tmp_path / "other") as other:
            for text in ("instead one", "instead two", "instead three"):
                other.session("alice").add(text)
        assert {hit.text for hit in alice.search("kept lost instead", top_k=9)} == {
            "kept",
            "instead one",
            "instead two",
            "instead three",
        }
        assert mos._store.lineage() != lineage
        assert mos.verify() == []


# -- a server that will not -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "kind"), [("53100", StoreFull), ("53200", StoreBusy), ("25006", StoreReadOnly), ("42501", StoreRefused)]
)
@pytest.mark.parametrize("rows", [1, 40])
def test_what_a_server_refuses_in_the_middle_of_a_write_keeps_nothing(
    postgres: PostgresServer, database: str, cache: Path, state: str, kind: type[MemosError], rows: int
) -> None:
    """No room, no memory, no right: the server says so while rows go in (one by one, or copied)."""
    with MOS.open(postgres.url(database), embedder="given:2", cache=cache) as mos:
        alice = mos.session("alice")
        vectors = np.ones((rows, 2), dtype=np.float32)
        alice.add(["before"], vectors=vectors[:1])
        with postgres.connect(database) as side:
            side.execute("SET search_path = memos")
            side.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{state}', DETAIL = NEW::text; END $$"
            )
            side.execute("CREATE TRIGGER refuses BEFORE INSERT ON vectors FOR EACH ROW EXECUTE FUNCTION refuse()")
        with pytest.raises(kind, match="not now") as caught:
            alice.add([f"secret words {n}" for n in range(rows)], vectors=vectors)
        assert "secret words" not in str(caught.value)
        with postgres.connect(database) as side:
            side.execute("DROP TRIGGER refuses ON memos.vectors")
        assert texts(mos) == {"before"}
        alice.add([f"after {n}" for n in range(rows)], vectors=vectors)
        assert len(texts(mos)) == rows + 1
        assert mos.verify() == []


def test_too_many_connections_are_waited_for_and_then_said(own_postgres: PostgresServer, cache: Path) -> None:
    with own_postgres.connect() as side:
        side.execute("CREATE USER few CONNECTION LIMIT 0")
        side.execute("CREATE DATABASE hers OWNER few")
    with pytest.raises(StoreBusy, match="smaller pool"):
        MOS.open(own_postgres.url("hers", user="few"), cache=cache, deadline=1)


def test_a_frozen_server_does_not_freeze_its_users(own_postgres: PostgresServer, cache: Path) -> None:
    """Every process of it is stopped in its tracks: the connection stays, and nothing comes."""
    url = own_postgres.url(more="?answer_timeout=0.5&connect_timeout=2")
    with MOS.open(url, cache=cache, deadline=1) as mos:
        alice = mos.session("alice")
        alice.add("note")
        with own_postgres.connect() as side:
            pids = [row[0] for row in side.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")]
        pids.append(own_postgres.pid)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            start = time.monotonic()
            with pytest.raises(StoreUnreachable):
                alice.add("more")
            assert time.monotonic() - start < 15
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        assert {item.text for item in alice.list()} == {"note"}


def test_a_notification_that_cannot_be_sent_does_not_undo_a_commit(
    postgres: PostgresServer,
    database: str,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with MOS.open(postgres.url(database), cache=cache) as mos:
        monkeypatch.setattr(mos._store._database, "_channel", "")  # type: ignore[attr-defined]
        assert mos.session("alice").add("kept").new
        assert "could not be told" in caplog.text
        assert texts(mos) == {"kept"}
        assert mos.verify() == []
