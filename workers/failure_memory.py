"""What failed before, so that a file whose failure is final is tried again only when it has changed.

| key (all begin with `imagefleet:`) | type | what | until |
|---|---|---|---|
| `failed:LIBRARY:FINGERPRINT:T` | hash | image id -> when, job, state of the file, digest of reason: 26 bytes | below |
| `failed:LIBRARY:FINGERPRINT:T:reasons` | hash | digest -> class and reason, JSON | as the one above |

T counts periods of IMAGEFLEET_FAILURE_DAYS. What is written in one period is looked up during that and the next, then
Redis drops it, so that this memory is bounded: about 100 bytes for an image. It is written by the script that accounts
for a batch, or not at all. Lost with Redis, it costs one more try of each file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from redis import Redis

from workers.contract import Failure, Image
from workers.failure_policy import POLICIES
from workers.leases import Notes
from workers.ledger import DAY, Scripts, translated
from workers.settings import Settings
from workers.store import image_id

#: Characters of a reason that are kept.
REASON_MAX = 500
#: Bytes of a digest; a collision in 2^64 would show another reason, or leave a changed file untried.
_DIGEST = 8


@dataclass(frozen=True, slots=True)
class Remembered:
    """A failure of an earlier job."""

    failure: Failure
    job: str
    #: Seconds since the epoch, by Redis' clock.
    when: int
    #: The file and the limits on images are as they were.
    same: bool

    @property
    def stands(self) -> bool:
        """Whether trying again would end in the same."""
        return self.same and POLICIES[self.failure.kind].final


class FailureMemory:
    """The failures of one library and one fingerprint. Raises LedgerUnavailable if Redis is away."""

    def __init__(self, redis: Redis, library: str, fingerprint: str, *, limits: str = "", days: int = 30) -> None:
        """`limits`: what decides beside the file whether an image can be indexed; another text is tried again."""
        self._script = Scripts(redis)
        self._place = f"{library}:{fingerprint}"
        self._limits = limits
        self._period = days * DAY

    @classmethod
    def from_settings(cls, settings: Settings, redis: Redis, library: str, fingerprint: str) -> FailureMemory:
        """Limits are those that a picture can run into."""
        limits = (*settings.picture_limits, settings.batch_seconds)
        return cls(redis, library, fingerprint, limits=repr(limits), days=settings.failure_days)

    @translated
    def recall(self, images: Sequence[Image]) -> Mapping[str, Remembered]:
        """What is remembered of these, by path; one call however many there are."""
        if not images:
            return {}
        reply = self._script("RECALL", self._place, self._period, *(_key(image.path) for image in images))
        pairs = zip(reply[::2], reply[1::2], strict=True)
        found = (self._remembered(image, *pair) for image, pair in zip(images, pairs, strict=True))
        return {item.failure.path: item for item in found if item}

    def notes(self, job: str, failed: Sequence[tuple[Image, Failure]], mended: Sequence[str] = ()) -> Notes:
        """What to write for images that failed as they are here, and for paths that are indexed now. Classes that are
        not to be remembered are left out."""
        lasting = [(image, failure) for image, failure in failed if POLICIES[failure.kind].remembered]
        parts = [part for image, failure in lasting for part in self._entry(job, image, failure)]
        return Notes(self._place, self._period, parts, [_key(path) for path in mended])

    def _entry(self, job: str, image: Image, failure: Failure) -> tuple[bytes, bytes, bytes, str]:
        reason = json.dumps({"kind": failure.kind, "reason": failure.reason[:REASON_MAX]})
        digest = _digest(reason)
        return _key(image.path), bytes.fromhex(job) + self._state(image) + digest, digest, reason

    def _state(self, image: Image) -> bytes:
        return _digest(f"{image.size} {image.mtime_ns} {self._limits}")

    def _remembered(self, image: Image, value: bytes | None, reason: bytes | None) -> Remembered | None:
        if value is None or reason is None:
            return None
        try:
            failure = Failure(path=image.path, **json.loads(reason))
        except (TypeError, ValueError):  # of another version: one more try costs less than a batch
            return None
        when, job, state = int.from_bytes(value[:4], "big"), value[4:10].hex(), value[10 : 10 + _DIGEST]
        return Remembered(failure, job, when, same=state == self._state(image))


def _key(path: str) -> bytes:
    return bytes.fromhex(image_id(path))


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=_DIGEST).digest()
