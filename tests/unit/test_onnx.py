"""If these fail, a model's ONNX export gives other vectors than its weights do, or a bad export goes unnoticed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_bert import export_onnx, make_folder

from memos_core import MOS
from memos_core.errors import EmbeddingFailed, ModelNotFound
from memos_core.models.bert import NumpyBert
from memos_core.models.loading import load_embedder, minilm_folder, models_folder
from memos_core.models.minilm import MiniLM
from memos_core.models.onnx_bert import OnnxBert, find_onnx

onnxruntime = pytest.importorskip("onnxruntime")

TEXTS = [
    "I moved to Lisbon in May.",
    "The quarterly report on unbelievably slow transformers was rejected, again!",
    "ok",
    "",
    "word " * 400,
    "猫在沙发上睡觉",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "model")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The real model with an export beside it; it is large, so it is taken away afterwards."""
    folder = tmp_path_factory.mktemp("minilm")
    origin = minilm_folder("", models_folder())
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).symlink_to(origin / name)
    export_onnx(folder, folder / "onnx" / "model.onnx")
    yield folder
    shutil.rmtree(folder)


def test_the_real_model_answers_as_it_does_in_numpy(real: Path) -> None:
    through_onnx, in_numpy = MiniLM(real), load_embedder("minilm")[0]
    assert isinstance(through_onnx._encoder, OnnxBert)
    assert isinstance(in_numpy, MiniLM)
    assert isinstance(in_numpy._encoder, NumpyBert)
    assert through_onnx.identity == in_numpy.identity
    assert (through_onnx.dims, through_onnx.token_dims) == (384, 64)
    found, expected = through_onnx.embed_tokens(TEXTS), in_numpy.embed_tokens(TEXTS)
    np.testing.assert_allclose(found[0], expected[0], atol=2e-6)
    for own, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(own, other, atol=2e-5)
    question = through_onnx.embed_question("where does she live?", "who lives in Lisbon?")
    assert question[2] == in_numpy.embed_question("where does she live?", "who lives in Lisbon?")[2]


def test_one_store_takes_both(real: Path, tmp_path: Path) -> None:
    """Written through one, asked through the other: the weights are the same, so the vectors are."""
    with MOS.open(tmp_path, embedder="minilm") as mos:
        mos.session("ann").add(["I moved to Lisbon in May.", "Rex is a terrier."])
    with MOS.open(tmp_path, embedder=f"minilm:{real}") as mos:
        hits = mos.session("ann").search("who relocated to Portugal?")
        assert hits[0].text == "I moved to Lisbon in May."
        assert {"late", "dense"} <= set(hits[0].parts)


@pytest.mark.parametrize("place", ["onnx/model.onnx", "model.onnx"])
@pytest.mark.parametrize("token_types", [True, False])
def test_exports_are_found_and_used_where_exporters_put_them(folder: Path, place: str, token_types: bool) -> None:
    expected = MiniLM(folder).embed(["the cat sat", "a red dog sleeps on the mat."])
    path = export_onnx(folder, folder / place, token_types=token_types)
    assert find_onnx(folder) == path
    embedder = MiniLM(folder)
    assert isinstance(embedder._encoder, OnnxBert)
    np.testing.assert_allclose(embedder.embed(["the cat sat", "a red dog sleeps on the mat."]), expected, atol=2e-6)


def test_an_export_alone_will_do(folder: Path) -> None:
    with_weights = MiniLM(folder)
    export_onnx(folder, folder / "model.onnx")
    (folder / "model.safetensors").unlink()
    embedder = MiniLM(folder)
    assert embedder.identity.startswith("minilm:")
    assert embedder.identity != with_weights.identity  # other bytes: nothing says that they are the same weights
    np.testing.assert_allclose(embedder.embed(["the cat"]), with_weights.embed(["the cat"]), atol=2e-6)


def test_without_the_runtime_an_export_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_onnx(folder, folder / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert find_onnx(folder) is None
    assert isinstance(MiniLM(folder)._encoder, NumpyBert)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match=r"model\.safetensors"):
        MiniLM(folder)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x04\x95pickle"])
def test_a_broken_export_is_named(folder: Path, content: bytes) -> None:
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ModelNotFound, match=r"model\.onnx cannot be read as an ONNX model"):
        MiniLM(folder)


def test_an_export_of_something_else_is_refused(folder: Path) -> None:
    export_onnx(folder, folder / "model.onnx", output="logits")
    with pytest.raises(ModelNotFound, match="gives logits, but no last_hidden_state; export the encoder itself"):
        MiniLM(folder)


def test_an_export_that_fails_while_running_says_so(folder: Path) -> None:
    export_onnx(folder, folder / "model.onnx")
    encoder = MiniLM(folder)._encoder
    with pytest.raises(EmbeddingFailed, match="the ONNX model failed"):
        encoder.states(np.array([[2, 9999, 3]], dtype=np.int64), np.array([3], dtype=np.int64))
