"""Preferences as items: under which key, what a new one does to the one before, and when nothing is done.

Each topic of a person is one item; what is said later is a new version of it. What is quoted is activated; what a model merely
concludes is generated, until somebody activates it or it is said. A conclusion never takes the place of anything else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from memos_core.errors import InvalidName
from memos_core.lifecycle.consolidation import normalised
from memos_core.plaintext.commit import body_of
from memos_core.reading.extract import Preference, topic_of
from memos_core.types.inputs import Draft
from memos_core.types.items import LifecycleState, SourceRef
from memos_core.types.names import check_name
from memos_core.types.preferences import PREFERENCE
from memos_core.types.work import Body, Head, Put, Record, from_micros

ACTION: Final = "preferences"  # as the audit calls it
GUESSED: Final = 0.5  # confidence in what nobody has said

Left = Literal["known", "older", "weaker", "rejected", "frozen", "on hold", "taken", "nothing to withdraw"]
Done = Literal["added", "changed", "confirmed", "withdrawn"]
_S = LifecycleState
_CLOSED: Final = (_S.ARCHIVED, _S.MERGED)


def key_for(person: str, topic: str, reader: str | None) -> str:
    """The key of a preference: "preference:alice:coffee". What is private has keys of its own.

    Args:
        person: whose.
        topic: in one way of writing.
        reader: to whom it is private.
    """
    return _key(f"preference:{person}:{topic}" if reader is None else f"private preference:{reader}:{person}:{topic}")


def conversation_hash(conversation: str | None) -> str:
    """What stands for a conversation; None: for what belongs to none."""
    said = b"" if conversation is None else b"\x01" + conversation.encode("utf-8")
    return hashlib.blake2b(said, digest_size=16).hexdigest()


def _key(wanted: str) -> str:
    try:
        return check_name(wanted, "key")
    except InvalidName:  # of somebody whose name is none that memos would give
        return "preference:" + hashlib.blake2b(wanted.encode("utf-8"), digest_size=16).hexdigest()


def draft_of(found: Preference, reader: str | None, model: str, prompt_hash: str) -> Draft:
    """A preference as it would be stored, if there were none before; without a key and the person, who is no word of a text.

    Args:
        found: what was found.
        reader: to whom it is private.
        model, prompt_hash: who found it, and asked what.
    """
    return Draft(
        text=found.statement,
        type=PREFERENCE,
        occurred_at=found.at,
        confidence=1.0 if found.quoted else GUESSED,
        metadata={
            "topic": found.topic,
            "polarity": found.polarity,
            "explicit": found.explicit,
        },
        payload={"quote": found.quote} if found.quote else None,
        source=SourceRef(speaker=found.person),
        derived_from=tuple((each.id, each.version) for each in found.ground),
        private_to=reader,
        model=model,
        prompt_hash=prompt_hash,
        state=_S.ACTIVATED if found.quoted else _S.GENERATED,
    )


class Place(msgspec.Struct, frozen=True):
    """What bears a key now.

    Attributes:
        head: where it stands; None where nothing bears it.
        record: its newest version.
        held: whether a legal hold covers it.
        deleted: number of the change that deleted what bore it last; 0 where nothing did.
        deleted_at: when that was, microseconds since 1970.
    """

    head: Head | None = None
    record: Record | None = None
    held: bool = False
    deleted: int = 0
    deleted_at: int = 0


def decide(found: Preference, draft: Draft, place: Place, new_id: str) -> tuple[Done, Put] | Left:
    """What to write for a preference, or why nothing is written.

    Args:
        found: what was found.
        draft: of it, with its key, and without what the cube takes out.
        place: what is there.
        new_id: of the item, if it is new.
    """
    head, record = place.head, place.record
    withdrawn = found.polarity == "withdrawn"
    if head is None or record is None or record.body is None:
        if withdrawn:
            return "nothing to withdraw"
        if found.seq <= place.deleted or found.at < from_micros(place.deleted_at):
            return "older"
        return "added", Put(id=new_id, op="add", text=draft.text, body=body_of(draft), state=draft.state)
    body = record.body
    why_not = _why_not(found, draft, place, record, body)
    if why_not is not None:
        return why_not
    if withdrawn:
        return _withdrawn(draft, head, record, body)
    same = _says_the_same(record, draft)
    if same and record.state is draft.state and not _ends_sooner(body, draft):
        return "known"
    together = same and body.expires_at == draft.expires_at  # else it would end with what ends first
    sources = _joined(body, draft) if together else draft.derived_from
    changed = msgspec.structs.replace(
        body_of(draft),
        key=body.key,
        tags=body.tags,
        links=body.links,
        metadata={**body.metadata, **draft.metadata},
        derived_from=sources,
        reason="it was said" if record.state is _S.GENERATED and found.quoted else None,
    )
    put = Put(
        id=head.id,
        op="move" if record.text == draft.text and record.state is not draft.state else "update",
        text=draft.text,
        body=changed,
        state=draft.state,
        head=head,
        vectors_of=record.vectors_of if record.text == draft.text else 0,
    )
    return "confirmed" if record.state is _S.GENERATED and found.quoted else "changed", put


def _why_not(found: Preference, draft: Draft, place: Place, record: Record, body: Body) -> Left | None:
    if body.type != PREFERENCE or body.private_to != draft.private_to:
        return "taken"
    if record.state is _S.FROZEN:
        return "frozen"
    if place.held:
        return "on hold"
    if not _later(found, record):
        return "older"
    if found.polarity == "withdrawn" and record.state in _CLOSED:
        return "nothing to withdraw"
    if found.quoted:
        return None
    if record.state in _CLOSED:  # somebody did not want it
        return "rejected"
    if record.state is _S.ACTIVATED:
        return "known" if _polarity(body) == found.polarity else "weaker"
    return None


def _withdrawn(draft: Draft, head: Head, record: Record, body: Body) -> tuple[Done, Put]:
    body = msgspec.structs.replace(
        body,
        occurred_at=draft.occurred_at,
        derived_from=_joined(body, draft),
        reason="the user has withdrawn it",
        model=draft.model,
        prompt_hash=draft.prompt_hash,
    )
    return "withdrawn", Put(
        id=head.id,
        op="move",
        text=record.text,
        body=body,
        state=_S.ARCHIVED,
        head=head,
        vectors_of=record.vectors_of,
    )


def _later(found: Preference, record: Record) -> bool:
    """Whether something was said after what stands there was said, or decided by somebody."""
    body = record.body
    extracted = record.action in (
        ACTION,
        "embed",
    )  # a fork repeats what it shares under another action to give it vectors
    if extracted and body is not None and body.occurred_at is not None:
        return found.at >= body.occurred_at
    return found.seq > record.seq and found.at >= from_micros(record.at)


def _says_the_same(record: Record, draft: Draft) -> bool:
    return (
        record.body is not None
        and normalised(record.text or "") == normalised(draft.text)
        and _polarity(record.body) == draft.metadata.get("polarity")
    )


def _ends_sooner(body: Body, draft: Draft) -> bool:
    """Whether what stands there ends before what is said now."""
    return body.expires_at is not None and (draft.expires_at is None or draft.expires_at > body.expires_at)


def _polarity(body: Body) -> object:
    return body.metadata.get("polarity")


def _joined(body: Body, draft: Draft) -> tuple[tuple[str, int], ...]:
    return tuple(dict.fromkeys((*body.derived_from, *draft.derived_from)))


def keyed(draft: Draft, found: Preference, reader: str | None, hide: Callable[[str], str] = str) -> Draft:
    """A draft with its person, and its key: of the topic in one way of writing, without what is hidden from anybody.

    Args:
        draft: as it is stored. Its topic stays as it is written: without its signs no rule would know an address in it.
        found: what it is of.
        reader: to whom it is private.
        hide: takes out of a topic what not all readers of the cube may see; nobody masks a key.
    """
    topic = hide(
        topic_of(hide(str(draft.metadata["topic"])))
    )  # without its signs something may be a number that was none
    topic = topic_of(topic) or "something"
    metadata = {**draft.metadata, "person": found.person}
    return msgspec.structs.replace(draft, metadata=metadata, key=key_for(found.person, topic, reader))


def strongest(found: Sequence[tuple[Preference, Draft]]) -> list[tuple[Preference, Draft]]:
    """Of several preferences with one key the one that holds: what is quoted before what is not, then what was said last."""
    ranked = sorted(found, key=lambda pair: (pair[0].quoted, pair[0].at, pair[0].seq))
    return list({draft.key: (each, draft) for each, draft in ranked}.values())
