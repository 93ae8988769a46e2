"""Feeding jobs: images go from a source into the ledger and onto the queues, no faster than workers take them."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from producer.errors import BrokerUnavailable, NothingFound
from producer.shown import amounts
from producer.sources import Source, batches
from workers.contract import BatchMessage, Image
from workers.job_state import JobSpec
from workers.ledger import Ledger, LedgerUnavailable
from workers.settings import Settings

#: Seconds between two signs of life; the ledger believes in a producer for several of them.
HEARTBEAT = 5.0
#: Seconds between two looks whether there is room for another batch.
ROOM_CHECK = 0.2
#: Seconds that Redis may be away or full in the middle of a walk.
PATIENCE = 60.0
#: Seconds between two attempts while it is.
RETRY_PAUSE = 1.0

T = TypeVar("T")
#: Puts one batch on the queue of a model.
Send = Callable[[str, BatchMessage], None]
#: Hears the ids of new jobs, in the order of the models.
Started = Callable[[Sequence[str]], None]


class Feeder:
    """Walks a source once and feeds one job per model. Jobs are made when the first image is found."""

    def __init__(self, ledger: Ledger, send: Send, settings: Settings) -> None:
        self._ledger = ledger
        self._send = send
        self._settings = settings
        #: Batches that each job may open before it is looked at again; what is open only becomes less meanwhile.
        self._room: dict[str, int] = {}

    def feed(self, source: Source, specs: Sequence[JobSpec], started: Started | None = None) -> list[str]:
        """Queue all images of the source for each of the jobs; returns when they are queued, not when they are indexed.

        Raises NothingFound if there is no image, BrokerUnavailable if Redis stays away. Whatever stops it, the jobs are
        closed as interrupted and what was queued is worked on.
        """
        jobs: list[str] = []
        whole = False
        try:
            with self._signs_of_life(jobs):
                self._queue_all(source, specs, jobs, started)
            whole = True
        finally:
            self._close(jobs, source, whole)
        if not jobs:
            raise nothing_found(source)
        return jobs

    def _queue_all(self, source: Source, specs: Sequence[JobSpec], jobs: list[str], started: Started | None) -> None:
        open_jobs: dict[str, str] = {}
        for batch in batches(source, self._settings.batch_size):
            if not jobs:
                jobs += [patiently(partial(self._ledger.create_job, spec)) for spec in specs]
                open_jobs = {job: spec.model for job, spec in zip(jobs, specs, strict=True)}
                if started:
                    started(jobs)
            cancelled = [job for job, model in open_jobs.items() if not self._queue(job, model, batch)]
            for job in cancelled:
                del open_jobs[job]
            if not open_jobs:
                return

    def _queue(self, job: str, model: str, images: Sequence[Image]) -> bool:
        """Queue one batch when there is room; False if the job was cancelled."""
        self._wait_for_room(job)
        number = patiently(partial(self._ledger.open_batch, job, images, uuid.uuid4().hex))
        if number is None:
            return False
        message = BatchMessage(job=job, batch=number, count=len(images))
        patiently(partial(self._send, model, message))
        return True

    def _wait_for_room(self, job: str) -> None:
        while self._room.get(job, 0) <= 0:
            self._room[job] = self._settings.max_open_batches - patiently(partial(self._ledger.open_batches, job))
            if self._room[job] <= 0:
                time.sleep(ROOM_CHECK)
        self._room[job] -= 1

    def _close(self, jobs: Sequence[str], source: Source, whole: bool) -> None:
        for job in jobs:
            if whole:
                patiently(partial(self._ledger.close_walk, job, source.skipped.reasons, interrupted=False))
            else:
                with suppress(LedgerUnavailable):  # the reason for stopping is the one to be told
                    self._ledger.close_walk(job, source.skipped.reasons, interrupted=True)

    @contextmanager
    def _signs_of_life(self, jobs: Sequence[str]) -> Iterator[None]:
        """A thread of its own, since a slow disk or a pipe can keep the walk waiting."""
        stop = threading.Event()
        thread = threading.Thread(target=self._touch_until, args=(stop, jobs), name="signs-of-life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=1.0)  # it may be waiting for a Redis that is away

    def _touch_until(self, stop: threading.Event, jobs: Sequence[str]) -> None:
        while not stop.wait(HEARTBEAT):
            with suppress(LedgerUnavailable):
                for job in tuple(jobs):
                    self._ledger.touch(job)


def patiently(call: Callable[[], T]) -> T:
    """Call again while Redis is away or full, for up to PATIENCE seconds.

    A batch whose number got lost on the way keeps it, by its ticket; one that was opened and not sent is found by its
    lease.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except (LedgerUnavailable, BrokerUnavailable):
            if time.monotonic() > deadline:
                raise
        time.sleep(RETRY_PAUSE)


def nothing_found(source: Source) -> NothingFound:
    passed = amounts(source.skipped.reasons)
    return NothingFound(
        f"There are no pictures in {source.where}; {f'passed over: {passed}' if passed else 'it is empty'}."
    )
