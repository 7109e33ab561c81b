"""working: predict what the next turns of a conversation need, and put it into its working memory. Twice does no harm."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from memos_core.plaintext.prefetching import foresee, in_mind
from memos_core.plaintext.working import best, foreseen
from memos_core.scheduler.kinds import JobContext, JobKind
from memos_core.stores.index.moments import Look
from memos_core.types.jobs import NewJob
from memos_core.types.uses import Holder
from memos_core.types.work import micros


def run(context: JobContext) -> object:
    """Predict by what is in mind now; what the actor may not see takes no part."""
    holder = msgspec.convert(context.payload, Holder)
    now = micros(context.now())
    kept = context.store.uses.working(holder)
    rows = [row for row in map(context.store.cube, holder.cubes) if row is not None]
    minds = [in_mind(kept, row, Look(reader=holder.actor, at=now)) for row in rows]
    memory = context.memory
    likely = foresee(minds, store=context.store, embedding=memory.embedding, indexes=memory.indexes)
    context.check()
    with context.transaction(action="working") as transaction:
        kept = transaction.uses.working(holder)
        transaction.uses.keep(holder, best(foreseen(kept, likely, now), now))
    return None


def job_for(holder: Holder) -> NewJob:
    """The job that brings a working memory up to date; one waits at most."""
    payload: dict[str, Any] = msgspec.to_builtins(holder)
    key = hashlib.blake2b(msgspec.json.encode(holder), digest_size=16).hexdigest()
    return WORKING.new(payload, key=key)


WORKING = JobKind(name="working", run=run, priority=1, max_attempts=3, timeout=60.0)
