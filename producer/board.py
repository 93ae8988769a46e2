"""Following jobs while something else goes on: a thread looks at the ledger and shows what it reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from producer.connection import ledger_errors
from producer.errors import BrokerUnavailable, ClientError
from producer.jobs import over, unknown_job
from producer.progress import LOOK, Face, Pace, Reading
from producer.shown import counted
from workers.contract import index_queue
from workers.job_state import JobState
from workers.ledger import Ledger

#: Seconds without a change before it is asked whether anybody listens, and between two such questions.
STILL = 6.0
#: Seconds that Redis may be away before watching is given up.
PATIENCE = 60.0

#: How many workers listen on a queue.
Listeners = Callable[[str], int]


class Board:
    """Shows jobs from `follow` until the end of the `with`; a thread looks at them, so that a walk is not held up."""

    def __init__(self, ledger: Ledger, listeners: Listeners, face: Face) -> None:
        self._ledger = ledger
        self._listeners = listeners
        self._face = face
        self._paces: dict[str, Pace] = {}
        self._asked = 0.0
        self._nobody: str | None = None
        self._stop, self._over = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._look_on, name="progress", daemon=True)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)
        self._face.close()

    def follow(self, jobs: Sequence[str]) -> None:
        """Begin to show these jobs."""
        self._paces = {job: Pace() for job in jobs}
        self._thread.start()

    def until_over(self) -> None:
        """Return when all jobs are over; raises what made watching impossible."""
        while not self._over.wait(timeout=0.2):  # in slices, so that Ctrl-C is heard
            pass
        if self._error:
            raise self._error

    def _look_on(self) -> None:
        try:
            self._look_until_over()
        except Exception as error:  # whatever it is, it is told to the one who waits
            self._error = error
        finally:
            self._over.set()

    def _look_until_over(self) -> None:
        last_heard = time.monotonic()
        while not self._stop.is_set():
            try:
                readings = [self._read(job, pace) for job, pace in self._paces.items()]
            except BrokerUnavailable:
                if time.monotonic() - last_heard > PATIENCE:
                    raise
            else:
                last_heard = time.monotonic()
                self._face.draw(readings)
                if all(over(reading.state) for reading in readings):
                    return
            self._stop.wait(LOOK)

    def _read(self, job: str, pace: Pace) -> Reading:
        with ledger_errors():
            state = self._ledger.job(job)
        if state is None:
            raise unknown_job(job)
        pace.add(time.monotonic(), state.done)
        return Reading(state, pace.rate, self._note(state, pace))

    def _note(self, state: JobState, pace: Pace) -> str | None:
        if over(state):
            return None
        if pace.still_since < STILL:
            return state.waiting
        return state.waiting or self._whether_nobody_listens(index_queue(state.model))

    def _whether_nobody_listens(self, queue: str) -> str | None:
        if time.monotonic() - self._asked > STILL:
            self._asked = time.monotonic()
            with suppress(ClientError):
                alone = self._listeners(queue) == 0
                self._nobody = f"no worker listens on {queue}; start one with `imagefleet up`" if alone else None
        return self._nobody


def left_behind(states: Sequence[JobState], walking: bool) -> str:
    """What to say after Ctrl-C: what goes on, and how to come back."""
    queued = max((state.queued for state in states), default=0)
    if not states:
        return "Stopped before a picture was found; nothing is queued."
    how = "\n".join(f"  imagefleet status {state.id} --watch" for state in states)
    if not walking:
        return f"The work goes on without this command. To come back:\n{how}"
    return (
        f"Stopped looking for more: {counted(queued, 'image is', 'images are')} queued and will be indexed. To see"
        f" them:\n{how}\nRun the same command again to queue the rest; what is indexed is not done twice."
    )
