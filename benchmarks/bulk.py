"""The whole way, from `index` to searchable, against the bare loop, which has neither queue nor store."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import spread
from benchmarks.world import World
from workers.cores import usable_cores

#: Images that the bare loop gives the session at once, like the workers.
MICRO_BATCH = 16


def measure(world: World) -> Iterator[str]:
    """One line per model: images per second of both sides and their ratio, sides alternated."""
    for model in world.models:
        whole, bare = [], []
        with world.stack([model]) as client, _BareLoop(world, model) as loop:
            _index(world, client, model)  # once unmeasured, so that every process has run
            for _ in range(world.repeats):
                bare.append(loop.run())
                whole.append(_index(world, client, model))
        ratios = [way / loop for way, loop in zip(whole, bare, strict=True)]
        yield (
            f"{model}: whole way {spread(whole, 0)} images/s, bare loop {spread(bare, 0)} images/s,"
            f" ratio {spread(ratios)}"
        )


def _index(world: World, client: Any, model: str) -> float:
    """Images per second from the call to the last row."""
    began = time.perf_counter()
    (job,) = client.feed(client.walk(world.pictures), models=[model], library=world.library())
    state = client.wait(job)
    seconds = time.perf_counter() - began
    assert state.indexed == len(world.pictures), f"only {state.indexed} of {len(world.pictures)} were indexed"
    return len(world.pictures) / seconds


class _BareLoop:
    """As many processes as cores, each with the model loaded and a part of the pictures."""

    def __init__(self, world: World, model: str) -> None:
        self._files = world.pictures
        self._spec, self._model = world.encoder_files(model)
        self._context = multiprocessing.get_context("spawn")

    def __enter__(self) -> _BareLoop:
        self._pool = self._context.Pool(usable_cores(), _load, (self._spec, self._model))
        self.run()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.terminate()
        self._pool.join()

    def run(self) -> float:
        """Images per second over all processes."""
        chunks = [self._files[start : start + MICRO_BATCH] for start in range(0, len(self._files), MICRO_BATCH)]
        began = time.perf_counter()
        done = sum(self._pool.imap_unordered(_embed, chunks))
        return done / (time.perf_counter() - began)


_encoder: Any = None


def _load(spec: Any, file: Path) -> None:
    global _encoder
    from models.encoder import Encoder

    _encoder = Encoder(spec, file)


def _embed(files: list[Path]) -> int:
    return len(_encoder.encode([_encoder.prepare(file.read_bytes()) for file in files]))
