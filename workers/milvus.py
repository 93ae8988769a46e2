"""MilvusStore: the vector store on a Milvus server, or on the Milvus Lite of the local stack.

One collection per library and fingerprint, named `library__model__fingerprint`; the alias `library__model` is made with
the first of them and never moved here, so that a new version of a model is built beside the one in service.

    field       type              what
    id          VARCHAR(32) key   BLAKE2b-128 of the path's bytes, hex
    path        VARCHAR(16384)    relative to the image root, escaped as in workers.milvus_rows
    size        INT64             bytes of the file
    mtime_ns    INT64             nanoseconds since the epoch
    content     VARCHAR(32)       BLAKE2b-128 of the file's bytes, hex
    width       INT32             pixels, upright
    height      INT32             pixels, upright
    indexed_at  INT64             seconds since the epoch
    vector      FLOAT_VECTOR      unit length; index `vector`, its metric and type from the settings

No exception of pymilvus or gRPC leaves this file.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import grpc
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from models.spec import ModelSpec
from workers import milvus_errors, milvus_rows
from workers.milvus_collection import MilvusCollection
from workers.settings import Settings
from workers.store import StoreRejected, StoreUnavailable

#: What the local stack's Milvus Lite adds to its version: there, several processes may write.
ONE_WRITER_MARK = "+one-writer"
#: Seconds that one attempt to connect may take.
CONNECT_SECONDS = 2.0

_BUILD: Mapping[str, Mapping[str, int]] = {"HNSW": {"M": 16, "efConstruction": 200}, "IVF_FLAT": {"nlist": 1024}}
# It logs a traceback for each attempt on a server that is away; all it has to say is in the errors raised here.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

_ALIAS_IS_THERE = re.compile("alias.*(already|exist)", re.IGNORECASE)
_ALIAS_IS_NOT_THERE = re.compile(r"alias.*(not (exist|found)|no such)|not found.*alias", re.IGNORECASE)


class MilvusStore:
    """A VectorStore. Connects at the first call, so that it may be made before a fork, and again after an outage."""

    def __init__(
        self, uri: str, token: str = "", *, metric: str = "COSINE", index_type: str = "HNSW", timeout: float = 15.0
    ) -> None:
        """`timeout`: seconds that one request may take. Raises StoreRejected for a URI that names no server."""
        parts = urlsplit(uri)
        if parts.scheme not in {"http", "https", "tcp"} or not parts.hostname:
            raise StoreRejected("The Milvus URI names no server; write IMAGEFLEET_MILVUS_URI as http://host:19530.")
        # pymilvus repeats a request until its timeout is over and may begin a last attempt just before.
        self.timeout = timeout / 2
        self._metric = metric
        self._index_type = index_type
        self._uri = uri
        self._token = token
        #: For sentences; the URI itself may hold a password.
        self._address = f"{parts.hostname}:{parts.port or 19530}"
        self._client: Any = None
        self._connecting = threading.Lock()
        self._collections: dict[tuple[str, bool], MilvusCollection] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> MilvusStore:
        """The store that the settings name; connects to nothing yet."""
        return cls(
            settings.milvus_uri,
            settings.milvus_token.get_secret_value(),
            metric=settings.metric,
            index_type=settings.index_type,
            timeout=settings.store_timeout,
        )

    def ping(self) -> None:
        self.call(lambda client: client.get_server_version(timeout=self.timeout))

    def close(self) -> None:
        self._give_up(self._client)

    def collection(self, library: str, spec: ModelSpec, *, create: bool) -> MilvusCollection | None:
        """As promised by VectorStore; asks the server once, until it says that the collection is gone."""
        key = (milvus_rows.collection_name(library, spec), create)
        if key not in self._collections:
            found = self._prepared(library, spec, create=create)
            if found is None:
                return None
            self._collections[key] = found
        return self._collections[key]

    def in_service(self, library: str, model: str) -> str | None:
        """As promised by VectorStore."""
        alias = milvus_rows.alias_name(library, model)
        try:
            found = self.call(lambda client: client.describe_alias(alias, timeout=self.timeout))
        except StoreRejected as error:
            if _ALIAS_IS_NOT_THERE.search(str(error)):
                return None
            raise
        return milvus_rows.fingerprint_of(found["collection_name"])

    def point(self, library: str, model: str, spec: ModelSpec) -> None:
        """As promised by VectorStore."""
        alias, name = milvus_rows.alias_name(library, model), milvus_rows.collection_name(library, spec)
        self._point(alias, name)
        self.call(lambda client: client.alter_alias(name, alias, timeout=self.timeout))

    def forget(self, name: str) -> None:
        """Ask the server anew for that collection at the next call."""
        for create in (True, False):
            self._collections.pop((name, create), None)

    def load(self, name: str) -> None:
        """Have the collection ready for reading; a loaded one stays as it is."""
        self.call(lambda client: client.load_collection(name, timeout=self.timeout))

    def call(self, request: Callable[[Any], Any]) -> Any:
        """The one gate to the server: gives a connected client, raises StoreUnavailable or StoreRejected."""
        client = None
        try:
            client = self._connected()
            return request(client)
        except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as error:
            translated = milvus_errors.translated(error, self._address)
            if isinstance(translated, StoreUnavailable):
                self._give_up(client)  # after an outage pymilvus may keep a dead channel for good
            raise translated from error

    def _prepared(self, library: str, spec: ModelSpec, *, create: bool) -> MilvusCollection | None:
        name, dimension = milvus_rows.collection_name(library, spec), spec.feature.dimension
        if create:
            self._make(name, dimension)
        index = self._index(name) if self._exists(name) else None
        if index is None:  # not there, or another process is still making it
            return None
        self._check(name, dimension, index["metric_type"])
        self.load(name)
        if create:
            self._point(milvus_rows.alias_name(library, spec.name), name)
        remake = (lambda: self._prepared(library, spec, create=True)) if create else None
        return MilvusCollection(self, name, dimension, index["index_type"], remake)

    def _connected(self) -> Any:
        with self._connecting:
            if self._client is None:
                self._client = self._connect(min(CONNECT_SECONDS, self.timeout))
            return self._client

    def _connect(self, timeout: float) -> Any:
        client = MilvusClient(self._uri, token=self._token, timeout=timeout, dedicated=True)
        version = client.get_server_version(timeout=timeout)
        if version.startswith("milvus_lite") and not version.endswith(ONE_WRITER_MARK):
            client.close()
            raise StoreRejected(
                f"A plain Milvus Lite answers on {self._address}; it loses rows when several processes write. "
                "Start it with `imagefleet up` or with `python -m workers.local.milvus_lite --data-dir DIR`."
            )
        return client

    def _give_up(self, client: Any) -> None:
        with self._connecting:
            if client is not None and client is self._client:
                self._client = None
                with suppress(Exception):  # the connection is given up, whatever it says
                    client.close()

    def _exists(self, name: str) -> bool:
        return bool(self.call(lambda client: client.has_collection(name, timeout=self.timeout)))

    def _index(self, name: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self.call(
            lambda client: client.describe_index(name, "vector", timeout=self.timeout)
        )
        return found

    def _make(self, name: str, dimension: int) -> None:
        """Make what is missing; another process may make the same at the same moment, or have died half-way."""
        if not self._exists(name):
            self._race(lambda client: self._create(client, name, dimension), lambda: self._exists(name))
        if self._index(name) is None:
            self._race(lambda client: self._create_index(client, name), lambda: self._index(name) is not None)

    def _race(self, make: Callable[[Any], object], made: Callable[[], bool]) -> None:
        try:
            self.call(make)
        except StoreRejected:
            if not made():
                raise

    def _create(self, client: Any, name: str, dimension: int) -> None:
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=32)
        schema.add_field("path", DataType.VARCHAR, max_length=milvus_rows.PATH_MAX)
        schema.add_field("size", DataType.INT64)
        schema.add_field("mtime_ns", DataType.INT64)
        schema.add_field("content", DataType.VARCHAR, max_length=32)
        schema.add_field("width", DataType.INT32)
        schema.add_field("height", DataType.INT32)
        schema.add_field("indexed_at", DataType.INT64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
        client.create_collection(name, schema=schema, consistency_level="Strong", timeout=self.timeout)

    def _create_index(self, client: Any, name: str) -> None:
        index = MilvusClient.prepare_index_params()
        build = dict(_BUILD.get(self._index_type, {}))
        index.add_index("vector", self._index_type, "vector", metric_type=self._metric, params=build)
        # Nothing is there to be indexed yet; waiting for it, pymilvus would know no deadline.
        client.create_index(name, index, timeout=self.timeout, sync=False)

    def _check(self, name: str, dimension: int, metric: str) -> None:
        description = self.call(lambda client: client.describe_collection(name, timeout=self.timeout))
        parameters = {field["name"]: field["params"] for field in description["fields"]}
        found = int(parameters.get("vector", {}).get("dim", 0))
        if found != dimension:
            raise StoreRejected(
                f"Collection {name} holds vectors of {found} numbers, the model gives {dimension}; "
                "drop that collection or use another library."
            )
        if metric != self._metric:
            raise StoreRejected(
                f"Collection {name} was made with the metric {metric}, the settings say {self._metric}; "
                f"set IMAGEFLEET_METRIC={metric} or use another library."
            )

    def _point(self, alias: str, name: str) -> None:
        """Let the alias point to the collection unless it points to another."""
        try:
            self.call(lambda client: client.create_alias(name, alias, timeout=self.timeout))
        except StoreRejected as error:
            if not _ALIAS_IS_THERE.search(str(error)):
                raise
