"""`imagefleet demo`: the first thing that anybody sees."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import START
from tests.pictures import draw_many
from tests.services import ROOT

#: Seconds that a small demo may take on a busy machine.
DEMO_SECONDS = 150


class Shell:
    """An empty working folder in which the demo is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def demo(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run("demo", *map(str, arguments))

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*START, *words],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=DEMO_SECONDS,
            check=False,
        )

    def typed(self, line: str) -> subprocess.CompletedProcess[str]:
        """What comes of a command as the demo prints it."""
        setting, program, *words = shlex.split(line)
        assert program.endswith("imagefleet")
        name, _, value = setting.partition("=")
        return self.run(*words, **{name: value})

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def running(self) -> list[str]:
        """Processes of the demo's stack."""
        mark = str(self.folder / "demo" / "state").encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_text())
            except OSError:
                continue
        return found


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Whatever a failed test leaves running is ended."""
    made = Shell(tmp_path)
    yield made
    made.run("down", IMAGEFLEET_STATE_DIR=str(tmp_path / "demo" / "state"))


def test_the_demo_finds_what_it_should_and_leaves_nothing_running(shell: Shell) -> None:
    first = shell.demo("--families", "8")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "colour: 48 indexed" in first.stdout
    assert "gradient: 48 indexed" in first.stdout
    shares = [int(share) for share in re.findall(r"first: \d+ of 8 \((\d+)%\)", first.stdout)]
    assert len(shares) == 2
    assert min(shares) >= 75
    sheet = (shell.folder / "demo" / "hits.html").read_text()
    assert sheet.count("data:image/jpeg;base64,") > 50
    assert "family-000.jpg, by gradient" in sheet
    assert shell.running() == []

    second = shell.demo("--families", "8")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "48 unchanged" in second.stdout
    assert "Traceback" not in first.stderr + second.stderr


def test_the_demo_takes_ones_own_pictures_and_writes_nothing_beside_them(shell: Shell, tmp_path: Path) -> None:
    own = tmp_path / "my pictures"
    draw_many(own, 12)
    before = sorted(own.rglob("*"))
    done = shell.demo("--dir", own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("found itself first: 6 of 6 (100%)") == 2
    assert sorted(own.rglob("*")) == before
    assert shell.running() == []


def test_a_folder_without_a_good_picture_is_told_in_a_sentence(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"none")
    for folder, sentence in {
        "nowhere": "There is no folder",
        "empty": "There are no pictures",
        "broken": "None of the 1 pictures could be indexed",
    }.items():
        done = shell.demo("--dir", folder)
        assert done.returncode == 2
        assert f"imagefleet: {sentence}" in done.stderr
        assert "Traceback" not in done.stderr
    assert shell.running() == []


def test_what_is_kept_can_be_used_and_ended_by_the_commands_that_are_printed(shell: Shell) -> None:
    kept = shell.demo("--families", "2", "--keep")
    assert kept.returncode == 0, kept.stdout + kept.stderr
    search, down = (line.strip() for line in kept.stdout.splitlines()[-2:])
    found = shell.typed(search)
    assert "family-000" in found.stdout.splitlines()[2], found.stdout + found.stderr

    second = shell.demo("--families", "2")
    assert second.returncode == 2
    assert second.stderr == f"imagefleet: A demo runs already in {shell.folder / 'demo'}; `{down}` ends it.\n"

    assert shell.typed(down).stdout.endswith("Stopped.\n")
    assert shell.running() == []


@pytest.mark.parametrize("phase", ["Starting", "Redis", "Indexing"])
def test_ctrl_c_leaves_nothing_running(shell: Shell, phase: str) -> None:
    command = [*START, "demo", "--families", "20"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=shell.folder, env=shell.environment, stdout=pipe, stderr=pipe, text=True
    ) as running:
        assert running.stdout is not None
        assert any(line.startswith(phase) for line in running.stdout), f"it never said {phase}"
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=DEMO_SECONDS)
    assert running.returncode == 130
    assert "Traceback" not in errors
    assert shell.running() == []
