"""InMemoryStore: a vector store in a dict; it passes the suite of the real ones (tests/contract/test_store.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.spec import ModelSpec
from workers.milvus_rows import check_vectors, checked
from workers.store import Known, Match, Row, StoreRejected, StoreUnavailable, Vector, image_id


class InMemoryCollection:
    """The rows by their ids; compares the query with each of them."""

    def __init__(self, store: InMemoryStore, dimension: int) -> None:
        self._store = store
        self._dimension = dimension
        self._rows: dict[str, Row] = {}

    def known(self, paths: Sequence[str]) -> Mapping[str, Known]:
        self._store.ping()
        return {path: _known(self._rows[image_id(path)]) for path in paths if image_id(path) in self._rows}

    def upsert(self, rows: Sequence[Row]) -> None:
        self._store.ping()
        self._rows |= {image_id(row.path): row for row in checked(rows, self._dimension)}

    def search(self, vectors: Vector, limit: int) -> list[list[Match]]:
        self._store.ping()
        check_vectors(vectors, self._dimension, what="The query's vector")
        return [self._nearest(vector, limit) for vector in vectors]

    def vector(self, path: str) -> Vector | None:
        self._store.ping()
        row = self._rows.get(image_id(path))
        return None if row is None else row.vector

    def scan(self, folder: str, after: str, page: int) -> Sequence[tuple[str, Known]]:
        self._store.ping()
        below = folder.rstrip("/") + "/" if folder else ""
        found = [(id_, row) for id_, row in sorted(self._rows.items()) if id_ > after and row.path.startswith(below)]
        return [(id_, _known(row)) for id_, row in found[:page]]

    def delete(self, paths: Sequence[str]) -> None:
        self._store.ping()
        for path in paths:
            self._rows.pop(image_id(path), None)

    def count(self) -> int:
        self._store.ping()
        return len(self._rows)

    def _nearest(self, query: Vector, limit: int) -> list[Match]:
        scored = [Match(row.path, float(np.dot(row.vector, query))) for row in self._rows.values()]
        return sorted(scored, key=lambda match: -match.score)[:limit]


class InMemoryStore:
    """Set `away` to have every call raise StoreUnavailable, as a store does that is restarted."""

    def __init__(self) -> None:
        self.away = False
        self._collections: dict[tuple[str, str], InMemoryCollection] = {}
        self._aliases: dict[tuple[str, str], str] = {}

    def collection(self, library: str, spec: ModelSpec, *, create: bool) -> InMemoryCollection | None:
        self.ping()
        key = (library, spec.fingerprint)
        if create and key not in self._collections:
            self._collections[key] = InMemoryCollection(self, spec.feature.dimension)
            self._aliases.setdefault((library, spec.name), spec.fingerprint)
        return self._collections.get(key)

    def in_service(self, library: str, model: str) -> str | None:
        self.ping()
        return self._aliases.get((library, model))

    def point(self, library: str, model: str, spec: ModelSpec) -> None:
        if self.collection(library, spec, create=False) is None:
            raise StoreRejected("There is no such collection in memory; create it first.")
        self._aliases[library, model] = spec.fingerprint

    def ping(self) -> None:
        if self.away:
            raise StoreUnavailable("The store in memory is away; set `away` to False.")

    def close(self) -> None:
        """Nothing is held."""


def _known(row: Row) -> Known:
    return Known(row.path, row.size, row.mtime_ns, row.indexed_at)
