"""preferences: what users like, dislike, want and avoid, found in what they say by a text model, and checked. Twice does no harm.

A job is filed in the transaction of an add, one for each conversation, and takes all that the user has said there since the last
one. The model is asked outside of any transaction; what it says is judged (`memos_core.reading.extract`) and stored in the one
that finishes the job, together with the mark of how far the conversation has been read. Messages stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from memos_core.cube import MemCube
from memos_core.errors import AnswerRefused, Conflict, InvalidConfig
from memos_core.governance.redacting import Rules, on_read, on_write, redacted_drafts
from memos_core.models.host_text import LateTextModel
from memos_core.plaintext.commit import Outcome
from memos_core.plaintext.preference import (
    ACTION,
    Place,
    conversation_hash,
    decide,
    draft_of,
    keyed,
    strongest,
)
from memos_core.plaintext.reading_marks import Mark, put_mark, read_mark
from memos_core.plaintext.unread import MOST, Reader, Unread, is_said
from memos_core.protocols.models import TextModel
from memos_core.protocols.storage import Transaction
from memos_core.reading.extract import MOST_BELIEVED, USER, Preference, Preferences, Shown, judge, prompt_for
from memos_core.reading.reader import mentions_of
from memos_core.scheduler.asking import ask, prompt_hash
from memos_core.scheduler.jobs.consolidating import cube_of
from memos_core.scheduler.kinds import JobContext, JobKind
from memos_core.stores.index.moments import FINDABLE
from memos_core.types.cube_policy import CubePolicy, decode_policy
from memos_core.types.inputs import Draft
from memos_core.types.items import IdMaker
from memos_core.types.jobs import NewJob, embed_jobs
from memos_core.types.work import CubeRow, Put, Record, micros

NAME: Final = "preferences"
_PASSED_OVER: Final = 3  # messages at most that a job leaves behind for want of an answer
Found = tuple[Preference, Draft]  # what was judged, and what would be stored
_ids = IdMaker()


def preferences(model: object) -> JobKind:
    """The kind of job that asks this model.

    Args:
        model: as for `MOS.open`; an import path is followed when the first job runs. With None jobs fail, and say why.
    """
    asked = None if model is None else LateTextModel(model)

    def run(context: JobContext) -> object:
        if asked is None:
            raise InvalidConfig("finding preferences takes a text model: open the store with model=...")
        return _Run(context, asked).run() if context.cube is not None else {"gone": True}

    return JobKind(name=NAME, run=run, ordered=True, priority=-1, first_wait=2.0)


def jobs_for(drafts: Sequence[Draft], outcomes: Sequence[Outcome], run_at: int = 0) -> list[NewJob]:
    """The jobs that an add brings about, still without their cube: one for each conversation in which the user says something.

    Args:
        drafts: that were added.
        outcomes: of each.
        run_at: not before this time, microseconds since 1970; 0 for now.
    """
    new: dict[str | None, None] = {}
    changed: dict[str | None, list[str]] = {}
    for draft, outcome in zip(drafts, outcomes, strict=False):  # then what has gone from its document
        source = draft.source
        if source is None or source.role != USER or source.uri is not None or draft.derived_from or not draft.indexed:
            continue
        if outcome.status == "added":
            new[draft.conversation] = None
        elif outcome.status == "changed":
            changed.setdefault(draft.conversation, []).append(outcome.id)
    filed = [_job({"conversation": each}, key=conversation_hash(each), run_at=run_at) for each in new]
    return filed + [_job({"conversation": each, "again": ids}, run_at=run_at) for each, ids in changed.items()]


def _job(payload: dict[str, Any], *, cube: int = 0, key: str | None = None, run_at: int = 0) -> NewJob:
    lane = f"{NAME} {conversation_hash(payload['conversation'])}"
    filed = PREFERENCES.new(payload, cube=cube, key=key, run_at=run_at)
    return msgspec.structs.replace(filed, lane=lane)


class _Run:
    """One run of a job."""

    def __init__(self, context: JobContext, model: TextModel) -> None:
        assert context.cube is not None
        self._context = context
        self._model = model
        self._row: CubeRow = context.cube
        self._cube: MemCube = cube_of(context, context.cube)
        self._index = context.memory.indexes.get(context.cube)
        self._reader = Reader(context.store, self._index, context.cube, micros(context.now()))
        self._conversation: str | None = context.payload.get("conversation")
        self._again: list[str] = list(context.payload.get("again") or ())
        self._sources: dict[str, Record] = {}  # what the model was shown as new, or quoted
        self._dropped: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    def run(self) -> object:
        context = self._context
        mark = Mark() if self._again else read_mark(context.store, self._row, self._conversation)
        last = context.job.attempts >= context.job.max_attempts
        smaller = max(1, MOST >> (context.job.attempts - 1))  # an answer that was cut off may have been too long
        unread = self._next(Unread(upto=mark.seq, left=self._again), 1 if last else smaller)
        if not unread.fresh and unread.upto <= mark.seq:
            return {"read": 0}
        rules, masks = self._rules(decode_policy(self._row.policy))
        unread, found = self._asked(unread, rules, masks, last=last)
        context.check()
        with context.transaction(action=ACTION) as transaction:
            row = self._cube.lock(transaction)
            if not all(map(_within, self._rules(decode_policy(row.policy)), (rules, masks))):
                raise Conflict("the cube has more taken out by now than before the model was asked; it is tried again")
            self._keep(transaction, row, found)
            if not self._again and unread.upto > mark.seq:
                named = {"new_id": _ids.make(1)[0], "model": self._model.identity}
                put_mark(transaction, row, self._conversation, mark, unread.upto, **named)
            if unread.more:
                transaction.file([self._rest(unread, row)])
            context.returns({"read": len(unread.fresh), **self._counts, "dropped": dict(self._dropped)})
        return None

    def _rest(self, unread: Unread, row: CubeRow) -> NewJob:
        """The job that reads what this one has left."""
        if self._again:
            payload = {"conversation": self._conversation, "again": list(unread.left)}
            return _job(payload, cube=row.number)
        return _job({"conversation": self._conversation}, cube=row.number, key=conversation_hash(self._conversation))

    @staticmethod
    def _rules(policy: CubePolicy) -> tuple[Rules, Rules]:
        """What is taken out of all that is stored, and what not everybody is shown."""
        return on_write(policy), on_read(policy, ())

    # -- asking -------------------------------------------------------------------------------------------------------

    @staticmethod
    def _readers(unread: Unread) -> list[str | None]:
        """To whom the new messages are private: what is private to one and what is not never share a prompt."""
        return list(dict.fromkeys(record.body.private_to for record in unread.fresh if record.body is not None))

    def _next(self, before: Unread, most: int) -> Unread:
        """What is to be read after this."""
        if self._again:
            return self._reader.these(before.left, most)
        return self._reader.unread(self._conversation, before.upto, most, self._context.check)

    def _asked(self, unread: Unread, rules: Rules, masks: Rules, *, last: bool) -> tuple[Unread, list[Found]]:
        """What is found, and in what. With its last attempt a job passes over a message that the model never answers to.

        Only where it answers to one of the next few, though: else it may just not be there.
        """
        tried, refused = unread, 0
        while True:
            try:
                found = [each for reader in self._readers(tried) for each in self._ask(tried, reader, rules, masks)]
            except AnswerRefused:
                if not last or not tried.more or refused == _PASSED_OVER:
                    raise
                tried, refused = self._next(tried, 1), refused + 1
                if not tried.fresh:
                    raise
            else:
                self._drop("no answer", refused)
                return tried, found

    def _ask(self, unread: Unread, reader: str | None, rules: Rules, masks: Rules) -> list[Found]:
        context = self._context
        fresh = [record for record in unread.fresh if record.body is not None and record.body.private_to == reader]
        messages = self._reader.shown(fresh, reader)
        people = sorted({message.person for message in messages if message.role == USER})
        context.check()
        prompt = prompt_for(messages, self._reader.known(people, reader))
        answer = ask(self._model, prompt, Preferences)
        self._sources.update({record.id: record for record in fresh})
        shown = {message.n: message for message in messages}
        judged: list[Preference] = []
        self._drop("too many", len(answer.preferences) - MOST_BELIEVED)
        for said in answer.preferences[:MOST_BELIEVED]:
            each = judge(said, shown)
            if isinstance(each, str):
                self._dropped[each] += 1
            else:
                judged.append(each)
        drafts = [self._draft(each, reader, prompt) for each in judged]
        drafts = redacted_drafts(drafts, rules, context.now()) if rules else drafts
        pairs = zip(judged, drafts, strict=True)
        best = strongest([(each, keyed(draft, each, reader, (rules | masks).hide)) for each, draft in pairs])
        self._drop("said again", len(judged) - len(best))
        return best

    def _draft(self, found: Preference, reader: str | None, prompt: str) -> Draft:
        draft = draft_of(found, reader, self._model.identity, prompt_hash(prompt))
        ends = [source.ends for source in found.ground if source.ends is not None]
        return msgspec.structs.replace(
            draft, mentions=mentions_of(draft.text, found.at), expires_at=min(ends, default=None)
        )

    # -- keeping ------------------------------------------------------------------------------------------------------

    def _keep(self, transaction: Transaction, row: CubeRow, found: Sequence[Found]) -> None:
        """Store what holds of what was found, as far as all that it rests on is still there."""
        standing = self._standing(transaction, row, [source for each, _ in found for source in each.ground])
        wanted = [(each, draft) for each, draft in found if all(source.id in standing for source in each.ground)]
        self._drop("source gone", len(found) - len(wanted))
        heads = transaction.heads_by_key(row, [draft.key for _, draft in wanted if draft.key])
        records = self._context.store.records(row, [head.seq for head in heads.values()])
        held = transaction.held(row, [head.id for head in heads.values()])
        redacted: Counter[str] = Counter()
        puts: list[Put] = []
        for (each, draft), id in zip(wanted, _ids.make(len(wanted)), strict=True):
            key = draft.key or ""
            head = heads.get(key)
            if head is None:
                seq, at = self._reader.deleted(key)
                place = Place(deleted=seq, deleted_at=at)
            else:
                place = Place(head, records[head.seq], head.id in held)
            done = decide(each, draft, place, id)
            if isinstance(done, str):
                self._drop(done, 1)
                continue
            self._counts[done[0]] += 1
            redacted.update(draft.redacted)
            puts.append(done[1])
        if puts:
            transaction.put(row, puts)
            if redacted:
                transaction.note(row, redacted=dict(redacted))
            if self._context.memory.embedding.record.dims:
                lacking = [put.id for put in puts if not put.vectors_of]
                transaction.file(embed_jobs(row.number, lacking))

    def _drop(self, why: str, count: int) -> None:
        if count > 0:
            self._dropped[why] += count

    def _standing(self, transaction: Transaction, row: CubeRow, sources: Sequence[Shown]) -> set[str]:
        """Ids of those messages that say what they said, to whom they said it."""
        heads = transaction.heads(row, list(dict.fromkeys(source.id for source in sources)))
        moved = [s for s in sources if s.id in heads and heads[s.id].version != s.version and not heads[s.id].deleted]
        newest = self._context.store.records(row, [heads[source.id].seq for source in moved])
        found = set()
        for source in sources:
            head = heads.get(source.id)
            if head is None or head.deleted:
                continue
            if head.version == source.version or self._same(source, newest.get(head.seq)):
                found.add(source.id)
        return found

    def _same(self, source: Shown, now: Record | None) -> bool:
        before = self._sources.get(source.id)
        if now is None or before is None or now.body is None or before.body is None or not is_said(now):
            return False
        return now.text == before.text and now.state in FINDABLE and now.body.private_to == before.body.private_to


def _within(now: Rules, before: Rules) -> bool:
    return set(now.kinds) <= set(before.kinds) and set(now.names) <= set(before.names)


PREFERENCES: Final = preferences(None)
