"""Start and stop the local stack of one state folder.

    with running(Options(workers=2)) as stack: ...
    stack = start(Options()); stack.wait(); stack.stop()

Only one stack per state folder runs at a time, across processes. A stack outlives the process that started it unless
that process stops it; what a crash leaves behind is ended by the next `start` or `stop`.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from workers.local import answers, ports, processes, programs, redis_server
from workers.local.errors import AlreadyRuns, CannotStart, StackError, StackFailed
from workers.local.folder import StateFolder
from workers.local.plan import Options, Plan, make
from workers.local.processes import wait_until
from workers.local.supervision import Client, Unreachable, launch
from workers.settings import Settings

#: Seconds in which each part has to answer; a cold disk and a long append-only file are slow.
READY_SECONDS = 120.0
#: Seconds that Supervisor may take to answer after its launch.
SUPERVISOR_SECONDS = 10.0
#: Times that other ports are tried when somebody takes one between the choice and the start.
PORT_ATTEMPTS = 3
#: Seconds of silence after which a stop says what it waits for.
PATIENCE_SECONDS = 6.0

Say = Callable[[str], None]


def _silent(_: str) -> None:
    pass


class _PortTaken(Exception):
    """Somebody else took a port that was free when it was chosen."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that answers."""

    settings: Settings
    #: By part: Redis, Milvus, Flower. None holds a password.
    addresses: Mapping[str, str]
    _folder: StateFolder = field(repr=False)
    _pid: int

    def wait(self) -> None:
        """Return when somebody stopped the stack; raises StackFailed if it did not hold."""
        while not wait_until(lambda: not processes.is_alive(self._pid), 3600):
            pass
        _raise_if_failed(self._folder)

    def stop(self, say: Say = _silent) -> None:
        """End everything in order; returns when nothing runs any more. Idempotent."""
        stop(self._folder, say)


@contextmanager
def running(options: Options, say: Say = _silent) -> Iterator[Stack]:
    """A stack for the duration of a block."""
    stack = start(options, say)
    try:
        yield stack
    finally:
        stack.stop(say)


def start(options: Options, say: Say = _silent) -> Stack:
    """Start what is not configured elsewhere and return when all of it answers.

    Says each address as soon as it answers. Raises StackError; then nothing of it is left running.
    """
    folder = StateFolder.of_settings()
    folder.prepare()
    with folder.lock():
        if _supervisor(folder):
            raise AlreadyRuns(f"A stack runs already in {folder.root}; `imagefleet down` ends it.")
        if processes.end_orphans(folder):
            say("Ended what an earlier run had left.")
        for attempt in range(PORT_ATTEMPTS):
            try:
                return _start_once(options, folder, say)
            except _PortTaken as error:
                if attempt == PORT_ATTEMPTS - 1:
                    raise CannotStart(f"{error} Try again.") from None
    raise AssertionError


def stop(folder: StateFolder | None = None, say: Say = _silent) -> bool:
    """End the stack of that state folder, or of the environment's; False if nothing ran.

    Workers finish the batch that they are at; Ctrl-C meanwhile ends them at once.
    """
    folder = folder or StateFolder.of_settings()
    if not folder.run.is_dir():
        return False
    pid = _supervisor(folder)
    if pid:
        _end_supervisor(folder, pid, say)
    left = processes.end_orphans(folder)
    return bool(pid) or left


def _start_once(options: Options, folder: StateFolder, say: Say) -> Stack:
    plan = make(options, folder, redis_server.password(folder))
    _ask_external(plan)
    parts = programs.all_of(plan, folder)
    folder.gave_up.unlink(missing_ok=True)
    folder.remember_ports(plan.ports)
    _write_stack(plan, folder)
    launch(parts, folder, programs.environment(plan, folder))
    try:
        return _bring_up(plan, folder, say)
    except BaseException:
        stop(folder)
        raise


def _bring_up(plan: Plan, folder: StateFolder, say: Say) -> Stack:
    client = Client(folder)
    if not wait_until(lambda: bool(_pid(client)), SUPERVISOR_SECONDS):
        raise StackFailed(f"Supervisor does not answer; see {folder.log('supervisord')}.")
    wait = _Waiter(plan, folder, client)
    settings = plan.settings
    for name in ("redis", "milvus"):
        if name in plan.ports:
            client.start(name)
    url = settings.redis_url.get_secret_value()
    wait.until("redis", lambda: answers.redis_answers(url))
    # The rest needs Redis first and Milvus only for the first batch: it starts while Milvus Lite reads its data.
    client.start("index", "workers")
    client.start("search", "workers")
    client.start("flower")
    addresses = {"Redis": _without_password(url), "Milvus": settings.milvus_uri, "Flower": plan.flower_url}
    say(f"Redis   {addresses['Redis']}")
    if plan.own_milvus:
        wait.until("milvus", lambda: answers.milvus_answers(plan.ports["milvus"]))
    say(f"Milvus  {addresses['Milvus']}")
    for kind, number in (("index", plan.workers), ("search", 1)):
        node = f"{kind}@{socket.gethostname()}"
        wait.until(kind, partial(answers.node_is_ready, settings, node, number))
        say(f"{kind:7} {node}, {number} x {', '.join(settings.models)}")
    wait.until("flower", lambda: answers.flower_answers(settings.flower_address, settings.flower_port))
    say(f"Flower  {addresses['Flower']}")
    return Stack(settings, addresses, folder, _pid(client) or 0)


@dataclass(frozen=True, slots=True)
class _Waiter:
    """Waits for parts of a stack that is coming up, and notices if one of them never will."""

    plan: Plan
    folder: StateFolder
    client: Client

    def until(self, name: str, answered: Callable[[], bool]) -> None:
        """Raises StackFailed or _PortTaken."""
        if not wait_until(lambda: answered() or self._look_at(name), READY_SECONDS):
            raise StackFailed(f"{name} does not answer.{_log_end(self.folder, name)}")

    def _look_at(self, name: str) -> bool:
        try:
            child = self.client.children().get(name)
        except Unreachable:
            _raise_if_failed(self.folder)
            raise StackFailed("The stack was stopped while it started.") from None
        if child and child.state in ("BACKOFF", "EXITED", "FATAL"):
            self._raise_if_port_taken(name)
        return False

    def _raise_if_port_taken(self, name: str) -> None:
        port = self.plan.ports.get(name)
        address = self.plan.settings.flower_address if name == "flower" else ports.LOOPBACK
        if port is None or ports.is_free(port, address):
            return
        if name == "flower" and self.plan.flower_port_was_asked_for:
            raise CannotStart(f"Port {port} on {address} is in use; name another with --flower-port, or 0 for any.")
        raise _PortTaken(f"Somebody else took port {port} while {name} started.")


def _ask_external(plan: Plan) -> None:
    url = plan.settings.redis_url.get_secret_value()
    if not plan.own_redis and (reason := answers.redis_refuses(url)):
        raise CannotStart(
            f"No Redis answers at {_without_password(url)} ({reason}); start it or correct IMAGEFLEET_REDIS_URL."
        )
    if not plan.own_milvus and not answers.is_listening(plan.settings.milvus_uri):
        raise CannotStart(
            f"No Milvus answers at {plan.settings.milvus_uri}; start it or correct IMAGEFLEET_MILVUS_URI."
        )


def _write_stack(plan: Plan, folder: StateFolder) -> None:
    settings = plan.settings
    folder.write_stack(
        {
            "redis_url": settings.redis_url.get_secret_value(),
            "milvus_uri": settings.milvus_uri,
            "image_root": str(settings.image_root),
            "models": list(settings.models),
            "flower_port": settings.flower_port,
        }
    )


def _supervisor(folder: StateFolder) -> int | None:
    """The process id of this folder's Supervisor, also of one that does not answer; None if there is none."""
    with suppress(OSError, ValueError):
        pid = int(folder.pid_file.read_text())
        if pid in processes.marked(folder):
            return pid
    return _pid(Client(folder))


def _pid(client: Client) -> int | None:
    try:
        return client.pid()
    except Unreachable:
        return None


def _end_supervisor(folder: StateFolder, pid: int, say: Say) -> None:
    client = Client(folder)
    working: dict[str, int] = {}
    with suppress(Unreachable):
        children = client.children()
        working = {name: children[name].pid for name in ("index", "search") if name in children}
        client.shut_down()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)  # means the same, and also reaches one whose socket is gone
    _wait_for_the_end(pid, working, say)


def _wait_for_the_end(pid: int, working: Mapping[str, int], say: Say) -> None:
    try:
        if wait_until(lambda: not processes.is_alive(pid), PATIENCE_SECONDS):
            return
        say("Waiting for the workers to finish their batches; Ctrl-C ends them now.")
        while processes.is_alive(pid):  # ends: Supervisor kills what takes longer than its stopwaitsecs
            wait_until(lambda: not processes.is_alive(pid), 3600)
    except KeyboardInterrupt:
        for worker in filter(None, working.values()):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(worker, signal.SIGKILL)
        wait_until(lambda: not processes.is_alive(pid), READY_SECONDS)


def _raise_if_failed(folder: StateFolder) -> None:
    if folder.gave_up.exists():
        name = folder.gave_up.read_text().strip()
        raise StackFailed(f"{name} died several times in a row; everything was stopped.{_log_end(folder, name)}")
    if folder.pid_file.exists():
        processes.end_orphans(folder)
        raise StackFailed("Supervisor was killed; everything was stopped. `imagefleet up` starts it again.")


def _log_end(folder: StateFolder, name: str) -> str:
    lines = folder.last_lines(name)
    return f" The end of {folder.log(name)}:\n" + "\n".join(f"    {line}" for line in lines) if lines else ""


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


__all__ = ["Options", "Stack", "StackError", "running", "start", "stop"]
