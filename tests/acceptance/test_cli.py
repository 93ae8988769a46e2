"""The command line by itself, in processes of its own: it starts fast and light, and fails in one sentence."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.command import Command
from tests.services import ROOT, free_port

#: Modules that a producer must do without.
HEAVY = ("onnxruntime", "pymilvus", "PIL", "numpy", "onnx")


@pytest.fixture
def imagefleet(tmp_path: Path) -> Command:
    """A command with nothing behind it: no Redis, an empty working folder."""
    state = tmp_path / "state"
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "pics").mkdir()
    (folder / "pics" / "a.jpg").write_bytes(b"picture")
    url = f"redis://127.0.0.1:{free_port()}/0"
    return Command(folder, {"IMAGEFLEET_REDIS_URL": url, "IMAGEFLEET_STATE_DIR": str(state)})


def test_the_python_api_and_every_command_load_nothing_heavy() -> None:
    script = f"""
import sys
from producer.client import Client, index, search, status, wait
from producer.cli import COMMANDS, imagefleet
import producer.broker, producer.board, producer.report, producer.sheet
found = [name for name in COMMANDS if imagefleet.get_command(None, name)]
assert len(found) > 8, found
loaded = [name for name in {HEAVY} if name in sys.modules]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, timeout=60)


def test_help_answers_at_once_and_lists_the_commands(imagefleet: Command) -> None:
    def timed() -> float:
        begun = time.perf_counter()
        assert imagefleet("--help").returncode == 0
        return time.perf_counter() - begun

    done = imagefleet("--help")

    assert all(f"  {name} " in done.stdout for name in ("index", "status", "search", "models", "prune"))
    assert min(timed() for _ in range(5)) < 0.3


def test_the_version_is_said(imagefleet: Command) -> None:
    done = imagefleet("--version")

    assert done.returncode == 0
    assert done.stdout.startswith("imagefleet ")


def test_no_command_shows_the_help(imagefleet: Command) -> None:
    done = imagefleet()

    assert done.returncode == 2
    assert "Usage: imagefleet" in done.stderr


def test_no_broker_says_what_to_start(imagefleet: Command) -> None:
    assert "start it with `imagefleet up`, or correct IMAGEFLEET_REDIS_URL." in imagefleet.refused("status")


def test_what_nobody_expected_is_one_sentence_and_a_way_to_the_traceback(imagefleet: Command) -> None:
    broken = Command(imagefleet.folder, {**imagefleet.variables, "PYTHONPATH": str(imagefleet.folder)})
    (imagefleet.folder / "sitecustomize.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import producer.client\n"
        "def broken(*_): raise ZeroDivisionError('oops')\n"
        "producer.client.Client.jobs = broken\n"
    )

    done = broken("jobs")
    assert done.returncode == 1
    assert done.stderr == (
        "imagefleet: This should not have happened: ZeroDivisionError: oops (IMAGEFLEET_DEBUG=1 shows where).\n"
    )
    debugged = Command(imagefleet.folder, {**broken.variables, "IMAGEFLEET_DEBUG": "1"})("jobs")
    assert "Traceback" in debugged.stderr
