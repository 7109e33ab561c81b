"""If these fail, a hit is shown with the wrong sentences around it, or changes of an item reach another one's row."""

from __future__ import annotations

import random
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.stores.index.growing import Growing, GrowingRagged, Ragged, join
from memos_core.stores.index.rows import ALIVE, COLUMNS, NONE, Names, RowTable, Threads, order

# what happens: a new row (conversation, position), the next version of a row in the same or another place, a deletion
conversations = st.sampled_from([NONE, 0, 0, 1])
positions = st.integers(0, 6)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.tuples(conversations, positions), min_size=1, max_size=5)),
        st.tuples(st.just("replace"), st.integers(0, 99), conversations, positions),
        st.tuples(st.just("replace"), st.integers(0, 99)),
        st.tuples(st.just("delete"), st.integers(0, 99)),
        st.tuples(st.just("forget")),
        st.tuples(st.just("reorder"), st.randoms(use_true_random=False)),
    ),
    max_size=30,
)


class Rows:
    """A table that is filled the way the index fills it."""

    def __init__(self) -> None:
        self.table = RowTable()
        self.threads = Threads(self.table)
        self.seq = 0

    def extend(self, rows: list[tuple[int, int, int]], replaces: dict[int, int]) -> None:
        """Rows, each (conversation, position, item); item NONE for a new one."""
        first = len(self.table)
        values = {name: np.zeros(len(rows), dtype=dtype) for name, dtype in COLUMNS.items()}
        for n, (conversation, position, item) in enumerate(rows):
            self.seq += 1
            own = self.seq if item == NONE else item
            for name, value in (("seq", self.seq), ("until", ALIVE), ("item", own)):
                values[name][n] = value
            values["conversation"][n], values["position"][n] = conversation, position
        self.table.extend(values)
        self.threads.add(replaces)
        if replaces:
            seqs = self.table["seq"]
            ended = sorted(replaces.values())
            self.table.end(seqs[ended], seqs[[first + n for n in range(len(ended))]])

    def living(self) -> list[int]:
        return np.flatnonzero(self.table["until"] == ALIVE).tolist()

    def pick(self, number: int) -> int | None:
        living = self.living()
        return living[number % len(living)] if living else None

    def replace(self, number: int, conversation: int | None = None, position: int | None = None) -> None:
        row = self.pick(number)
        if row is not None:
            own = self.table["conversation"][row] if conversation is None else conversation
            place = self.table["position"][row] if position is None else position
            self.extend([(int(own), int(place), int(self.table["item"][row]))], {len(self.table): row})

    def reorder(self, chance: random.Random) -> None:
        """Some of the rows at the end change places."""
        count = len(self.table)
        moved = list(range(chance.randint(0, count), count))
        chance.shuffle(moved)
        order = np.array([*range(count - len(moved)), *moved], dtype=np.int64)
        self.table.reorder(order)
        self.threads.reorder(order)

    def delete(self, number: int) -> None:
        row = self.pick(number)
        if row is not None:
            self.seq += 1
            self.threads.remove(row)
            self.table.end(self.table["seq"][row : row + 1], np.array([self.seq]))


@pytest.mark.soak
@given(steps)
def test_neighbours_kept_up_step_by_step_are_those_of_a_fresh_sort(history: list[tuple]) -> None:
    rows = Rows()
    for do, *rest in history:
        if do == "add":
            rows.extend([(conversation, position, NONE) for conversation, position in rest[0]], {})
        elif do == "replace":
            rows.replace(*rest)
        elif do == "delete":
            rows.delete(*rest)
        elif do == "reorder":
            rows.reorder(*rest)
        else:
            rows.threads.forget()
        before, after = rows.threads.now()
        right_before, right_after, _ = order(rows.table, np.array(rows.living(), dtype=np.int64))
        assert np.array_equal(before, right_before)
        assert np.array_equal(after, right_after)


def test_of_two_at_one_place_the_elder_stands_first() -> None:
    """Also when it comes there later than the other one."""
    rows = Rows()
    rows.extend([(NONE, 0, NONE), (0, 5, NONE)], {})
    rows.extend([(0, 5, 1)], {2: 0})  # the first one moves to where the second one is
    before, after = rows.threads.now()
    assert before.tolist() == [NONE, 2, NONE]
    assert after.tolist() == [NONE, NONE, 1]


def test_a_long_conversation_is_one_chain() -> None:
    rows = Rows()
    rows.extend([(n % 3, n // 3, NONE) for n in range(300)], {})
    before, after = rows.threads.now()
    assert before.tolist() == [NONE] * 3 + list(range(297))
    assert after.tolist() == [*range(3, 300), NONE, NONE, NONE]


def test_neighbours_stay_neighbours_when_their_rows_change_places() -> None:
    rows = Rows()
    for seed in range(20):
        rows.extend([(n % 3, 5 * seed + n, NONE) for n in range(5)], {})
        rows.delete(seed)
        rows.reorder(random.Random(seed))
        rows.extend([(n % 3, 5 * seed + 4, NONE) for n in range(2)], {})
        before, after = rows.threads.now()
        right_before, right_after, _ = order(rows.table, np.array(rows.living(), dtype=np.int64))
        assert np.array_equal(before, right_before)
        assert np.array_equal(after, right_after)


def test_changes_lead_to_their_rows_however_far_apart() -> None:
    table = RowTable()

    def extend(seqs: list[int]) -> None:
        table.extend({n: np.array(seqs if n == "seq" else [ALIVE] * len(seqs), dtype=d) for n, d in _plain().items()})

    extend([3, 5])
    extend([70, 100_000])
    assert [table.row_of(seq) for seq in (0, 3, 4, 5, 70, 100_000, 100_001, 10**9)] == [
        NONE,
        0,
        NONE,
        1,
        2,
        3,
        NONE,
        NONE,
    ]
    assert table.rows_of(np.array([100_000, 4, 3, 10**9])).tolist() == [3, 0]
    table.end(np.array([5, 6, 10**9]), np.array([71, 72, 73]))
    assert table["until"].tolist() == [ALIVE, 71, ALIVE, ALIVE]
    table.end(np.array([3, 70]), 99)
    assert table["until"].tolist() == [99, 71, 99, ALIVE]
    table.reorder(np.array([3, 0]))
    assert table["seq"].tolist() == [100_000, 3]
    assert [table.row_of(seq) for seq in (3, 5, 70, 100_000)] == [1, NONE, NONE, 0]
    assert len(table) == 2


def _plain() -> dict[str, type]:
    return {name: dtype if name in ("seq", "until") else np.int64 for name, dtype in COLUMNS.items()}


def test_names_keep_their_numbers() -> None:
    names = Names()
    assert [names.number(name) for name in ("a", "b", None, "a", "")] == [0, 1, NONE, 0, 2]
    assert [names.find(name) for name in ("b", "", "c")] == [1, 2, NONE]
    assert names.names == ["a", "b", ""]


def test_arrays_that_grow_keep_what_they_had() -> None:
    grown = Growing(np.int32, (2,))
    expected: list[list[int]] = []
    for n in range(40):
        grown.extend(np.full((n % 4, 2), n))
        expected += [[n, n]] * (n % 4)
        assert grown.view.tolist() == expected
    ragged = GrowingRagged({"x": Growing(np.int16)})
    lists = [[n] * (n % 5) for n in range(30)]
    for some in (lists[:1], lists[1:1], lists[1:9], lists[9:]):
        starts = np.cumsum([0, *map(len, some)])
        ragged.add(Ragged(starts, {"x": np.array(list(chain(*some)))}))

    def read(made: object) -> list[list[int]]:
        starts, values = made.starts.tolist(), made.entries["x"].tolist()  # type: ignore[attr-defined]
        return [values[a:b] for a, b in pairwise(starts)]

    view = ragged.view
    assert read(view) == lists
    chosen = np.array([7, 0, 29, 7])
    assert read(view.take(chosen)) == [lists[n] for n in chosen]
    places, begins = view.places(chosen)
    assert view.entries["x"][places].tolist() == list(chain(*(lists[n] for n in chosen)))
    assert begins.tolist() == [0, 2, 2, 6]
    assert read(join([view, view.take(chosen), view.take(chosen[:0])])) == [*lists, *(lists[n] for n in chosen)]
