"""A Redis for one figure, kept as `imagefleet up` keeps its own: append-only file, written out every second."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from workers.local.ports import LOOPBACK, choose
from workers.local.redis_server import find_program

#: Seconds until it must answer, or must have ended.
PATIENCE = 30.0


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The address of a Redis of its own, whose data goes into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = choose(None, taken=())
    options = f"--bind {LOOPBACK} --port {port} --appendonly yes --appendfsync everysec --maxmemory-policy noeviction"
    command = [str(find_program()), *options.split(), "--dir", str(folder), "--save", ""]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"redis://{LOOPBACK}:{port}/0"
            _wait_for(url)
            yield url
        finally:
            process.terminate()
            process.wait(PATIENCE)


def memory(url: str) -> int:
    """Bytes that its data and its own structures take."""
    return int(_info(url, "memory")["used_memory"])


def busy(url: str) -> float:
    """Seconds of processor time that it has used."""
    info = _info(url, "cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def empty(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushall()


def _info(url: str, section: str) -> Any:
    with redis.Redis.from_url(url) as client:
        return client.info(section)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    with redis.Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
