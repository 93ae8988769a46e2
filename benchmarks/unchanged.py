"""Indexing a folder in which nothing has changed, by one worker process, beside indexing it for the first time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.machine import spread
from benchmarks.world import World


def measure(world: World) -> Iterator[str]:
    """Images per second of both, their ratio, and what the process holds before and after."""
    model, library = world.network(), world.library()
    number = len(_files(world))
    with world.whole_stack([model], workers=1) as (stack, client):
        (pid,) = processes.of_index(stack)
        first = number / _index(world, client, model, library, unchanged=False)
        _index(world, client, model, library, unchanged=True)
        before, again = processes.resident(pid), []
        for _ in range(world.repeats):
            again.append(number / _index(world, client, model, library, unchanged=True))
        after = processes.resident(pid)
    ratios = [rate / first for rate in again]
    yield f"{model}, one process: unchanged {spread(again, 0)} images/s, new {first:.0f}, ratio {spread(ratios, 1)}"
    yield f"its memory: {before:.0f} MiB before, {after:.0f} MiB after {world.repeats} times"


def _index(world: World, client: Any, model: str, library: str, unchanged: bool) -> float:
    """Seconds, the walk of the folder included."""
    began = time.perf_counter()
    (job,) = client.feed(client.walk([world.folder / "pictures"]), models=[model], library=library)
    state = client.wait(job)
    seconds = time.perf_counter() - began
    done, number = state.unchanged if unchanged else state.indexed, len(_files(world))
    assert done == number, f"{done} of {number}; unchanged: {unchanged}"
    return seconds


def _files(world: World) -> list[Path]:
    """All of the folder; a few more are drawn than were asked for."""
    return sorted((world.folder / "pictures").rglob("*.jpg")) if world.pictures else []
