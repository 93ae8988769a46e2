"""Start and stop the local stack of one state folder.

    with running(Options(workers=2)) as stack: ...
    stack = start(Options()); stack.wait(); stack.stop()

Only one stack per state folder runs at a time, across processes. A stack outlives the process that started it unless
that process stops it; what a crash leaves behind is ended by the next `start` or `stop`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from workers.local import ending, processes, programs
from workers.local.bringing_up import PortTaken, ask_what_is_elsewhere, bring_up, without_password
from workers.local.ending import Say
from workers.local.errors import AlreadyRuns, CannotStart, StackError, StackFailed
from workers.local.folder import StateFolder
from workers.local.plan import Options, Plan, make
from workers.local.supervision import launch
from workers.settings import Settings

#: Times that other ports are tried when somebody takes one between the choice and the start.
PORT_ATTEMPTS = 3
#: Seconds between two looks at whether the stack still runs.
WATCH_SECONDS = 0.3

__all__ = ["Options", "Stack", "StackError", "running", "start", "stop"]


def _silent(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that answers."""

    #: As its workers see them.
    settings: Settings
    #: By part: Redis, Milvus, Flower; without passwords.
    addresses: Mapping[str, str]
    folder: StateFolder
    #: Of Supervisor.
    pid: int

    def wait(self) -> None:
        """Return when somebody stopped the stack; raises StackFailed if it did not hold."""
        while not processes.wait_until(lambda: not processes.is_alive(self.pid), 3600, pause=WATCH_SECONDS):
            pass
        ending.raise_if_failed(self.folder)

    def stop(self, say: Say = _silent) -> None:
        """End everything in order; returns when nothing runs any more. Idempotent."""
        stop(self.folder, say)


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
        if ending.supervisor_pid(folder):
            raise AlreadyRuns(f"A stack runs already in {folder.root}; `imagefleet down` ends it.")
        if processes.end_orphans(folder):
            say("Ended what an earlier run had left.")
        for _ in range(PORT_ATTEMPTS):
            with suppress(PortTaken):
                return _start_once(options, folder, say)
    raise CannotStart("Others took the ports that were chosen, several times; try again.")


def stop(folder: StateFolder | None = None, say: Say = _silent) -> bool:
    """End the stack of that state folder, or of the environment's; False if nothing ran.

    Workers finish the batch that they are at; Ctrl-C meanwhile ends them at once. Raises AlreadyRuns while another
    process starts it.
    """
    folder = folder or StateFolder.of_settings()
    if not folder.run.is_dir():
        return False
    ended = ending.end_supervisor(folder, say)
    try:
        return ending.end_what_is_left(folder) or ended
    except AlreadyRuns:
        if ended:  # and the next one is started already
            return True
        raise


def _start_once(options: Options, folder: StateFolder, say: Say) -> Stack:
    plan = make(options, folder)
    ask_what_is_elsewhere(plan)
    parts = programs.all_of(plan, folder)
    with folder.writing():
        folder.gave_up.unlink(missing_ok=True)
        folder.pid_file.unlink(missing_ok=True)
    folder.remember_ports(plan.ports)
    folder.write_stack(_remembered(plan))
    launch(parts, folder, programs.environment(plan, folder))
    try:
        bring_up(plan, folder, say)
        pid = ending.supervisor_pid(folder)
        if pid is None:
            raise StackFailed("The stack was stopped while it started; `imagefleet up` starts it again.")
    except BaseException:
        ending.end_supervisor(folder, say)
        processes.end_orphans(folder)
        raise
    return Stack(plan.settings, _addresses(plan), folder, pid)


def _remembered(plan: Plan) -> dict[str, object]:
    settings = plan.settings
    return {
        "redis_url": settings.redis_url.get_secret_value(),
        "milvus_uri": settings.milvus_uri,
        "image_root": str(settings.image_root),
        "models": list(settings.models),
        "flower_port": settings.flower_port,
    }


def _addresses(plan: Plan) -> dict[str, str]:
    redis = without_password(plan.settings.redis_url.get_secret_value())
    return {"Redis": redis, "Milvus": plan.settings.milvus_uri, "Flower": plan.flower_url}
