"""If these fail, somebody whose memory lives on a PostgreSQL server does not get what the README promises of any store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_running import Memos
from liking import Ruled
from servers import PostgresServer
from telling import in_another_process, started, texts

from memos_core import MOS, F


def test_a_memory_from_the_first_day_to_the_last(postgres_url: str, tmp_path: Path) -> None:
    with MOS.open(postgres_url, embedder="hashing", cache=tmp_path) as mos:
        alice = mos.session("alice", conversation="thread-1")
        added = alice.add(
            [
                {"role": "user", "content": "I moved to Lisbon in May.", "id": "m1"},
                {"role": "assistant", "content": "Noted!", "id": "m2"},
            ]
        )
        alice.add("The rent is 900 euros.", key="rent", tags=["home"], metadata={"amount": 900})
        alice.update(key="rent", text="The rent is 950 euros.", metadata={"amount": 950})
        assert texts(alice.search("rent", where=F.amount >= 950)) == ["The rent is 950 euros."]
        assert texts(alice.search("rent", where=F.amount < 950, as_of=3)) == ["The rent is 900 euros."]
        alice.delete(added.ids[0])
        assert "Lisbon" not in " ".join(texts(alice.search("Lisbon", top_k=10)))
        alice.restore(added.ids[0])
        assert alice.search("Lisbon")[0].text == "I moved to Lisbon in May."
        assert [version.item.text for version in alice.history(key="rent")] == [
            "The rent is 900 euros.",
            "The rent is 950 euros.",
        ]
        mos.share("alice", with_="bob", rights="read")
        assert len(mos.session("bob", read_from=["alice"], write_to=[]).search("rent")) > 0
        assert mos.verify() == []
        stats = mos.stats()
    with MOS.open(
        postgres_url, cache=tmp_path / "elsewhere"
    ) as mos:  # on another machine: the index comes from the truth
        assert mos.stats()["store_id"] == stats["store_id"]
        assert mos.session("alice").search("rent")[0].text == "The rent is 950 euros."
        assert mos.reembed("hashing") == 4
        assert mos.verify() == []


def test_two_processes_see_each_others_writes_at_once(postgres_url: str, tmp_path: Path) -> None:
    """As soon as one has been told that its memory is stored, the other finds it: every time, without waiting."""
    code = """
        import sys
        from memos_core import MOS
        with MOS.open(sys.argv[1], cache=sys.argv[2]) as mos:
            alice = mos.session("alice")
            print("ready", flush=True)
            for line in sys.stdin:
                what, word = line.split()
                if what == "add":
                    alice.add(f"the word is {word}")
                    print("added", flush=True)
                else:
                    print(len([h for h in alice.search(word, top_k=3) if word in h.text]), flush=True)
    """
    with MOS.open(postgres_url, cache=tmp_path / "here") as mos:
        here = mos.session("alice")
        here.add("hello")
        there = started(code, postgres_url, tmp_path / "there")
        assert there.stdin
        assert there.stdout
        assert there.stdout.readline() == "ready\n"
        for n in range(15):
            there.stdin.write(f"add foreign{n}\n")
            assert there.stdout.readline() == "added\n"
            assert here.search(f"foreign{n}", top_k=1)[0].text == f"the word is foreign{n}"
            here.add(f"the word is mine{n}")
            there.stdin.write(f"search mine{n}\n")
            assert there.stdout.readline() == "1\n"
        there.stdin.close()
        assert there.wait(30) == 0


def test_processes_that_share_a_cache_do_not_get_in_each_others_way(postgres_url: str, tmp_path: Path) -> None:
    code = """
        import sys
        import numpy as np
        from memos_core import MOS
        with MOS.open(sys.argv[1], embedder="given:2", cache=sys.argv[2]) as mos:
            me = mos.session("alice")
            for n in range(3):
                words = [f"{sys.argv[3]} {n} {m}" for m in range(700)]
                me.add(words, vectors=np.ones((700, 2), dtype="f4"))
                assert me.search(words[-1], top_k=1)[0].text == words[-1]
            me.search("x")
    """
    running = [started(code, postgres_url, tmp_path, name) for name in ("one", "two")]
    for each in running:
        _, complained = each.communicate(timeout=120)
        assert each.returncode == 0, complained
    with MOS.open(postgres_url, cache=tmp_path) as mos:
        assert mos.verify() == []
        assert mos.cubes()[0].changes == 4200


def test_several_stores_in_one_database(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    one, two = (postgres.url(database, more=f"?schema={name}") for name in ("team_a", "team_b"))
    with MOS.open(one, cache=tmp_path) as first, MOS.open(two, cache=tmp_path) as second:
        first.session("alice").add("for the first")
        assert second.cubes() == []
        second.session("alice").add("for the second")
        assert texts(first.session("alice").list()) == ["for the first"]
        assert texts(second.session("alice").search("for")) == ["for the second"]
        assert first.stats()["store_id"] != second.stats()["store_id"]


@pytest.fixture
def memos(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Memos:
    monkeypatch.chdir(tmp_path)
    made = Memos(tmp_path)
    made.env |= {"MEMOS_STORE": postgres_url, "MEMOS_CACHE": str(tmp_path / "cache")}
    return made


def test_the_command_line_works_with_a_url(memos: Memos) -> None:
    error = memos("search", "x", "--json", code=5).error
    assert error["type"] == "StoreNotFound"
    assert "schema 'memos'" in error["message"]
    ran = memos("add", "I moved to Lisbon in May.", "--tag", "home", "--key", "move", "--embedder", "hashing")
    assert "made a new store at postgresql://" in ran.err
    (memos.folder / "notes.md").write_text("# Notes\n\nThe server is called Hekla.\n", "utf-8")
    memos("ingest", "notes.md")
    assert "Lisbon" in memos("search", "Lisbon").out
    assert "Hekla" in memos("search", "Hekla", "--json").out
    memos("update", "--key", "move", "--text", "I moved to Porto in May.")
    assert len(memos("history", "--key", "move", "--json").lines) == 2
    memos("cubes", "share", "alice", "--with", "bob")
    memos("verify")
    memos("reindex")
    stats = memos("stats", "--json").json
    assert stats["store"]["disk_bytes"] is None
    memos("stats")
    memos("reembed", "none", "--yes")
    assert "Porto" in memos("search", "Porto", "--quiet").out
    assert memos("list", "--json").lines
    done = in_another_process(
        "from memos_core import MOS; import sys; print(MOS.open(sys.argv[1]).cubes()[0].name)", memos.env["MEMOS_STORE"]
    )
    assert done == "alice"


def test_a_store_on_a_server_is_backed_up_restored_and_looked_after(
    memos: Memos, postgres: PostgresServer, database: str
) -> None:
    memos("add", "The lighthouse is red.", "--embedder", "hashing", "--quiet")
    memos("cubes", "share", "alice", "--with", "bob")
    memos("backup", "safe")
    memos("add", "The harbour is deep.", "--quiet")
    memos("backup", "safe")
    again = postgres.url(database, more="?schema=again").replace("postgres@", "postgres:hush-hush@")
    ran = memos("restore", "--from", "safe", "--store", again)
    assert "hush-hush" not in ran.out + ran.err
    memos("restore", "--from", "safe", "--store", "folder")  # and out of a server's backup a folder
    for place in (again, "folder"):
        assert len(memos("list", "--json", "--store", place).lines) == 2
        memos("verify", "--store", place)
        memos("add", "It goes on.", "--store", place, "--as", "carol", "--quiet")
    assert memos("restore", "--from", "safe", "--store", again, "--json", code=4).error["type"] == "AlreadyExists"
    memos("vacuum")
    states = {each["name"]: each["state"] for each in memos("doctor", "--json", code=1).lines}
    assert states.pop("settings") == "problem"  # this server runs without fsync: for tests that is enough
    assert "problem" not in states.values()
    assert states["write"] == "ok"
    gone = memos("doctor", "--json", "--store", "postgresql://me@127.0.0.1:1/x", code=1).lines
    assert "cannot be reached" in gone[-1]["found"]
    assert memos("doctor", "--store", postgres.url(database, more="?schema=nothing")).out


def test_a_memos_toml_may_name_a_url(memos: Memos) -> None:
    config = memos.folder / "memos.toml"
    config.write_text(f"location = {json.dumps(memos.env['MEMOS_STORE'])}\nembedder = 'hashing'\ncache = './kept'\n")
    memos("add", "The lighthouse is red.", "--config", config)
    assert "lighthouse" in memos("search", "red", "--config", config).out
    with MOS.from_config(config) as mos:
        assert mos.session("alice").search("red")


def test_preferences_are_found_by_a_worker_on_another_machine(postgres_url: str, tmp_path: Path) -> None:
    with MOS.open(postgres_url, cache=tmp_path / "a", model="liking:Ruled", preferences=True) as mos:
        alice = mos.session("alice", conversation="chat")
        first = alice.add({"role": "user", "content": "I love tea. I had pizza again."})
        with MOS.open(postgres_url, cache=tmp_path / "b", model=Ruled()) as worker:
            worker.scheduler.run_pending()
        assert texts(alice.preferences()) == ["alice likes tea."]
        alice.add({"role": "user", "content": "I no longer like tea."}, wait=False)
        mos.scheduler.run_pending()
        assert alice.preferences() == []
        assert len(alice.preferences(include=["archived", "generated"])) == 2
        alice.erase(first.id, reason="asked to")
        assert alice.preferences(include=["archived", "generated"]) == []
        assert mos.verify() == []
