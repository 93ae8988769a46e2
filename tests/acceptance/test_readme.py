"""What the README shows of the daily use does what its comments say, line by line, on a machine of its own."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import LIMIT, Command
from tests.pictures import draw, draw_many
from tests.services import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Indexed pictures of this user.
PICTURES = 12


def block(section: str, language: str) -> str:
    """The first block of code in that language below a heading."""
    text = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = re.search(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, f"{section} has no block of {language}"
    return found[1]


def daily_use() -> list[list[str]]:
    """The words of each command of the section, without `imagefleet`."""
    lines = [shlex.split(line, comments=True) for line in block("Daily use", "sh").splitlines()]
    assert all(words[0] == "imagefleet" for words in lines)
    return [words[1:] for words in lines]


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Command]:
    """Somebody with ~/Pictures, one of them broken, and beach.jpg in the working folder."""
    pictures = tmp_path / "Pictures"
    draw_many(pictures, PICTURES)
    draw(pictures / "2019" / "beach.jpg", 3)
    draw(tmp_path / "beach.jpg", 3)
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    variables = {"IMAGEFLEET_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path), "BROWSER": "true"}
    command = Command(tmp_path, variables)
    yield command
    command("down")


def test_the_daily_use_works_as_it_is_written(user: Command) -> None:
    said = dict[str, str]()
    job = ""
    for words in daily_use():
        typed = [word.replace("~", str(user.folder)).replace("3f2a", job) for word in words]
        done = user(*typed, given=b"y\ny\n")  # prune asks for each model
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        said[" ".join(words)] = done.stdout
        if words[0] == "index":
            (user.folder / "Pictures" / "000.png").unlink()  # for prune, later
            job = json.loads(user("status", "--json").stdout)[0]["id"][:4]
            check_the_python_example(user)
    assert "Ready." in said["up --detach"]
    assert f"{PICTURES + 1} indexed" in said["index ~/Pictures"]
    assert str(user.folder / "Pictures" / "2019" / "beach.jpg") in said["search beach.jpg"].splitlines()[2]
    assert "data:image/jpeg;base64," in (user.folder / "hits.html").read_text()
    assert "broken.jpg" in said["failures 3f2a"]
    assert "1 image removed" in said["prune ~/Pictures"]
    assert {"colour", "gradient"} <= set(said["models"].split())
    assert "Stopped." in said["down"]


def check_the_python_example(user: Command) -> None:
    example = block("Daily use", "python").replace("/data/pictures", str(user.folder / "Pictures"))
    done = subprocess.run(
        [sys.executable, "-c", example],
        capture_output=True,
        text=True,
        cwd=user.folder,
        env=user.environment(),
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    indexed, hits = done.stdout.splitlines()
    assert indexed == "0", "all were indexed before"
    assert hits.startswith("['")
    assert "beach.jpg" in hits.split(",")[0]
