"""VectorStore: what the pipeline needs of a vector database, and the two ways in which one can fail it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from os import fsencode
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.spec import ModelSpec

Vector = NDArray[np.float32]


class StoreError(Exception):
    """Base of all errors of a store; its text is one sentence that says what to do."""


class StoreUnavailable(StoreError):
    """The store does not answer, or not now; the same call may succeed later. Never an image's fault."""


class StoreRejected(StoreError):
    """The store answered no; the same call will be refused again."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image as it is stored. Equal paths make equal ids: writing twice leaves one row."""

    path: str
    #: Bytes of the file.
    size: int
    #: Nanoseconds since the epoch.
    mtime_ns: int
    #: BLAKE2b-128 of the file's bytes, hex.
    content: str
    #: Pixels, upright.
    width: int
    height: int
    #: Seconds since the epoch.
    indexed_at: int
    #: float32 [dimension], unit length.
    vector: Vector


@dataclass(frozen=True, slots=True)
class Known:
    """What the store remembers of an image's file."""

    path: str
    size: int
    mtime_ns: int
    #: Seconds since the epoch.
    indexed_at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Match:
    """One stored image near a query."""

    path: str
    score: float


def image_id(path: str) -> str:
    """32 hex digits: BLAKE2b-128 of the path's bytes, relative to the image root. Any file name has one."""
    return blake2b(fsencode(path), digest_size=16).hexdigest()


class Collection(Protocol):
    """The rows of one library and one fingerprint. Every call ends within the store's timeout."""

    def known(self, paths: Sequence[str]) -> Mapping[str, Known]:
        """What is stored of these paths, by path; paths without a row are left out."""

    def upsert(self, rows: Sequence[Row]) -> None:
        """Write rows; a row whose id exists is replaced. Of equal paths in `rows` the last wins.

        Raises StoreRejected for vectors that are not finite, not of unit length or not of the collection's dimension.
        """

    def search(self, vectors: Vector, limit: int) -> list[list[Match]]:
        """For each of the vectors [n, dimension] up to `limit` matches, best first."""

    def vector(self, path: str) -> Vector | None:
        """The stored vector of that path, float32 [dimension], or None."""

    def scan(self, folder: str, after: str, page: int) -> Sequence[tuple[str, Known]]:
        """Up to `page` rows (id, known) below `folder` with id > `after`, ordered by id."""

    def delete(self, paths: Sequence[str]) -> None:
        """Remove the rows of these paths; paths without a row are ignored."""

    def count(self) -> int:
        """Exact number of rows, all finished writes included."""


class VectorStore(Protocol):
    """Collections by library and model."""

    def collection(self, library: str, spec: ModelSpec, *, create: bool) -> Collection | None:
        """The collection of that library and fingerprint; None where it does not exist and `create` is False.

        Safe to call from several processes at once; also sees to the alias of library and model.
        """

    def in_service(self, library: str, model: str) -> str | None:
        """Fingerprint of the collection that the alias of library and model points to; None without an alias."""

    def point(self, library: str, model: str, spec: ModelSpec) -> None:
        """Let that alias point to the collection of `spec`, which exists; raises StoreRejected if it does not."""

    def ping(self) -> None:
        """Return if the store answers; raises StoreUnavailable or StoreRejected."""

    def close(self) -> None:
        """Give back connections; the store is not used afterwards."""
