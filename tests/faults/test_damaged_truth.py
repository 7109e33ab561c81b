"""If these fail, a disk that forgets or a hand that meddles changes what somebody remembers, and nobody is told."""

from __future__ import annotations

import random
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rounds

from memos_core import MOS, Link, MemosError
from memos_core.errors import EmbedderMismatch, StoreDamaged, StoreError
from memos_core.models.hashing import HashingEmbedder
from memos_core.plaintext.verify import Finding

PLACE = 1 << 40  # of change 0 of the first cube
TEXTS = {"rex": "Rex is a puppy", "max": "Max is a cat", "bob": "Bob is a bird", "sea": "The sea is salty"}


def fill(folder: Path) -> None:
    """Two cubes with everything that a store keeps."""
    with MOS.open(folder, embedder="given:4") as mos:
        ann = mos.session("ann", conversation="thread")
        for n, (id, text) in enumerate(TEXTS.items()):
            links = [Link("knows", "rex"), Link("fears", "sea", 0.5)] if id == "max" else []
            ann.add(text, id=id, key=f"key of {id}", links=links, metadata={"n": n}, vectors=np.eye(4)[n : n + 1])
        ann.update("rex", tags=["dog"])  # change 5 goes on using the vectors of change 1
        ann.delete("bob")
        ann.restore("bob")
        ann.delete("sea")
        mos.share("ann", with_="bob")
        bob = mos.session("bob")
        bob.add("Nothing to do with the others", vectors=np.ones((1, 4)))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    fill(folder)
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "copy"))


def run(folder: Path, statement: str, *values: Any) -> list[Any]:
    connection = sqlite3.connect(folder / "memos.db")
    with connection:
        cursor = connection.execute(statement, values)
        found = cursor.fetchall()
    connection.close()
    return found


def changed(folder: Path, statement: str, *values: Any) -> None:
    """Meddle; the statement must have changed just one row."""
    connection = sqlite3.connect(folder / "memos.db")
    with connection:
        assert connection.execute(statement, values).rowcount == 1, statement
    connection.close()


def verify(folder: Path, *, repair: bool = False) -> list[Finding]:
    with MOS.open(folder) as mos:
        return mos.verify(repair=repair)


def test_a_good_store_has_no_findings(folder: Path) -> None:
    assert verify(folder) == []
    assert verify(folder, repair=True) == []


# -- rows that were altered -------------------------------------------------------------------------------------------

ALTERED = {
    # words, and everything else that a version says
    "a text": ("UPDATE versions SET text = 'Rex is a wolf' WHERE place = ?", 1, "'rex', version 1"),
    "a text, emptied": ("UPDATE versions SET text = NULL WHERE place = ?", 1, "'rex', version 1"),
    "a text, in its case": ("UPDATE versions SET text = upper(text) WHERE place = ?", 5, "'rex', version 2"),
    "a body": ("UPDATE versions SET body = replace(body, 'thread', 'threat') WHERE place = ?", 2, "'max', version 1"),
    "a body that is no JSON": ("UPDATE versions SET body = '{' WHERE place = ?", 2, "'max', version 1"),
    "a state": ("UPDATE versions SET state = 'archived' WHERE place = ?", 2, "'max', version 1"),
    "an unknown state": ("UPDATE versions SET state = 'gone' WHERE place = ?", 2, "'max', version 1"),
    "an operation": ("UPDATE versions SET op = 'update' WHERE place = ?", 2, "'max', version 1"),
    "a version's number": ("UPDATE versions SET version = 7 WHERE place = ?", 2, "version 7"),
    "the version before": ("UPDATE versions SET prev = 2 WHERE place = ?", 5, "'rex', version 2"),
    "whose version it is": (f"UPDATE versions SET item = {PLACE + 2} WHERE place = ?", 5, "version 2"),
    "nobody's version": (
        "UPDATE versions SET item = 77 WHERE place = ?",
        5,
        "change 5 belongs to an item that is not there",
    ),
    "a salt": ("UPDATE versions SET salt = zeroblob(16) WHERE place = ?", 3, "'bob', version 1"),
    "no salt": ("UPDATE versions SET salt = NULL WHERE place = ?", 3, "'bob', version 1"),
    "a digest": ("UPDATE versions SET digest = zeroblob(32) WHERE place = ?", 3, "'bob', version 1"),
    "whose words they were": ("UPDATE versions SET batch = 1 WHERE place = ?", 5, "change 5"),
    "words of nobody": ("UPDATE versions SET batch = 99 WHERE place = ?", 5, "change 5"),
    "a version that is gone": ("DELETE FROM versions WHERE place = ?", 3, "changes 3 to 3 are missing"),
    "the last version": ("DELETE FROM versions WHERE place = ?", 8, "the counter says 8 changes, the log ends at 7"),
    "a version too many": (
        "INSERT INTO versions SELECT place + 8, item, 9, op, state, prev, batch, 0, text, body, salt, digest "
        "FROM versions WHERE place = ?",
        1,
        "version 9",
    ),
    # items
    "an id": ("UPDATE items SET id = 'wolf' WHERE item = ?", 1, "'wolf', version 1"),
    "an item that is gone": ("DELETE FROM items WHERE item = ?", 1, "change 1 belongs to an item that is not there"),
    "an item's newest change": (
        "UPDATE items SET head = 1 WHERE item = ?",
        1,
        "item 'rex' points to change 1, version 2",
    ),
    "an item's newest version": (
        "UPDATE items SET version = 9 WHERE item = ?",
        1,
        "item 'rex' points to change 5, version 9",
    ),
    "a deletion undone": ("UPDATE items SET deleted = 0 WHERE item = ?", 4, "item 'sea'"),
    "a deletion": ("UPDATE items SET deleted = 1 WHERE item = ?", 1, "item 'rex'"),
    "a key": ("UPDATE items SET key = 'other key' WHERE item = ?", 1, "item 'rex'"),
    "no key": ("UPDATE items SET key = NULL WHERE item = ?", 1, "item 'rex'"),
    "a key of what is deleted": ("UPDATE items SET key = 'key' WHERE item = ?", 4, "item 'sea'"),
    "when it was made": ("UPDATE items SET created = created - 1 WHERE item = ?", 1, "item 'rex'"),
    "an item in another cube": ("UPDATE items SET cube = 2 WHERE item = ?", 1, "rex"),
    # links
    "a link": ("UPDATE links SET target = 'bob' WHERE relation = 'knows' AND item = ?", 2, "item 'max'"),
    "a link's weight": ("UPDATE links SET weight = 9 WHERE relation = 'knows' AND item = ?", 2, "item 'max'"),
    "a link that is gone": ("DELETE FROM links WHERE relation = 'knows' AND item = ?", 2, "item 'max'"),
    "a link too many": ("INSERT INTO links VALUES (1, ?, 'hates', 'bob', 1)", 1, "item 'rex'"),
    "a link of nobody": ("INSERT INTO links VALUES (1, ? + 50, 'hates', 'bob', 1)", 1, "link"),
    # vectors
    "a vector": ("UPDATE vectors SET dense = zeroblob(16) WHERE place = ?", 2, "vectors of change 2"),
    "a vector's checksum": ("UPDATE vectors SET crc = crc + 1 WHERE place = ?", 2, "vectors of change 2"),
    "a shorter vector": ("UPDATE vectors SET dense = zeroblob(12) WHERE place = ?", 2, "vectors of change 2"),
    "token vectors": ("UPDATE vectors SET tokens = x'ff' WHERE place = ?", 2, "vectors of change 2"),
    "a vector that is gone": ("DELETE FROM vectors WHERE place = ?", 2, "change 2 uses the vectors of change 2"),
    "a vector of nobody": ("UPDATE vectors SET place = place + 90 WHERE place = ?", 2, "change 92"),
    "another item's vectors": ("UPDATE versions SET vectors_of = 2 WHERE place = ?", 5, "change 5 uses the vectors"),
    "no vectors": ("UPDATE versions SET vectors_of = 0 WHERE place = ?", 2, "change 2"),
}


@pytest.mark.parametrize("what", ALTERED)
def test_an_altered_row_is_named(folder: Path, what: str) -> None:
    statement, seq, named = ALTERED[what]
    changed(folder, statement, PLACE + seq)
    found = verify(folder)
    assert any(named in finding.what for finding in found), [finding.what for finding in found]
    assert {finding.cube for finding in found} == {"ann"} if "another cube" not in what else True
    assert any(finding.part == "truth" for finding in found)
    assert not any(finding.repaired for finding in verify(folder, repair=True) if finding.part == "truth")
    assert {finding.what for finding in verify(folder)} >= {f.what for f in found if f.part == "truth"}, "not hushed up"


AUDIT = {
    "who": ("UPDATE batches SET actor = 'eve' WHERE cube = 1 AND number = ?", "who did it is not who was written"),
    "nobody": ("UPDATE batches SET actor = NULL WHERE cube = 1 AND number = ?", "who did it is missing"),
    "what": ("UPDATE batches SET action = 'update' WHERE cube = 1 AND number = ?", "its hash does not follow"),
    "when": ("UPDATE batches SET at = at - 1 WHERE cube = 1 AND number = ?", "its hash does not follow"),
    "the first change": (
        "UPDATE batches SET first_seq = 1 WHERE cube = 1 AND number = ?",
        "covers change 1 on, expected 2",
    ),
    "the last change": ("UPDATE batches SET last_seq = 3 WHERE cube = 1 AND number = ?", "not those that were written"),
    "the root": ("UPDATE batches SET root = zeroblob(32) WHERE cube = 1 AND number = ?", "not those that were written"),
    "the hash": ("UPDATE batches SET hash = zeroblob(32) WHERE cube = 1 AND number = ?", "its hash does not follow"),
    "the salt": (
        "UPDATE batches SET salt = zeroblob(16) WHERE cube = 1 AND number = ?",
        "who did it is not who was written",
    ),
    "no salt": ("UPDATE batches SET salt = NULL WHERE cube = 1 AND number = ?", "salt is missing"),
    "the seal": ("UPDATE batches SET sealed = zeroblob(64) WHERE cube = 1 AND number = ?", "its hash does not follow"),
    "no seal": ("UPDATE batches SET sealed = NULL WHERE cube = 1 AND number = ?", "its seal is missing"),
    "a detail": (
        "UPDATE details SET detail = '{}' WHERE cube = 1 AND number = ?",
        "its detail is not what was written",
    ),
    "a detail of nothing": (
        "INSERT INTO details (cube, number, salt, detail) VALUES (1, 90 + ?, zeroblob(16), '{}')",
        "but no such entry",
    ),
    "an entry that is gone": ("DELETE FROM batches WHERE cube = 1 AND number = ?", "audit entries 2 to 2 are missing"),
}


@pytest.mark.parametrize("what", AUDIT)
def test_an_altered_audit_entry_is_named(folder: Path, what: str) -> None:
    statement, named = AUDIT[what]
    changed(folder, statement, 2)
    found = [finding.what for finding in verify(folder)]
    assert any(named in each and "audit entr" in each for each in found), found


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "DELETE FROM batches WHERE cube = 1 AND number = (SELECT max(number) FROM batches WHERE cube = 1)",
            "audit chain",
        ),
        ("UPDATE cubes SET chain = zeroblob(32) WHERE cube = 1", "audit chain"),
        ("UPDATE cubes SET batches = 3 WHERE cube = 1", "audit chain"),
        ("UPDATE cubes SET seq = 7 WHERE cube = 1", "the counter says 7 changes, the log ends at 8"),
        ("UPDATE cubes SET seq = 9 WHERE cube = 1", "the counter says 9 changes, the log ends at 8"),
    ],
)
def test_a_cut_chain_or_counter_is_named(folder: Path, statement: str, named: str) -> None:
    changed(folder, statement)
    assert any(named in finding.what for finding in verify(folder))


def test_an_edit_that_mends_its_own_digest_is_found_by_the_chain(folder: Path) -> None:
    """Somebody who knows how digests are made changes a text; the root that the chain holds is another one then."""
    from memos_core.stores.sql.audit import digest, header_of

    ((id, version, op, state, prev, body, salt),) = run(
        folder,
        "SELECT id, v.version, op, state, prev, body, salt FROM versions v JOIN items USING (item) WHERE place = ?",
        PLACE + 1,
    )
    forged = digest(salt, header_of(id, version, op, state, prev), "Rex is a wolf", body)
    changed(folder, "UPDATE versions SET text = 'Rex is a wolf', digest = ? WHERE place = ?", forged, PLACE + 1)
    assert any("audit entry 1: the changes it covers" in finding.what for finding in verify(folder))


# -- reading what was altered -----------------------------------------------------------------------------------------


def ask_everything(mos: MOS) -> Iterator[tuple[str, str]]:
    """Every way to read memory: yields (id, text) of all that is answered; errors must be ours."""
    ann = mos.session("ann")
    for do in (
        ann.list,
        lambda: ann.list(where={"n": {">=": 0}}),
        lambda: ann.list(where={"text": {"text_match": "is"}}),
        lambda: [hit.item for hit in ann.search("Rex Max Bob puppy cat bird wolf", vector=np.ones(4))],
        lambda: [hit.item for hit in ann.search("Rex Max Bob", where={"n": {"<": 9}}, vector=np.ones(4))],
        lambda: [hit.item for hit in ann.search("Rex Max Bob", as_of=4, vector=np.ones(4))],
        lambda: [item for item, _ in mos.cube("ann").nearest(np.ones(4, dtype=np.float32))],
        lambda: [each.item for id in TEXTS for each in ann.history(id) if each.item],
        lambda: [ann.get(id) for id in ("rex", "max", "bob")],
        lambda: [ann.get(key=f"key of {id}") for id in ("rex", "max", "bob")],
        lambda: [ann.get(id, as_of=4) for id in TEXTS],
        lambda: ann.context("Rex Max Bob", vector=np.ones(4)).items,
    ):
        try:
            for item in do():
                yield item.id, item.text
        except MemosError:
            continue


@pytest.mark.parametrize("what", ALTERED)
def test_altered_words_are_never_read_as_true(folder: Path, what: str) -> None:
    """Reading gives the words that were written, or an error of ours; before the index is built, and after."""
    statement, seq, _ = ALTERED[what]
    with MOS.open(folder) as warm:
        warm.session("ann").search("Rex", vector=np.ones(4))
        changed(folder, statement, PLACE + seq)
        with MOS.open(folder) as cold:
            for mos in (warm, cold):
                for id, text in ask_everything(mos):
                    assert TEXTS.get(id if id != "wolf" else "rex") == text, what


def test_reading_a_damaged_item_says_so(folder: Path) -> None:
    changed(folder, "UPDATE versions SET text = 'Rex is a wolf' WHERE place = ?", PLACE + 5)
    with MOS.open(folder) as mos:
        ann = mos.session("ann")
        for ask in (lambda: ann.get("rex"), lambda: ann.search("wolf"), lambda: ann.history("rex"), ann.list):
            with pytest.raises(StoreDamaged, match=r"version 2 of item 'rex'.*memos verify.*backup"):
                ask()
        assert ann.get("max").text == TEXTS["max"], "the others can still be read"
        assert mos.session("bob").search("others", vector=np.ones(4))[0].text.startswith("Nothing")


def test_reading_a_version_that_is_gone_says_so(folder: Path) -> None:
    with MOS.open(folder) as mos:
        ann = mos.session("ann")
        assert ann.search("Rex", vector=np.eye(4)[0])[0].id == "rex"
        changed(folder, "DELETE FROM versions WHERE place = ?", PLACE + 5)
        for ask in (
            lambda: ann.get("rex"),
            lambda: ann.search("Rex", vector=np.eye(4)[0]),
            lambda: ann.history("rex"),
            ann.list,
            lambda: mos.cube("ann").nearest(np.eye(4, dtype=np.float32)[0]),
        ):
            with pytest.raises(StoreDamaged, match="lost change 5"):
                ask()


def test_a_vector_that_rotted_is_an_error_and_not_another_ranking(folder: Path) -> None:
    for broken in (np.full(4, np.nan), np.full(4, 1e30), -np.eye(4)[1]):
        changed(folder, "UPDATE vectors SET dense = ? WHERE place = ?", broken.astype("<f4").tobytes(), PLACE + 2)
        with MOS.open(folder) as mos:
            ann = mos.session("ann")
            for ask in (
                lambda ann=ann: ann.search("x", vector=np.ones(4)),
                lambda mos=mos: mos.cube("ann").nearest(np.ones(4, dtype=np.float32)),
            ):
                with pytest.raises(StoreDamaged, match="vectors of change 2"):
                    ask()


def test_a_body_that_is_no_json_is_an_error_of_ours(folder: Path) -> None:
    with MOS.open(folder) as mos:
        ann = mos.session("ann")
        ann.list()
        changed(folder, "UPDATE versions SET body = '{' WHERE place = ?", PLACE + 2)
        with pytest.raises(StoreDamaged, match="memos verify"):
            ann.list(where={"n": 1})


def test_token_vectors_of_an_odd_length_are_an_error_of_ours(tmp_path: Path) -> None:
    with MOS.open(tmp_path, embedder=Tokens()) as mos:
        mos.session("ann").add("Rex is a puppy")
    ((dense,),) = run(tmp_path, "SELECT dense FROM vectors")
    blob = b"\x11\x22\x33"
    changed(tmp_path, "UPDATE vectors SET tokens = ?, crc = ?", blob, zlib.crc32(blob, zlib.crc32(dense)))
    with MOS.open(tmp_path, embedder=Tokens()) as mos, pytest.raises((StoreDamaged, EmbedderMismatch)):
        mos.session("ann").search("Rex")


class Tokens(HashingEmbedder):
    """An embedder with token vectors of four numbers."""

    token_dims = 4

    def embed_tokens(self, texts: list[str]) -> tuple[Any, Any]:
        return self.embed(texts), [np.full((len(text.split()), 4), 0.5, dtype=np.float32) for text in texts]

    def embed_question(self, text: str, late: str) -> tuple[Any, Any, list[str]]:
        words = late.split()
        return self.embed_query(text), np.full((len(words), 4), 0.5, dtype=np.float32), words


# -- the file itself --------------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_a_database_with_flipped_bits_tells_the_truth_or_nothing(filled: Path, tmp_path: Path, rounds: Rounds) -> None:
    """Any bytes of the file may change: what is read is what was written, or an error of ours. And verify never crashes."""
    good = (filled / "memos.db").read_bytes()
    folder = tmp_path / "copy"
    folder.mkdir()
    silent = 0
    for seed in range(count := rounds(25, 1000)):
        chance = random.Random(seed)
        bad = bytearray(good)
        for _ in range(chance.choice([1, 1, 4, 64])):
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.3:
            start = chance.randrange(0, len(bad), 512)
            bad[start : start + 512] = bytes(512) if chance.random() < 0.5 else chance.randbytes(512)
        if chance.random() < 0.1:
            del bad[chance.randrange(len(bad)) :]
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "memos.db").write_bytes(bad)
        try:
            with MOS.open(folder, embedder="given:4") as mos:
                for id, text in ask_everything(mos):
                    assert TEXTS.get(id) == text or id not in TEXTS, f"seed {seed}"
                silent += mos.verify() == []
        except (StoreError, EmbedderMismatch):
            pass
    assert silent < count
