"""If this fails, asking Chroma or a host's store for candidates changes what a search finds, or a search says nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chroma_running import until
from followed import DIMS, at, degraded, fill, near, open_followed, scan, vectors
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core.vector_stores import SimpleVectorStore

from memos_core import MOS, F
from memos_core.aio import AsyncMOS
from memos_core.errors import ForeignStore, InvalidConfig
from memos_core.stores.host_vectors import GivenEmbeddings

pytestmark = pytest.mark.usefixtures("embedded")
ROWS = 5000  # more than all signals are computed for without choosing first


def told(hits: Any) -> list[tuple[str, float]]:
    return [(hit.text, round(hit.score, 6)) for hit in hits]


def test_a_hybrid_search_finds_the_same_with_and_without_candidates_of_chroma(tmp_path: Path) -> None:
    made = vectors(ROWS)
    with open_followed(tmp_path / "store", "chroma") as mos:
        session = mos.session("alice")
        texts = [f"fact {n} about topic{n % 97}" for n in range(ROWS)]
        session.add(texts, vectors=made, metadata={"half": "first"})
        mos.cube("alice").catch_up()
        session.add("a late one about topic5", vectors=made[:1] + 0.01)
        session.delete(session.list(limit=1, order="created", newest_first=False)[0].id)
        asked = at(mos)["asked"]
        questions: list[tuple[str, dict[str, Any]]] = [
            ("topic5", {}),
            ("topic13", {"top_k": 40}),
            ("nothing of the kind", {}),
            ("topic5", {"where": F.half == "first"}),
            ("topic5", {"where": F.text.contains("topic1")}),
            ("topic5", {"as_of": 100}),
        ]
        found = [session.search(text, vector=made[n] + made[n + 1], **more) for n, (text, more) in enumerate(questions)]
        assert [hits.degraded for hits in found] == [None] * len(found)
        assert at(mos)["asked"] - asked >= 4, "Chroma was not asked"
    with open_followed(tmp_path / "store", "none") as mos:
        session = mos.session("alice")
        for n, (text, more) in enumerate(questions):
            assert told(session.search(text, vector=made[n] + made[n + 1], **more)) == told(found[n]), text


def test_every_write_is_found_at_once_however_late_the_follower_is(tmp_path: Path) -> None:
    with open_followed(tmp_path / "store", "chroma") as mos:
        made = fill(mos, 200)
        mos.cube("alice").catch_up()
        before = at(mos)
        query = made[7]
        session = mos.session("alice")
        own = session.search("fact 7", vector=query, top_k=1)[0]
        assert own.text.startswith("fact 7 ")
        session.add("the same again", vectors=query[None, :])
        assert {text for text, _ in near(mos, query, 2)} == {own.text, "the same again"}
        session.delete(own.id)
        assert near(mos, query, 1) == [("the same again", 1.0)]
        assert before["seq"] <= at(mos)["seq"] <= before["seq"] + 2  # it follows on a thread of its own


def test_a_filter_is_handed_over_as_ids_or_answered_here(tmp_path: Path) -> None:
    with open_followed(tmp_path / "store", "chroma") as mos:
        made = fill(mos, 400)
        mos.cube("alice").catch_up()
        query = vectors(1, 5)[0]
        for where, share in ((F.text.contains("topic3"), [n % 7 == 3 for n in range(400)]), (None, [True] * 400)):
            kept = made[np.array(share)]
            assert [score for _, score in near(mos, query, 5, where=where)] == scan(kept, query)
        assert near(mos, query, 5, as_of=10) == near(mos, query, 5, as_of=10)
        assert [score for _, score in near(mos, query, 5, as_of=10)] == scan(made[:10], query)
        assert at(mos)["asked"] == 2


def test_small_cubes_are_left_to_the_embedded_index(tmp_path: Path) -> None:
    with open_followed(tmp_path / "store", "chroma", vectors_from=300) as mos:
        fill(mos, 200)
        assert degraded(mos) is None
        mos.cube("alice").catch_up()
        assert mos.cube("alice").stats()["vectors_at"] is None
        fill(mos, 100, seed=1)
        mos.cube("alice").catch_up()
        assert degraded(mos) is None
        assert at(mos)["asked"] == 1


def test_it_is_remembered_without_its_secret_and_can_be_forgotten(tmp_path: Path) -> None:
    url = "http://user:geheim@127.0.0.1:9/?tenant=t1"
    with open_followed(tmp_path / "store", f"chroma:{url}", vectors_deadline=0.2) as mos:
        fill(mos, 20)
        said = degraded(mos)
        assert said is not None
        assert "geheim" not in said
        assert "geheim" not in str(mos.stats())
    assert b"geheim" not in b"".join(path.read_bytes() for path in (tmp_path / "store").glob("memos.db*"))
    with open_followed(tmp_path / "store") as mos:
        assert mos.stats()["vectors"] == "chroma:http://127.0.0.1:9?tenant=t1"
        assert degraded(mos) is not None
    with open_followed(tmp_path / "store", "none") as mos:
        assert degraded(mos) is None
    with open_followed(tmp_path / "store") as mos:
        assert mos.stats()["vectors"] is None
        assert degraded(mos) is None


def test_a_folder_in_the_store_is_found_again_after_moving_the_store(tmp_path: Path) -> None:
    with open_followed(tmp_path / "store", "chroma") as mos:
        fill(mos, 50)
        mos.cube("alice").catch_up()
        born = (tmp_path / "store" / "chroma").exists()
    assert born
    (tmp_path / "store").rename(tmp_path / "moved")
    with open_followed(tmp_path / "moved") as mos:
        mos.cube("alice").catch_up()
        assert at(mos)["name"] == f"chroma:{tmp_path / 'moved' / 'chroma'}"
        assert mos.verify() == []
    assert not (tmp_path / "store").exists()


def test_what_cannot_be_followed_is_refused_when_it_is_said(tmp_path: Path) -> None:
    for wrong in ("nobody", "chroma:ftp://x", "chroma:http://", "chroma:http://x/path", 5, object()):
        with pytest.raises(InvalidConfig):
            MOS.open(tmp_path / "store", vectors=wrong)
    for name, value in (
        ("vectors_from", -1),
        ("vectors_from", "5"),
        ("vectors_deadline", 0),
        ("vectors_deadline", True),
    ):
        with pytest.raises(InvalidConfig, match=name):
            MOS.open(tmp_path / "store", vectors="chroma", **{name: value})  # type: ignore[arg-type]
    other = tmp_path / "theirs"
    other.mkdir()
    (other / "chroma.sqlite3").write_bytes(b"")
    with pytest.raises(ForeignStore, match="memos import chroma"):
        MOS.open(tmp_path / "store", vectors=f"chroma:{other}")
    with pytest.raises(InvalidConfig, match="GivenEmbeddings"):
        MOS.open(tmp_path / "store", vectors=InMemoryVectorStore(Embeds()))


class Embeds:
    """An embedding model of somebody's own."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0] * DIMS for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return [1.0] * DIMS


@pytest.mark.parametrize("make", [lambda: InMemoryVectorStore(GivenEmbeddings()), SimpleVectorStore], ids=["lc", "li"])
def test_one_store_of_a_host_follows_several_cubes(tmp_path: Path, make: Any) -> None:
    with open_followed(tmp_path / "store", make()) as mos:
        mine, theirs = fill(mos, 150, seed=1), fill(mos, 150, seed=2, name="bob")
        for name in ("alice", "bob"):
            mos.cube(name).catch_up()
        query = vectors(1, 3)[0]
        for name, made in (("alice", mine), ("bob", theirs)):
            found = mos.cube(name).nearest(query, 5)
            assert [round(score, 5) for _, score in found] == scan(made, query)
            assert found.degraded is None
            assert mos.cube(name).stats()["vectors_at"]["asked"] == 1
        crowd = np.repeat(query[None, :], 200, axis=0) + 1e-3 * vectors(200, 4)
        mos.session("bob").add([f"near {n}" for n in range(200)], vectors=crowd)
        mos.cube("bob").catch_up()
        row = mos._store.cube("alice")
        assert row is not None
        table = mos._followers._follower(row).held
        assert table is not None
        assert len(table.nearest(query, 5)) == 5, "the vectors of another cube stand in the way"
        assert mos.verify() == []
        mos.reindex("alice")
        assert [score for _, score in near(mos, query)] == scan(mine, query)
    with open_followed(tmp_path / "store") as mos:
        assert "was not given" in str(degraded(mos))
        assert any("was not given" in found.what for found in mos.verify())


def test_chroma_through_langchain_follows_too(tmp_path: Path) -> None:
    chroma = pytest.importorskip("langchain_chroma", reason="langchain-chroma is not installed")
    store = chroma.Chroma("cubes", embedding_function=GivenEmbeddings(), persist_directory=str(tmp_path / "lc"))
    with open_followed(tmp_path / "store", store) as mos:
        made = fill(mos, 150)
        mos.cube("alice").catch_up()
        query = vectors(1, 3)[0]
        assert [score for _, score in near(mos, query)] == scan(made, query)
        assert at(mos)["asked"] == 1


def test_vectors_of_another_embedder_go_to_a_collection_of_their_own(tmp_path: Path) -> None:
    with open_followed(tmp_path / "store", "chroma", embedder="hashing:16") as mos:
        mos.session("alice").add([f"fact {n}" for n in range(60)])
        mos.cube("alice").catch_up()
        mos.reembed("hashing:32")
        mos.cube("alice").catch_up()
        hits = mos.session("alice").search("fact 7", top_k=1)
        assert (hits[0].text, hits.degraded) == ("fact 7", None)
        assert mos.verify() == []


async def test_the_event_loop_ticks_while_a_server_that_says_nothing_is_waited_for(tmp_path: Path, server: Any) -> None:
    import asyncio

    store = tmp_path / "store"
    with open_followed(store, server.spec) as mos:
        fill(mos, 100)
        mos.cube("alice").catch_up()
    async with AsyncMOS.open(store, embedder=f"given:{DIMS}", vectors_deadline=1.0) as mos:
        await asyncio.to_thread(lambda: until(lambda: degraded(mos.sync) is None))
        server.freeze()
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        said = await asyncio.to_thread(degraded, mos.sync)
        ticking.cancel()
        assert "has not answered within 1 seconds" in str(said)
        assert ticks > 20
        server.thaw()
