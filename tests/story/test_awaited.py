"""If these fail, the awaited methods are not those of the plain ones, or answer something else."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from telling import snapshot, texts

from memos_core import MOS, AsyncMOS, AsyncSession, Session
from memos_core.errors import AlreadyExists, InvalidInput, StoreClosed


@pytest.fixture
async def mos(tmp_path: Path) -> AsyncIterator[AsyncMOS]:
    async with AsyncMOS.open(tmp_path, embedder="hashing") as mos:
        yield mos


def public(kind: type) -> dict[str, Any]:
    return {name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")}


def call_of(method: Any) -> list[tuple[str, Any, Any]]:
    """What a caller may pass: names, kinds and defaults."""
    parameters = inspect.signature(method).parameters.values()
    return [(each.name, each.kind, each.default) for each in parameters if each.name != "self"]


# What needs no awaiting, or is reached through `.sync`: the clock, and objects that reach the store themselves.
NOT_AWAITED = {
    Session: {"now", "view"},
    MOS: {"cube", "store", "embedder", "anchor", "after_fork", "open", "from_config"},
}


@pytest.mark.parametrize(("plain", "awaited"), [(Session, AsyncSession), (MOS, AsyncMOS)])
def test_every_method_has_an_awaited_twin_with_the_same_arguments(plain: type, awaited: type) -> None:
    for name, method in public(plain).items():
        if name in NOT_AWAITED[plain]:
            continue
        twin = public(awaited).get(name)
        assert twin is not None, f"{awaited.__name__}.{name} is missing"
        if isinstance(method, property):
            assert isinstance(twin, property), name
            continue
        if isinstance(method, staticmethod):
            assert isinstance(twin, staticmethod), name
            method, twin = method.__func__, twin.__func__
        assert inspect.iscoroutinefunction(twin), name
        assert twin.__doc__, name
        if not any(
            each.kind is each.VAR_KEYWORD for each in inspect.signature(twin, follow_wrapped=False).parameters.values()
        ):
            assert call_of(twin) == call_of(method), name
    for name in ("__aenter__", "__aexit__") if plain is MOS else ():
        assert hasattr(awaited, name)


@pytest.mark.parametrize("name", ["add", "search", "context"])
async def test_twins_that_take_options_take_the_same_ones(mos: AsyncMOS, name: str) -> None:
    session = await mos.session("alice")
    with pytest.raises(TypeError, match="bogus"):
        await getattr(session, name)("x", bogus=1)
    options = inspect.signature(getattr(Session, name)).parameters
    given = {each.name: each.default for each in options.values() if each.kind is each.KEYWORD_ONLY}
    await getattr(session, name)("x", **given)


async def test_a_whole_story_awaited(tmp_path: Path) -> None:
    async with AsyncMOS.open(tmp_path / "store", embedder="hashing") as mos:
        alice = await mos.session("alice", conversation="t")
        assert (alice.actor.id, alice.conversation) == ("alice", "t")
        assert (alice.read_from, alice.write_to) == (["alice"], ["alice"])
        assert repr(alice) == "AsyncSession('alice', reads ['alice'], writes ['alice'])"
        added = await alice.add(["lives in Porto", "has a dog"], tags=["x"])
        one, two = added.ids
        assert texts(added) == ["lives in Porto", "has a dog"]
        assert texts(await alice.read("y")) == ["y"]  # type: ignore[arg-type]
        assert (await alice.update(one, text="lives in Lisbon", expect_version=1)).version == 2
        assert texts(await alice.search("who lives in Lisbon?", top_k=1)) == ["lives in Lisbon"]
        assert "lives in Lisbon" in (await alice.context("Lisbon", max_tokens=100)).text
        assert await alice.delete([two]) == 1
        assert (await alice.restore(two)).version == 3
        assert (await alice.rollback(one, 1)).text == "lives in Porto"
        assert [version.version for version in await alice.history(one)] == [1, 2, 3]
        assert (await alice.get(one)).text == "lives in Porto"
        assert len(await alice.list(limit=1)) == 1
        assert (await alice.stats())["cubes"]["alice"]["items"] == 2
        await mos.create_cube("team", owner="alice")
        await mos.share("team", with_="bob")
        assert [info.name for info in await mos.cubes()] == ["alice", "team"]
        bob = await mos.session("bob", read_from=["team"], write_to=[])
        assert await bob.search("x") == []
        await mos.unshare("team", with_="bob")
        assert await mos.verify() == []
        assert await mos.reindex("alice") == {"alice": 5}  # versions, deletions apart
        assert await mos.reembed("hashing:64") > 0
        assert (await mos.stats())["dims"] == 64
        assert (await mos.vacuum()).database_after > 0
        await mos.backup(tmp_path / "backups")
        await AsyncMOS.restore(tmp_path / "backups", tmp_path / "again")
        before = snapshot(mos.sync)
    for folder in (tmp_path / "store", tmp_path / "again"):
        with MOS.open(folder) as sync:
            assert snapshot(sync) == before


async def test_errors_come_through_as_they_are(mos: AsyncMOS) -> None:
    alice = await mos.session("alice")
    await alice.add("x", id="i1")
    with pytest.raises(AlreadyExists):
        await alice.add("y", id="i1")
    with pytest.raises(InvalidInput):
        await alice.search("x", top_k=0)


async def test_a_store_must_be_entered_first(tmp_path: Path) -> None:
    mos = AsyncMOS.open(tmp_path)
    with pytest.raises(RuntimeError, match="async with"):
        _ = mos.sync
    assert not (tmp_path / "memos.db").exists()
    async with mos, mos:  # entering twice opens once
        await (await mos.session("alice")).add("x")
    await mos.close()


async def test_plain_and_awaited_share_a_store() -> None:
    with MOS.open(":memory:") as sync:
        session = sync.session("alice")
        session.add("written plainly")
        assert texts(await AsyncSession.of(session).list()) == ["written plainly"]
        async with AsyncMOS.of(sync, workers=1) as mos:
            await (await mos.session("alice")).add("written awaited")
            assert len(session.list()) == 2
        with pytest.raises(StoreClosed):
            session.list()


async def test_from_config(tmp_path: Path) -> None:
    (tmp_path / "memos.toml").write_text('location = "here"\nembedder = "hashing:64"\n')
    async with AsyncMOS.from_config(tmp_path / "memos.toml") as mos:
        await (await mos.session("alice")).add("x")
        assert (await mos.stats())["embedder"] == "hashing:1:64"
    assert (tmp_path / "here" / "memos.db").is_file()
