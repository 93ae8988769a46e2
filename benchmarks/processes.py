"""The worker processes of a stack, and the memory that they hold (Linux)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from workers.local.processes import marked
from workers.local.stack import Stack
from workers.local.supervision import Client as Supervisor


def of_index(stack: Stack) -> list[int]:
    """The processes that embed: children of the index worker's main process."""
    (main,) = [child.pid for child in Supervisor(stack.folder).children().values() if child.name == "index"]
    return [pid for pid in marked(stack.folder) if parent(pid) == main and is_pool(pid)]


def resident(pid: int) -> float:
    """MiB that are in memory now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak(pid: int) -> float:
    """MiB that were in memory at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def parent(pid: int) -> int:
    """0 if there is no such process."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def is_pool(pid: int) -> bool:
    """Python's resource tracker is a child as well."""
    with suppress(OSError):
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
