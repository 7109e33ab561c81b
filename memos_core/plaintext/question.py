"""A question, taken apart: the times it names, whom it is about, its words, and the texts whose meaning is looked for."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, date, datetime, time

import msgspec

from memos_core.reading.dates import find_query_dates
from memos_core.stores.index.analysis import detect_language, fold, is_unspaced
from memos_core.stores.index.people import People
from memos_core.stores.index.stopwords import STOPWORDS
from memos_core.types.work import from_micros, micros

_WORD = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"['’]s\b")
_SPACE = re.compile(r"\s+")
_DAY = 86_400_000_000  # microseconds

# How a question asks for a time, at its beginning or within it.
_ASKS_TIME = re.compile(
    r"^\W*(when|wann|quand|cu[aá]ndo|quando|wanneer|когда)\b|\b(which|what) (year|month|day|date|week|time)\b|\bhow long\b"
    r"|\b(welche[mnrs]?) (jahr|monat|tag|datum|woche|uhrzeit)\b|\bwie lange\b|\bseit wann\b|\bwie ?viel uhr\b"
    r"|\b(à|en) quelle? (date|année|jour|mois)\b"
    r"|\b(qué|en qué) (año|mes|día|fecha)\b|什么时[候间]|何时|哪一?年|哪个?月|哪一?天|几月|几号|几点|多久|多长时间|いつ|언제",
    re.IGNORECASE,
)
# Words by which somebody speaks of themselves, by language.
_ME = {
    "en": frozenset({"i", "me", "my", "mine", "myself"}),
    "de": frozenset({"ich", "mich", "mir", "mein", "meine", "meinen", "meinem", "meiner", "meines"}),
    "fr": frozenset({"je", "me", "moi", "mon", "ma", "mes", "j", "m"}),
    "es": frozenset({"yo", "me", "mi", "mis", "mio", "mia"}),
    "it": frozenset({"io", "mi", "mio", "mia", "miei", "mie"}),
    "pt": frozenset({"eu", "me", "meu", "minha", "meus", "minhas"}),
    "nl": frozenset({"ik", "me", "mij", "mijn"}),
}


class Question(msgspec.Struct, frozen=True):
    """What is known of a question before anything is looked up.

    Attributes:
        text: as asked.
        language: ISO 639-1, or None.
        spans: times it names, as (first, last) microseconds, inclusive; open ones begin in the year 1 or end in 9999.
        undated: the text without the words that name those times.
        asks_time: whether it asks when something was.
    """

    text: str
    language: str | None
    spans: tuple[tuple[int, int], ...]
    undated: str
    asks_time: bool


def take_apart(text: str, now: datetime, known: tuple[int, int] | None) -> Question:
    """A question taken apart.

    "Yesterday" is counted from the clock, "in May" from the newest memory. A time before or after all memories ("last
    year", asked years later about what somebody said then) is no time to look in; its words are looked for instead.

    Args:
        text: as asked.
        now: the clock.
        known: the times of the oldest and the newest memory, in microseconds; None where none has a time.
    """
    language = detect_language(fold(text))
    if known is None:
        return Question(text, language, (), text, _ASKS_TIME.search(text) is not None)
    newest = from_micros(known[1])
    named = [each for each in find_query_dates(text, now=now, language=language) if each.relative]
    named += [each for each in find_query_dates(text, now=newest, language=language) if not each.relative]
    spans: list[tuple[int, int]] = []
    undated = text
    for each in named:
        span = (_start(each.start), _start(each.end) + _DAY - 1)
        if each.relative and (span[0] > known[1] or span[1] < known[0]):
            continue
        spans.append(span)
        undated = undated.replace(each.text, " ", 1)
    undated = _SPACE.sub(" ", undated).strip()
    return Question(text, language, tuple(dict.fromkeys(spans)), undated or text, _ASKS_TIME.search(text) is not None)


def _start(day: str) -> int:
    return micros(datetime.combine(date.fromisoformat(day), time(), UTC))


def about(question: Question, people: People, asker: int | None = None) -> list[int]:
    """The speakers that a question is about: the first one named, and others joined to it ("Jon and Gina").

    Whole words count ("and" is not Andrew), a possessive s apart. A name that is also an ordinary word ("Will", "May")
    counts only with a capital. Of speakers who share a word ("Anna Smith", "Anna Jones") the one whose other word stands
    there too is meant.

    Args:
        question: taken apart.
        people: the speakers of the cube.
        asker: which of them asks: "I" is about that one.
    """
    words = _WORD.findall(_POSSESSIVE.sub("", question.text).replace("&", " and "))
    folded = [fold(word) for word in words]
    places: dict[int, list[int]] = {}
    matched: dict[int, set[str]] = {}
    bare = [word[:-1] for word in folded if word.endswith("s")]
    for number, name in people.named_by([*folded, *bare], fold(question.text)):
        own = [place for place, word in enumerate(words) if _is_name(word, name)]
        within = {word for word in name if is_unspaced(word) and word in fold(question.text)}
        if own or within:
            places[number] = own or [0]
            matched[number] = {folded[place] for place in own} | within
    for number in list(places):
        if any(matched[number] < matched[other] for other in places if other != number):
            del places[number]
    if asker is not None and asker not in places:
        me = _ME.get(question.language or "en", frozenset())
        own = [place for place, word in enumerate(folded) if word in me]
        if own:
            places[asker] = own
    if not places:
        return []
    first = min(min(own) for own in places.values())
    chosen = {number for number, own in places.items() if first in own}
    lead = [place for number in chosen for place in places[number]]
    for number, own in places.items():
        if any(abs(a - b) == 2 for a in own for b in lead):
            chosen.add(number)
    return sorted(chosen)


def _is_name(word: str, name: Collection[str]) -> bool:
    folded = fold(word)
    bare = folded[:-1] if folded.endswith("s") and len(folded) > 3 else folded
    if folded not in name and bare not in name:
        return False
    ordinary = any(folded in words for words in STOPWORDS.values()) or folded in _ORDINARY
    return not ordinary or word[0].isupper()


# First names that are everyday words of English; more are among the function words.
_ORDINARY = frozenset(
    "amber art april august bill brook carol charity chip chuck cliff crystal daisy dawn dean dick drew faith fern frank "
    "gene glen grace grant hazel heather holly hope iris ivy jack jade jasmine jean joy june lily lance mark may melody "
    "mike miles olive patience pat pearl penny piper pierce ray rich rob robin rock rod rose ruby rusty sandy scarlet sky "
    "star stone sue summer sunny terry tiffany victor violet wade ward warren wade will willow winter woody".split()
)


def without_names(question: Question, names: Collection[str]) -> str:
    """The undated question without the names of speakers, for meaning: in English they become "I" and "my".

    An item is embedded without its speaker's name, mostly in the first person; so is the question then.

    Args:
        question: taken apart.
        names: folded words of the speakers' names.
    """
    english = question.language in (None, "en")
    text = question.undated
    pieces: list[str] = []
    end = 0
    for match in _WORD.finditer(text):
        if match.start() < end or not _is_name(match.group(), names):
            continue
        between = text[end : match.start()]
        follows = bool(pieces) and not between.strip()  # the second word of one name
        possessive = text[match.end() : match.end() + 2] in ("'s", "’s")
        end = match.end() + 2 * possessive
        if english:
            said = "my" if possessive else "I"
            pieces[-1:] = [said] if follows else [*pieces[-1:], between, said]
        else:
            pieces.append(between)
    pieces.append(text[end:])
    return _SPACE.sub(" ", "".join(pieces)).strip() or text


def mostly_latin(text: str) -> bool:
    """Whether most letters are Latin ones."""
    letters = [character for character in text if character.isalpha()]
    return 2 * sum(character < "\u0250" for character in letters) >= len(letters)
