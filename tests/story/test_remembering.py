"""If these fail, what somebody told their memory is not there, is there twice, or says something else than they said."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from telling import Clock, texts

from memos_core import MOS, Actor, Draft, F, Link, Message, Session
from memos_core.errors import AlreadyExists, Conflict, InvalidInput, ItemNotFound, StoreClosed, VersionNotFound
from memos_core.models.hashing import HashingEmbedder

MAY = datetime(2024, 5, 8, 10, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mos(clock: Clock) -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing", now=clock) as mos:
        yield mos


@pytest.fixture
def alice(mos: MOS) -> Session:
    return mos.session("alice", conversation="thread-42")


# -- what goes in comes out -------------------------------------------------------------------------------------------


def test_every_option_of_add_is_kept_as_given(alice: Session, clock: Clock) -> None:
    added = alice.add(
        "I moved to Lisbon in May.",
        type="home",
        id="move",
        key="where she lives",
        tags=["home", "city", "home"],
        metadata={"year": 2024, "on": MAY, "deep": {"list": [1, None, True]}},
        payload={"sure": [0.5, "yes"]},
        occurred_at=datetime(2024, 5, 8, 12, 0),  # naive: UTC
        confidence=0.75,
        links=[Link("about", "lisbon", 0.5)],
        conversation="another",
    )
    item = alice.get("move")
    assert list(added) == [item]
    assert added.id == "move"
    assert (added.new, added.known, added.changed, added.removed) == (["move"], [], [], [])
    assert added.seqs == {"alice": 1}
    assert repr(added) == "Added(1 new)"
    assert (item.text, item.type, item.key) == ("I moved to Lisbon in May.", "home", "where she lives")
    assert item.tags == ("home", "city")
    assert item.metadata == {"year": 2024, "on": "2024-05-08T10:00:00+00:00", "deep": {"list": [1, None, True]}}
    assert item.payload == {"sure": [0.5, "yes"]}
    assert item.occurred_at == datetime(2024, 5, 8, 12, 0, tzinfo=UTC)
    assert item.confidence == 0.75
    assert item.links == (Link("about", "lisbon", 0.5),)
    assert item.conversation == "another"
    assert (item.version, item.seq, item.cube_id, item.state) == (1, 1, "alice", "activated")
    assert item.created_at == item.updated_at == clock.now
    assert (item.provenance.actor, item.provenance.operation) == ("alice", "add")


def test_one_call_takes_anything_and_answers_in_order(alice: Session) -> None:
    added = alice.add(
        [
            "A plain fact.",
            Message(content="Rex turned three", speaker="Ann", at=MAY),
            {"role": "assistant", "content": "Happy birthday!"},
            Draft(text="Prefers window seats", type="preference", key="seat"),
        ]
    )
    assert texts(added) == ["A plain fact.", "Rex turned three", "Happy birthday!", "Prefers window seats"]
    assert [item.type for item in added] == ["fact", "message", "message", "preference"]
    assert [item.id for item in added] == added.ids
    assert [item.seq for item in added] == [1, 2, 3, 4]
    assert added[1].speaker == "Ann"
    assert added[1].occurred_at == MAY
    assert alice.get(key="seat").text == "Prefers window seats"
    assert texts(added[1:3]) == ["Rex turned three", "Happy birthday!"]
    with pytest.raises(InvalidInput, match="4 things were added"):
        _ = added.id


def test_tags_metadata_and_links_are_added_to_those_that_things_bring(alice: Session) -> None:
    draft = Draft(text="Rex is a terrier", tags=("pets",), metadata={"a": 1, "b": 1}, links=(Link("x", "y"),))
    item = alice.add([draft], tags=["dogs", "pets"], metadata={"b": 2, "c": 3}, links=[Link("z", "w")])[0]
    assert item.tags == ("pets", "dogs")
    assert item.metadata == {"a": 1, "b": 2, "c": 3}
    assert item.links == (Link("x", "y"), Link("z", "w"))


def test_read_stores_nothing(mos: MOS, alice: Session) -> None:
    drafts = alice.read("I moved to Lisbon.", tags=["home"])
    assert [(draft.text, draft.tags, draft.conversation) for draft in drafts] == [
        ("I moved to Lisbon.", ("home",), "thread-42")
    ]
    assert mos.cubes() == []


def test_a_refused_call_stores_nothing_of_it(mos: MOS, alice: Session) -> None:
    alice.add("taken", id="i1", key="k1")
    before = mos.cubes()
    for refused in (
        [Draft(text="fine"), Draft(text="again", id="i1")],
        [Draft(text="fine"), Draft(text="again", key="k1")],
        [Draft(text="one", id="i2"), Draft(text="two", id="i2")],
        [Draft(text="one", key="k2"), Draft(text="two", key="k2")],
    ):
        with pytest.raises(AlreadyExists):
            alice.add(refused)
    with pytest.raises(InvalidInput):
        alice.add(["fine", "bad\x00text"])
    assert mos.cubes() == before
    assert texts(alice.list()) == ["taken"]


def test_what_is_not_indexed_is_kept_listed_and_never_found(alice: Session) -> None:
    secret = alice.add("the locker code is 4711", indexed=False).id
    assert alice.search("locker code 4711") == []
    assert texts(alice.list()) == ["the locker code is 4711"]
    assert alice.get(secret).indexed is False
    alice.update(secret, indexed=True)
    assert texts(alice.search("locker code 4711")) == ["the locker code is 4711"]
    alice.update(secret, indexed=False)
    assert alice.search("locker code 4711") == []


# -- the same thing, and another one that says the same -----------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "Rex is ill", "id": "m1"},
        {"role": "user", "content": "Rex is ill", "at": MAY},
        {"role": "user", "content": "Rex is ill", "position": 7},
        Message(content="Rex is ill", speaker="Ann", at=MAY),
    ],
    ids=["id", "time", "place", "speaker"],
)
def test_the_same_message_is_stored_once(mos: MOS, alice: Session, message: object) -> None:
    first = alice.add(message)
    again = alice.add([message])
    other_session = mos.session("alice", conversation="thread-42").add(message)
    assert again.ids == other_session.ids == first.ids
    assert (again.new, again.known) == ([], first.ids)
    assert again[0] == first[0]
    assert texts(alice.list()) == ["Rex is ill"]
    assert [info.changes for info in mos.cubes()] == [1]


def test_one_message_id_twice_in_one_call_is_stored_once(alice: Session) -> None:
    added = alice.add([{"role": "user", "content": "Rex is ill", "id": "m1"}] * 2)
    assert added.ids == [added.ids[0]] * 2
    assert (len(added.new), len(added.known), len(alice.list())) == (1, 1, 1)


def test_equal_words_at_two_times_are_two_memories(alice: Session) -> None:
    for hour in (0, 1):
        alice.add({"role": "user", "content": "Rex is ill", "at": MAY + timedelta(hours=hour)})
    assert [item.occurred_at for item in alice.list(order="occurred", newest_first=False)] == [
        MAY,
        MAY + timedelta(hours=1),
    ]
    assert len(alice.search("Rex is ill")) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"content": "Rex is ill", "speaker": "Bob", "at": MAY},
        {"content": "Rex is ill!", "speaker": "Ann", "at": MAY},
        {"content": "Rex is ill", "speaker": "Ann"},
    ],
    ids=["speaker", "words", "no time"],
)
def test_what_differs_is_another_memory(alice: Session, other: dict[str, object]) -> None:
    alice.add({"content": "Rex is ill", "speaker": "Ann", "at": MAY})
    alice.add(other)
    assert len(alice.list()) == 2


def test_the_same_message_id_in_another_thread_is_another_memory(mos: MOS, alice: Session) -> None:
    alice.add({"content": "Rex is ill", "id": "m1"})
    assert mos.session("alice", conversation="thread-43").add({"content": "Rex is ill", "id": "m1"}).new


def test_a_message_edited_at_its_source_gets_a_new_version(alice: Session) -> None:
    first = alice.add({"content": "Rex turned tree", "id": "m1", "at": MAY}, tags=["pets"], key="rex")
    edited = alice.add({"content": "Rex turned three", "id": "m1", "at": MAY})
    assert edited.changed == first.ids
    item = alice.get(first.id)
    assert (item.text, item.version, item.tags, item.key) == ("Rex turned three", 2, ("pets",), "rex")
    assert texts(alice.search("turned three")) == ["Rex turned three"]
    assert [version.op for version in alice.history(first.id)] == ["add", "update"]


def test_what_was_corrected_or_deleted_here_stays_so(alice: Session) -> None:
    said = [{"content": "Rex is a cat", "id": "m1"}, {"content": "Rex snores", "id": "m2"}]
    one, two = alice.add(said).ids
    alice.update(one, text="Rex is a dog")
    alice.delete(two)
    again = alice.add([{"content": "Rex is a horse", "id": "m1"}, said[1]])
    assert (again.known, again.changed, again.new) == ([one, two], [], [])
    assert texts(again) == ["Rex is a dog"]
    assert texts(alice.list()) == ["Rex is a dog"]


# -- changing ---------------------------------------------------------------------------------------------------------


def test_an_update_changes_what_it_names_and_nothing_else(alice: Session, clock: Clock) -> None:
    before = alice.add("lives in Porto", key="home", tags=["a"], metadata={"m": 1}, payload=[1], confidence=0.5)[0]
    clock.go(60)
    after = alice.update(key="home", text="lives in Lisbon", expect_version=1)
    expected = {**before.to_dict(), **{"text": "lives in Lisbon", "version": 2, "seq": 2}}
    expected["updated_at"] = after.to_dict()["updated_at"]
    expected["mentions"] = after.to_dict()["mentions"]
    expected["provenance"] = {**expected["provenance"], "operation": "update"}
    assert after.to_dict() == expected == alice.get(before.id).to_dict()
    assert after.updated_at == clock.now > after.created_at
    assert after.mentions.entities == ("Lisbon",)


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("type", "home", "home"),
        ("tags", ["x", "x", "y"], ("x", "y")),
        ("tags", [], ()),
        ("metadata", {"n": 1}, {"n": 1}),
        ("metadata", {}, {}),
        ("payload", {"p": 1}, {"p": 1}),
        ("payload", None, None),
        ("occurred_at", MAY, MAY),
        ("occurred_at", None, None),
        ("confidence", 0, 0.0),
        ("indexed", False, False),
        ("links", [Link("a", "b")], (Link("a", "b"),)),
    ],
)
def test_each_field_can_be_changed_and_emptied(alice: Session, field: str, value: object, kept: object) -> None:
    before = alice.add(
        "x", tags=["a"], metadata={"m": 1}, payload=[1], occurred_at=MAY + timedelta(1), links=[Link("x", "y")]
    )[0]
    changes: dict[str, object] = {field: value}
    alice.update(before.id, **changes)  # type: ignore[arg-type]
    after = alice.get(before.id)
    assert getattr(after, field) == kept
    same = {"text", "type", "tags", "metadata", "payload", "occurred_at", "confidence", "links"} - {field}
    assert {name: getattr(after, name) for name in same} == {name: getattr(before, name) for name in same}


def test_a_key_is_taken_moved_and_freed(alice: Session) -> None:
    one, two = alice.add("one", key="k").id, alice.add("two").id
    with pytest.raises(AlreadyExists, match="'k'"):
        alice.update(two, new_key="k")
    assert alice.update(one, new_key="k").key == "k"  # its own: nothing in the way
    alice.update(key="k", new_key="other")
    alice.update(two, new_key="k")
    assert (alice.get(key="k").id, alice.get(key="other").id) == (two, one)
    alice.update(two, new_key=None)
    with pytest.raises(ItemNotFound, match="key 'k'"):
        alice.get(key="k")
    assert alice.add("three", key="k").new


def test_old_words_are_found_no_more_and_new_ones_are(mos: MOS, alice: Session) -> None:
    id = alice.add("the boat is called Marigold").id
    alice.update(id, text="the boat is called Peregrine")
    assert alice.search("Marigold", without=["dense", "near"], min_score=0.5) == []
    assert texts(alice.search("Peregrine")) == ["the boat is called Peregrine"]
    ((_, cosine),) = mos.cube("alice").nearest(HashingEmbedder().embed_query("the boat is called Peregrine"))
    assert cosine == pytest.approx(1, abs=1e-5)  # by its meaning, too


# -- deleting and going back --------------------------------------------------------------------------------------------


def test_deleted_is_absent_everywhere_and_can_be_brought_back(mos: MOS, alice: Session) -> None:
    id = alice.add("the boat is called Marigold", key="boat", tags=["pinned"]).id
    alice.add("something else")
    assert alice.delete([id, id]) == 1
    for absent in (lambda: alice.get(id), lambda: alice.get(key="boat"), lambda: alice.update(id, text="x")):
        with pytest.raises(ItemNotFound):
            absent()
    with pytest.raises(ItemNotFound, match="deleted; restore it first"):
        alice.delete(id)
    assert alice.search("Marigold") == [] or "Marigold" not in alice.search("Marigold")[0].text
    assert texts(alice.list()) == ["something else"]
    assert "Marigold" not in alice.context("what is the boat called?").text
    with pytest.raises(AlreadyExists, match="deleted; restore it"):
        alice.add("new", id=id)

    back = alice.restore(id)
    assert (back.text, back.key, back.tags, back.version) == ("the boat is called Marigold", "boat", ("pinned",), 3)
    assert alice.get(key="boat") == back == alice.search("Marigold")[0].item
    with pytest.raises(Conflict, match="is not deleted"):
        alice.restore(id)
    assert [(v.version, v.op, v.item is None) for v in alice.history(id)] == [
        (1, "add", False),
        (2, "delete", True),
        (3, "restore", False),
    ]
    assert mos.verify() == []


def test_deleting_several_is_all_or_nothing(alice: Session) -> None:
    one, two = alice.add(["one", "two"]).ids
    with pytest.raises(ItemNotFound, match="'nowhere'"):
        alice.delete([one, "nowhere", two])
    assert len(alice.list()) == 2
    assert alice.delete([one, two]) == 2
    assert alice.delete([]) == 0


def test_rollback_makes_a_new_version_equal_to_an_old_one(alice: Session) -> None:
    id = alice.add("lives in Porto", tags=["a"], metadata={"m": 1}).id
    alice.update(id, text="lives in Lisbon", tags=["b"], metadata={"m": 2})
    alice.delete(id)
    back = alice.rollback(id, to_version=1)
    assert (back.text, back.tags, back.metadata, back.version) == ("lives in Porto", ("a",), {"m": 1}, 4)
    assert texts(alice.search("who lives in Porto?")) == ["lives in Porto"]
    assert alice.rollback(id, 2).text == "lives in Lisbon"
    for version in (3, 6, 0, -1):  # 3 was the deletion
        with pytest.raises(VersionNotFound, match=f"no version {version} "):
            alice.rollback(id, version)
    with pytest.raises(ItemNotFound):
        alice.rollback("nowhere", 1)
    with pytest.raises(ItemNotFound):
        alice.restore("nowhere")


def test_what_comes_back_takes_no_key_from_another(alice: Session) -> None:
    one = alice.add("one", key="k").id
    alice.delete(one)
    two = alice.add("two", key="k").id
    with pytest.raises(AlreadyExists, match=two):
        alice.restore(one)
    alice.update(two, new_key=None)
    assert alice.restore(one).key == "k"


# -- looking ------------------------------------------------------------------------------------------------------------


def test_lists_by_time_in_both_directions(alice: Session, clock: Clock) -> None:
    for number, said in enumerate(("one", "two", "three")):
        alice.add(said, occurred_at=MAY - timedelta(days=number), metadata={"n": number})
        clock.go(60)
    alice.update(alice.list(newest_first=False)[0].id, tags=["touched"])
    assert texts(alice.list()) == ["three", "two", "one"]
    assert texts(alice.list(newest_first=False)) == ["one", "two", "three"]
    assert texts(alice.list(order="updated")) == ["one", "three", "two"]
    assert texts(alice.list(order="occurred")) == ["one", "two", "three"]
    assert texts(alice.list(where=F.n >= 1, order="occurred", newest_first=False)) == ["three", "two"]


def test_stats_count_what_is_there(mos: MOS, alice: Session) -> None:
    assert alice.stats()["cubes"] == {}  # nothing was written yet
    one, _ = alice.add(["one", "two"]).ids
    alice.update(one, text="uno")
    alice.delete(one)
    stats = alice.stats()
    assert (stats["embedder"], stats["lexical_only"]) == ("hashing:1:256", None)
    cube = stats["cubes"]["alice"]
    assert (cube["cube"], cube["owner"], cube["changes"]) == ("alice", "alice", 4)
    assert (cube["items"], cube["deleted"], cube["versions"]) == (1, 1, 4)
    whole = mos.stats()
    assert (whole["cubes"], whole["embedder"], whole["dims"], whole["lexical_only"]) == (1, "hashing:1:256", 256, None)


def test_who_did_what_is_in_the_audit(mos: MOS, alice: Session) -> None:
    id = alice.add("one").id
    mos.share("alice", with_="bob", rights="write")
    bob = mos.session(Actor("bob"), read_from=["alice"], write_to=["alice"])
    bob.update(id, text="two")
    alice.rollback(id, 1)
    alice.delete(id)
    alice.restore(id)
    entries = [(entry.actor, entry.action) for entry in mos.cube("alice").audit() if entry.last_seq]
    assert entries == [
        ("alice", "add"),
        ("bob", "update"),
        ("alice", "rollback"),
        ("alice", "delete"),
        ("alice", "restore"),
    ]
    assert [version.actor for version in alice.history(id)] == ["alice", "bob", "alice", "alice", "alice"]


def test_what_was_kept_is_no_failure_where_the_store_is_closed_just_then(tmp_path: Path) -> None:
    mos = MOS.open(tmp_path)
    alice = mos.session("alice")
    alice.add("There is a cube.")
    mos.store.watch(lambda _: mos.close())  # called behind the commit
    added = alice.add("It is kept.")
    with pytest.raises(StoreClosed):
        added.items  # noqa: B018 - they are read when they are looked at
    with MOS.open(tmp_path) as mos:
        assert mos.session("alice").get(added.id).text == "It is kept."
