"""Runs in every process of a worker under test, before anything else: makes it fail where and when a case says.

Python imports a module of this name by itself if its folder is on PYTHONPATH. What to do stands in IMAGEFLEET_FAULTS, a
JSON list of tests.faults.case.Fault; nothing of this is part of the product.
"""

from __future__ import annotations

import errno
import functools
import importlib
import importlib.abc
import importlib.machinery
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

Wrapped = Callable[..., Any]


def arm(module: ModuleType, fault: dict[str, Any]) -> None:
    """Replace `Class.method` of the module by one that fails when its turn has come."""
    owner_name, _, name = fault["at"].partition(":")[2].rpartition(".")
    owner = functools.reduce(getattr, owner_name.split("."), module) if owner_name else module
    setattr(owner, name, failing(getattr(owner, name), fault))


def failing(call: Wrapped, fault: dict[str, Any]) -> Wrapped:
    calls = 0

    @functools.wraps(call)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        if not concerns(fault, args):
            return call(*args, **kwargs)
        calls += 1
        turn = calls >= fault["nth"]
        if turn and fault["when"] == "before" and take_ticket(fault):
            if fault["do"] == "omit":  # the product without one of its defences
                return None
            DEEDS[fault["do"]](fault)
        result = call(*args, **kwargs)
        if turn and fault["when"] == "after" and take_ticket(fault):
            DEEDS[fault["do"]](fault)
        return result

    return wrapper


def concerns(fault: dict[str, Any], args: tuple[Any, ...]) -> bool:
    """Whether the call is about a marked picture, if the fault asks for one."""
    marker = fault["marker"].encode()
    return not marker or any(marker in bytes_of(arg) for arg in args)


def bytes_of(arg: object) -> bytes:
    """What a decoder gets is bytes, or a file in memory; what a reader gets is a path."""
    if isinstance(arg, str):
        return os.fsencode(arg)
    return arg.getvalue() if isinstance(arg, io.BytesIO) else arg if isinstance(arg, bytes) else b""


def take_ticket(fault: dict[str, Any]) -> bool:
    """Whether this fault may still happen: so many times in all processes together; 0 is always."""
    if not fault["times"]:
        return True
    for number in range(fault["times"]):
        try:
            os.close(os.open(f"{fault['tickets']}.{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return True
    return False


def kill(fault: dict[str, Any]) -> None:
    """As the kernel does when memory is short, or a decoder that writes where it must not."""
    os.kill(os.getpid(), signal.SIGKILL)


def crash(fault: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(fault: dict[str, Any]) -> None:
    """In a place where a time limit can raise its exception."""
    threading.Event().wait()


def hang_deaf(fault: dict[str, Any]) -> None:
    """As in C code that never returns: no handler of a signal runs."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    while True:
        signal.pause()


def eat_memory(fault: dict[str, Any]) -> None:
    """Until there is no more; the case sets a limit on the process."""
    eaten = []
    while True:
        eaten.append(bytearray(64 * 2**20))


def outgrow(fault: dict[str, Any]) -> None:
    """Take much memory, all of it in use, and be ended by the kernel for it."""
    eaten = bytearray(os.urandom(2**20) * 256)
    os.kill(os.getpid() if eaten else 0, signal.SIGKILL)


def deny(fault: dict[str, Any]) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def slow(fault: dict[str, Any]) -> None:
    threading.Event().wait(fault["seconds"])


def refuse(fault: dict[str, Any]) -> None:
    """As Milvus does, with a code that the driver does not repeat."""
    from pymilvus.exceptions import MilvusException

    raise MilvusException(code=int(fault["seconds"]), message="a fault of the tests")


def fail_session(fault: dict[str, Any]) -> None:
    from models.errors import InferenceFailed

    raise InferenceFailed("A fault of the tests.")


def surprise(fault: dict[str, Any]) -> None:
    """An exception that nobody expects."""
    raise RuntimeError("A fault of the tests.")


def nothing(fault: dict[str, Any]) -> None:
    """Only the ticket is taken, which the case waits for."""


def stop(fault: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


DEEDS: dict[str, Callable[[dict[str, Any]], None]] = {
    deed.__name__: deed
    for deed in (
        kill,
        crash,
        hang,
        hang_deaf,
        eat_memory,
        outgrow,
        deny,
        slow,
        refuse,
        fail_session,
        surprise,
        nothing,
        stop,
    )
}


class Armer(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Arms a module the moment that it has been loaded."""

    def __init__(self, faults: list[dict[str, Any]]) -> None:
        self._faults = faults
        self._loaders: dict[str, importlib.abc.Loader] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if all(fault["at"].partition(":")[0] != name for fault in self._faults):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            self._loaders[name] = spec.loader
            spec.loader = self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loaders[spec.name].create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loaders[module.__name__].exec_module(module)
        for fault in self._faults:
            if fault["at"].partition(":")[0] == module.__name__:
                arm(module, fault)


if faults := json.loads(os.environ.get("IMAGEFLEET_FAULTS", "[]")):
    sys.meta_path.insert(0, Armer(faults))
