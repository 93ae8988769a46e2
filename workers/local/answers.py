"""Does it answer? One cheap question for each part of the stack; each ends within a few times ASK_SECONDS."""

from __future__ import annotations

import http.client
import ipaddress
import socket
from urllib.parse import urlsplit

import redis

from workers.ledger import LedgerUnavailable, connect
from workers.nodes import Nodes
from workers.settings import Settings

#: Seconds.
ASK_SECONDS = 2.0
#: The first bytes of every HTTP/2 connection (RFC 9113, 3.4), with an empty SETTINGS frame.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_SETTINGS_FRAME = 4
#: Where Milvus listens if its address names no port.
_MILVUS_PORT = 19530


def redis_answers(url: str) -> bool:
    """Whether a Redis takes the password of the address and answers a PING."""
    return not redis_refuses(url)


def redis_refuses(url: str) -> str:
    """Why that Redis does not answer; empty if it does."""
    try:
        with redis.Redis.from_url(url, socket_timeout=ASK_SECONDS, socket_connect_timeout=ASK_SECONDS) as client:
            return "" if client.ping() else "no PONG"
    except (redis.RedisError, ValueError, OSError) as error:
        return str(error).rstrip(".") or type(error).__name__


def milvus_answers(port: int) -> bool:
    """Whether a gRPC server, which Milvus Lite is, listens on that port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), ASK_SECONDS) as connection:
            connection.sendall(_HTTP2_HELLO)
            frame = connection.recv(9)
    except OSError:
        return False
    return len(frame) == 9 and frame[3] == _SETTINGS_FRAME


def is_listening(uri: str) -> bool:
    """Whether anything takes connections at the host and port of a Milvus address."""
    try:
        parts = urlsplit(uri)
        with socket.create_connection((parts.hostname or "", parts.port or _MILVUS_PORT), ASK_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def flower_answers(address: str, port: int) -> bool:
    """Whether Flower gives a page, or asks for its password."""
    return _flower_page(address, port) in (200, 302, 401)


def _flower_page(address: str, port: int) -> int | None:
    """The status that it comes with; None if nothing comes."""
    connection = http.client.HTTPConnection(_reachable(address), port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def node_is_ready(settings: Settings, name: str, processes: int, pid: int | None = None) -> bool:
    """Whether the worker node of that name (`index@host`, and that main process) lives with that many models loaded."""
    try:
        node = Nodes(connect(settings.redis_url.get_secret_value())).alive().get(name)
    except LedgerUnavailable:
        return False
    return node is not None and node.processes >= processes and pid in (None, node.pid)


def _reachable(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return ("::1" if found.version == 6 else "127.0.0.1") if found.is_unspecified else address
