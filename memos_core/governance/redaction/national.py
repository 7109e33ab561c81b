"""National ids: each with its own digits of control, where its country has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import NamedTuple

from memos_core.governance.redaction.numbers import checks, has_digits, other_number

Span = tuple[int, int]
_NOT_ALNUM = re.compile(r"[^0-9A-Z]")
_SOCIAL = re.compile(r"\b(?:ssn|social(?: security)?)\b[^0-9]{0,30}$", re.IGNORECASE)


class _Id(NamedTuple):
    """How it is written, and what it must fulfil without separators, in capitals: a check of `stdnum`, or one of ours."""

    regex: re.Pattern[str]
    valid: str | Callable[[str], bool]
    only_digits: bool = False


def _id(regex: str, valid: str | Callable[[str], bool], *, only_digits: bool = False) -> _Id:
    # Looked for at every start of a word, also inside of what another try has taken.
    before = r"(?<![A-Za-z0-9])(?<![A-Za-z0-9][-._/])"
    return _Id(re.compile(rf"{before}(?=({regex})(?![A-Za-z0-9]))", re.IGNORECASE), valid, only_digits)


def _chinese(number: str) -> bool:
    """By date and last digit; the place is not asked, as districts come and go."""
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return bool(checks("cn.ric").calc_check_digit(number) == number[-1])


def _british(number: str) -> bool:
    return number[:2] not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}


_SEP = r"(?: ?[-./]? ?)"
_IDS = (
    _id(r"[0-9]{3}(?:-[0-9]{2}-| [0-9]{2} )[0-9]{4}", "us.ssn"),
    _id(rf"[ABCEGHJ-PRSTW-Z][ABCEGHJ-NPRSTW-Z]{_SEP}[0-9]{{2}}{_SEP}[0-9]{{2}}{_SEP}[0-9]{{2}}{_SEP}[A-D]", _british),
    _id(rf"[1-9][0-9]{_SEP}[0-9]{{3}}{_SEP}[0-9]{{3}}{_SEP}[0-9]{{3}}", "de.idnr", only_digits=True),
    _id(
        rf"[1278]{_SEP}[0-9]{{2}}{_SEP}[0-9]{{2}}{_SEP}[0-9][0-9AB]{_SEP}[0-9]{{3}}{_SEP}[0-9]{{3}}{_SEP}[0-9]{{2}}",
        "fr.nir",
        only_digits=True,
    ),
    _id(rf"[0-9]{{2}}{_SEP}[0-9]{{3}}{_SEP}[0-9]{{3}}{_SEP}[A-Z]", "es.dni"),
    _id(rf"[XYZ]{_SEP}[0-9]{_SEP}[0-9]{{3}}{_SEP}[0-9]{{3}}{_SEP}[A-Z]", "es.nie"),
    _id(
        rf"[A-Z]{{3}}{_SEP}[A-Z]{{3}}{_SEP}[0-9L-V]{{2}}[A-Z][0-9L-V]{{2}}{_SEP}[A-Z][0-9L-V]{{3}}[A-Z]",
        "it.codicefiscale",
    ),
    _id(rf"[1-9][0-9]{{5}}{_SEP}(?:18|19|20)[0-9]{{6}}{_SEP}[0-9]{{3}}[0-9X]", _chinese),
    _id(rf"[2-9][0-9]{{3}}{_SEP}[0-9]{{4}}{_SEP}[0-9]{{4}}", "in_.aadhaar", only_digits=True),
    _id(r"[A-Z]{3}[ABCFGHJLPT][A-Z][0-9]{4}[A-Z]", "in_.pan"),
    _id(r"[0-9]{3}[. ]?[0-9]{3}[. ]?[0-9]{3} ?[-/]? ?[0-9]{2}", "br.cpf", only_digits=True),
)
_BARE_SSN = re.compile(r"(?<![A-Za-z0-9])[0-9]{9}(?![A-Za-z0-9])")


class NationalIds:
    """US SSN, UK NINO, German tax id, French NIR, Spanish DNI and NIE, Italian codice fiscale, Chinese resident id, Indian
    Aadhaar and PAN, Brazilian CPF.
    """

    kind = "national-id"

    def __init__(self) -> None:
        self._ids = [
            (each, checks(each.valid).is_valid if isinstance(each.valid, str) else each.valid) for each in _IDS
        ]
        self._social = checks("us.ssn").is_valid

    def find(self, text: str) -> Iterator[Span]:
        """What is written like an id of one of these countries and fulfils its check."""
        if not has_digits(text, 4):
            return
        for each, valid in self._ids:
            for match in each.regex.finditer(text):
                number = _NOT_ALNUM.sub("", match.group(1).upper())
                if valid(number) and not (each.only_digits and other_number(text, match.start())):
                    yield match.span(1)
        for match in _BARE_SSN.finditer(text):
            if self._social(match.group()) and _SOCIAL.search(text[max(0, match.start() - 50) : match.start()]):
                yield match.span()
