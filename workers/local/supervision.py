"""Supervisor as we use it: its configuration, its start, and the questions that we ask it through its socket."""

from __future__ import annotations

import http.client
import os
import shlex
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from workers.local.errors import CannotStart
from workers.local.folder import StateFolder
from workers.local.programs import Program

#: Seconds that Supervisor may take for one answer; it does nothing else that takes long.
ANSWER_SECONDS = 10.0
#: Seconds that it may take to go to the background.
LAUNCH_SECONDS = 30.0
#: Times that a program which does not stay up is started again, after pauses of 1 and 2 s.
RETRIES = 2
_LOG_BYTES = 5 * 2**20
_LOG_BACKUPS = 3

# All paths are relative to the state folder, in which Supervisor is started, and command lines come from the
# environment: so nothing that a path may contain (a percent sign, ` #`) has to be escaped here.
_DAEMON = f"""\
[supervisord]
logfile=logs/supervisord.log
logfile_maxbytes={_LOG_BYTES}
logfile_backups={_LOG_BACKUPS}
pidfile=run/supervisord.pid
childlogdir=logs
nocleanup=true
umask=077

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[rpcinterface:give_up]
supervisor.rpcinterface_factory=workers.local.give_up:make
file=run/gave-up

[unix_http_server]
file={{socket}}
chmod=0600
"""
_PROGRAM = f"""
[program:{{name}}]
command=%(ENV_{{variable}})s
directory=run
umask=077
priority={{priority}}
autostart=false
autorestart=true
startsecs={{start}}
startretries={RETRIES}
stopsignal=TERM
stopwaitsecs={{stop}}
killasgroup=true
redirect_stderr=true
stdout_logfile=logs/{{name}}.log
stdout_logfile_maxbytes={_LOG_BYTES}
stdout_logfile_backups={_LOG_BACKUPS}
"""
#: Programs of one priority, which end at the same time.
_GROUP = """
[group:{name}]
programs={programs}
priority={priority}
"""


@dataclass(frozen=True, slots=True)
class Child:
    """A program as Supervisor sees it now."""

    name: str
    #: RUNNING, STARTING, BACKOFF, STOPPING, STOPPED, EXITED, FATAL or UNKNOWN.
    state: str
    #: 0 if it has no process.
    pid: int


class Unreachable(Exception):
    """No Supervisor of this state folder answers; or it is ending."""


def configuration(programs: Sequence[Program], folder: StateFolder) -> str:
    """The text of supervisord.conf."""
    usual = folder.socket.is_relative_to(folder.root)
    parts = [_DAEMON.format(socket="run/supervisor.sock" if usual else folder.socket)]
    for program in programs:
        parts.append(
            _PROGRAM.format(
                name=program.name,
                variable=_variable(program),
                priority=program.priority,
                start=program.start_seconds,
                stop=program.stop_seconds,
            )
        )
    workers = [program for program in programs if program.priority == 30]
    return "".join(parts) + _GROUP.format(
        name="workers", programs=",".join(program.name for program in workers), priority=30
    )


def launch(programs: Sequence[Program], folder: StateFolder, environment: Mapping[str, str]) -> None:
    """Start Supervisor in the background, with none of the programs started yet; raises CannotStart."""
    file = folder.write("run/supervisord.conf", configuration(programs, folder))
    commands = {_variable(program): shlex.join(program.command) for program in programs}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(file)],
        cwd=folder.root,
        env={**environment, **commands},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        umask=0o077,
        timeout=LAUNCH_SECONDS,
        check=False,
    )
    if done.returncode:
        raise CannotStart(f"Supervisor does not start: {' '.join(done.stdout.split())[-500:]}")


class Client:
    """Asks the Supervisor of a state folder; every call ends within ANSWER_SECONDS or raises Unreachable."""

    def __init__(self, folder: StateFolder) -> None:
        self._path = os.fspath(folder.socket)

    def pid(self) -> int:
        """The process id of Supervisor."""
        return int(self._call("getPID"))

    def children(self) -> dict[str, Child]:
        """All programs by name."""
        found = [Child(item["name"], item["statename"], int(item["pid"])) for item in self._call("getAllProcessInfo")]
        return {child.name: child for child in found}

    def start(self, name: str, group: str | None = None) -> None:
        """Start a program and do not wait; that it died at once shows in its state."""
        try:
            self._call("startProcess", f"{group or name}:{name}", False)
        except xmlrpc.client.Fault as fault:
            if "SPAWN_ERROR" not in fault.faultString:
                raise CannotStart(f"{name} cannot be started: {fault.faultString}.") from None

    def shut_down(self) -> None:
        """End all programs in order, then Supervisor itself; returns at once."""
        self._call("shutdown")

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = _Transport(self._path)
        try:
            with xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport) as proxy:
                return cast(Any, getattr(proxy.supervisor, method)(*arguments))
        except xmlrpc.client.Fault as fault:
            if "SHUTDOWN_STATE" in fault.faultString:
                raise Unreachable("Supervisor is ending.") from None
            raise
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise Unreachable(f"Supervisor does not answer ({error}).") from None


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket; Supervisor's own transport has no deadline."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._opened = _Connection(path)

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return self._opened

    def close(self) -> None:
        self._opened.close()


def _variable(program: Program) -> str:
    return f"IMAGEFLEET_COMMAND_{program.name.upper()}"
