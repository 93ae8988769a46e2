"""imagefleet beside what people use instead: the same pictures, model, cores, Redis and Milvus, in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import spread
from benchmarks.world import ROOT, World
from workers.cores import usable_cores
from workers.local.stack import Stack

#: Python of an environment with fastembed; without it that peer is left out.
FASTEMBED_PYTHON = "IMAGEFLEET_BENCH_FASTEMBED"
#: Pictures, since the slowest peer takes minutes for a thousand.
PICTURES = 300
PEERS = {
    "tutorial": "a session and an insert for each picture",
    "one_task_each": "Celery, a task and an insert for each picture",
    "threads": "a pool of threads, one session",
    "fast_embed": "fastembed, embedding only",
}


def measure(world: World) -> Iterator[str]:
    """Images per second of each, and how many times as many imagefleet does; sides in turns."""
    if not (names := world.real_networks()):
        yield "left out: the peers are measured with MobileNetV2, whose file is not at hand"
        return
    model, fastembed = names[0], os.environ.get(FASTEMBED_PYTHON)
    pythons = dict.fromkeys(PEERS, sys.executable) | {"fast_embed": fastembed or ""}
    rates: dict[str, list[float]] = {name: [] for name, python in pythons.items() if python}
    ours: list[float] = []
    with world.whole_stack([model]) as (stack, client):
        _index(world, client, model)
        for _ in range(world.repeats):
            ours.append(_index(world, client, model))
            for name, taken in rates.items():
                taken.append(_peer(world, stack, name, pythons[name], model))
    yield f"imagefleet, {model}: {spread(ours, 0)} images/s"
    for name, taken in rates.items():
        ratios = [own / peer for own, peer in zip(ours, taken, strict=True)]
        yield f"{PEERS[name]}: {spread(taken, 0)} images/s, imagefleet {spread(ratios)} times as many"
    if not fastembed:
        yield f"fastembed is left out; say in {FASTEMBED_PYTHON} which Python has it"


def _index(world: World, client: Any, model: str) -> float:
    began = time.perf_counter()
    (job,) = client.feed(client.walk(world.pictures[:PICTURES]), models=[model], library=world.library())
    state = client.wait(job)
    assert state.indexed == _number(world), f"only {state.indexed} were indexed"
    return _number(world) / (time.perf_counter() - began)


def _peer(world: World, stack: Stack, name: str, python: str, model: str) -> float:
    """Images per second of the program, without what it does before the first picture."""
    spec, file = world.encoder_files(model)
    job = {
        "model": str(Path(file).resolve()),
        "input": spec.input.tensor,
        "output": spec.feature.tensor,
        "dimension": spec.feature.dimension,
        "pictures": [str(picture) for picture in world.pictures[:PICTURES]],
        "milvus": stack.settings.milvus_uri,
        # Beside the stack's own data.
        "redis": stack.settings.redis_url.get_secret_value().removesuffix("/0") + "/1",
        "collection": f"peer_{uuid.uuid4().hex[:8]}",
        "cores": usable_cores(),
    }
    command = [python, "-m", f"benchmarks.peers.{name}"]
    environment = os.environ | {"IMAGEFLEET_BENCH_OUTPUT": spec.feature.tensor}
    done = subprocess.run(
        command, input=json.dumps(job), capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(f"The peer {name!r} failed: {done.stderr[-2000:]}")
    return _number(world) / float(done.stdout.split()[-1])


def _number(world: World) -> int:
    return len(world.pictures[:PICTURES])
