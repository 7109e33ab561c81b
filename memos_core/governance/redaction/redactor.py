"""The redactor: rules put together, findings made disjoint, and texts and JSON with a word in the place of each finding."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec

from memos_core.errors import InvalidConfig, InvalidMetadata
from memos_core.governance.redaction.normalise import Folded
from memos_core.governance.redaction.rules import BUILT_IN, DEFAULT, Rule, checked, rule

JSON: TypeAlias = Any  # str, int, float, bool, None, and lists and dicts of them
_ROUNDS = 8
_DEEPEST = 200
_SAYS_SOMETHING = re.compile(r"\w")


class Finding(msgspec.Struct, frozen=True):
    """What was found where, in characters of the text as given; never what it says."""

    kind: str
    start: int
    end: int


class Redacted(msgspec.Struct, frozen=True):
    """A text with a placeholder for each finding, and how many of each kind there were."""

    text: str
    counts: dict[str, int]


class Redactor:
    """Finds and replaces what its rules name. Made once; may be used by many threads at once.

    Args:
        rules: names of built-in rules, import paths of your own ("package.module:attribute"), or rules themselves. Of two
            findings of the same length, the one of the earlier built-in kind stays; your own come before them.
        names: for the rule "name", which does nothing without any.

    Raises:
        InvalidConfig: a rule that does not exist or is none; the message names those there are.
        MissingPackage: what a rule needs is not installed.
    """

    def __init__(self, rules: Iterable[str | Rule] = DEFAULT, *, names: Iterable[str] = ()) -> None:
        if isinstance(rules, str):
            raise InvalidConfig(f"rules is a list of rules, not one string; try rules=[{rules!r}]")
        names = names if isinstance(names, str) else tuple(names)
        self._rules = tuple(rule(each, names=names) if isinstance(each, str) else checked(each) for each in rules)
        self.kinds: tuple[str, ...] = tuple(dict.fromkeys(each.kind for each in self._rules))
        order = {kind: place for place, kind in enumerate(BUILT_IN)}
        self._order = {kind: order.get(kind, -1) for kind in self.kinds}
        known = sorted({*self.kinds, *BUILT_IN}, key=len, reverse=True)
        self._placeholder = re.compile(rf"\[(?:{'|'.join(map(re.escape, known))})\]")

    def find(self, text: str) -> list[Finding]:
        """What is to be redacted, from left to right, without overlap; placeholders are left alone.

        What is left between findings and placeholders is looked at again by itself until nothing more is found in it, so
        redacting a redacted text changes nothing.

        Raises:
            InvalidConfig: a rule of your own failed. Its message is not repeated, as it may quote the text.
        """
        found: list[Finding] = []
        at, stretches = 0, []
        for match in self._placeholder.finditer(text):
            stretches.append((at, match.start()))
            at = match.end()
        stretches.append((at, len(text)))
        for _ in range(_ROUNDS):
            left: list[tuple[int, int]] = []
            for start, end in stretches:
                new = self._stretch(text, start, end)
                found.extend(new)
                if new:
                    edges = [start, *(place for each in new for place in (each.start, each.end)), end]
                    left.extend(zip(edges[::2], edges[1::2], strict=True))
            stretches = left
            if not stretches:
                break
        else:  # built to go on for ever: what is still suspicious goes as a whole
            for start, end in stretches:
                new = self._stretch(text, start, end)
                found.extend([Finding(new[0].kind, start, end)] if new else [])
        found.sort(key=lambda each: each.start)
        return found

    def redact(self, text: str) -> Redacted:
        """The text with "[email]", "[phone]", … for each finding."""
        findings = self.find(text)
        pieces: list[str] = []
        at = 0
        for each in findings:
            pieces += (text[at : each.start], f"[{each.kind}]")
            at = each.end
        return Redacted("".join([*pieces, text[at:]]), dict(Counter(each.kind for each in findings)))

    def redact_json(self, value: JSON) -> tuple[JSON, dict[str, int]]:
        """The same structure with every string in it redacted, keys too, and counts by kind.

        Numbers stay as they are. Keys that become the same are told apart: "[email]", "[email] (2)".

        Raises:
            InvalidMetadata: something that JSON cannot say, or nested deeper than 200 levels.
        """
        counts: Counter[str] = Counter()
        return self._json(value, counts, 0), dict(counts)

    def _json(self, value: JSON, counts: Counter[str], depth: int) -> JSON:
        if depth > _DEEPEST:
            raise InvalidMetadata(f"a value to redact is nested deeper than {_DEEPEST} levels")
        if isinstance(value, str):
            done = self.redact(value)
            counts.update(done.counts)
            return done.text
        if isinstance(value, dict):
            built: dict[str, JSON] = {}
            for key, inner in value.items():
                if not isinstance(key, str):
                    raise InvalidMetadata(f"a key to redact is of type {type(key).__name__}; JSON has strings as keys")
                built[_unused(self._json(key, counts, depth), built)] = self._json(inner, counts, depth + 1)
            return built
        if isinstance(value, (list, tuple)):
            return [self._json(each, counts, depth + 1) for each in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        raise InvalidMetadata(f"a {type(value).__name__} to redact is not JSON; give strings, numbers, lists, dicts")

    def _stretch(self, text: str, start: int, end: int) -> list[Finding]:
        """Disjoint findings in a part of a text, from left to right."""
        part = text[start:end]
        if not _SAYS_SOMETHING.search(part):
            return []
        folded = Folded(part)
        candidates = []
        for each in self._rules:
            for begin, stop in self._spans(each, folded.text):
                candidates.append((begin - stop, self._order[each.kind], begin, stop, each.kind))
        if not candidates:
            return []
        taken = bytearray(len(folded.text))
        found = []
        for _, _, begin, stop, kind in sorted(candidates):  # the longest first
            # What a longer one already has is its; the rest of a shorter one is no less personal.
            for piece_start, piece_end in _free(taken, begin, stop):
                if _SAYS_SOMETHING.search(folded.text, piece_start, piece_end):
                    taken[piece_start:piece_end] = b"\x01" * (piece_end - piece_start)
                    first, last = folded.span(piece_start, piece_end)
                    found.append((start + first, start + last, kind))
        found.sort()
        disjoint: list[Finding] = []
        for first, last, kind in found:
            first = max(first, disjoint[-1].end) if disjoint else first  # two findings within one character's expansion
            if first < last:
                disjoint.append(Finding(kind, first, last))
        return disjoint

    @staticmethod
    def _spans(each: Rule, text: str) -> list[tuple[int, int]]:
        failed = None
        try:
            spans = list(each.find(text))
        except Exception as error:  # noqa: BLE001 - whatever a rule of one's own raises may quote the text
            failed = type(error).__name__
        if failed:  # outside of the handler: nothing of the error goes on
            raise InvalidConfig(
                f"the redaction rule {each.kind!r} failed with {failed} on a text of {len(text)} characters"
            )
        for span in spans:
            if len(span) != 2 or not 0 <= span[0] < span[1] <= len(text):
                raise InvalidConfig(
                    f"the redaction rule {each.kind!r} found a place that is none in {len(text)} characters"
                )
        return spans


def _free(taken: bytearray, start: int, end: int) -> list[tuple[int, int]]:
    """The parts of a stretch that nobody has taken."""
    if not any(taken[start:end]):
        return [(start, end)]
    parts, at = [], start
    while 0 <= at < end:
        at = taken.find(b"\x00", at, end)
        if at < 0:
            break
        stop = taken.find(b"\x01", at, end)
        stop = end if stop < 0 else stop
        parts.append((at, stop))
        at = stop
    return parts


def _unused(key: str, built: dict[str, Any]) -> str:
    number, told = 1, key
    while told in built:
        number += 1
        told = f"{key} ({number})"
    return told
