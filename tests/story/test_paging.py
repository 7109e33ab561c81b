"""If these fail, somebody who turns the page misses memories, sees some twice, or pages through another question's answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from telling import texts

from memos_core import MOS, F, Session
from memos_core.errors import InvalidCursor
from memos_core.plaintext.cursors import decode, encode

QUESTION = "what did Rex eat?"


@pytest.fixture
def mos() -> Iterator[MOS]:
    with MOS.open(":memory:", embedder="hashing") as mos:
        mos.create_cube("team", owner="alice")
        yield mos


def fill(session: Session, count: int = 23, of: str = "note") -> None:
    session.add([f"{of} {number}: Rex ate {number % 4} bones" + " and slept" * (number % 3) for number in range(count)])


def pages(ask: Callable[[str | None], Any], between: Callable[[], object] = lambda: None) -> list[Any]:
    """All pages, one after the other."""
    found = [ask(None)]
    while found[-1].cursor is not None:
        between()
        found.append(ask(found[-1].cursor))
    return found


def ids(found: Any) -> list[tuple[str, str]]:
    return [(each.cube_id, each.id) for each in found]


@pytest.mark.parametrize("size", [1, 5, 22, 23, 50])
@pytest.mark.parametrize("cubes", [["alice"], ["alice", "team"]], ids=["one cube", "two cubes"])
def test_pages_of_a_search_are_the_search(mos: MOS, size: int, cubes: list[str]) -> None:
    fill(mos.session("alice"), 12)
    fill(mos.session("alice", write_to=["team"]), 11, "post")
    session = mos.session("alice", read_from=cubes)
    whole = session.search(QUESTION, top_k=100)
    assert len(whole) == (12 if len(cubes) == 1 else 23)
    assert whole.cursor is None
    found = pages(lambda cursor: session.search(QUESTION, top_k=size, cursor=cursor))
    assert [len(page) for page in found[:-1]] == [size] * (len(found) - 1)
    assert [(hit.id, hit.score, hit.parts) for page in found for hit in page] == [
        (hit.id, hit.score, hit.parts) for hit in whole
    ]


@pytest.mark.parametrize("order", ["created", "updated", "occurred"])
@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_of_a_list_are_the_list(mos: MOS, order: Any, newest_first: bool) -> None:
    fill(mos.session("alice"), 7)
    fill(mos.session("alice", write_to=["team"]), 6)
    session = mos.session("alice", read_from=["alice", "team"])
    whole = session.list(order=order, newest_first=newest_first)
    found = pages(lambda cursor: session.list(order=order, newest_first=newest_first, limit=4, cursor=cursor))
    assert [len(page) for page in found] == [4, 4, 4, 1]
    assert ids(item for page in found for item in page) == ids(whole)
    assert len(whole) == 13


@pytest.mark.parametrize("cubes", [["alice"], ["alice", "team"]], ids=["one cube", "two cubes"])
def test_others_write_between_pages_and_the_pages_do_not_notice(mos: MOS, cubes: list[str]) -> None:
    fill(mos.session("alice"), 9)
    fill(mos.session("alice", write_to=["team"]), 9, "post")
    session = mos.session("alice", read_from=cubes, write_to=cubes)
    whole = session.search(QUESTION, top_k=100)
    listed = session.list(limit=100)
    turns = iter(range(100))

    def meanwhile() -> None:
        turn = next(turns)
        session.add([f"Rex ate bone {turn}", "what did Rex eat?"])
        session.update(session.list(limit=1)[0].id, text="Rex ate nothing today")
        session.delete([item.id for item in session.list(newest_first=False, limit=2)])

    found = pages(lambda cursor: session.search(QUESTION, top_k=4, cursor=cursor), meanwhile)
    assert [(hit.id, hit.text, hit.score) for page in found for hit in page] == [
        (hit.id, hit.text, hit.score) for hit in whole
    ]
    assert ids(session.search(QUESTION, top_k=100)) != ids(whole)
    turned = session.list(limit=5)
    assert ids(turned) != ids(listed)[:5]
    whole_now = ids(session.list(limit=100))
    found = [turned, *pages(lambda cursor: session.list(limit=5, cursor=cursor or turned.cursor), meanwhile)]
    assert [key for page in found for key in ids(page)] == whole_now


def test_folded_twins_come_up_on_one_page_only(mos: MOS) -> None:
    both = mos.session("alice", read_from=["alice", "team"], write_to=["alice", "team"])
    fill(both, 10)
    fill(mos.session("alice"), 3, "own")
    found = pages(lambda cursor: both.search(QUESTION, top_k=3, cursor=cursor))
    words = [hit.text for page in found for hit in page]
    assert len(words) == len(set(words)) == 13


def test_a_cursor_serves_another_session_that_asks_the_same(mos: MOS) -> None:
    fill(mos.session("alice"))
    page = mos.session("alice").search(QUESTION, top_k=3)
    again = [mos.session("alice").search(QUESTION, top_k=3, cursor=page.cursor) for _ in range(2)]
    assert ids(again[0]) == ids(again[1])
    assert not set(ids(again[0])) & set(ids(page))


def test_a_cursor_serves_no_other_search(mos: MOS) -> None:
    fill(mos.session("alice"))
    mos.session("alice", write_to=["team"]).add("x")
    alice, both = mos.session("alice"), mos.session("alice", read_from=["alice", "team"])
    cursor = alice.search(QUESTION, top_k=3).cursor
    listed = alice.list(limit=3).cursor
    for other in (
        lambda: alice.search("what did Rex drink?", cursor=cursor),
        lambda: alice.search(QUESTION, where=F.x == 1, cursor=cursor),
        lambda: alice.search(QUESTION, min_score=0.1, cursor=cursor),
        lambda: alice.search(QUESTION, without=["date"], cursor=cursor),
        lambda: both.search(QUESTION, cursor=cursor),
        lambda: alice.search(QUESTION, cursor=listed),
        lambda: alice.list(cursor=cursor),
        lambda: alice.list(order="updated", cursor=listed),
        lambda: alice.list(newest_first=False, cursor=listed),
        lambda: alice.list(where=F.x == 1, cursor=listed),
        lambda: both.list(cursor=listed),
    ):
        with pytest.raises(InvalidCursor, match="belongs to another search"):
            other()
    forged = decode(cursor or "", json.loads(base64.urlsafe_b64decode(cursor or ""))["of"])
    with pytest.raises(InvalidCursor, match="none of the cubes"):
        alice.search(QUESTION, cursor=encode(msgspec.structs.replace(forged, seqs={"bob": 3})))
    for broken in ("", "x", "nonsense", (cursor or "")[:-5], "é", "a" * 1000):
        with pytest.raises(InvalidCursor):
            alice.search(QUESTION, cursor=broken)
        with pytest.raises(InvalidCursor):
            alice.list(cursor=broken)


def test_a_cube_made_between_two_pages_waits_for_the_next_search(mos: MOS) -> None:
    """The actor's own cube is made by the first write; a page that was begun before it goes on without it."""
    fill(mos.session("alice", write_to=["team"]), 7)
    session = mos.session("alice", read_from=["team", "alice"], write_to=["alice"])
    found, listed = session.search(QUESTION, top_k=4), session.list(limit=4)
    session.add("Rex ate my homework")
    rest = session.search(QUESTION, top_k=4, cursor=found.cursor)
    assert len({*texts(found), *texts(rest)}) == 7
    assert len({*texts(listed), *texts(session.list(limit=4, cursor=listed.cursor))}) == 7


def test_the_last_page_says_so(mos: MOS) -> None:
    alice = mos.session("alice")
    assert alice.search(QUESTION).cursor is None
    assert alice.list().cursor is None
    fill(alice, 3)
    assert alice.search(QUESTION, top_k=3).cursor is None
    assert alice.list(limit=3).cursor is None
    likely = alice.search(QUESTION)
    assert alice.search(QUESTION, top_k=1, min_score=(likely[0].score + likely[1].score) / 2).cursor is None
