"""What a job asked for and how far it is: plain values, and how they are read from the hash of the job."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: Seconds without a sign of its producer after which a job that is still being queued counts as interrupted.
PRODUCER_SILENCE = 60.0


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What an index request asked for."""

    library: str
    model: str
    #: Relative to the image root, for show.
    folders: tuple[str, ...]
    retry_of: str | None = None
    #: Whether files that failed before are tried again though they have not changed.
    retry_failed: bool = False


Phase = Literal["queueing", "running", "interrupted", "cancelled", "finished"]


@dataclass(frozen=True, slots=True)
class JobState:
    """Everything that is counted of one job; times in seconds since the epoch, by Redis' clock."""

    id: str
    library: str
    model: str
    folders: tuple[str, ...]
    created: float
    #: First batch begun.
    started: float | None
    finished: float | None
    #: Last batch accounted for.
    changed: float | None
    #: The producer has queued all there is.
    walked: bool
    #: The producer was stopped before it had walked the whole folder.
    interrupted: bool
    #: Last sign of the producer.
    producer_seen: float
    #: Files that were not queued, by reason.
    skipped: Mapping[str, int]
    #: Images; the total once `walked` is true.
    queued: int
    batches: int
    open_batches: int
    indexed: int
    unchanged: int
    failed: int
    cancelled: int
    cancel_requested: bool
    #: What workers wait for at the moment, if anything.
    waiting: str | None
    retry_of: str | None
    #: Of the failed ones, those that failed before and were not tried again, since they have not changed.
    failed_before: int = 0
    #: Redis' clock when this was read.
    now: float = field(default_factory=time.time)

    @property
    def done(self) -> int:
        """Images that are accounted for."""
        return self.indexed + self.unchanged + self.failed + self.cancelled

    @property
    def phase(self) -> Phase:
        if self.cancel_requested:
            return "cancelled"
        if self.finished is not None:
            return "interrupted" if self.interrupted else "finished"
        if self.walked:
            return "running"
        return "interrupted" if self.now - self.producer_seen > PRODUCER_SILENCE else "queueing"


def read_state(job: str, raw: Mapping[bytes, bytes], waiting: str | None, now: float) -> JobState:
    """`raw`: all fields of the hash; `waiting`: what workers wait for; `now`: Redis' clock."""
    fields = {key.decode(): value.decode() for key, value in raw.items()}

    def integer(name: str) -> int:
        return int(fields.get(name) or 0)

    def moment(name: str) -> float | None:
        return float(fields[name]) if name in fields else None

    finished = moment("finished")
    return JobState(
        id=job,
        library=fields["library"],
        model=fields["model"],
        folders=tuple(json.loads(fields["folders"])),
        created=moment("created") or 0.0,
        started=moment("started"),
        finished=finished,
        changed=moment("changed"),
        walked=integer("walked") == 1,
        interrupted=integer("interrupted") == 1,
        producer_seen=moment("seen") or 0.0,
        skipped=json.loads(fields.get("skipped") or "{}"),
        queued=integer("queued"),
        batches=integer("batches"),
        open_batches=integer("open"),
        indexed=integer("indexed"),
        unchanged=integer("unchanged"),
        failed=integer("failed"),
        failed_before=integer("failed_before"),
        cancelled=integer("cancelled"),
        cancel_requested=integer("cancel") == 1,
        waiting=None if finished else waiting,
        retry_of=fields.get("retry_of") or None,
        now=now,
    )
