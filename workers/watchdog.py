"""Ends a worker that lives but hears nothing, as a connection that broke at a bad moment may leave it.

Messages wait, Redis answers, nothing is in work here, and yet nobody asks for a message: that lasts as long as the
process does. Whoever started it starts another: Supervisor, Docker, systemd.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence

from redis import Redis

from workers.ledger import PREFIX, LedgerUnavailable, translated
from workers.transport import Channel

logger = logging.getLogger(__name__)

#: Seconds between two looks.
PERIOD = 5.0
#: Looks in a row that find it deaf before it is ended: longer than Celery takes to connect again.
LOOKS = 12


class Watchdog(threading.Thread):
    """Looks whether this worker still asks for messages; in its main process."""

    def __init__(self, waiting: Callable[[], int], busy: Callable[[], bool], end: Callable[[], None]) -> None:
        """`waiting`: messages on its queues, raises LedgerUnavailable; `busy`: whether it has one in work."""
        super().__init__(name="watchdog", daemon=True)
        self._waiting = waiting
        self._busy = busy
        self._end = end
        self._asked = -1
        self._deaf = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(PERIOD):
            if self.look():
                logger.critical("Messages wait and this worker does not hear of them; it ends, to be started again")
                self._end()
                return

    def look(self) -> bool:
        """Whether it has been deaf for LOOKS in a row. Counted in looks, since a process may be stopped for hours."""
        asked, self._asked = self._asked, Channel.asked
        deaf = asked == Channel.asked and not self._busy() and self._some_wait()
        self._deaf = self._deaf + 1 if deaf else 0
        return self._deaf >= LOOKS

    def _some_wait(self) -> bool:
        try:
            return self._waiting() > 0
        except LedgerUnavailable:
            return False

    def stop(self) -> None:
        self._stopped.set()


def waiting_in(redis: Redis, queues: Sequence[str]) -> Callable[[], int]:
    """Counts the messages on these queues; raises LedgerUnavailable also where Redis takes no writes, since then
    nobody can be expected to hear."""

    @translated
    def count() -> int:
        redis.set(f"{PREFIX}watchdog", "", ex=60)
        return sum(int(redis.llen(queue)) for queue in queues)

    return count


def end_process() -> None:
    """At once: nothing is in work, and what is deaf may not hear a signal either."""
    logging.shutdown()
    os._exit(3)
