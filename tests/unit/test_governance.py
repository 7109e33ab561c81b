"""If these fail, somebody gets rights that nobody gave, or keeps rights that were taken away."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from memos_core import MOS
from memos_core.errors import AccessDenied, CubeNotFound, InvalidInput, InvalidName
from memos_core.governance.governance import Governance
from memos_core.governance.policies import OwnerPolicy, RolePolicy, SharePolicy
from memos_core.protocols.storage import RecordStore
from memos_core.stores.opening import open_sqlite
from memos_core.types.access import OPERATOR, Actor, Grant, Right, check_grantee, rights_of
from memos_core.types.work import CubeRow, utc_now

ALL = frozenset(Right)
ALICE, BOB = Actor("alice"), Actor("bob", ("team", "lisbon"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RecordStore]:
    made = open_sqlite(tmp_path, deadline=10, now=utc_now)
    yield made
    made.close()


@pytest.fixture
def cube(store: RecordStore) -> CubeRow:
    with store.begin(actor="alice", action="create") as transaction:
        return transaction.create_cube("vault", "alice")


class ReadersPolicy:
    """Those whose id begins with "reader" may read everything."""

    name = "readers"

    def rights(self, actor: Actor, cube: CubeRow, grants: Sequence[Grant]) -> frozenset[Right]:
        return frozenset({Right.READ}) if actor.id.startswith("reader") else frozenset()


# -- rights ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("read", {Right.READ}),
        ("write", {Right.READ, Right.WRITE}),
        ("share", {Right.READ, Right.SHARE}),
        ("admin", ALL),
        ("read,share", {Right.READ, Right.SHARE}),
        (" write , share ", {Right.READ, Right.WRITE, Right.SHARE}),
        (Right.WRITE, {Right.READ, Right.WRITE}),
        ([Right.READ, "write"], {Right.READ, Right.WRITE}),
        (iter(["read"]), {Right.READ}),
        (frozenset({Right.SHARE}), {Right.READ, Right.SHARE}),
    ],
)
def test_words_for_rights(words: Any, found: set[Right]) -> None:
    assert rights_of(words) == found


@pytest.mark.parametrize("words", ["", "READ", "read,", "read;write", "*", "all", [], [""], None, 7, [None], b"read"])
def test_words_that_are_no_rights(words: Any) -> None:
    with pytest.raises(InvalidInput, match="rights are: read, write, share, admin"):
        rights_of(words)


def test_grantees_of_an_actor() -> None:
    assert BOB.grantees == ("bob", "role:team", "role:lisbon", "*")
    assert Actor.of("bob") == Actor("bob")
    assert Actor.of(BOB) is BOB
    for grantee in ("*", "bob", "role:team"):
        assert check_grantee(grantee) == grantee


@pytest.mark.parametrize(
    "who", [OPERATOR, "memos:operator", "memos:x", "role:team", Actor("role:team"), Actor("memos:worker")]
)
def test_nobody_from_outside_is_the_operator_or_a_role(who: Any) -> None:
    with pytest.raises(InvalidName):
        Actor.of(who)


# -- deciding -------------------------------------------------------------------------------------------------------------


def test_what_no_policy_gives_is_denied(store: RecordStore, cube: CubeRow) -> None:
    governance = Governance(store, policies=())
    for right in Right:
        with pytest.raises(CubeNotFound):
            governance.require(ALICE, "vault", right)
        assert not governance.may(ALICE, "vault", right)
        assert governance.require(OPERATOR, "vault", right) == cube
    assert governance.exists("vault")


@pytest.mark.parametrize(
    "rights",
    [set(each) for n in range(5) for each in itertools.combinations(Right, n)],
    ids=lambda each: ",".join(sorted(each)) or "none",
)
def test_the_owner_has_all_rights_and_others_those_they_were_given(
    store: RecordStore, cube: CubeRow, rights: set[Right]
) -> None:
    """For every set of rights that could stand in the table of grants."""
    store.share(cube, "role:team", frozenset(rights), by="alice")
    governance = Governance(store)
    for right in Right:
        assert governance.require(ALICE, "vault", right).name == "vault"
        assert governance.may(BOB, "vault", right) == (right in rights)
        assert not governance.may(Actor("carol", ("lisbon",)), "vault", right)
        if Right.READ not in rights:
            with pytest.raises(CubeNotFound, match="no cube 'vault' that 'bob' may read"):
                governance.require(BOB, "vault", right)
        elif right not in rights:
            with pytest.raises(AccessDenied, match=f"'bob' has no right to {right} on cube 'vault'"):
                governance.require(BOB, "vault", right)
        else:
            assert governance.require(BOB, "vault", right).number == cube.number


def test_rights_of_several_grants_and_policies_add_up(store: RecordStore, cube: CubeRow) -> None:
    store.share(cube, "role:team", frozenset({Right.READ}), by="alice")
    store.share(cube, "role:lisbon", frozenset({Right.WRITE}), by="alice")
    store.share(cube, "*", frozenset({Right.SHARE}), by="alice")
    governance = Governance(store, policies=[OwnerPolicy(), RolePolicy(), SharePolicy(), ReadersPolicy()])
    assert {right for right in Right if governance.may(BOB, "vault", right)} == {Right.READ, Right.WRITE, Right.SHARE}
    assert {right for right in Right if governance.may(Actor("reader1"), "vault", right)} == {Right.READ, Right.SHARE}
    assert {right for right in Right if governance.may(Actor("carol"), "vault", right)} == {Right.SHARE}


def test_there_is_no_cube_but_those_that_there_are(store: RecordStore, cube: CubeRow) -> None:
    governance = Governance(store)
    for name in ("Vault", "vaul", "vault/x", "", "*", "%"):
        assert not governance.exists(name)
        assert not governance.may(OPERATOR, name, Right.READ)
        with pytest.raises(CubeNotFound):
            governance.require(OPERATOR, name, Right.READ)


# -- what is remembered ---------------------------------------------------------------------------------------------------


def test_what_another_process_gives_or_takes_holds_at_once(store: RecordStore, cube: CubeRow, tmp_path: Path) -> None:
    governance = Governance(store)
    other = open_sqlite(tmp_path, deadline=10, now=utc_now)
    try:
        for _ in range(3):
            assert not governance.may(BOB, "vault", Right.READ)
            other.share(cube, "bob", frozenset({Right.READ}), by="alice")
            assert governance.may(BOB, "vault", Right.READ)
            other.share(cube, "bob", frozenset(), by="alice")
        assert not governance.exists("new")
        with other.begin(actor="bob", action="create") as transaction:
            transaction.create_cube("new", "bob")
        assert governance.require(BOB, "new", Right.ADMIN).owner == "bob"
    finally:
        other.close()


def test_what_is_known_is_not_read_again(store: RecordStore, cube: CubeRow, monkeypatch: pytest.MonkeyPatch) -> None:
    governance = Governance(store)
    governance.require(ALICE, "vault", Right.READ)
    assert not governance.exists("nowhere")

    def read_again(*_: object) -> Any:
        raise AssertionError("it was read already")

    monkeypatch.setattr(store, "cube", read_again)
    monkeypatch.setattr(store, "grants", read_again)
    assert governance.require(ALICE, "vault", Right.ADMIN) == cube
    assert not governance.may(BOB, "vault", Right.READ)
    assert not governance.exists("nowhere")


def test_what_is_taken_while_somebody_looks_is_not_kept(store: RecordStore, cube: CubeRow) -> None:
    """Grants are read, somebody takes a right away, another thread hears of it: what was read must not be remembered."""
    store.share(cube, "bob", frozenset({Right.READ}), by="alice")
    governance = Governance(store)
    read = store.grants

    def slowly(row: CubeRow) -> list[Grant]:
        found = read(row)
        if not taken.is_set():
            taken.set()
            store.share(cube, "bob", frozenset(), by="alice")
            other = threading.Thread(target=governance.exists, args=("nowhere",))
            other.start()
            other.join(10)
        return found

    taken = threading.Event()
    store.grants = slowly  # type: ignore[method-assign]
    governance.may(BOB, "vault", Right.READ)  # either answer is true of some moment
    assert not governance.may(BOB, "vault", Right.READ)


def test_policies_of_one_s_own_are_asked(tmp_path: Path) -> None:
    with MOS.open(tmp_path, policies=[OwnerPolicy(), ReadersPolicy()]) as mos:
        mos.session("alice").add("the alarm code is 4711")
        mos.share("alice", with_="bob", rights="admin")  # nobody asks for grants here
        with pytest.raises(CubeNotFound):
            mos.session("bob", read_from=["alice"])
        reader = mos.session("reader", read_from=["alice"], write_to=[])
        assert reader.search("alarm code")[0].text == "the alarm code is 4711"
        with pytest.raises(AccessDenied):
            mos.session("reader", write_to=["alice"])
