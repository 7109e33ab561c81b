"""What can be told of duplicates, contradictions and cold items without a language model: exactly, and rather too little.

What was said or read somewhere (messages, pieces of documents) is a record and stays as it is: "Yes." twice is two answers.
Only statements of their own take part. Two of them may be the same thing only if everything but their words agrees: kind,
type, speaker, who may read them, when they end, how sure they are, tags, metadata, payload and links, the time they happened,
and the days they speak of ("today" is another one tomorrow).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from memos_core.lifecycle.activation import base_level
from memos_core.types.items import PINNED, LifecycleState
from memos_core.types.preferences import PREFERENCE
from memos_core.types.uses import Use, joined
from memos_core.types.work import Body, Record

PROPOSAL: Final = "proposal"  # type of the items that say what somebody should look at
_DIGIT = re.compile(r"\d")
_RAISED = "\u25b2"
_ANOTHER = ("<super>", "<sub>", "<fraction>")  # compatibility forms that mean something else
_VALUE = re.compile(r"\d+(?:[.,:/-]\d+)*")
_SLOT = "\u25a1"
_FEWEST_WORDS: Final = 2  # of a frame beside its slots, so that it says what the value is of


def normalised(text: str) -> str:
    """The words of a text in one way of writing: compatibility forms, case, spaces and a full stop at the end are taken out.

    What is raised or lowered stays so (10² is not 102), and what has a digit in it keeps its case: it may be a password.
    """
    if not text.isascii():
        text = "".join(
            _RAISED + char if unicodedata.decomposition(char).startswith(_ANOTHER) else char for char in text
        )
        text = unicodedata.normalize("NFKC", text)
    words = [word if _DIGIT.search(word) else word.casefold() for word in text.split()]
    folded = unicodedata.normalize("NFKC", " ".join(words))
    return folded.rstrip(".!。！ ")


def takes_part(record: Record) -> bool:
    """Whether an item is a statement of its own that may be put together with others."""
    body = record.body
    return (
        record.text is not None
        and body is not None
        and record.state is LifecycleState.ACTIVATED
        and body.source is None
        and body.indexed
        and body.type != PROPOSAL
        and body.kind == "plaintext"
    )


def beside_words(body: Body) -> tuple[object, ...]:
    """All that must agree of two items before their words are compared."""
    return (
        body.type,
        body.private_to,
        body.confidence,
        None if body.occurred_at is None else body.occurred_at.isoformat(),
        tuple(sorted((date.start, date.end) for date in body.mentions.dates)),
        tuple(sorted((link.relation, link.target) for link in body.links)),
        None if body.expires_at is None else body.expires_at.isoformat(),
        tuple(sorted(body.tags)),
        msgspec.json.encode([body.metadata, body.payload], order="deterministic"),
    )


def exact_groups(records: Iterable[Record]) -> list[list[Record]]:
    """Items that say exactly the same, each group oldest first; what bears a key comes first, two keys make no group."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if takes_part(record) and record.body is not None and record.text is not None:
            groups.setdefault((normalised(record.text), *beside_words(record.body)), []).append(record)
    found = []
    for group in groups.values():
        keyed = [record for record in group if record.body is not None and record.body.key is not None]
        if len(group) > 1 and len(keyed) < 2:
            found.append(sorted(group, key=lambda record: (record not in keyed, record.created, record.seq)))
    return found


def frame(record: Record) -> str | None:
    """What is left of a statement without its values (numbers, dates, names); None where there are none, or little is left."""
    body = record.body
    if body is None or record.text is None:
        return None
    text = record.text
    values = sorted({*(each.text for each in body.mentions.dates), *body.mentions.entities}, key=len, reverse=True)
    for value in values:
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _SLOT, text)
    made = normalised(_VALUE.sub(_SLOT, text))
    words = [word for word in re.findall(r"\w+", made) if _SLOT not in word]
    return made if _SLOT in made and len(words) >= _FEWEST_WORDS else None


def subject(body: Body) -> tuple[str, str] | None:
    """What a statement is about, where its metadata says so: (subject, attribute)."""
    about, of = body.metadata.get("subject"), body.metadata.get("attribute")
    return (about, of) if isinstance(about, str) and isinstance(of, str) else None


def contradictions(records: Iterable[Record]) -> list[tuple[Record, Record]]:
    """Pairs (earlier, later) of which the later may have taken the earlier one's place: of the same subject, or the same words
    with another number, date or name. Each item is compared with the next later one alone.
    """
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if not takes_part(record) or record.body is None:
            continue
        about = subject(record.body) or frame(record)
        if about is not None:
            groups.setdefault((about, record.body.type, record.body.private_to), []).append(record)
    found = []
    for group in groups.values():
        group.sort(key=_when)
        for earlier, later in pairwise(group):
            if normalised(earlier.text or "") != normalised(later.text or ""):
                found.append((earlier, later))
    return found


def _when(record: Record) -> tuple[int, int]:
    return (record.created, record.seq)


def is_cold(record: Record, use: Use | None, *, below: float, before: int, now: int) -> bool:
    """Whether an item is to be put away: added before a time, hardly used since, not pinned, and no preference.

    That it was added, and changed or brought back last, counts as used.

    Args:
        use: what is counted of it; None: nothing.
        below: activation.
        before: microseconds since 1970.
        now: the time.
    """
    body = record.body
    if body is None or record.state is not LifecycleState.ACTIVATED or record.created >= before:
        return False
    if PINNED in body.tags or body.type in (PROPOSAL, PREFERENCE):  # contexts tell preferences without counting that
        return False
    uses = Use(1.0, 1.0, record.created, record.created)
    if record.at > record.created:
        uses = joined(uses, Use(1.0, 1.0, record.at, record.at))
    return base_level(uses if use is None else joined(uses, use), now) < below


def same_reader(records: Sequence[Record]) -> str | None:
    """To whom something is private that is made of these, which all are private to the same one."""
    (reader,) = {record.body.private_to if record.body else None for record in records}
    return reader
