"""Where a Chroma is: a folder of its own that one process at a time may open, or a server."""

from __future__ import annotations

import base64
import importlib.util
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from memos_core.errors import FollowerUnavailable, ForeignStore, InvalidConfig, MissingPackage
from memos_core.stores.chroma import PREFIX, ChromaTables
from memos_core.stores.index.segment import LOCK, writer_lock

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

log = logging.getLogger(__name__)
PROBE_SECONDS: Final = 60.0
DATABASE: Final = "chroma.sqlite3"
OURS: Final = "made-by-memos"  # in every folder that memos has made: nobody else's collections are in it
IN_USE: Final = "in-use"  # there while a process has the folder open; left behind by one that was killed
_PROBE: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from memos_core.stores.chroma_probe import main; main(sys.argv[2])"
)
_LEFT_TO_PARENT: list[object] = []  # clients of a forked process's parent: never used, never taken apart here


def open_chroma(rest: str, *, folder: Path) -> tuple[ChromaTables, str]:
    """The tables of "chroma:REST", and the name under which they can be opened again.

    Args:
        rest: "" for a folder inside the store's, a folder, or the URL of a server.
        folder: of the store.

    Raises:
        MissingPackage: chromadb is not installed.
        InvalidConfig: no address of a server.
        ForeignStore: somebody else's Chroma is in the folder.
    """
    if importlib.util.find_spec("chromadb") is None:
        raise MissingPackage("chromadb", "chroma", "vectors='chroma:...'")
    if rest.startswith(("http://", "https://")):
        server = ChromaServer(rest)
        return ChromaTables(server), server.name
    if "://" in rest:
        raise InvalidConfig(f"chroma:{_without_secret(rest)!r}: give a folder, or http://HOST:PORT")
    if not rest:
        return ChromaTables(ChromaFolder(folder / "chroma")), "chroma"
    own = ChromaFolder(Path(rest).expanduser())
    return ChromaTables(own), own.name


def import_chromadb() -> Any:
    """The package.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        import chromadb
    except ImportError as error:
        raise MissingPackage("chromadb", "chroma", "vectors='chroma:...'") from error
    return chromadb


def settings(chromadb: Any) -> Any:
    """Settings of a client: it tells nobody that it is used."""
    return chromadb.config.Settings(anonymized_telemetry=False)


class ChromaFolder:
    """A folder with a Chroma of memos' own (embedded mode).

    One opening at a time has it, by a lock; every other one is told so, and answers from its embedded index. After an
    unclean stop it is opened by a child process first, which must find what it looks for in time; otherwise all of it is
    thrown away, and filled from the truth again.

    Args:
        folder: made if there is none.
        probe_seconds: how long the child process may take.

    Raises:
        ForeignStore: somebody else's Chroma is there.
    """

    def __init__(self, folder: Path, *, probe_seconds: float = PROBE_SECONDS) -> None:
        self._folder = folder.absolute()
        self.name = f"chroma:{self._folder}"
        self._probe_seconds = probe_seconds
        self._lock = threading.Lock()
        self._stack: ExitStack | None = None
        self._client: Any = None
        self._refuse_foreign()

    def client(self) -> ClientAPI:
        """The client; the folder is this opening's from now on, until it is closed.

        Raises:
            FollowerUnavailable: another opening has the folder.
            ForeignStore: somebody else's Chroma is there.
        """
        with self._lock:
            if self._client is None:
                self._open()
            opened: ClientAPI = self._client
            return opened

    def _open(self) -> None:
        chromadb = import_chromadb()
        with ExitStack() as stack:
            self._refuse_foreign()
            self._make()
            if not stack.enter_context(writer_lock(self._folder)):
                raise FollowerUnavailable(
                    f"{self.name} is in use by another process{self._whose()}; one at a time can have it"
                )
            self._probe_if_unclean()
            (self._folder / IN_USE).write_text(str(os.getpid()))
            _sync(self._folder / IN_USE)
            self._client = chromadb.PersistentClient(str(self._folder), settings=settings(chromadb))
            self._stack = stack.pop_all()

    def _make(self) -> None:
        if not self._folder.exists():
            self._folder.mkdir(mode=0o700, parents=True)
        ours = self._folder / OURS
        if not ours.exists():
            ours.write_text("The vectors here are a copy that memos makes anew when this folder is deleted.\n")

    def _whose(self) -> str:
        try:
            return f" (process {int((self._folder / IN_USE).read_text())})"
        except (OSError, ValueError):
            return ""

    def _refuse_foreign(self) -> None:
        if (self._folder / DATABASE).exists() and not (self._folder / OURS).exists():
            raise ForeignStore(
                f"{self._folder} holds a Chroma that memos has not made, and one folder can have one writer; give memos a "
                f"folder of its own (vectors='chroma:FOLDER'), and take over what is there with: memos import chroma "
                f"{self._folder}"
            )
        if self._folder.is_file():
            raise InvalidConfig(f"{self.name} is a file; give a folder")

    def _probe_if_unclean(self) -> None:
        if not (self._folder / IN_USE).exists():
            return
        why = probe(self._folder, self._probe_seconds)
        if why is None:
            log.info("%s was not closed, and is sound", self.name)
            return
        others = [name for name in _names_on_disk(self._folder) if not name.startswith(PREFIX)]
        if others:
            raise ForeignStore(
                f"{self.name} is damaged ({why}), and holds collections of others ({', '.join(others[:5])}); "
                "move them away or delete the folder: memos fills it anew"
            )
        log.warning("%s was not closed and is damaged (%s); it is filled anew", self.name, why)
        for path in self._folder.iterdir():
            if path.name in (LOCK, OURS):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def purge(self) -> str | None:
        """Write Chroma's database anew, and remove the folders of indexes that are not in use any more.

        Chroma itself keeps both: rows of its queue lie in free pages, and an index stays when its collection is deleted.
        """
        with self._lock:
            if self._client is None:
                self._open()
            self._client.close()
            self._client = None
            try:
                _write_anew(self._folder)
            finally:
                chromadb = import_chromadb()
                self._client = chromadb.PersistentClient(str(self._folder), settings=settings(chromadb))
        return None

    def close(self) -> None:
        """Close the client, and let others have the folder."""
        with self._lock:
            client, stack = self._client, self._stack
            self._client = self._stack = None
            if stack is None:
                return
            with stack:
                client.close()
                (self._folder / IN_USE).unlink(missing_ok=True)

    def after_fork(self) -> None:
        """Leave the parent's client alone; its lock stays with it."""
        self._lock = threading.Lock()
        _LEFT_TO_PARENT.append(self._client)
        stack, self._client, self._stack = self._stack, None, None
        if stack is not None:
            stack.close()  # this process's handle of the lock; the parent's own keeps it


class ChromaServer:
    """A Chroma server.

    Args:
        url: "http://HOST:PORT", also https, with "?tenant=…&database=…" behind it where it has several. "USER:PASSWORD@" or
            "TOKEN@" before the host are sent with every request, and never shown or remembered.

    Raises:
        InvalidConfig: it is no such URL.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidConfig(f"{_without_secret(url)!r} is no address of a server: {error}") from error
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        unknown = sorted(options.keys() - {"tenant", "database"})
        if not parts.hostname or parts.path.strip("/") or unknown:
            raise InvalidConfig(
                f"{_without_secret(url)!r}: a Chroma server is http://HOST:PORT or https://HOST:PORT, with ?tenant=… and "
                "database=… where needed"
            )
        self._ssl = parts.scheme == "https"
        self._host = parts.hostname
        self._port = port or (443 if self._ssl else 8000)
        self._options = options
        self._headers = _headers(parts.username, parts.password)
        host = f"[{self._host}]" if ":" in self._host else self._host
        query = f"?{urlencode(options)}" if options else ""
        self.name = f"chroma:{parts.scheme}://{host}:{self._port}{query}"
        self._lock = threading.Lock()
        self._client: Any = None

    def client(self) -> ClientAPI:
        """The client; whoever asks first waits for the server."""
        with self._lock:
            opened: ClientAPI | None = self._client
        if opened is None:  # not under the lock: a server that never answers would hold it for ever
            opened = self._connect()
            with self._lock:
                self._client = opened
        return opened

    def _connect(self) -> ClientAPI:
        chromadb = import_chromadb()
        made: ClientAPI = chromadb.HttpClient(
            host=self._host,
            port=self._port,
            ssl=self._ssl,
            headers=dict(self._headers),
            settings=settings(chromadb),
            **self._options,
        )
        return made

    def purge(self) -> str | None:
        """Nothing can be done from here."""
        return (
            f"{self.name} has deleted the collection; its files may hold the vectors until the server is stopped, "
            "`chroma utils vacuum --path FOLDER` has run, and folders of indexes that its table `segments` does not name are "
            "removed"
        )

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def after_fork(self) -> None:
        """Leave the parent's connections alone."""
        self._lock = threading.Lock()
        _LEFT_TO_PARENT.append(self._client)
        self._client = None


def _headers(user: str | None, password: str | None) -> Mapping[str, str]:
    if user is None:
        return {}
    if password is None:
        token = unquote(user)
        return {"Authorization": f"Bearer {token}", "X-Chroma-Token": token}
    told = f"{unquote(user)}:{unquote(password)}".encode()
    return {"Authorization": f"Basic {base64.b64encode(told).decode()}"}


def _without_secret(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def probe(folder: Path, seconds: float) -> str | None:
    """What is wrong with a Chroma folder, found by a child process: damage can crash or stall whoever reads it."""
    command = [sys.executable, "-c", _PROBE, json.dumps(sys.path), str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)  # noqa: S603 - our own program
    except subprocess.TimeoutExpired:
        return f"it was not read within {seconds:g} seconds"
    except OSError as error:
        return f"it could not be probed: {error}"
    if done.returncode == 0:
        return None
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"reading it ended with code {done.returncode}: {said[-1][:200] if said else 'nothing said'}"


def _names_on_disk(folder: Path) -> list[str]:
    """Names of the collections, read past Chroma; none where even that cannot be read."""
    try:
        with closing(sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)) as connection:
            return [str(row[0]) for row in connection.execute("SELECT name FROM collections")]
    except sqlite3.Error:
        return []


def _write_anew(folder: Path) -> None:
    """Leave nothing in a closed Chroma's folder of the collections that were deleted."""
    with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete=ON")
        known = {str(row[0]) for row in connection.execute("SELECT id FROM collections")}
        for (topic,) in connection.execute("SELECT DISTINCT topic FROM embeddings_queue").fetchall():
            if str(topic).rpartition("/")[2] not in known:
                connection.execute("DELETE FROM embeddings_queue WHERE topic = ?", (topic,))
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        used = {str(row[0]) for row in connection.execute("SELECT id FROM segments")}
    for path in folder.iterdir():
        if path.is_dir() and path.name not in used:
            shutil.rmtree(path)


def _sync(path: Path) -> None:
    for each in (path, path.parent):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
