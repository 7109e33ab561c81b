"""A small BERT for tests: made of chance, computed slowly in float64 as the paper says, exported to ONNX node by node."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 300,
    "type_vocab_size": 2,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"the cat sat on mat dog ##ing sleep red . , ! rex".split()]
WORDS += [start + letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789" for start in ("", "##")]


def weights(config: dict[str, Any], vocabulary: int, prefix: str = "", seed: int = 0) -> Arrays:
    """Weights of chance, by the names that transformers gives them."""
    chance = np.random.default_rng(seed)
    d, f = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (vocabulary, d),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], d),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], d),
        "embeddings.LayerNorm.weight": (d,),
        "embeddings.LayerNorm.bias": (d,),
    }
    for i in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        for name, shape in (
            *((f"attention.self.{part}", (d, d)) for part in ("query", "key", "value")),
            ("attention.output.dense", (d, d)),
            ("intermediate.dense", (f, d)),
            ("output.dense", (d, f)),
        ):
            shapes[f"{at}{name}.weight"], shapes[f"{at}{name}.bias"] = shape, shape[:1]
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{at}{name}.weight"] = shapes[f"{at}{name}.bias"] = (d,)
    return {prefix + name: chance.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def make_folder(folder: Path, *, prefix: str = "", seed: int = 0, **changes: Any) -> Path:
    """A folder as sentence-transformers would leave it; `changes` go into config.json."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    config = {**CONFIG, **changes}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights(config, len(WORDS), prefix, seed), folder / "model.safetensors")
    tokenizer = Tokenizer(models.WordPiece({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def states_of(ids: list[int], arrays: Arrays, config: dict[str, Any]) -> NDArray[np.float64]:
    """Last states (tokens, d) of one text, alone, in float64 (Devlin et al., 2019; Vaswani et al., 2017)."""
    w = {name.removeprefix("bert."): array.astype(np.float64) for name, array in arrays.items()}
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]

    def dense(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return np.asarray(x @ w[f"{name}.weight"].T + w[f"{name}.bias"])

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
        return np.asarray(scaled * w[f"{name}.weight"] + w[f"{name}.bias"])

    gelu = np.vectorize(lambda value: 0.5 * value * (1 + math.erf(value / math.sqrt(2))))
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    size = x.shape[1] // heads
    for i in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        q, k, v = (dense(x, f"{at}attention.self.{part}") for part in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            scores = np.exp(q[:, own] @ k[:, own].T / math.sqrt(size))
            mixed[:, own] = scores / scores.sum(-1, keepdims=True) @ v[:, own]
        x = norm(x + dense(mixed, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        wide = gelu(dense(x, f"{at}intermediate.dense"))
        x = norm(x + dense(wide, f"{at}output.dense"), f"{at}output.LayerNorm")
    return x


class _Graph:
    """Nodes and constants of an ONNX graph, named in passing."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        name = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name


def export_onnx(folder: Path, path: Path, *, output: str = "last_hidden_state", token_types: bool = True) -> Path:
    """The model in a folder as an ONNX file, as exporters lay it out: three inputs, the last hidden state."""
    import onnx
    from onnx import TensorProto, helper
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    w = {name.removeprefix("bert."): array for name, array in load_file(folder / "model.safetensors").items()}
    d, heads, eps = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]
    g = _Graph()

    def dense(x: str, name: str) -> str:
        return g.node("Add", g.node("MatMul", x, g.constant(w[f"{name}.weight"].T)), g.constant(w[f"{name}.bias"]))

    def norm(x: str, name: str, last: str | None = None) -> str:
        given = (g.constant(w[f"{name}.weight"]), g.constant(w[f"{name}.bias"]))
        return g.node("LayerNormalization", x, *given, output=last, axis=-1, epsilon=eps)

    def split(x: str) -> str:  # (b, t, d) -> (b, heads, t, d / heads)
        return g.node("Transpose", g.node("Reshape", x, by_heads), perm=[0, 2, 1, 3])

    by_heads, together = (g.constant(np.array(shape)) for shape in ([0, 0, heads, d // heads], [0, 0, d]))
    one, half, root = (g.constant(np.float32(value)) for value in (1, 0.5, math.sqrt(0.5)))
    scale, far = g.constant(np.float32(1 / math.sqrt(d / heads))), g.constant(np.float32(-1e9))
    length = g.node("Slice", g.node("Shape", "input_ids"), *(g.constant(np.array([at])) for at in (1, 2)))
    start, axis = g.constant(np.array([0])), g.constant(np.array([0]))
    places = g.node("Slice", g.constant(w["embeddings.position_embeddings.weight"]), start, length, axis)
    types = g.constant(w["embeddings.token_type_embeddings.weight"])
    kind = (
        g.node("Gather", types, "token_type_ids")
        if token_types
        else g.constant(w["embeddings.token_type_embeddings.weight"][0])
    )
    x = g.node("Gather", g.constant(w["embeddings.word_embeddings.weight"]), "input_ids")
    x = norm(g.node("Add", g.node("Add", x, places), kind), "embeddings.LayerNorm")
    absent = g.node("Mul", g.node("Sub", one, g.node("Cast", "attention_mask", to=TensorProto.FLOAT)), far)
    padding = g.node("Unsqueeze", absent, g.constant(np.array([1, 2])))
    for i in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        q, k, v = (split(dense(x, f"{at}attention.self.{part}")) for part in ("query", "key", "value"))
        scores = g.node("Mul", g.node("MatMul", q, g.node("Transpose", k, perm=[0, 1, 3, 2])), scale)
        mixed = g.node("MatMul", g.node("Softmax", g.node("Add", scores, padding), axis=-1), v)
        mixed = g.node("Reshape", g.node("Transpose", mixed, perm=[0, 2, 1, 3]), together)
        x = norm(g.node("Add", x, dense(mixed, f"{at}attention.output.dense")), f"{at}attention.output.LayerNorm")
        wide = dense(x, f"{at}intermediate.dense")
        gate = g.node("Mul", g.node("Add", g.node("Erf", g.node("Mul", wide, root)), one), half)
        down = dense(g.node("Mul", wide, gate), f"{at}output.dense")
        last = output if i == config["num_hidden_layers"] - 1 else None
        x = norm(g.node("Add", x, down), f"{at}output.LayerNorm", last)
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if token_types else [])]
    graph = helper.make_graph(
        g.nodes,
        "bert",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "t"]) for name in names],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["b", "t", d])],
        g.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path
