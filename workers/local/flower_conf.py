"""Flower's configuration (`celery flower --conf=`): it shows, and lets nobody do anything.

Stands alone: the container of Flower has this file and nothing else of imagefleet. It is carried out by Flower before
it makes its pages, so what is taken off its list here is never served. IMAGEFLEET_REMOTE_CONTROL=true leaves it whole.

Flower learns the queues from the workers' remote control. Where that is off, it reads them from the broker: a queue
that anybody declared has a binding there.
"""

import os

from flower.inspector import Inspector  # type: ignore[import-untyped]
from flower.urls import handlers  # type: ignore[import-untyped]
from flower.views import BaseHandler  # type: ignore[import-untyped]
from tornado import web
from tornado.routing import URLSpec

_REMOTE_CONTROL = os.environ.get("IMAGEFLEET_REMOTE_CONTROL", "").strip().lower() in (
    "1",
    "true",
    "yes",
    "on",
    "t",
    "y",
)
_BINDING = "_kombu.binding."
_QUEUES = ("index.", "search.")


class _Node(BaseHandler):  # type: ignore[misc]  # Flower has no types
    """In place of a page that would ask the worker by its remote control: what its events say."""

    @web.authenticated
    def get(self, name: str) -> None:
        node = self.application.events.state.workers.get(name)
        if node is None:
            raise web.HTTPError(404, f"No worker {name} was seen.")
        state = "alive" if node.alive else "offline"
        message = (
            f"{name} is {state}: {node.active or 0} tasks in work, {node.processed or 0} since it started. "
            "Its pool, queues and settings are shown, and can be changed, only with IMAGEFLEET_REMOTE_CONTROL=true."
        )
        self.render("404.html", message=message)


def _declared_queues(handler: BaseHandler) -> list[str]:
    """Names of our queues that were declared on the broker, whoever serves them; raises redis' errors."""
    with handler.capp.connection_for_read() as connection:
        client = connection.channel().client  # unlike default_channel, it does not wait for a broker that is away
        keys = (key.decode("utf-8", "replace") for key in client.scan_iter(f"{_BINDING}*", count=1000))
        names = (key.removeprefix(_BINDING) for key in keys)
        return sorted(name for name in names if name.startswith(_QUEUES))


if not _REMOTE_CONTROL:
    read_only = True  # an option of Flower: no button that does something
    enable_events = False  # workers send theirs unasked; nobody would hear Flower ask
    Inspector.inspect_methods = ()
    handlers[:] = [one for one in handlers if not (isinstance(one, tuple) and one[0].startswith("/api/"))]
    handlers[:] = [
        URLSpec(r"/worker/(.+)", _Node, name="worker") if getattr(one, "name", None) == "worker" else one
        for one in handlers
    ]
    BaseHandler.get_active_queue_names = _declared_queues
