"""Stores whose vectors somebody else follows, small, with vectors given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memos_core import MOS

DIMS = 8


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, DIMS)).astype(np.float32)


def open_followed(folder: Path, spec: object = None, **options: Any) -> MOS:
    """A store that asks its follower however few rows there are, and waits long for it."""
    told: dict[str, Any] = {"embedder": f"given:{DIMS}"}
    if spec is not None:
        told |= {"vectors": spec, "vectors_from": 0, "vectors_deadline": 20.0}
    return MOS.open(folder, **{**told, **options})


def fill(mos: MOS, count: int, seed: int = 0, name: str = "alice") -> NDArray[np.float32]:
    """Items in a cube; their vectors."""
    made = vectors(count, seed)
    mos.session(name).add([f"fact {n} about topic{n % 7} of {seed}" for n in range(count)], vectors=made)
    return made


def near(mos: MOS, query: NDArray[np.float32], count: int = 5, **options: Any) -> list[tuple[str, float]]:
    """Texts and cosines of the nearest."""
    return [(item.text, round(score, 5)) for item, score in mos.cube("alice").nearest(query, count, **options)]


def degraded(mos: MOS, query: NDArray[np.float32] | None = None) -> str | None:
    """What a search says of who answered."""
    return mos.cube("alice").nearest(vectors(1, 99)[0] if query is None else query, 3).degraded


def at(mos: MOS) -> dict[str, Any]:
    """How far the follower has come."""
    found: dict[str, Any] = mos.cube("alice").stats()["vectors_at"]
    return found


def scan(made: NDArray[np.float32], query: NDArray[np.float32], count: int = 5) -> list[float]:
    """The best cosines, by the long way."""
    unit = made.astype(np.float64) / np.linalg.norm(made.astype(np.float64), axis=1)[:, None]
    cosines = unit @ (query.astype(np.float64) / np.linalg.norm(query.astype(np.float64)))
    return [round(float(each), 5) for each in np.sort(cosines)[::-1][:count]]
