"""What tests of `imagefleet models add` share."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.command import Command


def add(imagefleet: Command, file: Path, *options: str) -> str:
    """What it says when all goes well."""
    done = imagefleet("models", "add", str(file), *options)
    assert done.returncode == 0, done
    assert done.stderr == "", done
    return done.stdout


def refused(imagefleet: Command, file: Path, *options: str) -> str:
    """The one sentence with which it ends, exit code 2."""
    done = imagefleet("models", "add", str(file), *options)
    assert done.returncode == 2, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("imagefleet: "), done
    assert line.endswith("."), done
    return line


def is_as_it_was(folder: Path) -> bool:
    """Nothing was kept, and nothing is left over."""
    return not folder.exists() or not list(folder.iterdir())
