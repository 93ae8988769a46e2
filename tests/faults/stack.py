"""A city that `imagefleet up` started: one state folder, whose processes and files are what is struck."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from producer.client import Client
from tests.acceptance.test_stack import Machine
from tests.faults.case import Case
from tests.faults.city import LEASE, City
from tests.fleet import Worker
from tests.pictures import draw_many


@dataclass
class SlowMachine(Machine):
    """A machine whose workers take their time, so that there is a middle to strike in."""

    faults: str = "[]"

    @property
    def environment(self) -> dict[str, str]:
        chosen = {"LEASE_SECONDS": str(LEASE), "BATCH_SIZE": "16", "FAULTS": self.faults}
        kept = {name: value for name, value in super().environment.items() if name != "PYTHONPATH"}
        return kept | {f"IMAGEFLEET_{name}": value for name, value in chosen.items()} | _path()


def _path() -> dict[str, str]:
    return {"PYTHONPATH": os.environ["PYTHONPATH"]}


@dataclass
class Address:
    """A server that somebody else started."""

    url: str


class Stack(City):
    """As a City, with `imagefleet up` in place of whatever is started by hand there."""

    machine: SlowMachine

    def __init__(self, folder: Path, case: Case, chance: random.Random) -> None:
        self._library = f"t{uuid.uuid4().hex[:10]}"
        super().__init__(folder, case, chance)

    def _open(self) -> None:
        self.root.mkdir()
        self.libraries = [self._library]
        self._ends.callback(lambda: self.end())
        self.pictures = draw_many(self.root, self.case.images)
        self.up(self.folder / "state")

    @property
    def root(self) -> Path:
        return self.folder / "pictures"

    def up(self, state: Path) -> None:
        """Start everything on that state folder."""
        self.machine = SlowMachine(state, self.root, self._faults())
        options = ("--detach", "--workers", "2", "--model", "colour", "--flower-port", "0", "--root", str(self.root))
        done = self.machine.imagefleet("up", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        self.client = self.new_client()
        self.redis = Address(self.client.settings.redis_url.get_secret_value())  # type: ignore[assignment]

    def new_client(self) -> Client:
        return Client(self.machine.settings.model_copy(update={"library": self._library}))

    @property
    def workers(self) -> list[Worker]:
        """Nobody's to be waited for: `up` says when they are ready."""
        return []

    def start_worker(self, processes: int = 1) -> Worker:
        return self  # type: ignore[return-value]

    def end(self) -> None:
        self.machine.imagefleet("down")
        kill_all(self)

    def report(self) -> str:
        logs = self.machine.state.glob("logs/*.log")
        texts = [f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs]
        return "\n".join([*(str(self.look(job)) for job in self.jobs), *texts])


def kill_all(city: City) -> None:
    """SIGKILL for every process of the state folder, whoever started it."""
    assert isinstance(city, Stack)
    machine = city.machine

    def none_is_left() -> bool:
        for pid in machine.processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not machine.processes

    city.wait(none_is_left, "the end of all processes", 30)


def kill_up(city: City) -> None:
    """SIGKILL for what watches over the programs; they go on without it."""
    assert isinstance(city, Stack)
    os.kill(int((city.machine.state / "run" / "supervisord.pid").read_text()), signal.SIGKILL)


def up_again(city: City) -> None:
    assert isinstance(city, Stack)
    city.mark()
    city.up(city.machine.state)


def cut_the_power(city: City) -> None:
    """What is on the disk at some moment is copied file by file, and that copy is what everything starts from."""
    assert isinstance(city, Stack)
    copy = city.folder / "copied"
    # Files come and go while it runs, which is meant.
    subprocess.run(["cp", "-a", str(city.machine.state), str(copy)], check=False, capture_output=True)
    kill_all(city)
    city.mark()
    city.up(copy)
