"""What the user has said in a conversation since it was last read, with what was said around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
import numpy as np

from memos_core.filters import F
from memos_core.protocols.storage import RecordStore
from memos_core.reading.extract import MOST_LETTERS, USER, Shown, shown_text, topic_of
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.index.moments import FINDABLE, Look, Rows
from memos_core.stores.index.rows import ALIVE, NONE, RowTable
from memos_core.types.items import LifecycleState
from memos_core.types.preferences import PREFERENCE
from memos_core.types.work import CubeRow, Head, Record, from_micros

MOST: Final = 40  # messages that are asked about at once
AROUND: Final = 4  # turns before each of them
_EXAMINED: Final = 2_000  # items looked at for them
_SLICE: Final = 200
_KNOWN: Final = 60  # topics
_TOPIC: Final = 200  # letters of a topic that somebody else may have written
_PART: Final = 0.7  # of the letters of a prompt, for what is new


class Unread(msgspec.Struct, frozen=True):
    """What is to be asked about next.

    Attributes:
        fresh: messages of the user's, in the order in which they came.
        upto: number of the change that brought the last item that was looked at.
        more: whether there is more after it.
        left: ids of what was asked for and is left, where items were named.
    """

    fresh: Sequence[Record] = ()
    upto: int = 0
    more: bool = False
    left: Sequence[str] = ()


class Reader:
    """Reads a cube's conversations as they stand.

    Args:
        store: the truth.
        index: of the cube.
        cube: which.
        at: microseconds since 1970; what has expired by then is not read.
    """

    def __init__(self, store: RecordStore, index: CubeIndex, cube: CubeRow, at: int) -> None:
        self._store = store
        self._index = index
        self._cube = cube
        self._look = Look(states=FINDABLE, at=at)
        self._now = from_micros(at)

    def unread(self, conversation: str | None, after: int, most: int, check: Callable[[], None]) -> Unread:
        """The user's next messages, as many as a prompt takes.

        Args:
            conversation: which; None for what belongs to none.
            after: only what was added after this change.
            most: messages at most.
            check: called between slices; may raise.
        """
        seqs, firsts = self._added(conversation, after)
        fresh: list[Record] = []
        letters, upto = 0, after
        for start in range(0, len(seqs), _SLICE):
            check()
            piece = self._store.records(self._cube, seqs[start : start + _SLICE])
            for place in range(start, min(start + _SLICE, len(seqs))):
                record = piece.get(seqs[place])
                if record is not None and is_said(record):
                    size = len(shown_text(record.text or ""))
                    if fresh and (len(fresh) >= most or letters + size > _PART * MOST_LETTERS):
                        return Unread(fresh, upto, more=True)
                    fresh.append(record)
                    letters += size
                upto = max(upto, firsts[place])
                if place + 1 >= _EXAMINED:
                    return Unread(fresh, upto, more=place + 1 < len(seqs))
        return Unread(fresh, upto)

    def these(self, ids: Sequence[str], most: int) -> Unread:
        """The user's messages among these items, in the order in which they came, as many as a prompt takes."""
        heads = [head for head in self._store.heads(self._cube, ids).values() if not head.deleted]
        records = self._store.records(self._cube, sorted(head.seq for head in heads))
        said = [record for record in records.values() if is_said(record) and record.state in FINDABLE]
        sizes = np.cumsum([len(shown_text(record.text or "")) for record in said])
        fit = max(1, min(most, int(np.searchsorted(sizes, _PART * MOST_LETTERS, side="right"))))
        return Unread(said[:fit], more=len(said) > fit, left=[record.id for record in said[fit:]])

    def shown(self, fresh: Sequence[Record], reader: str | None) -> list[Shown]:
        """Messages as a model is shown them, in the order of the conversation, each with a few turns before it.

        Nothing is among them that is private to anybody but the reader: what is made of a prompt may tell all of it.

        Args:
            fresh: those to be asked about.
            reader: to whom they are private; None where they are shared.
        """
        new = {record.seq for record in fresh}
        around = [record for record in self._around(fresh) if record.seq not in new]
        room = MOST_LETTERS - sum(len(shown_text(record.text or "")) for record in fresh)
        chosen = list(fresh)
        for record in around:
            body = record.body
            size = len(shown_text(record.text or ""))
            if body is not None and body.private_to in (None, reader) and size <= room:
                chosen.append(record)
                room -= size
        chosen.sort(key=_place)
        return [self._shown(record, n, record.seq in new) for n, record in enumerate(chosen, 1)]

    def known(self, people: Sequence[str], reader: str | None) -> list[str]:
        """Topics of what is known of people already, those that changed last first."""
        states = FINDABLE | {LifecycleState.GENERATED}
        with self._index.lock:
            self._index.catch_up()
            rows = self._index.moment(None, Look(states=states, at=self._look.at), unindexed=True).rows
            found = self._index.matching((F.type == PREFERENCE) & F.metadata.person.in_(people), rows)
            seqs = np.sort(self._index.table["seq"][found])[::-1].tolist()
        topics: dict[str, None] = {}
        for start in range(0, len(seqs), _SLICE):
            records = self._store.records(self._cube, seqs[start : start + _SLICE])
            for seq in seqs[start : start + _SLICE]:
                body = records[seq].body if seq in records else None
                topic = body.metadata.get("topic") if body is not None and body.private_to in (None, reader) else None
                if isinstance(topic, str) and topic_of(topic[:_TOPIC]):
                    topics[topic_of(topic[:_TOPIC])] = None
            if len(topics) >= _KNOWN:
                break
        return list(topics)[:_KNOWN]

    def deleted(self, key: str) -> tuple[int, int]:
        """Number of the change that deleted what bore a key last, and when that was; 0 where nothing did.

        Where something bears it now, that is what counts.
        """
        with self._index.lock:
            self._index.catch_up()
            table = self._index.table
            rows = self._index.matching(F.key == key, np.arange(len(table), dtype=np.int64))
            ends = table["until"][rows]
            seq = int(ends[ends != ALIVE].max(initial=0))
        record = self._store.records(self._cube, [seq]).get(seq) if seq else None
        return seq, 0 if record is None else record.at

    def _added(self, conversation: str | None, after: int) -> tuple[list[int], list[int]]:
        """Changes that hold the living items that a conversation got after a change, and those that brought them, in order."""
        with self._index.lock:
            self._index.catch_up()
            table = self._index.table
            number = NONE if conversation is None else table.conversations.find(conversation)
            if conversation is not None and number == NONE:
                return [], []
            rows = self._index.moment(None, self._look).rows
            rows = rows[(table["seq"][rows] > after) & (table["conversation"][rows] == number)]
            firsts = _first_changes(table, rows)
            order = np.argsort(firsts, kind="stable")
            order = order[firsts[order] > after]
            return table["seq"][rows[order]].tolist(), firsts[order].tolist()

    def _around(self, fresh: Sequence[Record]) -> list[Record]:
        """Items that stand a few places before these in their conversations, the nearest first."""
        steps: list[list[int]] = [[] for _ in range(AROUND)]
        with self._index.lock:
            self._index.catch_up()
            table, moment = self._index.table, self._index.moment(None, self._look)
            for record in fresh:
                row = table.row_of(record.seq)
                for step in steps:
                    if row == NONE or table["conversation"][row] == NONE:
                        break
                    row = int(moment.before[row])
                    if row != NONE:
                        step.append(int(table["seq"][row]))
        seqs = list(dict.fromkeys(seq for step in steps for seq in step))
        records = self._store.records(self._cube, seqs)
        return [records[seq] for seq in seqs if seq in records and _of_the_conversation(records[seq])]

    def _shown(self, record: Record, n: int, new: bool) -> Shown:
        source = record.body.source if record.body else None
        role = (source.role if source else None) or "note"
        person = source.speaker if source else None
        if person is None:
            person = self._author(record) if role == USER else role
        return Shown(
            n=n,
            id=record.id,
            version=record.version,
            seq=record.seq,
            role=role,
            person=person,
            text=shown_text(record.text or ""),
            at=min(moment_of(record), self._now),  # a wrong clock must not keep all that is said later from counting
            new=new,
            ends=record.body.expires_at if record.body else None,
        )

    def _author(self, record: Record) -> str:
        """Who added an item; who has changed it since has not said it."""
        if not record.prev:
            return record.actor
        head = Head(record.item, record.id, record.seq, record.version, False)
        return self._store.history(self._cube, head)[0].actor


def is_said(record: Record) -> bool:
    """Whether these are a user's own words, as they came in, and may be found."""
    body = record.body
    source = None if body is None else body.source
    return (
        body is not None
        and source is not None
        and source.role == USER
        and source.uri is None
        and not body.derived_from
        and body.kind == "plaintext"
        and body.indexed
        and bool(record.text)
    )


def moment_of(record: Record) -> datetime:
    """When something was said; when it came in, where that is not known."""
    said = None if record.body is None else record.body.occurred_at
    return said or from_micros(record.created)


def _of_the_conversation(record: Record) -> bool:
    body = record.body
    return body is not None and body.source is not None and body.source.role is not None and body.source.uri is None


def _place(record: Record) -> tuple[bool, int, int]:
    source = record.body.source if record.body else None
    position = source.position if source else None
    return (position is None, position or 0, record.seq)


def _first_changes(table: RowTable, rows: Rows) -> Rows:
    """For each of these rows the change that made the first version of its item."""
    items = table["item"][rows]
    every = np.flatnonzero(np.isin(table["item"], items))
    owners, place = np.unique(table["item"][every], return_inverse=True)
    first = np.full(len(owners), np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(first, place, table["seq"][every])
    found: Rows = first[np.searchsorted(owners, items)]
    return found
