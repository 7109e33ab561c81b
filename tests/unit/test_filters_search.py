"""If these fail, a filter lets a search see what it must not, or hides what it must find: another tenant's memories, those
from before a date, versions that were current at a moment in the past. Or it narrows too late, and a search that should give
ten answers gives two."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core import MOS, Draft, F, MemoryItem, Session, SourceRef
from memos_core.filters import (
    FIELDS,
    OPERATORS,
    TIME_FIELDS,
    Condition,
    Filter,
    Group,
    condition,
    matches,
    value_at,
)
from memos_core.plaintext import ranking
from memos_core.types.items import DateMention, Mentions

NOON = datetime(2024, 5, 8, 12, tzinfo=UTC)
BERLIN = timezone(timedelta(hours=2))
TIMES = [NOON, NOON - timedelta(microseconds=1), NOON + timedelta(days=400), datetime(1960, 2, 29, tzinfo=UTC)]
SCALARS: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 2**53 + 1, 0.0, -0.0, 1.0, 2.5, -1e300),
    *(
        "",
        "1",
        "True",
        "null",
        "a",
        "A",
        "ab",
        "straße",
        "STRASSE",
        "Ärger",
        "A\u0308rger",
        "İzmir",
        "东京",
        "東京 2024",
    ),
    *("👩\u200d🔬", "2024-05-08", "2024-05-08T14:00:00+02:00", "2024-05-08T12:00:00Z", "08.05.2024", "'; drop --", "%"),
]
KEYS = ["m", "größe", "名", "a.b", "text", "tags", "0", "x y"]
CONFUSED = [1, True, 1.0, "1", 0, False, None, "", "2024-05-08", "a"]
scalars = st.sampled_from(CONFUSED) | st.sampled_from(SCALARS)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=2),
    max_leaves=4,
)
PEOPLE = st.sampled_from([None, "Ann", "Åsa", "王芳", "Bob Bo"])
drafts = st.builds(
    Draft,
    text=st.sampled_from(["some words", "Some WORDS.", "größere STRASSE", "东京的天气", "other things 2024"]),
    kind=st.sampled_from(["plaintext", "activation"]),
    type=st.sampled_from(["fact", "note", "Notiz"]),
    payload=values,
    indexed=st.sampled_from([True, True, True, False]),
    occurred_at=st.sampled_from([None, *TIMES]),
    confidence=st.sampled_from([0.0, 0.5, 1.0]),
    tags=st.lists(st.sampled_from(["a", "A", "ab", "straße"]), max_size=3, unique=True).map(tuple),
    metadata=st.dictionaries(st.sampled_from(KEYS), values, max_size=4),
    conversation=st.sampled_from([None, "thread", "Faden"]),
    mentions=st.builds(
        Mentions,
        dates=st.just((DateMention("then", "2024-05-08", "2024-05-08"),)),
        entities=st.lists(st.sampled_from(["Ann", "Lisbon", "东京"]), max_size=2, unique=True).map(tuple),
        language=st.sampled_from([None, "en", "de", "zh"]),
    ),
    source=st.none()
    | st.builds(
        SourceRef,
        role=st.sampled_from([None, "user", "assistant"]),
        speaker=PEOPLE,
        message_id=st.sampled_from([None, "m1", "M1"]),
        position=st.sampled_from([None, 0, 7]),
    ),
)
PATHS = [
    *((name,) for name in FIELDS),
    *((name,) for name in KEYS if name not in FIELDS),
    *(("metadata", name) for name in KEYS),
    *(("m", "m"), ("m", "0"), ("m", "名"), ("größe", "1"), ("payload", "m"), ("payload", "0"), ("tags", "0")),
    *(
        ("entities", "1"),
        ("nowhere",),
        ("nowhere", "deep"),
        ("text", "0"),
        ("occurred_at", "year"),
        ("metadata", "m", "m"),
    ),
]

Moment = dict[str, MemoryItem]


class Ever(list[MemoryItem]):
    """All versions of all items; short in messages."""

    def __repr__(self) -> str:
        return f"{len(self)} versions"


class Told:
    """A cube, and what it must hold after each change: told once more, in plain dictionaries.

    Every item is findable by the vector (1, 0), whatever its words, so that nothing but the filter decides.
    """

    def __init__(self, mos: MOS, clock: Iterator[datetime]) -> None:
        self.session = mos.session(f"ann{len(mos.cubes())}")
        self.clock = clock
        self.now: Moment = {}
        self.past: list[tuple[int, datetime, Moment]] = []

    def add(self, things: list[Draft]) -> None:
        added = self.session.add(things, vectors=np.tile(np.float32([1, 0]), (len(things), 1)))
        self._keep({**self.now, **{item.id: item for item in added}}, max(added.seqs.values()))

    def update(self, pick: int, **changes: Any) -> None:
        if self.now:
            id = sorted(self.now)[pick % len(self.now)]
            item = self.session.update(id, **changes)
            self._keep({**self.now, id: item}, item.seq)

    def delete(self, pick: int) -> None:
        if self.now:
            id = sorted(self.now)[pick % len(self.now)]
            self.session.delete(id)
            self._keep({key: item for key, item in self.now.items() if key != id}, self.past[-1][0] + 1)

    @property
    def ever(self) -> Ever:
        return Ever(item for _, _, moment in self.past for item in moment.values())

    def _keep(self, now: Moment, seq: int) -> None:
        self.now = now
        self.past.append((seq, next(self.clock), now))


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    """What an item says from now on."""
    everything = {
        "type": st.sampled_from(["note", "fact"]),
        "tags": st.just(["ab"]),
        "metadata": st.dictionaries(st.sampled_from(KEYS), values, max_size=2),
        "payload": values,
        "occurred_at": st.sampled_from([None, *TIMES]),
        "confidence": st.sampled_from([0.0, 0.5, 1.0]),
        "indexed": st.just(True),
        "new_key": st.sampled_from(["k1", "k2", None]),
    }
    name = draw(st.sampled_from(sorted(everything)))
    return {name: draw(everything[name])}


@st.composite
def conditions(draw: st.DrawFn, items: Ever) -> Condition:
    """A condition that some of the items are likely to fulfil: its values are mostly taken from them."""
    path, op = draw(st.sampled_from(PATHS)), draw(st.sampled_from(OPERATORS))
    near, parts = likely(path, items)
    chosen = st.integers(0, len(near) - 1).map(near.__getitem__)
    if op in ("in", "nin", "any", "all"):
        return condition(path, op, draw(st.lists(chosen, max_size=3)))
    if op in ("text_match", "text_match_insensitive"):
        return condition(path, op, draw(st.sampled_from(parts)))
    if op == "is_empty":
        return condition(path, op, None)
    return condition(path, op, draw(chosen.filter(orderable) if op in (">", ">=", "<", "<=") else chosen))


def likely(path: tuple[str, ...], items: Ever) -> tuple[list[Any], list[str]]:
    """Values that are there under a path or nearly so, some that are not, and parts of the strings among them."""
    there = [value_at(item, path) for item in items]
    there += [member for value in there if isinstance(value, list) for member in value]
    near = [*there, *(each.upper() for each in there if isinstance(each, str))]
    near += [each + 1 for each in there if isinstance(each, int) and not isinstance(each, bool)]
    near += [each + timedelta(microseconds=1) for each in there if isinstance(each, datetime)]
    near += [each.astimezone(BERLIN) for each in there if isinstance(each, datetime)]
    said = [each for each in near if isinstance(each, str)]
    is_time = path[0] in TIME_FIELDS and len(path) == 1
    strange = [*TIMES, NOON.astimezone(BERLIN), date(2024, 5, 8), *([] if is_time else [*SCALARS, *CONFUSED])]
    return [*near, *strange], [*(each[:2] for each in said), *(each[-1:] for each in said), "", "ß", "SS", "i\u0307"]


def orderable(value: Any) -> bool:
    return value is not None and not isinstance(value, bool | list | dict)


def filters(items: Ever) -> st.SearchStrategy[Filter]:
    return st.recursive(
        conditions(items),
        lambda inner: st.builds(Group, st.sampled_from(["and", "or", "not"]), st.lists(inner, max_size=3).map(tuple)),
        max_leaves=5,
    )


def searched(session: Session, where: Filter | None, as_of: Any) -> dict[str, Any]:
    """Every hit by id."""
    hits = session.search("some words", vector=np.float32([1, 0]), top_k=1000, where=where, as_of=as_of)
    assert hits.cursor is None
    assert len({hit.id for hit in hits}) == len(hits)
    return {hit.id: hit for hit in hits}


def own_parts(hit: Any) -> dict[str, float]:
    """What does not depend on which other items were found."""
    return {name: part for name, part in hit.parts.items() if name != "feedback"}


@pytest.fixture(scope="module")
def told_in() -> Iterator[tuple[MOS, Iterator[datetime]]]:
    """A store whose clock goes on by a minute whenever somebody looks, and that clock; each example takes a new cube."""
    clock = (NOON + timedelta(minutes=minutes) for minutes in count())
    with MOS.open(":memory:", embedder="given:2", now=lambda: next(clock)) as mos:
        yield mos, clock


@pytest.mark.soak
@given(st.data())
def test_filters_mean_the_same_everywhere(told_in: tuple[MOS, Iterator[datetime]], data: st.DataObject) -> None:
    """`search` and `list`, now and at every moment before, find exactly the items that `matches` lets through."""
    told = Told(*told_in)
    told.add(data.draw(st.lists(drafts, min_size=2, max_size=8)))
    asked_again = data.draw(st.lists(filters(told.ever), min_size=2, max_size=2))
    picks = st.integers(0, 50)
    for _ in range(data.draw(st.integers(0, 3))):
        for where in asked_again:  # what an index has worked out for a path must follow what is written
            check_moment(told.session, where, None, told.now)
        step = data.draw(st.sampled_from(["add", "update", "update", "delete"]))
        if step == "add":
            told.add(data.draw(st.lists(drafts, min_size=1, max_size=3)))
        elif step == "delete":
            told.delete(data.draw(picks))
        else:
            change = data.draw(changes())
            taken = any(item.key == change.get("new_key") for item in told.now.values())
            if not (change.get("new_key") and taken):
                told.update(data.draw(picks), **change)
    where_of = filters(told.ever)
    everything = searched(told.session, None, None)
    for where in [*asked_again, *data.draw(st.lists(where_of, min_size=8, max_size=8))]:
        check_moment(told.session, where, None, told.now)
        for id, hit in searched(told.session, where, None).items():
            assert own_parts(hit) == own_parts(everything[id]), "a filter chooses; it does not change what is said"
    for seq, at, moment in told.past:
        where = data.draw(where_of)
        check_moment(told.session, where, seq, moment)
        check_moment(told.session, where, at, moment)


def check_moment(session: Session, where: Filter, as_of: Any, moment: Moment) -> None:
    expected = {id: item for id, item in moment.items() if matches(where, item)}
    listed = session.list(where=where, as_of=as_of, limit=1000)
    assert {item.id: item for item in listed} == expected, (where, as_of)
    found = {id: hit.item for id, hit in searched(session, where, as_of).items()}
    assert found == {id: item for id, item in expected.items() if item.indexed}, (where, as_of)


@pytest.mark.soak
def test_every_operator_on_every_field(
    told_in: tuple[MOS, Iterator[datetime]], rounds: Callable[[int, int], int]
) -> None:
    """None is left to chance: each operator is asked of each field and path, of items that have all sorts of values there."""
    rng = random.Random(7)
    told = Told(*told_in)
    told.add([draft(rng) for _ in range(40)])
    told.add([draft(rng) for _ in range(10)])
    items = told.ever
    assert {(name,) for name in FIELDS} <= set(PATHS)
    assert len(OPERATORS) == 14
    chosen, count_of_each = 0, rounds(4, 60)
    for path in PATHS:
        near, parts = likely(path, items)
        for op in OPERATORS:
            for _ in range(count_of_each):
                value: Any = rng.choice(near)
                if op in ("in", "nin", "any", "all"):
                    value = [rng.choice(near), rng.choice(near)]
                elif op in (">", ">=", "<", "<="):
                    value = rng.choice([each for each in near if orderable(each)])
                elif op in ("text_match", "text_match_insensitive"):
                    value = rng.choice(parts)
                where = condition(path, op, None if op == "is_empty" else value)
                expected = {id for id, item in told.now.items() if matches(where, item)}
                assert {item.id for item in told.session.list(where=where, limit=1000)} == expected, where
                chosen += 0 < len(expected) < len(items)
    assert chosen > 300, "most filters let some through and not others"


def draft(rng: random.Random) -> Draft:
    """A thing with all sorts of values."""
    value: Any = rng.choice([*CONFUSED, *SCALARS, ["a", 1, None], [True], [], {"m": 1, "名": "a"}, ["2024-05-08", 1.0]])
    source = SourceRef(
        role=rng.choice([None, "user"]),
        speaker=rng.choice([None, "Ann", "王芳"]),
        message_id=rng.choice([None, "m1"]),
        position=rng.choice([None, 0, 7]),
    )
    return Draft(
        text=rng.choice(["some words", "größere STRASSE", "东京的天气"]),
        type=rng.choice(["fact", "Notiz"]),
        payload=rng.choice([None, value]),
        occurred_at=rng.choice([None, *TIMES]),
        confidence=rng.choice([0.0, 0.5, 1.0]),
        tags=tuple(rng.sample(["a", "A", "straße"], rng.randint(0, 2))),
        metadata={"m": value, **({"größe": [value, 1], "a.b": value, "text": value} if rng.random() < 0.5 else {})},
        conversation=rng.choice([None, "thread"]),
        mentions=Mentions(
            entities=("Ann", "东京")[: rng.randint(0, 2)], says_time=True, language=rng.choice([None, "zh"])
        ),
        source=rng.choice([None, source]),
    )


# -- narrowing comes first -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd() -> Iterator[Session]:
    """5,000 items that say just what is asked for, then 30 that hardly do, of another kind."""
    with MOS.open(":memory:", embedder="given:2") as mos:
        session = mos.session("ann")
        fitting = [Draft(text=f"the parrot sings, said number {n}", metadata={"n": n}) for n in range(5000)]
        other = [Draft(text=f"nothing but a parrot {n}", metadata={"n": n}, tags=("rare",)) for n in range(30)]
        session.add(fitting, vectors=np.tile(np.float32([1, 0]), (5000, 1)))
        session.add(other, vectors=np.tile(np.float32([0.1, 1]), (30, 1)))
        yield session


@pytest.mark.parametrize("vector", [None, np.float32([1, 0])], ids=["words", "vectors"])
@pytest.mark.parametrize("top_k", [1, 10, 30, 100])
def test_a_filter_narrows_before_ranking(crowd: Session, vector: Any, top_k: int) -> None:
    """None of the items is among the first 1,000 hits without the filter, and yet `top_k` of them are found."""
    question = "does the parrot sing?"
    first = crowd.search(question, top_k=1000, vector=vector)
    assert len(first) == 1000
    assert not any("rare" in hit.item.tags for hit in first)
    found = crowd.search(question, top_k=top_k, vector=vector, where=F.tags.contains("rare"))
    assert len(found) == min(top_k, 30)
    assert all("rare" in hit.item.tags for hit in found)


def test_a_filter_narrows_a_large_cube_before_the_first_score(crowd: Session) -> None:
    """Where only the best of a cheap first score are looked at closer, the filter still comes before that."""
    worst = (F.n >= 4990) & ~F.tags.contains("rare")
    assert ranking.FULL_ROWS < 5000, "the cube is large enough to be searched in two steps"
    found = crowd.search("parrot number 7 sings", vector=np.float32([1, 0]), top_k=50, where=worst)
    assert sorted(hit.item.metadata["n"] for hit in found) == list(range(4990, 5000))


def test_no_item_left_is_no_hit_and_no_error(crowd: Session) -> None:
    assert crowd.search("parrot", where=F.tags.contains("nowhere")) == []
    assert crowd.search("parrot", where={"or": []}) == []
    assert len(crowd.search("parrot", where={"and": []}, top_k=7)) == 7
