"""How far a conversation has been read for preferences: an item of its cube, so that forks, backups and rollbacks take it along.

It is archived and in no index: no search finds it. It tells a number, and not the name of the conversation.
"""

from __future__ import annotations

from typing import Final

import msgspec

from memos_core.errors import Conflict
from memos_core.plaintext.preference import conversation_hash
from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.types.items import LifecycleState
from memos_core.types.work import Body, CubeRow, Head, Put

TYPE: Final = "preferences read"


class Mark(msgspec.Struct, frozen=True):
    """A mark.

    Attributes:
        seq: everything that came in up to this change has been read; 0 for nothing.
        head: where the item stands that says so; None: there is none.
    """

    seq: int = 0
    head: Head | None = None


def read_mark(store: RecordStore, cube: CubeRow, conversation: str | None) -> Mark:
    """How far a conversation has been read (None: what belongs to none)."""
    key = mark_key(conversation)
    head = store.heads_by_key(cube, [key]).get(key)
    if head is None:
        return Mark()
    body = store.records(cube, [head.seq])[head.seq].body
    seq = body.payload.get("seq") if body is not None and isinstance(body.payload, dict) else 0
    return Mark(seq if isinstance(seq, int) else 0, head)


def put_mark(
    transaction: Transaction, cube: CubeRow, conversation: str | None, mark: Mark, upto: int, *, new_id: str, model: str
) -> None:
    """Move a mark.

    Args:
        mark: as it was read before anything was done.
        upto: to this change.
        new_id: of the item, if it is new.
        model: that was asked.

    Raises:
        Conflict: somebody else has moved it since: what was done meanwhile is done already.
    """
    key, head = mark_key(conversation), mark.head
    if head is None and transaction.heads_by_key(cube, [key]):
        raise Conflict("another job has read this conversation meanwhile; it is tried again from there")
    body = Body(type=TYPE, key=key, indexed=False, payload={"seq": upto}, model=model)
    put = Put(
        id=new_id if head is None else head.id,
        op="add" if head is None else "update",
        text=f"Preferences have been looked for up to change {upto}.",
        body=body,
        state=LifecycleState.ARCHIVED,
        head=head,
    )
    transaction.put(cube, [put])


def mark_key(conversation: str | None) -> str:
    """The key of the item."""
    return f"preferences-read:{conversation_hash(conversation)}"
