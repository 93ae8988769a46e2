"""How names, paths, rows and filters are written for Milvus: pure functions, nothing here talks to a server."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from models.spec import ModelSpec
from workers.store import Row, StoreRejected, Vector, image_id

#: Bytes; the longest name that Milvus takes.
NAME_MAX = 255
#: Bytes; the longest path of Linux, should every byte of it need an escape.
PATH_MAX = 4 * 4096
#: Bytes of one write request; Milvus refuses requests above 64 MB.
REQUEST_MAX = 16 * 2**20
#: Bytes of a row beside its path and its vector, rounded up.
_ROW_OVERHEAD = 256
#: How far from 1 the length of a vector may be: float16 models are that coarse.
_UNIT_TOLERANCE = 1e-2

_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2}))")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def collection_name(library: str, spec: ModelSpec) -> str:
    """`library__model__fingerprint`, escaped so that no two libraries or models share a name; raises StoreRejected."""
    name = f"{alias_name(library, spec.name)}__{spec.fingerprint}"
    if len(name) > NAME_MAX:
        raise StoreRejected(
            f"The names of library {library!r} and model {spec.name!r} are too long for Milvus; choose a shorter one."
        )
    return name


def fingerprint_of(collection: str) -> str:
    """The last part of a collection's name."""
    return collection.rpartition("__")[2]


def alias_name(library: str, model: str) -> str:
    """`library__model`: what points to the collection in service."""
    return f"{_identifier(library)}__{_identifier(model)}"


def _identifier(name: str) -> str:
    """Letters and digits stay, every other byte is `_` and two hex digits; a leading digit too, as Milvus wants it."""
    escaped = "".join(
        chr(byte) if re.match(rb"[a-z0-9]", bytes([byte])) else f"_{byte:02x}" for byte in name.encode("utf-8")
    )
    return f"_{ord(escaped[0]):02x}{escaped[1:]}" if escaped[:1].isdigit() else escaped


def stored_path(path: str) -> str:
    r"""The path as text that every store takes, and that `original_path` turns back.

    A backslash is doubled; control characters and bytes that are no UTF-8 become `\xNN`. So a folder's text begins the
    text of all that lies in it, and no filter needs an escape beyond quotes and backslashes.
    """
    plain = _CONTROL.sub(lambda found: "\\\\" if found[0] == "\\" else f"\\x{ord(found[0]):02x}", path)
    return os.fsencode(plain).decode("utf-8", "backslashreplace")


def original_path(stored: str) -> str:
    """The inverse of `stored_path`."""
    return os.fsdecode(_ESCAPED.sub(_unescape, stored).encode("utf-8", "surrogateescape"))


def _unescape(found: re.Match[str]) -> str:
    if found[1] is None:
        return "\\"
    return bytes.fromhex(found[1]).decode("ascii", "surrogateescape")


def literal(value: str) -> str:
    """A string literal that Milvus and Milvus Lite read alike, whatever is in it."""
    return json.dumps(value, ensure_ascii=False)


def with_paths(paths: Iterable[str]) -> str:
    """The filter for the rows of these paths."""
    return f"id in [{', '.join(literal(image_id(path)) for path in paths)}]"


def below(folder: str, after: str) -> str:
    """The filter for rows under `folder` (empty: all) whose id is greater than `after`.

    A range instead of `like`, whose wildcards may be part of a folder's name: `0` follows `/`.
    """
    conditions = [f"id > {literal(after)}"]
    if folder:
        start = stored_path(folder.rstrip("/"))
        conditions += [f"path >= {literal(start + '/')}", f"path < {literal(start + '0')}"]
    return " and ".join(conditions)


def checked(rows: Sequence[Row], dimension: int) -> list[Row]:
    """The rows by their ids, of equal paths the last; raises StoreRejected where one has no proper vector.

    Milvus Lite takes anything, and a vector that is not finite spoils every search after it.
    """
    for row in rows:
        check_vectors(row.vector[np.newaxis], dimension, what=f"The vector of {row.path!r}")
    return list({image_id(row.path): row for row in rows}.values())


def check_vectors(vectors: Vector, dimension: int, what: str) -> None:
    """Raise StoreRejected unless vectors [n, dimension] are finite and of unit length."""
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise StoreRejected(f"{what} has shape {vectors.shape[1:]}, not ({dimension},); it is of another model.")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not np.all(np.abs(lengths - 1) <= _UNIT_TOLERANCE):  # false for NaN and infinity as well
        raise StoreRejected(f"{what} is not of unit length and finite; the model gives no usable vectors.")


def requests(rows: Iterable[Row]) -> Iterator[list[dict[str, Any]]]:
    """The rows as Milvus wants them, cut into requests of at most REQUEST_MAX bytes."""
    request: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        entity = _entity(row)
        weight = row.vector.size * 4 + len(entity["path"].encode()) + _ROW_OVERHEAD
        if request and size + weight > REQUEST_MAX:
            yield request
            request, size = [], 0
        request.append(entity)
        size += weight
    if request:
        yield request


def _entity(row: Row) -> dict[str, Any]:
    return {
        "id": image_id(row.path),
        "path": stored_path(row.path),
        "size": row.size,
        "mtime_ns": row.mtime_ns,
        "content": row.content,
        "width": row.width,
        "height": row.height,
        "indexed_at": row.indexed_at,
        "vector": row.vector.astype(np.float32),
    }
