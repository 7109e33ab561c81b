"""If these fail, people who write to one server at once skip each other's changes, wait for each other, or overwrite them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import PostgresServer, until

from memos_core import MOS
from memos_core.errors import EmbedderMismatch, StoreBusy
from memos_core.stores.opening import open_sql
from memos_core.stores.sql.records import SqlStore
from memos_core.types.work import Body, CubeRow, Put, VectorBlobs

Open = Callable[..., SqlStore]


@pytest.fixture
def opened(postgres_url: str) -> Iterator[Open]:
    """Opens the test's store; closed at the end."""
    with ExitStack() as stack:

        def open_one(more: str = "", deadline: float = 20.0) -> SqlStore:
            store = open_sql(postgres_url + more, deadline=deadline)
            stack.callback(store.close)
            return store

        yield open_one


def create(store: SqlStore, name: str) -> CubeRow:
    with store.begin(actor=name, action="create") as transaction:
        assert transaction.cube(name) is None
        return transaction.create_cube(name, name)


def put(store: SqlStore, cube: str, *ids: str) -> None:
    with store.begin(actor="a", action="add") as transaction:
        row = transaction.cube(cube)
        assert row is not None
        transaction.put(row, [Put(id=each, op="add", text=each, body=Body()) for each in ids])


class Waiting:
    """A transaction in a thread of its own that has written, and commits when it is told to."""

    def __init__(self, store: SqlStore, cube: str, id: str) -> None:
        self.written, self.go = threading.Event(), threading.Event()

        def work() -> None:
            with store.begin(actor="a", action="add") as transaction:
                row = transaction.cube(cube) or transaction.create_cube(cube, cube)
                transaction.put(row, [Put(id=id, op="add", text=id, body=Body())])
                transaction.heads(row, [id])  # what was put off is with the server now
                self.written.set()
                assert self.go.wait(30)

        self._thread = threading.Thread(target=work)
        self._thread.start()
        assert self.written.wait(30)

    def commit(self) -> None:
        self.go.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


# -- the change log ---------------------------------------------------------------------------------------------------


def test_numbers_follow_the_order_of_commits(opened: Open) -> None:
    """A second writer of a cube waits for the first; a follower sees neither until then, and skips none."""
    one, two, follower = opened(), opened(), opened()
    cube = create(one, "alice")
    first = Waiting(one, "alice", "first")
    second = threading.Thread(target=put, args=(two, "alice", "second"))
    second.start()
    time.sleep(0.2)
    assert second.is_alive(), "the second writer did not wait for the first"
    assert follower.head_seq(cube) == 0
    first.commit()
    second.join(30)
    log = [record for piece in follower.changes(cube, 0) for record, _ in piece]
    assert [(record.seq, record.id) for record in log] == [(1, "first"), (2, "second")]


def test_a_follower_never_skips_a_number(opened: Open, rounds: Any) -> None:
    """Eight connections write two cubes as fast as they can; what a follower has seen up to n stays all there is up to n."""
    writers = [opened() for _ in range(4)]
    for name in ("one", "two"):
        create(writers[0], name)
    follower = opened()
    each = rounds(25, 500)
    stop = threading.Event()
    failures: list[BaseException] = []
    seen: dict[str, list[str]] = {"one": [], "two": []}

    def follow() -> None:
        try:
            cubes = {cube.name: cube for cube in follower.cubes()}
            while True:
                ended = stop.is_set()
                for name, known in seen.items():
                    for piece in follower.changes(cubes[name], len(known)):
                        assert [record.seq for record, _ in piece] == list(
                            range(len(known) + 1, len(known) + len(piece) + 1)
                        )
                        known.extend(record.id for record, _ in piece)
                if ended:
                    return
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    def write(number: int) -> None:
        for n in range(each):
            put(writers[number % 4], ("one", "two")[number % 2], f"{number}.{n}.a", f"{number}.{n}.b")

    following = threading.Thread(target=follow)
    following.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    stop.set()
    following.join(60)
    assert failures == []
    assert [len(known) for known in seen.values()] == [each * 8, each * 8]
    assert all(len(set(known)) == each * 8 for known in seen.values())
    for cube in follower.cubes():
        assert follower.check(cube, None) == []


def test_writers_of_different_cubes_do_not_wait_for_each_other(opened: Open) -> None:
    one, two = opened(), opened(deadline=5.0)
    create(one, "alice")
    create(one, "bob")
    held = Waiting(one, "alice", "x")
    put(two, "bob", "y")
    create(two, "carol")  # nor does whoever makes one
    assert two.head_seq(next(cube for cube in two.cubes() if cube.name == "bob")) == 1
    held.commit()


def test_makers_of_different_cubes_do_not_wait_for_each_other(opened: Open) -> None:
    one, two = opened(), opened(deadline=5.0)
    held = Waiting(one, "alice", "x")
    create(two, "bob")
    held.commit()
    assert [cube.name for cube in two.cubes()] == ["alice", "bob"]
    assert len({cube.number for cube in two.cubes()}) == 2


def test_whoever_comes_second_to_make_a_cube_finds_it(opened: Open) -> None:
    one, two = opened(), opened()
    held = Waiting(one, "alice", "x")
    second = threading.Thread(target=put, args=(two, "alice", "y"))
    second.start()
    time.sleep(0.2)
    assert second.is_alive()
    held.commit()
    second.join(30)
    (cube,) = two.cubes()
    assert cube.seq == 2


def test_a_lock_is_waited_for_until_the_deadline(opened: Open) -> None:
    one, two = opened(), opened(deadline=0.5)
    create(one, "alice")
    held = Waiting(one, "alice", "x")
    start = time.monotonic()
    with pytest.raises(StoreBusy, match="try again"):
        put(two, "alice", "y")
    assert 0.3 < time.monotonic() - start < 5
    held.commit()
    put(two, "alice", "y")


def test_many_threads_with_few_connections_do_not_block_each_other(postgres_url: str, tmp_path: Path) -> None:
    """Writers read beside their transaction: with as many of them as there are connections, each would wait for another."""
    with (
        MOS.open(f"{postgres_url}?pool_size=1&max_overflow=1", cache=tmp_path, deadline=30) as mos,
        ThreadPoolExecutor(12) as pool,
    ):
        list(pool.map(lambda n: mos.session(f"actor{n % 3}").add(f"note {n}"), range(36)))
        assert sum(cube.changes for cube in mos.cubes()) == 36


# -- settings and replaced vectors ------------------------------------------------------------------------------------


def test_a_setting_has_one_winner(opened: Open) -> None:
    stores = [opened() for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: stores[n % 4].put_setting("colour", str(n)), range(16)))
    assert won.count(True) == 1
    assert stores[0].setting("colour") == str(won.index(True))


def test_replacing_all_vectors_and_writing_exclude_each_other(opened: Open) -> None:
    """A writer that has looked at whose vectors these are finishes before they are replaced, or starts after."""
    one, two = opened(), opened()
    create(one, "alice")
    one.put_setting("embedder", "old")
    two.stage("new")
    switched = threading.Event()

    def switch() -> None:
        assert not two.switch_vectors("new", "embedder", "new")  # the writer's version is not staged yet
        switched.set()

    with one.begin(actor="a", action="add") as transaction:
        cube = transaction.cube("alice")
        assert cube is not None
        assert transaction.setting("embedder") == "old"
        switching = threading.Thread(target=switch)
        switching.start()
        assert not switched.wait(0.3)
        vectors = VectorBlobs(np.ones(2, dtype="<f4").tobytes())
        transaction.put(cube, [Put(id="x", op="add", text="x", body=Body(), vectors=vectors)])
    switching.join(30)
    assert switched.is_set()
    two.put_staged("new", [(cube.number << 40 | 1, VectorBlobs(np.zeros(2, dtype="<f4").tobytes()))])
    assert two.switch_vectors("new", "embedder", "new")
    with one.begin(actor="a", action="look") as transaction:
        assert transaction.setting("embedder") == "new"


def test_two_runs_of_one_re_embedding_do_not_disturb_each_other(postgres_url: str, tmp_path: Path) -> None:
    with MOS.open(postgres_url, embedder="hashing", cache=tmp_path) as mos:
        mos.session("alice").add([f"note {n}" for n in range(600)])
    stores = [MOS.open(postgres_url, embedder="none", cache=tmp_path / str(n)) for n in range(2)]

    def replace(mos: MOS) -> str:
        try:
            mos.reembed("hashing")
        except EmbedderMismatch as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - judged below
            return f"{type(error).__name__}: {error}"
        return ""

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(replace, stores))
    assert said.count("") >= 1, said
    assert all(each == "" or "overtaken" in each for each in said), said
    for mos in stores:
        mos.close()
    with MOS.open(postgres_url, cache=tmp_path / "fresh") as mos:
        assert mos.verify() == []
        assert len(mos.session("alice").search("note 7", top_k=3)) == 3


# -- asking whether others have written -------------------------------------------------------------------------------


def questions(store: SqlStore) -> int:
    """How often the server has been asked whether others wrote."""
    return int(store.database.freshness._asked)  # type: ignore[attr-defined]


def test_an_operation_asks_once(postgres_url: str, tmp_path: Path) -> None:
    with MOS.open(postgres_url, embedder="hashing", cache=tmp_path) as mos:
        names = ["alice", "alice/home", "alice/work"]
        for name in names:
            mos.session("alice", write_to=[name]).add(f"The lighthouse of {name} is red.")
        alice = mos.session("alice", read_from=names)
        alice.search("lighthouse")
        store: Any = mos._store
        before = questions(store)
        assert len(alice.search("lighthouse")) == 3
        assert questions(store) == before + 1
        item = alice.list()[0]
        assert questions(store) == before + 2
        alice.get(item.id)
        assert questions(store) == before + 3


def test_the_question_takes_no_time_within_an_operation(opened: Open) -> None:
    store = opened()
    with store.operation():
        store.change_token()
        start = time.process_time()
        for _ in range(1000):
            store.change_token()
        assert time.process_time() - start < 0.1  # 100 microseconds each; it takes 2


def test_an_operation_sees_this_processs_own_commits(opened: Open) -> None:
    store = opened()
    create(store, "alice")
    with store.operation():
        before = store.change_token()
        assert store.change_token() == before
        put(store, "alice", "x")
        assert store.change_token() != before


def test_others_databases_change_nothing(opened: Open, postgres: PostgresServer) -> None:
    """Transactions of other databases and of other tables are not taken for changes of the store."""
    store = opened()
    create(store, "alice")
    token = store.change_token()
    with postgres.connect() as side:
        for _ in range(3):
            side.execute("CREATE TABLE IF NOT EXISTS public.noise (x int)")
            side.execute("INSERT INTO public.noise VALUES (1)")
    assert store.change_token() == token


def test_a_commit_under_way_is_seen_when_it_ends_and_not_before(opened: Open) -> None:
    """A transaction that began before others and ends after them: its row is older than what was asked for last."""
    one, two, reader = opened(), opened(), opened()
    create(one, "alice")
    create(one, "bob")
    held = Waiting(one, "alice", "slow")
    before = reader.change_token()
    put(two, "bob", "quick")
    between = reader.change_token()
    assert between != before
    assert reader.change_token() == between
    held.commit()
    assert reader.change_token() != between


def test_tokens_are_the_same_for_all_threads(opened: Open, rounds: Any) -> None:
    """Threads that ask at once share answers; none of them gets one from before it asked."""
    store, writer = opened(), opened()
    cube = create(writer, "alice")
    failures: list[str] = []

    def ask_after_writing(n: int) -> None:
        put(writer, "alice", f"{n}")
        token = store.change_token()
        head = store.head_seq(cube)
        put(writer, "alice", f"{n}'")
        if store.change_token() == token:
            failures.append(f"{n}: {token} {head}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(ask_after_writing, range(rounds(60, 3000))))
    assert failures == []


def test_eventual_readers_are_told(opened: Open) -> None:
    """They ask when they are told, when this process wrote, and now and then; otherwise not at all."""
    reader, writer = opened("?reads=eventual&poll=3600"), opened()
    create(writer, "alice")
    asked = -1
    while asked != questions(reader):  # it has been told of that
        asked = questions(reader)
        time.sleep(0.05)
        token = reader.change_token()
    asked = questions(reader)
    start = time.process_time()
    for _ in range(1000):
        assert reader.change_token() == token
    assert time.process_time() - start < 0.2
    assert questions(reader) == asked
    put(writer, "alice", "x")
    until(lambda: reader.change_token() != token, "a notification", 10)
    token = reader.change_token()
    put(reader, "alice", "y")
    assert reader.change_token() != token, "its own write was not seen at once"


def test_eventual_readers_ask_even_if_nobody_tells_them(opened: Open, postgres: PostgresServer, database: str) -> None:
    reader = opened("?reads=eventual&poll=0.2")
    token = reader.change_token()
    with postgres.connect(database) as side:  # a commit whose notification was lost
        side.execute("INSERT INTO memos.store (key, value) VALUES ('x', 'y')")
    until(lambda: reader.change_token() != token, "a question of its own", 10)


# -- processes --------------------------------------------------------------------------------------------------------


def test_a_forked_child_leaves_the_parents_connections_alone(postgres_url: str, tmp_path: Path) -> None:
    with MOS.open(postgres_url, cache=tmp_path) as mos:
        mos.session("alice").add("before the fork")
        child = os.fork()
        if not child:
            code = 1
            try:
                hers = mos.session("alice")
                hers.add("from the child")
                code = 0 if len(hers.search("child")) == 1 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        mos.session("alice").add("after the fork")
        assert len(mos.session("alice").list()) == 3
        assert mos.verify() == []
