"""Rules: what finds one kind of thing, the built-in ones by name, and your own by import path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, Final, Protocol, runtime_checkable

from memos_core.errors import InvalidConfig
from memos_core.governance.redaction.normalise import fold

Span = tuple[int, int]
_KIND = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


@runtime_checkable
class Rule(Protocol):
    """Finds one kind of thing.

    Attributes:
        kind: what stands in the place of a finding ("[kind]") and in counts: small letters, digits and hyphens.
    """

    kind: str

    def find(self, text: str) -> Iterable[Span]:
        """(start, end) of each finding in a folded text (see `normalise`), in any order, overlapping or not.

        Called by many threads at once. The time it takes may only grow with the length of the text.
        """


class Pattern:
    """A rule from a regular expression: what its group "value" matches, or all of it.

    Accents in it are folded as the text is, and letters match small and large unless flags say otherwise. The time it
    takes is that of the expression: avoid repetitions inside repetitions.
    """

    def __init__(
        self, kind: str, regex: str, *, flags: int = re.IGNORECASE, valid: Callable[[str], bool] | None = None
    ) -> None:
        self.kind = kind
        self._valid = valid
        try:
            self._regex = re.compile("".join(_folded_letter(char) for char in regex), flags)
        except re.error as error:
            raise InvalidConfig(f"the pattern of rule {kind!r} is no regular expression: {error}") from error
        self._group = "value" if "value" in self._regex.groupindex else 0

    def find(self, text: str) -> Iterator[Span]:
        """Non-empty matches, of those only what `valid` accepts."""
        for match in self._regex.finditer(text):
            start, end = match.span(self._group)
            if start < end and (self._valid is None or self._valid(match.group(self._group))):
                yield start, end


def _folded_letter(char: str) -> str:
    folded = fold(char) if not char.isascii() else char
    return folded if folded.isalnum() else char


# In the order of how much a kind says: of two findings of the same length, the one of the earlier kind stays.
BUILT_IN: Final = {
    "private-key": "memos_core.governance.redaction.secrets:PrivateKeys",
    "api-key": "memos_core.governance.redaction.secrets:ApiKeys",
    "token": "memos_core.governance.redaction.secrets:Tokens",
    "national-id": "memos_core.governance.redaction.national:NationalIds",
    "card": "memos_core.governance.redaction.numbers:Cards",
    "iban": "memos_core.governance.redaction.numbers:Ibans",
    "email": "memos_core.governance.redaction.contacts:Emails",
    "phone": "memos_core.governance.redaction.phones:Phones",
    "ip": "memos_core.governance.redaction.contacts:Addresses",
    "password": "memos_core.governance.redaction.passwords:Passwords",
    "name": "memos_core.governance.redaction.names:Names",
}
DEFAULT: Final = tuple(BUILT_IN)


def rule(name: str, *, names: Iterable[str] = ()) -> Rule:
    """A rule by name, or by import path ("package.module:attribute": a rule, or something that makes one when called).

    Raises:
        InvalidConfig: no such rule; the message names those there are.
        MissingPackage: what the rule needs is not installed.
    """
    path = BUILT_IN.get(name, name)
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise InvalidConfig(
            f'no redaction rule {name!r}; there are {", ".join(sorted(BUILT_IN))}, and your own as "package.module:attribute"'
        )
    try:
        found: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if path != name:
            raise
        raise InvalidConfig(f"redaction rule {name!r} cannot be imported: {error}") from error
    if name == "name":
        return checked(found(names), name)
    makes_one = isinstance(found, type) or (callable(found) and not hasattr(found, "find"))
    return checked(found() if makes_one else found, name)


def checked(given: Any, named: str = "") -> Rule:
    """The same object, if it is a rule."""
    what = repr(named) if named else f"of type {type(given).__name__}"
    kind = getattr(given, "kind", None)
    if isinstance(given, type):
        raise InvalidConfig(f"the redaction rule {given.__name__} is a class; give one made of it")
    if not isinstance(given, Rule) or not callable(given.find):
        raise InvalidConfig(f"the redaction rule {what} is no rule: a rule has `kind` and `find(text)`")
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise InvalidConfig(
            f"the redaction rule {what} has the kind {kind!r}; a kind is small letters, digits and hyphens"
        )
    return given
