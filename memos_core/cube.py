"""MemCube: one cube as one actor may see it. Every read and write of memory goes through here, and asks governance first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from memos_core.errors import AccessDenied, AlreadyExists, CubeNotFound, InvalidInput, OnHold
from memos_core.events import event
from memos_core.filters import Filter, Where, parse_where
from memos_core.governance.asking import asks_for_sources, need_unmasked, with_seen_sources
from memos_core.governance.governance import Governance
from memos_core.governance.redacting import NOTHING, Rules, joined, masked, need_redacted, on_read, on_write
from memos_core.lifecycle.retention import overdue
from memos_core.lifecycle.states import move_between
from memos_core.plaintext.commit import Outcome, Overtaken
from memos_core.plaintext.embedding import Floats
from memos_core.plaintext.general import GeneralTextMemory, Prepared
from memos_core.plaintext.results import Place
from memos_core.plaintext.rewinding import rewind
from memos_core.protocols.storage import RecordStore, Transaction
from memos_core.protocols.vectors import Nearest
from memos_core.stores.index.moments import FINDABLE, Look
from memos_core.types.access import OPERATOR, Actor, Grant, Right, check_grantee, rights_of
from memos_core.types.checks import in_utc
from memos_core.types.cube_policy import CubePolicy, decode_policy, encode_policy
from memos_core.types.differences import CubeDiff, RolledBack, item_diff
from memos_core.types.erasure import EVERYTHING_HELD, Hold, check_reason, check_target
from memos_core.types.items import LifecycleState, MemoryItem, Version
from memos_core.types.jobs import NewJob, embed_jobs
from memos_core.types.names import check_cube_name, check_text
from memos_core.types.uses import Use
from memos_core.types.work import AuditEntry, CubeRow, Record, VectorBlobs, micros

_RETAINED_AT_ONCE = 500


def _check_redaction(row: CubeRow, done: Rules) -> None:
    wanted = on_write(decode_policy(row.policy))
    if not (set(wanted.kinds) <= set(done.kinds) and set(wanted.names) <= set(done.names)):
        raise Overtaken


def without_links_to(item: MemoryItem, hidden: Collection[str]) -> MemoryItem:
    """An item without links to items, and without their ids among what it was made from."""
    links = tuple(link for link in item.links if link.target not in hidden)
    sources = tuple(source for source in item.provenance.derived_from if source[0] not in hidden)
    provenance = msgspec.structs.replace(item.provenance, derived_from=sources)
    return msgspec.structs.replace(item, links=links, provenance=provenance)


def own_name(name: str, actor: str) -> bool:
    """Whether a cube's name is the actor's own or below it."""
    return name == actor or name.startswith(actor + "/")


class MemCube:
    """One cube, for one actor.

    Args:
        name: of the cube. An actor's own cubes are the one named like the actor and those below it ("alice/home"); they
            are made with the first write. Others are made by `MOS.create_cube`.
        actor: on whose behalf.
        store: the truth.
        governance: asked before anything else.
        memory: what the cube holds.
        now: the clock, by which items expire.

    Raises:
        InvalidName: the name could be mistaken for another one.
    """

    def __init__(
        self,
        name: str,
        actor: Actor,
        *,
        store: RecordStore,
        governance: Governance,
        memory: GeneralTextMemory,
        now: Callable[[], datetime],
    ) -> None:
        self.name = check_cube_name(name)
        self.actor = actor
        self._store = store
        self._governance = governance
        self._memory = memory
        self._now = now

    def __repr__(self) -> str:
        return f"MemCube({self.name!r}, actor={self.actor.id!r})"

    @property
    def own(self) -> bool:
        """Whether the name is the actor's own or below it."""
        return own_name(self.name, self.actor.id)

    # -- redaction --------------------------------------------------------------------------------------------------

    def redaction(self) -> Rules:
        """What the cube has taken out before anything is stored."""
        row = self.writable()
        return NOTHING if row is None else on_write(decode_policy(row.policy))

    def masking(self) -> Rules:
        """What is masked for the actor in the items of this cube."""
        if self.reader is None or self.readable() is None:
            return NOTHING
        return on_read(decode_policy(self.require(Right.READ).policy), self.actor.roles)

    def shown(self, items: Sequence[MemoryItem]) -> list[MemoryItem]:
        """Items of this cube as the actor may see them: masked, and without links to what it cannot see in it.

        Links to what is not there go, too: else whoever writes one could find out by it that something is.
        """
        reader = self.reader
        if reader is None:
            return list(items)
        rules = self.masking()
        if rules:
            items = [masked(item, rules) for item in items]
        targets = {link.target for item in items for link in item.links}
        targets |= {id for item in items for id, _ in item.provenance.derived_from}
        if not targets:
            return list(items)
        hidden = targets - set(self._memory.heads(self.require(Right.READ), sorted(targets), reader))
        return [without_links_to(item, hidden) for item in items] if hidden else list(items)

    def asked(self, where: Filter | None) -> Filter | None:
        """A filter as it may be put to this cube: it finds out nothing that the actor would not be shown.

        Raises:
            AccessDenied: it asks for what is masked, or hidden.
        """
        row = None if where is None else self.readable()
        if where is None or row is None:
            return where
        rules, reader = self.masking(), self.reader
        if rules:
            need_unmasked(where, rules)
        if reader is None or not asks_for_sources(where):
            return where
        return with_seen_sources(where, lambda ids: self._memory.heads(row, ids, reader))

    # -- asking governance ----------------------------------------------------------------------------------------

    def require(self, right: Right) -> CubeRow:
        """The cube's row, if the actor has the right.

        Raises:
            CubeNotFound: there is no such cube, or the actor may not even read it.
            AccessDenied: the actor may read it, but has not this right.
        """
        return self._governance.require(self.actor, self.name, right)

    def readable(self) -> CubeRow | None:
        """The cube's row to read from; None for a cube of the actor's own that nothing was written to yet.

        Raises:
            CubeNotFound: there is no such cube, or the actor may not read it.
        """
        if self.own and not self._governance.exists(self.name):
            return None
        return self.require(Right.READ)

    def writable(self) -> CubeRow | None:
        """The cube's row to write to; None for a cube of the actor's own that is not made yet.

        Raises:
            CubeNotFound, AccessDenied: as `require` says.
        """
        if self.own and not self._governance.exists(self.name):
            return None
        return self.require(Right.WRITE)

    def lock(self, transaction: Transaction) -> CubeRow:
        """The cube's row, locked for writing; a cube of the actor's own is made if need be.

        Raises:
            CubeNotFound, AccessDenied: as `require` says.
        """
        fresh = self.own and not self._governance.exists(self.name)
        reason = "owner" if fresh else self._governance.decide(self.actor, self.name, Right.WRITE).reason
        row = transaction.cube(self.name)
        if row is None:
            if not self.own:
                raise CubeNotFound(f"no cube {self.name!r} that {self.actor.id!r} may write to")
            row = transaction.create_cube(self.name, self.actor.id)
        transaction.note(row, by=reason)
        return row

    def _lock_for(self, transaction: Transaction, reason: str | None) -> CubeRow:
        """As `lock`, with a reason for the audit."""
        row = self.lock(transaction)
        if reason is not None:
            transaction.note(row, reason=check_text(reason, "reason"))
        return row

    # -- other times ----------------------------------------------------------------------------------------------

    def fork(self, name: str, *, as_of: int | datetime | None = None, owner: str | Actor | None = None) -> CubeRow:
        """A new cube whose history up to a moment is this one's, and which goes its own way from there.

        Texts and vectors are shared, not copied. Whoever owns the fork may read all that this cube has ever held, so it takes
        the right to administrate it.

        Args:
            name: of the new cube. An actor forks into its own names only; the holder of the store into any.
            as_of: after that change, or at that time; None for now.
            owner: whose it is; None for the actor (for the holder of the store: for the owner of this cube).

        Raises:
            CubeNotFound, AccessDenied: as `require` says, or the name or the owner is another actor's.
            AlreadyExists: there is such a cube already.
        """
        decision, operator = self._governance.decide(self.actor, self.name, Right.ADMIN), self.actor == OPERATOR
        source = decision.cube
        check_cube_name(name)
        whose = Actor.of(owner).id if owner is not None else source.owner if operator else self.actor.id
        if not operator and (whose != self.actor.id or not own_name(name, self.actor.id)):
            raise AccessDenied(
                f"{self.actor.id!r} may fork into cubes of its own only: name it {self.actor.id}/..., say"
            )
        moment = self.moment(as_of)
        with event("memos.fork", cube=self.name), self._store.begin(actor=self.actor.id, action="fork") as transaction:
            rows = {each: transaction.cube(each) for each in sorted({self.name, name})}
            locked = rows[self.name]
            if rows[name] is not None:
                raise AlreadyExists(f"there is a cube {name!r} already")
            if locked is None:
                raise CubeNotFound(f"there is no cube {self.name!r} any more")
            made = transaction.fork(locked, name, whose, locked.seq if moment is None else min(moment, locked.seq))
            for row in (locked, made):  # the cube that it is made from tells of it, too: all of it can be read there
                transaction.note(row, by=decision.reason)
            transaction.note(locked, forked_to=name)
            transaction.enter(locked)
            self._memory.embed_what_lacks(transaction, made)
            return made

    def diff(self, old: int | datetime, new: int | datetime | None = None) -> CubeDiff:
        """What differs between two moments: items that came, went, or say something else, in whatever state they are.

        Args:
            old: after that change, or at that time.
            new: the same; None for now.

        Raises:
            CubeNotFound: there is no such cube, or the actor may not read it.
        """
        if old is None:
            raise InvalidInput("old says which moment to begin at: the number of a change, or an aware time")
        moved = self._memory.between(*(self.place(each, LifecycleState) for each in (old, new)))
        there = [record.to_item() for pair in moved for record in pair if record is not None]
        shown = {item.seq: item for item in self.shown(there)}
        pairs = [(None if a is None else shown[a.seq], None if b is None else shown[b.seq]) for a, b in moved]
        changed = [item_diff(a.id, a, b) for a, b in pairs if a is not None and b is not None]
        self.audited("diff", list(dict.fromkeys(item.id for item in there)))
        return CubeDiff(
            added=tuple(b for a, b in pairs if a is None and b is not None),
            removed=tuple(a for a, b in pairs if b is None and a is not None),
            changed=tuple(each for each in changed if each),
        )

    def rollback(self, as_of: int | datetime, *, reason: str | None = None) -> RolledBack:
        """Make what the cube holds now what it held at a moment, in one transaction: a new version of each item that differs.

        Nothing is lost: what came later is deleted (restorable) and stays in the history, and rolling back to the number
        `before` of the answer undoes all of it. Needs the right to administrate the cube, as it goes past frozen and private
        items.

        Args:
            as_of: after that change, or at that time.
            reason: for the audit.

        Raises:
            CubeNotFound, AccessDenied: as `require` says.
        """
        self.require(Right.ADMIN)
        moment = self.moment(as_of)
        if moment is None:
            raise InvalidInput("as_of says which moment to go back to: the number of a change, or an aware time")
        with (
            event("memos.rollback", cube=self.name),
            self._store.begin(actor=self.actor.id, action="rollback") as writing,
        ):
            row = self._lock_for(writing, reason)
            done = rewind(self._store, writing, row, moment, lambda record: need_redacted(record, row))
            self._memory.embed_what_lacks(writing, row, [*done.restored, *done.changed])
            return done

    # -- inside a transaction -------------------------------------------------------------------------------------

    def add(self, transaction: Transaction, prepared: Prepared, redaction: Rules = NOTHING) -> list[Outcome]:
        """Store prepared drafts; one outcome each, then one for each piece that is gone from its document.

        Args:
            redaction: what has been taken out of them.

        Raises:
            Overtaken: the cube has more taken out by now.
        """
        return self._add(transaction, self.lock(transaction), prepared, redaction)

    def _add(self, transaction: Transaction, row: CubeRow, prepared: Prepared, redaction: Rules) -> list[Outcome]:
        _check_redaction(row, redaction)
        found = joined(draft.redacted for draft in prepared.drafts)
        if found:
            transaction.note(row, redacted=found)
        return self._memory.add(transaction, row, prepared)

    def add_later(
        self, transaction: Transaction, prepared: Prepared, redaction: Rules = NOTHING
    ) -> tuple[list[Outcome], list[NewJob]]:
        """As `add`, for drafts without vectors; also the jobs that make those."""
        row = self.lock(transaction)
        outcomes = self._add(transaction, row, prepared, redaction)
        if not self._memory.embedding.record.dims:
            return outcomes, []
        changed = [
            outcome.id
            for draft, outcome in zip(prepared.drafts, outcomes, strict=False)  # then what has gone from its document
            if draft.indexed and outcome.status in ("added", "changed")
        ]
        return outcomes, embed_jobs(row.number, changed)

    def update(
        self,
        transaction: Transaction,
        record: Record,
        changes: dict[str, Any],
        blob: VectorBlobs | None,
        mark: str,
        redaction: Rules = NOTHING,
    ) -> int:
        """Write the next version of the item whose newest version is `record`.

        Args:
            redaction: what has been taken out of the changes.

        Raises:
            Overtaken: the cube has more taken out by now.
        """
        row = self.lock(transaction)
        _check_redaction(row, redaction)
        if changes.get("redacted"):
            transaction.note(row, redacted=changes["redacted"])
        return self._memory.update(transaction, row, record, changes, blob, mark)

    def delete(self, transaction: Transaction, ids: Sequence[str], reason: str | None = None) -> int:
        """Delete (restorable) those of these items that there are, and that the actor may see; returns how many.

        Raises:
            OnHold: a legal hold covers one of them.
        """
        row = self._lock_for(transaction, reason)
        seen = list(self._memory.heads(row, ids, self.reader))
        held = transaction.held(row, seen)
        if held:
            raise OnHold("; ".join(dict.fromkeys(held.values())))
        return self._memory.delete(transaction, row, seen)

    def restore(self, transaction: Transaction, id: str, version: int | None, reason: str | None = None) -> int:
        """Make the newest version of an item equal to an earlier one."""
        row = self._lock_for(transaction, reason)
        seq = self._memory.restore(
            transaction,
            row,
            id,
            version=version,
            reader=self.reader,
            reason=reason,
            admit=lambda record: need_redacted(record, row),
        )
        self._memory.embed_what_lacks(transaction, row, [id])
        return seq

    def move(
        self,
        transaction: Transaction,
        records: Sequence[Record],
        target: LifecycleState,
        *,
        by: str = "",
        reason: str | None = None,
    ) -> int:
        """Bring the items whose newest versions these are to another state; returns how many moved.

        Args:
            reason: for the audit.
            by: id of the item that replaces them, where they are merged into it.

        Raises:
            StateConflict: one of them cannot get there from its state.
            AccessDenied: the actor has not the right that the move needs.
        """
        row = self._lock_for(transaction, reason)
        for record in records:
            if record.state is not target:
                self.require(move_between(record.state, target, f"item {record.id!r} of cube {self.name!r}").right)
        return self._memory.move(transaction, row, records, target, by=by, reason=reason)

    # -- reading --------------------------------------------------------------------------------------------------

    @property
    def reader(self) -> str | None:
        """The actor from whom private items of others are hidden; None where it administrates the cube."""
        return None if self._governance.may(self.actor, self.name, Right.ADMIN) else self.actor.id

    def place(self, as_of: int | datetime | None = None, include: Iterable[LifecycleState] = ()) -> Place:
        """Where and how the actor looks into the cube.

        Args:
            as_of: after that change, or at that time; None for now.
            include: states in which items are found too, besides those that always are.

        Raises:
            CubeNotFound: there is no such cube, or the actor may not read it.
            InvalidInput: a negative number, or a time without a zone.
        """
        row, moment = self.require(Right.READ), self.moment(as_of)
        if isinstance(as_of, datetime):
            at = as_of
        elif moment is None or moment > self._store.head_seq(row):
            at = self._now()
        else:
            at = self._store.time_of(row, moment)
        return Place(row, moment, Look(self.reader, FINDABLE.union(include), micros(at)))

    def current(self, id: str, *, expired: bool = False) -> Record:
        """The newest version of an item, in whatever state it is and with nothing masked, to write the next one.

        Args:
            expired: whether one that has expired counts.

        Raises:
            ItemNotFound: there is none that the actor may see.
            CubeNotFound, AccessDenied: as `require` says of the right to write.
        """
        self.require(Right.WRITE)
        return self._current(id, None, expired)

    def _current(self, id: str, as_of: int | datetime | None, expired: bool) -> Record:
        place = self.place(as_of)
        look = msgspec.structs.replace(place.look, at=None) if expired else place.look
        return self._memory.current(place.cube, id, as_of=place.as_of, look=look)

    def found_among(self, ids: Sequence[str]) -> list[MemoryItem]:
        """Those of these items that a search could find now, as the actor may see them, in the order given."""
        row, place = self.require(Right.READ), self.place()
        heads = self._memory.heads(row, ids, self.reader)
        seqs = [heads[id].seq for id in ids if id in heads and not heads[id].deleted]
        records = self._store.records(row, seqs)
        living = [
            records[seq].to_item()
            for seq in seqs
            if records[seq].state in place.look.states and not self._over(records[seq], place.look.at)
        ]
        found = [item for item in living if item.indexed]
        self.audited("working", [item.id for item in found])
        return self.shown(found)

    @staticmethod
    def _over(record: Record, at: int | None) -> bool:
        ends = record.body.expires_at if record.body else None
        return at is not None and ends is not None and micros(ends) <= at

    def used(self, ids: Sequence[str]) -> dict[str, Use]:
        """What is counted of the uses of those of these items that the actor may see and that were used, by id."""
        row = self.require(Right.READ)
        heads = self._memory.heads(row, ids, self.reader)
        counted = self._store.uses.used_items([head.item for head in heads.values()])
        return {id: counted[head.item] for id, head in heads.items() if head.item in counted}

    def knows(self, id: str) -> bool:
        """Whether the cube has the item, or had it before it was deleted."""
        return bool(self._memory.heads(self.require(Right.READ), [id], self.reader))

    def holding(self, ids: Sequence[str]) -> set[str]:
        """Those of these items that the cube has now; the actor must be allowed to write to it."""
        heads = self._memory.heads(self.require(Right.WRITE), ids, self.reader)
        return {id for id, head in heads.items() if not head.deleted}

    def get(self, id: str, *, as_of: int | datetime | None = None, expired: bool = False) -> MemoryItem:
        """An item now or at a moment, in whatever state it is, as the actor may see it.

        Args:
            expired: whether one that has expired counts.

        Raises:
            ItemNotFound: there is none that the actor may see.
            CubeNotFound: nor a cube that the actor may read.
        """
        with self._store.operation():
            item = self.shown([self._current(id, as_of, expired).to_item()])[0]
            self.audited("get", [item.id])
        return item

    def written(self, id: str) -> MemoryItem:
        """What the actor has just written, as it may see it, expired or not: the answer to a write is no reading."""
        return self.shown([self.current(id, expired=True).to_item()])[0]

    def audited(self, operation: str, ids: Sequence[str]) -> None:
        """Have the audit know that the actor has read these items."""
        self._governance.read(self.actor, self.name, operation, ids)

    def id_of(self, key: str, *, as_of: int | datetime | None = None) -> str:
        """The id of the item that bears a key, or bore it at a moment; raises ItemNotFound where none does."""
        if as_of is not None:
            return self._memory.by_key_then(self.place(as_of, LifecycleState), key)
        return self._memory.by_key(self.require(Right.READ), key, self.reader)

    def nearest(
        self, vector: Floats, count: int = 10, *, where: Where = None, as_of: int | datetime | None = None
    ) -> Nearest[tuple[MemoryItem, float]]:
        """The items whose vectors are nearest, with their exact cosines, best first: vector search and nothing else.

        Args:
            vector: (dims,), of any length but zero.
            count: how many.
            where: only items that fulfil this filter.
            as_of: as it was after that change, or at that time.

        Raises:
            WrongDimension: the vector is of another length than the store's.
        """
        with self._store.operation():
            narrowed = self.asked(parse_where(where))
            found = self._memory.nearest(self.place(as_of), vector, count, where=narrowed)
            self.audited("nearest", [record.id for record, _ in found])
        items = self.shown([record.to_item() for record, _ in found])
        scores = [score for _, score in found]
        return Nearest(zip(items, scores, strict=True), degraded=found.degraded)

    def history(self, id: str) -> list[Version]:
        """All versions of an item, oldest first, deletions among them."""
        with self._store.operation():
            found = self._memory.history(self.require(Right.READ), id, self.reader)
            self.audited("history", [id])
            return [
                version
                if version.item is None
                else msgspec.structs.replace(version, item=self.shown([version.item])[0])
                for version in found
            ]

    def moment(self, as_of: int | datetime | None) -> int | None:
        """A moment as the number of a change.

        Raises:
            InvalidInput: a negative number, or a time without a zone.
        """
        if as_of is None:
            return None
        if isinstance(as_of, datetime):
            if as_of.tzinfo is None:
                raise InvalidInput(f"as_of={as_of!r} has no time zone; give an aware time (in UTC, say)")
            row = self.readable()
            return 0 if row is None else self._store.seq_at(row, as_of)
        if isinstance(as_of, bool) or not isinstance(as_of, int) or as_of < 0:
            raise InvalidInput(f"as_of is the number of a change (0, 1, 2, ...) or an aware time, not {as_of!r}")
        return as_of

    def catch_up(self) -> int:
        """Bring the cube's index up to date, as every search does first; returns the number of its last change.

        A copy of its vectors that somebody else keeps (`MOS.open(..., vectors=...)`) is brought up to date too; searches
        leave that to the background.

        Raises:
            FollowerUnavailable: whoever keeps the copy cannot be reached, or is not to be trusted.
        """
        row = self.require(Right.READ)
        index = self._memory.indexes.get(row)
        index.catch_up()
        self._memory.followers.catch_up(row)
        return index.seq

    def stats(self) -> dict[str, Any]:
        """What the cube holds and how it is indexed; to those who do not administrate it, how many items they can find."""
        row = self.require(Right.READ)
        index = self._memory.indexes.get(row)
        index.catch_up()
        if self.reader is not None:
            with index.lock:
                found = len(index.moment(None, self.place().look).rows)
            return {"cube": row.name, "owner": row.owner, "items": found}
        return {
            "cube": row.name,
            "owner": row.owner,
            "changes": self._store.head_seq(row),
            **self._store.counts(row),
            "index": index.stats(),
            "vectors_at": self._memory.followers.stats(row),
        }

    # -- its policy -----------------------------------------------------------------------------------------------

    @property
    def policy(self) -> CubePolicy:
        """What holds in the cube: retention, redaction, strict reads. The list of names is for those who administrate it."""
        policy = decode_policy(self.require(Right.READ).policy)
        return policy if self.reader is None else msgspec.structs.replace(policy, names=())

    def set_policy(self, policy: CubePolicy, *, reason: str | None = None) -> None:
        """Set what holds in the cube from now on; needs the right to administrate.

        Raises:
            InvalidConfig: something in it has no meaning.
            MissingPackage: what it wants redacted needs a package that is not installed.
        """
        self.require(Right.ADMIN)
        for kinds in (policy.redact, policy.mask):
            Rules(kinds, policy.names).redactor()
        with self._store.begin(actor=self.actor.id, action="policy") as transaction:
            transaction.set_policy(self._lock_for(transaction, reason), encode_policy(policy.check()))

    def retain(self, *, preview: bool = False) -> dict[str, list[str]]:
        """Put away what has had its time, as the policy says; needs the right to administrate.

        Args:
            preview: only say what would be put away.

        Returns:
            Ids by why: "expired", "max_age", "max_items".
        """
        row, policy = self.require(Right.ADMIN), self.policy
        index = self._memory.indexes.get(row)
        with index.lock:
            index.catch_up()
            due = overdue(index, policy, self._now())
        found = {}
        for why, seqs in due.items():
            records = list(self._store.records(row, seqs).values())
            if policy.when_over == "delete":  # what is on hold stays, however old it is
                held = self._store.held(row, [record.id for record in records])
                records = [record for record in records if record.id not in held]
            found[why] = [record.id for record in records]
            for start in range(0, 0 if preview else len(records), _RETAINED_AT_ONCE):
                some = records[start : start + _RETAINED_AT_ONCE]
                with self._store.begin(actor=self.actor.id, action="retain") as transaction:
                    if policy.when_over == "delete":
                        self.delete(transaction, [record.id for record in some], reason=why)
                    else:
                        self.move(transaction, some, LifecycleState.ARCHIVED, reason=why)
        return found

    # -- sharing --------------------------------------------------------------------------------------------------

    def share(
        self,
        with_: str,
        rights: str | Right | Sequence[str | Right] = Right.READ,
        *,
        until: datetime | None = None,
    ) -> None:
        """Give rights to an actor id, a role ("role:team") or everybody ("*"); those it had are replaced.

        Args:
            until: when they end; None for when they are taken away.

        Raises:
            AccessDenied: the actor has no right to share this cube, or would give or take more than it has itself, or give
                it for longer.
            InvalidInput: a word that is no right, or an end that has passed.
        """
        if until is not None and in_utc(until) <= self._now():
            raise InvalidInput(f"until={until!r} has passed already; take rights away with unshare")
        self._set_grant(with_, rights_of(rights), None if until is None else in_utc(until))

    def unshare(self, with_: str) -> None:
        """Take all rights of a grantee away.

        Raises:
            AccessDenied: as for `share`.
        """
        self._set_grant(with_, frozenset())

    def _set_grant(self, grantee: str, rights: frozenset[Right], until: datetime | None = None) -> None:
        decision = self._governance.decide(self.actor, self.name, Right.SHARE)
        row = decision.cube
        held = [grant.rights for grant in self._store.grants(row) if grant.grantee == grantee]
        for right in sorted(rights.union(*held)):
            self.require(right)
        for right in sorted(rights):
            self._governance.require_until(self.actor, self.name, right, until)
        self._store.share(row, check_grantee(grantee), rights, by=self.actor.id, until=until, reason=decision.reason)

    def grants(self) -> list[Grant]:
        """Who else may do what, by grantee. Needs the right to share."""
        return self._store.grants(self.require(Right.SHARE))

    # -- legal holds ----------------------------------------------------------------------------------------------

    def hold(self, target: str = EVERYTHING_HELD, *, reason: str) -> None:
        """Keep things from being deleted or erased, until `release`. Needs the right to administrate the cube.

        Args:
            target: "*" for all of the cube, "item:ID", or "subject:NAME" for what an actor wrote, said, or that is private to
                it.
            reason: why; it is kept with the hold and in the audit.

        Raises:
            InvalidInput: a target that is none of these, or no reason.
        """
        check_target(target)
        with self._store.begin(actor=self.actor.id, action="hold") as transaction:
            transaction.hold(self._administrated(transaction), target, check_reason(reason))

    def release(self, target: str = EVERYTHING_HELD, *, reason: str) -> bool:
        """End a legal hold; whether there was one. Needs the right to administrate the cube."""
        check_target(target)
        with self._store.begin(actor=self.actor.id, action="release") as transaction:
            return transaction.release(self._administrated(transaction), target, check_reason(reason))

    def holds(self) -> list[Hold]:
        """All legal holds, by target. Needs the right to administrate the cube."""
        return self._store.holds(self.require(Right.ADMIN))

    def _administrated(self, transaction: Transaction) -> CubeRow:
        reason = self._governance.decide(self.actor, self.name, Right.ADMIN).reason
        row = transaction.cube(self.name)
        if row is None:
            raise CubeNotFound(f"there is no cube {self.name!r} any more")
        transaction.note(row, by=reason)
        return row

    def audit(self, after: int = 0) -> list[AuditEntry]:
        """Who did what, one entry a transaction, oldest first. Needs the right to administrate."""
        return self._store.audit(self.require(Right.ADMIN), after)
