"""Which model answers for which name: a new version of a model is built beside the old one, and then switched to.

| key | type | what | until |
|---|---|---|---|
| `imagefleet:serving:LIBRARY` | hash | model -> who has answered for it, JSON, the newest last | for good |

The alias in Milvus is switched too, so that a search that knows nothing of this is refused instead of answered by
another version than it asked for.
"""

from __future__ import annotations

import json
from typing import Any

from redis import Redis

from workers.ledger import PREFIX, connect, translated
from workers.settings import Settings

#: Names that are remembered for each model, to go back to.
HISTORY = 10


class Serving:
    """The switches of all libraries. Every call raises LedgerUnavailable if Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    @classmethod
    def from_settings(cls, settings: Settings) -> Serving:
        return cls(connect(settings.redis_url.get_secret_value()))

    def answers_for(self, library: str, model: str) -> str:
        """The model that answers when `model` is asked for: itself until something else was switched to."""
        return self.history(library, model)[-1]

    @translated
    def history(self, library: str, model: str) -> list[str]:
        """Who has answered for `model`, the newest last; never empty."""
        names = self._redis.hget(self._key(library), model)
        return [model, *(str(name) for name in json.loads(names or "[]"))]

    @translated
    def switch(self, library: str, model: str, to: str) -> None:
        """Let `to` answer for `model`; going back to the name before takes the last step away."""
        names = self.history(library, model)
        names = names[:-1] if names[-2:-1] == [to] else [*names, to]
        self._redis.hset(self._key(library), model, json.dumps(names[1:][-HISTORY:]))

    def _key(self, library: str) -> str:
        return f"{PREFIX}serving:{library}"
