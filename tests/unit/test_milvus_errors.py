"""Which errors mean waiting and which mean no."""

from __future__ import annotations

import grpc
import pytest
from pymilvus.exceptions import MilvusException

from workers.milvus_errors import CollectionGone, CollectionNotLoaded, translated
from workers.store import StoreError, StoreRejected, StoreUnavailable


class RpcError(grpc.RpcError):  # type: ignore[misc]  # gRPC ships no types
    """As gRPC raises it, with a code and details."""

    def __init__(self, code: grpc.StatusCode, details: str = "words of\nthe server") -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MilvusException(2, "Fail connecting to server on 127.0.0.1:1"), StoreUnavailable),
        (MilvusException(8, "rate limit exceeded"), StoreUnavailable),
        (MilvusException(1, "service not ready", retriable=True), StoreUnavailable),
        (MilvusException(103, "collection not fully loaded"), StoreUnavailable),
        (MilvusException(grpc.StatusCode.UNAVAILABLE, "[upsert] Retry timeout: 7.5s"), StoreUnavailable),
        (MilvusException(message="Unexpected error, message=<Cannot invoke RPC on closed channel!>"), StoreUnavailable),
        (MilvusException(message="wait for loading collection timeout, collection: x"), StoreUnavailable),
        (RpcError(grpc.StatusCode.UNAVAILABLE), StoreUnavailable),
        (RpcError(grpc.StatusCode.DEADLINE_EXCEEDED), StoreUnavailable),
        (MilvusException(101, "collection not loaded"), CollectionNotLoaded),
        (MilvusException(100, "can't find collection"), CollectionGone),
        (MilvusException(9, "force deny: quota of the disk exceeded"), StoreRejected),
        (MilvusException(1100, "invalid parameter"), StoreRejected),
        (MilvusException(65535, "auth check failure"), StoreRejected),
        (RpcError(grpc.StatusCode.UNAUTHENTICATED), StoreRejected),
        (RpcError(grpc.StatusCode.PERMISSION_DENIED), StoreRejected),
        (RpcError(grpc.StatusCode.UNIMPLEMENTED), StoreRejected),
    ],
    ids=str,
)
def test_an_error_means_waiting_or_no(error: Exception, expected: type[StoreError]) -> None:
    result = translated(error, "host:1")

    assert type(result) is expected
    assert "host:1" in str(result)
    assert "\n" not in str(result)


def test_a_refused_password_is_not_taken_for_an_outage() -> None:
    # pymilvus reports every failure to connect with the code of an outage, and keeps the reason as its cause
    error = MilvusException(2, "illegal connection params or server unavailable")
    error.__cause__ = RpcError(grpc.StatusCode.UNAUTHENTICATED, "wrong password")

    result = translated(error, "host:1")

    assert isinstance(result, StoreRejected)
    assert "wrong password" in str(result)
