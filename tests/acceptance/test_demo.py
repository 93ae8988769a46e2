"""`imagefleet demo`: the first thing that anybody sees."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pictures import draw_many
from tests.services import ROOT

#: Seconds that a small demo may take on a busy machine.
DEMO_SECONDS = 150


class Shell:
    """An empty working folder in which the demo is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def demo(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from producer.cli import main; main()", "demo", *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=DEMO_SECONDS,
            check=False,
        )

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
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


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
