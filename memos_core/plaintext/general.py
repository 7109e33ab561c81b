"""GeneralTextMemory: items of plaintext in cubes. Decides nothing about who may; `MemCube` has asked before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from memos_core.errors import AlreadyExists, Conflict, ItemNotFound, VersionNotFound
from memos_core.filters import F, Filter
from memos_core.lifecycle.states import MERGED_INTO, move_between, need_changeable
from memos_core.plaintext.commit import Commit, Outcome, Overtaken, from_document, identity_number, needs_vectors
from memos_core.plaintext.embedding import SETTING, Embedding, Floats
from memos_core.plaintext.followers import Asked, Followers
from memos_core.plaintext.indexes import Indexes
from memos_core.plaintext.results import Place
from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.protocols.vectors import Nearest
from memos_core.stores.index.cube_index import indexed_text
from memos_core.stores.index.moments import EVERYTHING, Look
from memos_core.types.inputs import Draft
from memos_core.types.items import IdMaker, LifecycleState, Link, MemoryItem, Version
from memos_core.types.jobs import embed_jobs
from memos_core.types.work import Body, CubeRow, Head, Put, Record, VectorBlobs, micros


class Prepared(msgspec.Struct, frozen=True):
    """Drafts ready to be written to any number of cubes: embedded once, with the ids that new items get.

    Attributes:
        drafts: as read.
        skipped: places of those that were not embedded because every cube knows them already.
        blobs: vectors of each; None for none.
        ids: one each.
        mark: of the vectors (`Embedding.mark`).
    """

    drafts: tuple[Draft, ...]
    skipped: frozenset[int]
    blobs: tuple[VectorBlobs | None, ...]
    ids: tuple[str, ...]
    mark: str


def merged_from(prepared: Prepared, records: Sequence[Record]) -> Prepared:
    """What replaces some items, prepared for their cube: it knows which versions it was made from, and all they came from."""
    sources = dict.fromkeys((record.id, record.version) for record in records)
    for record in records:
        sources |= dict.fromkeys(record.body.derived_from if record.body else ())
    draft = msgspec.structs.replace(prepared.drafts[0], derived_from=tuple(sources))
    return msgspec.structs.replace(prepared, drafts=(draft,))


class GeneralTextMemory:
    """The plaintext memory of a store.

    Args:
        store: the truth.
        embedding: the store's embedder.
        indexes: of its cubes.
        followers: who keep copies of their vectors.
    """

    def __init__(self, store: RecordStore, embedding: Embedding, indexes: Indexes, followers: Followers) -> None:
        self._store = store
        self.embedding = embedding
        self.indexes = indexes
        self.followers = followers
        self._ids = IdMaker()

    # -- adding ---------------------------------------------------------------------------------------------------

    def places_to_embed(self, drafts: Sequence[Draft], cubes: Sequence[CubeRow | None]) -> list[int]:
        """Places of the drafts whose vectors are needed to store them: those that search may find and a cube does not know.

        Args:
            drafts: as read.
            cubes: they are to be stored in; None for one that is not made yet.
        """
        wanted = [place for place, draft in enumerate(drafts) if draft.indexed]
        if None in cubes or not self.embedding.record.dims:
            return wanted
        numbers = {place: number for place in wanted if (number := identity_number(drafts[place])) is not None}
        needed = {place for place in wanted if place not in numbers}
        asked = list(dict.fromkeys(numbers.values()))
        for cube in cubes:
            if cube is None or not asked:
                continue
            heads = self._store.heads_by_dedup(cube, asked)
            records = self._store.records(cube, [head.seq for head in heads.values()])
            for place, number in numbers.items():
                head = heads.get(number)
                if needs_vectors(drafts[place], head, records.get(head.seq) if head else None):
                    needed.add(place)
        return sorted(needed)

    def prepare(
        self,
        drafts: Sequence[Draft],
        vectors: Floats | None = None,
        embedded: Floats | None = None,
        places: Sequence[int] | None = None,
        made_under: str | None = None,
    ) -> Prepared:
        """Embed drafts and give them ids. No lock is held meanwhile.

        Args:
            drafts: as read.
            vectors: (drafts, dims) of the caller's own; None has the store's embedder make them.
            embedded: (places, dims), where the store's embedder has made them already.
            places: of the drafts to embed; None for all that search may find.
            made_under: the mark (`Embedding.mark`) that `embedded` was made under.

        Raises:
            Overtaken: all vectors of the store have been replaced since `embedded` was made.
            WrongDimension, EmbedderUnavailable, EmbeddingFailed: as `Embedding` says.
        """
        self.embedding.confirm()
        self.embedding.claim()
        mark = self.embedding.mark
        if embedded is not None and made_under != mark:
            raise Overtaken
        findable = [place for place, draft in enumerate(drafts) if draft.indexed]
        wanted = findable if places is None else places
        if vectors is not None:
            blobs: list[VectorBlobs | None] = self.embedding.given(vectors, len(drafts))
        else:
            blobs = [None] * len(drafts)
            texts = [indexed_text(drafts[place].text, drafts[place].context) for place in wanted]
            made = self.embedding.encode(texts) if embedded is None else self.embedding.embedded(embedded, len(texts))
            for place, blob in zip(wanted, made, strict=True):
                blobs[place] = blob
        ids = iter(self._ids.make(len(drafts)))
        skipped = frozenset(findable).difference(wanted) if vectors is None else frozenset[int]()
        return Prepared(tuple(drafts), skipped, tuple(blobs), tuple(draft.id or next(ids) for draft in drafts), mark)

    def prepare_later(self, drafts: Sequence[Draft]) -> Prepared:
        """Give drafts ids; their vectors come later.

        Raises:
            EmbedderMismatch: the store's vectors are those of another embedder by now.
        """
        self.embedding.confirm()
        self.embedding.claim()
        ids = iter(self._ids.make(len(drafts)))
        named = tuple(draft.id or next(ids) for draft in drafts)
        return Prepared(tuple(drafts), frozenset(), (None,) * len(drafts), named, self.embedding.mark)

    def add(self, transaction: Transaction, cube: CubeRow, prepared: Prepared) -> list[Outcome]:
        """Store prepared drafts in a cube that the transaction has locked; one outcome each, in order.

        Pieces of a document that is among them but no longer has them are deleted, as outcomes at the end.

        Raises:
            AlreadyExists: an id or key that the caller gave is in use.
            EmbedderMismatch: all vectors of the store have been replaced since the drafts were embedded.
            Overtaken: one that was not embedded because the cube knew it has changed since.
        """
        self.embedding.check_setting(transaction.setting(SETTING), prepared.mark)
        commit = Commit(transaction, cube, lambda seqs: self._store.records(cube, seqs))
        outcomes = commit.write(prepared.drafts, prepared.blobs, prepared.ids, prepared.skipped)
        documents = dict.fromkeys((d.conversation, d.private_to) for d in prepared.drafts if from_document(d.source))
        for uri, reader in documents:
            if uri is not None:
                kept = {outcome.id for outcome in outcomes}
                outcomes.extend(self._remove_gone(transaction, cube, uri, kept, reader))
        return outcomes

    def _remove_gone(
        self, transaction: Transaction, cube: CubeRow, uri: str, kept: set[str], private_to: str | None
    ) -> list[Outcome]:
        """Delete the pieces of a document that it has no more; what others keep private of it is another document."""
        if not cube.seq:  # nothing was in it before this transaction, which alone may know that there is a cube
            return []
        index = self.indexes.get(cube)
        with index.lock:
            index.catch_up()
            number = index.table.conversations.find(uri)
            rows = index.moment(None, Look(states=frozenset(LifecycleState)), unindexed=True).rows
            seqs = index.table["seq"][rows[index.table["conversation"][rows] == number]].tolist() if number >= 0 else []
        gone = [r for r in self._store.records(cube, seqs).values() if r.id not in kept and _piece(r, private_to)]
        heads = transaction.heads(cube, [record.id for record in gone])
        for record in gone:
            need_changeable(record.state, f"item {record.id!r} of cube {cube.name!r}, which has gone from {uri!r},")
        puts = [_tombstone(heads[record.id]) for record in gone if heads[record.id].seq == record.seq]
        if puts:
            transaction.put(cube, puts)
        return [Outcome(put.id, 0, "removed") for put in puts]

    def embed_what_lacks(self, transaction: Transaction, cube: CubeRow, ids: Sequence[str] | None = None) -> None:
        """File the jobs that give vectors to items of a locked cube that have none: those of an older moment, say.

        Args:
            ids: only these; None for all.
        """
        if self.embedding.record.dims:
            jobs = embed_jobs(cube.number, transaction.without_vectors(cube, ids))
            if jobs:
                transaction.file(jobs)

    # -- changing -------------------------------------------------------------------------------------------------

    def new_vectors(self, record: Record, changes: dict[str, Any]) -> VectorBlobs | None:
        """Vectors for an item's next version; None where those it has still hold (or it needs none).

        Args:
            record: its newest version.
            changes: as for `update`.
        """
        if record.body is None or record.text is None:
            return None
        body = msgspec.structs.replace(record.body, **{k: v for k, v in changes.items() if k != "text"})
        text = indexed_text(changes.get("text", record.text), body.context)
        same = text == indexed_text(record.text, record.body.context) and (
            record.vectors_of or not self.embedding.record.dims
        )
        return None if same or not body.indexed else self.embedding.encode([text])[0]

    def update(
        self,
        transaction: Transaction,
        cube: CubeRow,
        record: Record,
        changes: dict[str, Any],
        blob: VectorBlobs | None,
        mark: str,
    ) -> int:
        """Write the next version of an item; returns the number of the change.

        Args:
            record: the version that `changes` were decided on; it must still be the newest.
            changes: fields of `Body`, and "text".
            blob: vectors, where the words have changed; None keeps the old ones where they have not.
            mark: of the vectors (`Embedding.mark`), when it was decided.

        Raises:
            VersionConflict: the item has moved on.
            AlreadyExists: the new key is in use.
        """
        self.embedding.check_setting(transaction.setting(SETTING), mark)
        body = record.body
        if body is None:
            raise ItemNotFound(f"item {record.id!r} of cube {cube.name!r} is deleted; restore it first")
        need_changeable(record.state, _called(cube, record.id))
        fields = {name: value for name, value in changes.items() if name != "text"}
        key = fields.get("key")
        if key is not None and key != body.key:
            taken = transaction.heads_by_key(cube, [key])
            if taken:
                raise AlreadyExists(f"cube {cube.name!r} has an item with key {key!r} already")
        text = changes.get("text", record.text)
        same_words = blob is None and text == record.text
        put = Put(
            id=record.id,
            op="update",
            text=text,
            body=msgspec.structs.replace(body, **{"reason": None, **fields}),
            state=record.state,
            head=_head(record),
            vectors=blob,
            vectors_of=record.vectors_of if same_words else 0,
        )
        return transaction.put(cube, [put])

    def delete(self, transaction: Transaction, cube: CubeRow, ids: Sequence[str]) -> int:
        """Put a tombstone on each of these items; returns how many there were (deleted ones do not count)."""
        heads = [head for head in transaction.heads(cube, ids).values() if not head.deleted]
        for record in self._store.records(cube, [head.seq for head in heads]).values():
            need_changeable(record.state, _called(cube, record.id))
        puts = [_tombstone(head) for head in heads]
        if puts:
            transaction.put(cube, puts)
        return len(puts)

    def move(
        self,
        transaction: Transaction,
        cube: CubeRow,
        records: Sequence[Record],
        target: LifecycleState,
        *,
        by: str = "",
        reason: str | None = None,
    ) -> int:
        """Bring items to another state; those that are in it already stay as they are. Returns how many moved.

        Args:
            records: their newest versions.
            target: the state.
            by: id of the item that replaces them, where they are merged into it.
            reason: kept with the version.

        Raises:
            StateConflict: one of them cannot get there from its state.
            VersionConflict: one of them has moved on.
        """
        puts = []
        for record in records:
            if record.state is target and not by:
                continue
            move_between(record.state, target, _called(cube, record.id))
            assert record.body is not None
            links = tuple(link for link in record.body.links if link.relation != MERGED_INTO)
            links = (*links, Link(MERGED_INTO, by)) if by else links
            body = msgspec.structs.replace(record.body, links=links, reason=reason)
            puts.append(
                Put(
                    id=record.id,
                    op="move",
                    text=record.text,
                    body=body,
                    state=target,
                    head=_head(record),
                    vectors_of=record.vectors_of,
                )
            )
        if puts:
            transaction.put(cube, puts)
        return len(puts)

    def restore(
        self,
        transaction: Transaction,
        cube: CubeRow,
        id: str,
        *,
        version: int | None = None,
        reader: str | None = None,
        reason: str | None = None,
        admit: Callable[[Record], None] = lambda _: None,
    ) -> int:
        """Make the newest version equal to an earlier one; returns the number of the change.

        Args:
            version: which; None for the last before a deletion.
            reader: from whom private versions of others are hidden; None sees all.
            reason: kept with the version.
            admit: raises where what the version says may not be stored any more.

        Raises:
            ItemNotFound: the cube has never had the item.
            VersionNotFound: it has no such version, or that was a deletion.
            AlreadyExists: the key it had is in use by another item now.
            Conflict: nothing was given and it is not deleted.
        """
        head = transaction.heads(cube, [id]).get(id)
        if head is None:
            raise ItemNotFound(f"no item {id!r} in cube {cube.name!r}")
        if version is None and not head.deleted:
            raise Conflict(f"item {id!r} of cube {cube.name!r} is not deleted; name a version to go back to")
        past = self._seen(cube, head, reader)
        if not past:
            raise ItemNotFound(f"no item {id!r} in cube {cube.name!r}")
        need_changeable(past[-1].state, _called(cube, id))
        chosen = [r for r in past if r.body is not None and version in (None, r.version)]
        if not chosen:
            raise VersionNotFound(f"item {id!r} of cube {cube.name!r} has no version {version} that could be restored")
        source = chosen[-1]
        assert source.body is not None
        admit(source)
        if source.body.key is not None:
            holder = transaction.heads_by_key(cube, [source.body.key]).get(source.body.key)
            if holder is not None and holder.id != id:
                named = f"item {holder.id!r}" if self.heads(cube, [holder.id], reader) else "another item"
                raise AlreadyExists(f"key {source.body.key!r} is now that of {named}; free it first")
        put = Put(
            id=id,
            op="restore",
            text=source.text,
            body=msgspec.structs.replace(source.body, reason=reason),
            state=LifecycleState.ACTIVATED if source.state is LifecycleState.FROZEN else source.state,
            head=head,
            vectors_of=source.vectors_of,
        )
        return transaction.put(cube, [put])

    # -- reading --------------------------------------------------------------------------------------------------

    def current(self, cube: CubeRow, id: str, *, as_of: int | None = None, look: Look = EVERYTHING) -> Record:
        """The item's version now, or after change `as_of`, in whatever state it is.

        Args:
            look: whose eyes, and at what time; its states do not count.

        Raises:
            ItemNotFound: there is none, it is deleted or has expired, or these eyes may not see it.
        """
        head = self._store.heads(cube, [id]).get(id) or _nothing(id)
        record = None  # what is hidden takes as many questions to the store as what is not there
        if as_of is not None and as_of < head.seq:
            then = [past for past in self._seen(cube, head, look.reader) if past.seq <= as_of]
            record = then[-1] if then else None
        else:
            record = self._store.records(cube, [head.seq] if head.seq else []).get(head.seq)
        body = None if record is None else record.body
        if record is None or body is None or _hidden(body, look.reader) or _expired(body, look.at):
            raise ItemNotFound(f"no item {id!r} in cube {cube.name!r}" + (f" after change {as_of}" if as_of else ""))
        return record

    def heads(self, cube: CubeRow, ids: Sequence[str], reader: str | None) -> dict[str, Head]:
        """Where these items stand, deleted ones among them; those that an actor may not see are left out."""
        heads = self._store.heads(cube, ids)
        if reader is None:
            return heads
        newest = self._store.records(cube, [head.seq for head in heads.values()])
        seen = {}
        for id in dict.fromkeys(ids):
            head = heads.get(id) or _nothing(id)
            body = newest[head.seq].body if id in heads else None
            shown = body is not None and not _hidden(body, reader)
            if not shown:  # asked whether there is any past or not: nobody learns which it is
                shown = bool(self._seen(cube, head, reader)) and head.deleted
            if shown:
                seen[id] = head
        return seen

    def _seen(self, cube: CubeRow, head: Head, reader: str | None) -> list[Record]:
        """All versions of an item that an actor may see, oldest first; none where only a deletion is left of them.

        Who makes an item private hides its past with it.
        """
        past = self._store.history(cube, head)
        hidden = [place for place, record in enumerate(past) if _hidden(record.body, reader)]
        past = past[hidden[-1] + 1 :] if hidden else past
        return past if any(record.body is not None for record in past) else []

    def nearest(
        self, place: Place, vector: Floats, count: int, *, where: Filter | None
    ) -> Nearest[tuple[Record, float]]:
        """The items whose vectors are nearest by exact cosine, best first, ties by age.

        Raises:
            WrongDimension: the vector is of another length than the store's.
        """
        vector = self.embedding.query_given(vector).dense
        index, now = self.indexes.get(place.cube), place.as_of is None
        asked = self.followers.ask(index, vector, count, where, place.look) if now else Asked()
        with index.lock:
            index.catch_up()
            rows = index.matching(where, index.moment(place.as_of, place.look).rows)
            if asked.likely is not None:
                likely = asked.likely.rows(index, rows)
                rows = likely if len(likely) >= min(count, len(rows)) else rows
            found = index.nearest_rows(vector, rows, count)
        records = self._store.records(place.cube, [seq for seq, _ in found])
        return Nearest([(records[seq], score) for seq, score in found], degraded=asked.degraded)

    def by_key(self, cube: CubeRow, key: str, reader: str | None = None) -> str:
        """The id of the item that bears a key.

        Raises:
            ItemNotFound: none does that the reader may see.
        """
        head = self._store.heads_by_key(cube, [key]).get(key) or _nothing(key)
        if not self.heads(cube, [head.id] if head.seq else [""], reader):
            raise ItemNotFound(f"no item with key {key!r} in cube {cube.name!r}")
        return head.id

    def by_key_then(self, place: Place, key: str) -> str:
        """The id of the item that bore a key at a moment.

        Args:
            place: which moment; items in other states than it looks for are not found.

        Raises:
            ItemNotFound: none did that the reader may see.
        """
        index = self.indexes.get(place.cube)
        with index.lock:
            index.catch_up()
            moment = index.moment(place.as_of, place.look, unindexed=True)
            seqs = index.table["seq"][index.matching(F.key == key, moment.rows)].tolist()
        for record in self._store.records(place.cube, seqs).values():
            return record.id
        raise ItemNotFound(f"no item with key {key!r} in cube {place.cube.name!r} after change {place.as_of}")

    def between(self, old: Place, new: Place) -> list[tuple[Record | None, Record | None]]:
        """The items that are not at the same version at two moments of a cube: (then, later), in the order of their changes.

        None where an item was not there, or not to be seen.
        """
        index = self.indexes.get(old.cube)
        found: list[dict[int, int]] = []
        with index.lock:
            index.catch_up()
            for place in (old, new):
                rows = index.moment(place.as_of, place.look, unindexed=True).rows
                items, seqs = index.table["item"][rows].tolist(), index.table["seq"][rows].tolist()
                found.append(dict(zip(items, seqs, strict=True)))
        before, after = found
        moved = [item for item in {**before, **after} if before.get(item) != after.get(item)]
        wanted = {seq for item in moved for seq in (before.get(item), after.get(item)) if seq is not None}
        records = self._store.records(old.cube, sorted(wanted))
        moved.sort(key=lambda item: after.get(item) or before[item])
        return [(records.get(before.get(item, 0)), records.get(after.get(item, 0))) for item in moved]

    def history(self, cube: CubeRow, id: str, reader: str | None = None) -> list[Version]:
        """All versions of an item that the reader may see, oldest first; deletions are among them.

        Raises:
            ItemNotFound: the cube has never had it, or the reader may not see it.
        """
        head = self._store.heads(cube, [id]).get(id) or _nothing(id)
        seen = self._seen(cube, head, reader)
        if not seen:
            raise ItemNotFound(f"no item {id!r} in cube {cube.name!r}")
        return [record.to_version() for record in seen if record.op != "embed"]

    def items(self, cube: CubeRow, seqs: Sequence[int]) -> list[MemoryItem]:
        """The items that these changes made, in that order."""
        records = self._store.records(cube, seqs)
        return [records[seq].to_item() for seq in seqs]


def _head(record: Record) -> Head:
    return Head(record.item, record.id, record.seq, record.version, record.body is None)


def _nothing(id: str) -> Head:
    """Stands for an item that there is not, so that looking for it is the same road as looking for one that is hidden."""
    return Head(0, id, 0, 0, True)


def _called(cube: CubeRow, id: str) -> str:
    return f"item {id!r} of cube {cube.name!r}"


def _hidden(body: Body | None, reader: str | None) -> bool:
    return reader is not None and body is not None and body.private_to not in (None, reader)


def _expired(body: Body, at: int | None) -> bool:
    return at is not None and body.expires_at is not None and micros(body.expires_at) <= at


def _tombstone(head: Head) -> Put:
    return Put(id=head.id, op="delete", text=None, body=None, head=head)


def _piece(record: Record, private_to: str | None) -> bool:
    return record.body is not None and from_document(record.body.source) and record.body.private_to == private_to
