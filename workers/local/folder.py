"""The state folder: everything that the local stack writes, and who may read it.

    stack.json       addresses, password, image root and models of the last `up`; read by workers.settings
    ports.json       ports of the last `up`, so that addresses stay the same
    redis/           append-only file, configuration and password of Redis
    milvus/          data of Milvus Lite
    models/          own specifications and ONNX files
    logs/            one log for each program, rotated
    run/             configuration, socket and process id of Supervisor; of no worth once it ended

Folders have mode 700 and files mode 600.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.local.errors import AlreadyRuns, CannotStart
from workers.settings import STACK_FILE, state_dir

#: Bytes; below that neither the append-only file nor the store would get far.
MIN_FREE = 64 * 2**20
#: Bytes of a Unix socket's path: 104 on macOS, less the ending `.PID` under which Supervisor binds it first.
SOCKET_PATH_MAX = 90


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The state folder at `root`, which is absolute and free of symbolic links."""

    root: Path

    @classmethod
    def of_settings(cls) -> StateFolder:
        """The folder that the environment names, whether or not it exists."""
        return cls(state_dir().resolve())

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def milvus(self) -> Path:
        return self.root / "milvus"

    @property
    def pid_file(self) -> Path:
        return self.run / "supervisord.pid"

    @property
    def gave_up(self) -> Path:
        """Holds the name of the program that died too often; absent while all is well."""
        return self.run / "gave-up"

    @property
    def socket(self) -> Path:
        """Where Supervisor listens; in a short folder of the user's own if the state folder's path is too long."""
        usual = self.run / "supervisor.sock"
        return usual if len(os.fsencode(usual)) <= SOCKET_PATH_MAX else self._short / "supervisor.sock"

    @property
    def _short(self) -> Path:
        digest = hashlib.blake2b(os.fsencode(self.root), digest_size=8).hexdigest()
        return Path(f"/tmp/imagefleet-{os.geteuid()}-{digest}")  # noqa: S108  (TMPDIR is long on macOS; see _own)

    def log(self, program: str) -> Path:
        return self.root / "logs" / f"{program}.log"

    def prepare(self) -> None:
        """Make the folder with all below; idempotent. Raises CannotStart if it is not ours, or cannot be written."""
        self._own(self.root)
        with self.writing():
            for folder in (self.root, self.run, self.redis, self.milvus, self.root / "logs", self.socket.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._own(self.socket.parent)
            self.socket.parent.chmod(0o700)
            free = shutil.disk_usage(self.root).free
        if free < MIN_FREE:
            raise CannotStart(f"{self.root} has only {free // 2**20} MiB free; make room or set IMAGEFLEET_STATE_DIR.")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Translate what the file system refuses."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise CannotStart(
                f"The state folder {self.root} cannot be written ({reason}); set IMAGEFLEET_STATE_DIR to another one."
            ) from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the right to start; it ends with the process. Raises AlreadyRuns if another process holds it."""
        with self.writing():
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._take(descriptor)
            yield
        finally:
            os.close(descriptor)

    def write(self, name: str, text: str) -> Path:
        """Write the file `name`, relative to the root, so that it is there whole or not at all."""
        file = self.root / name
        with self.writing():
            draft = file.with_name(f".{file.name}.{os.getpid()}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(descriptor)
            draft.replace(file)
        return file

    def write_stack(self, values: Mapping[str, Any]) -> None:
        """What workers.settings reads where the environment says nothing; keys are names of its fields."""
        self.write(STACK_FILE, json.dumps(values, indent=2) + "\n")

    def remembered_ports(self) -> dict[str, int]:
        """Ports of the last `up` by program; empty if there was none or the file is damaged."""
        try:
            ports = json.loads((self.root / "ports.json").read_text())
            return {str(name): int(port) for name, port in ports.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def remember_ports(self, ports: Mapping[str, int]) -> None:
        self.write("ports.json", json.dumps(dict(ports)) + "\n")

    def last_lines(self, program: str, count: int = 15) -> list[str]:
        """The end of a program's log; empty if it wrote nothing."""
        try:
            with self.log(program).open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - 200 * count))
                return stream.read().decode("utf-8", "replace").splitlines()[-count:]
        except OSError:
            return []

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRuns(
                f"Another `imagefleet up` or `down` is at work in {self.root}; try again in a moment."
            ) from None

    def _own(self, folder: Path) -> None:
        # The short folder has a name that anyone can guess, so it might have been laid there by somebody else.
        with suppress(OSError):
            if folder.lstat().st_uid != os.geteuid():
                raise CannotStart(
                    f"{folder} belongs to another user; set IMAGEFLEET_STATE_DIR to a folder of your own."
                )
