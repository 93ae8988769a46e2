"""Which processes belong to a state folder, and how those end that a crash left behind.

Every process of a stack carries the mark of its state folder in its environment. Redis overwrites its own environment,
so it is asked whose data it keeps.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import redis

from workers.local import redis_server
from workers.local.errors import StackFailed
from workers.local.folder import StateFolder
from workers.local.programs import MARK

#: Seconds that processes left behind are given to end by themselves.
ORPHAN_SECONDS = 30.0
_PROC = Path("/proc")


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError, IndexError):
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return True


def marked(folder: StateFolder) -> list[int]:
    """Processes of this user whose environment carries the mark of this state folder."""
    mark = f"{MARK}={folder.root}"
    found = _marked_in_proc(os.fsencode(mark)) if (_PROC / "self" / "environ").exists() else _marked_by_ps(mark)
    return [pid for pid in found if pid != os.getpid() and is_alive(pid)]


def end_orphans(folder: StateFolder) -> bool:
    """End what runs without its Supervisor: workers and Milvus Lite first, then Redis. False if there was nothing."""
    left = marked(folder)
    _send(left, signal.SIGTERM)
    if not wait_until(lambda: not any(map(is_alive, left)), ORPHAN_SECONDS):
        _send([pid for pid in marked(folder) if pid in left], signal.SIGKILL)
    return _end_redis(folder) or bool(left)


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Ask every `pause` seconds until the condition holds; False if it did not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def _end_redis(folder: StateFolder) -> bool:
    port = folder.remembered_ports().get("redis")
    if port is None or not folder.redis.is_dir():
        return False
    if not redis_server.is_ours(folder, port):
        return False
    client = redis.Redis.from_url(redis_server.url(folder, port), socket_timeout=ORPHAN_SECONDS)
    with client, suppress(redis.RedisError):
        client.shutdown()
    if not wait_until(lambda: not redis_server.is_ours(folder, port), ORPHAN_SECONDS):
        raise StackFailed(f"The Redis that an earlier run left on port {port} does not end; end it by hand.")
    return True


def _marked_in_proc(mark: bytes) -> list[int]:
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # ended meanwhile, or somebody else's
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def _marked_by_ps(mark: str) -> list[int]:
    listing = subprocess.run(["ps", "-axEww", "-o", "pid=,command="], capture_output=True, text=True, errors="replace")
    ours = re.compile(rf"^\s*(\d+)\s.*\s{re.escape(mark)}(\s|$)", re.MULTILINE)
    return [int(match[1]) for match in ours.finditer(listing.stdout)]


def _send(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
