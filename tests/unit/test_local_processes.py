"""Which processes are ours: those with our mark, and no other ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.services import start_redis
from tests.waiting import wait_until
from workers.local import processes, redis_server
from workers.local.folder import StateFolder
from workers.local.programs import MARK

Start = Callable[..., "subprocess.Popen[bytes]"]

SLEEPER = "import signal, sys; print('up', flush=True); signal.pause()"


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "state")
    made.prepare()
    return made


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes that do nothing, in a given environment."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one(mark: str | None, code: str = SLEEPER) -> subprocess.Popen[bytes]:
        environment = os.environ | ({MARK: mark} if mark else {})
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def test_ours_are_those_with_the_mark_of_this_folder(folder: StateFolder, start: Start) -> None:
    # Given a process of this state folder, one of another whose name begins the same, and one of nobody
    ours = start(str(folder.root))
    start(f"{folder.root}2")
    start(None)
    # Then only the first is found
    assert processes.marked(folder) == [ours.pid]


def test_ps_finds_the_same(folder: StateFolder, start: Start) -> None:
    # Where there is no /proc; `ps` of Linux shows environments with other options, so its output is checked only there
    if sys.platform != "darwin":
        pytest.skip("`ps -E` is that of macOS")
    ours = start(str(folder.root))
    assert processes._marked_by_ps(f"{MARK}={folder.root}") == [ours.pid]


def test_what_a_crash_left_is_ended_and_nothing_else(folder: StateFolder, start: Start) -> None:
    ours, other = start(str(folder.root)), start(None)
    assert processes.end_orphans(folder)
    wait_until(lambda: ours.poll() is not None, 5, "the end of the orphan")
    assert other.poll() is None
    assert not processes.end_orphans(folder)  # there is nothing left


def test_an_orphan_that_does_not_end_is_killed(
    folder: StateFolder, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "ORPHAN_SECONDS", 0.2)
    deaf = start(str(folder.root), f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}")
    assert processes.end_orphans(folder)
    wait_until(lambda: deaf.poll() is not None, 5, "the end of the deaf orphan")


@pytest.mark.parametrize("password", ["", "another"])
def test_the_redis_of_somebody_else_is_left_alone(folder: StateFolder, tmp_path: Path, password: str) -> None:
    # Given a stranger on the port that our Redis had; without a password it would take ours
    stranger = start_redis(tmp_path / "stranger")
    set_password(stranger.url, password)
    folder.remember_ports({"redis": stranger.port})
    # When leftovers are ended, Then it stays
    try:
        assert not processes.end_orphans(folder)
        assert stranger.process.poll() is None
    finally:
        stranger.kill()


def test_our_redis_is_ended(folder: StateFolder) -> None:
    # Given our Redis as a crash leaves it
    ours = start_redis(folder.redis)
    set_password(ours.url, redis_server.password(folder))
    folder.remember_ports({"redis": ours.port})
    # When leftovers are ended, Then it ends
    try:
        assert processes.end_orphans(folder)
        wait_until(lambda: ours.process.poll() is not None, 5, "the end of our Redis")
    finally:
        ours.kill()


def set_password(url: str, password: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.config_set("requirepass", password)


def test_a_process_that_nobody_waited_for_is_not_alive(start: Start) -> None:
    process = start(None)
    assert processes.is_alive(process.pid)
    process.kill()
    wait_until(lambda: not processes.is_alive(process.pid), 5, "the death to be seen while it is a zombie")
