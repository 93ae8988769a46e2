"""Celery's Redis transport, made to outlive whatever lies on a queue, and whatever moment a connection breaks at.

Celery trusts the fields of a message, and kombu hands it on as it comes out of Redis. One that is no envelope raises
far up in the event loop and ends the whole worker, and then the next one that takes it; one with a wrong header may
take a place in the pool for good. Here a message on a queue of ours is checked before anybody believes it. What no
producer sends is refused: said once in the log, and gone. If it stood for a batch, the batch's lease brings that back.
"""

from __future__ import annotations

import logging
from queue import Empty
from typing import Annotated, Any, Literal

from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES, redis
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from redis.exceptions import RedisError

from workers.contract import index_queue, search_queue

logger = logging.getLogger(__name__)

#: What is the connection's fault: Celery closes it and connects anew.
_CONNECTION = (RedisError, OSError)
_OURS = (index_queue(""), search_queue(""))
#: Seconds; longer than any batch may take.
_DAY = 86_400
_Id = Annotated[str, Field(min_length=1, max_length=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Headers(_Strict):
    """What Celery reads before the task itself; no message of ours waits or expires."""

    id: _Id
    task: Annotated[str, StringConstraints(pattern=r"^imagefleet\.[a-z_]{1,40}$")]
    eta: None = None
    expires: None = None
    #: Hard and soft, seconds; a worker that sends a batch again puts its own there.
    timelimit: list[Annotated[float, Field(gt=0, le=_DAY)] | None] | None = Field(
        default=None, min_length=2, max_length=2
    )
    retries: Literal[0] = 0
    group: None = None
    #: Unpacked it may fill the memory.
    compression: None = None
    root_id: _Id | None = None
    parent_id: _Id | None = None
    origin: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None


class _DeliveryInfo(_Strict):
    exchange: str
    routing_key: str


class _Properties(_Strict):
    delivery_tag: _Id
    delivery_info: _DeliveryInfo
    body_encoding: Literal["base64"]
    correlation_id: _Id
    reply_to: str | None = None


class _Envelope(_Strict):
    body: str
    headers: _Headers
    properties: _Properties
    content_type: Literal["application/json"] = Field(alias="content-type")
    content_encoding: Literal["utf-8"] = Field(alias="content-encoding")


class Channel(redis.Channel):
    """A channel that passes over what is not JSON, counts how often it asked for messages, and keeps its client."""

    #: By all channels of this process.
    asked = 0
    _kept_client: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        """kombu makes a client for each message that it sends, which takes as long as sending it; one is enough."""
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[no-untyped-call]
        if self._kept_client is None or self._kept_client.connection_pool is not self.pool:
            self._kept_client = super()._create_client()  # type: ignore[no-untyped-call]
        return self._kept_client

    def _brpop_start(self, *args: Any, **options: Any) -> Any:
        Channel.asked += 1
        return super()._brpop_start(*args, **options)  # type: ignore[no-untyped-call]

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (Empty, *_CONNECTION):
            raise
        except Exception as error:  # of the parser: which ones it raises depends on the bytes
            _say_refused("a queue", type(error).__name__)
            return True


class Transport(redis.Transport):
    """A transport that passes over what is no message."""

    Channel = Channel
    # While a worker connects, kombu says so of a connection that breaks again; Celery would end the worker for it.
    connection_errors = (*redis.Transport.connection_errors, OperationalError)

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            if queue.startswith(_OURS):
                _Envelope.model_validate(message)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            _say_refused(queue, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
            return
        try:
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]
        except _CONNECTION:
            raise
        except Exception as error:  # whatever else Celery stumbles over
            _say_refused(queue, f"{type(error).__name__}: {error}")
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


def _say_refused(queue: str, why: str) -> None:
    logger.error("A message on %s was refused: %s; use the producer of this version.", queue, why[:200])
