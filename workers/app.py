"""The one Celery app. Imports nothing heavy: producers use it too. `celery -A workers.app worker -Q index.<model>`"""

from __future__ import annotations

import sys

from celery import Celery

from workers import transport
from workers.contract import INDEX_BATCH, BatchMessage, index_queue
from workers.settings import Settings, SettingsError, load


def make_app(settings: Settings) -> Celery:
    """A Celery app on the broker of `settings`; each value's reason is in section 6 of the architecture."""
    transport.use()
    app = Celery("imagefleet", include=["workers.tasks"], set_as_current=False)
    url = settings.redis_url.get_secret_value()
    options = {
        "visibility_timeout": settings.visibility_timeout,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry_on_timeout": False,  # a retried publish may put the message there twice
    }
    app.conf.update(
        broker_url=url,
        broker_read_url=url,  # these two are what a CELERY_BROKER_URL in somebody's shell cannot replace
        broker_write_url=url,
        result_backend=url,
        broker_transport_options=options,
        result_backend_transport_options={"retry_policy": {"timeout": 5.0}},
        redis_socket_timeout=30,
        redis_socket_connect_timeout=5,
        redis_socket_keepalive=True,
        redis_backend_health_check_interval=15,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # a Redis that is full or whose disk is full must not end the worker
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=120.0,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_soft_time_limit=settings.batch_seconds,
        task_time_limit=settings.hard_limit,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_create_missing_queues=True,
        task_default_queue="imagefleet.none",  # a worker started without -Q takes nothing
        task_publish_retry=False,
        worker_send_task_events=True,
        task_send_sent_event=False,
        task_track_started=False,
        result_expires=settings.result_expires,
        result_extended=False,
        worker_hijack_root_logger=True,
        worker_enable_remote_control=settings.remote_control,
    )
    return app


def send_batch(app: Celery, model: str, message: BatchMessage) -> None:
    """Put a batch on its queue. Flower shows a sentence instead of the arguments.

    Raises kombu.exceptions.OperationalError if the broker is away; the batch's lease then brings it back.
    """
    app.send_task(
        INDEX_BATCH,
        kwargs=message.model_dump(),
        queue=index_queue(model),
        ignore_result=True,
        argsrepr="()",
        kwargsrepr=f"job {message.job}, batch {message.batch}, {message.count} images",
    )


def _app_from_environment() -> Celery:
    try:
        return make_app(load())
    except SettingsError as error:
        sys.stderr.write(f"imagefleet: {error}\n")
        raise SystemExit(2) from None


def __getattr__(name: str) -> Celery:
    # Built on first use: producers bring settings of their own and must not fail on the environment's.
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = app = _app_from_environment()
    app.set_default()
    return app
