"""The life of one delivered batch: take it, do it, account for it; or wait, give it back, split it.

The message may be acknowledged whatever happens here, since the batch's lease outlives it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from models.errors import ModelError
from workers.blob import BlobRefused
from workers.contract import BatchMessage, Failure, FailureKind, Image
from workers.image_root import RootUnavailable
from workers.leases import Begun, Leases, Notes
from workers.ledger import Ledger, LedgerUnavailable
from workers.pipeline import BatchResult
from workers.store import StoreError

T = TypeVar("T")
logger = logging.getLogger(__name__)

#: Seconds between two looks at something that is away: the first, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
#: Times that a sick device is looked at before another process, with a session of its own, tries its luck.
DEVICE_LOOKS = 6
#: Seconds that it may take until that process has its session.
RESTART = 20.0
#: What is not an image's fault and may pass.
_PASSING = (StoreError, RootUnavailable, LedgerUnavailable)


class BatchLost(Exception):
    """Another process has taken this batch over; what was done here is dropped."""


class GivenBack(Exception):
    """What the batch needs stayed away for too long; the text says what it was."""


class Waiter:
    """Patience for one batch: repeats a call until it works, keeps the lease meanwhile, and gives up at a deadline."""

    def __init__(self, ledger: Ledger, beat: Callable[[], None], seconds: float) -> None:
        """`beat` renews the lease; `seconds` from now the waiting ends in GivenBack."""
        self._ledger = ledger
        self._beat = beat
        self._deadline = time.monotonic() + seconds
        self._told = ""

    def __call__(self, call: Callable[[], T]) -> T:
        pause = FIRST_PAUSE
        while True:
            try:
                return call()
            except _PASSING as error:
                if time.monotonic() + pause > self._deadline:
                    raise GivenBack(str(error)) from error
                self._tell(str(error), pause)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _tell(self, reason: str, pause: float) -> None:
        if reason != self._told:
            logger.warning("Waiting: %s", reason)
            self._told = reason
        try:
            self._ledger.report_waiting(reason, 3 * pause)
            self._beat()
        except LedgerUnavailable:
            return  # it is what is being waited for, or will be told next time


#: What to remember of these failures, each with its file as it was, and of paths that failed before and do no more.
Remember = Callable[[BatchMessage, Begun, Sequence[tuple[Image, Failure]], Sequence[str]], Notes]


def nothing(*_: object) -> Notes:
    """For those who remember no failures."""
    return Notes()


@dataclass(frozen=True, slots=True)
class Context:
    """What a batch is worked on with; one per process."""

    leases: Leases
    ledger: Ledger
    #: The pipeline, given a way to wait and a sign of life to give.
    work: Callable[[Begun, Waiter, Callable[[], None]], BatchResult]
    #: Put a batch on the queue of a model.
    send: Callable[[str, BatchMessage], None]
    max_attempts: int
    #: Seconds that waiting may take, all in all.
    patience: float
    remember: Remember = nothing
    #: Whether a model embeds a picture that is known to be good; asked after a session failed.
    is_sound: Callable[[str], bool] = lambda model: True
    #: End this process; another one is started in its place, with a session of its own.
    end: Callable[[], None] = lambda: None


def run(message: BatchMessage, context: Context, *, redelivered: bool) -> str:
    """Take the batch through its life; returns what became of it, for the log and Flower."""
    leases = context.leases

    def renew() -> None:
        if not leases.renew(message):
            raise BatchLost

    waiter = Waiter(context.ledger, renew, context.patience)
    try:
        begun = waiter(lambda: leases.begin(message, redelivered=redelivered))
        if not isinstance(begun, Begun):
            return begun
        if begun.attempt > context.max_attempts:
            return _narrow_down(message, begun, context, "crashed", _CRASHED.format(context.max_attempts))
        try:
            # The sign of life waits too: a Redis that is away must not use up the attempts of a batch.
            result = context.work(begun, waiter, lambda: waiter(renew))
        except SoftTimeLimitExceeded:
            return _narrow_down(message, begun, context, "timeout", _TOO_SLOW)
        except ModelError as error:
            return _session_failed(message, begun, context, error)
        first = waiter(lambda: _commit(message, begun, result, context))
    except BatchLost:
        return "taken over by another worker"
    except GivenBack as reason:
        leases.release(message, count_attempt=False)
        return f"given back: {reason}"
    except BlobRefused as error:
        return _write_off(message, leases, str(error))
    return _summary(result) if first else "was accounted for before"


def _session_failed(message: BatchMessage, begun: Begun, context: Context, error: ModelError) -> str:
    """An image is to blame, which counts as an attempt; or the device, which fails no image."""
    logger.error("Batch %d of job %s: %s", message.batch, message.job, error)
    sound = context.is_sound(begun.model)
    context.leases.release(message, count_attempt=sound)
    if not sound and not _recovers(begun.model, context):
        context.end()
    return f"given back: {error}"


def _recovers(model: str, context: Context) -> bool:
    """Take nothing while the device is sick; False if it was so for long, and only a fresh session may help."""
    reason = f"The device fails on a picture that is good for model {model!r}; see the log of the worker."
    logger.critical("Waiting: %s", reason)
    pause = FIRST_PAUSE
    try:
        for _ in range(DEVICE_LOOKS):
            with suppress(LedgerUnavailable):
                context.ledger.report_waiting(reason, 2 * pause + RESTART)
            time.sleep(pause)
            if context.is_sound(model):
                return True
            pause = min(2 * pause, LONGEST_PAUSE)
    except SoftTimeLimitExceeded:
        return False
    return False


def _commit(message: BatchMessage, begun: Begun, result: BatchResult, context: Context) -> bool:
    notes = context.remember(message, begun, result.failed_now, result.mended)
    counts = (result.indexed, result.unchanged, result.failures)
    return context.leases.commit(message, *counts, failed_before=result.failed_before, notes=notes)


def _narrow_down(message: BatchMessage, begun: Begun, context: Context, kind: FailureKind, reason: str) -> str:
    """Something in this batch stops whoever works on it: find it by halves, then name it."""
    if len(begun.images) == 1:
        failure = Failure(path=begun.images[0].path, kind=kind, reason=reason)
        notes = context.remember(message, begun, [(begun.images[0], failure)], [])
        context.leases.commit(message, 0, 0, [failure], notes=notes)
        return f"failed: {reason}"
    for half in context.leases.split(message, begun.images, attempts=context.max_attempts - 1):
        context.send(begun.model, half)
    return "split in halves"


def _write_off(message: BatchMessage, leases: Leases, reason: str) -> str:
    """A list of images that cannot be read will not be readable next time: the job must not wait for it."""
    failure = Failure(path=f"(batch {message.batch})", kind="refused", reason=f"{reason} Index the folder again.")
    leases.commit(message, 0, 0, [failure] * message.count)
    return f"failed: {reason}"


_CRASHED = "The process that worked on this image ended {} times without a result; see the log of the workers."
_TOO_SLOW = "This image alone takes longer than IMAGEFLEET_BATCH_SECONDS; make it smaller or raise the setting."


def _summary(result: BatchResult) -> str:
    return f"{result.indexed} indexed, {result.unchanged} unchanged, {len(result.failures)} failed"
