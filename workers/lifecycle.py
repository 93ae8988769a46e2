"""A worker's start and end: it warms up or does not live at all (FACTS, Celery 8)."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from celery import signals

from models.errors import ModelsError
from models.spec import find
from workers.app import app, send_batch
from workers.contract import index_queue, search_queue
from workers.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from workers.nodes import Heartbeat

logger = logging.getLogger(__name__)

#: Tells the children, which do not see -Q, what they serve. Set by the main process only.
QUEUES_VARIABLE = "IMAGEFLEET_WORKER_QUEUES"

#: Of the main process; empty until it is ready.
_heartbeats: list[Heartbeat] = []

_KINDS = (index_queue(""), search_queue(""))


@signals.celeryd_after_setup.connect
def _check_before_anything_starts(instance: Any, **_: Any) -> None:
    """In the main process, before it makes children: wrong -Q, pool or model names end it with a sentence."""
    try:
        queues = _queues_of(instance)
        settings = load()
        for queue in queues:
            find(queue.partition(".")[2], settings.model_dir)
    except (ModelsError, SettingsError, ValueError) as error:
        _refuse_to_start(str(error))
    os.environ[QUEUES_VARIABLE] = ",".join(queues)


def _queues_of(worker: Any) -> list[str]:
    if "prefork" not in str(worker.pool_cls):
        raise ValueError("imagefleet's workers run in the prefork pool only; leave -P out.")
    queues = list(worker.app.amqp.queues.consume_from)
    if not queues or not all(queue.startswith(_KINDS) for queue in queues):
        raise ValueError("Say which model this worker serves: -Q index.MODEL or -Q search.MODEL.")
    return queues


@signals.worker_process_init.connect
def _warm_up(**_: Any) -> None:
    """In each child: hold the models, or end the whole worker, which would only make such children again and again."""
    from workers import runtime

    try:
        runtime.start(load(), os.environ[QUEUES_VARIABLE].split(","))
    except (ModelsError, SettingsError) as error:
        logger.critical("This worker cannot work: %s", error)
        os.kill(os.getppid(), signal.SIGTERM)
        raise SystemExit(2) from error
    except Exception:
        logger.critical("This worker cannot work", exc_info=True)
        os.kill(os.getppid(), signal.SIGTERM)
        raise SystemExit(1) from None


@signals.worker_process_shutdown.connect
def _close(**_: Any) -> None:
    from workers import runtime

    runtime.stop()


@signals.worker_ready.connect
def _watch(sender: Any, **_: Any) -> None:
    """In the main process: these threads live as long as it does."""
    from functools import partial

    from celery.worker.state import reserved_requests

    from workers.leases import Leases
    from workers.ledger import connect
    from workers.reconciler import Reconciler
    from workers.watchdog import Watchdog, end_process, waiting_in

    settings: Settings = load()
    redis = connect(settings.redis_url.get_secret_value())
    Reconciler(Leases.from_settings(settings, redis, f"{sender.hostname}:reconciler"), partial(send_batch, app)).start()
    waiting = waiting_in(redis, os.environ[QUEUES_VARIABLE].split(","))
    Watchdog(waiting, lambda: bool(reserved_requests), end_process).start()


@signals.worker_ready.connect
def _say_that_it_lives(sender: Any, **_: Any) -> None:
    """In the main process, for as long as Celery's heart beats."""
    from workers.ledger import connect
    from workers.nodes import Heartbeat, Node, Nodes

    queues = os.environ[QUEUES_VARIABLE].split(",")

    def look() -> Node:
        ready = sender.pool.info["writes"]["inqueues"]["total"]
        return Node(sender.hostname, os.getpid(), ready, queues)

    heartbeat = Heartbeat(Nodes(connect(load().redis_url.get_secret_value())), look)
    _heartbeats.append(heartbeat)
    heartbeat.start()


@signals.heartbeat_sent.connect
def _the_heart_beats(**_: Any) -> None:
    # Connected before the worker is ready: Celery looks only once whether anybody wants to hear of its heart.
    for heartbeat in _heartbeats:
        heartbeat.beat()


@signals.worker_shutting_down.connect
def _say_farewell(**_: Any) -> None:
    for heartbeat in _heartbeats:
        heartbeat.stop()


def _refuse_to_start(sentence: str) -> NoReturn:
    sys.stderr.write(f"imagefleet: {sentence}\n")
    raise SystemExit(2)
