"""The state folder: whose it is, what it keeps, and what it says when it cannot."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from workers.local.errors import AlreadyRuns, CannotStart
from workers.local.folder import SOCKET_PATH_MAX, StateFolder
from workers.settings import load


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "state")
    made.prepare()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_and_files_are_for_their_owner_alone(folder: StateFolder) -> None:
    # When something is written
    file = folder.write("redis/password", "secret")
    # Then neither the group nor others can see it
    assert mode(file) == 0o600
    assert {mode(path) for path in (folder.root, folder.run, folder.redis)} == {0o700}


def test_writing_replaces_the_whole_file_and_leaves_no_draft(folder: StateFolder) -> None:
    folder.write("ports.json", "a long first text")
    folder.write("ports.json", "short")
    assert (folder.root / "ports.json").read_text() == "short"
    assert [path.name for path in folder.root.iterdir() if path.is_file()] == ["ports.json"]


def test_settings_of_another_terminal_come_from_the_stack_file(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a stack that wrote down where it is
    monkeypatch.setenv("IMAGEFLEET_STATE_DIR", str(folder.root))
    folder.write_stack({"redis_url": "redis://:pw@127.0.0.1:7/0", "models": ["gradient"]})
    # When settings are read where the environment says nothing
    monkeypatch.delenv("IMAGEFLEET_REDIS_URL", raising=False)
    settings = load()
    # Then they lead to it
    assert settings.redis_url.get_secret_value() == "redis://:pw@127.0.0.1:7/0"
    assert settings.models == ("gradient",)


def test_preparing_twice_changes_nothing(folder: StateFolder) -> None:
    folder.write("redis/password", "kept")
    folder.prepare()
    assert (folder.redis / "password").read_text() == "kept"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match=r"cannot be written \(.+\); set IMAGEFLEET_STATE_DIR"):
        StateFolder(tmp_path / "file" / "state").prepare()


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.local.folder.MIN_FREE", 2**62)
    with pytest.raises(CannotStart, match="MiB free; make room"):
        StateFolder(tmp_path).prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_folder_of_another_user_is_left_alone(tmp_path: Path) -> None:
    # Given a folder that belongs to somebody else
    os.chown(tmp_path, 12345, -1)
    # When a stack is to live there, Then it does not, and leaves nothing there
    with pytest.raises(CannotStart, match="belongs to another user"):
        StateFolder(tmp_path).prepare()
    assert list(tmp_path.iterdir()) == []


def test_only_one_process_may_start_at_a_time(folder: StateFolder) -> None:
    with folder.lock(), pytest.raises(AlreadyRuns, match="try again"), folder.lock():
        pass
    with folder.lock():  # free again
        pass


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    # Given a state folder whose path is too long for a Unix socket
    deep = StateFolder(tmp_path / ("x" * SOCKET_PATH_MAX))
    deep.prepare()
    # Then the socket lies in a short folder that is ours alone, and another state folder has another
    assert len(os.fsencode(deep.socket)) <= SOCKET_PATH_MAX
    assert mode(deep.socket.parent) == 0o700
    assert deep.socket != StateFolder(tmp_path / ("y" * SOCKET_PATH_MAX)).socket
    deep.socket.parent.rmdir()


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"redis": "x"}', "null"])
def test_damaged_ports_are_forgotten(folder: StateFolder, text: str) -> None:
    folder.write("ports.json", text)
    assert folder.remembered_ports() == {}


def test_ports_are_remembered(folder: StateFolder) -> None:
    folder.remember_ports({"redis": 4711})
    assert folder.remembered_ports() == {"redis": 4711}


def test_the_last_lines_of_a_log(folder: StateFolder) -> None:
    folder.log("index").write_text("\n".join(f"line {number}" for number in range(1000)))
    assert folder.last_lines("index", 2) == ["line 998", "line 999"]
    assert folder.last_lines("never-ran") == []
