"""Results made ahead: in order, no more than two lists at once, and nothing left when the caller stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.waiting import wait_until
from workers.prefetch import Prefetch

#: Seconds after which something that must happen did not.
SOON = 20.0


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    wait_until(lambda: not _decoding(), SOON, "the end of every thread")


def _decoding() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode-")]


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_results_come_in_order_and_in_lists(threads: int) -> None:
    chunks = Prefetch(lambda number: number * 10, threads).chunks(range(7), 3)
    assert list(chunks) == [[0, 10, 20], [30, 40, 50], [60]]


def test_the_next_list_is_made_while_the_caller_has_one() -> None:
    # Given results of which the second list cannot be had before the caller says that it has the first
    has_first, made = threading.Event(), threading.Semaphore(0)

    def make(number: int) -> int:
        if number >= 2:
            assert has_first.wait(SOON)
        made.release()
        return number

    with closing(Prefetch(make, 2).chunks(range(4), 2)) as chunks:
        assert next(chunks) == [0, 1]
        has_first.set()
        # When the caller does something else, then the second is made without being asked for
        for _ in range(4):
            assert made.acquire(timeout=SOON)
        assert next(chunks) == [2, 3]


def test_no_more_than_the_next_list_is_made() -> None:
    made: list[int] = []
    with closing(Prefetch(lambda number: made.append(number), 3).chunks(range(100), 5)) as chunks:
        next(chunks)
        wait_until(lambda: len(made) >= 10, SOON, "the making of the next list")
        jobs_left = threading.Event()
        # Threads that had more to do would do it at once.
        assert not jobs_left.wait(0.2)
        assert sorted(made) == list(range(10))


def test_results_are_not_kept() -> None:
    class Result:
        alive = 0
        most = 0
        lock = threading.Lock()

        def __init__(self) -> None:
            with Result.lock:
                Result.alive += 1
                Result.most = max(Result.most, Result.alive)

        def __del__(self) -> None:
            with Result.lock:
                Result.alive -= 1

    with closing(Prefetch(lambda _: Result(), 4).chunks(range(200), 5)) as chunks:
        for _ in range(40):
            assert len(next(chunks)) == 5
    # Two lists, and one more in each thread for the moment in which it hands it over.
    assert Result.most <= 10 + 4


def test_an_exception_comes_out_where_its_result_would() -> None:
    def make(number: int) -> int:
        if number == 3:
            raise KeyError("nobody expects this")
        return number

    chunks = Prefetch(make, 2).chunks(range(6), 2)
    assert next(chunks) == [0, 1]
    with pytest.raises(KeyError, match="nobody expects this"):
        next(chunks)


class Stopped(Exception):
    """As Celery raises its soft time limit: in a signal handler of the main thread."""


def _stop(*_: object) -> None:
    raise Stopped


def test_a_time_limit_is_heard_while_a_thread_hangs() -> None:
    # Given a thread that hangs, and a main thread that waits for it
    begun, go_on = threading.Event(), threading.Event()
    made: list[int] = []

    def make(number: int) -> None:
        begun.set()
        assert go_on.wait(SOON)
        made.append(number)

    def strike() -> None:
        assert begun.wait(SOON)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, _stop)
    striker = threading.Thread(target=strike)
    striker.start()
    try:
        # When the limit strikes, then the caller goes on at once
        with pytest.raises(Stopped), closing(Prefetch(make, 1).chunks(range(8), 2)) as chunks:
            next(chunks)
        assert not made
    finally:
        striker.join()
        signal.signal(signal.SIGUSR1, before)
    # Then what was not begun is not made, and the thread ends when it can
    go_on.set()
    wait_until(lambda: not _decoding(), SOON, "the end of every thread")
    assert made == [0]


def test_the_threads_do_not_keep_the_process_alive() -> None:
    hang = threading.Event()
    chunks = Prefetch(lambda number: number if number < 2 else hang.wait(SOON), 1).chunks(range(4), 2)
    assert next(chunks) == [0, 1]
    assert [thread.daemon for thread in _decoding()] == [True]
    hang.set()
    chunks.close()
