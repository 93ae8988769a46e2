"""The ledger: what is known of every job, in Redis. Exact under redelivery, since a batch is counted by one bit.

| key (all begin with `imagefleet:`) | type | what | until |
|---|---|---|---|
| `jobs` | sorted set | job by time of creation | its job is forgotten |
| `job:ID` | hash | request, counters, times; see `workers.job_state` | `keep` seconds after the last change |
| `job:ID:done` | bitmap | one bit per batch that is accounted for | as its job |
| `job:ID:failures` | hash | path -> class and reason, JSON | as its job |
| `job:ID:batch:N` | hash | images (compressed), count, attempts, holder | the batch is accounted for |
| `failed:...` | hashes | failures that outlive their job, by image; see `workers.failure_memory` | two periods |
| `leases` | sorted set | `ID:N` -> deadline, Redis' seconds since the epoch | the batch is accounted for |
| `waiting` | sorted set | what workers wait for -> time until which that is believed | a worker's next look |
| `nodes` | sorted set | worker node -> when it last said that it lives; see `workers.nodes` | a few seconds |
| `workers`, `worker:...` | sorted set, strings | processes and their figures; see `workers.presence` | 30 seconds |
| `reconciler` | string | who looks for lapsed leases now | a few seconds |
| `again:TASK` | string | times that a request came back without an answer | as long as its answer would be kept |
| `watchdog` | string | empty; that Redis takes writes, for `workers.watchdog` | a minute |

Batches in flight are in `workers.leases`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from os import fsdecode, fsencode
from typing import Any, ParamSpec, TypeVar

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.retry import Retry

from workers import ledger_scripts as lua
from workers.blob import BlobRefused, pack, unpack
from workers.contract import Failure, Image
from workers.job_state import JobSpec, JobState, read_state
from workers.settings import Settings

#: Prefix of all keys; those of Celery's queues are named by the queues.
PREFIX = "imagefleet:"
#: Seconds that a request to Redis may take.
SOCKET_TIMEOUT = 10.0
#: Seconds in a day.
DAY = 86_400

P = ParamSpec("P")
R = TypeVar("R")


class LedgerUnavailable(Exception):
    """Redis does not answer, or not now; the text says where and what to do."""


def translated(call: Callable[P, R]) -> Callable[P, R]:
    """Let no exception of the driver leave: RedisError becomes LedgerUnavailable."""

    @wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except AuthenticationError as error:
            raise LedgerUnavailable(f"Redis refuses the password ({error}); correct IMAGEFLEET_REDIS_URL.") from error
        except ResponseError as error:  # full disk, full memory, read-only replica, still loading
            raise LedgerUnavailable(
                f"Redis refuses to work ({error}); see to its disk, its memory and its log."
            ) from error
        except RedisError as error:
            raise LedgerUnavailable(
                f"Redis does not answer ({error}); start it with `imagefleet up`, or correct IMAGEFLEET_REDIS_URL."
            ) from error

    return wrapper


@translated
def connect(url: str) -> Redis:
    """A client that fails within SOCKET_TIMEOUT and sends nothing twice; connects at the first command."""
    try:
        return Redis.from_url(
            url,
            socket_timeout=SOCKET_TIMEOUT,
            socket_connect_timeout=5.0,
            socket_keepalive=True,
            health_check_interval=15,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise LedgerUnavailable(f"IMAGEFLEET_REDIS_URL is no Redis address: {error}.") from None


class Scripts:
    """The Lua scripts on one connection, called by name with plain arguments."""

    def __init__(self, redis: Redis) -> None:
        names = (name for name in vars(lua) if name.isupper() and name != "PRELUDE")
        self._scripts = {name: redis.register_script(lua.PRELUDE + getattr(lua, name)) for name in names}

    def __call__(self, name: str, *args: str | int | float | bytes) -> Any:
        return self._scripts[name](args=list(args))


class Ledger:
    """Jobs: make, read, cancel. Every call raises LedgerUnavailable within SOCKET_TIMEOUT if Redis is away."""

    def __init__(self, redis: Redis, *, keep: int = 30 * DAY, patience: int = 60) -> None:
        """`keep`: seconds that a job is remembered; `patience`: that a queued batch may lie before it is looked for."""
        self._redis: Any = redis  # the driver's types name the replies of every protocol at once
        self._script = Scripts(redis)
        self._keep = keep
        self._patience = patience

    @classmethod
    def from_settings(cls, settings: Settings) -> Ledger:
        redis = connect(settings.redis_url.get_secret_value())
        return cls(redis, keep=settings.job_days * DAY, patience=2 * settings.lease_seconds)

    @translated
    def ping(self) -> None:
        self._redis.ping()

    def close(self) -> None:
        """Give back the connections."""
        self._redis.close()

    @translated
    def create_job(self, spec: JobSpec) -> str:
        """Write a new job and return its id, 12 hex digits."""
        job = uuid.uuid4().hex[:12]
        fields: dict[str, str | int] = {
            "library": spec.library,
            "model": spec.model,
            "folders": json.dumps(spec.folders),
            "retry_of": spec.retry_of or "",
            "retry_failed": int(spec.retry_failed),
            "keep": self._keep,
        }
        self._script("CREATE", job, *(part for pair in fields.items() for part in pair))
        return job

    @translated
    def open_batch(self, job: str, images: Sequence[Image], ticket: str = "") -> int | None:
        """Count the images as queued and lease the batch; its number, or None if the job is cancelled or gone.

        Whoever calls again because the answer was lost gives the same `ticket`, any text, and gets the same batch.
        """
        number = int(self._script("OPEN", job, pack(images), len(images), self._patience, ticket))
        return number if number >= 0 else None

    @translated
    def touch(self, job: str) -> None:
        """Say that the producer of this job lives."""
        self._script("TOUCH", job)

    @translated
    def close_walk(self, job: str, skipped: Mapping[str, int], interrupted: bool = False) -> None:
        """Say that nothing more will be queued; the job ends with its last batch."""
        self._script("CLOSE_WALK", job, json.dumps(dict(skipped)), int(interrupted))

    @translated
    def job(self, job: str) -> JobState | None:
        fields = self._redis.hgetall(f"{PREFIX}job:{job}")
        return read_state(job, fields, self._waiting(), self._now()) if b"library" in fields else None

    @translated
    def jobs(self, limit: int = 20) -> list[JobState]:
        """The newest first; ids of forgotten jobs are dropped on the way."""
        found: list[JobState] = []
        for raw in self._redis.zrevrange(f"{PREFIX}jobs", 0, -1):
            state = self.job(raw.decode())
            if state is None:
                self._redis.zrem(f"{PREFIX}jobs", raw)
            else:
                found.append(state)
            if len(found) == limit:
                break
        return found

    @translated
    def find_jobs(self, prefix: str) -> list[str]:
        """Ids of remembered jobs that begin with `prefix`, newest first."""
        ids = (raw.decode() for raw in self._redis.zrevrange(f"{PREFIX}jobs", 0, -1))
        return [job for job in ids if job.startswith(prefix) and self._redis.exists(f"{PREFIX}job:{job}")]

    @translated
    def failures(self, job: str) -> Iterator[Failure]:
        """The failed images of a job in no order; a few at a time, however many there are."""
        return self._failures(job)

    def _failures(self, job: str) -> Iterator[Failure]:
        cursor = 0
        while True:
            cursor, page = translated(self._redis.hscan)(f"{PREFIX}job:{job}:failures", cursor, count=500)
            for path, entry in page.items():
                with suppress(ValueError):
                    yield Failure(path=fsdecode(path), **json.loads(entry))
            if cursor == 0:
                return

    @translated
    def failure_of(self, job: str, path: str) -> Failure | None:
        """The failure of one image of a job."""
        entry = self._redis.hget(f"{PREFIX}job:{job}:failures", fsencode(path))
        with suppress(TypeError, ValueError):
            return Failure(path=path, **json.loads(entry))
        return None

    @translated
    def batch_with(self, job: str, path: str) -> int | None:
        """The batch of this job, queued or in work, that holds an image; reads the lists of all open batches."""
        for number in self._open_batches(job):
            blob = self._redis.hget(f"{PREFIX}job:{job}:batch:{number}", "images")
            with suppress(BlobRefused):
                if blob and any(image.path == path for image in unpack(blob)):
                    return int(number)
        return None

    @translated
    def cancel(self, job: str) -> bool:
        """Cancel what no worker is busy with; batches in work end by themselves. False if nothing is left to cancel."""
        if not self._script("CANCEL", job):
            return False
        numbers = list(self._open_batches(job))
        for start in range(0, len(numbers), 500):
            self._script("SWEEP", job, *numbers[start : start + 500])
        return True

    def _open_batches(self, job: str) -> Iterator[str]:
        leases = self._redis.zscan_iter(f"{PREFIX}leases", match=f"{job}:*", count=500)
        return (member.decode().partition(":")[2] for member, _ in leases)

    @translated
    def open_batches(self, job: str) -> int:
        """Batches of this job that are queued or in work."""
        return int(self._redis.hget(f"{PREFIX}job:{job}", "open") or 0)

    @translated
    def queue_length(self, queue: str) -> int:
        """Messages that wait in a queue, those in work not included."""
        return int(self._redis.llen(queue))

    @translated
    def report_waiting(self, reason: str, seconds: float) -> None:
        """Let `status` show what workers wait for, during the next `seconds`."""
        self._redis.zadd(f"{PREFIX}waiting", {reason: self._now() + seconds})

    @translated
    def count_again(self, task: str, seconds: int) -> int:
        """Times that this request was handed out again, this one included; forgotten after `seconds`."""
        pipe = self._redis.pipeline()
        pipe.incr(f"{PREFIX}again:{task}")
        pipe.expire(f"{PREFIX}again:{task}", seconds)
        return int(pipe.execute()[0])

    def _waiting(self) -> str | None:
        self._redis.zremrangebyscore(f"{PREFIX}waiting", "-inf", self._now())
        reasons = self._redis.zrevrange(f"{PREFIX}waiting", 0, 0)
        return reasons[0].decode() if reasons else None

    def _now(self) -> float:
        seconds, micros = self._redis.time()
        return float(seconds) + float(micros) / 1e6


def encode_failure(failure: Failure) -> tuple[bytes, str]:
    """Field and value of a failure in the hash of its job."""
    return fsencode(failure.path), json.dumps({"kind": failure.kind, "reason": failure.reason})
