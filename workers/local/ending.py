"""The end of a stack: asked for, or because it did not hold."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from workers.local import processes
from workers.local.errors import AlreadyRuns, StackFailed
from workers.local.folder import StateFolder
from workers.local.processes import is_alive, wait_until
from workers.local.supervision import Client, Unreachable

#: Seconds of silence after which an end says what it waits for.
PATIENCE_SECONDS = 6.0
#: Seconds in which the rest ends once the workers are dead.
KILLED_SECONDS = 120.0

Say = Callable[[str], None]


def supervisor_pid(folder: StateFolder) -> int | None:
    """The process id of this folder's Supervisor, also of one that does not answer; None if there is none."""
    with suppress(OSError, ValueError):
        pid = int(folder.pid_file.read_text())
        if pid in processes.marked(folder):
            return pid
    with suppress(Unreachable):
        return Client(folder).pid()
    return None


def end_supervisor(folder: StateFolder, say: Say) -> bool:
    """End all programs in order and wait for it; False if there was no Supervisor. Ctrl-C ends the workers at once."""
    pid = supervisor_pid(folder)
    if pid is None:
        return False
    client = Client(folder)
    workers: list[int] = []
    with suppress(Unreachable):
        children = client.children()
        workers = [children[name].pid for name in ("index", "search") if name in children]
        client.shut_down()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)  # means the same, and also reaches one whose socket is gone
    try:
        _wait_patiently(pid, say)
    except KeyboardInterrupt:
        _kill_groups(workers)
        wait_until(lambda: not is_alive(pid), KILLED_SECONDS)
    return True


def end_what_is_left(folder: StateFolder) -> bool:
    """End processes whose Supervisor is gone; False if there are none. Raises AlreadyRuns while somebody starts."""
    with folder.lock():
        return supervisor_pid(folder) is None and processes.end_orphans(folder)


def raise_if_failed(folder: StateFolder) -> None:
    """After Supervisor ended: raises StackFailed unless it was asked to."""
    if folder.gave_up.exists():
        name = folder.gave_up.read_text().strip()
        raise StackFailed(f"{name} died several times in a row; everything was stopped.{log_end(folder, name)}")
    if folder.pid_file.exists():  # Supervisor takes it away when it ends by itself
        with suppress(AlreadyRuns):
            end_what_is_left(folder)
        raise StackFailed("Supervisor was killed; everything was stopped. `imagefleet up` starts it again.")


def log_end(folder: StateFolder, name: str) -> str:
    """The last lines of a program's log, to be put behind a sentence; empty if it wrote none."""
    lines = folder.last_lines(name)
    return "\n".join([f" The end of {folder.log(name)}:", *(f"    {line}" for line in lines)]) if lines else ""


def _wait_patiently(pid: int, say: Say) -> None:
    if wait_until(lambda: not is_alive(pid), PATIENCE_SECONDS):
        return
    say("Waiting for the workers to finish their batches; Ctrl-C ends them now.")
    while not wait_until(lambda: not is_alive(pid), PATIENCE_SECONDS):
        pass  # ends: Supervisor kills what takes longer than its stopwaitsecs


def _kill_groups(leaders: list[int]) -> None:
    for pid in filter(None, leaders):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
