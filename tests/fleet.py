"""Real Celery workers on the tests' own Redis and Milvus Lite, and the client that asks them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from producer.client import Client
from tests.services import ROOT
from tests.waiting import wait_until
from workers.settings import Settings

#: Seconds until a worker must be ready, on a busy machine.
READY_SECONDS = 90.0
#: Seconds until a small job must be done, on a busy machine.
JOB_SECONDS = 120.0


@dataclass
class Worker:
    """One `celery worker` with its pool processes."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def pool(self) -> list[int]:
        """Process ids of the living pool processes, the youngest last."""
        listed = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        rows = [line.split(None, 1) for line in listed.stdout.splitlines()]
        return sorted(int(pid) for pid, command in rows if "spawn_main" in command)

    def wait_ready(self) -> Worker:
        wait_until(lambda: self._is_ready(), READY_SECONDS, f"a worker becoming ready:\n{self.text[-3000:]}")
        return self

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"the worker ended:\n{self.text[-3000:]}"
        return " ready." in self.text

    def kill(self) -> None:
        """SIGKILL for the whole worker, as if its machine lost power."""
        pool = self.pool
        self.process.kill()
        self.process.wait()
        for pid in pool:
            with_suppressed_kill(pid)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the worker did not end:\n{self.text[-3000:]}") from None


def with_suppressed_kill(pid: int) -> None:
    """The main process's death has most likely taken it along already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@dataclass
class Fleet:
    """A folder of pictures, workers that may be started and killed, and a client."""

    folder: Path
    redis_url: str
    milvus_uri: str
    library: str
    options: dict[str, Any] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)

    @property
    def root(self) -> Path:
        root = self.folder / "pictures"
        root.mkdir(exist_ok=True)
        return root

    @property
    def environment(self) -> dict[str, str]:
        chosen = {
            "redis_url": self.redis_url,
            "milvus_uri": self.milvus_uri,
            "image_root": str(self.root),
            "state_dir": str(self.folder / "state"),
            "library": self.library,
            "lease_seconds": "3",
            "batch_size": "16",
        } | self.options
        return {f"IMAGEFLEET_{name.upper()}": str(value) for name, value in chosen.items()}

    @property
    def client(self) -> Client:
        values = {name.removeprefix("IMAGEFLEET_").lower(): value for name, value in self.environment.items()}
        return Client(Settings(**values))

    def start(self, queues: str = "index.colour,search.colour", processes: int = 1) -> Worker:
        """Start a worker; it is not ready yet."""
        log = self.folder / f"worker{len(self.workers)}.log"
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-Q", queues, "-c", str(processes)]
        command += ["-n", f"w{len(self.workers)}@%h", "--loglevel=INFO"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=ROOT, env=os.environ | self.environment
            )
        self.workers.append(Worker(process, log))
        return self.workers[-1]

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        shutil.rmtree(self.folder / "state", ignore_errors=True)
