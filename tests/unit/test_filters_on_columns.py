"""If these fail, a filter that was right yesterday is wrong today: its columns were not kept up while memories came in, were
changed and were merged into files, or they mix up the rows of another moment."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from conftest import Rounds

from memos_core import MOS, Draft, MemoryItem, Session
from memos_core.filters import Filter, matches, parse_where
from memos_core.protocols.storage import RecordStore
from memos_core.stores.index import cube_files, fields
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.opening import open_sqlite
from memos_core.types.work import CubeRow, utc_now

pytestmark = pytest.mark.soak

WHERES: list[Any] = [
    {"n": {">=": 2}},
    {"n": 1},
    {"n": {"!=": 1}},
    {"tag": "a"},
    {"tag": {"in": ["a", "b"]}},
    {"tag": {"nin": ["a", None]}},
    {"tag": {"is_empty": True}},
    {"deep.x": {"<": 2}},
    {"deep": {"x": 1}},
    {"tags": {"any": ["red", "blue"]}},
    {"tags": {"all": ["red"]}},
    {"version": {">": 1}},
    {"text": {"text_match": "3"}},
    {"type": "note", "n": {"<": 4}},
    {"or": [{"tag": "a"}, {"n": {">": 2}}]},
    {"not": [{"tag": "a"}, {"text": {"text_match": "1"}}]},
    {"cube_id": "ann"},
    {"key": {"is_empty": None}},
    {"nobody.ever.wrote": None},
]


class Moments:
    """What could be listed after every change, by the truth's own records."""

    def __init__(self, store: RecordStore, cube: CubeRow) -> None:
        self.past: list[dict[str, MemoryItem]] = [{}]
        for piece in store.changes(cube, 0):
            for record, _ in piece:
                now = {id: item for id, item in self.past[-1].items() if id != record.id}
                if record.body is not None:
                    now[record.id] = record.to_item()
                self.past.append(now)

    def seqs(self, where: Filter | None, as_of: int) -> list[int]:
        return sorted(item.seq for item in self.past[as_of].values() if matches(where, item))


def draft(chance: random.Random, number: int) -> Draft:
    metadata: dict[str, Any] = {}
    if chance.random() < 0.8:
        metadata["n"] = chance.choice([0, 1, 2, 3, 1.0, 2.5, True, None, "1"])
    if chance.random() < 0.7:
        metadata["tag"] = chance.choice(["a", "b", "c", "", ["a"]])
    if chance.random() < 0.5:
        metadata["deep"] = {"x": chance.randint(0, 3)}
    tags = tuple(chance.sample(["red", "blue", "green"], chance.randint(0, 3)))
    return Draft(
        text=f"thing {number}",
        type=chance.choice(["fact", "note"]),
        metadata=metadata,
        tags=tags,
        indexed=chance.random() < 0.8,
        key=f"k{number}" if chance.random() < 0.3 else None,
    )


def step(chance: random.Random, session: Session, number: int) -> None:
    """Something happens."""
    living = [item.id for item in session.list(limit=1000)]
    choice = chance.random()
    if choice < 0.5 or not living:
        session.add([draft(chance, number * 10 + n) for n in range(chance.randint(1, 5))])
    elif choice < 0.7:
        session.update(chance.choice(living), metadata=draft(chance, 0).metadata, tags=["red"])
    elif choice < 0.8:
        session.update(chance.choice(living), text=f"thing {chance.randint(0, 99)}")
    elif choice < 0.9:
        session.delete(chance.choice(living))
    else:
        session.rollback(chance.choice(living), 1)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cube_files, "_WORTH_MOVING", 4)
    monkeypatch.setattr(fields, "_MOST_COLUMNS", 5)


@pytest.mark.usefixtures("small_parts")
def test_columns_follow_any_history(tmp_path: Path, rounds: Rounds) -> None:
    for seed in range(rounds(4, 150)):
        folder = tmp_path / str(seed)
        chance = random.Random(seed)
        store = open_sqlite(folder, deadline=30, now=utc_now)
        with MOS.open(folder) as mos:
            ann = mos.session("ann")
            ann.add(draft(chance, 0))
            cube = store.cube("ann")
            assert cube is not None
            followers = [
                CubeIndex(store, cube, folder=folder / "segments", flush_rows=5),
                CubeIndex(store, cube, folder=folder / "segments", flush_rows=9),
                CubeIndex(store, cube),
            ]
            for number in range(1, 25):
                step(chance, ann, number)
                check(followers[chance.randrange(3)], Moments(store, cube), chance)
            for index in (*followers, CubeIndex(store, cube, folder=folder / "segments")):
                check(index, Moments(store, cube), chance, all_of_it=True)
        store.close()


def check(index: CubeIndex, moments: Moments, chance: random.Random, *, all_of_it: bool = False) -> None:
    index.catch_up()
    newest = len(moments.past) - 1
    assert index.seq == newest
    for raw in WHERES if all_of_it else chance.sample(WHERES, 4):
        where = parse_where(raw)
        for as_of in {newest, chance.randint(0, newest)}:
            rows = index.moment(None if as_of == newest else as_of, unindexed=True).rows
            found = sorted(index.table["seq"][index.matching(where, rows)].tolist())
            assert found == moments.seqs(where, as_of), (raw, as_of)
