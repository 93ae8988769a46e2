"""requirements/environment.sh on machines where it cannot work: one sentence, and nothing half-made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("python3", "python3.11", "python3.12", "python3.13", "python3.14")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the script needs of a clone, in a folder with a space in its name."""
    folder = tmp_path / "a clone"
    (folder / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("environment.sh", "local.txt", "dev.txt"):
        shutil.copy(ROOT / "requirements" / name, folder / "requirements")
    return folder


def run(clone: Path, python: str) -> subprocess.CompletedProcess[str]:
    """Run the script where every Python on PATH is the given shell script."""
    programs = clone.parent / "bin"
    programs.mkdir()
    for name in NAMES:
        (programs / name).write_text(f"#!/bin/sh\n{python}\n")
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(clone)}
    command = ["sh", str(clone / "requirements" / "environment.sh"), "local"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_without_a_python_that_is_new_enough(clone: Path) -> None:
    answer = run(clone, python="exit 1")
    assert answer.returncode == 2
    assert answer.stderr.splitlines() == [
        "imagefleet: No Python 3.11 or newer was found; install Python 3.12, or name one: "
        "PYTHON=/path/to/python3.12 make demo."
    ]
    assert not (clone / ".venv").exists()


def test_with_a_python_that_cannot_make_environments(clone: Path) -> None:
    answer = run(clone, python=f'case "$*" in *ensurepip*) exit 1 ;; esac; exec "{sys.executable}" "$@"')
    assert answer.returncode == 2
    assert "cannot make environments; install its venv package" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert not (clone / ".venv").exists()
