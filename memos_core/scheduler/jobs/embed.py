"""embed: vectors for items that were added with `wait=False`. Exactly once: they are stored in the finishing transaction."""

from __future__ import annotations

from memos_core.errors import Conflict, EmbedderMismatch
from memos_core.plaintext.commit import Overtaken
from memos_core.plaintext.later import embed_now, put_embedded
from memos_core.scheduler.kinds import JobContext, JobKind
from memos_core.types.jobs import EMBED as NAME

_ATTEMPTS = 5  # at items that others keep changing meanwhile
_TOGETHER = 32


def run(context: JobContext) -> object:
    """Make the vectors of the items whose ids the payloads hold; those that need none any more are passed over."""
    cube = context.cube
    if cube is None:
        return None
    ids = [id for job in context.jobs for id in job.payload.get("ids") or ()]
    for _ in range(_ATTEMPTS):
        made = embed_now(context.store, context.memory, cube, ids)
        context.check()
        if not made.records:
            return None
        try:
            with context.transaction(action="embed") as transaction:
                locked = transaction.cube(cube.name)
                if locked is not None:
                    put_embedded(context.memory, transaction, locked, made)
            return None
        except (Overtaken, EmbedderMismatch):
            continue
    raise Conflict(f"items of cube {cube.name!r} keep changing while their vectors are made; it is tried again later")


EMBED = JobKind(name=NAME, run=run, together=_TOGETHER, first_wait=2.0)
