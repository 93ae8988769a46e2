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
    return runtime.current().index(message, redelivered=_came_back(self))


@app.task(name=SEARCH, bind=True, typing=False)
def search(self: Task, **fields: Any) -> dict[str, Any]:
    """Answer up to 64 queries; see `SearchRequest` and `SearchAnswer`."""
    return _answered(self, SearchRequest, "search", fields)


@app.task(name=PRUNE, bind=True, typing=False)
def prune(self: Task, **fields: Any) -> dict[str, Any]:
    """Look through one page of rows; see `PruneRequest` and `PruneAnswer`."""
    return _answered(self, PruneRequest, "prune", fields)


@app.task(name=SWITCH, bind=True, typing=False)
def switch(self: Task, **fields: Any) -> dict[str, Any]:
    """Compare two models, or let one answer for the other; see `SwitchRequest` and `SwitchAnswer`."""
    return _answered(self, SwitchRequest, "switch", fields)


@app.task(name=CHECK, bind=True, typing=False)
def check(self: Task, **fields: Any) -> dict[str, Any]:
    """Say of a page of files whether they are indexed; see `CheckRequest` and `CheckAnswer`."""
    return _answered(self, CheckRequest, "check", fields)


@app.task(name=WHY, bind=True, typing=False)
def why(self: Task, **fields: Any) -> dict[str, Any]:
    """Say what is known of one image; see `WhyRequest` and `WhyAnswer`."""
    return _answered(self, WhyRequest, "why", fields)


def _answered(task: Task, kind: type[Message], method: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Have the runtime's `method` answer the request; a message that is none, or that ends processes, is refused."""
    from workers import runtime

    if _came_back(task) and not runtime.current().may_answer(task.request.id):
        logger.error("Request %s ended every process that worked on it; it is dropped", task.request.id)
        return {"error": _DEADLY}

    try:
        request = kind.model_validate(fields.get("request"))
    except ValidationError as error:
        return {"error": _refuse(task.name, error)}
    answer: Message = getattr(runtime.current(), method)(request)
    return answer.model_dump()


_DEADLY = (
    "Every process that worked on this request ended without an answer; see the log of the search workers, and leave"
    " out the picture that is to blame."
)


def _came_back(task: Task) -> bool:
    """Whether the broker handed this message out before."""
    return bool((task.request.delivery_info or {}).get("redelivered"))


def _refuse(task: str, error: ValidationError) -> str:
    """Drop a message that no producer of this version sends: it must not stop the worker, nor come back."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the message"
    sentence = f"A message for {task} was refused: {where}: {first['msg']}; use the producer of this version."
    logger.error(sentence)
    return sentence
