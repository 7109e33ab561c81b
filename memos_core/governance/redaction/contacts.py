"""E-mail and IP addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address

Span = tuple[int, int]

_LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]")
_IDEOGRAPH = re.compile("[\u0e00-\u0eff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff]")  # scripts without spaces
_LABEL = r"(?:[a-z0-9_-]{1,63}|[^\W\x00-\x7f]{1,63})"  # of one alphabet: words around an address are often of another
_TOP = r"(?:xn--[a-z0-9-]{2,59}|[a-z]{2,24}|[^\W\d_\x00-\x7f]{2,24})"
_DOMAIN = re.compile(rf"(?:\[[0-9a-f:.]{{2,45}}\]|(?:{_LABEL}\.){{1,8}}{_TOP})", re.IGNORECASE)
_LONGEST_LOCAL = 64

# "dora at example dot com": only with brackets, or a name that is no word, or a word about mail before it.
_SAID = re.compile(
    r"(?<![\w.+-])([\w.+-]{1,64}) ?(?P<at>[(\[{<] ?at ?[)\]}>]| at )"
    r" ?([\w-]{1,63}(?: ?(?:[(\[{<] ?(?:dot|punkt|punto|point) ?[)\]}>]| dot |\.) ?[\w-]{1,63}){0,4}?"
    r" ?(?:[(\[{<] ?(?:dot|punkt|punto|point) ?[)\]}>]| dot | punkt | punto | point ) ?[a-z]{2,12})(?!\w)",
    re.IGNORECASE,
)
_MAIL = re.compile(r"\b(?:e-?mails?|mail|correo|courriel|address|adresse)\b", re.IGNORECASE)
_NO_WORD = re.compile(r"[0-9._+-]")


class Emails:
    """name@host, in any alphabet, and spelled out ("dora.l at example dot com")."""

    kind = "email"

    def find(self, text: str) -> Iterator[Span]:
        """Each @ with what may stand around it; at most a fixed number of characters is looked at for each."""
        place = text.find("@")
        while place >= 0:
            domain = _DOMAIN.match(text, place + 1)
            if domain:
                start = self._start(text, place)
                if start < place:
                    yield start, domain.end()
            place = text.find("@", place + 1)
        small = text.casefold()
        if "at" not in small or not any(dot in small for dot in ("dot", "punkt", "punto", "point")):
            return
        for match in _SAID.finditer(text):
            before = text[max(0, match.start() - 40) : match.start()]
            bracketed = not match.group("at").startswith(" ")
            if bracketed or _NO_WORD.search(match.group(1).strip(".")) or _MAIL.search(before):
                yield match.span()

    @staticmethod
    def _start(text: str, end: int) -> int:
        start = end
        if text[end - 1 : end] == '"':  # "quoted name"@host
            opened = text.rfind('"', max(0, end - _LONGEST_LOCAL), end - 1)
            return opened if opened >= 0 else end
        spaceless = bool(_IDEOGRAPH.match(text, end - 1)) if end else False
        while start > 0 and end - start < _LONGEST_LOCAL and _LOCAL.match(text, start - 1):
            if (
                bool(_IDEOGRAPH.match(text, start - 1))
                and not spaceless
                and text[start].isascii()
                and text[start].isalnum()
            ):
                # Chinese before Latin: a sentence, or a name of both? Only what is one word is a name.
                if not _short_word(text, start):
                    break
                spaceless = True
            start -= 1
        while start < end and text[start] in ".'/=?&*|`{}":
            start += 1
        return start


def _short_word(text: str, end: int) -> bool:
    """Whether at most four characters of a script without spaces stand before this place."""
    start = end
    while start > 0 and end - start < 5 and _IDEOGRAPH.match(text, start - 1):
        start -= 1
    return end - start < 5


_FOUR = re.compile(r"(?<![A-Za-z0-9_.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![A-Za-z0-9_]|\.[0-9]|-[a-z])", re.IGNORECASE)
_SIX = re.compile(r"[0-9A-Fa-f:.]{3,}")
_NUMBERED = re.compile(
    r"(?:\b(?:v|ver|version|versions|release|build|firmware|section|sections|chapter|kapitel|abschnitt|update|upgrade|requires|clause"
    r"|driver|patch|rev|revision|artikel|article|para|paragraph|chrome|firefox|edge|safari|kernel|sdk)\.?:? ?(?:to |auf )?"
    r"|[a-z0-9_-]+ ?(?:==|>=|<=|~=|\^)v? ?|§ ?|[a-z0-9_-]/|版本 ?)$",
    re.IGNORECASE,
)
_SMALL = re.compile(r"[0-9](?:\.[0-9]){3}(?![0-9])")
_NETWORK = re.compile(
    r"\b(?:ip|ipv4|ips|address|adresse|direccion|host|server|servidor|serveur|ping|dns|gateway|router|ssh|curl|proxy|firewall|subnet"
    r"|login|netz\w*|reseau|red|traceroute|nslookup|whois)\b|://|@|地址|服务器",
    re.IGNORECASE,
)


class Addresses:
    """IPv4 and IPv6 addresses; not version and section numbers."""

    kind = "ip"

    def find(self, text: str) -> Iterator[Span]:
        """What the standard library accepts as an address, unless the words before it speak of a version."""
        for match in _FOUR.finditer(text) if text.count(".") > 2 else ():
            if _is_address(IPv4Address, match.group()) and not self._numbered(text, match.start()):
                yield match.span()
        if text.count(":") < 2:
            return
        for match in _SIX.finditer(text):
            start, end = match.span()
            while end > start and text[end - 1] == ".":
                end -= 1
            if text[end - 1 : end] == ":" and text[end - 2 : end] != "::":
                end -= 1
            if end - start > 45 or text.count(":", start, end) < 2:
                continue
            before, after = text[start - 1 : start], text[end : end + 1]
            if (
                (before.isalnum() and before.isascii())
                or before == "_"
                or (after.isalnum() and after.isascii())
                or after == "_"
            ):
                continue
            found = text[start:end]
            if any(char.isdecimal() for char in found) and _is_address(IPv6Address, found):
                yield start, end

    @staticmethod
    def _numbered(text: str, start: int) -> bool:
        before = text[max(0, start - 40) : start]
        if _SMALL.match(text, start):  # 1.4.0.2 is a version, unless somebody speaks of networks
            return not _NETWORK.search(before)
        return bool(_NUMBERED.search(before))


def _is_address(kind: type[IPv4Address] | type[IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except AddressValueError:
        return False
    return True
