"""If these fail, somebody who reads or writes several cubes at once gets an answer twice, in the wrong order, or half a write."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from telling import Clock, snapshot, texts

from memos_core import MOS, Draft, F, Session
from memos_core.errors import (
    AccessDenied,
    AlreadyExists,
    CubeNotFound,
    InvalidInput,
    ItemNotFound,
    VersionConflict,
    WrongDimension,
)
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.types.work import CubeRow

MAY = datetime(2024, 5, 8, 10, 0, tzinfo=UTC)
FACTS = {
    "alice": ["I moved to Lisbon in May.", "Rex is a terrier.", "The car is in the garage."],
    "handbook": ["Travel to Lisbon is booked by Carla.", "Expenses are paid in June.", "The garage opens at seven."],
    "project": ["The project in Lisbon is called Hekla.", "Hekla starts in May.", "Rex is the name of the robot."],
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mos(clock: Clock) -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing", now=clock) as mos:
        mos.create_cube("handbook", owner="alice")
        mos.create_cube("project", owner="alice")
        yield mos


@pytest.fixture
def filled(mos: MOS) -> MOS:
    for cube, facts in FACTS.items():
        mos.session("alice", write_to=[cube], read_from=[]).add(facts)
    return mos


def reading(mos: MOS, *cubes: str) -> Session:
    return mos.session("alice", read_from=cubes, write_to=[])


# -- searching --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["who is in Lisbon?", "Rex", "what happens in May?", "garage"])
def test_pooled_and_ranked_once(filled: MOS, question: str) -> None:
    together = reading(filled, *FACTS).search(question, top_k=9)
    apart = {(cube, hit.id): hit.parts for cube in FACTS for hit in reading(filled, cube).search(question, top_k=9)}
    assert {(hit.cube_id, hit.id) for hit in together} == set(apart)
    assert [hit.score for hit in together] == sorted((hit.score for hit in together), reverse=True)
    for hit in together:  # what a signal says of an item does not depend on the company its cube is searched in
        assert hit.parts == pytest.approx(apart[hit.cube_id, hit.id])
        assert hit.origins == ((hit.cube_id, hit.id),)
        assert hit.item.cube_id == hit.cube_id
    order = [sum(hit.parts.values()) for hit in together]
    assert order == sorted(order, reverse=True)
    assert len({hit.cube_id for hit in together[:3]}) > 1


def test_the_order_of_the_cubes_changes_nothing(filled: MOS) -> None:
    found = [
        [(hit.id, hit.score) for hit in reading(filled, *cubes).search("Lisbon in May")]
        for cubes in (("alice", "handbook", "project"), ("project", "handbook", "alice"))
    ]
    assert found[0] == found[1]


def test_the_same_words_in_several_cubes_are_one_hit_with_every_origin(filled: MOS) -> None:
    said = {"content": "The alarm code is 4711", "speaker": "Ann", "at": MAY}
    ids = {}
    for cube in ("alice", "handbook", "project"):
        ids[cube] = filled.session("alice", write_to=[cube]).add(said).id
    hits = reading(filled, *FACTS).search("what is the alarm code?")
    assert texts(hits).count("The alarm code is 4711") == 1
    best = hits[0]
    assert sorted(best.origins) == sorted(ids.items())
    assert (best.cube_id, best.id) == best.origins[0]
    two = reading(filled, "project", "handbook").search("what is the alarm code?")
    assert {cube for cube, _ in two[0].origins} == {"handbook", "project"}


def test_every_origin_is_kept_also_of_a_twin_that_ranks_far_below(filled: MOS) -> None:
    """What is said next to it makes one of them rank first and the other behind much else, beyond the end of the page."""
    said = {"content": "It is behind the boiler", "speaker": "Ann", "at": MAY}
    asked = {"content": "Where is the spare key of the garage?", "speaker": "Bob", "at": MAY}
    first = filled.session("alice", conversation="t", write_to=["handbook"]).add([asked, said]).ids[1]
    twin = filled.session("alice", conversation="t", write_to=["project"]).add(said).id
    filled.session("alice", write_to=["alice"]).add([f"Spare key number {n} is in the garage" for n in range(12)])
    session = reading(filled, *FACTS)
    question = "where is the spare key of the garage?"
    alone = [reading(filled, cube).search(question, top_k=20) for cube in ("handbook", "project")]
    best, worst = (next(hit for hit in hits if hit.text == said["content"]) for hits in alone)
    assert sum(best.parts.values()) > 1 > sum(worst.parts.values())
    for top_k in (3, 30):
        (hit,) = (hit for hit in session.search(question, top_k=top_k) if hit.text == said["content"])
        assert set(hit.origins) == {("handbook", first), ("project", twin)}, top_k


def test_the_same_words_at_another_time_or_by_another_are_another_hit(filled: MOS) -> None:
    for cube, said in {
        "alice": {"content": "The alarm code is 4711", "speaker": "Ann", "at": MAY},
        "handbook": {"content": "The alarm code is 4711", "speaker": "Bob", "at": MAY},
        "project": {"content": "The alarm code is 4711", "speaker": "Ann", "at": MAY.replace(hour=11)},
    }.items():
        filled.session("alice", write_to=[cube]).add(said)
    hits = reading(filled, *FACTS).search("what is the alarm code?", top_k=3)
    assert texts(hits) == ["The alarm code is 4711"] * 3
    assert {hit.cube_id for hit in hits} == set(FACTS)


def test_filters_and_least_scores_hold_for_all_of_them(filled: MOS) -> None:
    everywhere = reading(filled, *FACTS)
    found = everywhere.search("Lisbon", where=F.text.contains("Hekla") | F.text.contains("Carla"), top_k=9)
    assert {hit.cube_id for hit in found} == {"project", "handbook"}
    likely = everywhere.search("Lisbon", top_k=9)
    least = likely[2].score
    assert [hit.id for hit in everywhere.search("Lisbon", min_score=least, top_k=9)] == [
        hit.id for hit in likely if hit.score >= least
    ]


def test_reads_go_to_the_first_cube_that_has_it(filled: MOS) -> None:
    one = filled.session("alice", write_to=["handbook"]).add("in the handbook", id="x", key="k").id
    filled.session("alice", write_to=["project"]).add("in the project", id="x", key="k")
    for cubes, words in (
        (("handbook", "project"), "in the handbook"),
        (("project", "handbook"), "in the project"),
        (("alice", "project"), "in the project"),
    ):
        session = reading(filled, *cubes)
        assert session.get(one).text == session.get(key="k").text == words
        assert session.history("x")[0].item.text == words  # type: ignore[union-attr]
    with pytest.raises(ItemNotFound, match="'x' in 'alice'"):
        reading(filled, "alice").get("x")
    with pytest.raises(ItemNotFound):
        reading(filled, "alice").history("x")


def test_lists_are_of_all_cubes_by_time(filled: MOS, clock: Clock) -> None:
    for cube in ("project", "alice", "handbook"):
        clock.go(60)
        filled.session("alice", write_to=[cube]).add(f"late in {cube}")
    assert texts(reading(filled, *FACTS).list(limit=3)) == ["late in handbook", "late in alice", "late in project"]
    assert len(reading(filled, *FACTS).list()) == 12


def test_stats_are_of_each_cube(filled: MOS) -> None:
    stats = reading(filled, "alice", "project").stats()["cubes"]
    assert {name: (cube["items"], cube["owner"]) for name, cube in stats.items()} == {
        "alice": (3, "alice"),
        "project": (3, "alice"),
    }


def test_a_cube_named_twice_counts_once(filled: MOS) -> None:
    session = filled.session("alice", read_from=["alice", "alice"], write_to=["alice", "alice"])
    assert session.read_from == session.write_to == ["alice"]
    session.add("once")
    assert texts(session.list(limit=2)).count("once") == 1


# -- writing ----------------------------------------------------------------------------------------------------------


def both(mos: MOS, *, actor: str = "alice") -> Session:
    return mos.session(actor, write_to=["project", "handbook"], read_from=["project", "handbook"])


def test_what_is_added_is_in_every_cube_under_one_id(mos: MOS) -> None:
    added = both(mos).add(["one", "two"])
    for cube in ("project", "handbook"):
        assert [item.id for item in reading(mos, cube).list(newest_first=False)] == added.ids
    assert added.seqs == {"project": 2, "handbook": 2}
    assert [item.cube_id for item in added] == ["project", "project"]  # the first that was named
    hit = both(mos).search("one")[0]
    assert hit.origins == (("handbook", added.ids[0]), ("project", added.ids[0]))


@pytest.mark.parametrize("other", ["handbook", "zoo"])
def test_one_refuses_and_nothing_is_anywhere(filled: MOS, other: str) -> None:
    """Whether the cube that refuses is locked first or last."""
    if other == "zoo":
        filled.create_cube("zoo", owner="alice")
    filled.session("alice", write_to=[other]).add("taken", id="i1", key="k1")
    session = filled.session("alice", write_to=["project", other], read_from=["project", other])
    before = snapshot(filled)
    for refused in (
        lambda: session.add("again", id="i1"),
        lambda: session.add([Draft(text="fine"), Draft(text="again", key="k1")]),
        lambda: session.add("x", vectors=np.zeros((1, 7), np.float32)),
    ):
        with pytest.raises((AlreadyExists, WrongDimension)):
            refused()
        assert snapshot(filled) == before


def test_a_change_is_made_in_every_cube_that_has_it_or_in_none(filled: MOS) -> None:
    session = both(filled)
    id = session.add("lives in Porto").id
    filled.session("alice", write_to=["handbook"], read_from=["handbook"]).add("taken", key="home")
    before = snapshot(filled)
    with pytest.raises(AlreadyExists):
        session.update(id, new_key="home")  # free in the project, taken in the handbook
    assert snapshot(filled) == before
    session.update(id, text="lives in Lisbon")
    assert [reading(filled, cube).get(id).text for cube in ("project", "handbook")] == ["lives in Lisbon"] * 2
    filled.session("alice", write_to=["project"]).update(id, tags=["x"])
    before = snapshot(filled)
    with pytest.raises(VersionConflict, match="'project' is at version 3, not 2"):
        session.update(id, text="lives in Faro", expect_version=2)
    assert snapshot(filled) == before
    assert session.delete(id) == 2
    assert session.restore(id).text == "lives in Lisbon"
    assert [reading(filled, cube).get(id).version for cube in ("project", "handbook")] == [5, 4]


def test_what_only_one_of_them_has_is_changed_there(filled: MOS) -> None:
    only = filled.session("alice", write_to=["handbook"]).add("only here").id
    session = both(filled)
    assert session.update(only, text="only there").cube_id == "handbook"
    assert session.delete(only) == 1
    with pytest.raises(ItemNotFound):
        session.delete(only)
    assert session.restore(only).cube_id == "handbook"
    with pytest.raises(ItemNotFound):
        reading(filled, "project").history(only)
    both_have = session.add("in both").id
    filled.session("alice", write_to=["project"]).delete(both_have)
    assert session.delete(both_have) == 1
    assert [version.op for version in reading(filled, "project").history(both_have)] == ["add", "delete"]


def test_what_is_read_but_not_written_to_cannot_be_changed(filled: MOS) -> None:
    id = filled.session("alice", write_to=["handbook"]).add("a rule").id
    session = filled.session("alice", read_from=["handbook", "alice"], write_to=["alice"])
    for forbidden in (
        lambda: session.update(id, text="x"),
        lambda: session.delete(id),
        lambda: session.restore(id),
        lambda: session.rollback(id, 1),
    ):
        with pytest.raises(AccessDenied, match="this session writes to 'alice'"):
            forbidden()
    nowhere = reading(filled, "handbook")
    for forbidden in (
        lambda: nowhere.add("x"),
        lambda: nowhere.update(id, text="x"),
        lambda: nowhere.delete(id),
        lambda: nowhere.restore(id),
    ):
        with pytest.raises(AccessDenied, match="writes to no cube"):
            forbidden()
    assert reading(filled, "handbook").get(id).version == 1


def test_one_cube_that_may_not_be_written_to_stops_all(filled: MOS) -> None:
    filled.share("project", with_="bob", rights="write")
    filled.share("handbook", with_="bob", rights="write")
    bob = both(filled, actor="bob")
    id = bob.add("by bob").id
    filled.share("handbook", with_="bob", rights="read")
    before = snapshot(filled)
    for refused in (
        lambda: bob.add("more"),
        lambda: bob.update(id, text="x"),
        lambda: bob.delete(id),
        lambda: bob.rollback(id, 1),
    ):
        with pytest.raises(AccessDenied, match="'handbook'"):
            refused()
        assert snapshot(filled) == before
    filled.unshare("handbook", with_="bob")
    with pytest.raises(CubeNotFound, match="'handbook'"):
        bob.add("more")
    assert snapshot(filled) == before


def test_a_number_of_a_change_is_refused_where_several_cubes_are_read(filled: MOS) -> None:
    session = reading(filled, *FACTS)
    for asked in (
        lambda: session.search("Lisbon", as_of=1),
        lambda: session.list(as_of=1),
    ):
        with pytest.raises(InvalidInput, match="number of a change of one cube, and 3 are read; give a time"):
            asked()


def test_origins_are_found_when_no_index_can_stay_in_memory(tmp_path: Path) -> None:
    with MOS.open(tmp_path / "memory", index_budget=0) as mos:
        for cube in ("one", "two", "three"):
            mos.create_cube(cube, owner="alice")
            mos.session("alice", write_to=[cube]).add(
                {"content": "The alarm code is 4711", "speaker": "Ann", "at": MAY}
            )
        session = mos.session("alice", read_from=["one", "two", "three"], write_to=[])
        real = mos._indexes.get

        def forgetful(cube: CubeRow) -> CubeIndex:
            """As if other searches had pushed it out of memory since it was last asked."""
            with mos._indexes._lock:
                mos._indexes._loaded.clear()
            return real(cube)

        mos._indexes.get = forgetful  # type: ignore[method-assign]
        (hit,) = session.search("what is the alarm code?")
        assert {cube for cube, _ in hit.origins} == {"one", "two", "three"}
