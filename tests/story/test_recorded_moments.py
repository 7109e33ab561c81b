"""If these fail, a search as of a past moment answers otherwise than search answered then: other items, or other scores.

While a history is made, answers are recorded: ids, scores and every part of them. Later the same questions are asked as of
those moments, by number and by time: at once, after the index was written in segments and these were merged, after opening
the store anew, from an index built anew, in another process, and through a fork.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from telling import Clock, in_another_process

from memos_core import MOS, Session
from memos_core.plaintext.indexes import Indexes
from memos_core.stores.index import cube_index

Rounds = Callable[[int, int], int]
CLOSE = 1e-12
WORDS = (
    "garden rose river walk dog cat Lisbon Porto train doctor bread coffee school piano guitar winter summer birthday letter "
    "kitchen window bridge market lemon olive tea storm boat island teacher friend movie novel bicycle running yoga salad"
).split()
PEOPLE = ("Ann", "Bob", "Carla", "Dmitri", "Elena", "Farid")
QUESTIONS = (
    *("who went to the market?", "what did Ann say about the garden?", "what happened yesterday?", "Bob and the piano"),
    *("when did Carla go to Lisbon?", "last week's walk by the river", "coffee and bread", "what did I do in January?"),
    *("Elena's birthday", "is there a dog or a cat?", "the storm two days ago", "wann war der Garten offen?", "tea"),
)


class History:
    """Somebody who talks, changes and forgets; always the same for a seed."""

    def __init__(self, mos: MOS, clock: Clock, seed: int) -> None:
        self.session: Session = mos.session("alice", conversation="talk")
        self.clock = clock
        self.random = random.Random(seed)
        self.ids: list[str] = []

    def text(self) -> str:
        words = self.random.choices(WORDS, k=self.random.randint(3, 9))
        when = self.random.choice(["", "", "yesterday", "last week", "on 3 January 2026", "in the morning"])
        name = self.random.choice(["", "", *PEOPLE])
        return " ".join(["the", *words, when, name]).strip()

    def step(self) -> None:
        self.clock.go(self.random.choice([1, 60, 3600, 40_000, 90_000]))
        session, chance = self.session, self.random
        kind = chance.choice(
            ["say", "say", "say", "fact", "text", "tag", "delete", "restore", "move", "back", "expires"]
        )
        id = chance.choice(self.ids) if self.ids else ""
        alive = session.list(include=("archived",), limit=1000) if id else []
        known = {item.id: item for item in alive}
        if kind == "say" or not known:
            who = chance.choice(PEOPLE)
            self.ids += session.add([{"role": "user", "content": self.text(), "name": who} for _ in range(2)]).ids
        elif kind in ("fact", "expires"):
            ends = self.clock.now + timedelta(days=chance.randint(1, 20)) if kind == "expires" else None
            tags = [chance.choice(["home", "work"])]
            self.ids += session.add(self.text(), occurred_at=self.clock.now, tags=tags, expires_at=ends).ids
        elif id not in known:
            if any(version.item is None for version in session.history(id)[-1:]):
                session.restore(id)
        elif kind == "text":
            session.update(id, text=self.text())
        elif kind == "tag":
            session.update(id, tags=[chance.choice(["home", "work"])])
        elif kind == "delete":
            session.delete(id)
        elif kind == "move":
            (session.activate if known[id].state == "archived" else session.archive)(id)
        elif kind == "back":
            session.rollback(id, to_version=1)


def answer(session: Session, asked: dict[str, Any], as_of: int | datetime | None) -> list[Any]:
    hits = session.search(asked["query"], as_of=as_of, top_k=asked["top_k"], where=asked["where"])
    return [[hit.id, hit.text, hit.score, hit.parts] for hit in hits]


def difference(found: list[Any], then: list[Any]) -> str:
    """How two answers are not the same, "" where they are; numbers may differ by rounding."""
    if [each[:2] for each in found] != [each[:2] for each in then]:
        return f"{[each[0][-8:] for each in found]}, not {[each[0][-8:] for each in then]}"
    told = []
    for a, b in zip(found, then, strict=True):
        names = {*a[3], *b[3]}
        numbers = {name: (a[3].get(name, -1.0), b[3].get(name, -1.0)) for name in names} | {"score": (a[2], b[2])}
        told += [f"{name} {x}, not {y}" for name, (x, y) in sorted(numbers.items()) if abs(x - y) > CLOSE]
    return "; ".join(told)


def compare(mos: MOS, records: list[dict[str, Any]], cube: str = "alice") -> list[Any]:
    """The recorded moments at which search says something else now.

    A number means the time of its change; it is asked where the question was asked then, not later.
    """
    session = mos.session("alice", read_from=[cube], write_to=[])
    wrong = []
    for asked in records:
        moments: list[int | datetime] = [datetime.fromisoformat(asked["at"])]
        for as_of in [*moments, asked["seq"]] if asked["at once"] else moments:
            what = difference(answer(session, asked, as_of), asked["answer"])
            if what:
                wrong.append((asked["query"], asked["seq"], as_of, what))
    return wrong


@contextmanager
def small_segments() -> Iterator[None]:
    """Indexes of small cubes have files too, of a few rows each."""
    least, rows = cube_index.SMALL_ROWS, Indexes.__init__.__kwdefaults__["flush_rows"]
    cube_index.SMALL_ROWS, Indexes.__init__.__kwdefaults__["flush_rows"] = 0, 48
    try:
        yield
    finally:
        cube_index.SMALL_ROWS, Indexes.__init__.__kwdefaults__["flush_rows"] = least, rows


_ELSEWHERE = """
    import json, sys
    from datetime import datetime
    sys.path.insert(0, sys.argv[3])
    from test_recorded_moments import compare
    from memos_core import MOS
    records = json.load(open(sys.argv[2]))
    with MOS.open(sys.argv[1], now=lambda: datetime.fromisoformat(sys.argv[4])) as mos:
        print(json.dumps([str(each) for each in compare(mos, records)]))
"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
def test_searches_of_the_past_answer_as_they_answered_then(tmp_path: Path, seed: int, rounds: Rounds) -> None:
    moments, clock = rounds(30, 500), Clock()
    records: list[dict[str, Any]] = []
    place = tmp_path / "memory"
    with small_segments():
        with MOS.open(place, embedder="hashing", now=clock) as mos:
            history = History(mos, clock, seed)
            for _ in range(10):
                history.step()
            for _ in range(moments):
                for _ in range(history.random.randint(1, 3)):
                    history.step()
                clock.go(history.random.choice([0, 0, 5, 100_000]))  # time goes by, and nothing happens
                query, where = history.random.choice(QUESTIONS), history.random.choice([None, None, {"tag": "home"}])
                asked: dict[str, Any] = {"query": query, "where": where, "top_k": history.random.choice([3, 20])}
                row = mos.store.cube("alice")
                assert row is not None
                found = answer(history.session, asked, None)
                records.append(
                    {
                        **asked,
                        "seq": row.seq,
                        "at": clock.now.isoformat(),
                        "answer": found,
                        "at once": mos.store.time_of(row, row.seq) == clock.now,
                    }
                )
                clock.go(1)
            assert sum(len(asked["answer"]) for asked in records) > 3 * moments
            assert compare(mos, records) == []
            mos.fork("alice", "alice/what-if")
            assert compare(mos, records, "alice/what-if") == []
        with MOS.open(place, now=clock) as mos:
            assert mos.cube("alice").stats()["index"]["segments"]
            assert compare(mos, records) == []
            mos.reindex()
            assert compare(mos, records) == []
    (tmp_path / "records.json").write_text(json.dumps(records), "utf-8")
    here = Path(__file__).parent
    said = in_another_process(_ELSEWHERE, place, tmp_path / "records.json", here, clock.now.isoformat())
    assert json.loads(said) == []
