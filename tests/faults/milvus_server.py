"""A Milvus server in place of Milvus Lite, where IMAGEFLEET_TEST_MILVUS_PROGRAM names `milvus-server`."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.services import ROOT, Service, free_port
from tests.waiting import wait_until
from workers.milvus import MilvusStore
from workers.store import StoreError

#: Names the program; its inner ports are fixed, so that one runs on a machine at a time.
VARIABLE = "IMAGEFLEET_TEST_MILVUS_PROGRAM"
#: Seconds until it must answer, on a busy machine.
START_SECONDS = 150.0


@dataclass
class MilvusServer(Service):
    """The program and its child, which outlives it if it is not ended too."""

    @property
    def pids(self) -> list[int]:
        listed = subprocess.run(["pgrep", "-g", str(self.process.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in listed.stdout.split()]

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start_milvus_server(folder: Path, port: int | None = None) -> MilvusServer:
    """Its data in `folder`; skips the test where no program is named."""
    program = os.environ.get(VARIABLE)
    if not program:
        pytest.skip(f"no Milvus server: set {VARIABLE} to the path of `milvus-server`")
    port = port or free_port()
    log = folder.with_name(f"{folder.name}.log")
    command = [program, "--data", str(folder), "--proxy-port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, start_new_session=True)
    server = MilvusServer(f"http://127.0.0.1:{port}", port, process, log)
    try:
        wait_until(lambda: _answers(server), START_SECONDS, "the start of the Milvus server")
    except BaseException:
        server.kill()
        raise
    return server


def _answers(server: MilvusServer) -> bool:
    assert server.process.poll() is None, f"it ended:\n{server.log.read_text(errors='replace')[-3000:]}"
    store = MilvusStore(server.url)
    try:
        store.ping()
    except StoreError:
        return False
    finally:
        store.close()
    return True
