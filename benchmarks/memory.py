"""What a worker process holds in memory with 64 images in the session at once, and whether it grows as it works."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from benchmarks import processes
from benchmarks.world import World

MICRO_BATCH = 64
#: Images of the whole measurement, in jobs of all pictures each.
IMAGES = 10_000


def measure(world: World) -> Iterator[str]:
    """Peak, and growth from the end of the first job to the end of the last; the largest of all processes."""
    model, jobs = world.network(), max(2, -(-IMAGES // len(world.pictures)))
    os.environ["IMAGEFLEET_MICRO_BATCH"] = str(MICRO_BATCH)
    try:
        with world.whole_stack([model]) as (stack, client):
            pids = processes.of_index(stack)
            library, held = world.library(), []
            for _ in range(jobs):
                (job,) = client.feed(client.walk(world.pictures), models=[model], library=library)
                state = client.wait(job)
                assert state.indexed == len(world.pictures), f"only {state.indexed} were indexed"
                held.append([processes.resident(pid) for pid in pids])
                _touch(world)
            peak = max(processes.peak(pid) for pid in pids)
    finally:
        del os.environ["IMAGEFLEET_MICRO_BATCH"]
    growth = max(last / first - 1 for first, last in zip(held[0], held[-1], strict=True))
    yield (
        f"{model}, {MICRO_BATCH} at once: peak {peak:.0f} MiB; growth {growth:.1%}"
        f" from image {len(world.pictures):,} to {jobs * len(world.pictures):,}"
    )


def _touch(world: World) -> None:
    """So that every image is embedded again."""
    now = time.time()
    for picture in world.pictures:
        os.utime(picture, (now, now))
