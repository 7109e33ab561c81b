"""If this fails, embedding on a busy machine takes ten times as long, or the application's own arithmetic stays slow after."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from memos_core.models.threads import each, one_blas_thread

np.zeros((2, 2)) @ np.zeros((2, 2))  # the BLAS is there
_BLAS = ThreadpoolController().select(user_api="blas")


@pytest.fixture
def threads() -> Callable[[], int]:
    """How many threads the BLAS may use now; the test starts with three."""
    if not _BLAS.lib_controllers:
        pytest.skip("the BLAS under numpy is not one whose threads can be counted")
    with _BLAS.limit(limits=3):
        yield lambda: max(library.get_num_threads() for library in _BLAS.lib_controllers)


def test_one_thread_inside_and_as_before_after_the_last_has_left(threads: Callable[[], int]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def another() -> None:
        with one_blas_thread():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=another)
    with one_blas_thread():
        other.start()
        assert inside.wait(10)
        assert threads() == 1
    assert threads() == 1  # the other one is still inside
    leave.set()
    other.join()
    assert threads() == 3


def test_restored_after_an_error(threads: Callable[[], int]) -> None:
    def fail(batch: int) -> int:
        raise ValueError(batch)

    with pytest.raises(ValueError, match="1"):
        each(fail, [1, 2])
    assert threads() == 3


def test_answers_come_in_the_order_of_the_batches() -> None:
    assert each(lambda batch: batch * 10, range(20)) == [batch * 10 for batch in range(20)]
    assert each(lambda batch: batch, []) == []
