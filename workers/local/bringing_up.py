"""Bring the programs of a plan up in their order, and say of each when it answers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from workers.local import answers, ports, redis_server
from workers.local.ending import Say, log_end, raise_if_failed
from workers.local.errors import CannotStart, StackFailed
from workers.local.folder import StateFolder
from workers.local.plan import Plan
from workers.local.processes import wait_until
from workers.local.supervision import Client, Unreachable

#: Seconds in which each part has to answer; a cold disk and a long append-only file are slow.
READY_SECONDS = 120.0
#: Seconds that Supervisor may take to answer after its launch.
SUPERVISOR_SECONDS = 10.0


class PortTaken(Exception):
    """Somebody else took a port that was free when it was chosen."""


@dataclass(frozen=True, slots=True)
class _Riser:
    """A stack that is coming up; notices if a part of it never will."""

    plan: Plan
    folder: StateFolder
    client: Client

    def wait_for(self, name: str, answered: Callable[[], bool]) -> None:
        """Raises StackFailed or PortTaken."""
        if not wait_until(lambda: answered() or self._look_at(name), READY_SECONDS):
            raise StackFailed(f"{name} does not answer.{log_end(self.folder, name)}")

    def node_is_ready(self, kind: str, node: str, processes: int) -> bool:
        """A node of the same name that was killed a moment ago does not count, so its process is compared."""
        try:
            child = self.client.children().get(kind)
        except Unreachable:
            self._say_why_it_ended()
        return child is not None and answers.node_is_ready(self.plan.settings, node, processes, child.pid)

    def _look_at(self, name: str) -> bool:
        try:
            child = self.client.children().get(name)
        except Unreachable:
            self._say_why_it_ended()
        if child and child.state in ("BACKOFF", "EXITED", "FATAL"):
            self._raise_if_port_taken(name)
        return False

    def _say_why_it_ended(self) -> None:
        wait_until(lambda: not self.folder.socket.exists(), SUPERVISOR_SECONDS)
        raise_if_failed(self.folder)
        raise StackFailed("The stack was stopped while it started; `imagefleet up` starts it again.")

    def _raise_if_port_taken(self, name: str) -> None:
        port = self.plan.ports.get(name)
        address = self.plan.settings.flower_address if name == "flower" else ports.LOOPBACK
        if port is None or ports.is_free(port, address):
            return
        if name == "flower" and self.plan.flower_port_was_asked_for:
            raise CannotStart(f"Port {port} on {address} is in use; name another with --flower-port, or 0 for any.")
        raise PortTaken(f"Somebody else took port {port} while {name} started.")


def ask_what_is_elsewhere(plan: Plan) -> None:
    """Raises CannotStart if Redis or Milvus are configured and do not answer."""
    url = plan.settings.redis_url.get_secret_value()
    if not plan.own_redis and (reason := answers.redis_refuses(url)):
        raise CannotStart(
            f"No Redis answers at {without_password(url)} ({reason}); start it or correct IMAGEFLEET_REDIS_URL."
        )
    uri = plan.settings.milvus_uri
    if not plan.own_milvus and not answers.is_listening(uri):
        raise CannotStart(f"No Milvus answers at {uri}; start it or correct IMAGEFLEET_MILVUS_URI.")


def bring_up(plan: Plan, folder: StateFolder, say: Say) -> None:
    """Start everything that the launched Supervisor knows; returns when all of it answers.

    Raises StackError, or PortTaken if other ports may help.
    """
    client = Client(folder)
    if not wait_until(lambda: _answers(client), SUPERVISOR_SECONDS):
        raise StackFailed(f"Supervisor does not answer; see {folder.log('supervisord')}.")
    riser = _Riser(plan, folder, client)
    for name in ("redis", "milvus"):
        if name in plan.ports:
            client.start(name)
    url = plan.settings.redis_url.get_secret_value()
    if plan.own_redis:
        riser.wait_for(
            "redis", lambda: redis_server.is_ours(folder, plan.ports["redis"]) and answers.redis_answers(url)
        )
    # The rest needs Redis now, and Milvus only for the first batch: it starts while Milvus Lite reads its data.
    client.start("index", group="workers")
    client.start("search", group="workers")
    client.start("flower")
    say(f"Redis   {without_password(url)}")
    _wait_for_the_rest(riser, say)


def _wait_for_the_rest(riser: _Riser, say: Say) -> None:
    plan, settings = riser.plan, riser.plan.settings
    if plan.own_milvus:
        riser.wait_for("milvus", lambda: answers.milvus_answers(plan.ports["milvus"]))
    say(f"Milvus  {settings.milvus_uri}")
    for kind, number in (("index", plan.workers), ("search", 1)):
        node = f"{kind}@{socket.gethostname()}"
        riser.wait_for(kind, partial(riser.node_is_ready, kind, node, number))
        say(f"{kind:7} {node}, {number} x {', '.join(settings.models)}")
    riser.wait_for("flower", lambda: answers.flower_answers(settings.flower_address, settings.flower_port))
    say(f"Flower  {plan.flower_url}")


def without_password(url: str) -> str:
    """The address as it may be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _answers(client: Client) -> bool:
    try:
        return client.pid() > 0
    except Unreachable:
        return False
