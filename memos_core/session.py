"""Session: one actor's hands on memory. Its methods take no user id; who it acts for was decided when it was made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, overload

from memos_core.changing import ChangingSession
from memos_core.context import Context, build
from memos_core.errors import InvalidInput, VersionNotFound
from memos_core.filters import F, Filter, Where, matches, parse_where
from memos_core.lifecycle.explain import Explanation
from memos_core.lifecycle.lineage import Lineage, lineage_of
from memos_core.lifecycle.states import as_states
from memos_core.plaintext.added import Added
from memos_core.plaintext.embedding import Floats
from memos_core.plaintext.later import Adding
from memos_core.plaintext.search import Order
from memos_core.reading.chunking import estimate_tokens
from memos_core.reading.extract import topic_of
from memos_core.types.access import Actor
from memos_core.types.checks import (
    checked_flag,
    checked_version,
    checked_wait,
)
from memos_core.types.differences import ItemDiff, item_diff
from memos_core.types.items import PINNED, Hits, Link, MemoryItem, Page, Version, Visibility
from memos_core.types.names import check_text
from memos_core.types.preferences import PREFERENCE
from memos_core.types.uses import Holder, Remembered
from memos_core.view import CompositeView

_CONTEXT_HITS = 50  # looked at to fill a context
_STANDING = 200  # pinned items and preferences that are read together
_PREFERENCES = 500  # read at once
_NOTED = 20  # hits of a search that count as used, each as much as its score
_SAID = 5  # of what is added at once, so many enter working memory
WORKING_MIN = 0.1  # what a turn is less likely to need than this does not enter a context by way of working memory
CONTEXT_MIN_SCORE = 0.02  # what is less likely than this to be asked for is noise in a prompt


class Session(ChangingSession):
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
        super().__init__(actor=actor, conversation=conversation, view=view, now=now)
        self._holder = None if conversation is None else Holder(actor.id, conversation, tuple(self.read_from))

    def __deepcopy__(self, memo: object) -> Session:
        """Itself: a host that copies its own settings still means the same memory."""
        return self

    def __repr__(self) -> str:
        return f"Session({self.actor.id!r}, reads {self.read_from}, writes {self.write_to})"

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
            likes_of_all = (item for item in both if item.type == PREFERENCE)
            liked = sorted(likes_of_all, key=lambda item: (item.updated_at, item.seq), reverse=True)
        else:  # too many to be read together
            pinned = listed(pins, _CONTEXT_HITS)
            own = F.metadata.person == self.actor.id
            mine = listed(likes & own, _CONTEXT_HITS, "updated", True)
            liked = [*mine, *listed(likes & ~own, _CONTEXT_HITS, "updated", True)]
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

        Raises:
            InvalidInput: a topic without letters.
        """
        about = None if topic is None else topic_of(check_text(topic, "topic"))
        if about == "":
            raise InvalidInput(f"topic={topic!r} names nothing; leave it out for all topics")
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
