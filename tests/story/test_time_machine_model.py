"""If these fail, some sequence of changes leaves another present or past than anybody would write down by hand.

Random operations on several cubes, and forks of them, are compared with lists and dicts: what there is now, every version
of every item, how things stood after each change and at each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telling import Clock

from memos_core import MOS, Session
from memos_core.errors import ItemNotFound

OPERATIONS = [
    *("add", "add", "add two", "text", "tags", "key", "no key", "delete", "restore", "rollback", "rollback cube"),
    *("fork", "archive", "activate", "freeze", "unfreeze", "wait"),
]
STATES = ("generated", "activated", "merged", "archived", "frozen")
Content = tuple[str, str | None, tuple[str, ...], str]  # text, key, tags, state
Step = tuple[str, int, int]


class Cube:
    """What a cube should hold.

    Attributes:
        after: number of a change -> what there was then, by id; None within a transaction whose order is not promised.
        past: id -> its versions; None for a deletion.
        times: (time, number of the newest change then).
    """

    def __init__(self) -> None:
        self.after: list[dict[str, Content] | None] = [{}]
        self.past: dict[str, list[tuple[int, Content | None]]] = {}
        self.times: list[tuple[datetime, int]] = []

    @property
    def now(self) -> dict[str, Content]:
        assert self.after[-1] is not None
        return self.after[-1]

    def write(self, id: str, content: Content | None) -> None:
        """One change."""
        state = {**self.now}
        state.pop(id, None)
        if content is not None:
            state[id] = content
        self.after.append(state)
        self.past.setdefault(id, []).append((len(self.after) - 1, content))

    def until(self, seq: int) -> Cube:
        """A copy, as it was after a change."""
        made = Cube()
        made.after = list(self.after[: seq + 1])
        made.past = {id: own for id, all_ in self.past.items() if (own := [each for each in all_ if each[0] <= seq])}
        made.times = [(at, min(known, seq)) for at, known in self.times]
        return made

    def moments(self) -> list[int]:
        return [seq for seq, state in enumerate(self.after) if state is not None]


class World:
    """A store and what should be in it."""

    def __init__(self, mos: MOS, clock: Clock, name: str) -> None:
        self.mos, self.clock, self.name = mos, clock, name
        self.cubes: dict[str, Cube] = {name: Cube()}
        self.count = 0

    def session(self, cube: str) -> Session:
        return self.mos.session(self.name, read_from=[cube], write_to=[cube])

    def do(self, operation: str, which: int, what: int) -> None:
        name = sorted(self.cubes)[which % len(self.cubes)]
        cube, session = self.cubes[name], self.session(name)
        ready = {id: content for id, content in cube.now.items() if content[3] != "frozen"}
        gone = [id for id, past in cube.past.items() if past[-1][1] is None]
        if operation in ("add", "add two") or not cube.past:
            self.add(cube, session, 1 + (operation == "add two"), what)
        elif operation == "fork":
            self.fork(name, cube, what)
        elif operation == "rollback cube":
            self.rollback_cube(cube, session, what)
        elif operation == "rollback" and ready:
            self.rollback(cube, session, sorted(ready)[what % len(ready)], what)
        elif operation == "restore" and gone:
            id = gone[what % len(gone)]
            content = next(content for _, content in reversed(cube.past[id]) if content is not None)
            if self.free(cube, content[1]):
                session.restore(id)
                cube.write(id, thawed(content))
        elif operation in ("archive", "activate", "freeze", "unfreeze"):
            self.move(operation, cube, session, what)
        elif ready:
            self.change(operation, cube, session, sorted(ready)[what % len(ready)], what)
        cube.times.append((self.clock.now, len(cube.after) - 1))
        if operation == "wait":
            self.clock.go(1 + what)

    def free(self, cube: Cube, key: str | None, id: str = "") -> bool:
        return key is None or all(content[1] != key for other, content in cube.now.items() if other != id)

    def add(self, cube: Cube, session: Session, count: int, what: int) -> None:
        key = f"k{what % 3}" if count == 1 and self.free(cube, f"k{what % 3}") else None
        ids = []
        for _ in range(count):
            self.count += 1
            ids.append(f"i{self.count}")
        if count == 1:
            session.add(f"fact {self.count}", id=ids[0], key=key)
            cube.write(ids[0], (f"fact {self.count}", key, (), "activated"))
        else:
            with_ids = session.add([f"both {id}" for id in ids]).ids
            for id, given_id in zip(ids, with_ids, strict=True):
                cube.write(given_id, (f"both {id}", None, (), "activated"))

    def change(self, operation: str, cube: Cube, session: Session, id: str, what: int) -> None:
        text, key, tags, state = cube.now[id]
        if operation == "text":
            session.update(id, text=f"changed {what}")
            cube.write(id, (f"changed {what}", key, tags, state))
        elif operation == "tags":
            session.update(id, tags=[f"t{what}"])
            cube.write(id, (text, key, (f"t{what}",), state))
        elif operation == "no key":
            session.update(id, new_key=None)
            cube.write(id, (text, None, tags, state))
        elif operation == "key" and self.free(cube, f"k{what % 3}", id):
            session.update(id, new_key=f"k{what % 3}")
            cube.write(id, (text, f"k{what % 3}", tags, state))
        elif operation == "delete":
            session.delete(id)
            cube.write(id, None)

    def move(self, operation: str, cube: Cube, session: Session, what: int) -> None:
        source, target = {
            "archive": ("activated", "archived"),
            "activate": ("archived", "activated"),
            "freeze": ("activated", "frozen"),
            "unfreeze": ("frozen", "activated"),
        }[operation]
        able = sorted(id for id, content in cube.now.items() if content[3] == source)
        if able:
            id = able[what % len(able)]
            getattr(session, operation)(id)
            cube.write(id, (*cube.now[id][:3], target))

    def rollback(self, cube: Cube, session: Session, id: str, what: int) -> None:
        versions = [place for place, (_, content) in enumerate(cube.past[id]) if content is not None]
        place = versions[what % len(versions)]
        content = cube.past[id][place][1]
        assert content is not None
        if self.free(cube, content[1], id):
            session.rollback(id, to_version=place + 1)
            cube.write(id, thawed(content))

    def rollback_cube(self, cube: Cube, session: Session, what: int) -> None:
        known = cube.moments()
        seq = known[what % len(known)]
        then, before = cube.after[seq], cube.now
        assert then is not None
        done = session.rollback_cube(seq)
        different = {id for id in {*then, *before} if then.get(id) != before.get(id)}
        assert set(done.restored) == {id for id in different if id not in before}
        assert set(done.deleted) == {id for id in different if id not in then}
        assert set(done.changed) == different & set(then) & set(before)
        found = {}
        for id in different:
            versions = session.history(id)[len(cube.past[id]) :]
            *between, last = [(v.seq, None if v.item is None else content_of(v.item)) for v in versions]
            assert last[1] == then.get(id)
            for _, nameless in between:  # of a ring of items that swap names, one loses its own first
                assert nameless == (before[id][0], None, *before[id][2:])
            found[id] = [*between, last]
        written = sorted(seq for each in found.values() for seq, _ in each)
        assert written == list(range(len(cube.after), len(cube.after) + len(written)))
        assert len(written) <= len(different) + 1
        for id, versions_of_id in found.items():
            cube.past[id].extend(versions_of_id)
        if written:
            cube.after.extend([*[None] * (len(written) - 1), dict(then)])

    def fork(self, name: str, cube: Cube, what: int) -> None:
        if len(self.cubes) < 4:
            known = cube.moments()
            seq = known[what % len(known)]
            made = f"{self.name}/f{len(self.cubes)}"
            if self.mos.store.cube(name) is not None:
                self.session(name).fork(made, as_of=seq if what % 5 else None)
                self.cubes[made] = cube.until(seq if what % 5 else len(cube.after) - 1)

    # -- comparing ------------------------------------------------------------------------------------------------

    def check_now(self) -> None:
        for name, cube in self.cubes.items():
            assert self.listed(name, None) == cube.now, name

    def check_all(self) -> None:
        for name, cube in self.cubes.items():
            session = self.session(name)
            for seq, state in enumerate(cube.after):
                if state is not None:
                    assert self.listed(name, seq) == state, (name, seq)
            for at, seq in dict(cube.times).items():
                if cube.after[seq] is not None:
                    assert self.listed(name, at) == cube.after[seq], (name, at)
            for id, past in cube.past.items():
                versions = session.history(id)
                assert [(v.seq, None if v.item is None else content_of(v.item)) for v in versions] == past
                assert [v.version for v in versions] == list(range(1, len(past) + 1))
            for seq in cube.moments()[::3]:
                state = cube.after[seq] or {}
                for key in ("k0", "k1", "k2"):
                    bearer = next((id for id, content in state.items() if content[1] == key), None)
                    assert self.bearer(session, key, seq) == bearer
            if cube.past:
                assert self.mos.verify(name) == []

    def listed(self, name: str, as_of: int | datetime | None) -> dict[str, Content]:
        items = self.session(name).list(as_of=as_of, include=STATES, limit=1000)
        return {item.id: content_of(item) for item in items}

    def bearer(self, session: Session, key: str, seq: int) -> str | None:
        try:
            return session.get(key=key, as_of=seq).id
        except ItemNotFound:
            return None


def content_of(item: Any) -> Content:
    return item.text, item.key, item.tags, str(item.state)


def thawed(content: Content) -> Content:
    """What restoring an item makes of a version of it: nothing comes back frozen."""
    return (*content[:3], "activated" if content[3] == "frozen" else content[3])


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def worlds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], World]]:
    """Makes worlds: each is the cubes of somebody else, in one store."""
    folder, clock = tmp_path_factory.mktemp("model"), Clock()
    server = None
    place = str(folder / "memory")
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        database = server.new_database()
        place = server.url(database)
    made = iter(range(1 << 30))
    with MOS.open(place, embedder="hashing", cache=folder / "cache", now=clock) as mos:
        yield lambda: World(mos, clock, f"a{next(made)}")
    if server is not None:
        server.drop_database(database)


@pytest.mark.timeout(1800)
@given(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 5), st.integers(0, 99)), min_size=4, max_size=24))
def test_every_present_and_past_is_what_a_simple_model_says(worlds: Callable[[], World], steps: list[Step]) -> None:
    world = worlds()
    world.clock.go(1)
    for step in steps:
        world.do(*step)
        world.check_now()
    world.clock.go(1)
    world.check_all()
