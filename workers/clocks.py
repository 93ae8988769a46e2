"""Stage clocks: what a worker process spends its seconds on, and how full its session runs.

Every second belongs to one stage, so that the stages add up to the whole. Written by the thread that works; read by any
other, which always sees a state that was true at one moment.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

#: Waiting for pictures to be read, decoded and resized, or doing so; running the session; waiting for Milvus; answering
#: a search; waiting for a task, and for the ledger.
Stage = Literal["decode", "session", "store", "search", "queue"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
_NOTHING: Final[Mapping[Stage, float]] = dict.fromkeys(STAGES, 0.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """The clocks at one moment, or the difference of two."""

    #: Seconds by stage.
    seconds: Mapping[Stage, float] = field(default_factory=lambda: _NOTHING)
    #: Images that were brought through: indexed, unchanged or failed.
    images: int = 0
    #: Pictures that went through the session in batches, and the places that these runs had for them.
    pictures: int = 0
    places: int = 0

    def since(self, before: Reading) -> Reading:
        seconds = {stage: self.seconds[stage] - before.seconds[stage] for stage in STAGES}
        pictures, places = self.pictures - before.pictures, self.places - before.places
        return Reading(seconds, self.images - before.images, pictures, places)

    @property
    def total(self) -> float:
        """Seconds."""
        return sum(self.seconds.values())

    @property
    def shares(self) -> dict[Stage, float]:
        """Of the time, by stage; they add up to 1, or are all 0 where no time has passed."""
        whole = self.total or 1.0
        return {stage: self.seconds[stage] / whole for stage in STAGES}

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.total if self.total else 0.0

    @property
    def fill(self) -> float | None:
        """Share of the places in the session's runs that held a picture; none if there was no run."""
        return self.pictures / self.places if self.places else None


class Clocks:
    """Those of one process."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        # Replaced as a whole: whoever reads it needs no lock, and no signal leaves one locked.
        self._state: tuple[Stage, float, Reading] = ("queue", now(), Reading())

    @contextmanager
    def during(self, stage: Stage) -> Iterator[None]:
        """Count the seconds in the block to `stage`; a block inside has its own."""
        outer = self._state[0]
        self.switch(stage)
        try:
            yield
        finally:
            self.switch(outer)

    def switch(self, stage: Stage) -> None:
        """From now on the seconds are those of `stage`."""
        self._state = (stage, self._now(), self.read())

    def count(self, *, images: int = 0, pictures: int = 0, places: int = 0) -> None:
        stage, since, done = self._state
        done = Reading(done.seconds, done.images + images, done.pictures + pictures, done.places + places)
        self._state = (stage, since, done)

    def read(self) -> Reading:
        """The sums until now, the stage under way included."""
        stage, since, done = self._state
        seconds = {**done.seconds, stage: done.seconds[stage] + self._now() - since}
        return Reading(seconds, done.images, done.pictures, done.places)


class Window:
    """The last `seconds` of some clocks, as far as somebody looked at them."""

    def __init__(self, clocks: Clocks, seconds: float) -> None:
        self._clocks = clocks
        self._seconds = seconds
        self._readings = deque([clocks.read()])

    def look(self) -> Reading:
        """What happened between now and the last look that is at least `seconds` ago, or the first."""
        now = self._clocks.read()
        self._readings.append(now)
        while len(self._readings) > 2 and now.total - self._readings[1].total >= self._seconds:
            self._readings.popleft()
        return now.since(self._readings[0])
