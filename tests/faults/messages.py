"""What somebody may put on a queue who is no producer of this version."""

from __future__ import annotations

import base64
import gzip
import json
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

_MARK = Path(tempfile.gettempdir()) / f"imagefleet-unpickled-{os.getpid()}"


class _Payload:
    """Leaves a mark if somebody loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(_MARK),)


def unpickled() -> bool:
    """Whether somebody did."""
    found = _MARK.exists()
    if found:
        _MARK.rmdir()
    return found


def envelope(body: bytes, *, task: object = "imagefleet.index_batch", **changes: Any) -> dict[str, Any]:
    """A message as Celery sends it, with some parts changed."""
    headers = {"lang": "py", "task": task, "id": "1" * 32, "root_id": "1" * 32, "argsrepr": "()", "kwargsrepr": "{}"}
    properties = {
        "correlation_id": "1" * 32,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "index.colour"},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": base64.b16encode(os.urandom(16)).decode(),
    }
    whole = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
    return whole | changes


def _fields(**fields: Any) -> bytes:
    return json.dumps([[], fields, {}]).encode()


_GOOD = envelope(_fields(job="0" * 12, batch=0, count=1))
_PICKLED = pickle.dumps(_Payload())

_WRONG_ENVELOPES: list[Any] = [
    None,
    7,
    "text",
    [],
    {},
    {"properties": {}},
    {"properties": []},
    {**_GOOD, "headers": None},
    {**_GOOD, "headers": []},
    {**_GOOD, "headers": {}},
    {**_GOOD, "headers": {"task": "imagefleet.index_batch"}},
    {**_GOOD, "headers": {"task": ["imagefleet.index_batch"], "id": "1"}},
    {**_GOOD, "headers": _GOOD["headers"] | {"task": "os.system"}},
    {**_GOOD, "headers": _GOOD["headers"] | {"task": None}},
    {**_GOOD, "headers": _GOOD["headers"] | {"id": {"a": 1}}},
    {**_GOOD, "headers": _GOOD["headers"] | {"eta": "yesterday"}},
    {**_GOOD, "headers": _GOOD["headers"] | {"expires": "never"}},
    {**_GOOD, "headers": _GOOD["headers"] | {"timelimit": "long"}},
    {**_GOOD, "headers": _GOOD["headers"] | {"retries": -1, "origin": 7, "group": {}}},
    {**_GOOD, "headers": _GOOD["headers"] | {"compression": "application/x-gzip"}},
    {**_GOOD, "properties": {**_GOOD["properties"], "delivery_tag": None}},
    {**_GOOD, "properties": {**_GOOD["properties"], "delivery_tag": ["a"]}},
    {**_GOOD, "properties": {**_GOOD["properties"], "delivery_info": None}},
    {**_GOOD, "properties": {**_GOOD["properties"], "delivery_info": {}}},
    {**_GOOD, "properties": {**_GOOD["properties"], "body_encoding": "rot13"}},
    {**_GOOD, "body": 7},
    {**_GOOD, "body": "not base64!"},
    {**_GOOD, "body": ""},
    {**_GOOD, "content-type": "application/x-python-serialize"},
    {**_GOOD, "content-encoding": "binary"},
    {**_GOOD, "content-encoding": "nonsense"},
]
_WRONG_BODIES = [
    b"",
    b"{",
    b"null",
    b"7",
    b"[]",
    b"[[], 7, {}]",
    b"[7, {}, {}]",
    b'[["a"], {}, {}]',
    b"[[], {}, null]",
    b"\xff\xfe\x00",
    _PICKLED,
    _fields(),
    _fields(job="0" * 12, batch=-1, count=1),
    _fields(job="0" * 12, batch=2**40, count=1),
    _fields(job="../../etc/passwd", batch=0, count=1),
    _fields(job="0" * 12, batch=True, count=1.5),
    _fields(job="0" * 12, batch=0, count=1, extra=1),
    _fields(job="0" * 12, batch="0", count="1"),
]


def _all() -> list[bytes]:
    deep = b"[" * 100_000 + b"]" * 100_000
    giant = json.dumps({**_GOOD, "body": base64.b64encode(b"[" + b" " * 2**24 + b"]").decode()}).encode()
    bomb = base64.b64encode(gzip.compress(bytes(2**28))).decode()
    packed = {**_GOOD, "body": bomb, "headers": _GOOD["headers"] | {"compression": "application/x-gzip"}}
    pickled = envelope(_PICKLED, **{"content-type": "application/x-python-serialize", "content-encoding": "binary"})
    yaml = envelope(b"!!python/object/apply:os.system ['true']", **{"content-type": "application/x-yaml"})
    raw = [b"", b"nonsense", b"\x80\x04\x95", b'{"a":', b"\xff" * 100, b"[" * 10, deep, _PICKLED]
    made = [*_WRONG_ENVELOPES, packed, pickled, yaml, *(envelope(body) for body in _WRONG_BODIES)]
    tagged = [b'{"__type__": "datetime", "__value__": 7}', b'{"__type__": "no", "__value__": {}}']
    return [*raw, *tagged, *(json.dumps(item).encode() for item in made), giant]


MESSAGES = _all()
