"""A plugin that Supervisor loads: a program that dies again and again ends the whole stack, in order.

Supervisor gives such a program up and leaves the rest running, which helps nobody here: it takes work and never does
it. Runs inside supervisord, so that a detached stack is watched as well.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

from supervisor import events
from supervisor.states import SupervisorStates

#: Deaths of one program within WINDOW_SECONDS that end the stack, though each time it had started.
DEATHS = 5
WINDOW_SECONDS = 120.0


class GivesUp:
    """Listens for deaths; leaves the name of the program that ended the stack in `file`."""

    def __init__(self, supervisord: Any, file: Path) -> None:
        self._supervisord = supervisord
        self._file = file
        self._deaths: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=DEATHS))

    def on_exit(self, event: Any) -> None:
        """It had run for a while and ended without being asked to."""
        deaths = self._deaths[event.process.config.name]
        deaths.append(time.monotonic())
        if len(deaths) == DEATHS and deaths[-1] - deaths[0] < WINDOW_SECONDS:
            self.on_fatal(event)

    def on_fatal(self, event: Any) -> None:
        """It could not be started several times in a row."""
        options = self._supervisord.options
        if options.mood < SupervisorStates.RUNNING:  # ending anyway
            return
        self._file.write_text(event.process.config.name)
        options.mood = SupervisorStates.SHUTDOWN


def make(supervisord: Any, **options: str) -> GivesUp:
    """Called by Supervisor with the options of the section `[rpcinterface:give_up]`."""
    watcher = GivesUp(supervisord, Path(options["file"]))
    events.subscribe(events.ProcessStateExitedEvent, watcher.on_exit)
    events.subscribe(events.ProcessStateFatalEvent, watcher.on_fatal)
    return watcher
