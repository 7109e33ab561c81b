"""If these fail, a store without a model pretends to understand, or finds nothing and does not say why."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from telling import texts

from memos_core import MOS
from memos_core.errors import EmbedderUnavailable, InvalidInput, WrongDimension
from memos_core.models.hashing import HashingEmbedder
from memos_core.plaintext.embedding import SETTING, EmbedderRecord
from memos_core.stores.opening import open_sqlite
from memos_core.types.work import utc_now

REASON = "no embedder: lexical search only"


def test_words_find_and_every_answer_says_that_only_words_do() -> None:
    with MOS.open(":memory:") as mos:
        alice = mos.session("alice")
        assert alice.search("anything").degraded == REASON
        alice.add(["I moved to Lisbon in May.", "Rex is a terrier."])
        hits = alice.search("who moved to Lisbon?")
        assert hits[0].text == "I moved to Lisbon in May."
        assert hits.degraded == REASON
        assert not {"dense", "late", "near"} & set(hits[0].parts)
        assert alice.stats()["lexical_only"] == mos.stats()["lexical_only"] == REASON
        assert alice.stats()["embedder"] is mos.stats()["embedder"] is None
        assert alice.stats()["cubes"]["alice"]["vectors"] == 0
        assert repr(mos).endswith("embedder=None)")


def test_with_a_model_nothing_of_that_is_said() -> None:
    with MOS.open(":memory:", embedder="hashing") as mos:
        alice = mos.session("alice")
        alice.add("I moved to Lisbon in May.")
        assert alice.search("Lisbon").degraded is None
        assert {"dense", "near"} <= set(alice.search("Lisbon")[0].parts)
        assert alice.stats()["lexical_only"] is None


def test_vectors_given_to_a_store_without_a_model_are_refused() -> None:
    with MOS.open(":memory:") as mos:
        alice = mos.session("alice")
        with pytest.raises(WrongDimension, match="given:384"):
            alice.add("x", vectors=[[1.0, 2.0]])  # type: ignore[arg-type]
        alice.add("x")
        with pytest.raises(WrongDimension):
            alice.search("x", vector=[1.0, 2.0])  # type: ignore[arg-type]


def test_vectors_are_given_by_the_application(tmp_path: Path) -> None:
    with MOS.open(tmp_path, embedder="given:2") as mos:
        alice = mos.session("alice")
        alice.add(["north", "east"], vectors=[[0, 9], [5, 0]])  # type: ignore[arg-type]
        assert texts(alice.search("", vector=[0.1, 1], top_k=1)) == ["north"]  # type: ignore[arg-type]
        by_words = alice.search("east")
        assert texts(by_words)[:1] == ["east"]
        for wrong in ([[1, 2, 3]] * 2, [[1, 2]], [1, 2], [[1, float("nan")], [1, 2]], [["a", "b"], ["c", "d"]]):
            with pytest.raises(WrongDimension):
                alice.add(["x", "y"], vectors=wrong)  # type: ignore[arg-type]
        assert len(alice.list()) == 2
    with MOS.open(tmp_path) as mos:  # remembered
        assert mos.stats()["embedder"] == "given:2"


def test_a_model_that_only_the_application_has_is_asked_for_when_it_is_needed(tmp_path: Path) -> None:
    """Reading goes on by words and says so; writing says what is missing."""
    with MOS.open(tmp_path, embedder=HashingEmbedder(64)) as mos:
        said = {"content": "I moved to Lisbon in May.", "id": "m1"}
        id = mos.session("alice").add(said).id
    with MOS.open(tmp_path) as mos:
        alice = mos.session("alice")
        hits = alice.search("Lisbon")
        assert texts(hits) == ["I moved to Lisbon in May."]
        assert hits.degraded is not None
        assert "'hashing:1:64' was not given" in hits.degraded
        assert alice.stats()["lexical_only"] == hits.degraded
        for writing in (lambda: alice.add("x"), lambda: alice.update(id, text="x")):
            with pytest.raises(EmbedderUnavailable, match="'hashing:1:64'"):
                writing()
        assert alice.update(id, tags=["x"]).version == 2  # its words stay, so do its vectors
        hidden = alice.add("not to be found", indexed=False).id
        assert alice.update(hidden, text="nor under these words").version == 2
        assert alice.add(said).known == [id]
        assert alice.search("", vector=HashingEmbedder(64).embed_query("Lisbon"))[0].id == id
    with MOS.open(tmp_path, embedder=HashingEmbedder(64)) as mos:
        assert mos.session("alice").search("Lisbon").degraded is None


def test_a_model_that_cannot_be_loaded_any_more_is_named(tmp_path: Path) -> None:
    with MOS.open(tmp_path, embedder="hashing") as mos:
        mos.session("alice").add("I moved to Lisbon in May.")
    store = open_sqlite(tmp_path, deadline=10, now=utc_now)
    raw = store.setting(SETTING)
    assert raw is not None
    gone = msgspec.structs.replace(
        msgspec.json.decode(raw, type=EmbedderRecord), identity="minilm:gone", spec="minilm:/nowhere/at/all"
    )
    assert store.put_setting(SETTING, msgspec.json.encode(gone).decode(), expect=raw)
    store.close()
    with MOS.open(tmp_path) as mos:
        hits = mos.session("alice").search("Lisbon")
        assert texts(hits) == ["I moved to Lisbon in May."]
        assert "/nowhere/at/all" in (hits.degraded or "")
        with pytest.raises(EmbedderUnavailable, match="/nowhere/at/all"):
            mos.session("alice").add("x")


def test_none_by_name_loads_none(tmp_path: Path) -> None:
    with MOS.open(tmp_path, embedder="hashing") as mos:
        mos.session("alice").add("I moved to Lisbon in May.")
    with MOS.open(tmp_path, embedder="none") as mos:
        assert mos.stats()["embedder"] == "hashing:1:256"
        assert mos.session("alice").search("Lisbon").degraded


def test_with_every_signal_turned_off_there_is_nothing_to_search_by() -> None:
    with MOS.open(":memory:") as mos:
        alice = mos.session("alice")
        alice.add("x")
        with pytest.raises(InvalidInput, match="no signal is left"):
            alice.search("x", without=["lexical", "speaker", "date", "salience", "when", "feedback"])
