"""Every store that must pass the one suite: in memory, Milvus Lite, and a Milvus server where one is named."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.fakes import InMemoryStore
from tests.specs import tiny_spec
from workers.milvus import MilvusStore
from workers.store import Collection, Row, Vector, VectorStore

#: Names the URI of a Milvus server that may be filled with collections of tests.
SERVER_VARIABLE = "IMAGEFLEET_TEST_MILVUS_SERVER"
DIMENSION = 8


REAL = ["milvus-lite", "milvus-server"] if SERVER_VARIABLE in os.environ else ["milvus-lite"]


@pytest.fixture(params=REAL)
def uri(request: pytest.FixtureRequest) -> str:
    """The address of a real store."""
    return _uri(request.param, request)


@pytest.fixture
def milvus(uri: str) -> Iterator[MilvusStore]:
    """A real store."""
    made = MilvusStore(uri)
    yield made
    made.close()


@pytest.fixture(params=["memory", *REAL])
def store(request: pytest.FixtureRequest) -> Iterator[VectorStore]:
    made: VectorStore = InMemoryStore() if request.param == "memory" else MilvusStore(_uri(request.param, request))
    yield made
    made.close()


def _uri(kind: str, request: pytest.FixtureRequest) -> str:
    return os.environ[SERVER_VARIABLE] if kind == "milvus-server" else str(request.getfixturevalue("milvus_uri"))


@pytest.fixture
def library() -> str:
    """A library that no other test uses."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def collection(store: VectorStore, library: str) -> Collection:
    """An empty collection."""
    made = store.collection(library, tiny_spec(dimension=DIMENSION), create=True)
    assert made is not None
    return made


@pytest.fixture
def row() -> Callable[..., Row]:
    """Makes a row for a path; its vector points somewhere else each time."""
    random = np.random.default_rng(7)

    def make(path: str, vector: Vector | None = None, size: int = 10, mtime_ns: int = 20) -> Row:
        given = unit(random.normal(size=DIMENSION)) if vector is None else vector
        return Row(path, size, mtime_ns, content="c" * 32, width=4, height=3, indexed_at=1, vector=given)

    return make


def unit(numbers: object) -> Vector:
    """A vector of length 1 in the direction of the numbers."""
    vector = np.asarray(numbers, dtype=np.float32)
    scaled: Vector = vector / np.linalg.norm(vector)
    return scaled
