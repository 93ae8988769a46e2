"""A program that dies again and again ends the stack; one that died once does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor.states import SupervisorStates

from workers.local.give_up import DEATHS, WINDOW_SECONDS, GivesUp

RUNNING, SHUTDOWN = SupervisorStates.RUNNING, SupervisorStates.SHUTDOWN


class Clock:
    """Monotonic seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("workers.local.give_up.time", made)
    return made


@pytest.fixture
def daemon() -> Any:
    """As much of Supervisor as the plugin touches."""
    return SimpleNamespace(options=SimpleNamespace(mood=RUNNING))


def death(name: str) -> Any:
    return SimpleNamespace(process=SimpleNamespace(config=SimpleNamespace(name=name)))


def test_several_deaths_in_a_row_end_the_stack(daemon: Any, clock: Clock, tmp_path: Path) -> None:
    watcher = GivesUp(daemon, tmp_path / "gave-up")
    # When a program dies one time less than is too often, Then the stack goes on
    for _ in range(DEATHS - 1):
        watcher.on_exit(death("index"))
    assert daemon.options.mood == RUNNING
    # When it dies once more, Then the stack ends and its name is left
    watcher.on_exit(death("index"))
    assert daemon.options.mood == SHUTDOWN
    assert (tmp_path / "gave-up").read_text() == "index"


def test_deaths_far_apart_do_not_add_up(daemon: Any, clock: Clock, tmp_path: Path) -> None:
    watcher = GivesUp(daemon, tmp_path / "gave-up")
    for _ in range(3 * DEATHS):
        watcher.on_exit(death("index"))
        clock.now += WINDOW_SECONDS
    assert daemon.options.mood == RUNNING


def test_deaths_of_different_programs_do_not_add_up(daemon: Any, clock: Clock, tmp_path: Path) -> None:
    watcher = GivesUp(daemon, tmp_path / "gave-up")
    for number in range(3 * DEATHS):
        watcher.on_exit(death(f"program {number}"))
    assert daemon.options.mood == RUNNING


def test_a_program_that_does_not_start_ends_the_stack(daemon: Any, tmp_path: Path) -> None:
    GivesUp(daemon, tmp_path / "gave-up").on_fatal(death("redis"))
    assert daemon.options.mood == SHUTDOWN


def test_an_end_that_was_asked_for_is_no_death(daemon: Any, tmp_path: Path) -> None:
    # Given a stack that is ending, in which Supervisor gives up what is just restarting
    daemon.options.mood = SHUTDOWN
    GivesUp(daemon, tmp_path / "gave-up").on_fatal(death("index"))
    # Then nobody is blamed
    assert not (tmp_path / "gave-up").exists()
