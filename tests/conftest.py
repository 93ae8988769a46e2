"""Servers for the tests that ask for them: one each for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.services import start_milvus_lite, start_redis


@pytest.fixture(scope="session")
def milvus_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Milvus Lite for the whole run; tests keep apart by the names of their libraries."""
    service = start_milvus_lite(tmp_path_factory.mktemp("milvus") / "data")
    yield service.url
    service.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis for the whole run."""
    service = start_redis(tmp_path_factory.mktemp("redis") / "data")
    yield service.url
    service.stop()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The address of a Redis that is empty."""
    with redis.Redis.from_url(redis_server) as connection:
        connection.flushall()
    return redis_server
