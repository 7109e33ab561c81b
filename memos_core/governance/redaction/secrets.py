"""Keys of services, bearer tokens, and private keys."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from math import log2

Span = tuple[int, int]

# Keys say whose they are. Each alternative begins with letters of its own, so a text is gone through once.
_KNOWN = re.compile(
    r"(?<![A-Za-z0-9_])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|gh[pousr]_[A-Za-z0-9]{30,255}"
    r"|github_pat_[A-Za-z0-9_]{22,255}"
    r"|gl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{20,255}"
    r"|sk-[A-Za-z0-9_-]{20,255}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,255}"
    r"|xapp-[A-Za-z0-9-]{10,255}"
    r"|AIza[A-Za-z0-9_-]{35}"
    r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,255}"
    r"|whsec_[A-Za-z0-9+/=]{16,255}"
    r"|SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}"
    r"|hf_[A-Za-z0-9]{30,255}"
    r"|npm_[A-Za-z0-9]{36}"
    r"|pypi-[A-Za-z0-9_-]{50,255}"
    r"|do[opr]_v1_[a-f0-9]{64}"
    r"|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"
    r"|(?:AC|SK)[a-f0-9]{32}(?![A-Za-z0-9])"
    r"|key-[a-f0-9]{32}(?![A-Za-z0-9])"
    r"|gsk_[A-Za-z0-9]{30,255}"
    r"|AGE-SECRET-KEY-1[A-Z0-9]{50,64}"
    r")"
)
_SLACK_HOOK = re.compile(r"hooks\.slack\.com/services/(?P<value>[A-Za-z0-9/]{20,255})")
_LINK = r"[\"']?(?: ?(?:[:=]|:=|=>|->)| (?:is|was|ist|lautet|est|es|e)\b| ?是| ?为)? ?[\"'`]?"
_VALUE = r"(?P<value>[A-Za-z0-9_\-.+/=~]{16,512})"
_KEY_WORDS = re.compile(
    r"(?:api[ _-]?(?:key|schlussel|secret)|(?:access|secret|client|account|service|encryption|signing|master|private)[ _-]?key"
    r"(?:[ _-]?id)?|client[ _-]?secret|app[ _-]?secret|secret|key|schlussel|cle(?: api)?|clave(?: api)?|chave|密钥|密鑰)"
    + _LINK
    + _VALUE,
    re.IGNORECASE,
)
_TOKEN_WORDS = re.compile(
    r"(?:token|jeton(?: d'acces)?|session(?:[ _-]?(?:id|key))?|cookie|令牌|sid|oauth)(?: (?:i got back|i got|below|here))?"
    + _LINK
    + _VALUE,
    re.IGNORECASE,
)
_BEARER = re.compile(
    r"(?<![A-Za-z0-9])(?:bearer|authorization: ?(?:token|basic|bearer)) {1,2}(?P<value>[A-Za-z0-9_\-.+/=~]{8,4096})",
    re.IGNORECASE,
)
_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{4,8192}(?:\.[A-Za-z0-9_-]{0,4096})?")
_GOOGLE_TOKEN = re.compile(r"(?<![A-Za-z0-9_])ya29\.[A-Za-z0-9_-]{20,1024}")


def looks_random(text: str) -> bool:
    """Whether a machine chose these characters: letters with digits, and hardly any more often than the others."""
    if not any(char.isdigit() for char in text) or not any(char.isalpha() for char in text):
        return len(text) >= 32 and _entropy(text) >= 3.5 and not _words(text)
    return _entropy(text) >= 2.9 and not _words(text)


def _entropy(text: str) -> float:
    """Bits a character."""
    return -sum(count / len(text) * log2(count / len(text)) for count in Counter(text).values())


def _words(text: str) -> bool:
    """Whether it is made of words and numbers between marks, like a path or "see-section-12"."""
    parts = re.split(r"[-_./+=~]", text)
    plain = sum(
        len(part)
        for part in parts
        if part.isdigit() or (part.isalpha() and (part.islower() or part.istitle()) and len(part) < 14)
    )
    return len(parts) > 1 and plain >= 0.9 * sum(map(len, parts))


_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def _random_values(regex: re.Pattern[str], text: str) -> Iterator[Span]:
    for match in regex.finditer(text):
        start, end = match.span("value")
        while (
            end > start
            and text[end - 1] in ".=-~/"
            and not (text[end - 1] == "=" and text[end - 2 : end - 1].isalnum())
        ):
            end -= 1
        said = text[match.start() : start].rstrip(" \"'`")[-1:] in (":", "=", ">")
        if _UUID.fullmatch(text, start, end) and not said:
            continue  # "session 550e8400-…": an id in a log; behind "=" or ":" it may well open something
        if end - start >= 8 and looks_random(text[start:end]):
            yield start, end


def _long_word(text: str) -> bool:
    """Whether anything is as long as a key; most texts have only words, and need not be looked at any closer."""
    return max(map(len, text.split()), default=0) >= 15


class ApiKeys:
    """Keys that say whose they are (AWS, GitHub, GitLab, OpenAI, Anthropic, Slack, Google, Stripe, …), and random characters
    behind words like "api key" or "secret".
    """

    kind = "api-key"

    def find(self, text: str) -> Iterator[Span]:
        """All of both sorts."""
        if not _long_word(text):
            return
        for match in _KNOWN.finditer(text):
            if looks_random(match.group()) or not match.group().startswith("sk-"):
                yield match.span()
        for match in _SLACK_HOOK.finditer(text):
            yield match.span("value")
        yield from _random_values(_KEY_WORDS, text)


class Tokens:
    """JSON web tokens, what follows "Bearer", and random characters behind words like "access token"."""

    kind = "token"

    def find(self, text: str) -> Iterator[Span]:
        """All of them, without the word before."""
        small = text.casefold()
        if "bearer" in small or "authorization" in small:
            yield from _random_values(_BEARER, text)
        if _long_word(text):
            for regex in (_JWT, _GOOGLE_TOKEN):
                for match in regex.finditer(text):
                    yield match.span()
            yield from _random_values(_TOKEN_WORDS, text)


_BEGIN = re.compile(r"-{4,5} ?BEGIN (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_END = re.compile(r"-{4,5} ?END (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_LONGEST_KEY = 20_000
_BODY = re.compile(r"(?:[A-Za-z0-9+/=\s\\]|[A-Z][A-Za-z-]{1,30}: [^\n]{1,200}\n){0,20000}")


class PrivateKeys:
    """PEM and PGP private keys, from BEGIN to END; where the end is missing, as far as the key goes."""

    kind = "private-key"

    def find(self, text: str) -> Iterator[Span]:
        """One finding a key."""
        ends = [match.span() for match in _END.finditer(text)]
        begins = [match.span() for match in _BEGIN.finditer(text)]
        done = 0
        for place, (start, begun) in enumerate(begins):
            if start < done:
                continue
            after = bisect_left(ends, (begun, begun))
            limit = min(begins[place + 1][0] if place + 1 < len(begins) else len(text), begun + _LONGEST_KEY)
            closed = after < len(ends) and ends[after][0] <= limit  # whatever is between, quotes of a mail, say
            done = ends[after][1] if closed else self._body_end(text, begun)
            yield start, done

    @staticmethod
    def _body_end(text: str, start: int) -> int:
        body = _BODY.match(text, start)
        end = body.end() if body else start
        while end > start and text[end - 1].isspace():
            end -= 1
        return end
