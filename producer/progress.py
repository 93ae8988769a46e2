"""Watching jobs: how far they are, how fast, how long still, and what is being waited for.

On a terminal a bar for each job; elsewhere one line every few seconds. Both go to standard error.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from producer.jobs import over
from producer.shown import counted
from workers.job_state import JobState

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Seconds over which the rate is taken.
WINDOW = 15.0
#: Seconds between two looks.
LOOK = 0.4
#: Seconds between two lines where there is no terminal.
LINE_EVERY = 5.0


class Pace:
    """Images per second over the last WINDOW seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, at: float, done: int) -> None:
        self._seen.append((at, done))
        while len(self._seen) > 2 and self._seen[1][0] <= at - WINDOW:
            self._seen.popleft()

    @property
    def rate(self) -> float | None:
        """None until there are two looks with some time between them."""
        if len(self._seen) < 2:
            return None
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / (last - first) if last - first >= LOOK else None

    @property
    def still_since(self) -> float:
        """Seconds since the count last changed."""
        last, done = self._seen[-1]
        return last - next((at for at, count in self._seen if count == done), last)


@dataclass(frozen=True, slots=True)
class Reading:
    """One job at one moment."""

    state: JobState
    #: Images per second.
    rate: float | None = None
    #: What is being waited for.
    note: str | None = None

    @property
    def seconds_left(self) -> float | None:
        """None where it cannot be known: the walk goes on, or nothing moves."""
        if not self.state.walked or not self.rate:
            return None
        return (self.state.queued - self.state.done) / self.rate

    @property
    def count(self) -> str:
        """`120/400`, with a + while more may come."""
        return f"{self.state.done:,}/{self.state.queued:,}{'' if self.state.walked else '+'}"

    @property
    def details(self) -> str:
        """Rate, unchanged, failed, time left; what is nothing is left out."""
        parts = [f"{counted(round(self.rate), 'image')}/s" if self.rate else ""]
        parts += [
            f"{n:,} {word}" for n, word in ((self.state.unchanged, "unchanged"), (self.state.failed, "failed")) if n
        ]
        parts += [f"{clock(self.seconds_left)} left" if self.seconds_left and not over(self.state) else ""]
        parts += [self.state.phase if self.state.phase in ("cancelled", "interrupted") else ""]
        return ", ".join(part for part in parts if part)


def clock(seconds: float) -> str:
    """`0:05`, `12:30`, `3:00:00`."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Face(Protocol):
    """Where readings are shown."""

    def draw(self, readings: Sequence[Reading]) -> None: ...

    def close(self) -> None: ...


class Lines:
    """One line a job, at most every LINE_EVERY seconds and when a job is over."""

    def __init__(self, stream: TextIO, every: float = LINE_EVERY) -> None:
        self._stream = stream
        self._every = every
        self._last = time.monotonic()

    def draw(self, readings: Sequence[Reading]) -> None:
        finished = all(over(reading.state) for reading in readings)
        if time.monotonic() - self._last < self._every and not finished:
            return
        self._last = time.monotonic()
        for reading in readings:
            note = f"; {reading.note}" if reading.note else ""
            details = f", {reading.details}" if reading.details else ""
            self._stream.write(f"{reading.state.model}: {reading.count} images{details}{note}\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing to put back."""


class Bars:
    """One bar a job, redrawn in place."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def draw(self, readings: Sequence[Reading]) -> None:
        self._live.update(_bars(readings), refresh=True)

    def close(self) -> None:
        self._live.stop()


def _bars(readings: Sequence[Reading]) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    for reading in readings:
        bar = ProgressBar(total=max(reading.state.queued, 1), completed=reading.state.done, width=24)
        table.add_row(Text(reading.state.model), bar, Text(reading.count), Text(reading.details))
    notes = dict.fromkeys(reading.note for reading in readings if reading.note)
    return Group(table, *(Text(f"Waiting: {note}", style="yellow") for note in notes))


def face() -> Face:
    """Bars if standard error is a terminal, lines otherwise."""
    if not sys.stderr.isatty():
        return Lines(sys.stderr)
    from rich.console import Console

    return Bars(Console(stderr=True))
