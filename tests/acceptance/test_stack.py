"""`imagefleet up` and `down` as a user has them: real programs, one state folder, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from tests.services import ROOT
from tests.waiting import wait_until
from workers.app import make_app, send_batch
from workers.contract import BatchMessage
from workers.local.answers import milvus_answers, node_is_ready
from workers.nodes import LIFE
from workers.settings import Settings

#: Seconds for a command that starts or ends everything, on a busy machine.
PATIENCE = 150.0
MODEL = "colour"

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for leftovers in /proc")


@dataclass
class Machine:
    """A user's machine, as far as the stack sees it: one state folder and one image root."""

    state: Path
    pictures: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("IMAGEFLEET_")}
        return kept | {"IMAGEFLEET_STATE_DIR": str(self.state), "PYTHONPATH": str(ROOT)}

    def imagefleet(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self._command(*words),
            env=self.environment | variables,
            cwd=self.pictures,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def up_in_the_foreground(self) -> subprocess.Popen[str]:
        """Start `up` and return when it says that all is ready."""
        return self.until("Ready.", "up", "--workers", "1")

    def until(self, beginning: str, *words: str) -> subprocess.Popen[str]:
        """Start a command and return when it says a line that begins so."""
        process = subprocess.Popen(
            self._command(*words),
            env=self.environment,
            cwd=self.pictures,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith(beginning):
                return process
        process.communicate()
        raise AssertionError(f"{words} ended: {''.join(said)}")

    @property
    def settings(self) -> Settings:
        return Settings(**json.loads((self.state / "stack.json").read_text()))

    @property
    def processes(self) -> dict[int, str]:
        """Command lines of all processes that work on the state folder, whoever started them."""
        found = {int(entry.name): _facts(entry) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}
        return {pid: line for pid, (line, about) in found.items() if str(self.state) in about and pid != os.getpid()}

    def pid_of(self, program: str) -> int:
        """The last process that was started for a program."""
        log = (self.state / "logs" / "supervisord.log").read_text()
        return int(re.findall(rf"spawned: '{program}' with pid (\d+)", log)[-1])

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-c", "from producer.cli import main; main()", *words]


def _facts(entry: Path) -> tuple[str, str]:
    """Command line; and all that tells where a process belongs."""
    with suppress(OSError):
        line = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        environment = (entry / "environ").read_bytes().decode(errors="replace")
        return line, f"{line} {environment} {(entry / 'cwd').readlink()}"
    return "", ""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that runs nothing yet; its state folder has an awkward name."""
    folder = tmp_path_factory.mktemp("machine")
    (folder / "pictures").mkdir()
    made = Machine(folder / "my state #1 100%", folder / "pictures")
    yield made
    made.imagefleet("down")
    assert made.processes == {}


@pytest.fixture(scope="module")
def stack(machine: Machine) -> Machine:
    """The machine with a detached stack."""
    options = ("--detach", "--workers", "1", "--model", MODEL, "--flower-port", "0", "--root", str(machine.pictures))
    done = machine.imagefleet("up", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ready." in done.stdout
    assert machine.settings.redis_url.get_secret_value() not in done.stdout
    return machine


@pytest.fixture
def stopped(stack: Machine) -> Machine:
    """The machine after its stack was stopped; what it remembers is there."""
    stack.imagefleet("down")
    return stack


def test_every_address_answers(stack: Machine) -> None:
    settings = stack.settings
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert milvus_answers(int(settings.milvus_uri.rpartition(":")[2]))
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.flower_port}/", timeout=10) as page:
        assert b"Flower" in page.read()
    assert settings.image_root == stack.pictures


def page(stack: Machine, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and text of a page of Flower."""
    asked = urllib.request.Request(f"http://127.0.0.1:{stack.settings.flower_port}{path}", method=method)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_neither_flower_nor_the_broker_controls_a_worker(stack: Machine) -> None:
    # Given a visitor of Flower, and somebody who can write to Redis
    node, victim = f"index@{socket.gethostname()}", stack.pid_of("index")
    app = make_app(stack.settings)
    # When they ask for everything that remote control can do
    for command in ("worker/shutdown", "worker/pool/grow", "task/revoke", "task/rate-limit", "task/send-task"):
        assert page(stack, f"/api/{command}/{node}", "POST")[0] == 404
    app.control.shutdown()
    app.control.rate_limit("imagefleet.index_batch", "1/h")
    assert app.control.pool_grow(1, reply=True, timeout=1) == []
    assert app.control.inspect(timeout=1).ping() is None
    # Then nobody heard it
    assert node_is_ready(stack.settings, node, 1)
    assert stack.pid_of("index") == victim
    app.close()


def test_a_node_that_does_nothing_says_that_it_lives_for_as_long_as_it_does(stack: Machine) -> None:
    with redis.Redis.from_url(stack.settings.redis_url.get_secret_value()) as client:
        begin = client.time()[0]
        node = f"index@{socket.gethostname()}"
        later = lambda: client.time()[0] > begin + LIFE + 2  # noqa: E731
        wait_until(later, PATIENCE, "the time in which a silent node is forgotten")
    assert node_is_ready(stack.settings, node, 1)


def test_flower_shows_workers_queues_and_tasks_all_the_same(stack: Machine) -> None:
    # Given a batch of a job that nobody knows
    node, app = f"index@{socket.gethostname()}", make_app(stack.settings)
    send_batch(app, MODEL, BatchMessage(job="0123456789ab", batch=3, count=8))
    app.close()
    # Then the pages show who works, on what queues, and what the batch is, without asking the workers
    wait_until(lambda: node in page(stack, "/workers?json=1")[1], PATIENCE, "Flower to hear of the worker")
    queues = page(stack, "/broker")[1]
    assert all(f"<td>{kind}.{MODEL}</td>" in queues for kind in ("index", "search"))
    query = "draw=1&start=0&length=5&order[0][column]=0&columns[0][data]=name"
    said = "job 0123456789ab, batch 3, 8 images"
    wait_until(lambda: said in page(stack, f"/tasks/datatable?{query}")[1], PATIENCE, "Flower to hear of the batch")
    # Then the page that it cannot fill says why, and no other has a button that cannot work
    assert "IMAGEFLEET_REMOTE_CONTROL" in page(stack, f"/worker/{node}")[1]
    assert page(stack, "/worker/nobody@nowhere")[0] == 404


def test_no_log_no_command_line_and_no_page_has_the_password(stack: Machine) -> None:
    password = (stack.state / "redis" / "password").read_text().strip()
    logs = {log.name: log.read_text(errors="replace") for log in (stack.state / "logs").iterdir()}
    pages = {path: page(stack, path)[1] for path in ("/", "/workers?json=1", "/tasks", "/broker", "/metrics")}
    assert {"redis.log", "index.log", "search.log", "flower.log", "milvus.log"} <= set(logs)
    assert [name for name, text in {**logs, **pages}.items() if password in text] == []
    assert (stack.state / "redis" / "password").stat().st_mode & 0o777 == 0o600


def test_no_other_user_sees_the_password_or_reaches_a_port(stack: Machine) -> None:
    password = (stack.state / "redis" / "password").read_text().strip()
    assert not [line for line in stack.processes.values() if password in line]
    readable = [path for path in stack.state.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert [path for path in readable if password in path.read_text(errors="replace")] == []
    assert stack.state.stat().st_mode & 0o077 == 0
    outside = [address for address in _listening() if not address.startswith("0100007F")]
    ours = {stack.settings.flower_port, int(stack.settings.milvus_uri.rpartition(":")[2])}
    assert not [address for address in outside if int(address.partition(":")[2], 16) in ours]


def _listening() -> list[str]:
    """Local addresses of listening IPv4 sockets, as the kernel writes them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A"]


def test_a_second_up_says_that_one_runs(stack: Machine) -> None:
    before = stack.processes
    done = stack.imagefleet("up")
    assert done.returncode == 2
    assert done.stderr.startswith("imagefleet: A stack runs already in ")
    assert stack.processes.keys() == before.keys()


def test_a_killed_worker_is_started_again(stack: Machine) -> None:
    # Given the main process of the index worker node
    victim = stack.pid_of("index")
    # When it is killed
    os.kill(victim, signal.SIGKILL)
    # Then another takes its place and is ready
    wait_until(lambda: stack.pid_of("index") != victim, PATIENCE, "a new index worker")
    node = f"index@{socket.gethostname()}"
    wait_until(lambda: node_is_ready(stack.settings, node, 1), PATIENCE, "the new worker becoming ready")


def test_down_leaves_nothing_running_and_says_so_the_second_time(stack: Machine) -> None:
    first, second = stack.imagefleet("down"), stack.imagefleet("down")
    assert (first.returncode, first.stdout.splitlines()[-1]) == (0, "Stopped.")
    assert (second.returncode, second.stdout) == (0, "Nothing runs.\n")
    assert stack.processes == {}


def test_ctrl_c_ends_everything_and_the_next_up_remembers(stopped: Machine) -> None:
    # Given a stack in a terminal, which was told nothing new
    address = stopped.settings.redis_url
    up = stopped.up_in_the_foreground()
    # Then it has the image root, the models and the addresses of the last time
    assert (stopped.settings.image_root, stopped.settings.models) == (stopped.pictures, (MODEL,))
    assert stopped.settings.redis_url == address
    # When its user presses Ctrl-C
    up.send_signal(signal.SIGINT)
    said, _ = up.communicate(timeout=PATIENCE)
    # Then nothing is left
    assert (up.returncode, said.splitlines()[-1]) == (0, "Stopped.")
    assert stopped.processes == {}


def test_what_kill_9_leaves_is_ended_by_the_next_up_and_by_a_down_in_a_hurry(stopped: Machine) -> None:
    # Given a stack whose `up` was killed, and then its Supervisor, so that the programs are on their own
    up = stopped.up_in_the_foreground()
    up.kill()
    up.communicate()
    assert stopped.imagefleet("up").returncode == 2  # it runs all the same
    os.kill(int((stopped.state / "run" / "supervisord.pid").read_text()), signal.SIGKILL)
    orphans = set(stopped.processes)
    assert len(orphans) >= 5
    # When the next `up` starts
    up = stopped.up_in_the_foreground()
    # Then they are gone
    assert orphans.isdisjoint(stopped.processes)
    # When `down` in another terminal waits for a worker that does not end, and its user presses Ctrl-C
    os.kill(stopped.pid_of("index"), signal.SIGSTOP)
    down = stopped.until("Waiting for the workers", "down")
    down.send_signal(signal.SIGINT)
    said, _ = down.communicate(timeout=PATIENCE)
    assert (down.returncode, said) == (0, "Stopped.\n")
    # Then nothing is left, and `up` says why it ended
    said, _ = up.communicate(timeout=PATIENCE)
    assert (up.returncode, said.splitlines()[-1]) == (0, "Stopped by `imagefleet down`.")
    assert stopped.processes == {}


def test_a_program_that_dies_again_and_again_ends_up(machine: Machine, tmp_path: Path) -> None:
    # Given a machine whose Redis does not start
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho 'my disk is broken'\nexit 3\n")
    broken.chmod(0o755)
    # When the stack is to start
    done = machine.imagefleet("up", "--model", MODEL, PATH=f"{tmp_path}:{os.environ['PATH']}")
    # Then it says so with the last lines of Redis, and leaves nothing
    assert done.returncode == 1
    assert "imagefleet: redis died several times in a row; everything was stopped. The end of " in done.stderr
    assert done.stderr.splitlines()[-1].strip() == "my disk is broken"
    assert machine.processes == {}


@pytest.mark.parametrize(
    ("words", "variables", "sentence"),
    [
        (("--workers", "0"), {}, "0 workers cannot be started; --workers takes 1 to 1024."),
        (("--flower-port", "65536"), {}, "Invalid value for '--flower-port': 65536 is not in the range"),
        (("--model", "nope"), {}, "There is no model 'nope'; known are "),
        ((), {"IMAGEFLEET_BATCH_SIZE": "0"}, "IMAGEFLEET_BATCH_SIZE is wrong"),
        ((), {"IMAGEFLEET_REDIS_URL": "redis://127.0.0.1:1/0"}, "No Redis answers at redis://127.0.0.1:1/0"),
        ((), {"IMAGEFLEET_MILVUS_URI": "http://127.0.0.1:1"}, "No Milvus answers at http://127.0.0.1:1"),
        ((), {"IMAGEFLEET_STATE_DIR": "/dev/null/state"}, "The state folder /dev/null/state cannot be written"),
    ],
)
def test_bad_input_is_one_sentence(
    machine: Machine, words: tuple[str, ...], variables: dict[str, str], sentence: str
) -> None:
    done = machine.imagefleet("up", *words, **variables)
    assert done.returncode == 2
    assert done.stderr.startswith(f"imagefleet: {sentence}")
    assert len(done.stderr.splitlines()) == 1
