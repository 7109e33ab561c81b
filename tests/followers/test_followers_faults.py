"""If this fails, a Chroma that is down, damaged, shared or foreign costs memories, or hours, instead of a remark."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chroma_running import Server, free_port, until
from followed import DIMS, at, degraded, fill, near, open_followed, scan, vectors

from memos_core import MOS
from memos_core.errors import FollowerUnavailable
from memos_core.stores import vector_follower
from memos_core.stores.chroma import collection_name
from memos_core.stores.chroma_places import IN_USE
from memos_core.stores.leases import Lease

pytestmark = pytest.mark.usefixtures("embedded")
QUERY = vectors(1, 99)[0]


def collection(mos: MOS, client: Any) -> Any:
    """The collection of alice's vectors, by a way of its own."""
    follower = mos._followers._follower(mos._store.cube("alice"))  # type: ignore[arg-type]
    return client.get_collection(collection_name(follower.mine), embedding_function=None)


def ready(mos: MOS) -> None:
    """Caught up, and asked."""
    mos.cube("alice").catch_up()
    assert degraded(mos) is None


def recovers(mos: MOS) -> None:
    """Without being told to: searches wake it up."""
    until(lambda: degraded(mos) is None)


# -- a server that goes away ---------------------------------------------------------------------------------------


def test_a_server_that_stops_costs_a_remark_and_is_asked_again_when_it_is_back(tmp_path: Path, server: Server) -> None:
    with open_followed(tmp_path / "store", server.spec) as mos:
        made = fill(mos, 200)
        ready(mos)
        server.stop()
        for _ in range(3):
            found = mos.cube("alice").nearest(QUERY, 5)
            assert "the embedded index answers" in str(found.degraded)
            assert [round(score, 5) for _, score in found] == scan(made, QUERY)
        assert any("cannot be compared" in each.what for each in mos.verify())
        more = fill(mos, 50, seed=1)
        server.start()
        recovers(mos)
        mos.cube("alice").catch_up()
        assert [score for _, score in near(mos, QUERY)] == scan(np.vstack([made, more]), QUERY)
        assert mos.verify() == []


def test_a_server_that_hangs_costs_the_deadline_and_then_nothing(tmp_path: Path, server: Server) -> None:
    with open_followed(tmp_path / "store", server.spec, vectors_deadline=0.5) as mos:
        made = fill(mos, 200)
        ready(mos)
        server.freeze()
        began = time.monotonic()
        assert "has not answered within 0.5 seconds" in str(degraded(mos))
        assert time.monotonic() - began < 5
        began = time.monotonic()
        found = mos.cube("alice").nearest(QUERY, 5)  # it rests: nobody waits again at once
        assert time.monotonic() - began < 0.4
        assert [round(score, 5) for _, score in found] == scan(made, QUERY)
        server.thaw()
        recovers(mos)


def test_a_server_that_stops_while_it_is_followed_is_followed_on_from_there(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_follower, "BATCH", 50)
    with open_followed(tmp_path / "store", server.spec) as mos:
        fill(mos, 200)
        ready(mos)
        cube = mos._store.cube("alice")
        assert cube is not None
        follower = mos._followers._follower(cube)
        fill(mos, 400, seed=1)
        held = follower.held
        assert held is not None
        upsert, calls = held.upsert, []

        def stopping(seqs: Any, rows: Any) -> None:
            upsert(seqs, rows)
            calls.append(len(seqs))
            if len(calls) == 3:
                server.stop()

        held.upsert = stopping  # type: ignore[method-assign]
        with pytest.raises(FollowerUnavailable):
            mos.cube("alice").catch_up()
        assert calls == [50, 50, 50]
        born = follower.mark.born
        assert degraded(mos) is not None
        server.start()
        recovers(mos)
        mos.cube("alice").catch_up()
        assert at(mos)["seq"] == 600
        assert born in ("", follower.mark.born)
        assert mos.verify() == []


class Says(http.server.BaseHTTPRequestHandler):
    """Somebody else's server."""

    def do_GET(self) -> None:
        body = b"<html>welcome to the printer</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def printer() -> Iterator[int]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Says)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made.server_port
    made.shutdown()
    made.server_close()


def test_the_wrong_server_is_no_chroma(tmp_path: Path, printer: int) -> None:
    with socket.socket() as silent:  # takes connections and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for port in (printer, free_port(), silent.getsockname()[1]):
            folder = tmp_path / str(port)
            with open_followed(folder, f"chroma:http://127.0.0.1:{port}", vectors_deadline=0.5) as mos:
                made = fill(mos, 100)
                assert degraded(mos) is not None
                if port != silent.getsockname()[1]:
                    said = until(lambda mos=mos: (text := str(degraded(mos))) * ("being opened" not in text))
                    assert f"127.0.0.1:{port}" in said
                assert [score for _, score in near(mos, QUERY)] == scan(made, QUERY)


# -- a folder -------------------------------------------------------------------------------------------------------

OTHER = """
import sys
from followed import at, degraded, fill, open_followed
with open_followed(sys.argv[1], "chroma") as mos:
    mos.cube("alice").catch_up()
    print(degraded(mos), flush=True)
    sys.stdin.readline()
"""


def start(script: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    here = str(Path(__file__).parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    command = [sys.executable, "-c", script, *map(str, args)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options)


def test_a_folder_is_one_process_s_and_the_other_reads_here(tmp_path: Path) -> None:
    with open_followed(tmp_path / "store", "chroma") as mos:
        made = fill(mos, 200)
    other = start(OTHER, tmp_path / "store")
    assert other.stdout is not None
    assert other.stdout.readline().strip() == "None"
    with open_followed(tmp_path / "store") as mos:
        until(lambda: "in use by another process" in str(degraded(mos)))
        assert f"(process {other.pid})" in str(degraded(mos))
        assert [score for _, score in near(mos, QUERY)] == scan(made, QUERY)
        assert ["in use by another process" in found.what for found in mos.verify()] == [True]
        with pytest.raises(FollowerUnavailable, match="in use by another process"):
            mos.cube("alice").catch_up()
        other.communicate("\n", timeout=60)
        recovers(mos)
        assert mos.verify() == []


def test_a_child_process_of_fork_leaves_the_folder_to_its_parent(tmp_path: Path) -> None:
    with open_followed(tmp_path / "store", "chroma") as mos:
        made = fill(mos, 200)
        ready(mos)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                found = mos.cube("alice").nearest(QUERY, 5)
                until(lambda: "in use by another process" in str(degraded(mos)))
                right = [round(score, 5) for _, score in found] == scan(made, QUERY)
                os.write(write, b"right" if right else b"wrong")
                mos.close()
            finally:
                os._exit(0)
        os.close(write)
        with open(read, "rb") as answer:
            assert answer.read() == b"right"
        os.waitpid(child, 0)
        assert degraded(mos) is None
        fill(mos, 10, seed=1)
        mos.cube("alice").catch_up()
        assert mos.verify() == []
    assert not (tmp_path / "store" / "chroma" / IN_USE).exists()


FLUSHING = """
import sys
from memos_core.stores import vector_follower
from followed import fill, open_followed
vector_follower.BATCH = 300
with open_followed(sys.argv[1], "chroma") as mos:
    print("open", flush=True)
    for seed in range(int(sys.argv[2]), 100000):
        fill(mos, 600, seed=seed)
        mos.cube("alice").catch_up()
        print(seed, flush=True)
"""


def test_kill_during_a_flush_loses_nothing_and_is_put_right(tmp_path: Path, rounds: Any) -> None:
    random = np.random.default_rng(7)
    store, seed = tmp_path / "store", 0
    with open_followed(store, "chroma") as mos:
        fill(mos, 300, seed=99_999)
    for _ in range(rounds(2, 60)):
        process = start(FLUSHING, store, seed)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "open"
        time.sleep(float(random.uniform(0.3, 2.0)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with open_followed(store) as mos:
            stored = mos.cube("alice").stats()["items"]
            seed = stored // 600 + 1
            found = mos.cube("alice").nearest(QUERY, 20)
            held = mos._store.dense_vectors(mos._store.cube("alice"), range(1, stored + 1))  # type: ignore[arg-type]
            truth = np.array([np.frombuffer(raw, dtype="<f4") for raw in held.values()])
            assert len(truth) == stored
            assert [round(score, 5) for _, score in found] == scan(truth, QUERY, 20)
            until(lambda: degraded(mos) is None, seconds=120)
            mos.cube("alice").catch_up()
            assert mos.verify() == []
            assert [score for _, score in near(mos, QUERY, 20)] == scan(truth, QUERY, 20)


def test_a_damaged_folder_is_found_by_the_probe_and_filled_anew(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with open_followed(store, "chroma") as mos:
        fill(mos, 3000)
        ready(mos)
    folder = store / "chroma"
    damaged = 0
    for path in folder.glob("*/*.bin"):
        raw = bytearray(path.read_bytes())
        raw[: len(raw) // 2] = bytes(len(raw) // 2)
        path.write_bytes(raw)
        damaged += 1
    assert damaged, "there is nothing on disk that could be damaged"
    (folder / IN_USE).write_text("1")
    with open_followed(store) as mos:
        mos.cube("alice").catch_up()
        assert degraded(mos) is None
        assert mos.verify() == []
        assert at(mos)["seq"] == 3000


def test_a_database_that_is_no_database_is_filled_anew_after_an_unclean_stop(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with open_followed(store, "chroma") as mos:
        fill(mos, 100)
        ready(mos)
    (store / "chroma" / "chroma.sqlite3").write_bytes(b"no database" * 1000)
    (store / "chroma" / IN_USE).write_text("1")
    with open_followed(store) as mos:
        mos.cube("alice").catch_up()
        assert degraded(mos) is None
        assert mos.verify() == []


FULL = """
import resource, signal, sys
from memos_core.errors import StoreError
from followed import degraded, fill, near, open_followed, scan, vectors
from memos_core.stores import leases, vector_follower
vector_follower.STEP_SECONDS = leases.Lease.__init__.__kwdefaults__["seconds"] = 5.0
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
query = vectors(1, 99)[0]
with open_followed(sys.argv[1], "chroma") as mos:
    made = fill(mos, 5000)
    mos.cube("alice").nearest(query, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    try:
        mos.cube("alice").catch_up()
        print("no error")
    except StoreError as error:  # that of the truth, where it meets the full disk first
        print("unavailable:", error)
    print(degraded(mos) is not None, [score for _, score in near(mos, query)] == scan(made, query), flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def test_a_full_disk_while_building_costs_a_remark(tmp_path: Path) -> None:
    process = start(FULL, tmp_path / "store")
    out, err = process.communicate(timeout=120)
    lines = out.splitlines()
    assert lines[0].startswith("unavailable:"), out + err
    assert lines[1] == "True True", out + err
    with open_followed(tmp_path / "store") as mos:
        until(lambda: degraded(mos) is None, seconds=120)
        mos.cube("alice").catch_up()
        assert mos.verify() == []


# -- behind our back ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """`vectors=` of either kind."""
    return "chroma" if request.param == "folder" else request.getfixturevalue("chroma")


def client_of(mos: MOS) -> Any:
    tables: Any = mos._followers._tables
    return tables._clients.client()


def test_a_collection_that_was_deleted_is_made_anew(tmp_path: Path, place: str) -> None:
    with open_followed(tmp_path / "store", place) as mos:
        made = fill(mos, 200)
        ready(mos)
        client = client_of(mos)
        client.delete_collection(collection(mos, client).name)
        found = mos.cube("alice").nearest(QUERY, 5)
        assert found.degraded is not None
        assert [round(score, 5) for _, score in found] == scan(made, QUERY)
        recovers(mos)
    with open_followed(tmp_path / "store") as mos:
        client = client_of(mos)
        client.delete_collection(collection(mos, client).name)
        assert any("has no vectors of it" in each.what for each in mos.verify())
        assert all(each.repaired for each in mos.verify(repair=True))
        assert mos.verify() == []
        assert degraded(mos) is None


def test_what_was_changed_in_it_is_found_by_verify_and_repaired(tmp_path: Path, place: str) -> None:
    with open_followed(tmp_path / "store", place) as mos:
        fill(mos, 200)
        ready(mos)
        theirs = collection(mos, client_of(mos))
        theirs.delete(ids=["3", "4"])
        theirs.upsert(ids=["5", "777"], embeddings=[[1.0] * DIMS, [0.5] * DIMS])
        said = [each.what for each in mos.verify()]
        assert len(said) == 4
        assert all(each.part == "vectors" for each in mos.verify())
        for what in ("change 3 is missing", "change 4 is missing", "change 777 should not", "change 5 is not that"):
            assert any(what in each for each in said), said
        assert all(each.repaired for each in mos.verify(repair=True))
        assert mos.verify() == []
        assert degraded(mos) is None


def test_vectors_that_were_lost_are_put_back_by_the_next_opening(tmp_path: Path, place: str) -> None:
    with open_followed(tmp_path / "store", place) as mos:
        fill(mos, 200)
        ready(mos)
        born = collection(mos, client_of(mos)).metadata["memos_born"]
        collection(mos, client_of(mos)).delete(ids=[str(n) for n in range(1, 100)])
    with open_followed(tmp_path / "store") as mos:
        ready(mos)
        assert mos.verify() == []
        assert collection(mos, client_of(mos)).metadata["memos_born"] == born


def test_a_collection_of_somebody_else_under_our_name_is_left_alone_until_it_is_asked_for(
    tmp_path: Path, place: str
) -> None:
    with open_followed(tmp_path / "store", place) as mos:
        made = fill(mos, 200)
        ready(mos)
        client = client_of(mos)
        name = collection(mos, client).name
        client.delete_collection(name)
        client.create_collection(name, embedding_function=None, metadata={"whose": "mine"}).add(
            ids=["1"], embeddings=[[1.0, 2.0]], documents=["precious"]
        )
        until(lambda: "is not what memos made" in str(degraded(mos)))
        assert [score for _, score in near(mos, QUERY)] == scan(made, QUERY)
        assert client.get_collection(name, embedding_function=None).get()["documents"] == ["precious"]
        assert any("something else under its name" in each.what for each in mos.verify())
        mos.reindex("alice")
        assert mos.verify() == []
        assert degraded(mos) is None


def test_a_collection_of_a_truth_that_went_another_way_is_stale(tmp_path: Path, chroma: str) -> None:
    store = tmp_path / "store"
    with open_followed(store, chroma) as mos:
        fill(mos, 100)
    copy = (store / "memos.db").read_bytes()
    with open_followed(store) as mos:
        fill(mos, 100, seed=1)
        ready(mos)
    (store / "memos.db").write_bytes(copy)  # a backup is put back
    for path in store.glob("memos.db-*"):
        path.unlink()
    with open_followed(store) as mos:
        made = fill(mos, 150, seed=2)
        assert any("is stale" in each.what for each in mos.verify())
        ready(mos)
        assert mos.verify() == []
        assert near(mos, made[3], 1)[0][1] == 1.0


def test_two_processes_follow_into_one_server_under_a_lease(tmp_path: Path, chroma: str) -> None:
    store = tmp_path / "store"
    with open_followed(store, chroma) as mos:
        fill(mos, 1200)
        others = [start(OTHER.replace('"chroma"', "None"), store) for _ in range(2)]
        mos.cube("alice").catch_up()
        for other in others:
            _, err = other.communicate("\n", timeout=120)
            assert other.returncode == 0, err
        until(lambda: (mos.cube("alice").catch_up(), at(mos)["seq"] == 1200)[1])
        assert mos.verify() == []


def test_who_has_lost_the_lease_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_follower, "BATCH", 50)
    with open_followed(tmp_path / "store", "chroma") as mos:
        fill(mos, 300)
        renewed: list[bool] = []

        def renew(self: Lease) -> bool:
            renewed.append(len(renewed) < 2)
            return renewed[-1]

        monkeypatch.setattr(Lease, "renew", renew)
        mos.cube("alice").catch_up()
        assert at(mos)["seq"] == 100, "it went on although somebody else has the lease"
        monkeypatch.undo()
        mos.cube("alice").catch_up()
        assert at(mos)["seq"] == 300
        assert mos.verify() == []


def test_closing_ends_what_goes_on_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_follower, "BATCH", 20)
    mos = open_followed(tmp_path / "store", "chroma", vectors_deadline=0.01)
    fill(mos, 4000)
    degraded(mos)  # wakes it
    began = time.monotonic()
    mos.close()
    assert time.monotonic() - began < 20
    assert not [thread for thread in threading.enumerate() if thread.name == "memos-vectors"]
    assert not (tmp_path / "store" / "chroma" / IN_USE).exists()
    monkeypatch.undo()
    with open_followed(tmp_path / "store") as mos:
        ready(mos)
        assert mos.verify() == []


def test_a_server_without_answer_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    script = OTHER.replace('mos.cube("alice").catch_up()', "").replace('"chroma"', "sys.argv[2], vectors_deadline=0.2")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with open_followed(tmp_path / "store") as mos:
            fill(mos, 100)
        process = start(script, tmp_path / "store", f"chroma:http://127.0.0.1:{silent.getsockname()[1]}")
        out, err = process.communicate("\n", timeout=60)
        assert process.returncode == 0, err
        assert "the embedded index answers" in out
