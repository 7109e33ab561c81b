"""Which turns of a conversation are stored already, and where the others belong.

LlamaIndex's messages have no ids and no times, and the same ones come in again and again: as the window of every turn, as
a whole history that a stateless server sets anew, in a flush that is repeated after a failure. What tells a message said
twice from one that came in twice is what was said around it. So the turns are laid beside the latest that are stored, and
each gets its place in the conversation; the store knows a message by its place, speaker and words, also one that has been
corrected or deleted there since, and also where two writers store the same turns at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from memos_core.aio import AsyncSession
from memos_core.filters import F, Filter
from memos_core.plaintext.search import MOST_HITS
from memos_core.types.items import MemoryItem, SourceRef
from memos_llamaindex._convert import Turn

_SURE = (
    3  # turns that are alike are no coincidence, wherever they stand; at the end of the conversation fewer are enough
)
_SLACK = 16  # turns of others in between
_MOST = 1000  # places of the same words that are looked at

_Stored = list[tuple[int, str, str]]  # (place, role, words), in order
_Words = Sequence[tuple[str, str]]  # (role, words)
_Pairs = list[tuple[int, int]]  # (index in what is stored, number of a turn), in order


async def not_yet_stored(session: AsyncSession, conversation: str, turns: Sequence[Turn]) -> list[Turn]:
    """Those turns that are not in the conversation yet, each with its place ("position").

    Args:
        session: reads what it writes.
        conversation: which.
        turns: a piece of it, in order.
    """
    here = (F.conversation == conversation) & (F.type == "message")
    latest, more = await _stored(session, here, turns, 2 * len(turns) + _SLACK)
    end = latest[-1][0] + 1 if latest else 0
    places = _matches(turns, latest, end)
    if not places and more and len(turns) >= _SURE:
        places = _matches(turns, await _older(session, here, turns), end)
    return [{**turn, "position": place} for turn, place in _placed(turns, places, end)]


async def _stored(session: AsyncSession, where: Filter, turns: Sequence[Turn], limit: int) -> tuple[_Stored, bool]:
    """The latest messages in the cube that is written to (all of them get the same), by place; and if there are more."""
    cube = session.sync.write_to[0]
    page = await session.list(where=where, limit=min(limit, MOST_HITS))
    found = {_message(item, turns) for item in page if item.cube_id == cube}
    return sorted(found), page.cursor is not None


def _message(item: MemoryItem, turns: Sequence[Turn]) -> tuple[int, str, str]:
    """(place, role, words) of a message; of a very long one, which is stored in pieces, all its words if a turn has them."""
    source = item.provenance.source or SourceRef()
    text = item.text
    if source.span is not None:
        start, end = source.span
        text = next((turn["content"] for turn in turns if turn["content"][start:end] == text), text)
    return source.position or 0, source.role or "", text


async def _older(session: AsyncSession, here: Filter, turns: Sequence[Turn]) -> _Stored:
    """Messages around the place where most of these turns' words stand together."""
    same, _ = await _stored(session, here & F.text.in_([turn["content"] for turn in turns]), turns, _MOST)
    votes = Counter(
        place - number
        for place, role, text in same
        for number, turn in enumerate(turns)
        if (turn["role"], turn["content"]) == (role, text)
    )
    if not votes:
        return []
    first = max(votes, key=lambda place: (votes[place], place))
    around = here & (F.position >= first - _SLACK) & (F.position < first + len(turns) + _SLACK)
    return (await _stored(session, around, turns, 2 * len(turns) + 4 * _SLACK))[0]


def _matches(turns: Sequence[Turn], stored: _Stored, end: int) -> dict[int, int]:
    """The place of each turn that is stored, by its number; none where likeness is a coincidence.

    Turns that are as far apart as the places of the messages that say the same belong together, also around one that was
    deleted. From there on to both sides, every likeness in order counts: others may have said something in between.
    """
    ours = [(turn["role"], turn["content"]) for turn in turns]
    numbers, indices = range(len(ours)), range(len(stored))
    shifts = _shifts(stored, indices, ours, numbers)
    sure = {shift: pairs for shift, pairs in shifts.items() if _is_the_same(pairs, shift, stored, ours, end)}
    left = [(indices, numbers, _most(sure))]
    places: dict[int, int] = {}
    while left:
        within, among, pairs = left.pop()
        if not pairs:
            continue
        places.update({number: stored[index][0] for index, number in pairs})
        (low, first), (high, last) = pairs[0], pairs[-1]
        for indices, numbers in (
            (range(within.start, low), range(among.start, first)),
            (range(high + 1, within.stop), range(last + 1, among.stop)),
        ):
            left.append((indices, numbers, _most(_shifts(stored, indices, ours, numbers))))
    return places


def _shifts(stored: _Stored, indices: range, ours: _Words, numbers: range) -> dict[int, _Pairs]:
    """Pairs of equal messages, by how far place and number are apart; only those with these indices and numbers."""
    numbered: dict[tuple[str, str], list[int]] = {}
    for number in numbers:
        numbered.setdefault(ours[number], []).append(number)
    shifts: dict[int, _Pairs] = {}
    for index in indices:
        place, role, text = stored[index]
        for number in numbered.get((role, text), ()):
            shifts.setdefault(place - number, []).append((index, number))
    return shifts


def _most(shifts: dict[int, _Pairs]) -> _Pairs:
    """The most pairs; of as many, the latest."""
    best = max(shifts, key=lambda shift: (len(shifts[shift]), shift), default=None)
    return [] if best is None else shifts[best]


def _is_the_same(pairs: _Pairs, shift: int, stored: _Stored, ours: _Words, end: int) -> bool:
    """Whether these turns have come in again, and not just words that are said often.

    They are three, or reach to the end of the conversation: a day that begins like the day before ("Good morning") is
    another day. And around them there is little else: always the same answers ("Noted.") to other words are no sign.
    """
    last = pairs[-1][1]
    if 2 * len(pairs) <= last or (len(pairs) < _SURE and stored[pairs[-1][0]][0] != end - 1):
        return False
    taken = {place for place, _, _ in stored}
    known = {number for _, number in pairs}
    others = sum(number + shift in taken for number in range(last) if number not in known)
    if len(pairs) > 2 * others:
        return True
    often = Counter((role, text) for _, role, text in stored)
    often.update(ours)
    return len(pairs) >= others and any(often[ours[number]] == 2 for number in known)


def _placed(turns: Sequence[Turn], places: dict[int, int], end: int) -> list[tuple[Turn, int]]:
    """Turns that are not stored, with their places: after the stored one before them, in any case.

    Where something else stands in that place, that is what the turn was corrected to, or another answer to the same words;
    where nothing does, it was deleted, or it is new. The store knows which.
    """
    first = min(places, default=0)
    place = places[first] - first if places else end
    found = []
    for number, turn in enumerate(turns):
        if number in places:
            place = places[number]
        else:
            found.append((turn, max(0, place)))
        place += 1
    return found
