"""If these fail, vectors are not those of the model: nothing is found by meaning, or a store is searched with foreign vectors."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bert import CONFIG, WORDS, make_folder, states_of, weights

from memos_core.errors import MissingPackage, ModelNotFound
from memos_core.models.bert import NumpyBert, gelu_, layer_norm_, unit_
from memos_core.models.loading import load_embedder
from memos_core.models.minilm import MiniLM, _batches
from memos_core.protocols.models import TokenEmbedder

TEXTS = ["the cat sat on a mat.", "rex sleeps", "a red, red dog!", "7", "the dogs sleeping on the mat sat on the cat"]


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    embedder, _ = load_embedder("minilm")
    assert isinstance(embedder, MiniLM)
    return embedder


@pytest.fixture
def tiny(tmp_path: Path) -> MiniLM:
    return MiniLM(make_folder(tmp_path / "tiny"))


class Counting:
    """An encoder that counts the texts it is given."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.dims = encoder.dims
        self.texts = 0

    def states(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        self.texts += len(ids)
        found: NDArray[np.float32] = self.encoder.states(ids, lengths)
        return found


def counting(embedder: MiniLM) -> Counting:
    counter = Counting(embedder._encoder)
    embedder._encoder = counter  # type: ignore[assignment]
    return counter


# -- the arithmetic -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_the_forward_pass_is_that_of_bert(tmp_path: Path, prefix: str) -> None:
    """Against the same written down slowly, text by text, in float64."""
    embedder = MiniLM(make_folder(tmp_path, prefix=prefix))
    arrays = weights(CONFIG, len(WORDS), prefix)
    encodings = embedder._tokenizer.encode_batch(TEXTS)
    vectors = embedder.embed(TEXTS)
    for text, encoding, vector in zip(TEXTS, encodings, vectors, strict=True):
        expected = states_of(encoding.ids, arrays, CONFIG).mean(axis=0)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=2e-6, err_msg=text)


def test_the_published_similarities_come_out(minilm: MiniLM) -> None:
    """Those that the documentation of sentence-transformers shows for this model."""
    vectors = minilm.embed(["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."])
    expected = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=2e-4)


def test_gelu_is_exact_to_float32() -> None:
    x = np.concatenate([np.linspace(-12, 12, 100_001), [-1e30, -0.0, 0.0, 1e30]]).astype(np.float32)
    expected = [0.5 * float(v) * (1 + math.erf(float(v) / math.sqrt(2))) for v in x[::7]]
    found = gelu_(x.copy())
    np.testing.assert_allclose(found[::7], expected, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(gelu_(x.copy(), block=13), found)


def test_normalising_keeps_zero_rows() -> None:
    rows = unit_(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0]])
    normed = layer_norm_(np.array([[1.0, 3.0]], np.float32), np.array([2.0, 2.0], np.float32), np.float32([1, 1]), 0.0)
    np.testing.assert_allclose(normed, [[-1, 3]], atol=1e-6)


# -- pooling and tokens -------------------------------------------------------------------------------------------------


def test_what_is_beyond_256_tokens_does_not_count(minilm: MiniLM) -> None:
    base = "word " * 254
    same, other = minilm.embed([base + "cat", base + "stock market crash and much more"])
    np.testing.assert_array_equal(same, other)
    shorter = minilm.embed(["word " * 253 + "cat"])[0]
    assert not np.allclose(shorter, same, atol=1e-4)


def test_a_model_with_fewer_places_reads_as_far_as_it_can(tmp_path: Path) -> None:
    embedder = MiniLM(make_folder(tmp_path, max_position_embeddings=16))
    long = " ".join(["the cat sat on the mat"] * 10)
    assert np.isfinite(embedder.embed([long, "rex"])).all()
    np.testing.assert_array_equal(embedder.embed([long])[0], embedder.embed([long + " rex rex"])[0])


def test_token_vectors_are_of_the_words_that_tell(minilm: MiniLM) -> None:
    assert isinstance(minilm, TokenEmbedder)
    _, tokens, words = minilm.embed_question("?", "Where is the Café, and who's unbelievably HAPPY?")
    assert set(words) >= {"cafe", "unbelievably", "happy"}
    assert not {"the", "is", "and", "?", ",", "where"} & set(words)
    assert words.count("unbelievably") > 1  # one for each of its pieces
    assert tokens.shape == (len(words), 64)
    np.testing.assert_allclose(np.linalg.norm(tokens, axis=1), 1, atol=1e-5)
    for nothing in ("?", "the", "", "!!! ..."):
        _, tokens, words = minilm.embed_question("x", nothing)
        assert (tokens.shape, words) == ((0, 64), [])


def test_tokens_that_mean_the_same_are_near(minilm: MiniLM) -> None:
    _, tokens = minilm.embed_tokens(["car", "automobile", "banana"])
    near, far = (float(tokens[0][0] @ other[0]) for other in tokens[1:])
    assert near > far + 0.2


def test_a_model_of_another_size_gives_no_token_vectors(tiny: MiniLM) -> None:
    assert tiny.token_dims == 0
    vectors, tokens = tiny.embed_tokens(TEXTS)
    assert vectors.shape == (len(TEXTS), 32)
    assert [own.size for own in tokens] == [0] * len(TEXTS)


def test_a_small_vocabulary_knows_latin_script_only(minilm: MiniLM, tmp_path: Path) -> None:
    assert minilm.latin_only
    folder = make_folder(tmp_path)
    raw = json.loads((folder / "tokenizer.json").read_text())
    raw["model"]["vocab"] |= {f"w{number}": len(WORDS) + number for number in range(60_000)}
    (folder / "tokenizer.json").write_text(json.dumps(raw))
    assert not MiniLM(folder).latin_only


# -- batches and memory -------------------------------------------------------------------------------------------------


def test_batches_hold_every_text_once_and_no_more_than_the_budget() -> None:
    chance = np.random.default_rng(0)
    for count in (0, 1, 2, 7, 100):
        lengths = chance.integers(2, 257, count)
        batches = list(_batches(lengths, 1024))
        assert sorted(np.concatenate([*batches, np.zeros(0, np.int64)]).tolist()) == list(range(count))
        for rows in batches:
            assert len(rows) == 1 or len(rows) * lengths[rows].max() <= 1024
    assert [rows.tolist() for rows in _batches(np.array([2000, 3]), 1024)] == [[1], [0]]


def test_a_text_is_embedded_once(tiny: MiniLM) -> None:
    counter = counting(tiny)
    first = tiny.embed(TEXTS)
    assert counter.texts == len(TEXTS)
    np.testing.assert_array_equal(tiny.embed([TEXTS[0], TEXTS[1], TEXTS[0]]), first[[0, 1, 0]])
    tiny.embed_query(TEXTS[2])
    tiny.embed_question(TEXTS[3], TEXTS[4])
    assert counter.texts == len(TEXTS)
    tiny.embed(["new", "new", TEXTS[0]])
    assert counter.texts == len(TEXTS) + 1


def test_the_longest_unused_texts_are_forgotten_first(tmp_path: Path) -> None:
    embedder = MiniLM(make_folder(tmp_path), cached=2)
    counter = counting(embedder)
    embedder.embed(["cat", "dog"])
    embedder.embed(["cat"])  # the dog is now the longest unused
    embedder.embed(["mat"])
    assert counter.texts == 3
    embedder.embed(["cat", "mat"])
    assert counter.texts == 3
    embedder.embed(["dog"])
    assert counter.texts == 4
    assert len(embedder._known) == 2


def test_remembering_nothing_works(tmp_path: Path) -> None:
    embedder = MiniLM(make_folder(tmp_path), cached=0)
    np.testing.assert_array_equal(embedder.embed(TEXTS), embedder.embed(TEXTS))
    assert len(embedder._known) == 0


def test_what_fails_is_not_remembered(tiny: MiniLM) -> None:
    encoder = tiny._encoder

    class Failing:
        dims = 32

        def states(self, *_: object) -> Any:
            raise MemoryError

    tiny._encoder = Failing()  # type: ignore[assignment]
    with pytest.raises(MemoryError):
        tiny.embed(["cat"])
    tiny._encoder = encoder
    assert np.linalg.norm(tiny.embed(["cat"])) == pytest.approx(1, abs=1e-5)


# -- what it is called, and what is no model ----------------------------------------------------------------------------


def test_identity_follows_the_weights(tmp_path: Path) -> None:
    one, same, other = (MiniLM(make_folder(tmp_path / str(n), seed=n // 2)) for n in range(3))
    assert one.identity == same.identity != other.identity
    assert one.identity.startswith("minilm:")
    assert one.identity.endswith(":32:0")


def broken(folder: Path, how: str) -> None:
    tensors = folder / "model.safetensors"
    if how.startswith("no "):
        (folder / how.removeprefix("no ")).unlink()
    elif how == "config is not json":
        (folder / "config.json").write_text("{")
    elif how == "config is binary":
        (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    elif how == "tokenizer is not json":
        (folder / "tokenizer.json").write_text("x")
    elif how == "weights are cut":
        tensors.write_bytes(tensors.read_bytes()[:-100])
    elif how == "weights are empty":
        tensors.write_bytes(b"")
    elif how == "weights are a pickle":
        tensors.write_bytes(b"\x80\x04\x95" + b"x" * 100)
    elif how == "a tensor is missing":
        from safetensors.numpy import load_file, save_file

        arrays = load_file(tensors)
        arrays.pop("encoder.layer.1.output.dense.bias")
        save_file(arrays, tensors)


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("no config.json", "config.json"),
        ("no tokenizer.json", "tokenizer.json"),
        ("no model.safetensors", "model.safetensors"),
        ("config is not json", "config.json"),
        ("config is binary", "config.json"),
        ("tokenizer is not json", "tokenizer.json"),
        ("weights are cut", "model.safetensors"),
        ("weights are empty", "model.safetensors"),
        ("weights are a pickle", "model.safetensors"),
        ("a tensor is missing", "encoder.layer.1.output.dense.bias"),
    ],
)
def test_a_damaged_folder_says_what_is_wrong_with_it(tmp_path: Path, how: str, named: str) -> None:
    folder = make_folder(tmp_path / "model")
    broken(folder, how)
    with pytest.raises(ModelNotFound) as caught:
        MiniLM(folder)
    assert named in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("changes", [{"model_type": "gpt2"}, {"hidden_act": "relu"}, {"model_type": None}])
def test_another_kind_of_model_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelNotFound, match="a BERT encoder with GELU is needed"):
        MiniLM(make_folder(tmp_path, **changes))


@pytest.mark.parametrize("package", ["tokenizers", "safetensors"])
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    folder = make_folder(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackage, match=r"pip install 'memoskit\[minilm\]'") as caught:
        MiniLM(folder)
    assert caught.value.package == package


def test_states_behind_the_length_are_not_looked_at(tmp_path: Path) -> None:
    encoder = NumpyBert(make_folder(tmp_path))
    ids = np.array([[2, 5, 6, 3, 0, 0], [2, 5, 6, 7, 8, 3]], dtype=np.int64)
    lengths = np.array([4, 6], dtype=np.int64)
    padded = encoder.states(ids, lengths)
    np.testing.assert_allclose(padded[0, :4], encoder.states(ids[:1, :4], lengths[:1])[0], atol=2e-5)
