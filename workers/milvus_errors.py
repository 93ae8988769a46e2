"""What the errors of pymilvus and gRPC mean for the caller: away for a while, or refused for good."""

from __future__ import annotations

import grpc

from workers.store import StoreError, StoreRejected, StoreUnavailable

# Codes of Milvus' package merr. pymilvus sets 2 for a connection that failed.
_COLLECTION_NOT_FOUND = 100
_COLLECTION_NOT_LOADED = 101
#: Not ready, unavailable, out of memory, too many requests, rate limit, still loading, no node for a channel.
_AWAY = {2, 3, 4, 8, 103, 502, 503, 901, 902, 903}
_AWAY_RPC = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
#: pymilvus gives these no code: its own waiting ran out, or it closed its channel after the server had died.
_AWAY_TEXTS = ("wait for loading collection timeout", "closed channel", "should create connection first")
#: Characters of the server's own words that a sentence quotes.
_QUOTE_MAX = 300


class CollectionGone(StoreRejected):
    """The collection does not exist any more."""


class CollectionNotLoaded(StoreUnavailable):
    """The collection exists and must be loaded before it is read."""


def translated(error: Exception, address: str) -> StoreError:
    """The store's error for one of pymilvus or gRPC; its text is a sentence."""
    root = error.__cause__ if isinstance(error.__cause__, grpc.RpcError) else error
    code, text = _code(root), _text(root)
    if code == _COLLECTION_NOT_FOUND:
        return CollectionGone(f"A collection was dropped from Milvus at {address} ({text}); index its images again.")
    if code == _COLLECTION_NOT_LOADED:
        return CollectionNotLoaded(f"Milvus at {address} has not loaded a collection ({text}); wait, or load it.")
    if _is_away(root, code, text):
        return StoreUnavailable(f"Milvus at {address} does not answer ({text}); start it or wait until it is back.")
    return StoreRejected(f"Milvus at {address} refused: {text} (code {code}).")


def _is_away(error: BaseException, code: object, text: str) -> bool:
    return (
        code in _AWAY
        or code in _AWAY_RPC
        or isinstance(error, grpc.FutureTimeoutError)
        or bool(getattr(error, "retriable", False))
        or any(known in text for known in _AWAY_TEXTS)
    )


def _code(error: BaseException) -> object:
    code = getattr(error, "code", None)
    return code() if callable(code) else code


def _text(error: BaseException) -> str:
    details = getattr(error, "details", None)
    text = str(details() if callable(details) else getattr(error, "message", error))
    return " ".join(text.split())[:_QUOTE_MAX] or type(error).__name__
