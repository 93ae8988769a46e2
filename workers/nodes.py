"""Worker nodes that live: each says in Redis every second what it serves. `python -m workers.nodes NAME` asks for one.

Nobody has to send a worker anything to learn that it is there, so its remote control can be off.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from redis import Redis

from workers.ledger import PREFIX, LedgerUnavailable, connect, translated
from workers.settings import SettingsError, load

#: Seconds between two words of a node.
PERIOD = 1.0
#: Seconds after which a node is believed to live no more.
LIFE = 10.0


@dataclass(frozen=True, slots=True)
class Node:
    """What a worker node says of itself."""

    #: `index@HOST`
    name: str
    #: Of its main process.
    pid: int
    #: Processes that hold their models.
    processes: int
    queues: Sequence[str]


class Nodes:
    """The sorted set `nodes`: a node as JSON -> when it said so, Redis' seconds. Raises LedgerUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    @translated
    def announce(self, node: Node) -> None:
        now = self._now()
        with self._redis.pipeline() as pipe:
            pipe.zadd(_KEY, {json.dumps(asdict(node)): now})
            pipe.zremrangebyscore(_KEY, "-inf", now - LIFE)
            pipe.execute()

    @translated
    def withdraw(self, node: Node) -> None:
        self._redis.zrem(_KEY, json.dumps(asdict(node)))

    @translated
    def alive(self) -> dict[str, Node]:
        """By name; of each the last word."""
        found = self._redis.zrangebyscore(_KEY, self._now() - LIFE, "+inf")
        return {node.name: node for node in map(_read, found) if node}

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1e6)


class Heartbeat(threading.Thread):
    """Announces a node for as long as its event loop turns: `beat` is called by that loop."""

    def __init__(self, nodes: Nodes, look: Callable[[], Node]) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._nodes = nodes
        self._look = look
        self._last_beat = time.monotonic()
        self._stopped = threading.Event()

    def beat(self) -> None:
        self._last_beat = time.monotonic()

    def run(self) -> None:
        while not self._stopped.wait(PERIOD):
            if time.monotonic() - self._last_beat < LIFE:
                self._try(lambda: self._nodes.announce(self._look()))
        self._try(lambda: self._nodes.withdraw(self._look()))

    def stop(self) -> None:
        """Let nobody wait for this node any more; returns at once."""
        self._stopped.set()

    @staticmethod
    def _try(call: Callable[[], None]) -> None:
        # The rest of the worker says that Redis is away; this thread has to outlive it.
        with suppress(Exception):
            call()


_KEY = PREFIX + "nodes"


def _read(entry: bytes) -> Node | None:
    """None for what no node said."""
    try:
        return Node(**json.loads(entry))
    except (TypeError, ValueError):
        return None


def main(words: Sequence[str]) -> str:
    """Empty if the one node that is named lives; else why not."""
    if len(words) != 1:
        return "Name one node, for example `python -m workers.nodes index@HOST`."
    try:
        alive = Nodes(connect(load().redis_url.get_secret_value())).alive()
    except (LedgerUnavailable, SettingsError) as error:
        return str(error)
    if words[0] in alive:
        return ""
    return f"No node {words[0]} lives; alive are: {', '.join(sorted(alive)) or 'none'}."


if __name__ == "__main__":
    reason = main(sys.argv[1:])
    sys.exit(f"imagefleet: {reason}" if reason else 0)
