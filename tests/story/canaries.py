"""Canaries: marked words, names and vectors planted wherever a store keeps something, and raw files searched for them.

A new kind of place enrols by a function in `PLACES`, a new store by a `World` in `test_erasure_canary.py`.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from memos_core import MOS, Draft, Link, Message, Right, Session, SourceRef
from memos_core.types.work import VectorBlobs

DIMS: Final = 16


class Canaries:
    """Everything that was planted in a store.

    Args:
        mos: the store; exchanged when it is opened anew.
        run: executes a statement of SQL with values, past memos.
    """

    def __init__(self, mos: MOS, run: Callable[[str, tuple[Any, ...]], None]) -> None:
        self.mos = mos
        self.run = run
        self.words: dict[str, str] = {}  # mark -> where it was planted
        self.vectors: dict[bytes, str] = {}
        self.ids: list[str] = []  # of the items to erase
        self._random = np.random.default_rng(7)

    @property
    def alice(self) -> Session:
        return self.mos.session("alice")

    def mark(self, where: str) -> str:
        """Words that are nowhere else."""
        made = f"canary-{where}-{secrets.token_hex(8)}"
        self.words[made] = where
        return made

    def vector(self, where: str) -> NDArray[np.float32]:
        """(1, dims), of unit length, that is nowhere else."""
        made = self._random.standard_normal((1, DIMS)).astype(np.float32)
        self.vectors[made.astype("<f4").tobytes()[8:40]] = where
        return made

    def add(self, where: str, content: object = None, **options: Any) -> str:
        """An item to erase, with a marked text unless one is given."""
        thing = f"{self.mark(where)} is what it says" if content is None else content
        added = self.alice.add(thing, vectors=self._random.standard_normal((1, DIMS)), **options)
        row = self.mos.cube("alice").require(Right.READ)
        (stored,) = self.mos.store.dense_vectors(row, list(added.seqs.values())).values()  # of unit length by now
        self.vectors[stored[8:40]] = where
        self.ids += added.ids
        return added.ids[0]

    def stay(self, text: str, **options: Any) -> str:
        """An item that stays."""
        vectors = self._random.standard_normal((1, DIMS)).astype(np.float32)
        return self.alice.add(text, vectors=vectors, **options).id


def _versions(at: Canaries) -> None:
    id = at.add("first-version")
    for _ in range(3):
        at.alice.update(id, metadata={"note": at.mark("metadata-of-a-version")})


def _deleted(at: Canaries) -> None:
    at.alice.delete(at.add("deleted"))


def _archived(at: Canaries) -> None:
    at.alice.archive(at.add("archived"))


def _frozen(at: Canaries) -> None:
    at.alice.freeze(at.add("frozen"))


def _private(at: Canaries) -> None:
    at.add("private", visibility="private")


def _names(at: Canaries) -> None:
    at.add("names", id=at.mark("id"), key=at.mark("key"), tags=[at.mark("tag")], type=at.mark("type"))


def _body(at: Canaries) -> None:
    at.add("body", metadata={at.mark("metadata-name"): [at.mark("metadata")]}, payload={"deep": [at.mark("payload")]})


def _odd_letters(at: Canaries) -> None:
    at.add("letters", f'{at.mark("quoted")} said "{at.mark("letters")}"\n{at.mark("line")} größer 東京')


def _message(at: Canaries) -> None:
    said = Message(
        content=f"{at.mark('message')} was said",
        role="user",
        speaker=at.mark("speaker"),
        id=at.mark("message-id"),
    )
    at.add("message", said, conversation=at.mark("conversation"))


def _document(at: Canaries) -> None:
    text = f"{at.mark('document')} is in it"
    at.add("document", Draft(text=text, source=SourceRef(uri=f"file:///{at.mark('uri')}"), context=at.mark("heading")))


def _linked(at: Canaries) -> None:
    id = at.add("linked", id=at.mark("linked-id"), links=[Link("to", at.mark("target-of-a-link"))])
    other = at.stay("this one stays and names it", links=[Link("about", id)])
    at.alice.update(other, links=[])


def _merged(at: Canaries) -> None:
    ids = [at.add("merged", id=at.mark("merged-id")) for _ in range(2)]
    with at.mos.store.begin(actor="alice", action="tidy") as transaction:
        cube = transaction.cube("alice")
        assert cube is not None
        transaction.note(cube, ids=ids, why=ids[0])
        transaction.enter(cube)
    derived = Draft(text="made from both, and stays", derived_from=tuple((id, 1) for id in ids))
    at.alice.add(derived, vectors=np.ones((1, DIMS), dtype=np.float32))


def _long(at: Canaries) -> None:
    """Over many pages, some of which become free."""
    words = " ".join(at.mark("long") + " and so on" * 30 for _ in range(40))
    id = at.add("long", words)
    at.alice.update(id, tags=["again"])
    spare = at.stay("x" * 50_000)
    at.alice.delete(spare)


def _job(at: Canaries) -> None:
    text = at.mark("job")
    id = at.add("job", f"{text} is work")
    rows = [json.dumps({"item": id, "text": text}), json.dumps({"item": id})]
    for number, payload in enumerate(rows, 1):
        columns = "job, kind, key, cube, state, priority, attempts, run_at, payload, error, created"
        error = f"it failed on {at.mark('job-error')} {text}"
        values = (number, "embed", f"k{number}", 1, "failed", 0, 1, 0, payload, error, 0)
        at.run(f"INSERT INTO jobs ({columns}) VALUES ({', '.join(['?'] * 11)})", values)


def _staged(at: Canaries) -> None:
    seq = at.alice.get(at.add("staged")).seq
    at.mos.store.stage("another embedder")
    places = [(1 << 40 | seq, VectorBlobs(at.vector("staged").tobytes(), at.vector("staged tokens").tobytes()))]
    at.mos.store.put_staged("another embedder", places)


def _held_once(at: Canaries) -> None:
    id = at.add("held", id=at.mark("held-id"))
    cube = at.mos.cube("alice")
    cube.hold(f"item:{id}", reason="a case")
    cube.release(f"item:{id}", reason="it is closed")


def _rolled_back(at: Canaries) -> None:
    id = at.add("rolled-back")
    at.alice.update(id, metadata={"a": at.mark("rolled-back-from")})
    at.alice.rollback(id, 1)


def _forked(at: Canaries) -> None:
    """A fork that goes its own way with what it shares."""
    id = at.add("forked", id=at.mark("forked-id"))
    at.mos.fork("alice", "alice/what-if")
    fork = at.mos.session("alice", write_to=["alice/what-if"])
    fork.update(id, metadata={"own": at.mark("own-version-of-a-fork")})
    at.mos.fork("alice/what-if", "alice/what-if/again", as_of=at.alice.get(id).seq)


PLACES: Final[tuple[Callable[[Canaries], None], ...]] = (
    _versions,
    _deleted,
    _archived,
    _frozen,
    _private,
    _names,
    _body,
    _odd_letters,
    _message,
    _document,
    _linked,
    _merged,
    _long,
    _job,
    _staged,
    _held_once,
    _rolled_back,
    _forked,
)


def found_in(folders: Iterable[Path], canaries: Canaries) -> dict[str, set[str]]:
    """Where raw files hold what was planted: what -> names of files. Nothing of memos is used to look."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            raw = path.read_bytes()
            for word, where in canaries.words.items():
                if any(word.encode(code) in raw for code in ("utf-8", "utf-16-le", "utf-16-be")):
                    found.setdefault(where, set()).add(path.name)
            for part, where in canaries.vectors.items():
                if part in raw:
                    found.setdefault(f"vector of {where}", set()).add(path.name)
    return found


def run_in(folder: Path) -> Callable[[str, tuple[Any, ...]], None]:
    """Executes statements in the SQLite file of a store."""

    def run(statement: str, values: tuple[Any, ...]) -> None:
        with closing(sqlite3.connect(folder / "memos.db", isolation_level=None)) as connection:
            connection.execute(statement, values)

    return run
