"""Which worker processes live, and what each spends its time on.

| key (all begin with `imagefleet:`) | type | what | until |
|---|---|---|---|
| `workers` | sorted set | worker process -> time until which it is believed to live | it is read after that |
| `worker:HOST:PID:RANDOM` | string | what the process says of itself, JSON | 30 seconds after it said so |
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from redis import Redis

from workers.clocks import Clocks, Reading, Stage, Window
from workers.ledger import PREFIX, LedgerUnavailable, connect, translated
from workers.settings import Settings

logger = logging.getLogger(__name__)

#: Seconds between two signs of life of a process, and after the last one until it counts as gone.
BEAT, BELIEVED = 5.0, 30
#: Seconds that the figures look back.
WINDOW = 60.0
#: Seconds between two lines in the log of a process that has something to do.
LOGGED = 600.0


@dataclass(frozen=True, slots=True)
class Report:
    """One worker process: what it is, and what it did in the last `seconds`."""

    host: str
    pid: int
    models: Sequence[str]
    #: The execution provider that runs, as ONNX Runtime names it.
    provider: str
    decode_threads: int
    seconds: float
    #: Images per second.
    rate: float
    #: Share of the session's places that held a picture; none if it did not run.
    fill: float | None
    #: Of the time, by stage.
    shares: dict[Stage, float]

    def showing(self, reading: Reading) -> Report:
        """The same process with these figures."""
        figures = (reading.total, reading.rate, reading.fill, reading.shares)
        return Report(self.host, self.pid, self.models, self.provider, self.decode_threads, *figures)


class Presence:
    """The worker processes of a Redis. Every call raises LedgerUnavailable if it is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    @classmethod
    def from_settings(cls, settings: Settings) -> Presence:
        return cls(connect(settings.redis_url.get_secret_value()))

    @translated
    def tell(self, name: str, report: Report) -> None:
        """`name` is unique per process; tells until BELIEVED seconds from now."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(f"{PREFIX}worker:{name}", json.dumps(asdict(report)), ex=BELIEVED)
        pipe.zadd(f"{PREFIX}workers", {name: self._now() + BELIEVED})
        pipe.execute()

    @translated
    def leave(self, name: str) -> None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.delete(f"{PREFIX}worker:{name}")
        pipe.zrem(f"{PREFIX}workers", name)
        pipe.execute()

    @translated
    def living(self) -> list[Report]:
        """In the order of hosts and process ids; those that are long silent are forgotten on the way."""
        self._redis.zremrangebyscore(f"{PREFIX}workers", "-inf", self._now())
        names = self._redis.zrange(f"{PREFIX}workers", 0, -1)
        texts = self._redis.mget([f"{PREFIX}worker:".encode() + name for name in names]) if names else []
        found = []
        for text in texts:
            with suppress(TypeError, ValueError):  # gone a moment ago, or of another version
                found.append(Report(**json.loads(text)))
        return sorted(found, key=lambda report: (report.host, report.pid))

    def _now(self) -> float:
        return float(self._redis.time()[0])


class Reporter(threading.Thread):
    """Tells of this process while it lives, beside its work; a Redis that is away is told later."""

    def __init__(
        self,
        presence: Presence,
        name: str,
        me: Report,
        clocks: Clocks,
        say: Callable[[Report], str],
    ) -> None:
        """`me`: this process without figures; `say` makes the line of the log."""
        super().__init__(name="reporter", daemon=True)
        self._presence, self._who, self._me, self._say = presence, name, me, say
        self._shown = Window(clocks, WINDOW)
        self._clocks, self._logged = clocks, clocks.read()
        self._ended = threading.Event()

    def run(self) -> None:
        while True:
            with suppress(LedgerUnavailable):
                self._presence.tell(self._who, self._me.showing(self._shown.look()))
            if self._ended.wait(BEAT):
                return
            if self._clocks.read().since(self._logged).total >= LOGGED:
                self.log()

    def log(self) -> None:
        """What was done since the last line; nothing where that is nothing."""
        now = self._clocks.read()
        done, self._logged = now.since(self._logged), now
        if done.images or done.seconds["search"]:
            logger.info("%s", self._say(self._me.showing(done)))

    def close(self) -> None:
        """The last line, and word that this process is gone."""
        self._ended.set()
        self.join(2.0)
        self.log()
        with suppress(LedgerUnavailable):
            self._presence.leave(self._who)
