"""If this fails, embedding on a busy machine takes ten times as long, or the application's own arithmetic stays slow after."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from memos_core.models.threads import each

_COUNTING = """
import threading
import numpy as np
from threadpoolctl import ThreadpoolController
from memos_core.models.threads import each, one_blas_thread

np.zeros((2, 2)) @ np.zeros((2, 2))  # the BLAS is there
blas = ThreadpoolController().select(user_api="blas")
def count():
    print(max((library.get_num_threads() for library in blas.lib_controllers), default=0))
def another():
    with one_blas_thread():
        inside.set()
        leave.wait(10)
def fail(batch):
    raise ValueError
inside, leave = threading.Event(), threading.Event()
other = threading.Thread(target=another)
count()
with one_blas_thread():
    other.start()
    inside.wait(10)
    count()
count()  # the other one is still inside
leave.set()
other.join()
count()
try:
    each(fail, [1, 2])
except ValueError:
    count()
"""


def test_one_thread_inside_and_as_before_when_the_last_has_left_or_failed() -> None:
    own = {**os.environ, **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")}
    done = subprocess.run([sys.executable, "-c", _COUNTING], env=own, capture_output=True, text=True, check=True)
    counts = [int(line) for line in done.stdout.split()]
    if counts[0] < 2:
        pytest.skip("the BLAS under numpy here has one thread, or none that can be counted")
    assert counts == [2, 1, 1, 2, 2]


def test_answers_come_in_the_order_of_the_batches() -> None:
    assert each(lambda batch: batch * 10, range(20)) == [batch * 10 for batch in range(20)]
    assert each(lambda batch: batch, []) == []
