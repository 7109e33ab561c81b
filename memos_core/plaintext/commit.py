"""From drafts to versions, inside a transaction: what is new, what is known already, what has changed.

The same message or piece of a document coming in again is recognised by its identity and stored once. A message whose
words were edited where it came from gets a new version; one that was deleted here stays deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import Literal

import msgspec

from memos_core.errors import AlreadyExists
from memos_core.lifecycle.states import need_changeable
from memos_core.protocols.storage import Transaction
from memos_core.types.inputs import Draft
from memos_core.types.items import SourceRef
from memos_core.types.work import Body, CubeRow, Head, Put, Record, VectorBlobs

# Actions whose versions say what a source said; any other is somebody's decision about the item.
READING = frozenset({"add", "ingest", "embed"})
Status = Literal["added", "known", "changed", "removed"]


class Overtaken(Exception):
    """What was prepared does not hold any more: look anew which drafts are known, and embed the others.

    Something that was known, and so not embedded again, has changed meanwhile, or another embedder has come in.
    """


class Outcome(msgspec.Struct, frozen=True):
    """What became of a draft.

    Attributes:
        id: of its item.
        seq: number of the change that holds it now; 0 where it is deleted.
        status: "added" (new), "known" (nothing written), "changed" (a new version), "removed" (no longer in its document).
    """

    id: str
    seq: int
    status: Status


def identity_number(draft: Draft) -> int | None:
    """64 bits (signed, as databases count) that stand for a draft's identity; None where it has none.

    What is private is known again only to whom it belongs: nobody else learns that it is there.
    """
    if draft.identity is None:
        return None
    identity = draft.identity if draft.private_to is None else (*draft.identity, "private", draft.private_to)
    digest = hashlib.blake2b("\x00".join(identity).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def from_document(source: SourceRef | None) -> bool:
    """Whether something is a piece of a document (else it was said, or is known from nowhere)."""
    return source is not None and source.uri is not None


def body_of(draft: Draft, position: int | None = None) -> Body:
    """The body of a draft's first version, at a place in its conversation."""
    source = draft.source
    if position is not None:
        source = msgspec.structs.replace(source or SourceRef(), position=position)
    return Body(
        kind=draft.kind,
        type=draft.type,
        payload=draft.payload,
        key=draft.key,
        indexed=draft.indexed,
        occurred_at=draft.occurred_at,
        confidence=draft.confidence,
        tags=draft.tags,
        metadata=draft.metadata,
        mentions=draft.mentions,
        conversation=draft.conversation,
        source=source,
        derived_from=draft.derived_from,
        links=draft.links,
        context=draft.context,
        expires_at=draft.expires_at,
        private_to=draft.private_to,
        redacted=draft.redacted,
        model=draft.model,
        prompt_hash=draft.prompt_hash,
    )


def needs_vectors(draft: Draft, head: Head | None, record: Record | None) -> bool:
    """Whether storing a draft takes vectors of it.

    Args:
        head: where its item stands; None where it is new.
        record: the item's newest version.
    """
    if head is None or record is None:
        return True
    if head.deleted:
        return from_document(draft.source)  # it comes back; a message that was deleted here stays deleted
    if record.body is None or record.action not in READING:
        return record.body is None
    return record.text != draft.text or record.body.context != draft.context or not record.vectors_of


class Commit:
    """Writes drafts into one cube.

    Args:
        transaction: has the cube locked.
        cube: where to.
        read: gives records of changes (those before this transaction), by number.
    """

    def __init__(
        self, transaction: Transaction, cube: CubeRow, read: Callable[[Sequence[int]], dict[int, Record]]
    ) -> None:
        self._transaction = transaction
        self._cube = cube
        self._read = read

    def write(
        self,
        drafts: Sequence[Draft],
        blobs: Sequence[VectorBlobs | None],
        ids: Sequence[str],
        skipped: Collection[int] = (),
    ) -> list[Outcome]:
        """Store what is new, change what has changed.

        Args:
            drafts: what to store.
            blobs: vectors of each; None for none.
            ids: the id that each gets if it is new.
            skipped: places of drafts that have no vectors because they were known.

        Raises:
            AlreadyExists: an id or key that the caller gave is in use.
            Overtaken: one of those skipped needs its vectors by now.
        """
        numbers = [identity_number(draft) for draft in drafts]
        asked = list(dict.fromkeys(number for number in numbers if number is not None))
        known = self._transaction.heads_by_dedup(self._cube, asked) if asked else {}
        fresh: list[int] = []  # places of the drafts that are new
        first_of: dict[int, int] = {}  # identity -> place, for those that come twice in one call
        for place, number in enumerate(numbers):
            if number is None or (number not in known and number not in first_of):
                fresh.append(place)
                if number is not None:
                    first_of[number] = place
        self._check_names([drafts[place] for place in fresh])
        outcomes: dict[int, Outcome] = {}
        puts = self._new(drafts, blobs, ids, numbers, fresh)
        changed = self._changed(drafts, blobs, numbers, known)
        if any(place in skipped for place in fresh) or any(
            place in skipped and not put.vectors_of and put.body is not None and put.body.indexed
            for place, put in changed
        ):
            raise Overtaken
        if puts or changed:
            first = self._transaction.put(self._cube, [*puts, *(put for _, put in changed)])
            for offset, place in enumerate(fresh):
                outcomes[place] = Outcome(ids[place], first + offset, "added")
            for offset, (place, put) in enumerate(changed, len(puts)):
                outcomes[place] = Outcome(put.id, first + offset, "changed")
        for place, number in enumerate(numbers):
            if place in outcomes or number is None:
                continue
            if number in known:
                head = known[number]
                outcomes[place] = Outcome(head.id, 0 if head.deleted else head.seq, "known")
            else:
                twin = outcomes[first_of[number]]
                outcomes[place] = Outcome(twin.id, twin.seq, "known")
        return [outcomes[place] for place in range(len(drafts))]

    def _check_names(self, drafts: Sequence[Draft]) -> None:
        """Ids and keys that callers gave must be free, in the cube and in this call."""
        for what, given, find in (
            ("id", [draft.id for draft in drafts if draft.id], self._transaction.heads),
            ("key", [draft.key for draft in drafts if draft.key], self._transaction.heads_by_key),
        ):
            if not given:
                continue
            taken = find(self._cube, given)
            if taken:
                name, head = next(iter(taken.items()))
                state = "exists; update it, or leave the name out"
                if head.deleted:
                    erased = self._read([head.seq])[head.seq].op == "erase"
                    state = "has been erased; choose another name" if erased else "is deleted; restore it"
                raise AlreadyExists(f"cube {self._cube.name!r} has an item with {what} {name!r} already, which {state}")
            if len(set(given)) < len(given):
                twice = next(name for name in given if given.count(name) > 1)
                raise AlreadyExists(f"{what} {twice!r} is given twice in one call")

    def _new(
        self,
        drafts: Sequence[Draft],
        blobs: Sequence[VectorBlobs | None],
        ids: Sequence[str],
        numbers: Sequence[int | None],
        fresh: Sequence[int],
    ) -> list[Put]:
        positions = self._positions(drafts, fresh)
        return [
            Put(
                id=ids[place],
                op="add",
                text=drafts[place].text,
                body=body_of(drafts[place], positions.get(place)),
                state=drafts[place].state,
                vectors=blobs[place],
                dedup=numbers[place],
            )
            for place in fresh
        ]

    def _positions(self, drafts: Sequence[Draft], fresh: Sequence[int]) -> dict[int, int]:
        """Places at the end of their conversations for those that have none yet."""
        waiting: dict[str, list[int]] = {}
        ends: dict[str, int] = {}
        for place in fresh:
            draft = drafts[place]
            if draft.conversation is None:
                continue
            position = draft.source.position if draft.source else None
            if position is None:
                waiting.setdefault(draft.conversation, []).append(place)
            elif not from_document(draft.source):
                ends[draft.conversation] = max(ends.get(draft.conversation, 0), position + 1)
        found: dict[int, int] = {}
        for conversation in sorted({*waiting, *ends}):
            places = waiting.get(conversation, [])
            end = ends.get(conversation, 0)
            first = self._transaction.reserve_positions(self._cube, conversation, len(places), at_least=end)
            found.update({place: first + offset for offset, place in enumerate(places)})
        return found

    def _changed(
        self,
        drafts: Sequence[Draft],
        blobs: Sequence[VectorBlobs | None],
        numbers: Sequence[int | None],
        known: dict[int, Head],
    ) -> list[tuple[int, Put]]:
        """New versions of items that came in again and say something else now: (place of the draft, what to write)."""
        latest: dict[int, int] = {}
        for place, number in enumerate(numbers):
            if number is not None and number in known:
                latest[number] = place
        documents = {number for number, place in latest.items() if from_document(drafts[place].source)}
        living = [known[number].seq for number in latest if not known[number].deleted or number in documents]
        records = self._read(living) if living else {}
        found: list[tuple[int, Put]] = []
        for number, place in latest.items():
            head, draft = known[number], drafts[place]
            record = records.get(head.seq)
            if record is None:
                continue
            put = _change(draft, blobs[place], head, record)
            if put is not None:
                found.append((place, put))
        return found


def _change(draft: Draft, blob: VectorBlobs | None, head: Head, record: Record) -> Put | None:
    """The next version of an item that came in again, or None where it says the same."""
    if record.body is None:  # a piece of a document that had gone is back
        return Put(id=head.id, op="restore", text=draft.text, body=body_of(draft), head=head, vectors=blob)
    if record.action not in READING:  # somebody corrected it here: that stays, whatever the source says
        return None
    place = record.body.source.position if record.body.source else None
    keeps_place = draft.source is None or draft.source.position is None
    body = body_of(draft, place if keeps_place else None)
    kept = msgspec.structs.replace(
        body,
        key=record.body.key,
        tags=record.body.tags,
        links=record.body.links,
        expires_at=body.expires_at or record.body.expires_at,
        private_to=record.body.private_to,
    )
    if not from_document(draft.source):
        if record.text == draft.text:
            return None
    elif kept == record.body and record.text == draft.text:
        return None
    need_changeable(record.state, f"item {record.id!r} of cube {record.cube!r}, which says something else by now,")
    same_words = record.text == draft.text and record.body.context == draft.context
    keeps_vectors = same_words and (
        record.vectors_of > 0 or blob is None
    )  # else no search was to find it, by now one may
    return Put(
        id=head.id,
        op="update",
        text=draft.text,
        body=kept,
        state=record.state,
        head=head,
        vectors=None if keeps_vectors else blob,
        vectors_of=record.vectors_of if keeps_vectors else 0,
    )
