"""The composition root of a worker process: one encoder per model, one store, one ledger, made after the process began.

CUDA and gRPC do not survive a fork (FACTS, Celery 6), so nothing here is made in the main process of a worker.
"""

from __future__ import annotations

import base64
import logging
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import cast

from models import preprocess
from models.errors import ModelError
from models.spec import ModelSpec, find
from workers import audit, batch, devices, pipeline
from workers.advice import summary
from workers.app import app, send_batch
from workers.checks import CheckAnswer, CheckRequest, WhyAnswer, WhyRequest
from workers.clocks import Clocks
from workers.contract import (
    Answer,
    BatchMessage,
    Failure,
    Image,
    PruneAnswer,
    PruneRequest,
    Query,
    SearchAnswer,
    SearchRequest,
    SwitchAnswer,
    SwitchRequest,
)
from workers.failure_memory import FailureMemory
from workers.held import HeldModels, NotServed
from workers.image_root import ImageRoot, RootUnavailable
from workers.leases import Begun, Leases, Notes
from workers.ledger import Ledger, LedgerUnavailable, connect
from workers.milvus import MilvusStore
from workers.pipeline import BatchResult
from workers.presence import Presence, Report, Reporter
from workers.prune import prune
from workers.settings import Settings
from workers.store import Collection, StoreError, Vector
from workers.versions import compare

logger = logging.getLogger(__name__)

#: Seconds before the soft limit at which a batch that waits for something is given back.
MARGIN = 15.0


#: One grey pixel, PNG; whatever a model makes of it, its session must not fail.
_GOOD_PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNoaGgAAAMEAYFL09IQAAAAAElFTkSuQmCC"
)


def _end_process() -> None:
    """Without a word to the broker, so that the batch is given back; whoever comes next has a session of its own."""
    logging.shutdown()
    os._exit(3)


def holder_name() -> str:
    """Who holds a lease: unique per process, and readable in Redis."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class Runtime:
    """Everything that the tasks of one process work with."""

    def __init__(self, settings: Settings, queues: Sequence[str]) -> None:
        """Raises ModelError if a model that `queues` name cannot be used on this machine."""
        self._settings = settings
        self._clocks = Clocks()
        self._held = HeldModels(settings, queues)
        self._root = ImageRoot(settings.image_root, settings.max_file_bytes)
        self._store = MilvusStore.from_settings(settings)
        self._redis = redis = connect(settings.redis_url.get_secret_value())
        self._reporter = self._start_reporter()
        self._context = batch.Context(
            leases=Leases.from_settings(settings, redis, holder_name()),
            ledger=Ledger(redis),
            work=self._index,
            send=partial(send_batch, app),
            max_attempts=settings.max_attempts,
            patience=max(settings.batch_seconds - MARGIN, 1.0),
            remember=self._remember,
            is_sound=self._is_sound,
            end=_end_process,
        )

    def index(self, message: BatchMessage, *, redelivered: bool) -> str:
        """Take one batch through its life; returns what became of it."""
        self._clocks.switch("queue")  # a time limit may have struck where the last batch left its stage
        return batch.run(message, self._context, redelivered=redelivered)

    def may_answer(self, task: str) -> bool:
        """Whether a request that came back is to be tried once more; False where it ends every process that does."""
        with suppress(LedgerUnavailable):
            return self._context.ledger.count_again(task, self._settings.result_expires) < self._settings.max_attempts
        return True

    def search(self, request: SearchRequest) -> SearchAnswer:
        """Answer every query, if only with the sentence that says why there are no hits."""
        try:
            with self._clocks.during("search"):
                answers = self._search(request)
        except (StoreError, ModelError, NotServed) as error:
            answers = [Answer(query=query.name, error=str(error)) for query in request.queries]
        return SearchAnswer(model=request.model, library=request.library, answers=answers)

    def prune(self, request: PruneRequest) -> PruneAnswer:
        """Look through one page of rows for files that are gone."""
        try:
            collection = self._store.collection(request.library, self._held.spec(request.model), create=False)
            if collection is None:  # nothing was ever indexed, so nothing is gone
                return PruneAnswer(looked_at=0, gone=0, deleted=0, next=None)
            return prune(request, collection=collection, root=self._root)
        except (StoreError, RootUnavailable, NotServed) as error:
            return PruneAnswer(looked_at=0, gone=0, deleted=0, next=None, error=str(error))

    def switch(self, request: SwitchRequest) -> SwitchAnswer:
        """Compare the new model with the one in service, and with `move` put it there."""
        try:
            new = self._existing(request.library, self._held.spec(request.model))
            current = self._existing(request.library, find(request.current, self._settings.model_dir))
            answer = compare(current, new, request.sample)
            if request.move:
                self._store.point(request.library, request.name, self._held.spec(request.model))
            return answer
        except (StoreError, ModelError, NotServed) as error:
            return SwitchAnswer(error=str(error))

    def check(self, request: CheckRequest) -> CheckAnswer:
        """Say of a page of files whether they are indexed as they are now."""
        try:
            collection, other = self._own(request.library, request.model)
            memory = self._memory(request.library, request.model)
            answer = audit.check(request, collection=collection, recall=memory.recall)
            return answer.model_copy(update={"other_in_service": other})
        except (StoreError, LedgerUnavailable, NotServed) as error:
            return CheckAnswer(error=str(error))

    def why(self, request: WhyRequest) -> WhyAnswer:
        """Say all that is known of one image."""
        try:
            collection, other = self._own(request.library, request.model)
            answer = audit.why(
                request,
                collection=collection,
                recall=self._memory(request.library, request.model).recall,
                to_vector=partial(self._query_vector, request.model),
                metric=self._settings.metric,
            )
            return answer.model_copy(update={"other_in_service": other})
        except (StoreError, LedgerUnavailable, ModelError, NotServed) as error:
            return WhyAnswer(error=str(error))

    def close(self) -> None:
        """Give back the connections."""
        self._reporter.close()
        self._store.close()
        self._context.ledger.close()

    def _start_reporter(self) -> Reporter:
        held = self._held
        me = Report(
            socket.gethostname(), os.getpid(), held.models, held.provider, held.decode_threads, 0.0, 0.0, None, {}
        )
        reporter = Reporter(Presence(self._redis), holder_name(), me, self._clocks, summary)
        reporter.start()
        logger.info(
            "Holds %s on %s, %d threads that decode, device %s.",
            ", ".join(held.models), held.provider, held.decode_threads, os.environ.get(devices.VISIBLE) or "by default",
        )  # fmt: skip
        return reporter

    def _collection(self, library: str, model: str) -> Collection:
        """The collection to search in; raises NotServed where another version of the model is in service."""
        spec = self._held.spec(model)
        collection = self._existing(library, spec)
        if self._store.in_service(library, model) not in (spec.fingerprint, None):
            raise NotServed(
                f"In library {library!r} another version than this worker's answers for {model!r}; search with that"
                f" one's name, or let a name answer by `imagefleet models switch {model} --to NAME`."
            )
        return collection

    def _own(self, library: str, model: str) -> tuple[Collection | None, str | None]:
        """The collection of this process's version of the model, and the fingerprint in service if that is another."""
        spec = self._held.spec(model)
        served = self._store.in_service(library, model)
        other = served if served not in (spec.fingerprint, None) else None
        return self._store.collection(library, spec, create=False), other

    def _existing(self, library: str, spec: ModelSpec) -> Collection:
        collection = self._store.collection(library, spec, create=False)
        if collection is None:
            raise NotServed(
                f"Library {library!r} holds nothing for model {spec.name!r};"
                f" run `imagefleet index DIR --model {spec.name}`."
            )
        return collection

    def _index(self, begun: Begun, waiter: batch.Waiter, beat: Callable[[], None]) -> BatchResult:
        spec = self._held.spec(begun.model)

        def collection() -> Collection:
            return cast(Collection, self._store.collection(begun.library, spec, create=True))

        with self._clocks.during("store"):
            into = waiter(collection)
        return pipeline.index_batch(
            begun.images,
            encoder=self._held.encoder(begun.model),
            collection=into,
            root=self._root,
            recall=self._memory(begun.library, begun.model).recall,
            retry_failed=begun.retry_failed,
            patience=waiter,
            micro_batch=self._held.micro_batch(begun.model),
            decode_threads=self._held.decode_threads,
            beat=beat,
            clocks=self._clocks,
        )

    def _is_sound(self, model: str) -> bool:
        encoder = self._held.encoder(model)
        try:
            encoder.encode([encoder.prepare(_GOOD_PICTURE)])
        except ModelError as error:
            logger.info("The model fails on a picture that is good: %s", error)
            return False
        return True

    def _query_vector(self, model: str, query: Query, collection: Collection) -> Vector | str:
        return pipeline.query_vector(query, self._held.encoder(model), collection, partial(self._held.read, model))

    def _memory(self, library: str, model: str) -> FailureMemory:
        return FailureMemory.from_settings(self._settings, self._redis, library, self._held.spec(model).fingerprint)

    def _remember(
        self, message: BatchMessage, begun: Begun, failed: Sequence[tuple[Image, Failure]], mended: Sequence[str]
    ) -> Notes:
        return self._memory(begun.library, begun.model).notes(message.job, failed, mended)

    def _search(self, request: SearchRequest) -> list[Answer]:
        collection = self._collection(request.library, request.model)
        return pipeline.search(
            request,
            encoder=self._held.encoder(request.model),
            collection=collection,
            root=self._root,
            read=partial(self._held.read, request.model),
            thumbnail=partial(preprocess.thumbnail, limits=self._held.limits),
        )


_current: Runtime | None = None


def start(settings: Settings, queues: Sequence[str]) -> None:
    """Make this process's runtime, once; raises ModelError."""
    global _current
    devices.take_one(os.environ, devices.pool_number())
    _current = Runtime(settings, queues)


def current() -> Runtime:
    """This process's runtime; tasks run only after `start`."""
    assert _current is not None, "the worker process was not initialised"  # noqa: S101
    return _current


def stop() -> None:
    """Close what `start` opened."""
    global _current
    if _current is not None:
        _current.close()
        _current = None
