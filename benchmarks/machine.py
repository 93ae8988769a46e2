"""What a figure was measured on, and how several measurements of one thing are written."""

from __future__ import annotations

import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from workers.cores import usable_cores


def about() -> str:
    """Commit, command, processor and load: without these a figure means nothing."""
    root = Path(__file__).parents[1]
    done = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return "\n".join(
        [
            f"commit  {done.stdout.strip() or 'not a checkout'}",
            f"command {shlex.join(['python', '-m', 'benchmarks', *sys.argv[1:]])}",
            f"machine {_processor()}, {usable_cores()} usable cores, Python {platform.python_version()}",
            f"load    {os.getloadavg()[0]:.1f} before the start (0 on an idle machine)",
        ]
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, and the smallest and largest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
