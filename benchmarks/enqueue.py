"""How fast a folder is walked and queued, in how much memory: empty files, a real walk, a real Redis, no worker.

`--pictures` says how many files.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, own_redis
from benchmarks.world import World

PATHS = 1_000_000
PER_FOLDER = 1000
#: Images between two looks at the memory of the producer.
STEP = 100_000
#: Batches; more than any folder here has.
NO_LIMIT = 10**9


@dataclass(frozen=True, slots=True)
class Told:
    """What a producer says of itself; seconds on the clock and of the processor, and bytes."""

    images: int
    seconds: float
    busy: float
    #: Resident at each STEP.
    resident: tuple[int, ...]
    peak: int


def measure(world: World) -> Iterator[str]:
    """A table: walk alone, queueing alone and both, each in a process of its own, in turns."""
    folder, paths, repeats = world.folder, world.count, world.repeats
    root = folder / "empty"
    began = time.perf_counter()
    _make(root, paths)
    yield f"{paths:,} empty files in folders of {PER_FOLDER:,}, made in {time.perf_counter() - began:.0f} s."
    yield ""
    told: dict[str, list[Told]] = {"scandir and stat alone": [], "walk": [], "queue": [], "walk and queue": []}
    with own_redis.running(folder / "redis") as url:
        for _ in range(repeats):
            for what in told:
                own_redis.empty(url)
                before = own_redis.memory(url)
                one = _apart(what, root, url, paths, NO_LIMIT)
                told[what].append(one)
                if what == "walk and queue":
                    last = (own_redis.memory(url) - before) / one.images
        yield "| what | paths/s | processor, us per path | most memory, MB | memory at 100,000 and at the end, MB |"
        yield "|---|---|---|---|---|"
        for what, found in told.items():
            yield _row(what, found)
        yield ""
        yield f"Redis: {last:.1f} bytes for each queued image."
        yield ""
        yield "| images queued, at most 2,000 batches open, taken off by one drain | Redis at most, MB | paths/s |"
        yield "|---|---|---|"
        for number in (paths // 4, paths):
            own_redis.empty(url)
            yield _bounded(root, url, number)


def _row(what: str, found: list[Told]) -> str:
    rates = machine.spread([item.images / item.seconds for item in found], 0)
    cost = machine.spread([item.busy / item.images * 1e6 for item in found], 1)
    peak = max(item.peak for item in found) / 1e6
    first, last = found[-1].resident[0] / 1e6, found[-1].resident[-1] / 1e6
    return f"| {what} | {rates} | {cost} | {peak:.0f} | {first:.0f}, {last:.0f} |"


def _bounded(root: Path, url: str, paths: int) -> str:
    context = multiprocessing.get_context("spawn")
    stop, most = context.Event(), context.Value("q", 0)
    drain = context.Process(target=_drain, args=(url, stop, most))
    drain.start()
    try:
        one = _apart("walk and queue", root, url, paths, 2000)
    finally:
        stop.set()
        drain.join(30)
    return f"| {one.images:,} | {most.value / 1e6:.1f} | {one.images / one.seconds:,.0f} |"


def _make(root: Path, paths: int) -> None:
    for number in range(0, paths, PER_FOLDER):
        folder = root / f"{2000 + number // 100_000}" / f"album-{number // PER_FOLDER:05d}"
        folder.mkdir(parents=True)
        for name in range(min(PER_FOLDER, paths - number)):
            os.close(os.open(f"{folder}/IMG_{name:04d}.jpg", os.O_CREAT | os.O_WRONLY))


def _apart(what: str, root: Path, url: str, paths: int, limit: int) -> Told:
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    process = context.Process(target=_produce, args=(what, root, url, paths, limit, answers))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the producer ended with {process.exitcode}")
    told: Told = answers.get()
    return told


def _produce(what: str, root: Path, url: str, paths: int, limit: int, answers: Any) -> None:
    from itertools import islice

    from producer.broker import Broker
    from producer.feeding import Feeder
    from producer.sources import Source, of_folders
    from workers.job_state import JobSpec
    from workers.ledger import Ledger
    from workers.settings import Settings

    settings = Settings(redis_url=url, image_root=root, max_open_batches=limit)  # type: ignore[arg-type]
    resident: list[int] = []
    seen = 0

    def counted(images: Iterable[Any]) -> Iterator[Any]:
        """As it is for STEP images, so that looking costs nothing."""
        nonlocal seen
        rest = iter(images)
        while True:
            before = seen
            for image in islice(rest, STEP):
                seen += 1
                yield image
            if seen == before:
                return
            resident.append(_resident())

    if what == "queue":
        images: Iterable[Any] = _synthetic(paths)
    elif what == "scandir and stat alone":
        images = _bare(str(root))
    else:
        images = islice(of_folders([root], root, settings.formats), paths)
    ledger, broker = Ledger.from_settings(settings), Broker(settings)
    began, busy = time.perf_counter(), time.process_time()
    if "queue" in what:
        source = Source(counted(images), ("",), "the figure")
        Feeder(ledger, broker.send_batch, settings).feed(source, [JobSpec("images", "colour", ("",))])
    else:
        for _ in counted(images):
            pass
    seconds, spent = time.perf_counter() - began, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answers.put(Told(seen, seconds, spent, tuple(resident), peak))


def _synthetic(paths: int) -> Iterator[Any]:
    from workers.contract import Image

    for start in range(0, paths, PER_FOLDER):
        folder = f"{2000 + start // 100_000}/album-{start // PER_FOLDER:05d}"
        for number in range(PER_FOLDER):
            yield Image(f"{folder}/IMG_{number:04d}.jpg", 0, 1_790_000_000_000_000_000 + (start + number) * 15_331)


def _bare(folder: str) -> Iterator[int]:
    """The least that any walk does in this language."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _bare(entry.path)
            else:
                yield entry.stat().st_size


def _drain(url: str, stop: Any, most: Any) -> None:
    """Account for batches as they come, and look at the memory of Redis meanwhile."""
    import base64
    import json

    import redis

    from workers.contract import BatchMessage
    from workers.leases import Leases
    from workers.ledger import connect

    with redis.Redis.from_url(url) as client:
        leases, looked = Leases(connect(url), "drain"), 0.0
        while not stop.is_set():
            taken: Any = client.brpop(["index.colour"], timeout=1)
            if taken:
                message = BatchMessage(**json.loads(base64.b64decode(json.loads(taken[1])["body"]))[1])
                leases.begin(message, redelivered=False)
                leases.commit(message, message.count, 0, [])
            if time.monotonic() - looked > 0.1:
                most.value, looked = max(most.value, own_redis.memory(url)), time.monotonic()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
