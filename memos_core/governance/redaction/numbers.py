"""Card numbers and IBANs; and how numbers are looked for when they are written in groups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from memos_core.errors import MissingPackage

Span = tuple[int, int]
Group = Span

# Digits in groups. A separator is up to three spaces, or one mark with spaces around it.
_RUN = re.compile(r"(?<![A-Za-z0-9_.,])[0-9]+(?:(?: {1,3}| ?[-._/] ?)[0-9]+)*")
_GROUP = re.compile(r"[0-9]+")
_OTHER_NUMBER = re.compile(
    r"\b(?:order|package|parcel|barcode|paket|colis|paquete|ticket|tracking|invoice|serial|imei|isbn|ean|sku|timestamp|bestellung|rechnung|commande|facture|pedido|factura"
    r"|reference|ref|case id|sendungsnummer)\b[^0-9]{0,12}$|(?:订单号|单号)[^0-9]{0,4}$",
    re.IGNORECASE,
)


def checks(name: str) -> Any:
    """The module of `stdnum` that knows the checks of a kind of number ("luhn", "de.idnr")."""
    try:
        return import_module(f"stdnum.{name}")
    except ImportError as error:
        raise MissingPackage("python-stdnum", "governance", "finding card numbers, IBANs and national ids") from error


def has_digits(text: str, count: int) -> bool:
    """Whether there are at least so many digits; most texts have none, and need not be looked at any closer."""
    found = _GROUP.finditer(text)
    for match in found:
        count -= match.end() - match.start()
        if count <= 0:
            return True
    return False


def runs(text: str, shortest: int) -> Iterator[list[Group]]:
    """Groups of digits that stand together, at least so many digits in all."""
    for match in _RUN.finditer(text):
        if match.end() - match.start() >= shortest:
            yield [group.span() for group in _GROUP.finditer(text, *match.span())]


def other_number(text: str, start: int) -> bool:
    """Whether the words before a place say that an order, a ticket or the like follows."""
    return bool(_OTHER_NUMBER.search(text[max(0, start - 40) : start]))


class Cards:
    """Payment cards: 13 to 19 digits that begin like those of an issuer and end with Luhn's digit."""

    kind = "card"

    def __init__(self) -> None:
        self._luhn = checks("luhn")

    def find(self, text: str) -> Iterator[Span]:
        """Tries each group of digits as the first one of a card; at most 19 groups are looked at for each."""
        for groups in runs(text, 13):
            begin = 0
            while begin < len(groups):
                within = begin > 0 and text[groups[begin][0] - 1] in "-._/" and text[groups[begin][0] - 2].isdigit()
                found = (
                    0 if within else self._from(text, groups, begin)
                )  # no card begins in the middle of a longer number
                if found and not other_number(text, groups[begin][0]):
                    yield groups[begin][0], groups[found - 1][1]
                    begin = found
                else:
                    begin += 1

    def _from(self, text: str, groups: list[Group], begin: int) -> int:
        """The number of the group behind the longest card that begins with this group, or 0."""
        number, best = "", 0
        for place in range(begin, min(begin + 19, len(groups))):
            start, end = groups[place]
            if end - start > 19:
                break
            number += text[start:end]
            if len(number) > 19:
                break
            alone = place + 1 - begin
            if (
                len(number) >= 13
                and _issued(number)
                and (alone <= 6 or alone == len(number))
                and self._luhn.is_valid(number)
            ):
                best = place + 1
        return best


def _issued(number: str) -> bool:
    """Whether an issuer's numbers begin like this and have this length."""
    length, two, four = len(number), int(number[:2]), int(number[:4])
    if number[0] == "4":
        return length in (13, 16, 18, 19)
    if 51 <= two <= 55 or 2200 <= four <= 2720:
        return length == 16
    if two in (34, 37):
        return length == 15
    if two in (30, 36, 38, 39):
        return 14 <= length <= 19
    if 3528 <= four <= 3589:
        return length >= 16
    return two in (50, 56, 57, 58, 60, 62, 63, 64, 65, 67, 69, 81, 82) and length >= 13


_IBAN = re.compile(r"(?<![A-Za-z0-9])(?=([A-Za-z]{2}[0-9]{2}(?: ?[-.]? ?[A-Za-z0-9]){11,30}))")
_SHORTEST = 15


def _checked_lengths(plain: str) -> list[int]:
    """Where the remainder is right if the number ends there, found in one go: a beginning of 34 letters has 20 ends."""
    first = int("".join(str(int(char, 36)) for char in plain[:4]))
    rest, lengths = 0, []
    for length, char in enumerate(plain[4:], 5):
        value = int(char, 36)
        rest = (rest * (10 if value < 10 else 100) + value) % 97
        if length >= _SHORTEST and (rest * 10**6 + first) % 97 == 1:
            lengths.append(length)
    return lengths


class Ibans:
    """Account numbers that fulfil the check and the length of their country."""

    kind = "iban"

    def __init__(self) -> None:
        self._iban = checks("iban")

    def find(self, text: str) -> Iterator[Span]:
        """The longest beginning of each candidate that is an IBAN."""
        if not has_digits(text, 4):
            return
        for match in _IBAN.finditer(text):
            start, candidate = match.start(), match.group(1)
            places = [place for place, char in enumerate(candidate) if char.isalnum()]
            plain = "".join(candidate[place] for place in places).upper()
            for length in reversed(_checked_lengths(plain)):
                if self._iban.is_valid(plain[:length], check_country=False):
                    end = start + places[length - 1] + 1
                    if not (text[end : end + 1].isalnum() and text[end : end + 1].isascii()):
                        yield start, end
                        break
