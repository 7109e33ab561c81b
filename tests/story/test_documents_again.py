"""If these fail, reading a document again doubles it, forgets what it still says, or answers with what it says no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from telling import texts

from memos_core import MOS, Document, Session
from memos_core.models.hashing import HashingEmbedder

PARTS = {
    "Priming": "Prime the pump with half a litre of water before the first start.",
    "Winter": "Drain the housing before the first frost.",
    "Noise": "A rattling noise means that the impeller is worn.",
}


def manual(parts: dict[str, str], **options: object) -> Document:
    text = "# Pump\n\n" + "\n\n".join(f"## {heading}\n\n{said}" for heading, said in parts.items())
    return Document(uri="pump.md", format="markdown", text=text, **options)  # type: ignore[arg-type]


def without(heading: str) -> dict[str, str]:
    return {each: said for each, said in PARTS.items() if each != heading}


@pytest.fixture
def mos() -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing") as mos:
        yield mos


@pytest.fixture
def alice(mos: MOS) -> Session:
    return mos.session("alice")


def test_pieces_know_where_they_come_from(alice: Session) -> None:
    at = datetime(2024, 5, 8, tzinfo=UTC)
    added = alice.add(manual(PARTS, author="Ann", at=at, metadata={"shelf": 3}), tags=["manual"])
    assert [item.metadata["heading"] for item in added] == [["Pump", heading] for heading in PARTS]
    for position, (item, said) in enumerate(zip(added, PARTS.values(), strict=True)):
        assert said in item.text
        assert (item.type, item.conversation, item.speaker) == ("document", "pump.md", "Ann")
        assert item.occurred_at == at
        assert item.metadata["shelf"] == 3
        assert item.tags == ("manual",)
        source = item.provenance.source
        assert source is not None
        assert (source.uri, source.position) == ("pump.md", position)
    assert PARTS["Winter"] in alice.search("what has to be done before the frost?")[0].text


def test_unchanged_nothing_is_written(mos: MOS, alice: Session) -> None:
    first = alice.add(manual(PARTS))
    before = mos.cubes()
    again = alice.add(manual(PARTS))
    assert again.ids == again.known == first.ids
    assert (again.new, again.changed, again.removed) == ([], [], [])
    assert list(again) == list(first)
    assert mos.cubes() == before


def test_shortened_the_rest_stays_and_what_is_gone_is_deleted(alice: Session) -> None:
    priming, winter, noise = alice.add(manual(PARTS)).ids
    again = alice.add(manual(without("Winter")))
    assert again.removed == [winter]
    assert again.new == []
    assert again.ids == [priming, noise]
    assert {item.id for item in alice.list()} == {priming, noise}
    assert all(PARTS["Winter"] not in hit.text for hit in alice.search("what has to be drained before the frost?"))
    assert alice.get(noise).provenance.source.position == 1  # type: ignore[union-attr]
    assert alice.history(winter)[-1].op == "delete"


def test_changed_only_what_changed_is_new(alice: Session) -> None:
    priming, winter, noise = alice.add(manual(PARTS)).ids
    again = alice.add(manual({**PARTS, "Winter": "Leave the housing filled; it is frost-proof since 2024."}))
    assert again.ids[::2] == [priming, noise]
    assert (again.known, again.changed) == ([priming], [noise])  # the last stands at another place now
    assert again.new == [again.ids[1]]
    assert again.removed == [winter]
    assert PARTS["Noise"] in alice.get(noise).text
    assert "frost-proof" in alice.search("is the housing filled in winter?")[0].text
    assert len(alice.list()) == 3


def test_a_piece_that_comes_back_is_the_one_it_was(alice: Session) -> None:
    ids = alice.add(manual(PARTS)).ids
    alice.add(manual(without("Winter")))
    back = alice.add(manual(PARTS))
    assert back.ids == ids
    assert back.changed == [ids[1], ids[2]]
    assert [version.op for version in alice.history(ids[1])] == ["add", "delete", "restore"]
    assert PARTS["Winter"] in alice.search("what has to be done before the frost?")[0].text


def test_the_same_piece_twice_in_a_document_is_there_twice(alice: Session) -> None:
    doubled = {"One": "Switch it off first.", "Two": "Switch it off first."}
    first = alice.add(manual(doubled))
    assert len(first.new) == 2
    assert alice.add(manual(doubled)).known == first.ids
    assert alice.add(manual({"One": "Switch it off first."})).removed == [first.ids[1]]


def test_new_metadata_makes_a_new_version_and_no_new_vectors(mos: MOS, alice: Session) -> None:
    first = alice.add(manual(PARTS, metadata={"edition": 1}))
    again = alice.add(manual(PARTS, metadata={"edition": 2}))
    assert again.changed == first.ids
    assert [item.metadata["edition"] for item in alice.list()] == [2, 2, 2]
    cube = alice.stats()["cubes"]["alice"]
    assert (cube["versions"], cube["vectors"]) == (6, 3)


def test_a_document_that_may_be_found_from_now_on_is_found_by_meaning_too(mos: MOS, alice: Session) -> None:
    first = alice.add(manual(PARTS), indexed=False)
    assert alice.search("what has to be done before the frost?") == []
    assert alice.add(manual(PARTS)).changed == first.ids
    for item in alice.list():
        text = f"Pump > {item.metadata['heading'][-1]}\n{item.text}"
        (best, cosine), *_ = mos.cube("alice").nearest(HashingEmbedder().embed_query(text), 1)
        assert (best.id, cosine) == (item.id, pytest.approx(1, abs=0.1))
    assert alice.stats()["cubes"]["alice"]["vectors"] == 3


def test_a_piece_corrected_here_stays_corrected(alice: Session) -> None:
    ids = alice.add(manual(PARTS)).ids
    alice.update(ids[1], text="Drain the housing and the hose before the first frost.")
    again = alice.add(manual(PARTS, metadata={"edition": 2}))
    assert ids[1] in again.known
    assert "and the hose" in alice.get(ids[1]).text


def test_other_documents_and_conversations_of_the_cube_are_left_alone(mos: MOS, alice: Session) -> None:
    alice.add(manual(PARTS))
    alice.add(Document(uri="boiler.txt", text=PARTS["Winter"]))
    mos.session("alice", conversation="pump.md").add({"content": "I read the manual", "id": "m1"})
    alice.add(manual({"Noise": PARTS["Noise"]}))
    assert sorted(item.conversation or "" for item in alice.list()) == ["boiler.txt", "pump.md", "pump.md"]
    assert "I read the manual" in texts(alice.list())


def test_two_documents_in_one_call_keep_apart(alice: Session) -> None:
    other = Document(uri="boiler.txt", text="The boiler is in the cellar.")
    first = alice.add([manual(PARTS), other])
    assert len(first.new) == 4
    again = alice.add([manual(without("Noise")), other])
    assert again.removed == [first.ids[2]]
    assert len(alice.list()) == 3


def test_each_cube_loses_its_own_pieces(mos: MOS) -> None:
    mos.create_cube("team", owner="alice")
    both = mos.session("alice", write_to=["alice", "team"], read_from=["alice", "team"])
    both.add(manual(PARTS))
    mos.session("alice").add(manual(without("Winter")))
    assert len(mos.session("alice", read_from=["alice"]).list()) == 2
    assert len(mos.session("alice", read_from=["team"]).list()) == 3
    both.add(manual(without("Noise")))
    for cube in ("alice", "team"):
        assert {item.metadata["heading"][-1] for item in mos.session("alice", read_from=[cube]).list()} == {
            "Priming",
            "Winter",
        }
    assert mos.verify() == []


def test_a_document_read_again_after_a_restart_is_known(tmp_path: Path) -> None:
    with MOS.open(tmp_path) as mos:
        first = mos.session("alice").add(manual(PARTS))
    with MOS.open(tmp_path) as mos:
        again = mos.session("alice").add(manual(without("Winter")))
        assert (again.removed, again.new) == ([first.ids[1]], [])
        assert len(mos.session("alice").list()) == 2
