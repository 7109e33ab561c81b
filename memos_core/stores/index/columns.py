"""Columns for `where`: one value per row, told apart once, so that a filter is a table look-up.

Each distinct value of a path gets a code; a condition is asked of each distinct value once, by the same function that
defines its meaning for one item (`filters.test`), and the answer is spread over the rows. Numbers also have a plain array,
so that ranges over many distinct ones stay fast. A column is built when a filter first names its path, and then grows.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from memos_core.filters import Condition, Filter, Operator, test
from memos_core.stores.index.growing import Growing
from memos_core.types.work import micros

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

ABSENT_TIME = int(np.iinfo(np.int64).min)
_EXACT = 2**53  # whole numbers up to here are the same in float64
_VECTORISED = {"==": np.equal, ">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}
_INVERSE: dict[Operator, Operator] = {
    "!=": "==",
    "nin": "in",
}  # exactly those that the other one does not let through, absent ones included


class Column:
    """The values of one path, row by row."""

    def __init__(self) -> None:
        self._codes = Growing(np.int32)
        self._values: list[Any] = []
        self._code_of: dict[object, int] = {}
        self._numbers = Growing(np.float64)  # of each distinct value; nan where it is not a plain number
        self._plain = True  # whether every value is absent or a number that float64 holds exactly

    @property
    def rows(self) -> int:
        """How many rows have a value here (absent ones included)."""
        return self._codes.rows

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly."""
        return self._codes.nbytes + 150 * len(self._values)

    def extend(self, values: Iterable[Any]) -> None:
        """Add the values of the next rows; None where a row has none."""
        codes: list[int] = []
        numbers: list[float] = []
        known = self._code_of
        for value in values:
            name = _name(value)
            code = known.get(name)
            if code is None:
                code = known[name] = len(self._values)
                self._values.append(value)
                plain = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _EXACT
                numbers.append(float(value) if plain else float("nan"))
                self._plain = self._plain and (plain or value is None)
            codes.append(code)
        self._codes.extend(np.array(codes, dtype=np.int32))
        self._numbers.extend(np.array(numbers))

    def mask(self, condition: Condition, rows: Rows) -> Mask:
        """For each of these rows whether its value fulfils the condition."""
        codes = self._codes.view if len(rows) == self.rows else self._codes.view[rows]  # all, in order
        spread: Mask = self._answers(condition.op, condition.value)[codes]
        return spread

    def _answers(self, op: Operator, wanted: Any) -> Mask:
        """For each distinct value whether it fulfils a condition."""
        if op in _INVERSE:
            return ~self._answers(_INVERSE[op], wanted)
        number = isinstance(wanted, int | float) and not isinstance(wanted, bool) and abs(wanted) <= _EXACT
        listed = wanted if op == "in" else (wanted,)
        if self._plain and number and op in _VECTORISED:
            answers: Mask = _VECTORISED[op](self._numbers.view, float(wanted))  # nan, for absent, fails all five
        elif op in ("==", "in") and all(isinstance(each, str) for each in listed):
            answers = np.zeros(len(self._values), dtype=np.bool_)
            answers[[code for each in listed if (code := self._code_of.get(each)) is not None]] = True
        else:
            answers = np.fromiter((test(op, value, wanted) for value in self._values), np.bool_, len(self._values))
        return answers

    def reorder(self, rows: Rows) -> None:
        """Keep only these rows, in this order (the index has been put in another order)."""
        self._codes.reorder(rows)


def _name(value: Any) -> object:
    """Something hashable that is equal exactly for equal JSON values (1, 1.0, True and "1" are four)."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return (type(value), value)
    return msgspec.json.encode(value, order="deterministic")


def time_mask(times: NDArray[np.int64], condition: Condition) -> Mask:
    """For each time (microseconds, `ABSENT_TIME` for none) whether it fulfils the condition."""
    op, wanted = condition.op, condition.value
    there: Mask = times != ABSENT_TIME
    answer: Mask = np.zeros(len(times), dtype=np.bool_)
    if op == "is_empty":
        return ~there
    if op in ("in", "nin"):
        answer = np.isin(times, [micros(each) for each in wanted if isinstance(each, datetime)]) & there
        if None in wanted:
            answer |= ~there
        return answer if op == "in" else ~answer
    if op in ("==", "!="):
        if wanted is None:
            answer = ~there
        elif isinstance(wanted, datetime):
            answer = (times == micros(wanted)) & there
        return answer if op == "==" else ~answer
    if op in _VECTORISED and isinstance(wanted, datetime):
        answer = _VECTORISED[op](times, micros(wanted)) & there
    return answer


class Maskable(Protocol):
    """Answers one condition for some rows: the index of a cube."""

    def condition_mask(self, condition: Condition, rows: Rows) -> Mask:
        """For each of these rows whether it fulfils the condition."""


def filter_mask(where: Filter, rows: Rows, source: Maskable) -> Mask:
    """For each of these rows whether it fulfils a filter; a condition is asked only of rows that still depend on it."""
    if isinstance(where, Condition):
        return source.condition_mask(where, rows)
    pending = np.arange(len(rows))
    answer = np.zeros(len(rows), dtype=np.bool_)
    if where.op == "and":
        for part in sorted(where.parts, key=_cost):
            pending = pending[filter_mask(part, rows[pending], source)]
        answer[pending] = True
        return answer
    for part in sorted(where.parts, key=_cost):
        found = filter_mask(part, rows[pending], source)
        answer[pending[found]] = True
        pending = pending[~found]
    return ~answer if where.op == "not" else answer


def _cost(where: Filter) -> int:
    """Conditions on the text come last: they read it from the truth."""
    if isinstance(where, Condition):
        return int(where.path[0] == "text")
    return max((_cost(part) for part in where.parts), default=0)
