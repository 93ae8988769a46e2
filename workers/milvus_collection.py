"""MilvusCollection: the rows of one library and one fingerprint, as requests to a connected client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from workers import milvus_rows
from workers.milvus_errors import CollectionGone, CollectionNotLoaded
from workers.store import Known, Match, Row, Vector

#: Paths of one look-up; Milvus returns 16,384 rows at most.
LOOK_UP_MAX = 1000

_KNOWN_FIELDS = ["path", "size", "mtime_ns", "indexed_at"]
#: A batch that was redelivered must see what its first delivery wrote, and an image must be found once its job is done.
_STRONG = {"consistency_level": "Strong"}
#: Milvus keeps the order of ids only for what its iterators ask for; these are their parameters.
_IN_ORDER_OF_ID = {"iterator": "True", "reduce_stop_for_best": "True"}


class Gate(Protocol):
    """What a collection needs of its store."""

    #: Seconds that one request may take.
    timeout: float

    def call(self, request: Callable[[Any], Any]) -> Any:
        """The request's result; raises StoreUnavailable or StoreRejected."""

    def load(self, name: str) -> None:
        """Have the collection ready for reading."""

    def forget(self, name: str) -> None:
        """Do not give this collection to anybody any more."""


class MilvusCollection:
    """A Collection. Survives a restart of the server; one that was dropped is made anew if it may be created."""

    def __init__(
        self, gate: Gate, name: str, dimension: int, index_type: str, remake: Callable[[], object] | None
    ) -> None:
        self.name = name
        self._gate = gate
        self._dimension = dimension
        self._index_type = index_type
        self._remake = remake

    def known(self, paths: Sequence[str]) -> Mapping[str, Known]:
        rows = [row for part in _parts(paths) for row in self._query(milvus_rows.with_paths(part), _KNOWN_FIELDS)]
        return {known.path: known for known in map(_known, rows)}

    def upsert(self, rows: Sequence[Row]) -> None:
        for request in milvus_rows.requests(milvus_rows.checked(rows, self._dimension)):
            self._call(lambda client, data=request: client.upsert(self.name, data, timeout=self._gate.timeout))

    def search(self, vectors: Vector, limit: int) -> list[list[Match]]:
        milvus_rows.check_vectors(vectors, self._dimension, what="The query's vector")
        answers = self._call(
            lambda client: client.search(
                self.name,
                list(vectors.astype(np.float32)),
                limit=limit,
                output_fields=["path"],
                search_params={"params": self._effort(limit)},
                anns_field="vector",
                timeout=self._gate.timeout,
                **_STRONG,
            )
        )
        found = [[_match(hit) for hit in hits] for hits in answers]
        return found or [[] for _ in vectors]

    def vector(self, path: str) -> Vector | None:
        rows = self._query(milvus_rows.with_paths([path]), ["vector"])
        return np.asarray(rows[0]["vector"], dtype=np.float32) if rows else None

    def scan(self, folder: str, after: str, page: int) -> Sequence[tuple[str, Known]]:
        rows = self._query(milvus_rows.below(folder, after), ["id", *_KNOWN_FIELDS], limit=page, **_IN_ORDER_OF_ID)
        return [(row["id"], _known(row)) for row in rows]

    def delete(self, paths: Sequence[str]) -> None:
        for part in _parts(paths):
            condition = milvus_rows.with_paths(part)
            self._call(
                lambda client, filter=condition: client.delete(self.name, filter=filter, timeout=self._gate.timeout)
            )

    def count(self) -> int:
        return int(self._query("", ["count(*)"])[0]["count(*)"])

    def _query(self, condition: str, fields: list[str], **options: Any) -> list[Mapping[str, Any]]:
        return list(
            self._call(
                lambda client: client.query(
                    self.name, condition, fields, timeout=self._gate.timeout, **_STRONG, **options
                )
            )
        )

    def _call(self, request: Callable[..., Any]) -> Any:
        try:
            return self._gate.call(request)
        except CollectionNotLoaded:  # after a restart, or released by somebody
            self._gate.load(self.name)
        except CollectionGone:
            if self._remake is None:
                self._gate.forget(self.name)
                raise
            self._remake()
        return self._gate.call(request)

    def _effort(self, limit: int) -> Mapping[str, int]:
        """How many candidates a search looks at: well above the limit, or the answer has holes."""
        return {"HNSW": {"ef": max(128, 2 * limit)}, "IVF_FLAT": {"nprobe": 32}}.get(self._index_type, {})


def _parts(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    return (paths[start : start + LOOK_UP_MAX] for start in range(0, len(paths), LOOK_UP_MAX))


def _known(row: Mapping[str, Any]) -> Known:
    return Known(milvus_rows.original_path(row["path"]), row["size"], row["mtime_ns"], row["indexed_at"])


def _match(hit: Mapping[str, Any]) -> Match:
    return Match(milvus_rows.original_path(hit["entity"]["path"]), float(hit["distance"]))
