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
    """Limits the BLAS of this process to one thread while anybody is inside.

    Set and restored by one thread of its own: threadpoolctl lets only the thread that has set a limit change it again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._setter: ThreadPoolExecutor | None = None
        self._controller: Any = None
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._setter is None:
                self._controller = _controller()
                self._setter = ThreadPoolExecutor(1, thread_name_prefix="memos-blas")
            if self._inside == 0:
                self._limit = self._setter.submit(self._set).result()
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._setter is not None:
                self._setter.submit(self._limit.__exit__, None, None, None).result()

    def _set(self) -> Any:
        return self._controller.limit(limits=1, user_api="blas").__enter__()


def _controller() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError as error:
        raise MissingPackage("threadpoolctl", "minilm", "the minilm embedder") from error
    return ThreadpoolController()


_one_thread = _OneThread()


def _begin_anew() -> None:
    global _one_thread  # noqa: PLW0603 - in a forked child the setting thread, and whoever was inside, are gone
    _one_thread = _OneThread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


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
