"""A city: Redis, Milvus Lite, workers, pictures and jobs of one case, all its own, so that everything may be broken."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import redis
from redis.exceptions import RedisError

from producer.client import Client, ClientError
from tests.faults.case import Case, Fault, Part
from tests.faults.milvus_server import start_milvus_server
from tests.faults.proxy import Proxy
from tests.fleet import Fleet, Worker
from tests.pictures import draw_many
from tests.services import ROOT, Service, start, start_milvus_lite, start_redis
from tests.waiting import wait_until
from workers.ledger import JobState
from workers.settings import Settings

MODEL = "colour"
QUEUE = f"index.{MODEL}"
INSIDE = Path(__file__).parent / "inside"
#: Each picture takes this many seconds longer, so that there is a middle to strike in.
SLOWED = Fault("models.encoder:Encoder.prepare", "slow", times=0, seconds=0.03)
#: Seconds without a sign of life until a batch is given to another worker.
LEASE = 3


class City:
    """Everything is started by the steps of a case; `close` ends what runs, whatever happened."""

    def __init__(self, folder: Path, case: Case, chance: random.Random) -> None:
        self.folder = folder
        self.case = case
        self.chance = chance
        self.jobs: list[str] = []
        self.proxies: dict[Part, Proxy] = {}
        self.producers: list[subprocess.Popen[bytes]] = []
        #: Seconds from the end of the fault to the next image, as far as it was measured.
        self.recovery: float | None = None
        self._ends = ExitStack()
        self._marked: tuple[float, int] | None = None
        with ExitStack() as opening:  # what was started is ended if the rest cannot be
            opening.callback(self.close)
            self._open()
            opening.pop_all()

    def _open(self) -> None:
        case = self.case
        self.redis = start_redis(self.folder / "redis")
        self._ends.callback(lambda: self.redis.kill())
        self.milvus: Service = self._starters["milvus"](self.folder / "milvus")
        self._ends.callback(lambda: self.milvus.kill())
        for part in sorted(case.through):
            self.proxies[part] = Proxy(getattr(self, part).port, self.chance).open()
            self._ends.callback(self.proxies[part].close)
        urls = {part: self._address(part) for part in ("redis", "milvus")}
        library = f"t{uuid.uuid4().hex[:10]}"
        self.libraries = [f"{library}{'x' * number}" for number in range(case.libraries)]
        self.fleet = Fleet(self.folder, urls["redis"], urls["milvus"], library, options={"lease_seconds": LEASE})
        self._ends.callback(self.fleet.close)
        self.fleet.options |= dict(case.settings) | {"faults": self._faults()}
        self.client = self.new_client()
        self.pictures = draw_many(self.root, case.images)

    @property
    def _starters(self) -> dict[Part, Callable[..., Service]]:
        return {"redis": start_redis, "milvus": start_milvus_server if self.case.milvus_server else start_milvus_lite}

    def _address(self, part: Part) -> str:
        service: Service = getattr(self, part)
        proxy = self.proxies.get(part)
        return service.url.replace(str(service.port), str(proxy.port)) if proxy else service.url

    def _faults(self) -> str:
        faults = [asdict(fault) for fault in (SLOWED, *self.case.faults)]
        tickets = self.folder / "tickets"
        tickets.mkdir(exist_ok=True)
        return json.dumps([fault | {"tickets": str(tickets / str(n))} for n, fault in enumerate(faults)])

    def new_client(self) -> Client:
        """Asks past the proxies."""
        values = {name.removeprefix("IMAGEFLEET_").lower(): value for name, value in self.fleet.environment.items()}
        values |= {"redis_url": self.redis.url, "milvus_uri": self.milvus.url}
        return Client(Settings(**values))  # type: ignore[arg-type]

    @property
    def root(self) -> Path:
        return self.fleet.root

    def struck(self, fault: int = 0) -> bool:
        """Whether that fault of the case has happened."""
        return any((self.folder / "tickets").glob(f"{fault + 1}.*"))

    # --- workers

    @property
    def workers(self) -> list[Worker]:
        """Those that live."""
        return [worker for worker in self.fleet.workers if worker.process.poll() is None]

    def start_worker(self, processes: int = 1) -> Worker:
        queues = (queue for model in self.case.models for queue in (f"index.{model}", f"search.{model}"))
        return self.fleet.start(",".join(queues), processes)

    def a_worker(self) -> Worker:
        return self.chance.choice(self.workers)

    @contextmanager
    def frozen(self, pids: list[int]) -> Iterator[None]:
        """Stopped as by Ctrl-Z, and let go on whatever happens."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    # --- servers

    def restart(self, part: Part, ignoring_full_disks: bool = False) -> None:
        """Start it again on its folder, after it was killed."""
        known: Service = getattr(self, part)
        if ignoring_full_disks:  # a limit on the size of files then is an error to the server, not the end of it
            shell = ["sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", *map(str, known.process.args)]  # type: ignore[arg-type]
            fresh = start(shell, known.url, known.port, known.log)
        else:
            fresh = self._starters[part](self.folder / part, known.port)
        setattr(self, part, fresh)

    @contextmanager
    def asked(self) -> Iterator[redis.Redis]:
        """A connection to Redis past the proxy."""
        with redis.Redis.from_url(self.redis.url, socket_timeout=5) as connection:
            yield connection

    # --- jobs

    def index(self) -> list[str]:
        """Jobs for all models and libraries of the case."""
        made = [
            job.id
            for library in self.libraries
            for job in self.client.index([self.root], models=list(self.case.models), library=library)
        ]
        self.jobs += made
        return made

    @property
    def queues(self) -> list[str]:
        """Of batches."""
        return [f"index.{model}" for model in self.case.models]

    @property
    def places(self) -> list[tuple[str, str]]:
        """Library and model of each collection that the case fills."""
        return [(library, model) for library in self.libraries for model in self.case.models]

    def start_producer(self, **environment: str) -> subprocess.Popen[bytes]:
        """`imagefleet index` as a process of its own."""
        command = [sys.executable, "-c", "from producer.cli import main; main()", "index", str(self.root)]
        known = os.environ | self.fleet.environment | environment
        with (self.folder / "producer.log").open("ab") as log:
            process = subprocess.Popen([*command, "--model", MODEL], stdout=log, stderr=log, cwd=ROOT, env=known)
        self.producers.append(process)
        self._ends.callback(self._end_producer, process)
        return process

    @staticmethod
    def _end_producer(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def look(self, job: str) -> JobState | None:
        """None while Redis is away."""
        try:
            return self.client.status(job)
        except ClientError:
            return None

    def done(self) -> int:
        return sum(state.done for state in map(self.look, self.jobs) if state)

    def is_over(self, job: str) -> bool:
        state = self.look(job)
        if state is None:
            return False
        if state.finished is not None:
            return True
        return (state.cancel_requested or not state.walked) and not state.open_batches and bool(self.producers)

    def wait(self, condition: Callable[[], object], what: str, seconds: float | None = None) -> None:
        """Until the deadline of the case."""
        wait_until(condition, seconds or self.case.deadline, what)

    def mark(self) -> None:
        """From here on is measured how long it takes until the next image."""
        self._marked = (time.monotonic(), self.done())

    def measure(self) -> None:
        """Wait until work goes on after what was marked."""
        if self._marked is None:
            return
        since, before = self._marked
        self.wait(lambda: self.done() > before or all(map(self.is_over, self.jobs)), "going on after the fault")
        self.recovery, self._marked = time.monotonic() - since, None

    def report(self) -> str:
        """What every part has to say, for a case that failed."""
        logs = [f"--- {worker.log.name}\n{worker.text[-4000:]}" for worker in self.fleet.workers]
        states = [str(self.look(job)) for job in self.jobs]
        return "\n".join([*states, *self._redis_report(), *logs])

    def _redis_report(self) -> list[str]:
        try:
            with self.asked() as connection:
                leases = connection.zrange("imagefleet:leases", 0, -1, withscores=True)
                return [f"now {connection.time()}, leases {leases}, queued {connection.llen(QUEUE)}"]
        except RedisError as error:
            return [f"Redis: {error}"]

    def close(self) -> None:
        self._ends.close()
