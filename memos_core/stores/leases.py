"""A lease: who of several processes applies the change log to a table that all of them see.

It lies in the truth, so it needs nothing of the outsider. It saves work and keeps a slow process from undoing what another
has done; nothing that a search answers depends on it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import msgspec

from memos_core.errors import StoreError, StoreReadOnly
from memos_core.protocols.storage import RecordStore

SECONDS: Final = 30.0


class _Held(msgspec.Struct, frozen=True):
    holder: str
    until: float  # seconds since 1970; 0 where it was given back


class Lease:
    """A lease under a name; use it in a `with` block, and `renew` it at every step.

    Args:
        store: where it lies.
        key: of the setting that holds it.
        seconds: how long it holds without being renewed.
        clock: seconds since 1970; machines may differ by a few seconds.
    """

    def __init__(
        self, store: RecordStore, key: str, *, seconds: float = SECONDS, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._key = key
        self._seconds = seconds
        self._clock = clock
        self._holder = uuid.uuid4().hex
        self._raw: str | None = None

    def take(self) -> bool:
        """Whether it is ours now; not where somebody else holds it."""
        raw = self._store.setting(self._key)
        if raw is not None:
            held = msgspec.json.decode(raw, type=_Held)
            if held.holder != self._holder and held.until > self._clock():
                return False
        return self._put(raw, self._clock() + self._seconds)

    def renew(self) -> bool:
        """Whether it is still ours; written anew once half of it has passed."""
        if self._raw is None:
            return False
        if msgspec.json.decode(self._raw, type=_Held).until - self._clock() > self._seconds / 2:
            return True
        return self._put(self._raw, self._clock() + self._seconds)

    def give_back(self) -> None:
        """Let others have it."""
        if self._raw is not None:
            with suppress(StoreError):  # where that fails it runs out by itself
                self._put(self._raw, 0.0)
            self._raw = None

    def _put(self, expect: str | None, until: float) -> bool:
        raw = msgspec.json.encode(_Held(self._holder, until)).decode()
        try:
            mine = self._store.put_setting(self._key, raw, expect=expect)
        except StoreReadOnly:  # whoever may not write the truth follows nothing: others do
            mine = False
        self._raw = raw if mine else None
        return mine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()
