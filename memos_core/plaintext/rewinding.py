"""Going back: what it takes for a cube to stand again as it stood after one of its changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.types.differences import RolledBack
from memos_core.types.work import CubeRow, Head, Put, Record

_SLICE = 2000


class _Step(msgspec.Struct):
    """An item that stands otherwise than it stood then.

    Attributes:
        now: its newest version.
        then: the version of then; None where it did not exist, or was deleted.
    """

    now: Record
    then: Record | None

    @property
    def key(self) -> str | None:
        """The name it bears now."""
        return None if self.now.body is None else self.now.body.key

    @property
    def wanted(self) -> str | None:
        """The name it bore then."""
        return None if self.then is None or self.then.body is None else self.then.body.key


def rewind(
    store: RecordStore, transaction: Transaction, cube: CubeRow, as_of: int, admit: Callable[[Record], None]
) -> RolledBack:
    """Make the current state of a cube the one after change `as_of`, by new versions; those before stay in the log.

    Items that say the same as then are left alone. Vectors are those of then, or those that came later for the same version.

    Args:
        store: the truth.
        transaction: has the cube locked, and has written nothing to it.
        cube: as the transaction has found it.
        admit: raises where what a version of then says may not be stored any more.
    """
    steps = _differing(store, cube, as_of)
    for step in steps:
        if step.then is not None:
            admit(step.then)
    kinds = [("deleted" if step.then is None else "restored" if step.now.body is None else "changed") for step in steps]
    _write(transaction, cube, steps)
    named = {kind: tuple(s.now.id for s, its in zip(steps, kinds, strict=True) if its == kind) for kind in set(kinds)}
    return RolledBack(cube.name, min(as_of, cube.seq), cube.seq, **named)


def _differing(store: RecordStore, cube: CubeRow, as_of: int) -> list[_Step]:
    """The items that stand otherwise than they stood after a change, in the order of their last changes."""
    newest: dict[int, Record] = {}
    embedded: dict[tuple[int, int], int] = {}  # item, version -> number of the change that brought its vectors
    before: dict[int, int] = {}  # item -> number of the change that it stood at then; 0 where it did not exist
    for start in range(as_of, cube.seq, _SLICE):
        for record in store.records(cube, range(start + 1, min(start + _SLICE, cube.seq) + 1)).values():
            before.setdefault(record.item, record.prev)
            newest[record.item] = record
            if record.op == "embed":
                embedded[record.item, record.version] = record.vectors_of
    then = store.records(cube, sorted(seq for seq in before.values() if seq))
    steps = []
    for item, now in sorted(newest.items(), key=lambda each: each[1].seq):
        past = then.get(before[item])
        if past is not None and past.body is None:
            if past.op not in ("delete", "erase"):  # what it said then has been erased: it stays as it is
                continue
            past = None
        if past is None and now.body is None:
            continue
        if past is not None and (past.text, past.body, past.state) == (now.text, now.body, now.state):
            continue
        if past is not None and not past.vectors_of:
            past = msgspec.structs.replace(past, vectors_of=embedded.get((item, past.version), 0))
        steps.append(_Step(now, past))
    return steps


def _write(transaction: Transaction, cube: CubeRow, steps: Sequence[_Step]) -> None:
    """Write all steps, so that a name is free before it is given; in a ring of items that swap names, one loses its first."""
    holder = {step.key: step for step in steps if step.key is not None}
    wanting = {step.wanted: step for step in steps if step.wanted is not None}
    waiting = {step.now.item: step for step in steps}
    ready = [step for step in steps if step.wanted is None or holder.get(step.wanted, step) is step]
    puts: list[Put] = []
    while waiting:
        if not ready:
            step = next(iter(waiting.values()))
            first = transaction.put(cube, [*puts, _nameless(step.now)])
            now = step.now
            assert now.body is not None
            body = msgspec.structs.replace(now.body, key=None)
            step.now = msgspec.structs.replace(now, seq=first + len(puts), version=now.version + 1, body=body)
            puts = []
            freed = now.body.key
        else:
            step = ready.pop()
            del waiting[step.now.item]
            puts.append(_put(step))
            freed = step.key
        follower = wanting.get(freed) if freed is not None and freed != step.wanted else None
        if follower is not None and follower is not step:
            ready.append(follower)
    if puts:
        transaction.put(cube, puts)


def _nameless(now: Record) -> Put:
    """The item as it stands, without its name."""
    assert now.body is not None
    body = msgspec.structs.replace(now.body, key=None)
    return Put(
        id=now.id, op="update", text=now.text, body=body, state=now.state, head=_head(now), vectors_of=now.vectors_of
    )


def _put(step: _Step) -> Put:
    head, then = _head(step.now), step.then
    if then is None:
        return Put(id=head.id, op="delete", text=None, body=None, head=head)
    return Put(
        id=head.id,
        op="restore",
        text=then.text,
        body=then.body,
        state=then.state,
        head=head,
        vectors_of=then.vectors_of,
    )


def _head(record: Record) -> Head:
    return Head(record.item, record.id, record.seq, record.version, record.body is None)
