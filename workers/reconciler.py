"""Sends batches again whose lease has lapsed: a thread in the main process of every worker, one active at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from kombu.exceptions import OperationalError

from workers.contract import BatchMessage
from workers.leases import Leases
from workers.ledger import LedgerUnavailable

logger = logging.getLogger(__name__)

#: Seconds between two looks.
PERIOD = 2.0
#: Seconds after which another worker takes over from a reconciler that does not look any more.
TERM = 10


class Reconciler(threading.Thread):
    """Looks for lapsed leases until it is stopped; Redis being away is waited out."""

    def __init__(self, leases: Leases, send: Callable[[str, BatchMessage], None]) -> None:
        super().__init__(name="reconciler", daemon=True)
        self._leases = leases
        self._send = send
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(PERIOD):
            try:
                self.look()
            except (LedgerUnavailable, OperationalError) as error:
                logger.warning("Cannot look for lost batches now: %s", error)
            except Exception:  # the thread must outlive whatever a broken connection or a broken entry brings
                logger.exception("Cannot look for lost batches now")

    def look(self) -> int:
        """One look; returns how many batches were sent again."""
        if not self._leases.lead(TERM):
            return 0
        revived = self._leases.revive()
        for item in revived:
            logger.warning("Batch %d of job %s is sent again: its lease lapsed", item.message.batch, item.message.job)
            self._send(item.model, item.message)
        return len(revived)

    def stop(self) -> None:
        self._stopped.set()
