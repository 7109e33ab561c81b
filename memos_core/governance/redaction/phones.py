"""Phone numbers: international ones, national ones as major countries write them, and any behind words like "call me at".

Whether a number can be dialled, `phonenumbers` knows (libphonenumber's tables). Where a number begins and ends, and whether
the words around it speak of a date, a price or an order, is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from memos_core.errors import MissingPackage
from memos_core.governance.redaction.numbers import has_digits, other_number

Span = tuple[int, int]

_SEP = r"(?: {1,2}| ?[-./()] ?(?:[-()/] ?)?)"
_EXT = r"(?: ?(?:x|ext\.?|extension|durchwahl|poste) ?[0-9]{1,5})?"
_AHEAD = r"(?<![A-Za-z0-9_+])(?<![0-9][-.,/:])(?<![$€£¥] )(?<![$€£¥])"
_BEHIND = r"(?![A-Za-z0-9_%$€£¥])(?![-.,/:][0-9])(?! ?(?:USD|EUR|GBP|kr|元|dollars|euros?)\b)"

_INTERNATIONAL = re.compile(
    rf"(?<![A-Za-z0-9_+])(?<![0-9][-./])(?:\+ ?|(?<![0-9] )00[ -]?|\(\+)"
    rf"(?=[1-9])(?:[0-9]{_SEP}?){{6,14}}[0-9]{_EXT}(?![A-Za-z0-9_])",
    re.IGNORECASE,
)


def _shape(regex: str) -> re.Pattern[str]:
    return re.compile(_AHEAD + regex + _EXT + _BEHIND, re.IGNORECASE)


# Ways of writing that are those of phone numbers and hardly of anything else.
_SHAPES = (
    _shape(r"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|(?P<s>[2-9][0-9]{2}[ .-]))[2-9][0-9]{2}[ .-][0-9]{4}"),  # North America
    _shape(r"1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}"),  # Chinese mobiles
    _shape(r"\(0?[1-9][0-9]\) ?9?[0-9]{4}[ -][0-9]{4}"),  # Brazil
    _shape(r"[1-9][0-9] 9[0-9]{4}[ -][0-9]{4}"),
    _shape(r"[6-9][0-9]{4}[ -][0-9]{5}"),  # India
    _shape(r"3[2-9][0-9][ ./-](?:[0-9]{6,7}|[0-9]{3} [0-9]{3,4})"),  # Italian mobiles
    _shape(r"[67][0-9]{2}(?: [0-9]{2}){3}"),  # Spain
    _shape(r"8 ?\(?9[0-9]{2}\)? [0-9]{3}[- ][0-9]{2}[- ][0-9]{2}"),  # Russia
)
# With the 0 of a long-distance call.
_TRUNK = _shape(r"(?<![0-9] )\(?0[1-9][0-9]{0,5}\)?(?:(?: ?[-/.] ?| {1,2})?[0-9]{2,8}){1,5}")
_TRUNK_REGIONS = ("DE", "GB", "FR", "IT", "NL", "JP", "AU", "CH", "AT", "KR", "CN", "IN", "BR", "BE", "SE")
# Behind a word that speaks of calling, even plain digits are a number.
_CALLING = re.compile(
    r"(?:\b(?:call|calls|ring|dial|phone|phones|telephone|tel|mobile|cell|text|texts|whatsapp|fax|sms|hotline|landline"
    r"|reach|ruf|anruf\w*|erreichen|erreichbar|telefon\w*|handy\w*|durchwahl|appel\w*|telephone|portable|joindre|numero|llama\w*"
    r"|telefono|movil|celular|cellulare|ligar|liga|my number|phone number|'s number|number is|zvoni|telefoon|bel)\b"
    r"|电话|手机|致电|打给|打|电话号码|電話|携帯|联系|전화|телефон\w*|звони\w*)[^0-9\n]{0,25}$",
    re.IGNORECASE,
)
_PLAIN = re.compile(rf"{_AHEAD}\(?[0-9](?:{_SEP}?[0-9]){{6,12}}{_EXT}{_BEHIND}", re.IGNORECASE)
_PLAIN_REGIONS = ("US", "ES", "IN", "CN", "IT", "BR", "MX", "PL", "PT", "RU", "DK", "NO", *_TRUNK_REGIONS)

_DATE = re.compile(
    r"(?<![0-9])(?<![0-9][-./])(?:(?:19|20)[0-9]{2} ?([-./]) ?[01]?[0-9] ?\1 ?[0-3]?[0-9]"
    r"|[0-3]?[0-9] ?([-./]) ?[0-3]?[0-9] ?\2 ?(?:19|20)?[0-9]{2}"
    r"|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:[0-2][0-9]|3[01])|(?:19|20)[0-9]{2} ?- ?(?:19|20)[0-9]{2})(?![0-9]|[-./][0-9])"
)
_GROUPS = re.compile(r"[0-9]+")
_THOUSANDS = re.compile(r"[0-9]{1,3}(?:[ .,][0-9]{3})+")


class Phones:
    """Numbers to call, with their extensions."""

    kind = "phone"

    def __init__(self) -> None:
        try:
            self._tables: Any = import_module("phonenumbers")
        except ImportError as error:
            raise MissingPackage("phonenumbers", "governance", "finding phone numbers") from error

    def find(self, text: str) -> Iterator[Span]:
        """International numbers, shapes of national ones, and what follows words about calling."""
        if not has_digits(text, 7):
            return
        for match in _INTERNATIONAL.finditer(text):
            end = self._international(match.group())
            if end:
                yield match.start(), match.start() + end
        for shape in _SHAPES:
            for match in shape.finditer(text):
                if not other_number(text, match.start()) and not _DATE.fullmatch(match.group()):
                    yield match.span()
        for match in _TRUNK.finditer(text):
            end = self._valid_from(match.group(), _TRUNK_REGIONS)
            bare = (
                match.group().isdecimal() and len(match.group()) > 11
            )  # so long without a space: a parcel, more often
            if end and not bare and not other_number(text, match.start()):
                yield match.start(), match.start() + end
        for match in _PLAIN.finditer(text):
            before = text[max(0, match.start() - 60) : match.start()]
            if _CALLING.search(before) and not other_number(text, match.start()):
                found = match.group()
                if (
                    not _DATE.search(found)
                    and not _scattered(found)
                    and (_local(found) or self._valid_from(found, _PLAIN_REGIONS) == len(found))
                ):
                    yield match.span()

    def _international(self, found: str) -> int:
        """How much of what begins with + or 00 is a number that could be called; 0 for nothing of it."""
        plus = found.lstrip("(").startswith("+")
        number = found if plus else "+" + found[2:]
        ends = [match.end() for match in _GROUPS.finditer(number)][-4:]
        tests = (self._tables.is_valid_number, self._tables.is_possible_number)
        for test in tests if plus else tests[:1]:
            for end in (len(number), *reversed(ends)):
                try:
                    if test(self._tables.parse(number[:end].lstrip("("), None)):
                        return len(found) - (len(number) - end)
                except self._tables.NumberParseException:
                    continue
        return 0

    def _valid_from(self, found: str, regions: tuple[str, ...]) -> int:
        """How much of it is a valid number in one of the regions, dropping up to two groups from the end; 0 for nothing."""
        if _DATE.search(found):
            return 0
        ends = [match.end() for match in _GROUPS.finditer(found)][-3:-1]
        for end in (len(found), *reversed(ends)):
            if sum(char.isdigit() for char in found[:end]) < 8:
                break
            if found[end : end + 1] not in ("", " "):
                continue  # in the middle of a longer number
            for region in regions:
                try:
                    if self._tables.is_valid_number(self._tables.parse(found[:end], region)):
                        return end
                except self._tables.NumberParseException:
                    continue
        return 0


def _scattered(found: str) -> bool:
    """Whether most groups are single digits, but not all: a score, or a list."""
    groups = [len(match.group()) for match in _GROUPS.finditer(found)]
    return len(groups) / 2 < groups.count(1) < len(groups) or (groups.count(1) == len(groups) and "-" in found)


def _local(found: str) -> bool:
    """A number within a town ("555-0123"), as people say it on the phone."""
    return bool(re.fullmatch(r"[2-9][0-9]{2}[- .][0-9]{4}", found)) and not _THOUSANDS.fullmatch(found)
