"""MiniLM: the default embedder. Sentence vectors and small token vectors from one forward pass, without torch.

A text's vector is the mean over its tokens' last states, of unit length (as sentence-transformers does for
all-MiniLM-L6-v2). Its token vectors are those states, of unit length, without function words and punctuation, projected to
64 dimensions. The projection keeps the directions in which tokens of ordinary English prose differ (it was fitted once, on
docstrings of the Python standard library and numpy) and is turned so that every dimension has the same scale.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memos_core.errors import MissingPackage, ModelNotFound
from memos_core.models.bert import NumpyBert, read_config, unit_
from memos_core.models.onnx_bert import OnnxBert, find_onnx
from memos_core.models.threads import each
from memos_core.stores.index.analysis import fold
from memos_core.stores.index.stopwords import STOPWORDS

Floats = NDArray[np.float32]

TOKEN_DIMS = 64
_MOST_TOKENS = 256  # what all-MiniLM-L6-v2 was trained for
_BATCH_TOKENS = 1024
_MULTILINGUAL = 60_000
_Encoded = tuple[Floats, Floats, tuple[str, ...]]  # vector, token vectors, the word that each token is part of


class MiniLM:
    """A sentence-transformers model of BERT's layout, read from a folder.

    Args:
        folder: with config.json, tokenizer.json and model.safetensors, or an ONNX export beside the first two
            (used where there is one and onnxruntime is installed).
        cached: how many texts' vectors are remembered, by hash of the text.

    Raises:
        ModelNotFound: the folder holds no such model.
        MissingPackage: tokenizers (or safetensors) is not installed.
    """

    def __init__(self, folder: str | Path, *, cached: int = 4096) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingPackage("tokenizers", "minilm", "the minilm embedder") from error
        folder = Path(folder)
        onnx = find_onnx(folder)
        self._encoder = NumpyBert(folder) if onnx is None else OnnxBert(folder, onnx)
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:
            raise ModelNotFound(f"{folder / 'tokenizer.json'} cannot be read: {error}") from error
        self._tokenizer.no_padding()
        places = int(read_config(folder).get("max_position_embeddings", _MOST_TOKENS))
        self._tokenizer.enable_truncation(min(_MOST_TOKENS, places))
        self._projection = _projection(self._encoder.dims)
        self._identity = f"minilm:{_digest(folder)}:{self._encoder.dims}:{self.token_dims}"
        # Vocabularies of this size are English: such a model is sure of itself, and wrong, on Chinese.
        self.latin_only = self._tokenizer.get_vocab_size() < _MULTILINGUAL
        self._cached = cached
        self._known: OrderedDict[bytes, _Encoded] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        """ "minilm:", a digest of the weights, and the lengths of its vectors."""
        return self._identity

    @property
    def dims(self) -> int:
        """Length of a vector."""
        return self._encoder.dims

    @property
    def token_dims(self) -> int:
        """Length of a token's vector; 0 where the shipped projection does not fit the model."""
        return 0 if self._projection is None else TOKEN_DIMS

    def embed(self, texts: Sequence[str]) -> Floats:
        """Vectors (texts, dims), of unit length; what is beyond 256 tokens of a text does not count."""
        return self.embed_tokens(texts)[0]

    def embed_query(self, text: str) -> Floats:
        """The vector (dims,) of a question: as of any text."""
        vector: Floats = self.embed([text])[0]
        return vector

    def embed_tokens(self, texts: Sequence[str]) -> tuple[Floats, list[Floats]]:
        """Vectors (texts, dims), and for each text those of its tokens (tokens, token_dims), all of unit length."""
        encoded = self._encode(texts)
        vectors = np.array([own[0] for own in encoded], dtype=np.float32).reshape(len(texts), self.dims)
        return vectors, [own[1].copy() for own in encoded]  # what is remembered stays out of callers' hands

    def embed_question(self, text: str, late: str) -> tuple[Floats, Floats, list[str]]:
        """Vector (dims,) of one text, token vectors (tokens, token_dims) of another, and the word each token is part of."""
        (vector, _, _), (_, tokens, words) = self._encode([text, late])
        return vector.copy(), tokens.copy(), list(words)

    # -- encoding -------------------------------------------------------------------------------------------------

    def _encode(self, texts: Sequence[str]) -> list[_Encoded]:
        names = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
        found: dict[bytes, _Encoded] = {}
        with self._lock:
            for name in names:
                known = self._known.get(name)
                if known is not None:
                    self._known.move_to_end(name)
                    found[name] = known
        missing = {name: text for name, text in zip(names, texts, strict=True) if name not in found}
        found.update(zip(missing, self._forward(list(missing.values())), strict=True))
        with self._lock:
            for name in missing:
                self._known[name] = found[name]
            while len(self._known) > self._cached:
                self._known.popitem(last=False)
        return [found[name] for name in names]

    def _forward(self, texts: Sequence[str]) -> list[_Encoded]:
        encodings = self._tokenizer.encode_batch(list(texts))
        lengths = np.array([len(own.ids) for own in encodings], dtype=np.int64)

        def forward(rows: NDArray[np.int64]) -> list[_Encoded]:
            ids = np.zeros((len(rows), int(lengths[rows].max())), dtype=np.int64)
            for place, row in enumerate(rows):
                ids[place, : lengths[row]] = encodings[row].ids
            states = self._encoder.states(ids, lengths[rows])  # (texts, tokens, dims)
            return [
                self._pooled(states[place, : lengths[row]], texts[row], encodings[row])
                for place, row in enumerate(rows)
            ]

        batches = list(_batches(lengths, _BATCH_TOKENS))
        made = {
            int(row): answer
            for rows, answers in zip(batches, each(forward, batches), strict=True)
            for row, answer in zip(rows, answers, strict=True)
        }
        return [made[row] for row in range(len(texts))]

    def _pooled(self, states: Floats, text: str, encoding: Any) -> _Encoded:
        vector = unit_(states.mean(axis=0, keepdims=True))[0]
        words = _words(text, encoding)
        telling = [place for place, word in enumerate(words) if _tells(word)]
        if self._projection is None:
            return vector, np.zeros((0, 0), dtype=np.float32), ()
        tokens = unit_(unit_(states[1:-1][telling]) @ self._projection)
        return vector, tokens, tuple(words[place] for place in telling)


def _words(text: str, encoding: Any) -> list[str]:
    """For each token of a text (without [CLS] and [SEP]) the folded word that it is part of."""
    spans: dict[int, tuple[int, int]] = {}
    places = list(zip(encoding.word_ids, encoding.offsets, strict=True))[1:-1]
    for word, (start, end) in places:
        low, high = spans.get(word, (start, end))
        spans[word] = (min(low, start), max(high, end))
    return [fold(text[spans[word][0] : spans[word][1]]) for word, _ in places]


def _tells(word: str) -> bool:
    """Whether a word carries meaning: no punctuation, no function word."""
    return any(character.isalnum() for character in word) and word not in STOPWORDS["en"]


def _batches(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers, shortest texts first, cut so that rows x longest stays within the budget (one row always may)."""
    order = np.argsort(lengths, kind="stable")
    begin = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end + 1 - begin) * lengths[order[end]] > budget:
            yield order[begin:end]
            begin = end


def _projection(dims: int) -> Floats | None:
    """The shipped projection (dims, 64); None for a model of another size."""
    from safetensors.numpy import load

    raw = resources.files("memos_core.models").joinpath("minilm_projection.safetensors").read_bytes()
    projection = load(raw)["projection"].astype(np.float32)
    return projection if projection.shape == (dims, TOKEN_DIMS) else None


def _digest(folder: Path) -> str:
    """What tells these weights from others: the header of the weights' file, and the ends of the file."""
    path = next((p for p in (folder / "model.safetensors", *folder.glob("**/model.onnx")) if p.is_file()), None)
    if path is None:
        raise ModelNotFound(f"{folder} holds no model.safetensors")
    digest = hashlib.sha256(json.dumps(path.stat().st_size).encode())
    with open(path, "rb") as file:
        digest.update(file.read(1 << 20))
        file.seek(max(path.stat().st_size - (1 << 20), 0))
        digest.update(file.read())
    return digest.hexdigest()[:16]
