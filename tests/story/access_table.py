"""Every public operation of memos, the right that it takes, and how to do it: what `test_access_matrix` goes through."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from memos_core import MOS, Actor, AsyncMOS, AsyncSession, CompositeView, Draft, LifecycleState, MemCube, Right, Session
from memos_core.cli.root import main
from memos_core.governance.redacting import NOTHING
from memos_core.types.cube_policy import CubePolicy

READ, WRITE, SHARE, ADMIN = Right.READ, Right.WRITE, Right.SHARE, Right.ADMIN
QUIET = ""  # leaves nothing in the audit


@dataclass(frozen=True)
class Op:
    """One operation.

    Attributes:
        right: that it takes.
        do: does it, with what `via` makes.
        told: the audit entry it leaves: an operation of reading, or the action of a write; QUIET for none.
    """

    right: Right
    do: Callable[[Any], Any]
    told: str
    needs: Right | None = None  # to make the object that it is called on; None for `right`


@dataclass(frozen=True)
class Hands:
    """What an actor holds: made before the operation, maybe before its rights ended."""

    mos: MOS
    who: Actor
    name: str
    session: Session | None = None
    cube: MemCube | None = None
    scratch: Any = None


def r(told: str, do: Callable[[Any], Any]) -> Op:
    return Op(READ, do, told)


def w(told: str, do: Callable[[Any], Any], right: Right = WRITE) -> Op:
    return Op(right, do, told, WRITE)


VECTOR = [0.5] * 64

# -- sessions, plain and awaited ------------------------------------------------------------------------------------------

SESSION: dict[str, Op | str] = {
    "search": r("search", lambda s: s.search("lamp")),
    "context": r("search", lambda s: s.context("lamp")),
    "list": r("list", lambda s: s.list()),
    "get": r("get", lambda s: s.get("a")),
    "history": r("history", lambda s: s.history("a")),
    "explain": r("history", lambda s: s.explain("a")),
    "lineage": r("list", lambda s: s.lineage("a")),
    "diff": r("history", lambda s: s.diff("a", 1)),
    "stats": r(QUIET, lambda s: s.stats()),  # counts what could be listed
    "preferences": r("list", lambda s: s.preferences()),
    "working": "no cube: ids of its conversation; the items come through MemCube.found_among",
    "read": w(QUIET, lambda s: s.read("a draft")),  # stores nothing; tells what would be taken out
    "add": w("add", lambda s: s.add("more light")),
    "update": w("update", lambda s: s.update("a", text="a new lamp")),
    "delete": w("delete", lambda s: s.delete("a")),
    "restore": w("restore", lambda s: s.restore("gone")),
    "rollback": w("rollback", lambda s: s.rollback("a", 1)),
    "archive": w("archive", lambda s: s.archive("a")),
    "activate": w("activate", lambda s: s.activate("old")),
    "freeze": w("freeze", lambda s: s.freeze("a"), ADMIN),
    "unfreeze": w("unfreeze", lambda s: s.unfreeze("ice"), ADMIN),
    "merge": w("merge", lambda s: s.merge(["a", "b"], "a lamp on a table")),
    "rollback_cube": w("rollback", lambda s: s.rollback_cube(2), ADMIN),
    "erase": w("erase", lambda s: s.erase("a", reason="asked to"), ADMIN),
    "preview_erase": w(QUIET, lambda s: s.preview_erase("a"), ADMIN),
    "fork": Op(ADMIN, lambda s: s.fork(f"{s.actor.id}/{s.read_from[0]}"), "fork", READ),
    "now": "no cube: the clock",
    "read_from": "no cube: names that the session was made with",
    "write_to": "no cube: names that the session was made with",
    "view": "no cube: its methods are below",
    "actor": "no cube: who it was made for",
    "conversation": "no cube: what it was made with",
    "of": "no cube: wraps a session, which keeps its rights",
}

VIEW: dict[str, Op | str] = {
    "search": r("search", lambda v: v.search("lamp")),
    "list": r("list", lambda v: v.list()),
    "get": r("get", lambda v: v.get("a")),
    "history": r("history", lambda v: v.history("a")),
    "id_of": r(QUIET, lambda v: v.id_of("k")),  # a name for a name
    "stats": r(QUIET, lambda v: v.stats()),
    "working": "no cube: ids of a conversation; the items come through MemCube.found_among",
    "note": "no cube: takes note of what was read, which has asked",
    "used": r("get", lambda v: v.used(v.get("a"))),
    "text_to_embed": r(QUIET, lambda v: v.text_to_embed("what was here yesterday?")),
    "check_writable": w(QUIET, lambda v: v.check_writable()),
    "redaction": w(QUIET, lambda v: v.redaction()),
    "redacted": w(QUIET, lambda v: v.redacted([Draft(text="x")])),
    "places_to_embed": w(QUIET, lambda v: v.places_to_embed([Draft(text="x")])),
    "add": w("add", lambda v: v.add([Draft(text="more light")])),
    "add_later": w("add", lambda v: v.add_later([Draft(text="more light")])),
    "update": w("update", lambda v: v.update("a", {"tags": ("x",)})),
    "move": w("archive", lambda v: v.move(["a"], LifecycleState.ARCHIVED, action="archive")),
    "merge": w("merge", lambda v: v.merge(["a", "b"], Draft(text="both"))),
    "delete": w("delete", lambda v: v.delete(["a"])),
    "restore": w("restore", lambda v: v.restore("gone")),
    "erase": w("erase", lambda v: v.erase(_wanted(), reason="asked to"), ADMIN),
    "preview_erasing": w(QUIET, lambda v: v.preview_erasing(_wanted()), ADMIN),
    "erasing": "no cube: asks itself",
    "only": "no cube: picks one of those the session was made with",
    "operation": "no cube: a moment of the store",
    "embedding": "no cube: the store's embedder",
    "texts_to_embed": "no cube: words of drafts that the caller has",
    "read": "no cube: cubes, each of which asks",
    "write": "no cube: cubes, each of which asks",
}


def _wanted() -> Any:
    from memos_core.governance.erasing import Wanted  # type: ignore[import-not-found,unused-ignore]

    return Wanted(ids=("a",))


# -- cubes ----------------------------------------------------------------------------------------------------------------


def within(action: str, do: Callable[[Any, Hands], Any]) -> Callable[[Hands], Any]:
    """A step inside of a transaction, as the view takes it."""

    def done(hands: Hands) -> Any:
        with hands.mos.store.begin(actor=hands.who.id, action=action) as transaction:
            return do(transaction, hands)

    return done


def c(right: Right, told: str, do: Callable[[Any], Any]) -> Op:
    return Op(right, lambda hands: do(hands.cube), told, READ)


def t(action: str, do: Callable[[Any, Hands], Any]) -> Op:
    return Op(WRITE, within(action, do), action, READ)


def _record(hands: Hands) -> Any:
    return hands.mos.cube(hands.name).current("a")


def _updated(hands: Hands, record: Any) -> Any:
    mark = hands.mos._memory.embedding.mark
    step = within("update", lambda tx, h: h.cube.update(tx, record, {"tags": ("x",)}, None, mark, NOTHING))  # type: ignore[union-attr]
    return step(hands)


def _moved(hands: Hands, record: Any) -> Any:
    step = within("archive", lambda tx, h: h.cube.move(tx, [record], LifecycleState.ARCHIVED))  # type: ignore[union-attr]
    return step(hands)


def _prepared(hands: Hands) -> Any:
    return hands.mos._memory.prepare([Draft(text="more light")])


CUBE: dict[str, Op | str] = {
    "get": c(READ, "get", lambda cube: cube.get("a")),
    "history": c(READ, "history", lambda cube: cube.history("a")),
    "nearest": c(READ, "nearest", lambda cube: cube.nearest(VECTOR)),
    "diff": c(READ, "diff", lambda cube: cube.diff(1)),
    "id_of": c(READ, QUIET, lambda cube: cube.id_of("k")),
    "knows": c(READ, QUIET, lambda cube: cube.knows("a")),
    "place": c(READ, QUIET, lambda cube: cube.place()),
    "readable": c(READ, QUIET, lambda cube: cube.readable()),
    "masking": Op(READ, lambda hands: (hands.cube.require(READ), hands.cube.masking()), QUIET, READ),
    "asked": c(READ, QUIET, lambda cube: cube.asked(_sources())),
    "moment": Op(READ, lambda hands: hands.cube.moment(hands.mos._clock()), QUIET, READ),
    "catch_up": c(READ, QUIET, lambda cube: cube.catch_up()),
    "stats": c(READ, QUIET, lambda cube: cube.stats()),
    "found_among": c(READ, "working", lambda cube: cube.found_among(["a"])),
    "used": c(READ, QUIET, lambda cube: cube.used(["a"])),
    "policy": c(READ, QUIET, lambda cube: cube.policy),
    "require": c(READ, QUIET, lambda cube: cube.require(READ)),
    "shown": Op(READ, lambda hands: (hands.cube.require(READ), hands.cube.shown([])), QUIET, READ),
    "audited": c(READ, "get", lambda cube: cube.audited("get", ["a"])),
    "current": c(WRITE, QUIET, lambda cube: cube.current("a")),  # what the next version is made from
    "written": c(WRITE, QUIET, lambda cube: cube.written("a")),  # the answer to a write
    "holding": c(WRITE, QUIET, lambda cube: cube.holding(["a"])),
    "writable": c(WRITE, QUIET, lambda cube: cube.writable()),
    "redaction": c(WRITE, QUIET, lambda cube: cube.redaction()),
    "lock": t("add", lambda tx, hands: tx.enter(hands.cube.lock(tx))),
    "add": t("add", lambda tx, hands: hands.cube.add(tx, _prepared(hands))),
    "add_later": t("add", lambda tx, hands: hands.cube.add_later(tx, _prepared(hands))),
    "update": Op(WRITE, lambda hands: _updated(hands, _record(hands)), "update", READ),
    "delete": t("delete", lambda tx, hands: hands.cube.delete(tx, ["a"])),
    "restore": t("restore", lambda tx, hands: hands.cube.restore(tx, "gone", None)),
    "move": Op(WRITE, lambda hands: _moved(hands, _record(hands)), "archive", READ),
    "share": c(SHARE, "share", lambda cube: cube.share("carol")),
    "unshare": c(SHARE, "unshare", lambda cube: cube.unshare("dora")),
    "grants": c(SHARE, QUIET, lambda cube: cube.grants()),
    "rollback": c(ADMIN, "rollback", lambda cube: cube.rollback(2)),
    "set_policy": c(ADMIN, "policy", lambda cube: cube.set_policy(CubePolicy(max_items=1000))),
    "retain": c(ADMIN, QUIET, lambda cube: cube.retain()),
    "audit": c(ADMIN, QUIET, lambda cube: cube.audit()),
    "hold": c(ADMIN, "hold", lambda cube: cube.hold("item:a", reason="a case")),
    "release": c(ADMIN, "release", lambda cube: cube.release("subject:nobody", reason="it is over")),
    "holds": c(ADMIN, QUIET, lambda cube: cube.holds()),
    "fork": Op(ADMIN, lambda hands: hands.cube.fork(_own_name(hands)), "fork", READ),
    "own": "no cube: compares two names",
    "reader": "no cube: what the actor calls itself, or nothing",
    "name": "no cube: what it was asked for by",
    "actor": "no cube: who it was made for",
}


def _sources() -> Any:
    from memos_core import F

    return F.derived_from.contains("a")


def _own_name(hands: Hands) -> str:
    return f"{hands.who.id}/{hands.name}" if not hands.who.id.startswith("memos:") else f"fork-of-{hands.name}"


# -- the store itself: whoever has it holds everything --------------------------------------------------------------------

HOLDER = "no actor: for whoever holds the store"
MOS_TABLE: dict[str, Op | str] = {
    "session": Op(READ, lambda h: h.mos.session(h.who, read_from=[h.name], write_to=[]), QUIET, READ),
    "cube": Op(READ, lambda h: h.mos.cube(h.name, actor=h.who), QUIET, READ),
    "fork": HOLDER,
    "rollback_cube": HOLDER,
    "share": HOLDER,
    "unshare": HOLDER,
    "create_cube": HOLDER,
    "cubes": HOLDER,
    "rights": HOLDER,
    "retain": HOLDER,
    "verify": HOLDER,
    "verify_audit": HOLDER,
    "checkpoint": HOLDER,
    "reindex": HOLDER,
    "reembed": HOLDER,
    "vacuum": HOLDER,
    "backup": HOLDER,
    "restore": HOLDER,
    "stats": HOLDER,
    "store": HOLDER,
    "anchor": HOLDER,
    "embedder": HOLDER,
    "after_fork": HOLDER,
    "close": HOLDER,
    "open": HOLDER,
    "from_config": HOLDER,
    "of": HOLDER,
    "sync": HOLDER,
    "erase": Op(ADMIN, lambda h: h.mos.erase("a", reason="asked to", cubes=[h.name], actor=h.who), "erase", READ),
    "preview_erase": Op(ADMIN, lambda h: h.mos.preview_erase("a", cubes=[h.name], actor=h.who), QUIET, READ),
    "finish_erasures": HOLDER,
    "scheduler": HOLDER,
    "count_uses": HOLDER,
    "verify_erased": HOLDER,
    "export_subject": "no actor: looks only into cubes that the actor administrates; tests/story/test_erasure.py",
}


# -- adapters: each asks a session ----------------------------------------------------------------------------------------


def _langchain_retriever(s: Session) -> Any:
    from memos_langchain import MemosRetriever

    return MemosRetriever(session=s)


def _classic(s: Session) -> Any:
    from memos_langchain import MemosMemory

    return MemosMemory(session=s)


def _llamaindex_retriever(s: Session) -> Any:
    from memos_llamaindex import MemosRetriever

    return MemosRetriever(s)


def _block(s: Session) -> Any:
    from memos_llamaindex import MemosMemoryBlock

    return MemosMemoryBlock(session=s)


def _said() -> Any:
    from llama_index.core.llms import ChatMessage

    return [ChatMessage(role="user", content="is it the lamp in the hall?")]


ITS = "no cube: the framework's own, about settings"
ADAPTERS: dict[str, dict[str, Op | str]] = {
    "memos_langchain.MemosRetriever": {
        "invoke": r("search", lambda s: _langchain_retriever(s).invoke("lamp")),
        "ainvoke": r("search", lambda s: _langchain_retriever(s).ainvoke("lamp")),
    },
    "memos_langchain.MemosMemory": {
        "load_memory_variables": w("search", lambda s: _classic(s).load_memory_variables({"input": "lamp"})),
        "aload_memory_variables": w("search", lambda s: _classic(s).aload_memory_variables({"input": "lamp"})),
        "save_context": w("add", lambda s: _classic(s).save_context({"input": "hello"}, {"output": "hi"})),
        "asave_context": w("add", lambda s: _classic(s).asave_context({"input": "hello"}, {"output": "hi"})),
        "clear": w("delete", lambda s: _classic(s).clear()),
        "aclear": w("delete", lambda s: _classic(s).aclear()),
        "memory_variables": ITS,
    },
    "memos_llamaindex.MemosRetriever": {
        "retrieve": r("search", lambda s: _llamaindex_retriever(s).retrieve("lamp")),
        "aretrieve": r("search", lambda s: _llamaindex_retriever(s).aretrieve("lamp")),
        "class_name": ITS,
        "to_dict": ITS,
        "from_dict": ITS,
    },
    "memos_llamaindex.MemosMemoryBlock": {
        "aget": r("search", lambda s: _block(s).aget(_said())),
        "aput": w("add", lambda s: _block(s).aput(_said())),
        "atruncate": ITS,
        "class_name": ITS,
        "to_dict": ITS,
        "from_dict": ITS,
        "model_copy": ITS,
    },
}
INHERITED = {"retrieve", "aretrieve", "aget", "invoke", "ainvoke"}  # what applications call, defined by the framework

# -- the command line -----------------------------------------------------------------------------------------------------


def line(right: Right, told: str, *words: str) -> tuple[Right, str, tuple[str, ...]]:
    """A command; CUBE in it is the cube, OWN a name of the actor's."""
    return right, told, words


UPKEEP = "no actor: looks after the store, for whoever holds its folder"
CLI: dict[str, tuple[Right, str, tuple[str, ...]] | str] = {
    "search": line(READ, "search", "search", "lamp", "--cube", "CUBE"),
    "context": line(READ, "search", "context", "lamp", "--cube", "CUBE"),
    "list": line(READ, "list", "list", "--cube", "CUBE"),
    "show": line(READ, "get", "show", "a", "--cube", "CUBE"),
    "working": line(READ, QUIET, "working", "--conversation", "of nobody", "--cube", "CUBE"),
    "preferences": line(READ, "list", "preferences", "--cube", "CUBE"),
    "history": line(READ, "history", "history", "a", "--cube", "CUBE"),
    "diff": line(READ, "diff", "diff", "--since", "1", "--cube", "CUBE"),
    "explain": line(READ, "history", "explain", "a", "--cube", "CUBE"),
    "lineage": line(READ, "list", "lineage", "a", "--cube", "CUBE"),
    "stats": line(READ, QUIET, "stats", "--cube", "CUBE"),
    "policy": line(READ, QUIET, "policy", "CUBE"),
    "add": line(WRITE, "add", "add", "more light", "--cube", "CUBE"),
    "ingest": line(WRITE, "add", "ingest", "FILE", "--cube", "CUBE"),
    "import": "no cube: a group of commands",
    "import chroma": line(WRITE, "add", "import", "chroma", "CHROMA", "--cube", "CUBE"),
    "update": line(WRITE, "update", "update", "a", "--text", "a new lamp", "--cube", "CUBE"),
    "delete": line(WRITE, "delete", "delete", "a", "--cube", "CUBE"),
    "restore": line(WRITE, "restore", "restore", "gone", "--cube", "CUBE"),
    "rollback": line(WRITE, "rollback", "rollback", "a", "1", "--cube", "CUBE"),
    "archive": line(WRITE, "archive", "archive", "a", "--cube", "CUBE"),
    "activate": line(WRITE, "activate", "activate", "old", "--cube", "CUBE"),
    "freeze": line(ADMIN, "freeze", "freeze", "a", "--cube", "CUBE"),
    "unfreeze": line(ADMIN, "unfreeze", "unfreeze", "ice", "--cube", "CUBE"),
    "merge": line(WRITE, "merge", "merge", "a", "b", "--text", "both", "--cube", "CUBE"),
    "fork": line(ADMIN, "fork", "fork", "CUBE", "OWN"),
    "retain": line(ADMIN, QUIET, "retain", "CUBE"),
    "cubes share": line(SHARE, "share", "cubes", "share", "CUBE", "--with", "carol"),
    "cubes unshare": line(SHARE, "unshare", "cubes", "unshare", "CUBE", "--with", "dora"),
    "cubes grants": line(SHARE, QUIET, "cubes", "grants", "CUBE"),
    "erase": line(ADMIN, "erase", "erase", "a", "--reason", "asked to", "--yes", "--cube", "CUBE"),
    "hold": line(ADMIN, "hold", "hold", "item:a", "--reason", "a case", "--cube", "CUBE"),
    "release": line(ADMIN, "release", "release", "subject:nobody", "--reason", "over", "--cube", "CUBE"),
    "holds": line(ADMIN, QUIET, "holds", "--cube", "CUBE"),
    "export-subject": "no actor: looks only into cubes that the actor administrates; tests/story/test_erasure.py",
    "cubes": UPKEEP,
    "cubes create": UPKEEP,
    "audit": UPKEEP,
    "backup": UPKEEP,
    "doctor": UPKEEP,
    "vacuum": UPKEEP,
    "jobs": UPKEEP,
    "jobs show": UPKEEP,
    "jobs retry": UPKEEP,
    "jobs cancel": UPKEEP,
    "worker": UPKEEP,
    "verify": UPKEEP,
    "reindex": UPKEEP,
    "reembed": UPKEEP,
    "migrate": UPKEEP,
    "models": "no cube: a group of commands",
    "models list": "no cube: weights of models",
    "models add": "no cube: weights of models",
    "version": "no cube: the version",
}

# -- all of it ------------------------------------------------------------------------------------------------------------

TABLES: dict[str, dict[str, Op | str]] = {
    "Session": SESSION,
    "AsyncSession": SESSION,
    "CompositeView": VIEW,
    "MemCube": CUBE,
    "MOS": MOS_TABLE,
    "AsyncMOS": MOS_TABLE,
    **ADAPTERS,
}


def in_session(do: Callable[[Any], Any]) -> Callable[[Hands], Any]:
    return lambda hands: do(hands.session)


def in_view(do: Callable[[Any], Any]) -> Callable[[Hands], Any]:
    return lambda hands: do(hands.session.view)  # type: ignore[union-attr]


def awaited(do: Callable[[Any], Any]) -> Callable[[Hands], Any]:
    return lambda hands: do(AsyncSession.of(hands.session))  # type: ignore[arg-type]


HANDED: dict[str, Callable[[Callable[[Any], Any]], Callable[[Hands], Any]]] = {
    "Session": in_session,
    "AsyncSession": awaited,
    "CompositeView": in_view,
    "MemCube": lambda do: do,
    "MOS": lambda do: do,
    "AsyncMOS": lambda do: lambda hands: do(replace(hands, mos=AsyncMOS.of(hands.mos, workers=1))),  # type: ignore[arg-type]
    **dict.fromkeys(ADAPTERS, in_session),
}


def finished(answer: Any) -> Any:
    """The answer, awaited where it has to be."""
    return asyncio.run(_waited(answer)) if inspect.isawaitable(answer) else answer


async def _waited(answer: Any) -> Any:
    return await answer


def public(kind: type) -> set[str]:
    """Public names of a class."""
    return {name for name in dir(kind) if not name.startswith("_")}


def public_operations() -> Iterator[tuple[str, str]]:
    """All public operations there are, found by looking: (where, name)."""
    for kind in (Session, AsyncSession, CompositeView, MemCube, MOS, AsyncMOS):
        yield from ((kind.__name__, name) for name in sorted(public(kind)))
    for module in adapters():
        for exported in module.__all__:
            kind = getattr(module, exported)
            own = {name for name in vars(kind) if not name.startswith(("_", "model_config", "model_post_init"))}
            for name in sorted(own | (INHERITED & public(kind))):
                yield f"{module.__name__}.{exported}", name
    for name, command in ((name, main.get_command(None, name)) for name in main.list_commands(None)):  # type: ignore[arg-type]
        yield "memos", name
        yield from (("memos", f"{name} {below}") for below in getattr(command, "commands", {}))


def adapters() -> list[ModuleType]:
    """The adapters."""
    import memos_langchain
    import memos_llamaindex

    return [memos_langchain, memos_llamaindex]
