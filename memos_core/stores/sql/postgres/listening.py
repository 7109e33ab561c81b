"""Waiting until somebody has committed: LISTEN on a connection of its own, that a thread waits on."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg
from psycopg import sql

from memos_core.stores.sql.postgres.connecting import Connection

_LOOK: Final = 0.02  # seconds between two looks at the event


class Listening:
    """Who listens for commits of a store. One thread at a time.

    Args:
        connect: makes a connection.
        channel: on which writers tell that they wrote.
    """

    def __init__(self, connect: Callable[[], Connection], channel: str) -> None:
        self._connect = connect
        self._channel = channel
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def wait(self, seconds: float, sooner: threading.Event) -> None:
        """Return when somebody has told, when an event is set, or after so many seconds; raises as connecting does."""
        until = time.monotonic() + seconds
        with self._lock:
            try:
                if self._connection is None:
                    made = self._connect()
                    made.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                    self._connection = made
                    return  # somebody may have written before
                while not sooner.is_set() and time.monotonic() < until:
                    raw = self._connection.pgconn
                    if select.select([raw.socket], [], [], _LOOK)[0]:
                        raw.consume_input()
                    told = False
                    while raw.notifies() is not None:
                        told = True
                    if told:
                        return
            except (psycopg.Error, OSError, ValueError):
                self._drop()  # the next call connects anew
                sooner.wait(max(0.0, min(1.0, until - time.monotonic())))

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Let the connection go, once nobody waits."""
        with self._lock:
            self._drop()

    def after_fork(self) -> None:
        """In a forked child: the connection is the parent's."""
        self._lock = threading.Lock()
        self._connection = None
