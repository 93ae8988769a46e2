"""How long somebody waits for the hits of one picture, everything included."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from benchmarks.world import World

QUERIES = 100


def measure(world: World) -> Iterator[str]:
    """Median and 95th percentile of single queries by picture over what was indexed, one after the other."""
    model, library = "colour", world.library()
    with world.stack([model]) as client:
        (job,) = client.feed(client.walk(world.pictures), models=[model], library=library)
        client.wait(job)
        queries = (world.queries * (QUERIES // len(world.queries) + 1))[:QUERIES]
        client.search(queries[0], model=model, library=library)
        seconds = []
        for query in queries:
            began = time.perf_counter()
            client.search(query, model=model, library=library, limit=10)
            seconds.append(time.perf_counter() - began)
    p95 = statistics.quantiles(seconds, n=20)[-1]
    yield (
        f"{QUERIES} queries over {len(world.pictures)} rows: p50 {statistics.median(seconds) * 1000:.0f} ms,"
        f" p95 {p95 * 1000:.0f} ms"
    )
