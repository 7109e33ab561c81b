"""The forward pass of BERT (all-MiniLM-L6-v2, or any encoder of the same layout) in plain numpy: no torch, no ONNX.

The arithmetic is float32 throughout and agrees with torch to about 1e-6. It runs on as many threads as the BLAS under numpy
is given (`threads.py` says how many); nothing is kept between calls, so it may be used from several threads at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memos_core.errors import MissingPackage, ModelNotFound

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

# erf(x) = x * P(x*x) / Q(x*x) on |x| <= 4 (beyond it erf is 1 in float32); highest power first, Q has constant term 1.
# Fitted in float64 by reweighted least squares; largest error when evaluated in float32: 4e-7.
_ERF_LIMIT = 4.0
_ERF_P = (1.974833447e-06, 2.880419347e-04, 4.003651611e-03, 5.346749236e-02, 1.962490599e-01, 1.128378976e00)
_ERF_Q = (3.748092644e-05, 1.216362129e-03, 1.544443124e-02, 1.164764641e-01, 5.072523596e-01)


def gelu_(x: F32, block: int = 65536) -> F32:
    """GELU with the exact erf, in place.  x: any shape, C-contiguous.  Works in blocks that stay in the cache."""
    flat = x.reshape(-1)
    z = np.empty(min(block, flat.size), np.float32)
    s, p, q = np.empty_like(z), np.empty_like(z), np.empty_like(z)
    for start in range(0, flat.size, block):
        v = flat[start : start + block]
        n = v.size
        zz, ss, pp, qq = z[:n], s[:n], p[:n], q[:n]
        np.multiply(v, np.float32(0.7071067811865476), out=zz)
        np.clip(zz, np.float32(-_ERF_LIMIT), np.float32(_ERF_LIMIT), out=zz)
        np.multiply(zz, zz, out=ss)
        _horner(_ERF_P, ss, pp)
        _horner((*_ERF_Q, 1.0), ss, qq)
        pp *= zz
        pp /= qq
        pp += np.float32(1.0)
        pp *= np.float32(0.5)
        v *= pp
    return x


def _horner(coefficients: Sequence[float], x: F32, out: F32) -> None:
    """Out = polynomial(x), highest power first; at least two coefficients."""
    np.multiply(x, np.float32(coefficients[0]), out=out)
    out += np.float32(coefficients[1])
    for c in coefficients[2:]:
        out *= x
        out += np.float32(c)


def layer_norm_(x: F32, gain: F32, bias: F32, eps: float) -> F32:
    """Layer normalisation over the last axis, in place.  x: (n, d); gain, bias: (d,)."""
    x -= x.mean(axis=1, keepdims=True)
    variance = np.einsum("nd,nd->n", x, x) / np.float32(x.shape[1])
    x *= (1.0 / np.sqrt(variance + np.float32(eps)))[:, None]
    x *= gain
    x += bias
    return x


def unit_(x: F32) -> F32:
    """Scale the rows of x (n, d) to length 1, in place; a zero row stays zero."""
    length = np.sqrt(np.einsum("nd,nd->n", x, x))
    x /= np.maximum(length, np.float32(1e-12))[:, None]
    return x


@dataclass(frozen=True)
class _Layer:
    qkv: F32  # (d, 3d), the query part already divided by sqrt(head size)
    qkv_bias: F32  # (3d,)
    out: F32  # (d, d)
    out_bias: F32
    norm1: tuple[F32, F32]
    up: F32  # (d, f)
    up_bias: F32
    down: F32  # (f, d)
    down_bias: F32
    norm2: tuple[F32, F32]


class NumpyBert:
    """The forward pass of a BERT encoder, from a folder with config.json and model.safetensors.

    Args:
        folder: of the model.

    Raises:
        ModelNotFound: the folder holds no BERT encoder with erf-GELU.
        MissingPackage: safetensors is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from safetensors import safe_open
        except ImportError as error:
            raise MissingPackage("safetensors", "minilm", "reading model weights") from error
        config = read_config(folder)
        self.dims = int(config["hidden_size"])
        self._heads = int(config["num_attention_heads"])
        self._eps = float(config["layer_norm_eps"])
        try:
            with safe_open(folder / "model.safetensors", framework="np") as weights:
                self._read(weights, config["num_hidden_layers"])
        except Exception as error:
            raise ModelNotFound(f"{folder / 'model.safetensors'} cannot be read as weights of BERT: {error}") from error

    def _read(self, weights: Any, layers: int) -> None:
        names = set(weights.keys())
        prefix = "bert." if "bert.embeddings.word_embeddings.weight" in names else ""

        def get(name: str) -> F32:
            return np.asarray(weights.get_tensor(prefix + name), dtype=np.float32)

        def norm(name: str) -> tuple[F32, F32]:
            return get(name + ".weight"), get(name + ".bias")

        self._words = get("embeddings.word_embeddings.weight")  # (vocabulary, d)
        # segment 0 everywhere, so its vector is folded into the positions
        self._positions = (
            get("embeddings.position_embeddings.weight") + get("embeddings.token_type_embeddings.weight")[0]
        )
        self._norm0 = norm("embeddings.LayerNorm")
        scale = np.float32(1.0 / np.sqrt(self.dims / self._heads))
        self._layers: list[_Layer] = []
        for i in range(layers):
            at = f"encoder.layer.{i}."
            parts = [
                (get(f"{at}attention.self.{p}.weight"), get(f"{at}attention.self.{p}.bias"))
                for p in ("query", "key", "value")
            ]
            parts[0] = (parts[0][0] * scale, parts[0][1] * scale)
            # Stored (out, in); laid out (in, out) once here, because that halves the time of a single short text.
            self._layers.append(
                _Layer(
                    qkv=np.ascontiguousarray(np.concatenate([w for w, _ in parts]).T),
                    qkv_bias=np.concatenate([b for _, b in parts]),
                    out=np.ascontiguousarray(get(at + "attention.output.dense.weight").T),
                    out_bias=get(at + "attention.output.dense.bias"),
                    norm1=norm(at + "attention.output.LayerNorm"),
                    up=np.ascontiguousarray(get(at + "intermediate.dense.weight").T),
                    up_bias=get(at + "intermediate.dense.bias"),
                    down=np.ascontiguousarray(get(at + "output.dense.weight").T),
                    down_bias=get(at + "output.dense.bias"),
                    norm2=norm(at + "output.LayerNorm"),
                )
            )

    def states(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> F32:
        """Last layer's states (b, t, d) of the padded rows ids (b, t); what stands behind a row's length is rubbish."""
        b, t = ids.shape
        d, h = self.dims, self._heads
        x = self._words[ids]
        x += self._positions[:t]
        x = layer_norm_(x.reshape(b * t, d), *self._norm0, self._eps)
        padding = None
        if (lengths < t).any():
            padding = np.where(np.arange(t) < lengths[:, None], np.float32(0), np.float32(-1e9))[:, None, None, :]
        for layer in self._layers:
            qkv = x @ layer.qkv
            qkv += layer.qkv_bias
            q, k, v = qkv.reshape(b, t, 3, h, d // h).transpose(2, 0, 3, 1, 4)  # each (b, h, t, d/h)
            scores = q @ k.swapaxes(-1, -2)  # (b, h, t, t)
            if padding is not None:
                scores += padding
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=-1, keepdims=True)
            mixed = (scores @ v).transpose(0, 2, 1, 3).reshape(b * t, d)
            x += mixed @ layer.out
            x += layer.out_bias
            layer_norm_(x, *layer.norm1, self._eps)
            wide = x @ layer.up
            wide += layer.up_bias
            x += gelu_(wide) @ layer.down
            x += layer.down_bias
            layer_norm_(x, *layer.norm2, self._eps)
        return x.reshape(b, t, d)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a BERT encoder with erf-GELU.

    Raises:
        ModelNotFound: there is none, or it is of another model.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"{folder} holds no model: config.json cannot be read ({error})") from error
    if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
        raise ModelNotFound(f"{folder} holds a {config.get('model_type')!r} model; a BERT encoder with GELU is needed")
    return config
