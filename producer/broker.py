"""Sending messages and fetching answers: the only file here that meets Celery and its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from celery.exceptions import TimeoutError as NothingYet
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from producer.errors import BrokerUnavailable, RequestFailed, full, is_full
from workers.app import make_app, send_batch
from workers.contract import BatchMessage
from workers.ledger import LedgerUnavailable, connect
from workers.nodes import Nodes
from workers.settings import Settings

#: Attempts to connect for one message; the caller is the one that is patient.
CONNECT_ATTEMPTS = 2


class Broker:
    """One Celery app. Every call raises BrokerUnavailable if Redis is away or full."""

    def __init__(self, settings: Settings) -> None:
        self._app = make_app(settings)
        self._nodes = Nodes(connect(settings.redis_url.get_secret_value()))
        # Without a number of attempts, kombu tries to connect for ever.
        self._app.conf.broker_transport_options |= {"max_retries": CONNECT_ATTEMPTS, "interval_start": 0}

    def send_batch(self, model: str, message: BatchMessage) -> None:
        """Queue one batch; its images are in the ledger."""
        with _translated():
            send_batch(self._app, model, message)

    def send_request(self, task: str, queue: str, request: dict[str, Any], said: str) -> str:
        """Queue a request that somebody waits for; the task's id. `said` stands for it in Flower."""
        with _translated():
            sent = self._app.send_task(
                task, kwargs={"request": request}, queue=queue, argsrepr="()", kwargsrepr=said, ignore_result=False
            )
        return str(sent.id)

    def answer(self, task: str, seconds: float) -> dict[str, Any] | None:
        """What came back, or None if nothing did within `seconds`; raises RequestFailed if the task did."""
        with _translated():
            result = self._app.AsyncResult(task)
            try:
                value = result.get(timeout=max(seconds, 0.001), interval=0.05, propagate=False)
                if result.failed():
                    raise RequestFailed(f"The worker could not answer ({_first_line(value)}); its log says more.")
            except NothingYet:
                return None
            finally:
                _let_go(result)
        return dict(value)

    def forget(self, task: str) -> None:
        """Give Redis its memory back; the answer can be fetched no more."""
        with _translated():
            self._app.AsyncResult(task).forget()

    def listeners(self, queue: str) -> int:
        """Worker nodes that live and take messages from the queue."""
        try:
            return sum(queue in node.queues for node in self._nodes.alive().values())
        except LedgerUnavailable as error:
            raise BrokerUnavailable(str(error)) from error


def _let_go(result: Any) -> None:
    """Wait for it no longer: its finaliser would ask Redis, which may be away by then, and print a traceback."""
    with suppress(RuntimeError):  # Celery's word for a Redis that stays away
        result.backend.remove_pending_result(result)
    result.backend = None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, RedisError, OSError) as error:
        raise full() if is_full(error) else _away(error) from error


def _away(error: BaseException) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"Redis does not answer ({_first_line(error)}); start it with `imagefleet up`, or correct IMAGEFLEET_REDIS_URL."
    )


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
