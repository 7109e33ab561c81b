"""If this fails, a stalled server stalls every search, or two processes undo each other's work on one collection."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from chroma_running import until

from memos_core.errors import FollowerUnavailable, ForeignStore
from memos_core.stores.leases import Lease
from memos_core.stores.opening import open_sqlite
from memos_core.stores.waiting import FIRST_PAUSE, LONGEST_PAUSE, MOST_LOST, Patience
from memos_core.types.work import utc_now


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def fail() -> None:
    raise RuntimeError("broken\nin two lines")


def test_an_answer_is_given_and_an_error_is_named() -> None:
    hands = Hands()
    patience = Patience("somebody", clock=hands)
    assert patience.ask(lambda: 5, 10) == 5
    with pytest.raises(FollowerUnavailable, match="somebody failed: RuntimeError: broken in two lines") as caught:
        patience.ask(fail, 10)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_after_a_failure_nobody_is_asked_for_a_while_that_doubles() -> None:
    hands = Hands()
    patience = Patience("somebody", clock=hands)
    pause = FIRST_PAUSE
    for _ in range(10):
        with pytest.raises(FollowerUnavailable):
            patience.ask(fail, 10)
        calls: list[int] = []
        hands.now += 0.99 * pause
        with pytest.raises(FollowerUnavailable, match="broken"):
            patience.ask(lambda: calls.append(1), 10)  # noqa: B023
        assert not calls
        hands.now += 0.02 * pause
        pause = min(2 * pause, LONGEST_PAUSE)
    assert patience.ask(lambda: 1, 10) == 1
    with pytest.raises(FollowerUnavailable):
        patience.ask(fail, 10)
    hands.now += FIRST_PAUSE
    assert patience.ask(lambda: 1, 10) == 1


def test_our_own_errors_pass_and_are_no_failure() -> None:
    def foreign() -> None:
        raise ForeignStore("not ours")

    patience = Patience("somebody", clock=Hands())
    with pytest.raises(ForeignStore):
        patience.ask(foreign, 10)
    assert patience.resting is None


def test_a_panic_of_a_driver_is_an_error_like_others() -> None:
    class Panic(BaseException):
        pass

    def panic() -> None:
        raise Panic("thread panicked")

    with pytest.raises(FollowerUnavailable, match="Panic"):
        Patience("somebody").ask(panic, 10)


def test_calls_that_never_come_back_are_not_piled_up() -> None:
    hands, never = Hands(), threading.Event()
    patience = Patience("somebody", clock=hands)
    try:
        for _ in range(MOST_LOST):
            with pytest.raises(FollowerUnavailable, match="has not answered"):
                patience.ask(never.wait, 0.01)
            hands.now += 100
        with pytest.raises(FollowerUnavailable, match=f"{MOST_LOST} calls to somebody have not come back"):
            patience.ask(lambda: 1, 10)
    finally:
        never.set()
    until(lambda: patience.resting is None)
    assert patience.ask(lambda: 1, 10) == 1


def test_whoever_gives_up_waits_no_longer() -> None:
    never, patience = threading.Event(), Patience("somebody")
    said: list[str] = []

    def ask() -> None:
        try:
            patience.ask(never.wait, 300)
        except FollowerUnavailable as error:
            said.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: patience._under_way)
    patience.give_up()
    thread.join(10)
    assert said == ["somebody is being closed"]
    never.set()


def test_a_lease_is_one_s_until_it_is_given_back_or_runs_out(tmp_path: Path) -> None:
    hands = Hands()
    store = open_sqlite(tmp_path, deadline=5.0, now=utc_now)
    one, two = (Lease(store, "work", seconds=30, clock=hands) for _ in range(2))
    assert one.take()
    assert not two.take()
    assert not two.renew()
    one.give_back()
    assert two.take()
    assert not one.renew()
    hands.now += 29
    assert not one.take()
    assert two.renew()
    hands.now += 29
    assert not one.take()
    hands.now += 2
    assert one.take(), "it has run out"
    assert not two.renew(), "somebody else has it by now"
    two.give_back()
    assert not two.take()
    store.close()
