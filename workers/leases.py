"""Batches in flight: who works on what until when, and what becomes of a batch whose worker died.

A batch has a lease from the moment it is queued until it is accounted for. Its holder renews the lease as it works; a
lease that lapses is found by the reconciler, which sends the batch again. So it does not matter which message or which
process is lost (FACTS, Celery 1 to 3), as long as Redis keeps its data.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from redis import Redis

from workers.blob import pack, unpack
from workers.contract import BatchMessage, Failure, Image
from workers.ledger import PREFIX, Scripts, encode_failure, translated
from workers.settings import Settings

#: Why a delivered batch is not to be worked on: accounted for or forgotten, in work elsewhere, or cancelled.
Refusal = Literal["gone", "held", "cancelled"]


@dataclass(frozen=True, slots=True)
class Begun:
    """A batch that is now ours."""

    library: str
    model: str
    images: list[Image]
    #: 1 for the first time that anybody began this batch.
    attempt: int
    #: Whether what failed before is to be tried again though it has not changed.
    retry_failed: bool = False


@dataclass(frozen=True, slots=True)
class Revived:
    """A batch that is to be sent again."""

    model: str
    message: BatchMessage


@dataclass(frozen=True, slots=True)
class Notes:
    """What a batch leaves in the failure memory (`workers.failure_memory`), as the script takes it."""

    #: `LIBRARY:FINGERPRINT`; empty for nothing.
    place: str = ""
    #: Seconds of a period.
    period: int = 1
    #: Four for each image: id, job with state and digest of the reason, digest, reason.
    failed: Sequence[bytes | str] = field(default=())
    #: Ids.
    mended: Sequence[bytes] = field(default=())


class Leases:
    """Leases of one holder. Every call raises LedgerUnavailable if Redis is away."""

    def __init__(self, redis: Redis, holder: str, *, seconds: int = 30) -> None:
        """`holder`: unique per process; `seconds`: that a lease lasts without being renewed."""
        self._redis: Any = redis
        self._script = Scripts(redis)
        self.holder = holder
        self.seconds = seconds
        self._patience = 2 * seconds

    @classmethod
    def from_settings(cls, settings: Settings, redis: Redis, holder: str) -> Leases:
        return cls(redis, holder, seconds=settings.lease_seconds)

    @translated
    def begin(self, message: BatchMessage, *, redelivered: bool) -> Begun | Refusal:
        """Take the batch, or hear why not. A second delivery is refused while the holder of the first lives, except
        where the broker says that it gave the message back (`redelivered`): then that holder is dead."""
        reply = self._script("BEGIN", message.job, message.batch, self.holder, self.seconds, int(redelivered))
        verdict = reply[0].decode()
        if verdict != "begun":
            return cast(Refusal, verdict)
        attempt, library, model, blob, retry_failed = reply[1:]
        return Begun(library.decode(), model.decode(), unpack(blob), int(attempt), retry_failed == b"1")

    @translated
    def renew(self, message: BatchMessage) -> bool:
        """Say that the batch is being worked on; False if somebody else has it now."""
        return bool(self._script("RENEW", message.job, message.batch, self.holder, self.seconds))

    @translated
    def commit(
        self,
        message: BatchMessage,
        indexed: int,
        unchanged: int,
        failures: Sequence[Failure],
        *,
        failed_before: int = 0,
        notes: Notes = Notes(),
    ) -> bool:
        """Account for the batch, once: False if that was done before, and then nothing is counted or noted.

        `failed_before`: of the failures, those that are remembered and were not tried again.
        """
        counts = (indexed, unchanged, failed_before, len(failures))
        pairs = [part for failure in failures for part in encode_failure(failure)]
        memory = (notes.place, notes.period, len(notes.failed))
        return bool(
            self._script("COMMIT", message.job, message.batch, *counts, *memory, *pairs, *notes.failed, *notes.mended)
        )

    @translated
    def release(self, message: BatchMessage, *, count_attempt: bool) -> None:
        """Give the batch back; the reconciler sends it again at once."""
        self._script("RELEASE", message.job, message.batch, self.holder, int(not count_attempt))

    @translated
    def split(self, message: BatchMessage, images: Sequence[Image], *, attempts: int = 0) -> list[BatchMessage]:
        """Replace the batch by its halves, to be sent by the caller; empty if the batch was accounted for before.

        A half counts as begun `attempts` times already, since one of the two holds the culprit; an image alone does
        not, since it is about to be named.
        """
        middle = len(images) // 2
        halves = images[:middle], images[middle:]
        blobs = [part for half in halves for part in (pack(half), len(half), attempts if len(half) > 1 else 0)]
        numbers = self._script("SPLIT", message.job, message.batch, self._patience, *blobs)
        pairs = zip(numbers, halves, strict=False)
        return [BatchMessage(job=message.job, batch=int(number), count=len(half)) for number, half in pairs]

    @translated
    def revive(self, limit: int = 500) -> list[Revived]:
        """Up to `limit` batches whose lease has lapsed, each leased anew, to be sent by the caller."""
        found: list[Revived] = []
        for member in self._script("LAPSED", limit, self._patience):
            job, _, number = member.decode(errors="replace").partition(":")
            reply = self._script("REVIVE", job, number, self._patience)
            if reply:
                with suppress(ValueError):  # an entry that nobody of this version wrote must not hold up the others
                    message = BatchMessage(job=job, batch=int(number), count=int(reply[1]))
                    found.append(Revived(model=reply[0].decode(), message=message))
        return found

    @translated
    def lead(self, seconds: int) -> bool:
        """Whether this process is the one that looks for lapsed leases during the next `seconds`."""
        key = f"{PREFIX}reconciler"
        if self._redis.set(key, self.holder, nx=True, ex=seconds):
            return True
        if self._redis.get(key) != self.holder.encode():
            return False
        self._redis.expire(key, seconds)
        return True
