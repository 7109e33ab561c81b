"""If this fails, a busy day with crashes in it loses memories that were acknowledged, or hides them from searches."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from servers import PostgresServer
from telling import started

from memos_core import MOS

WRITER = """
    import sys
    from memos_core import MOS
    with MOS.open(sys.argv[1], cache=sys.argv[2], deadline=60) as mos:
        print("ready", "", flush=True)
        for n in range(int(sys.argv[4])):
            word = f"word{sys.argv[3]}x{n}"
            me = mos.session("alice" if n % 2 else "bob")
            try:
                me.add([f"{word} first", f"{word} second"])
            except Exception as error:
                print("failed", type(error).__name__, flush=True)
            else:
                print("added", word, flush=True)
"""
SEARCHER = """
    import sys
    from memos_core import MOS
    with MOS.open(sys.argv[1], cache=sys.argv[2], deadline=60) as mos:
        print("ready", "", flush=True)
        for line in sys.stdin:
            word = line.strip()
            found = mos.session("alice", read_from=["alice", "bob"], write_to=[]).search(word, top_k=5)
            print(sum(word in hit.text.split() for hit in found), flush=True)
"""


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_writers_and_searchers_with_crashes(own_postgres: PostgresServer, tmp_path: Path, rounds: Any) -> None:
    """Processes write and search; writers are killed, connections terminated, the server crashes and comes back.

    Whatever was acknowledged is found, at once and in the end; nothing is there in part, and the audit chain holds.
    """
    url, chance = own_postgres.url(), random.Random(7)
    count = rounds(30, 2000)
    with MOS.open(url, cache=tmp_path / "own") as mos:
        mos.session("alice").add("hello")
        mos.session("bob").add("hello")
        mos.share("bob", with_="alice")
    writers = [started(WRITER, url, tmp_path / f"w{n % 2}", str(n), str(count)) for n in range(3)]
    searchers = [started(SEARCHER, url, tmp_path / f"s{n}") for n in range(2)]
    for each in (*writers, *searchers):  # whoever opens a store while its server is down gets an error at once
        assert each.stdout
        assert each.stdout.readline().strip() == "ready"
    added: list[str] = []
    failed: list[str] = []

    def listen(process: Any) -> None:
        for line in process.stdout:
            what, word = line.split()
            (added if what == "added" else failed).append(word)

    listeners = [threading.Thread(target=listen, args=(writer,)) for writer in writers]
    for listener in listeners:
        listener.start()
    victim, until_crash = 0, time.monotonic() + 1
    while any(writer.poll() is None for writer in writers):
        if added:
            asked = chance.choice(added)
            searcher = chance.choice(searchers)
            searcher.stdin.write(f"{asked}\n")
            searcher.stdin.flush()
            answer = searcher.stdout.readline()
            assert answer, searcher.stderr.read()
            assert answer == "2\n", f"{asked} was acknowledged and is not found"
        if time.monotonic() > until_crash:
            until_crash = time.monotonic() + chance.uniform(0.5, 2)
            crash = chance.choice(["writer", "connections", "server"])
            if crash == "writer" and victim == 0:
                writers[victim].kill()
                victim += 1
            elif crash == "connections":
                with own_postgres.connect() as side:
                    side.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'memos'"
                    )
            else:
                own_postgres.stop("immediate")
                own_postgres.start()
    for listener in listeners:
        listener.join(60)
    for searcher in searchers:
        searcher.stdin.close()
        assert searcher.wait(60) == 0, searcher.stderr.read()
    assert added
    assert set(failed) <= {"StoreUnreachable"}
    with MOS.open(url, cache=tmp_path / "fresh") as mos:
        assert mos.verify() == []
        texts = [item.text for name in ("alice", "bob") for item in mos.session(name).list(limit=10_000)]
    assert len(texts) == len(set(texts)) + 1, "something was stored twice"  # "hello" is in both cubes
    firsts = {text.split()[0] for text in texts if text.endswith("first")}
    seconds = {text.split()[0] for text in texts if text.endswith("second")}
    assert firsts == seconds, "a write was kept in part"
    assert set(added) <= firsts, "something acknowledged was lost"
