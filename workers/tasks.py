"""The tasks: names, checks of what arrives, results. Children alone import `workers.runtime`, which does the work."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task
from pydantic import ValidationError

import workers.lifecycle  # noqa: F401 -- connects the signals of the worker
from workers.app import app
from workers.contract import (
    INDEX_BATCH,
    PRUNE,
    SEARCH,
    SWITCH,
    BatchMessage,
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
    from workers import runtime

    try:
        request = SearchRequest.model_validate(fields.get("request"))
    except ValidationError as error:
        return {"error": _refuse(SEARCH, error)}
    return runtime.current().search(request).model_dump()


@app.task(name=PRUNE, typing=False)
def prune(**fields: Any) -> dict[str, Any]:
    """Look through one page of rows; see `PruneRequest` and `PruneAnswer`."""
    from workers import runtime

    try:
        request = PruneRequest.model_validate(fields.get("request"))
    except ValidationError as error:
        return {"error": _refuse(PRUNE, error)}
    return runtime.current().prune(request).model_dump()


@app.task(name=SWITCH, typing=False)
def switch(**fields: Any) -> dict[str, Any]:
    """Compare two models, or let one answer for the other; see `SwitchRequest` and `SwitchAnswer`."""
    from workers import runtime

    try:
        request = SwitchRequest.model_validate(fields.get("request"))
    except ValidationError as error:
        return {"error": _refuse(SWITCH, error)}
    return runtime.current().switch(request).model_dump()


def _refuse(task: str, error: ValidationError) -> str:
    """Drop a message that no producer of this version sends: it must not stop the worker, nor come back."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the message"
    sentence = f"A message for {task} was refused: {where}: {first['msg']}; use the producer of this version."
    logger.error(sentence)
    return sentence
