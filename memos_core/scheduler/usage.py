"""Taking note of uses: nothing on the path of a read but an entry in a bounded list, counted and written later, many at once.

What is noted is written by `flush`: by the scheduler before it looks for jobs, and when the store is closed. It is no part of
the truth: what a crash takes with it (the uses since the last flush) is forgotten, and nothing else.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from memos_core.errors import MemosError
from memos_core.events import event
from memos_core.plaintext.working import Touch, best, refreshed
from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.types.access import OPERATOR
from memos_core.types.uses import Holder, Noted, Use, joined

log = logging.getLogger(__name__)
MOST_NOTED: Final = 4096  # of more, the oldest are forgotten
_AT_ONCE: Final = 512  # notes written in one transaction
Follow = Callable[[Transaction, Sequence[Holder]], None]


class UseNotes:
    """Notes of uses, until they are written.

    Args:
        store: where they are written to.
        follow: files what shall be done after a conversation has gone on, in the transaction that says so.
    """

    def __init__(self, store: RecordStore, follow: Follow | None = None) -> None:
        self._store = store
        self._follow = follow
        self._notes: deque[Noted] = deque(maxlen=MOST_NOTED)
        self._writing = threading.Lock()

    def note(self, noted: Noted) -> None:
        """Something was used. Never waits, never fails."""
        self._notes.append(noted)

    def __len__(self) -> int:
        return len(self._notes)

    def flush(self, *, follow: bool = True) -> int:
        """Write what has been noted; returns how many notes that were.

        Args:
            follow: whether what comes after is filed, for a scheduler to do.

        Raises:
            StoreError: it cannot be written; it stays noted.
        """
        done = 0
        with self._writing:
            while self._notes:
                some = [self._notes.popleft() for _ in range(min(len(self._notes), _AT_ONCE))]
                try:
                    with event("memos.uses", count=len(some)):
                        self._write(some, follow)
                except BaseException:
                    self._notes.extendleft(reversed(some[: MOST_NOTED - len(self._notes)]))
                    raise
                done += len(some)
        return done

    def close(self) -> None:
        """Write what can be written at once; what cannot is forgotten, as after a crash."""
        try:
            self.flush(follow=False)  # nobody may be there to do it
        except MemosError as error:
            log.info("uses were not written (%s)", type(error).__name__)
            self._notes.clear()

    def after_fork(self) -> None:
        """In a forked child: what the parent has noted, the parent writes."""
        self._notes = deque(maxlen=MOST_NOTED)
        self._writing = threading.Lock()

    def _write(self, notes: Sequence[Noted], follow: bool) -> None:
        with self._store.begin(actor=OPERATOR.id, action="uses") as transaction:
            writing = transaction.uses
            places = writing.places(sorted({item[:2] for noted in notes for item in noted.items}))
            uses: dict[int, Use] = {}
            turns: dict[Holder, list[tuple[Noted, list[Touch]]]] = {}
            for noted in notes:
                touched = [
                    Touch(*places[cube, id], amount, relevance)
                    for cube, id, amount, relevance in noted.items
                    if (cube, id) in places
                ]
                for each in touched if noted.kind != "add" else ():
                    use = Use(each.amount, each.amount, noted.at, noted.at)
                    uses[each.item] = joined(uses[each.item], use) if each.item in uses else use
                if noted.holder is not None and touched:
                    turns.setdefault(noted.holder, []).append((noted, touched))
            writing.add(uses)
            for holder in sorted(turns, key=lambda each: (each.actor, each.conversation, each.cubes)):
                kept = writing.working(holder)
                for noted, touched in turns[holder]:
                    kept = best(refreshed(kept, touched, noted.kind, noted.at), noted.at)
                writing.keep(holder, kept)
            if follow and self._follow is not None and turns:
                self._follow(transaction, list(turns))
