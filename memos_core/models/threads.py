"""Several batches at once, each on one thread of the BLAS under numpy.

A BLAS that spins up threads of its own for every small matrix wastes what it gains, and on a machine that is busy with
other things its threads wait for each other: measured, the same forward passes took ten times as long. Batches side by side
scale, and wait for nobody.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from memos_core.errors import MissingPackage

_T = TypeVar("_T")
_R = TypeVar("_R")


class _OneThread:
    """Limits the BLAS of this process to one thread while anybody is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._controller: Any = None
        self._limiter: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._controller is None:
                self._controller = _controller()
            if self._inside == 0:
                self._limiter = self._controller.limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limiter.restore_original_limits()


def _controller() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError as error:
        raise MissingPackage("threadpoolctl", "minilm", "the minilm embedder") from error
    return ThreadpoolController()


_one_thread = _OneThread()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """The BLAS under numpy works on one thread inside; from any number of threads, nested too."""
    with _one_thread:
        yield


def cores() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def each(work: Callable[[_T], _R], batches: Sequence[_T]) -> list[_R]:
    """The work done for each batch, in order; several at once where there are several, and processors for them."""
    workers = min(len(batches), cores())
    with one_blas_thread():
        if workers < 2:
            return [work(batch) for batch in batches]
        with ThreadPoolExecutor(workers, thread_name_prefix="memos-embed") as pool:
            return list(pool.map(work, batches))
