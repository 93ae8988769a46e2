"""What an `up` is to start: its options, the environment and what the last `up` left, brought together and checked.

Nothing is started here; every wrong value is found before the first process lives.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ModelsError
from models.spec import find
from models.weights import locate, read
from workers.cores import usable_cores
from workers.local import ports, redis_server
from workers.local.errors import CannotStart
from workers.local.folder import StateFolder
from workers.settings import Settings, SettingsError, load

#: Processes of the index worker node; more on one machine is a slip of the finger.
WORKERS_MAX = 1024


@dataclass(frozen=True, slots=True)
class Options:
    """What somebody asked `up` for; None is what was used last, or the default."""

    #: Processes of the index worker node; None is one per usable core.
    workers: int | None = None
    models: tuple[str, ...] | None = None
    #: The image root.
    root: Path | None = None
    #: 0 picks a free one.
    flower_port: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A stack whose every address is known."""

    #: As the workers will see them: addresses, image root and models are those of this stack.
    settings: Settings
    workers: int
    #: By program; only of servers that are started here.
    ports: Mapping[str, int]
    flower_port_was_asked_for: bool

    @property
    def own_redis(self) -> bool:
        return "redis" in self.ports

    @property
    def own_milvus(self) -> bool:
        return "milvus" in self.ports

    @property
    def flower_url(self) -> str:
        host = self.settings.flower_address
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.flower_port}"


def make(options: Options, folder: StateFolder) -> Plan:
    """Check and complete the options; raises CannotStart with one sentence."""
    own = _own_servers()
    _need(("supervisor", "flower", *(("milvus_lite",) if "milvus" in own else ())))
    workers = _number_of_workers(options.workers)
    chosen = _choose_ports(own, folder)
    settings = _load(_overrides(options, chosen, folder))
    _check_image_root(settings.image_root)
    _check_models(settings)
    asked = options.flower_port is not None or bool(os.environ.get("IMAGEFLEET_FLOWER_PORT"))
    flower_port = _flower_port(settings, asked, taken=chosen.values())
    settings = settings.model_copy(update={"flower_port": flower_port})
    return Plan(settings, workers, {**chosen, "flower": flower_port}, asked)


def _own_servers() -> tuple[str, ...]:
    variables = {"redis": "IMAGEFLEET_REDIS_URL", "milvus": "IMAGEFLEET_MILVUS_URI"}
    return tuple(program for program, variable in variables.items() if not os.environ.get(variable))


def _need(packages: tuple[str, ...]) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise CannotStart(f"{missing[0]} is not installed here; install imagefleet with its extra `local`.")


def _number_of_workers(asked: int | None) -> int:
    number = usable_cores() if asked is None else asked
    if not 1 <= number <= WORKERS_MAX:
        raise CannotStart(f"{number} workers cannot be started; --workers takes 1 to {WORKERS_MAX}.")
    return number


def _choose_ports(programs: tuple[str, ...], folder: StateFolder) -> dict[str, int]:
    remembered = folder.remembered_ports()
    chosen: dict[str, int] = {}
    for program in programs:
        chosen[program] = ports.choose(remembered.get(program), taken=chosen.values())
    return chosen


def _overrides(options: Options, chosen: Mapping[str, int], folder: StateFolder) -> dict[str, Any]:
    asked = {"image_root": options.root, "models": options.models, "flower_port": options.flower_port}
    overrides: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if "redis" in chosen:
        overrides["redis_url"] = redis_server.url(folder, chosen["redis"])
    if "milvus" in chosen:
        overrides["milvus_uri"] = f"http://{ports.LOOPBACK}:{chosen['milvus']}"
    return overrides


def _load(overrides: dict[str, Any]) -> Settings:
    try:
        return load(**overrides)
    except SettingsError as error:
        raise CannotStart(str(error)) from None


def _check_image_root(root: Path) -> None:
    if not root.is_dir():
        raise CannotStart(f"The image root {root} is no folder; name one with --root.")
    if not os.access(root, os.R_OK | os.X_OK):
        raise CannotStart(f"The image root {root} cannot be read; name another with --root or change its mode.")


def _check_models(settings: Settings) -> None:
    try:
        for name in settings.models:
            spec = find(name, settings.model_dir)
            read(spec, locate(spec, settings.model_dir))
    except ModelsError as error:
        raise CannotStart(str(error)) from None


def _flower_port(settings: Settings, asked: bool, taken: Any) -> int:
    address, port = settings.flower_address, settings.flower_port
    secret = settings.flower_auth.get_secret_value()
    if not is_loopback(address) and not secret:
        raise CannotStart(
            f"Flower would listen on {address} for everybody; set IMAGEFLEET_FLOWER_AUTH to `user:password`."
        )
    if secret and not all(secret.partition(":")[::2]):
        raise CannotStart("IMAGEFLEET_FLOWER_AUTH is not of the form `user:password`; correct it.")
    free = ports.choose(port, taken, address)
    if asked and port and free != port:
        raise CannotStart(f"Port {port} on {address} is in use; name another with --flower-port, or 0 for any.")
    return free


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach it; names other than localhost are taken as reachable."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
