"""What one Redis, one producer and the ledger carry, with workers that only sleep where a GPU would compute.

A worker here is a thread with connections of its own. It takes its messages by way of the real transport, takes its
batch through its real life (`workers.batch`), asks the failure memory and renews the lease between micro-batches as a
worker does. Celery's own layers, the pictures, the session and Milvus are left out.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from queue import Empty
from typing import Any

from benchmarks import own_redis
from benchmarks.world import World
from workers.cores import usable_cores

MODEL = "colour"
WORKERS = (2, 8, 32)
#: Images per second of the encoder of one worker; None computes in no time at all.
RATES = (1000, 5000, None)
#: Of these the last shows what the parts carry at most.
NO_SLEEP_WORKERS = (2, 8)
#: Workers that share a process.
THREADS = 4
#: Images between two signs of life, as with a GPU.
MICRO_BATCH = 32
#: Seconds until everybody works, and seconds that are measured.
WARM_UP, MEASURED = 3.0, 6.0
#: Seconds that a part may take to end.
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Carried:
    """What one run has shown."""

    workers: int
    rate: int | None
    #: Per second.
    images: float
    #: Processor seconds per second, by part.
    busy: Mapping[str, float]
    #: Of Redis' processor time, for one batch of 128.
    redis_micros: float
    #: Bytes, at the end, with the batches that were open then.
    redis_memory: int


def measure(world: World) -> Iterator[str]:
    """A table: images per second for each number of workers and each rate."""
    yield f"Batches of 128, {usable_cores()} cores for Redis, the producer and all workers together."
    yield ""
    yield (
        "| workers | encoder, images/s each | asked for | carried, images/s | Redis, cores | producer, cores |"
        " workers, cores | Redis, us per batch | Redis, MB |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    with own_redis.running(world.folder / "fleet-redis") as url:
        runs = [(number, rate) for rate in RATES for number in (WORKERS if rate else NO_SLEEP_WORKERS)]
        found = []
        for number, rate in runs:
            own_redis.empty(url)
            found.append(_run(url, number, rate))
            yield _row(found[-1])
    cost = min(item.redis_micros for item in found)
    yield ""
    yield (
        f"Most carried: {max(item.images for item in found):,.0f} images/s. At {cost:.0f} us for a batch, the one core"
        f" of Redis would end at {128 / cost * 1e6:,.0f} images/s (reckoned, not reached here)."
    )


def _row(item: Carried) -> str:
    asked = f"{item.workers * item.rate:,}" if item.rate else "all"
    busy = " | ".join(f"{item.busy[part]:.2f}" for part in ("redis", "producer", "workers"))
    return (
        f"| {item.workers} | {f'{item.rate:,}' if item.rate else 'no sleep'} | {asked} | {item.images:,.0f} | {busy} |"
        f" {item.redis_micros:.0f} | {item.redis_memory / 1e6:.1f} |"
    )


def _run(url: str, workers: int, rate: int | None) -> Carried:
    context = multiprocessing.get_context("spawn")
    stop, spent = context.Event(), context.SimpleQueue()
    groups = [min(THREADS, workers - start) for start in range(0, workers, THREADS)]
    processes = [context.Process(target=_work, args=(url, number, rate, stop, spent)) for number in groups]
    processes.append(context.Process(target=_produce, args=(url, stop, spent)))
    for process in processes:
        process.start()
    try:
        return _watch(url, workers, rate, stop, spent, len(processes))
    finally:
        stop.set()
        for process in processes:
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()


def _watch(url: str, workers: int, rate: int | None, stop: Any, spent: Any, processes: int) -> Carried:
    from workers.ledger import Ledger, connect

    ledger = Ledger(connect(url))
    _until(lambda: any(state.indexed for state in ledger.jobs()), "the first images")
    time.sleep(WARM_UP)
    (job,) = ledger.jobs()
    began, before, busy = time.perf_counter(), job.indexed, own_redis.busy(url)
    # Every process says what it spends from now on; see `_spending`.
    ledger._redis.set("bench:measuring", 1)
    time.sleep(MEASURED)
    seconds = time.perf_counter() - began
    done = ledger.job(job.id).indexed - before  # type: ignore[union-attr]
    redis_seconds, used = own_redis.busy(url) - busy, own_redis.memory(url)
    stop.set()
    said = [spent.get() for _ in range(processes)]
    shares = {part: sum(value for name, value in said if name == part) / seconds for part in ("producer", "workers")}
    ledger.close()
    shares["redis"] = redis_seconds / seconds
    return Carried(workers, rate, done / seconds, shares, redis_seconds / (done / 128) * 1e6, used)


def _until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {PATIENCE:g} s")
        time.sleep(0.05)


@contextmanager
def _spending(url: str, part: str, stop: Any, spent: Any) -> Iterator[None]:
    """Puts the processor time between the beginning of the measurement and its end into `spent`."""
    from workers.ledger import connect

    marks: list[float] = []

    def look() -> None:
        with connect(url) as redis:
            while not stop.wait(0.1):
                if not marks and redis.exists("bench:measuring"):
                    marks.append(time.process_time())
        marks.append(time.process_time())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE)
        spent.put((part, marks[-1] - marks[0]))


def _produce(url: str, stop: Any, spent: Any) -> None:
    """Feed one job from a source without end, by the real feeder."""
    from producer.broker import Broker
    from producer.feeding import Feeder
    from producer.sources import Source
    from workers.contract import Image
    from workers.job_state import JobSpec
    from workers.ledger import Ledger
    from workers.settings import Settings

    def images() -> Iterator[Image]:
        for number in count():
            if number % 128 == 0 and stop.is_set():
                return
            yield Image(f"2026/album-{number // 1000:06d}/IMG_{number % 1000:04d}.jpg", 200_000 + number % 9973, number)

    os.environ.pop("IMAGEFLEET_REDIS_URL", None)
    settings = Settings(redis_url=url)  # type: ignore[arg-type]
    with _spending(url, "producer", stop, spent):
        feeder = Feeder(Ledger.from_settings(settings), Broker(settings).send_batch, settings)
        feeder.feed(Source(images(), ("",), "nowhere"), [JobSpec("images", MODEL, ("",))])


def _work(url: str, threads: int, rate: int | None, stop: Any, spent: Any) -> None:
    with _spending(url, "workers", stop, spent):
        running = [threading.Thread(target=_Worker(url, rate).run, args=(stop,)) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()


class _Worker:
    """Takes batch after batch, and sleeps for as long as an encoder of `rate` images per second would compute."""

    def __init__(self, url: str, rate: int | None) -> None:
        from workers import batch
        from workers.app import make_app
        from workers.failure_memory import FailureMemory
        from workers.leases import Leases
        from workers.ledger import Ledger, connect
        from workers.settings import Settings

        settings = Settings(redis_url=url)  # type: ignore[arg-type]
        redis = connect(url)
        self._rate = rate
        self._connection = make_app(settings).connection_for_read()
        self._memory = FailureMemory.from_settings(settings, redis, "images", "0" * 16)
        self._context = batch.Context(
            leases=Leases.from_settings(settings, redis, uuid.uuid4().hex),
            ledger=Ledger(redis),
            work=self._embed,
            send=lambda model, message: None,
            max_attempts=settings.max_attempts,
            patience=PATIENCE,
            remember=lambda message, begun, failed, mended: self._memory.notes(message.job, failed, mended),
        )

    def run(self, stop: Any) -> None:
        from kombu import Queue

        from workers import batch
        from workers.contract import BatchMessage, index_queue

        queue = self._connection.SimpleQueue(Queue(index_queue(MODEL), durable=True, routing_key=index_queue(MODEL)))
        while not stop.is_set():
            with suppress(Empty):
                message = queue.get(timeout=0.5)
                batch.run(BatchMessage.model_validate(message.payload[1]), self._context, redelivered=False)
                message.ack()
        queue.close()

    def _embed(self, begun: Any, waiter: Any, beat: Callable[[], None]) -> Any:
        from workers.pipeline import BatchResult

        waiter(lambda: self._memory.recall(begun.images))
        ready = time.perf_counter()
        for part in _parts(begun.images):
            beat()
            ready += len(part) / self._rate if self._rate else 0.0
            time.sleep(max(0.0, ready - time.perf_counter()))
        beat()
        return BatchResult(indexed=len(begun.images))


def _parts(images: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (images[start : start + MICRO_BATCH] for start in range(0, len(images), MICRO_BATCH))
