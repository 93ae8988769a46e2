"""The tasks: names, checks of what arrives, results. Children alone import `workers.runtime`, which does the work."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task
from pydantic import ValidationError

import workers.lifecycle  # noqa: F401 -- connects the signals of the worker
from workers.app import app
from workers.checks import CHECK, WHY, CheckRequest, WhyRequest
from workers.contract import (
    INDEX_BATCH,
    PRUNE,
    SEARCH,
    SWITCH,
    BatchMessage,
    Message,
    PruneRequest,
    SearchRequest,
    SwitchRequest,
)

logger = logging.getLogger(__name__)


@app.task(name=INDEX_BATCH, bind=True, ignore_result=True, typing=False)
def index_batch(self: Task, **fields: Any) -> str:
    """Index one batch of images; see `BatchMessage`."""
    from workers import runtime

    try:
        message = BatchMessage.model_validate(fields)
    except ValidationError as error:
        return _refuse(INDEX_BATCH, error)
    redelivered = bool((self.request.delivery_info or {}).get("redelivered"))
    return runtime.current().index(message, redelivered=redelivered)


@app.task(name=SEARCH, typing=False)
def search(**fields: Any) -> dict[str, Any]:
    """Answer up to 64 queries; see `SearchRequest` and `SearchAnswer`."""
    return _answered(SEARCH, SearchRequest, "search", fields)


@app.task(name=PRUNE, typing=False)
def prune(**fields: Any) -> dict[str, Any]:
    """Look through one page of rows; see `PruneRequest` and `PruneAnswer`."""
    return _answered(PRUNE, PruneRequest, "prune", fields)


@app.task(name=SWITCH, typing=False)
def switch(**fields: Any) -> dict[str, Any]:
    """Compare two models, or let one answer for the other; see `SwitchRequest` and `SwitchAnswer`."""
    return _answered(SWITCH, SwitchRequest, "switch", fields)


@app.task(name=CHECK, typing=False)
def check(**fields: Any) -> dict[str, Any]:
    """Say of a page of files whether they are indexed; see `CheckRequest` and `CheckAnswer`."""
    return _answered(CHECK, CheckRequest, "check", fields)


@app.task(name=WHY, typing=False)
def why(**fields: Any) -> dict[str, Any]:
    """Say what is known of one image; see `WhyRequest` and `WhyAnswer`."""
    return _answered(WHY, WhyRequest, "why", fields)


def _answered(task: str, kind: type[Message], method: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Have the runtime's `method` answer the request; a message that is none is refused."""
    from workers import runtime

    try:
        request = kind.model_validate(fields.get("request"))
    except ValidationError as error:
        return {"error": _refuse(task, error)}
    answer: Message = getattr(runtime.current(), method)(request)
    return answer.model_dump()


def _refuse(task: str, error: ValidationError) -> str:
    """Drop a message that no producer of this version sends: it must not stop the worker, nor come back."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the message"
    sentence = f"A message for {task} was refused: {where}: {first['msg']}; use the producer of this version."
    logger.error(sentence)
    return sentence
