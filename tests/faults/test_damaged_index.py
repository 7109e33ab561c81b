"""If these fail, search answers from an index file that rotted, was cut, or belongs to another memory: it misses what is there,
or finds what was never said."""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Rounds

from memos_core import MOS
from memos_core.protocols.storage import RecordStore
from memos_core.stores.index import cube_files, cube_index
from memos_core.stores.index.cube_index import CubeIndex
from memos_core.stores.index.segment import MANIFEST
from memos_core.stores.opening import open_sqlite
from memos_core.types.work import CubeRow, utc_now

DIMS = 8
WORDS = "the cat sat on a mat in Lisbon with seven dogs while rain fell 猫 坐 在 垫子".split()


class Truth:
    """A store with a cube of some length and history."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        chance = random.Random(seed)
        vectors = np.random.default_rng(seed).standard_normal((60, DIMS))
        with MOS.open(folder, embedder=f"given:{DIMS}") as mos:
            ann = mos.session("ann", conversation="talk")
            texts = [" ".join(chance.choices(WORDS, k=6)) for _ in vectors]
            messages = [{"role": "user", "content": text, "name": f"S{n % 3}"} for n, text in enumerate(texts)]
            ids = ann.add(messages, vectors=vectors).ids
            for id in ids[::7]:
                ann.update(id, tags=["t"])
            for id in ids[::11]:
                ann.delete(id)
        self.store: RecordStore = open_sqlite(folder, deadline=30, now=utc_now)
        cube = self.store.cube("ann")
        assert cube is not None
        self.cube: CubeRow = cube

    def index(self, files: Path | None = None, flush_rows: int = 16) -> CubeIndex:
        made = CubeIndex(
            self.store, self.cube, folder=files, embedder=f"given:{DIMS}", dims=DIMS, flush_rows=flush_rows
        )
        made.catch_up()
        return made


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    made = Truth(tmp_path_factory.mktemp("truth"))
    yield made
    made.store.close()


@pytest.fixture
def files(truth: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Segments of the present and of the past, and a manifest."""
    monkeypatch.setattr(cube_files, "_WORTH_MOVING", 4)
    index = truth.index(tmp_path / "files")
    assert {part.history for part in index.parts[:-1]} == {True, False}
    assert len(list((tmp_path / "files").glob("*.segment"))) >= 2
    return tmp_path / "files"


def answers(index: CubeIndex) -> list[object]:
    """All that an index says, in an order that does not depend on how it was built."""
    found: list[object] = [index.seq]
    for as_of in (None, 1, 40, 66, index.seq):
        moment = index.moment(as_of)
        seqs = index.table["seq"]
        found.append(sorted(seqs[moment.rows].tolist()))
        found.append(round(moment.average_length, 9))
        before = {int(seqs[row]): int(moment.before[row]) for row in moment.rows.tolist()}
        found.append({seq: int(seqs[other]) if other >= 0 else None for seq, other in sorted(before.items())})
        for word in ("cat", "lisbon", "seven", "猫", "垫子", "absent"):
            rows, counts = index.holding(index.analyzer.query(word)[0].terms[0], moment)
            found.append(sorted(zip(seqs[rows].tolist(), counts.tolist(), strict=True)))
        found.append(index.nearest(np.ones(DIMS, dtype=np.float32), 12, as_of=as_of))
        found.append(sorted(index.people(moment).words))
    for seq in sorted(index.table["seq"].tolist()):
        found.append(index.heavy(index.table.row_of(seq)))
    return found


@pytest.fixture(scope="module")
def right(truth: Truth) -> list[object]:
    """What an index says that was built from the truth alone."""
    return answers(truth.index())


def believed(files: Path, truth: Truth) -> bool:
    """Whether an index takes up these files."""
    index = CubeIndex(truth.store, truth.cube, folder=files, embedder=f"given:{DIMS}", dims=DIMS)
    return index.seq > 0


def check_thrown_away(files: Path, truth: Truth, right: list[object]) -> None:
    """They are not believed; the index is built anew, and its new files are good ones."""
    assert not believed(files, truth)
    assert answers(truth.index(files)) == right
    assert believed(files, truth)
    assert answers(truth.index(files)) == right


def pick(files: Path, chance: random.Random) -> Path:
    return chance.choice(sorted(path for path in files.iterdir() if path.suffix in (".segment", ".json")))


# -- any byte ---------------------------------------------------------------------------------------------------------


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 1, 2, 30])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.choice([0, 7, 8, len(data) - 1, chance.randrange(len(data))])])


def blank(path: Path, chance: random.Random) -> None:
    """Blocks that were never written before the power went."""
    data = bytearray(path.read_bytes())
    start = chance.randrange(0, len(data), 64)
    data[start : start + chance.choice([64, 512, 4096])] = bytes(min(chance.choice([64, 512]), len(data) - start))
    path.write_bytes(data)


def scramble(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    start = chance.randrange(len(data))
    piece = chance.randbytes(chance.choice([1, 64, 1000]))
    data[start : start + len(piece)] = piece
    path.write_bytes(data)


def swap(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    middle = chance.randrange(len(data))
    path.write_bytes(data[middle:] + data[:middle])


def vanish(path: Path, _: random.Random) -> None:
    path.unlink()


def grow(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.choice([1, 64, 5000])))


DAMAGES: list[Callable[[Path, random.Random], None]] = [flip, flip, flip, cut, blank, scramble, swap, vanish, grow]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_whatever_happens_to_a_file_the_answers_are_right(
    truth: Truth, files: Path, right: list[object], tmp_path: Path, rounds: Rounds
) -> None:
    logging.getLogger(cube_files.__name__).setLevel(logging.ERROR)
    noticed = 0
    for seed in range(count := rounds(60, 3000)):
        chance = random.Random(seed)
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(files, tmp_path / "copy")
        damage = chance.choice(DAMAGES)
        damage(pick(tmp_path / "copy", chance), chance)
        noticed += not believed(tmp_path / "copy", truth)
        assert answers(truth.index(tmp_path / "copy")) == right, f"seed {seed}: {damage.__name__}"
    assert noticed > count / 2


def test_good_files_are_believed(truth: Truth, files: Path, right: list[object]) -> None:
    """The tests themselves: without damage nothing is thrown away."""
    before = sorted(files.iterdir())
    assert believed(files, truth)
    assert answers(truth.index(files)) == right
    assert sorted(files.iterdir()) == before


# -- files of others --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    made = Truth(tmp_path_factory.mktemp("other"), seed=1)
    yield made
    made.store.close()


def test_all_files_of_another_store(truth: Truth, other: Truth, right: list[object], tmp_path: Path) -> None:
    other.index(tmp_path / "files")
    check_thrown_away(tmp_path / "files", truth, right)


def test_one_segment_of_another_store(
    truth: Truth, other: Truth, files: Path, right: list[object], tmp_path: Path
) -> None:
    other.index(tmp_path / "other")
    foreign = sorted((tmp_path / "other").glob("*.segment"))
    for number, own in enumerate(sorted(files.glob("*.segment"))):
        copy = Path(shutil.copytree(files, tmp_path / f"copy {number}"))
        shutil.copy(foreign[number % len(foreign)], copy / own.name)
        check_thrown_away(copy, truth, right)


def test_segments_that_changed_places(truth: Truth, files: Path, right: list[object]) -> None:
    one, two, *_ = sorted(files.glob("*.segment"))
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)
    check_thrown_away(files, truth, right)


def test_a_manifest_that_names_older_segments(truth: Truth, right: list[object], tmp_path: Path) -> None:
    files = tmp_path / "files"
    index = CubeIndex(truth.store, truth.cube, folder=files, embedder=f"given:{DIMS}", dims=DIMS, flush_rows=16)
    index._follow(20)
    index._flush()
    shutil.copytree(files, tmp_path / "older")
    truth.index(files)
    shutil.copy(tmp_path / "older" / MANIFEST, files / MANIFEST)  # names segments that are no longer there
    check_thrown_away(files, truth, right)
    shutil.rmtree(files)
    shutil.copytree(tmp_path / "older", files)  # all of it is older: then it is a good start
    assert believed(files, truth)
    assert answers(truth.index(files)) == right


def test_files_in_the_place_of_a_folder(truth: Truth, right: list[object], tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.write_bytes(b"in the way")
    assert answers(truth.index(files)) == right
    files.unlink()
    (files / MANIFEST).mkdir(parents=True)
    assert answers(truth.index(files)) == right
    assert answers(truth.index(files)) == right


# -- found and mended by verify ---------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cube_index, "SMALL_ROWS", 0)


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("index/*/*.segment"))


def place_of(path: Path, name: str) -> int:
    """Where an array of a segment begins in its file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return 8 + length + int(json.loads(data[8 : 8 + length])[name]["data_offsets"][0])


SEEN_BY_VERIFY = {
    "row_until": "until is",
    "row_item": "item is",
    "row_state": "state is",
    "row_indexed": "indexed is",
    "row_position": "position is",
    "row_occurred": "occurred is",
    "row_created": "created is",
    "row_updated": "updated is",
    "row_vectors_of": "vectors_of is",
    "row_length": "length is",
    "row_salience": "salience is",
    "row_timed": "timed is",
    "codes": "vectors or terms differ",
    "scales": "vectors or terms differ",
    "errors": "vectors or terms differ",
    "names": "vectors or terms differ",
    "term_counts": "vectors or terms differ",
    "term_rows": "vectors or terms differ",
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("array", SEEN_BY_VERIFY)
def test_what_changes_in_a_file_that_is_in_use_is_named_and_mended(truth: Truth, tmp_path: Path, array: str) -> None:
    """Plain columns are read into memory when a segment is opened; vectors and terms stay where they are, in the file."""
    store = Path(shutil.copytree(truth.folder, tmp_path / "store"))
    with MOS.open(store) as mos:
        mos.reindex()
        index = mos._indexes.get(truth.cube)
        if array.startswith("row_"):
            column = index.table[array.removeprefix("row_")]
            column[3] = 5 if column[3] != 5 else 6
        else:
            (path,) = segments(store)
            with path.open("r+b") as file:
                file.seek(place_of(path, array) + 3)
                byte = file.read(1)[0]
                file.seek(place_of(path, array) + 3)
                file.write(bytes([byte ^ (1 if array in ("term_counts", "term_rows") else 0x40)]))
        found = mos.verify("ann")
        assert found, array
        assert {(finding.cube, finding.part, finding.repaired) for finding in found} == {("ann", "index", False)}
        assert any(SEEN_BY_VERIFY[array] in finding.what for finding in found), [finding.what for finding in found]
        assert mos.verify("ann"), "looking changes nothing"
        mended = mos.verify("ann", repair=True)
        assert [finding.what for finding in mended] == [finding.what for finding in found]
        assert all(finding.repaired for finding in mended)
        assert mos.verify() == []
    with MOS.open(store) as mos:
        assert mos.verify() == []


@pytest.mark.usefixtures("small")
def test_rows_that_are_missing_or_too_many_are_named(truth: Truth, tmp_path: Path) -> None:
    store = Path(shutil.copytree(truth.folder, tmp_path / "store"))
    with MOS.open(store) as mos:
        index = mos._indexes.get(truth.cube)
        index.catch_up()
        index.table["seq"][[2, 5]] = [3000, 7]  # changes 3 and 6 are gone, 7 is there twice, 3000 is nobody's
        index.table._place(index.table["seq"], 0)
        said = {finding.what for finding in mos.verify("ann")}
        assert {
            "change 3 is missing",
            "change 6 is missing",
            "change 7 is there twice",
            "change 3000 should not be there",
        } <= said
        mos.verify(repair=True)
        assert mos.verify() == []


@pytest.mark.usefixtures("small")
def test_reindex_builds_everything_anew(truth: Truth, tmp_path: Path) -> None:
    store = Path(shutil.copytree(truth.folder, tmp_path / "store"))
    with MOS.open(store) as mos:
        mos.session("bob").add(["one", "two"], vectors=np.eye(2, DIMS))
        before = mos.session("ann").search("cat in Lisbon", vector=np.ones(DIMS))
        assert mos.reindex("ann") == {"ann": 69}
        old = segments(store)
        assert mos.reindex() == {"ann": 69, "bob": 2}
        assert not set(old) & set(segments(store)), "all files are new ones"
        again = mos.session("ann").search("cat in Lisbon", vector=np.ones(DIMS))
        assert [(hit.id, hit.score) for hit in again] == [(hit.id, hit.score) for hit in before]
        assert mos.verify() == []


@pytest.mark.usefixtures("small")
def test_a_store_without_its_index_folder_builds_it(truth: Truth, tmp_path: Path) -> None:
    store = Path(shutil.copytree(truth.folder, tmp_path / "store"))
    with MOS.open(store) as mos:
        mos.reindex()
        shutil.rmtree(store / "index")
        assert mos.session("ann").search("Lisbon", vector=np.ones(DIMS))
        assert mos.verify() == []
    shutil.rmtree(store / "index", ignore_errors=True)
    with MOS.open(store) as mos:
        assert mos.session("ann").search("Lisbon", vector=np.ones(DIMS))
        assert mos.verify() == []
