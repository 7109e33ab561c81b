"""ChangingSession: how a session reads what is to be stored, and what it does to items that are there: new versions, other
states, other times, the end of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from memos_core.errors import InvalidInput, InvalidText, StateConflict
from memos_core.governance.erasing import Wanted
from memos_core.reading.reader import read
from memos_core.types.access import Actor
from memos_core.types.checks import (
    as_json,
    checked_confidence,
    checked_draft,
    checked_first_state,
    checked_flag,
    checked_links,
    checked_metadata,
    checked_tags,
    checked_version,
    checked_visibility,
    in_utc,
)
from memos_core.types.differences import RolledBack
from memos_core.types.erasure import Erasure, ErasurePreview
from memos_core.types.inputs import Draft
from memos_core.types.items import LifecycleState, Link, MemoryItem, Visibility
from memos_core.types.names import check_name, check_text
from memos_core.view import CompositeView


class _Unset:
    """Stands for an argument that was not given, where None means something."""

    def __repr__(self) -> str:
        return "unchanged"


UNCHANGED: Any = _Unset()


def _ids(ids: str | Iterable[str]) -> Sequence[str]:
    if not isinstance(ids, Iterable):
        raise InvalidInput(f"ids is a list of ids, not {ids!r}")
    return [check_text(id, "item id") for id in ([ids] if isinstance(ids, str) else ids)]


class ChangingSession:
    """What an actor may change: items that are there, and whole cubes. `Session` adds and finds, too.

    Args:
        actor: on whose behalf.
        conversation: the thread that is going on; what is added belongs to it.
        view: the cubes read from and written to.
        now: the clock.
    """

    def __init__(
        self, *, actor: Actor, conversation: str | None, view: CompositeView, now: Callable[[], datetime]
    ) -> None:
        self.actor = actor
        self.conversation = conversation
        self._view = view
        self._now = now

    @property
    def view(self) -> CompositeView:
        """The cubes it reads from and writes to."""
        return self._view

    @property
    def read_from(self) -> Sequence[str]:
        """Names of the cubes it reads from."""
        return [cube.name for cube in self._view.read]

    @property
    def write_to(self) -> Sequence[str]:
        """Names of the cubes it writes to."""
        return [cube.name for cube in self._view.write]

    def now(self) -> datetime:
        """What time it is by the clock of the store."""
        return self._now()

    # -- what is to be stored -----------------------------------------------------------------------------------------

    def read(
        self,
        content: object,
        *,
        type: str | None = None,
        id: str | None = None,
        key: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        payload: Any = None,
        occurred_at: datetime | None = None,
        confidence: float | None = None,
        indexed: bool = True,
        links: Iterable[Link] = (),
        expires_at: datetime | None = None,
        visibility: Visibility = "shared",
        state: str = "activated",
        conversation: str | None = None,
    ) -> Sequence[Draft]:
        """What `add` would store, without storing it. The arguments are those of `add`.

        Raises:
            InvalidInput: as for `add`.
        """
        drafts = self._drafts(
            content,
            type=type,
            id=id,
            key=key,
            tags=tags,
            metadata=metadata,
            payload=payload,
            occurred_at=occurred_at,
            confidence=confidence,
            indexed=indexed,
            links=links,
            expires_at=expires_at,
            visibility=visibility,
            state=state,
            conversation=conversation,
        )
        return self._view.redacted(drafts)

    def _drafts(
        self,
        content: object,
        *,
        type: str | None,
        id: str | None,
        key: str | None,
        tags: Iterable[str],
        metadata: Mapping[str, Any] | None,
        payload: Any,
        occurred_at: datetime | None,
        confidence: float | None,
        indexed: bool,
        links: Iterable[Link],
        expires_at: datetime | None,
        visibility: Visibility,
        state: str,
        conversation: str | None,
    ) -> Sequence[Draft]:
        """What was given, as drafts; nothing has been taken out of them yet."""
        thread = self.conversation if conversation is None else check_text(conversation, "conversation")
        drafts = read(content, conversation=thread, now=self._now())
        for name, value in (("id", id), ("key", key)):
            if value is not None and len(drafts) != 1:
                raise InvalidInput(f"{name}={value!r} names one thing, but {len(drafts)} were given")
        own = {
            "type": None if type is None else check_text(type, "type"),
            "id": None if id is None else check_name(id, "item id"),
            "key": None if key is None else check_name(key, "key"),
            "payload": payload if payload is None else as_json(payload, "payload"),
            "occurred_at": None if occurred_at is None else in_utc(occurred_at),
            "confidence": None if confidence is None else checked_confidence(confidence),
            "expires_at": None if expires_at is None else in_utc(expires_at),
        }
        private_to = self.actor.id if checked_visibility(visibility) == "private" else None
        begins = checked_first_state(state)
        changes: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
        shared_tags, extra, edges = checked_tags(tags), checked_metadata(metadata), checked_links(links)
        indexed = checked_flag(indexed, "indexed")
        finished = []
        for draft in drafts:
            changes["tags"] = tuple(dict.fromkeys((*draft.tags, *shared_tags)))
            changes["metadata"] = {**checked_metadata(draft.metadata), **extra}
            changes["links"] = (*draft.links, *edges)
            changes["indexed"] = indexed and draft.indexed
            changes["private_to"] = private_to if draft.private_to is None else self.actor.id
            changes["state"] = begins if draft.state is LifecycleState.ACTIVATED else draft.state
            finished.append(checked_draft(msgspec.structs.replace(draft, **changes)))
        return finished

    # -- changing -----------------------------------------------------------------------------------------------------

    def update(
        self,
        id: str | None = None,
        *,
        key: str | None = None,
        text: str = UNCHANGED,
        type: str = UNCHANGED,
        tags: Iterable[str] = UNCHANGED,
        metadata: Mapping[str, Any] = UNCHANGED,
        payload: Any = UNCHANGED,
        occurred_at: datetime | None = UNCHANGED,
        confidence: float = UNCHANGED,
        indexed: bool = UNCHANGED,
        links: Iterable[Link] = UNCHANGED,
        expires_at: datetime | None = UNCHANGED,
        visibility: Visibility = UNCHANGED,
        new_key: str | None = UNCHANGED,
        expect_version: int | None = None,
    ) -> MemoryItem:
        """Make the next version of an item; the one before stays in its history.

        Args:
            id: of the item; or name it by `key`.
            key: of the item.
            text, type, tags, metadata, payload, occurred_at, confidence, indexed, links: what it says now. What is not
                given stays; tags, metadata and links that are given replace the old ones.
            expires_at: from this second on it is not found any more; None for never. One that has expired comes back.
            visibility: "private" hides it and its past from everybody else, besides those who administrate the cube;
                "shared" shows it from this version on.
            new_key: the name it is addressed by from now on; None takes its name away.
            expect_version: refuse if another version is the newest.

        Returns:
            The new version.

        Raises:
            ItemNotFound, AccessDenied: the session writes to no cube that has it.
            VersionConflict: it has moved on from `expect_version`.
            InvalidInput: nothing to change, or something that cannot be stored.
        """
        changes: dict[str, Any] = {}
        if text is not UNCHANGED:
            if not check_text(text).strip():
                raise InvalidText("the text has no words; delete the item instead")
            changes["text"] = text
        if tags is not UNCHANGED:
            changes["tags"] = checked_tags(tags)
        if metadata is not UNCHANGED:
            changes["metadata"] = checked_metadata(metadata)
        if payload is not UNCHANGED:
            changes["payload"] = as_json(payload, "payload")
        if occurred_at is not UNCHANGED:
            changes["occurred_at"] = None if occurred_at is None else in_utc(occurred_at)
        if confidence is not UNCHANGED:
            changes["confidence"] = checked_confidence(confidence)
        if links is not UNCHANGED:
            changes["links"] = checked_links(links)
        if expires_at is not UNCHANGED:
            changes["expires_at"] = None if expires_at is None else in_utc(expires_at)
        if visibility is not UNCHANGED:
            changes["visibility"] = checked_visibility(visibility)
        if new_key is not UNCHANGED:
            changes["key"] = None if new_key is None else check_name(new_key, "key")
        if type is not UNCHANGED:
            changes["type"] = check_text(type, "type")
        if indexed is not UNCHANGED:
            changes["indexed"] = checked_flag(indexed, "indexed")
        if not changes:
            raise InvalidInput("nothing to change: give text, type, tags, metadata, payload, occurred_at, ...")
        if expect_version is not None:
            checked_version(expect_version, "expect_version")
        return self._view.update(self._id(id, key), changes, expect_version=expect_version)

    def delete(self, ids: str | Iterable[str], *, reason: str | None = None) -> int:
        """Delete items: absent everywhere from now on, and restorable. Returns how many there were.

        Args:
            ids: of the items.
            reason: for the audit.

        Raises:
            ItemNotFound, AccessDenied: the session writes to no cube that has one of them; nothing is deleted.
            StateConflict: one of them is frozen.
        """
        return self._view.delete(_ids(ids), reason)

    def preview_erase(self, ids: str | Iterable[str], *, derived: bool = False, copies: bool = False) -> ErasurePreview:
        """What `erase` would take: items, versions, cubes, forks that share their bytes, copies, what was derived.

        Returns:
            Among it a token: `erase(..., confirm=token)` erases exactly that, or nothing.

        Raises:
            ItemNotFound, CubeNotFound, AccessDenied: as for `erase`.
        """
        return self._view.preview_erasing(Wanted(ids=tuple(_ids(ids)), derived=derived, copies=copies))

    def erase(
        self,
        ids: str | Iterable[str],
        *,
        reason: str,
        derived: bool = False,
        copies: bool = False,
        confirm: str | None = None,
    ) -> Erasure:
        """Erase items for good: every version, vector and name, in the database, in indexes, in copies of vectors.

        What stays is a tombstone that says that something was erased, when, by whom and why. An id that memos made stays;
        one that was given is replaced. Needs the right to administrate every cube that the session writes to.

        Args:
            ids: of items, deleted ones among them.
            reason: why; it is kept in the audit.
            derived: also what was derived from them.
            copies: also items that say the same, in other cubes that the actor administrates.
            confirm: the token of a preview: if anything else would go by now, nothing is erased.

        Returns:
            What was erased; `complete` says whether any bytes are left that memos can reach, and `remains` where.

        Raises:
            CubeNotFound, AccessDenied: the actor does not administrate one of the cubes, or one that shares its bytes.
            ItemNotFound: one of them is in none of the cubes; nothing is erased.
            OnHold: a legal hold covers one of them; nothing is erased.
            Conflict: what would go is not what was previewed.
        """
        wanted = Wanted(ids=tuple(_ids(ids)), derived=derived, copies=copies)
        return self._view.erase(wanted, reason=reason, confirm=confirm)

    # -- the life of items ----------------------------------------------------------------------------------------

    def archive(self, ids: str | Iterable[str], *, reason: str | None = None) -> Sequence[MemoryItem]:
        """Put items away: they are found only with `include=["archived"]`, until `activate` brings them back.

        Args:
            ids: of the items.
            reason: for the audit.

        Raises:
            ItemNotFound, AccessDenied: the session writes to no cube that has one of them; nothing is moved.
            StateConflict: one of them cannot be archived from its state.
        """
        return self._view.move(_ids(ids), LifecycleState.ARCHIVED, action="archive", reason=reason)

    def activate(self, ids: str | Iterable[str], *, reason: str | None = None) -> Sequence[MemoryItem]:
        """Have items found: those that were generated (which validates them), archived or merged. Raises as `archive` does."""
        return self._view.move(_ids(ids), LifecycleState.ACTIVATED, action="activate", reason=reason)

    def freeze(self, ids: str | Iterable[str], *, reason: str | None = None) -> Sequence[MemoryItem]:
        """Keep items as they are: nobody may change or delete them, until somebody who administrates the cube unfreezes them.

        Raises:
            AccessDenied: the actor does not administrate the cube.
            ItemNotFound, StateConflict: as for `archive`.
        """
        return self._view.move(_ids(ids), LifecycleState.FROZEN, action="freeze", reason=reason)

    def unfreeze(self, ids: str | Iterable[str], *, reason: str | None = None) -> Sequence[MemoryItem]:
        """Let frozen items be changed again. Raises as `freeze` does."""
        wanted = _ids(ids)
        for id in wanted:
            state = self._view.get(id).state
            if state is not LifecycleState.FROZEN:
                raise StateConflict(f"item {id!r} is {state}, not frozen")
        return self._view.move(wanted, LifecycleState.ACTIVATED, action="unfreeze", reason=reason)

    def merge(
        self,
        ids: Iterable[str],
        text: str,
        *,
        type: str = "fact",
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        state: str = "activated",
        reason: str | None = None,
    ) -> MemoryItem:
        """Put one item in the place of several. They are found no more, and lead to it (a link "merged_into").

        Args:
            ids: of at least two items.
            text: what the new item says.
            type, metadata, state: of the new item, as for `add`.
            tags: None takes those of all the others.
            reason: for the audit.

        Returns:
            The new item; its `provenance.derived_from` names the versions it was made from, and all that those came from.

        Raises:
            InvalidInput: fewer than two ids, or something that cannot be stored.
            ItemNotFound, AccessDenied, StateConflict: as for `archive`.
            Conflict: the session writes to several cubes, and some have only some of the items.
        """
        wanted = _ids(ids)
        items = [self._view.get(id) for id in wanted]
        shared = [tag for item in items for tag in item.tags] if tags is None else tags
        times = [item.occurred_at for item in items if item.occurred_at is not None]
        readers = {item.private_to for item in items} - {None}
        (draft,) = self.read(
            text,
            type=type,
            tags=shared,
            metadata=metadata,
            occurred_at=max(times, default=None),
            visibility="private" if readers else "shared",
            state=state,
        )
        return self._view.merge(wanted, draft, reason=reason)

    def restore(self, id: str) -> MemoryItem:
        """Bring a deleted item back, as a new version equal to the last before its deletion.

        Raises:
            ItemNotFound: the session writes to no cube that has ever had it.
            Conflict: it is not deleted, or its key is taken by now.
        """
        return self._view.restore(check_text(id, "item id"))

    def rollback(self, id: str, to_version: int) -> MemoryItem:
        """Make the newest version of an item equal to an earlier one.

        Raises:
            ItemNotFound: the session writes to no cube that has ever had it.
            VersionNotFound: it has no such version, or that was a deletion.
        """
        return self._view.restore(check_text(id, "item id"), checked_version(to_version, "to_version"))

    def rollback_cube(self, as_of: int | datetime, *, cube: str | None = None, reason: str | None = None) -> RolledBack:
        """Make what a cube holds now what it held at a moment, in one transaction; as `MemCube.rollback` says.

        Args:
            as_of: after that change, or at that time.
            cube: which of those written to; None where it is only one.
            reason: for the audit.

        Raises:
            AccessDenied: the actor does not administrate it.
        """
        return self._view.only(self._view.write, cube, "rollback_cube").rollback(as_of, reason=reason)

    def fork(self, name: str, *, as_of: int | datetime | None = None, cube: str | None = None) -> str:
        """Make a new cube of the actor's own whose history up to a moment is that of a cube; as `MemCube.fork` says.

        Args:
            name: of the new cube: the actor's own, or below it ("alice/what-if").
            as_of: after that change, or at that time; None for now.
            cube: which of those read from; None where it is only one.

        Returns:
            The name.

        Raises:
            AccessDenied: the actor does not administrate it, or the name is not its own.
            AlreadyExists: the name is taken.
        """
        return self._view.only(self._view.read, cube, "fork").fork(name, as_of=as_of).name

    def _id(self, id: str | None, key: str | None, as_of: int | datetime | None = None) -> str:
        if (id is None) == (key is None):
            raise InvalidInput("name the item by its id or by its key, one of the two")
        return self._view.id_of(check_name(key, "key"), as_of=as_of) if id is None else check_text(id, "item id")
