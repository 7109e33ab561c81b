"""Session: one actor's hands on memory. Its methods take no user id; who it acts for was decided when it was made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, overload

import msgspec

from memos_core.context import Context, build
from memos_core.errors import InvalidInput, InvalidText, StateConflict, VersionNotFound
from memos_core.filters import F, Filter, Where, matches, parse_where
from memos_core.governance.erasing import Wanted
from memos_core.lifecycle.explain import Explanation
from memos_core.lifecycle.lineage import Lineage, lineage_of
from memos_core.lifecycle.states import as_states
from memos_core.plaintext.embedding import Floats
from memos_core.plaintext.later import Adding
from memos_core.plaintext.search import Order
from memos_core.reading.chunking import estimate_tokens
from memos_core.reading.extract import topic_of
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
    checked_wait,
    in_utc,
)
from memos_core.types.differences import ItemDiff, RolledBack, item_diff
from memos_core.types.erasure import Erasure, ErasurePreview
from memos_core.types.inputs import Draft
from memos_core.types.items import PINNED, Hits, LifecycleState, Link, MemoryItem, Page, Version, Visibility
from memos_core.types.names import check_name, check_text
from memos_core.types.preferences import PREFERENCE
from memos_core.types.uses import Holder, Remembered
from memos_core.view import Added, CompositeView

_CONTEXT_HITS = 50  # looked at to fill a context
_STANDING = 200  # pinned items and preferences that are read together
_PREFERENCES = 500  # read at once
_NOTED = 20  # hits of a search that count as used, each as much as its score
_SAID = 5  # of what is added at once, so many enter working memory
WORKING_MIN = 0.1  # what a turn is less likely to need than this does not enter a context by way of working memory
CONTEXT_MIN_SCORE = 0.02  # what is less likely than this to be asked for is noise in a prompt


class _Unset:
    """Stands for an argument that was not given, where None means something."""

    def __repr__(self) -> str:
        return "unchanged"


UNCHANGED: Any = _Unset()


class Session:
    """What an actor may do. Made by `MOS.session`.

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
        self._holder = None if conversation is None else Holder(actor.id, conversation, tuple(self.read_from))

    def __deepcopy__(self, memo: object) -> Session:
        """Itself: a host that copies its own settings still means the same memory."""
        return self

    def __repr__(self) -> str:
        return f"Session({self.actor.id!r}, reads {self.read_from}, writes {self.write_to})"

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

    # -- adding -------------------------------------------------------------------------------------------------------

    @overload
    def add(
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
        vectors: Floats | None = None,
        wait: Literal[True] = True,
    ) -> Added: ...
    @overload
    def add(
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
        vectors: Floats | None = None,
        wait: Literal[False],
        timeout: float | None = None,
    ) -> Adding[Added]: ...
    def add(
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
        vectors: Floats | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> Added | Adding[Added]:
        """Remember something. It is durable and can be found when this returns.

        The same message (by id, or by place or time, speaker and words) and the same piece of a document are stored
        once, however often they come in.

        Args:
            content: a string (a fact); a message: `Message`, a dict with role and content, or a message object of
                LangChain or LlamaIndex; a `Document`; a `Draft`; or a list of any of these.
            type: what to call it; None takes "fact", "message" or "document".
            id: your own id, unique in the cube. Only for a single thing.
            key: a name to address it by, unique in the cube. Only for a single thing.
            tags: labels. Things tagged "pinned" are in every context.
            metadata: a JSON object; dates in it become ISO 8601 strings.
            payload: JSON that belongs to it beyond the text.
            occurred_at: when it happened or was said (naive times are taken as UTC); None keeps that of the message.
            confidence: in [0, 1].
            indexed: False keeps it out of every search.
            links: edges to other items.
            expires_at: from this second on it is not found any more (naive times are taken as UTC); None for never.
            visibility: "private" for what nobody else shall read, besides those who administrate the cube.
            state: "generated" for what has to be validated (`activate`) before it is found.
            conversation: the thread it belongs to; None takes the session's.
            vectors: (things, dims) of your own; None has the store's embedder make them.
            wait: False returns as soon as it is durable: it can be found by its words at once, and by meaning when a job has
                run (`mos.scheduler.start()` or `memos worker` run jobs).
            timeout: with `wait=False`, seconds to wait at most while too many jobs wait (`max_pending`); None: not at all.

        Returns:
            The items, in the order given; with `wait=False` a handle: `.ids`, `.status()`, `.wait()`, `.result()`, `.error()`.

        Raises:
            InvalidInput: what is wrong with it; nothing is stored.
            AlreadyExists: the id or key is in use.
            AccessDenied: the session may not write to one of its cubes.
            QueueFull: too many jobs wait; nothing is stored.
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
        if checked_flag(wait, "wait"):
            if timeout is not None:
                raise InvalidInput("timeout= is for wait=False: how long to wait for room in the queue of jobs")
            done: Added | Adding[Added] = self._view.add(drafts, vectors=vectors)
        elif vectors is not None:
            raise InvalidInput(
                "wait=False has the store's embedder make the vectors later; with vectors= nothing is left to do"
            )
        else:
            done = self._view.add_later(drafts, timeout=checked_wait(timeout))
        self._said(done.ids, conversation)
        return done

    def _said(self, ids: Sequence[str], conversation: str | None) -> None:
        """Take note that these were added: the last few of them enter what the conversation has in mind.

        Args:
            conversation: the thread that they were said to belong to; None for the session's.
        """
        if self._holder is None or conversation not in (None, self.conversation):
            return
        places = [(cube.name, id) for id in ids[-_SAID:] for cube in self._view.write if cube.name in self.read_from]
        self._view.note("add", [(*place, 1.0, 0.0) for place in places], self._holder)

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

    # -- finding ------------------------------------------------------------------------------------------------------

    def search(
        self,
        query: str,
        *,
        top_k: int = 10,
        where: Where = None,
        as_of: int | datetime | None = None,
        include: Sequence[str] = (),
        min_score: float = 0.0,
        cursor: str | None = None,
        without: Collection[str] = (),
        vector: Floats | None = None,
    ) -> Hits:
        """The memories that answer a question, best first.

        Args:
            query: the question; its words are never operators. An empty one finds nothing.
            top_k: how many, at most 10,000.
            where: only items that fulfil this filter (`F.tag == "home"`, or a dict); it narrows before ranking.
            as_of: search as it was after that change (only where one cube is read) or at that time; "yesterday" in the
                question is then the day before that moment.
            include: states in which items are found too ("archived", "generated", "merged").
            min_score: only hits at least this likely to be what was asked for, in [0, 1].
            cursor: `.cursor` of the page before, to go on after it.
            without: signals that are turned off ("late", "dense", "near", "lexical", "speaker", "date", "salience",
                "when", "feedback", "usage").
            vector: (dims,) of the question, if you make vectors yourself.

        Raises:
            InvalidInput: an argument that has no meaning.
            InvalidFilter, InvalidCursor: what is wrong with it.
            EmbeddingFailed: the model failed; nothing was searched.
        """
        hits = self._view.search(
            query,
            top_k=top_k,
            where=where,
            as_of=as_of,
            include=as_states(include),
            min_score=min_score,
            cursor=cursor,
            without=without,
            vector=vector,
            asker=self.actor.id,
        )
        if as_of is None:  # looking into the past says nothing about the present
            self._view.note(
                "search", ((hit.cube_id, hit.id, hit.score, hit.score) for hit in hits[:_NOTED]), self._holder
            )
        return hits

    def context(
        self,
        query: str,
        *,
        max_tokens: int = 800,
        where: Where = None,
        min_score: float = CONTEXT_MIN_SCORE,
        count_tokens: Callable[[str], int] = estimate_tokens,
        vector: Floats | None = None,
    ) -> Context:
        """Memory for a prompt: what is pinned, then preferences, then what the question needs, in at most so many tokens.

        Preferences are those that are activated, the actor's own before others, the newest before older ones.

        In a conversation what it has in mind (`working`) is taken in beside what the question finds, in the order of how likely
        each is to be needed.

        Args:
            query: the question, or the user's message.
            max_tokens: for the whole text.
            where: only items that fulfil this filter.
            min_score: only hits at least this likely to be what was asked for; 0 fills the context with whatever there is.
            count_tokens: tokens of a text; give your model's own tokenizer where the limit is a hard one.
            vector: (dims,) of the question, if you make vectors yourself.

        Raises:
            InvalidInput: fewer than one token.
        """
        narrowed = parse_where(where)
        pinned, liked = self._standing(narrowed)
        hits = self._view.search(
            query, top_k=_CONTEXT_HITS, where=where, min_score=min_score, vector=vector, asker=self.actor.id
        )
        found = [(hit.score, hit.item) for hit in hits]
        if self._holder is not None and query.strip():
            known = {(hit.cube_id, hit.id) for hit in hits}
            found += [
                (each.expected, each.item)
                for each in self._view.working(self._holder)
                if each.expected >= max(min_score, WORKING_MIN)
                and (each.item.cube_id, each.id) not in known
                and (narrowed is None or matches(narrowed, each.item))
            ]
            found.sort(key=lambda each: -each[0])  # stable: of equals, what the question finds goes first
        made = build(
            pinned, [item for _, item in found], max_tokens=max_tokens, count_tokens=count_tokens, preferences=liked
        )
        told = {(item.cube_id, item.id) for item in made.items}
        used = [(hit.cube_id, hit.id, 1.0, hit.score) for hit in hits if (hit.cube_id, hit.id) in told]
        self._view.note("context", used, self._holder)
        return made

    def _standing(self, narrowed: Filter | None) -> tuple[Sequence[MemoryItem], Sequence[MemoryItem]]:
        """What is in every context: pinned items, oldest first; preferences, the actor's own and the newest first."""
        pins, likes = F.tags.contains(PINNED), F.type == PREFERENCE

        def listed(wanted: Filter, limit: int, order: Order = "created", newest_first: bool = False) -> Page:
            where = wanted if narrowed is None else wanted & narrowed
            return self.list(where=where, order=order, newest_first=newest_first, limit=limit)

        both = listed(pins | likes, _STANDING)
        if both.cursor is None:
            pinned = [item for item in both if PINNED in item.tags][:_CONTEXT_HITS]
            liked = sorted(
                (item for item in both if item.type == PREFERENCE), key=lambda item: item.updated_at, reverse=True
            )
        else:  # too many to be read together
            pinned = listed(pins, _CONTEXT_HITS)
            liked = listed(likes, _CONTEXT_HITS, "updated", True)
        return pinned, sorted(liked, key=lambda item: item.metadata.get("person") != self.actor.id)  # stable

    def preferences(
        self, topic: str | None = None, *, person: str | None = None, include: Sequence[str] = ()
    ) -> Sequence[MemoryItem]:
        """What users like, dislike, want and avoid, as it holds now, newest first: items of the type "preference".

        They are found in what is said where the store was opened with `preferences=True` (docs/preferences.md), or added by
        somebody with that type. Those that nobody has said in so many words are generated: listed with `include`, and
        validated with `activate`.

        Args:
            topic: only about this ("coffee"), however it is written; None for all.
            person: only of this one; None for all.
            include: states in which they are listed too ("generated", "archived").
        """
        about = None if topic is None else topic_of(check_text(topic, "topic"))
        whose = None if person is None else check_text(person, "person")
        found: list[MemoryItem] = []
        cursor: str | None = None
        while True:
            page = self.list(
                where=F.type == PREFERENCE, include=include, order="updated", limit=_PREFERENCES, cursor=cursor
            )
            found += page
            cursor = page.cursor
            if cursor is None:
                break
        return [
            item
            for item in found
            if (about is None or topic_of(str(item.metadata.get("topic", ""))) == about)
            and whose in (None, item.metadata.get("person"))
        ]

    def working(self) -> Sequence[Remembered]:
        """What this conversation has in mind: at most 20 items, with their scores and what these are made of, best first.

        It is brought up to date by the scheduler (`mos.scheduler.start()`, or `run_pending()`) after queries and answers. See
        docs/working.md.

        Raises:
            InvalidInput: the session has no conversation.
        """
        return self._view.working(self._need_holder())

    def _need_holder(self) -> Holder:
        if self._holder is None:
            raise InvalidInput("working memory belongs to a conversation: mos.session(actor, conversation=...)")
        return self._holder

    def get(self, id: str | None = None, *, key: str | None = None, as_of: int | datetime | None = None) -> MemoryItem:
        """One item, by id or by key.

        Args:
            id: of the item; or name it by `key`.
            key: of the item; with `as_of`, the one that it bore then.
            as_of: as it was after that change, or at that time.

        Raises:
            ItemNotFound: none of the cubes read from has it.
        """
        item = self._view.get(self._id(id, key, as_of), as_of=as_of)
        if as_of is None:
            self._view.note("get", [(item.cube_id, item.id, 1.0, 0.0)], self._holder)
        return item

    def list(
        self,
        *,
        where: Where = None,
        as_of: int | datetime | None = None,
        include: Sequence[str] = (),
        order: Order = "created",
        newest_first: bool = True,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Items by time, those that no search may find among them.

        Args:
            where: only items that fulfil this filter.
            as_of: as it was after that change (only where one cube is read) or at that time.
            include: states in which items are listed too ("archived", "generated", "merged").
            order: by when they were "created", "updated", or when they "occurred".
            newest_first: or oldest first.
            limit: how many, at most 10,000.
            cursor: `.cursor` of the page before, to go on after it.
        """
        return self._view.list(
            where=where,
            as_of=as_of,
            include=as_states(include),
            order=order,
            newest_first=newest_first,
            limit=limit,
            cursor=cursor,
        )

    def history(self, id: str | None = None, *, key: str | None = None) -> Sequence[Version]:
        """All versions of an item, oldest first; deletions are among them.

        Raises:
            ItemNotFound: none of the cubes read from has ever had it.
        """
        return self._view.history(self._id(id, key))

    def explain(self, id: str | None = None, *, key: str | None = None) -> Explanation:
        """The story of an item: where it comes from, who did what to it and why, where it stands. `print` it, or look inside.

        Raises:
            ItemNotFound: none of the cubes read from has it.
        """
        wanted = self._id(id, key)
        item = self._view.get(wanted)
        kept = [] if self._holder is None else self._view.working(self._holder)
        return Explanation(
            item,
            tuple(self._view.history(wanted)),
            lineage_of(self._view, wanted, 1),
            use=self._view.used(item),
            working=next((each for each in kept if (each.item.cube_id, each.id) == (item.cube_id, item.id)), None),
        )

    def lineage(self, id: str | None = None, *, key: str | None = None, depth: int = 10) -> Lineage:
        """What an item was made from, and what was made from it: `.text()`, `.mermaid()`, `.graphviz()`.

        Args:
            id: of the item; or name it by `key`.
            key: of the item.
            depth: steps to go in each direction.

        Raises:
            ItemNotFound: none of the cubes read from has it.
        """
        return lineage_of(self._view, self._id(id, key), depth)

    def diff(
        self,
        id: str | None = None,
        old: int | None = None,
        new: int | None = None,
        *,
        key: str | None = None,
    ) -> ItemDiff:
        """What differs between two versions of an item.

        Args:
            id: of the item; or name it by `key`.
            old: number of a version; None for the one before `new` (nothing, before the first).
            new: number of a version; None for the newest.
            key: of the item.

        Raises:
            ItemNotFound: none of the cubes read from has ever had it.
            VersionNotFound: it has no such version.
        """
        past = self.history(id, key=key)
        by_number = {version.version: version for version in past}
        upto = past[-1].version if new is None else checked_version(new, "new")
        since = checked_version(old, "old") if old is not None else upto - 1 if upto - 1 in by_number else None
        missing = next((each for each in (since, upto) if each is not None and each not in by_number), None)
        if missing is not None:
            raise VersionNotFound(f"there is no version {missing}; there are {', '.join(map(str, by_number))}")
        named = next(version.item.id for version in past if version.item is not None)
        return item_diff(named, None if since is None else by_number[since].item, by_number[upto].item)

    def stats(self) -> dict[str, Any]:
        """What each cube read from holds, how it is indexed, and whether search is lexical only."""
        return self._view.stats()

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


def _ids(ids: str | Iterable[str]) -> Sequence[str]:
    if not isinstance(ids, Iterable):
        raise InvalidInput(f"ids is a list of ids, not {ids!r}")
    return [check_text(id, "item id") for id in ([ids] if isinstance(ids, str) else ids)]
