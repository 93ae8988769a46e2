"""Milvus Lite as a server that several processes may write to.

    python -m workers.local.milvus_lite --data-dir DIR --port 19530

The server that comes with Milvus Lite takes requests in parallel, while its engine allows one writer: two at once spoil
the log, which shows only after a crash. A reader that meets a flush misses rows. So this entry lets requests that touch
data in one at a time. It also closes the data folder on SIGTERM as on SIGINT, and writes rows out early: a search walks
the rows that are not yet written out one by one.

An acknowledged row survives the death of the server, though not a loss of power: the log is handed to the system, not
forced to the disk. Milvus Lite knows no passwords; keep it on the loopback address.

This entry and `workers.milvus` are the only files that import pymilvus; here it gives the generated gRPC service.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

#: Bytes of rows held in memory before they are written out: about 2,000 rows of 512 numbers, which add 0.1 s to a
#: search. Milvus Lite's own 128 MiB add seconds.
MEMORY_LIMIT = 4 * 2**20
# Both are read once, by the imports below. The system's allocator gives memory back that Arrow's own keeps.
os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", str(MEMORY_LIMIT))
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

import grpc  # noqa: E402
from milvus_lite.adapter.grpc.servicer import MilvusServicer  # noqa: E402
from milvus_lite.db import MilvusLite  # noqa: E402
from milvus_lite.exceptions import DataDirLockedError  # noqa: E402
from pymilvus.grpc_gen.milvus_pb2_grpc import add_MilvusServiceServicer_to_server  # noqa: E402

from workers.milvus import ONE_WRITER_MARK  # noqa: E402

#: Seconds without a write after which the rows in memory are written out.
QUIET_SECONDS = 2.0
#: Seconds that requests under way are given when the server stops.
GRACE_SECONDS = 5.0
#: Bytes of one request, as on a Milvus server.
REQUEST_LIMIT = 64 * 2**20
#: Requests that wait for their turn at most at once; further ones queue outside.
WAITING_REQUESTS = 32
#: Requests that touch no data.
_FREE = {"Connect", "GetVersion", "CheckHealth"}
_WRITES = {"Insert", "Upsert", "Delete"}

logger = logging.getLogger(__name__)

_Behaviour = Callable[[Any, grpc.ServicerContext], Any]


class CannotServe(Exception):
    """The server cannot start; the text says why and what to do."""


class OneAtATime(grpc.ServerInterceptor):  # type: ignore[misc]  # gRPC ships no types
    """Gives each request that touches data its turn, and remembers when rows were last written."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        #: Monotonic seconds of the last write that was not yet written out; None if there is none.
        self.dirty_since: float | None = None

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        handler = continuation(handler_call_details)
        method = handler_call_details.method.rpartition("/")[2]
        if handler is None or handler.unary_unary is None or method in _FREE:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            self._in_turn(handler.unary_unary, writes=method in _WRITES),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _in_turn(self, behaviour: _Behaviour, *, writes: bool) -> _Behaviour:
        def wait_and_answer(request: Any, context: grpc.ServicerContext) -> Any:
            with self.turn:
                if not context.is_active():  # the asker gave up while waiting
                    context.abort(grpc.StatusCode.CANCELLED, "The request was given up.")
                if writes:
                    self.dirty_since = time.monotonic()
                return behaviour(request, context)

        return wait_and_answer


class _Servicer(MilvusServicer):  # type: ignore[misc]  # Milvus Lite ships no types
    """Says in its version that writers are safe here."""

    def GetVersion(self, request: Any, context: grpc.ServicerContext) -> Any:
        answer = super().GetVersion(request, context)
        answer.version += ONE_WRITER_MARK
        return answer


def serve(data_dir: str, host: str, port: int, stop: threading.Event) -> None:
    """Serve until `stop` is set, then close the data folder; raises CannotServe."""
    database = _open(data_dir)
    try:
        gate = OneAtATime()
        server, bound = _listen(database, gate, host, port)
        print(f"Milvus Lite answers on {host}:{bound}; its data is in {data_dir}.", flush=True)  # noqa: T201
        while not stop.wait(QUIET_SECONDS / 4):
            _write_out_when_quiet(database, gate)
        server.stop(GRACE_SECONDS).wait()
    finally:
        database.close()


def _open(data_dir: str) -> Any:
    try:
        database = MilvusLite(data_dir)
    except DataDirLockedError:
        raise CannotServe(f"Another Milvus Lite serves {data_dir}; stop it or choose another --data-dir.") from None
    except OSError as error:
        raise CannotServe(
            f"{data_dir} cannot be used ({error.strerror}); name a folder with --data-dir that may be written to."
        ) from None
    # Milvus Lite opens collections at their first request and leaves indexed ones unloaded; searches would be refused.
    _for_each_collection(database, lambda collection: collection.load())
    return database


def _for_each_collection(database: Any, act: Callable[[Any], object]) -> None:
    """Act on every collection that can be opened; a damaged one or a full disk must not take the others away."""
    for name in database.list_collections():
        try:
            act(database.get_collection(name))
        except Exception as error:
            logger.error("Collection %s failed (%s: %s); the others are served.", name, type(error).__name__, error)


def _listen(database: Any, gate: OneAtATime, host: str, port: int) -> tuple[grpc.Server, int]:
    server = grpc.server(
        ThreadPoolExecutor(WAITING_REQUESTS),
        interceptors=[gate],
        options=[
            ("grpc.so_reuseport", 0),  # otherwise two servers share a port without a word
            ("grpc.max_receive_message_length", REQUEST_LIMIT),
            ("grpc.max_send_message_length", -1),
        ],
    )
    add_MilvusServiceServicer_to_server(_Servicer(database), server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        raise CannotServe(f"{host}:{port} cannot be listened on; free the port or choose another --port.") from None
    server.start()
    return server, bound


def _write_out_when_quiet(database: Any, gate: OneAtATime) -> None:
    if gate.dirty_since is None or time.monotonic() - gate.dirty_since < QUIET_SECONDS:
        return
    with gate.turn:
        gate.dirty_since = None
        _for_each_collection(database, lambda collection: collection.flush())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m workers.local.milvus_lite", description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", required=True, help="folder of the data; made if missing")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; there are no passwords")
    parser.add_argument("--port", type=int, default=19530, help="0 picks a free one")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    stop = threading.Event()
    # Set even where the parent left SIGINT ignored, as a shell does for what it puts in the background.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        serve(options.data_dir, options.host, options.port, stop)
    except CannotServe as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
