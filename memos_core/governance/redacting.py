"""Redaction where memory is written and read: of drafts and changes before they are stored, of items before they are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from memos_core.errors import InvalidInput, StateConflict
from memos_core.governance.redaction.redactor import Redactor
from memos_core.reading.reader import mentions_of
from memos_core.types.cube_policy import CubePolicy, decode_policy
from memos_core.types.inputs import Draft
from memos_core.types.items import MemoryItem
from memos_core.types.work import CubeRow, Record


class Rules(msgspec.Struct, frozen=True):
    """What is taken out of texts: kinds or import paths, and the names that the kind "name" looks for."""

    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __or__(self, other: Rules) -> Rules:
        """What either takes out."""
        kinds, names = (*self.kinds, *other.kinds), (*self.names, *other.names)
        return Rules(tuple(dict.fromkeys(kinds)), tuple(dict.fromkeys(names)))

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def redactor(self) -> Redactor:
        """What does it.

        Raises:
            InvalidConfig: a rule that does not exist.
            MissingPackage: what a rule needs is not installed.
        """
        return _redactor(self)

    def hide(self, text: str) -> str:
        """A text without what they take out."""
        return self.redactor().redact(text).text if self else text


NOTHING: Final = Rules()


@lru_cache(maxsize=64)
def _redactor(rules: Rules) -> Redactor:
    return Redactor(rules.kinds, names=rules.names)


def on_write(policy: CubePolicy) -> Rules:
    """What a cube has taken out before anything is stored."""
    return Rules(policy.redact, policy.names) if policy.redact else NOTHING


def on_read(policy: CubePolicy, roles: Iterable[str]) -> Rules:
    """What a cube masks for an actor who does not administrate it."""
    return NOTHING if not policy.mask or set(roles) & set(policy.unmasked_roles) else Rules(policy.mask, policy.names)


def joined(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Counts added up."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def redacted_drafts(drafts: Sequence[Draft], rules: Rules, now: datetime) -> list[Draft]:
    """Drafts without what the rules take out of their words, payload and metadata. Doing it twice changes nothing."""
    redactor = rules.redactor()
    return [_redacted(draft, redactor, now) for draft in drafts]


def _redacted(draft: Draft, redactor: Redactor, now: datetime) -> Draft:
    text, context = redactor.redact(draft.text), redactor.redact(draft.context)
    payload, in_payload = redactor.redact_json(draft.payload)
    metadata, in_metadata = redactor.redact_json(draft.metadata)
    found = joined([text.counts, context.counts, in_payload, in_metadata])
    if not found:
        return draft
    mentions = mentions_of(text.text, draft.occurred_at or now) if text.counts else draft.mentions
    return msgspec.structs.replace(
        draft,
        text=text.text,
        context=context.text,
        payload=payload,
        metadata=metadata,
        mentions=mentions,
        redacted=joined([draft.redacted, found]),
    )


def redacted_changes(changes: dict[str, Any], rules: Rules) -> dict[str, Any]:
    """Changes to an item without what the rules take out; what was taken out is among them as "redacted"."""
    redactor = rules.redactor()
    done, counts = dict(changes), []
    if "text" in changes:
        text = redactor.redact(changes["text"])
        done["text"] = text.text
        counts.append(text.counts)
    for name in ("payload", "metadata"):
        if name in changes:
            done[name], found = redactor.redact_json(changes[name])
            counts.append(found)
    total = joined(counts)
    return {**done, "redacted": total} if total else changes


def need_redacted(record: Record, cube: CubeRow) -> None:
    """Make sure that a version from before a cube's policy does not bring back what the cube has taken out by now.

    Raises:
        StateConflict: it would.
    """
    rules = on_write(decode_policy(cube.policy))
    if not rules or record.body is None:
        return
    said = {"text": record.text or "", "payload": record.body.payload, "metadata": record.body.metadata}
    found = redacted_changes(said, rules).get("redacted")
    if found:
        raise StateConflict(
            f"version {record.version} of item {record.id!r} in cube {cube.name!r} holds what the cube has taken out by now "
            f"({', '.join(sorted(found))}); write it anew with `update`, or erase the item"
        )


def masked(item: MemoryItem, rules: Rules) -> MemoryItem:
    """An item as it is shown to somebody for whom these kinds are masked."""
    redactor = rules.redactor()
    text = redactor.redact(item.text)
    payload, in_payload = redactor.redact_json(item.payload)
    metadata, in_metadata = redactor.redact_json(item.metadata)
    entities = tuple(name for name in item.mentions.entities if not redactor.find(name) and name in text.text)
    mentions = msgspec.structs.replace(item.mentions, entities=entities) if text.counts else item.mentions
    if not (text.counts or in_payload or in_metadata):
        return item
    return msgspec.structs.replace(item, text=text.text, payload=payload, metadata=metadata, mentions=mentions)


def need_own_words(drafts: Sequence[Draft], redacted: Sequence[Draft]) -> None:
    """Make sure that vectors that came with drafts are of the words that are stored.

    Raises:
        InvalidInput: redaction has changed words that came with a vector.
    """
    for before, after in zip(drafts, redacted, strict=True):
        if before.text != after.text:
            kinds = ", ".join(sorted(after.redacted))
            raise InvalidInput(
                f"a text holds what this cube redacts ({kinds}), and its vector was made with it; redact it first "
                "(`session.read` gives it as it is stored), then make the vector"
            )
