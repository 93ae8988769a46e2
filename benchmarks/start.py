"""From nothing running to the first indexed image."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.machine import spread
from benchmarks.world import World


def measure(world: World) -> Iterator[str]:
    """Seconds until the stack answers, and until the first image is indexed."""
    picture = world.pictures[0]
    ready, first = [], []
    for _ in range(world.repeats):
        began = time.perf_counter()
        with world.stack(["colour", "gradient"]) as client:
            ready.append(time.perf_counter() - began)
            (job,) = client.feed(client.walk([picture]), models=["colour"], library=world.library())
            client.wait(job)
            first.append(time.perf_counter() - began)
    yield f"until everything answers: {spread(ready, 1)} s"
    yield f"until the first image is indexed: {spread(first, 1)} s"
