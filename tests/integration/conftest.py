"""What integration tests share: a fleet without workers, which each test starts as it needs them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path, redis_url: str, milvus_uri: str) -> Iterator[Fleet]:
    """An empty Redis, a library of its own in the shared Milvus Lite, no workers yet."""
    made = Fleet(tmp_path, redis_url, milvus_uri, library=f"t{uuid.uuid4().hex[:10]}")
    yield made
    made.close()
