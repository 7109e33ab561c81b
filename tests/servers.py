"""Servers that tests talk to: the machine's own PostgreSQL, started once a session, each test with a database of its own.

Workers of one session share the server: whoever comes first starts it, whoever goes last stops it, and a file with a lock
on it counts them. With CI in the environment a machine without PostgreSQL is a failure, otherwise a skip that is counted.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

_DEADLINE = 60.0
PASSWORD = "s3cret-and-long"


def program(name: str) -> str | None:
    """Where a program of PostgreSQL is: the newest version that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else shutil.which(name)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(done: Callable[[], object], what: str, deadline: float = _DEADLINE) -> Any:
    """What `done` answers, as soon as that is something; polled."""
    end = time.monotonic() + deadline
    while not (answer := done()):
        assert time.monotonic() < end, f"not in {deadline:g} s: {what}"
        time.sleep(0.01)
    return answer


class PostgresServer:
    """A server with a data folder of its own on a port of its own, for the user postgres, who needs no password.

    Args:
        folder: new; owned by whoever runs the server.
        settings: for postgresql.conf.
    """

    def __init__(self, folder: Path, port: int, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = port
        self.settings = {
            "listen_addresses": "'127.0.0.1'",
            "port": str(port),
            "unix_socket_directories": "''",
            "fsync": "off",
            "max_connections": "300",
            "shared_buffers": "64MB",
            "lc_messages": "'C'",
            **(settings or {}),
        }

    @staticmethod
    def run(name: str, *args: str) -> None:
        """Run a program of PostgreSQL as a user that it will run as (it refuses root)."""
        path = program(name)
        assert path
        prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        done = subprocess.run(
            [*prefix, path, *args], capture_output=True, text=True, check=False, cwd="/", stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"

    def make(self) -> PostgresServer:
        """A new data folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        options = ("-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        self.run("initdb", "-D", str(self.data), *options)
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in self.settings.items())
        return self

    def start(self) -> PostgresServer:
        self.run("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-l", str(self.folder / "log"), "start")
        return self

    def stop(self, mode: str = "fast") -> None:
        """Stop it: fast ends what is going on, immediate is a crash."""
        self.run("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-m", mode, "stop")

    @property
    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def kill(self) -> None:
        """As if the power had failed: every process of the server at once."""
        pid = self.pid
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
        for each in [pid, *map(int, children.stdout.split())]:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        # where nobody reaps them, the dead look alive to the next server
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def url(self, database: str = "postgres", *, user: str = "postgres", more: str = "") -> str:
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}{more}"

    def connect(self, database: str = "postgres") -> Any:
        """A driver's connection: the side door."""
        import psycopg

        return psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True)

    def new_database(self, options: str = "") -> str:
        """The name of a new, empty database."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} {options}")
        return name

    def drop_database(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class Proxy:
    """A wire to a server that can be cut, or held, at will: what a network does.

    Args:
        port: of the server.

    Attributes:
        cut_after: bytes from a client after which its connection is cut, once they have been handed on.
        for_good: that cut is the end of all connections, and there are no new ones.
        held: nothing is handed on to clients while it is set.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.cut_after: bytes | None = None
        self.for_good = False
        self.held = threading.Event()
        self.cuts = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            pair = (client, server)
            self._pairs.append(pair)
            threading.Thread(target=self._out, args=pair, daemon=True).start()
            threading.Thread(target=self._back, args=pair, daemon=True).start()

    def _out(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.cut_after is not None and self.cut_after in data:
                    self.cut_after = None
                    self._close(client, how=socket.SHUT_RD)  # its answers go nowhere from now on
                    self.cuts += 1
                    if self.for_good:
                        self._pairs.remove((client, server))
                        self.close()
                    server.sendall(data)
                    self._close(client)
                    return  # the server's side stays open until it has done what it was told
                server.sendall(data)
        self._close(client)
        self._close(server)

    def _back(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                while self.held.is_set():
                    time.sleep(0.01)
                client.sendall(data)
        self._close(client)

    @staticmethod
    def _close(each: socket.socket, how: int = socket.SHUT_RDWR) -> None:
        with suppress(OSError):
            each.shutdown(how)

    def cut(self) -> None:
        """Cut every connection."""
        for pair in self._pairs:
            for each in pair:
                self._close(each)
        self._pairs.clear()

    def close(self) -> None:
        self._close(self._listening)
        self._listening.close()
        self.cut()


@contextmanager
def shared_by_workers(folder: Path, make: Callable[[Path], PostgresServer]) -> Iterator[PostgresServer]:
    """One server for all workers of a session."""
    state = folder / "postgres.json"

    @contextmanager
    def alone() -> Iterator[dict[str, Any]]:
        with (folder / "postgres.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = json.loads(state.read_text()) if state.exists() else {"users": 0}
            yield known
            state.write_text(json.dumps(known))

    with alone() as known:
        if not known["users"]:
            place = Path(tempfile.mkdtemp(prefix="memos-postgres-"))  # pytest's own folders are closed to other users
            place.chmod(0o755)
            server = make(place / "server")
            known.update(folder=str(server.folder), port=server.port)
        known["users"] += 1
        server = PostgresServer(Path(known["folder"]), known["port"])
    try:
        yield server
    finally:
        with alone() as known:
            known["users"] -= 1
            if not known["users"]:
                server.stop("immediate")
                shutil.rmtree(server.folder.parent, ignore_errors=True)


def need_postgres() -> None:
    """Skip where there is no PostgreSQL, or fail where there has to be one."""
    try:
        import psycopg  # noqa: F401

        missing = None if program("initdb") and program("pg_ctl") else "PostgreSQL (initdb, pg_ctl) is not installed"
    except ImportError as error:
        missing = f"psycopg is not installed: {error}"
    if missing and os.environ.get("CI"):
        pytest.fail(f"{missing}, and CI must run these tests")
    if missing:
        pytest.skip(missing)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The session's server."""
    need_postgres()
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if worker else folder
    with shared_by_workers(folder, lambda place: PostgresServer(place, free_port()).make().start()) as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The name of a database of the test's own."""
    name = postgres.new_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def postgres_url(postgres: PostgresServer, database: str) -> str:
    """The URL of a store of the test's own."""
    return postgres.url(database)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server that the test may stop, kill and start again."""
    need_postgres()
    place = Path(tempfile.mkdtemp(prefix="memos-postgres-"))
    place.chmod(0o755)
    server = PostgresServer(place / "server", free_port()).make().start()
    yield server
    with suppress(AssertionError):
        server.stop("immediate")
    shutil.rmtree(place, ignore_errors=True)
