"""Celery's Redis transport, made to outlive whatever lies on a queue.

kombu hands a message on as it comes out of Redis; one that is no envelope raises far up in the event loop and ends the
whole worker, and the next one that takes it. Here such a message is refused: said once in the log, and gone. If it was
one of ours, its batch's lease brings it back.
"""

from __future__ import annotations

import logging
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

#: What is the connection's fault: Celery closes it and connects anew.
_CONNECTION = (RedisError, OSError)


class Refused(Exception):
    """A message is not of a kind that any producer sends."""


class Channel(redis.Channel):
    """A channel that passes over what is not JSON."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (Empty, *_CONNECTION):
            raise
        except Exception as error:  # of the parser: which ones it raises depends on the bytes
            _say_refused("a queue", error)
            return True


class Transport(redis.Transport):
    """A transport that passes over what is no message."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            _check(message)
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]
        except _CONNECTION:
            raise
        except Exception as error:  # Celery trusts the fields of a message; anything may come of wrong ones
            _say_refused(queue, error)
            self._take_off(message)

    def _take_off(self, message: Any) -> None:
        """Acknowledge it if it was noted as delivered, or it would come back for ever."""
        tag = message.get("properties", {}).get("delivery_tag") if isinstance(message, dict) else None
        for channel in self.channels:
            if isinstance(tag, str) and tag in channel.qos._delivered:
                channel.basic_ack(tag)


def use() -> None:
    """Let every connection of this process to a `redis://` or `rediss://` broker go by way of this transport."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:Transport"))


def _check(message: Any) -> None:
    """Raises Refused for what would do harm before Celery looks at it."""
    if not isinstance(message, dict) or not isinstance(message.get("properties"), dict):
        raise Refused("it is no envelope")
    if (message.get("headers") or {}).get("compression"):
        raise Refused("it is compressed, which nothing here does; unpacked it may fill the memory")


def _say_refused(queue: str, error: Exception) -> None:
    logger.error("A message on %s was refused: %s: %s", queue, type(error).__name__, str(error)[:200])
