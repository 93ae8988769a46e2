"""Runs the command `imagefleet` as its users do, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.services import ROOT

#: Seconds that one command may take on a busy machine.
LIMIT = 120.0

#: The words that start it.
START = [sys.executable, "-c", "from producer.cli import main; main()"]


@dataclass(frozen=True)
class Command:
    """`imagefleet` in one working folder with one set of variables, and none of the caller's."""

    folder: Path
    variables: Mapping[str, str]

    def __call__(self, *args: str, given: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*START, *args], input=given, capture_output=True, cwd=self.folder, env=self.environment(), timeout=LIMIT
        )
        return subprocess.CompletedProcess(args, done.returncode, _text(done.stdout), _text(done.stderr))

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        """Start it and come back, with pipes on all ends."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*START, *args], stdin=pipe, stdout=pipe, stderr=pipe, cwd=self.folder, env=self.environment()
        )

    def refused(self, *args: str, given: bytes = b"") -> str:
        """The sentence with which it refuses, exit code 2; there must be nothing beside it."""
        done = self(*args, given=given)
        assert (done.returncode, done.stdout) == (2, ""), done
        (line,) = done.stderr.splitlines()
        assert line.startswith("imagefleet: "), done
        assert line.endswith((".", "?")), done
        return line.removeprefix("imagefleet: ")

    def environment(self) -> dict[str, str]:
        """The variables of its process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("IMAGEFLEET_")}
        return kept | {"PYTHONPATH": str(ROOT)} | dict(self.variables)


def _text(output: bytes) -> str:
    return output.decode("utf-8", "backslashreplace")
