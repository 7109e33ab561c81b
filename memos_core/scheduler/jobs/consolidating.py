"""What jobs that look after a whole cube share: one job for each cube, its items in slices, and proposals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from memos_core.cube import MemCube
from memos_core.governance.governance import Governance
from memos_core.governance.redacting import redacted_drafts
from memos_core.lifecycle.consolidation import PROPOSAL, same_reader
from memos_core.plaintext.commit import identity_number
from memos_core.protocols.storage import Transaction
from memos_core.scheduler.kinds import JobContext, JobKind, Run
from memos_core.stores.index.moments import Look
from memos_core.types.access import OPERATOR
from memos_core.types.inputs import Draft
from memos_core.types.items import LifecycleState, Link
from memos_core.types.work import CubeRow, Record, micros

AT_ONCE: Final = 100  # items moved, or proposals made, by one job; the rest is left to the next one
_SLICE: Final = 500


def for_each_cube(name: str, run: Run) -> Run:
    """A handler that files a job for each cube where its own job is about none, and else does the work.

    Args:
        name: of the kind.
        run: does the work of one cube.
    """

    def handle(context: JobContext) -> object:
        if context.cube is not None:
            return run(context)
        if context.job.cube:
            return {"gone": True}
        rows = context.store.cubes()
        kind = JobKind(name=name, run=handle, ordered=True, priority=context.job.priority)
        context.returns({"cubes": len(rows)})
        with context.transaction(action=name) as transaction:
            transaction.file([kind.new(dict(context.payload), cube=row.number, key="all") for row in rows])
        return {"cubes": len(rows)}

    return handle


def cube_of(context: JobContext, row: CubeRow) -> MemCube:
    """The cube, for whoever holds the store."""
    governance = Governance(context.store, now=context.now)
    return MemCube(
        row.name, OPERATOR, store=context.store, governance=governance, memory=context.memory, now=context.now
    )


def living(context: JobContext, row: CubeRow, *, states: frozenset[LifecycleState]) -> Iterator[list[Record]]:
    """The items of a cube that are in these states and have not expired, oldest first, in slices."""
    index = context.memory.indexes.get(row)
    with index.lock:
        index.catch_up()
        rows = index.moment(None, Look(states=states, at=micros(context.now())), unindexed=True).rows
        seqs = np.sort(index.table["seq"][rows]).tolist()
    for start in range(0, len(seqs), _SLICE):
        context.check()
        yield list(context.store.records(row, seqs[start : start + _SLICE]).values())


def not_held(context: JobContext, row: CubeRow, records: Sequence[Record]) -> list[Record]:
    """Those of these items that no legal hold covers: what is on hold stays exactly as it is."""
    held = context.store.held(row, [record.id for record in records])
    return [record for record in records if record.id not in held]


def proposal(what: str, records: Sequence[Record], relation: str, text: str, **detail: Any) -> Draft:
    """An item that says what somebody should look at. It is generated: found only when asked for, until it is activated.

    Args:
        what: "duplicates", "conflict".
        records: whom it is about; all are private to the same reader, or to none.
        relation: of the links to them.
        text: what it says. Without a model it names ids, no words.
        detail: beside the ids, as payload.
    """
    ids = [record.id for record in records]
    versions = [f"{record.id}@{record.version}" for record in records]
    return Draft(
        text=text,
        type=PROPOSAL,
        indexed=False,
        payload={"proposal": what, "ids": ids, **detail},
        links=tuple(Link(relation, id) for id in ids),
        derived_from=tuple((record.id, record.version) for record in records),
        private_to=same_reader(records),
        state=LifecycleState.GENERATED,
        identity=(PROPOSAL, what, *versions),
    )


def unknown(context: JobContext, row: CubeRow, drafts: Sequence[Draft]) -> list[Draft]:
    """Those of these proposals that were never made, whatever became of them."""
    numbers = {number: draft for draft in drafts if (number := identity_number(draft)) is not None}
    made: set[int] = set()
    asked = list(numbers)
    for start in range(0, len(asked), _SLICE):
        made |= set(context.store.heads_by_dedup(row, asked[start : start + _SLICE]))
    return [draft for number, draft in numbers.items() if number not in made]


def put_proposals(context: JobContext, transaction: Transaction, cube: MemCube, drafts: Sequence[Draft]) -> int:
    """Store proposals in the cube, as its rules would have anything stored; returns how many were new."""
    if not drafts:
        return 0
    rules = cube.redaction()
    kept = redacted_drafts(drafts, rules, context.now()) if rules else drafts
    outcomes = cube.add(transaction, context.memory.prepare(kept), rules)
    return sum(outcome.status == "added" for outcome in outcomes)
