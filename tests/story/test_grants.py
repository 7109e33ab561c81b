"""If these fail, somebody reads or changes what is not theirs, or the owner of a memory is locked out of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from memos_core import MOS, Actor, MemCube, Right, Session
from memos_core.errors import AccessDenied, AlreadyExists, CubeNotFound, InvalidInput, InvalidName, MemosError

SECRET = "the alarm code is 4711"
ID = "secret"
CUBE = "vault"

Attempt = Callable[[MOS, str | Actor], Any]


@pytest.fixture
def mos() -> Iterator[MOS]:
    with filled() as mos:
        yield mos


@pytest.fixture(scope="module")
def locked() -> Iterator[MOS]:
    """One for all tests that change nothing."""
    with filled() as mos:
        yield mos


def filled() -> MOS:
    mos = MOS.open(":memory:", embedder="hashing")
    mos.create_cube(CUBE, owner="alice")
    mos.session("alice", read_from=[CUBE], write_to=[CUBE]).add(SECRET, id=ID, key="code")
    return mos


def reader(mos: MOS, who: str | Actor, cube: str = CUBE) -> Session:
    return mos.session(who, read_from=[cube], write_to=[])


def writer(mos: MOS, who: str | Actor, cube: str = CUBE) -> Session:
    return mos.session(who, read_from=[cube], write_to=[cube])


def blind_writer(mos: MOS, who: str | Actor, cube: str = CUBE) -> Session:
    return mos.session(who, read_from=[], write_to=[cube])


def cube_of(mos: MOS, who: str | Actor, cube: str = CUBE) -> MemCube:
    return mos.cube(cube, actor=who)


# Everything that an actor can do with a cube, and the right that it takes; what changes most comes last.
ATTEMPTS: dict[str, tuple[Right, Callable[[MOS, str | Actor, str], Any]]] = {
    "search": (Right.READ, lambda mos, who, cube: reader(mos, who, cube).search("alarm code")),
    "search at a time": (Right.READ, lambda mos, who, cube: reader(mos, who, cube).search("alarm code", as_of=1)),
    "list": (Right.READ, lambda mos, who, cube: reader(mos, who, cube).list()),
    "get": (Right.READ, lambda mos, who, cube: reader(mos, who, cube).get(ID)),
    "get by key": (Right.READ, lambda mos, who, cube: reader(mos, who, cube).get(key="code")),
    "history": (Right.READ, lambda mos, who, cube: reader(mos, who, cube).history(ID)),
    "context": (Right.READ, lambda mos, who, cube: reader(mos, who, cube).context("alarm code")),
    "stats": (Right.READ, lambda mos, who, cube: reader(mos, who, cube).stats()),
    "cube": (Right.READ, lambda mos, who, cube: cube_of(mos, who, cube).stats()),
    "cube get": (Right.READ, lambda mos, who, cube: cube_of(mos, who, cube).get(ID)),
    "cube nearest": (Right.READ, lambda mos, who, cube: cube_of(mos, who, cube).nearest([1.0] * 256)),  # type: ignore[arg-type]
    "cube history": (Right.READ, lambda mos, who, cube: cube_of(mos, who, cube).history(ID)),
    "cube id of": (Right.READ, lambda mos, who, cube: cube_of(mos, who, cube).id_of("code")),
    "cube catch up": (Right.READ, lambda mos, who, cube: cube_of(mos, who, cube).catch_up()),
    "cube knows": (Right.READ, lambda mos, who, cube: cube_of(mos, who, cube).knows(ID)),
    "add": (Right.WRITE, lambda mos, who, cube: writer(mos, who, cube).add("x")),
    "add unseen": (Right.WRITE, lambda mos, who, cube: blind_writer(mos, who, cube).add("x")),
    "add the same": (Right.WRITE, lambda mos, who, cube: blind_writer(mos, who, cube).add("x", id=ID)),
    "update": (Right.WRITE, lambda mos, who, cube: writer(mos, who, cube).update(ID, text="x")),
    "update by key": (Right.WRITE, lambda mos, who, cube: writer(mos, who, cube).update(key="code", tags=["x"])),
    "update unseen": (Right.WRITE, lambda mos, who, cube: blind_writer(mos, who, cube).update(ID, text="x")),
    "delete": (Right.WRITE, lambda mos, who, cube: writer(mos, who, cube).delete(ID)),
    "delete unseen": (Right.WRITE, lambda mos, who, cube: blind_writer(mos, who, cube).delete([ID])),
    "rollback": (Right.WRITE, lambda mos, who, cube: writer(mos, who, cube).rollback(ID, 1)),
    "restore": (Right.WRITE, lambda mos, who, cube: writer(mos, who, cube).restore(ID)),
    "grants": (Right.SHARE, lambda mos, who, cube: cube_of(mos, who, cube).grants()),
    "share": (Right.SHARE, lambda mos, who, cube: cube_of(mos, who, cube).share("carol")),
    "unshare": (Right.SHARE, lambda mos, who, cube: cube_of(mos, who, cube).unshare("carol")),
    "audit": (Right.ADMIN, lambda mos, who, cube: cube_of(mos, who, cube).audit()),
}

GRANTED: dict[str, set[Right]] = {
    "read": {Right.READ},
    "write": {Right.READ, Right.WRITE},
    "share": {Right.READ, Right.SHARE},
    "admin": {Right.READ, Right.WRITE, Right.SHARE, Right.ADMIN},
    "write,share": {Right.READ, Right.WRITE, Right.SHARE},
}


def error_of(attempt: Callable[[], Any]) -> MemosError | None:
    try:
        attempt()
    except MemosError as error:
        return error
    return None


def told(error: MemosError | None, cube: str) -> tuple[str, str]:
    """What somebody learns from an error, with the cube's name taken out (it is theirs: they asked for it)."""
    assert error is not None
    return type(error).__name__, str(error).replace(cube, "CUBE")


# -- closed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTEMPTS)
def test_a_closed_cube_looks_like_one_that_there_is_not(locked: MOS, name: str) -> None:
    _, attempt = ATTEMPTS[name]
    before = locked.cubes()
    closed = error_of(lambda: attempt(locked, "mallory", CUBE))
    absent = error_of(lambda: attempt(locked, "mallory", "nowhere"))
    assert isinstance(closed, CubeNotFound)
    assert told(closed, CUBE) == told(absent, "nowhere")
    assert not re.search("4711|alice", str(closed))
    assert locked.cubes() == before


def test_a_stranger_s_own_memory_knows_nothing_of_it(mos: MOS) -> None:
    mallory = mos.session("mallory")
    assert mallory.search("alarm code") == []
    assert mallory.list() == []
    assert mallory.context("alarm code").text == ""
    for attempt in (
        lambda: mallory.get(ID),
        lambda: mallory.get(key="code"),
        lambda: mallory.history(ID),
        lambda: mallory.update(ID, text="x"),
        lambda: mallory.delete(ID),
        lambda: mallory.restore(ID),
    ):
        closed = error_of(attempt)
        assert type(closed).__name__ == "ItemNotFound"
        assert "vault" not in str(closed)
    mallory.add("mine", id=ID, key="code")  # ids and keys of other cubes are not in the way
    assert mos.session("alice", read_from=[CUBE]).get(ID).text == SECRET


@pytest.mark.parametrize(
    "who",
    [
        "alic",
        "alice2",
        "Alice",
        "alice/x",
        "vault",
        "admin",
        "memos",
        Actor("mallory", ("alice",)),
        Actor("bob", ("*x",)),
    ],
)
def test_a_name_that_is_nearly_the_owner_s_is_a_stranger_s(locked: MOS, who: str | Actor) -> None:
    with pytest.raises((CubeNotFound, InvalidName)):
        reader(locked, who)


@pytest.mark.parametrize(
    "who", ["*", "", "role:alice", "memos:operator", "alice\u200b", "ａlice", "alice ", "al%", None, 7]
)
def test_names_that_could_be_mistaken_are_refused(locked: MOS, who: Any) -> None:
    with pytest.raises(InvalidName):
        locked.session(who)


@pytest.mark.parametrize("roles", ["alice", ["alice"], ("*",), ("",), (7,)])
def test_roles_that_could_be_mistaken_are_refused(locked: MOS, roles: Any) -> None:
    with pytest.raises(InvalidName):
        locked.session(Actor("mallory", roles))


# -- shared -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("granted", GRANTED)
def test_each_right_allows_what_it_says_and_nothing_else(mos: MOS, granted: str) -> None:
    mos.share(CUBE, with_="bob", rights=granted)
    before = mos.cubes()
    allowed = {name for name, (needed, _) in ATTEMPTS.items() if needed in GRANTED[granted]}
    for name in ATTEMPTS.keys() - allowed:
        error = error_of(lambda name=name: ATTEMPTS[name][1](mos, "bob", CUBE))
        assert isinstance(error, AccessDenied), (name, error)
        assert "'bob' has no right to" in str(error)
    assert mos.cubes() == before
    for name in (name for name in ATTEMPTS if name in allowed):
        error = error_of(lambda name=name: ATTEMPTS[name][1](mos, "bob", CUBE))
        assert not isinstance(error, AccessDenied | CubeNotFound), (name, error)


def test_the_owner_may_do_everything(mos: MOS) -> None:
    mos.unshare(CUBE, with_="alice")
    for name, (_, attempt) in ATTEMPTS.items():
        error = error_of(lambda attempt=attempt: attempt(mos, "alice", CUBE))
        assert not isinstance(error, AccessDenied | CubeNotFound), (name, error)


@pytest.mark.parametrize(
    ("grantee", "let_in", "kept_out"),
    [
        ("bob", ["bob", Actor("bob", ("any",))], ["carol", Actor("carol", ("bob",))]),
        (
            "role:team",
            [Actor("bob", ("team",)), Actor("carol", ("x", "team"))],
            ["bob", "team", Actor("bob", ("teams",))],
        ),
        ("*", ["bob", "carol", Actor("x", ("y",))], []),
    ],
)
def test_whom_a_grant_lets_in(mos: MOS, grantee: str, let_in: list[str | Actor], kept_out: list[str | Actor]) -> None:
    mos.share(CUBE, with_=grantee)
    for who in let_in:
        assert reader(mos, who).search("alarm code")[0].text == SECRET
    for who in kept_out:
        with pytest.raises(CubeNotFound):
            reader(mos, who)


def test_rights_add_up_over_grants(mos: MOS) -> None:
    mos.share(CUBE, with_="*", rights="read")
    mos.share(CUBE, with_="role:team", rights="write")
    mos.share(CUBE, with_="bob", rights="share")
    bob = Actor("bob", ("team",))
    writer(mos, bob).update(ID, tags=["x"])
    cube_of(mos, bob).share("carol")
    with pytest.raises(AccessDenied):
        cube_of(mos, bob).audit()
    with pytest.raises(AccessDenied):
        writer(mos, "carol")


def test_a_grant_replaces_the_one_before_and_holds_at_once_in_open_sessions(mos: MOS) -> None:
    mos.share(CUBE, with_="bob", rights="write")
    bob = writer(mos, "bob")
    bob.update(ID, tags=["by bob"])
    mos.share(CUBE, with_="bob", rights="read")
    with pytest.raises(AccessDenied):
        bob.update(ID, tags=["again"])
    assert bob.get(ID).tags == ("by bob",)
    mos.unshare(CUBE, with_="bob")
    for attempt in (
        lambda: bob.get(ID),
        lambda: bob.search("alarm"),
        bob.list,
        bob.stats,
        lambda: bob.context("alarm"),
        lambda: bob.add("x"),
    ):
        with pytest.raises(CubeNotFound):
            attempt()
    mos.share(CUBE, with_="bob", rights="read")
    assert bob.get(ID).tags == ("by bob",)


def test_a_page_goes_on_only_for_those_who_may_still_read(mos: MOS) -> None:
    mos.share(CUBE, with_="bob", rights="write")
    bob = writer(mos, "bob")
    bob.add(["alarm one", "alarm two"])
    found, listed = bob.search("alarm", top_k=1), bob.list(limit=1)
    assert found.cursor is not None
    assert listed.cursor is not None
    mos.unshare(CUBE, with_="bob")
    with pytest.raises(CubeNotFound):
        bob.search("alarm", top_k=1, cursor=found.cursor)
    with pytest.raises(CubeNotFound):
        bob.list(limit=1, cursor=listed.cursor)


# -- giving on --------------------------------------------------------------------------------------------------------


def test_nobody_gives_or_takes_more_than_they_have(mos: MOS) -> None:
    mos.share(CUBE, with_="bob", rights="share")
    mos.share(CUBE, with_="carol", rights="write")
    bob = cube_of(mos, "bob")
    bob.share("dave", "read")
    bob.share("dave", "share")
    bob.unshare("dave")
    for rights in ("write", "admin", "read,write"):
        with pytest.raises(AccessDenied):
            bob.share("dave", rights)
        with pytest.raises(AccessDenied):
            bob.share("bob", rights)
    with pytest.raises(AccessDenied):
        bob.share("carol", "read")  # would take her right to write
    with pytest.raises(AccessDenied):
        bob.unshare("carol")
    assert {grant.grantee: grant.rights for grant in cube_of(mos, "alice").grants()} == {
        "bob": frozenset({Right.READ, Right.SHARE}),
        "carol": frozenset({Right.READ, Right.WRITE}),
    }


def test_grants_say_who_gave_what(mos: MOS) -> None:
    mos.share(CUBE, with_="bob", rights=[Right.SHARE])
    cube_of(mos, "bob").share("role:team", "read")
    by_grantee = {grant.grantee: (grant.granted_by, sorted(grant.rights)) for grant in cube_of(mos, "alice").grants()}
    assert by_grantee == {"bob": ("memos:operator", ["read", "share"]), "role:team": ("bob", ["read"])}


@pytest.mark.parametrize("rights", ["", "own", "read,all", [], ["read", 3], 7, None])
def test_words_that_are_no_rights_are_refused(locked: MOS, rights: Any) -> None:
    with pytest.raises(InvalidInput, match="rights are: read, write, share, admin"):
        locked.share(CUBE, with_="bob", rights=rights)
    assert locked.cube(CUBE).grants() == []


@pytest.mark.parametrize("grantee", ["", "role:", "role:*", "role:te*m", "b*b", None, "bob\u200b"])
def test_grantees_that_could_be_mistaken_are_refused(locked: MOS, grantee: Any) -> None:
    with pytest.raises(InvalidName):
        locked.share(CUBE, with_=grantee)
    assert locked.cube(CUBE).grants() == []


# -- whose cube it is -------------------------------------------------------------------------------------------------


def test_own_cubes_are_made_by_the_first_write_and_by_nobody_else(mos: MOS) -> None:
    home = mos.session("bob", write_to=["bob/home", "bob"])
    assert home.search("x") == []
    assert [info.name for info in mos.cubes()] == [CUBE]
    home.add("x")
    assert {info.name: info.owner for info in mos.cubes()} == {CUBE: "alice", "bob": "bob", "bob/home": "bob"}
    before = mos.cubes()
    for who, cubes in {
        "alice": ("bob/other", "bobby", "bo", "team"),
        "bo": ("bob", "bob/other", "b", "bo2"),
        "bob/home": ("bob", "bob/other", "bob/homes"),
    }.items():
        for cube in cubes:
            with pytest.raises(CubeNotFound):
                writer(mos, who, cube)
            with pytest.raises(CubeNotFound):
                blind_writer(mos, who, cube)
    assert mos.cubes() == before


def test_a_name_that_is_taken_makes_no_second_cube(mos: MOS) -> None:
    before = mos.cubes()
    for owner in ("alice", "bob"):
        with pytest.raises(AlreadyExists, match=f"there is a cube {CUBE!r} already"):
            mos.create_cube(CUBE, owner=owner)
    assert mos.cubes() == before


def test_a_cube_named_like_somebody_belongs_to_whom_it_was_made_for(mos: MOS) -> None:
    mos.create_cube("bob", owner="alice")
    with pytest.raises(CubeNotFound):
        mos.session("bob")
    mos.session("alice", write_to=["bob"]).add("x")
    with pytest.raises(CubeNotFound):
        mos.session("bob", read_from=["bob"], write_to=[])


def test_a_memory_shared_by_words_in_a_question_does_not_leak_through_scores(mos: MOS) -> None:
    """What is in a cube that one may not read changes nothing in the answers of those that one may."""
    bob = mos.session("bob")
    bob.add(["the alarm is loud", "the cat is grey", "alarm clocks are cheap"])
    before = [(hit.id, hit.score, hit.parts) for hit in bob.search("alarm code")]
    mos.session("alice", write_to=[CUBE], read_from=[]).add([f"alarm code number {n}" for n in range(50)])
    assert [(hit.id, hit.score, hit.parts) for hit in bob.search("alarm code")] == before
