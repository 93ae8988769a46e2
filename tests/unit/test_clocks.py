"""Stage clocks: every second belongs to one stage, and a window forgets what is long over."""

from __future__ import annotations

import pytest

from workers.clocks import STAGES, Clocks, Reading, Window


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def clocks(time: Time) -> Clocks:
    return Clocks(time)


def seconds(reading: Reading) -> dict[str, float]:
    return {stage: value for stage, value in reading.seconds.items() if value}


def test_what_is_inside_a_stage_is_not_counted_twice(clocks: Clocks, time: Time) -> None:
    time.now += 1
    with clocks.during("store"):
        time.now += 2
        with clocks.during("decode"):
            time.now += 3
        time.now += 4
    time.now += 5
    assert seconds(clocks.read()) == {"queue": 6, "store": 6, "decode": 3}
    assert clocks.read().total == 15


def test_a_stage_under_way_counts_already(clocks: Clocks, time: Time) -> None:
    with clocks.during("session"):
        time.now += 60
        assert seconds(clocks.read()) == {"session": 60}


def test_an_exception_ends_its_stage(clocks: Clocks, time: Time) -> None:
    with pytest.raises(ValueError, match="x"), clocks.during("session"):
        raise ValueError("x")
    time.now += 2
    assert seconds(clocks.read()) == {"queue": 2}


def test_shares_rate_and_fill(clocks: Clocks, time: Time) -> None:
    with clocks.during("decode"):
        time.now += 3
    time.now += 1
    clocks.count(images=20, pictures=12, places=16)
    reading = clocks.read()
    assert (reading.shares["decode"], reading.shares["queue"]) == (0.75, 0.25)
    assert sum(reading.shares.values()) == 1
    assert (reading.rate, reading.fill) == (5, 0.75)


def test_nothing_yet_is_no_division_by_zero() -> None:
    assert (Reading().rate, Reading().fill, Reading().shares) == (0, None, dict.fromkeys(STAGES, 0))


def test_a_window_shows_the_last_seconds_only(clocks: Clocks, time: Time) -> None:
    window = Window(clocks, seconds=60)
    clocks.count(images=1000)
    for _ in range(12):
        time.now += 10
        window.look()
    clocks.count(images=30)
    time.now += 10
    looked = window.look()
    assert looked.images == 30
    assert 60 <= looked.total <= 70
