"""Requests that somebody waits for: builds the messages, waits for the answers, tells who is missing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from producer.errors import (
    FolderUnreadable,
    NoAnswer,
    PictureMissing,
    PictureTooLarge,
    RequestFailed,
    WrongValue,
)
from producer.places import missing
from producer.shown import counted, shown
from workers.checks import CHECK, WHY, CheckAnswer, CheckRequest, WhyAnswer, WhyRequest
from workers.contract import (
    PICTURE_MAX,
    PRUNE,
    QUERIES_MAX,
    SEARCH,
    SWITCH,
    TEXT_MAX,
    PruneAnswer,
    PruneRequest,
    Query,
    SearchAnswer,
    SearchRequest,
    SwitchAnswer,
    SwitchRequest,
    search_queue,
)
from workers.ledger import Ledger

if TYPE_CHECKING:
    from producer.broker import Broker

#: Bytes of base64 that one search message may carry; more queries go into another message.
MESSAGE_MAX = 32 * 2**20
#: Paths that a prune names as examples.
EXAMPLES = 10
#: Seconds after which it is looked at whether anybody listens at all.
GRACE = 5.0

Answer = TypeVar("Answer", bound=BaseModel)


class Request(Protocol):
    """Any message that names the model whose workers are to answer."""

    @property
    def model(self) -> str: ...

    def model_dump(self, *, exclude_none: bool = False) -> dict[str, Any]: ...


def picture_query(place: str | os.PathLike[str]) -> Query:
    """A query by the picture in that file; raises PictureMissing, FolderUnreadable and PictureTooLarge."""
    file = Path(place).expanduser()
    name = os.fspath(place)
    if not name:
        raise PictureMissing("An empty name is no picture; name one.")
    try:
        if file.is_dir():
            raise PictureMissing(f"{shown(name)} is a folder; name a picture in it.")
        if not file.is_file():
            raise PictureMissing(missing("picture", name))
        size = file.stat().st_size
        if size > PICTURE_MAX:
            raise PictureTooLarge(
                f"{shown(name)} has {size / 2**20:.0f} MiB and a query picture may have {PICTURE_MAX // 2**20}; make it"
                " smaller, or index it and search with --like."
            )
        return Query.of_picture(name, file.read_bytes())
    except OSError as error:
        raise FolderUnreadable(f"{shown(name)} cannot be read ({error.strerror}); change its permissions.") from None


def text_query(words: str) -> Query:
    """Raises WrongValue for a text that is empty or too long."""
    if not words.strip() or len(words) > TEXT_MAX:
        raise WrongValue(f"A text has 1 to {TEXT_MAX} characters; say what the pictures show in a few words.")
    return Query(name=words, text=words)


def parts(queries: Iterable[Query]) -> Iterator[list[Query]]:
    """Cut queries into messages of at most QUERIES_MAX queries and about MESSAGE_MAX bytes."""
    part, weight = list[Query](), 0
    for query in queries:
        adds = len(query.picture or "")
        if part and (len(part) >= QUERIES_MAX or weight + adds > MESSAGE_MAX):
            yield part
            part, weight = [], 0
        part.append(query)
        weight += adds
    if part:
        yield part


class Asker:
    """Sends requests to the search queue of a model and waits for the answers."""

    def __init__(self, broker: Broker, ledger: Ledger) -> None:
        self._broker = broker
        self._ledger = ledger

    def send_search(self, request: SearchRequest) -> str:
        said = f"{counted(len(request.queries), 'query', 'queries')}, {request.limit} hits, library {request.library}"
        return self._broker.send_request(
            SEARCH, search_queue(request.model), request.model_dump(exclude_none=True), said
        )

    def search_answer(self, task: str, model: str | None, timeout: float) -> SearchAnswer:
        """The answer to a search; raises NoAnswer after `timeout` seconds, or sooner if nobody listens."""
        return _checked(SearchAnswer, self._wait(task, model, timeout))

    def forget(self, task: str) -> None:
        """Give Redis back the memory of an answer that was read."""
        self._broker.forget(task)

    def ask(self, task: str, request: Request, kind: type[Answer], said: str, timeout: float) -> Answer:
        """Send a request that has one answer; raises NoAnswer, and RequestFailed with the worker's sentence."""
        document = request.model_dump(exclude_none=True)
        sent = self._broker.send_request(task, search_queue(request.model), document, said)
        answer = _checked(kind, self._wait(sent, request.model, timeout))
        self._broker.forget(sent)
        if error := getattr(answer, "error", None):
            raise RequestFailed(error)
        return answer

    def prune_page(self, request: PruneRequest, timeout: float) -> PruneAnswer:
        """Ask for one page; raises NoAnswer and RequestFailed."""
        said = f"{'delete' if request.delete else 'count'} rows without a file, library {request.library}"
        return self.ask(PRUNE, request, PruneAnswer, said, timeout)

    def switch(self, request: SwitchRequest, timeout: float) -> SwitchAnswer:
        """Ask for a comparison or a switch; raises NoAnswer and RequestFailed."""
        said = f"{'switch' if request.move else 'compare'} {request.name} to {request.model}, library {request.library}"
        return self.ask(SWITCH, request, SwitchAnswer, said, timeout)

    def check(self, request: CheckRequest, timeout: float) -> CheckAnswer:
        """Ask how a page of files stands; raises NoAnswer and RequestFailed."""
        said = f"check {counted(len(request.paths), 'image')}, library {request.library}"
        return self.ask(CHECK, request, CheckAnswer, said, timeout)

    def why(self, request: WhyRequest, timeout: float) -> WhyAnswer:
        """Ask about one image; raises NoAnswer and RequestFailed."""
        return self.ask(WHY, request, WhyAnswer, f"why an image is found or not, library {request.library}", timeout)

    def prune_pages(self, request: PruneRequest, timeout: float) -> Iterator[PruneAnswer]:
        """Page after page to the end of the folder."""
        after: str | None = ""
        while after is not None:
            page = self.prune_page(request.model_copy(update={"after": after}), timeout)
            yield page
            after = page.next

    def _wait(self, task: str, model: str | None, timeout: float) -> dict[str, object]:
        deadline = time.monotonic() + timeout
        answer = self._broker.answer(task, min(timeout, GRACE))
        if answer is None and model and timeout > GRACE and not self._anybody(model):
            raise NoAnswer(self._nobody(task, model))
        if answer is None:
            answer = self._broker.answer(task, deadline - time.monotonic())
        if answer is None:
            raise NoAnswer(self._late(task, model, timeout))
        return answer

    def _anybody(self, model: str) -> bool:
        """Asked twice, since a busy machine may be late with its answer."""
        queue = search_queue(model)
        return self._broker.listeners(queue) > 0 or self._broker.listeners(queue) > 0

    def _late(self, task: str, model: str | None, timeout: float) -> str:
        if model is None:
            return (
                f"There is no answer to {shown(task)} yet; ask again later, or search again if it was asked long ago or"
                " the id is mistyped."
            )
        if not self._anybody(model):
            return self._nobody(task, model)
        return (
            f"The workers on {search_queue(model)} gave no answer within {timeout:g} s"
            f" ({counted(self._ledger.queue_length(search_queue(model)), 'request waits', 'requests wait')});"
            f" fetch it later with `imagefleet result {task}`, or start more search workers."
        )

    def _nobody(self, task: str, model: str) -> str:
        queue = search_queue(model)
        return (
            f"No worker listens on the queue {queue}; start one with `imagefleet up --model {model}` or `celery -A"
            f" workers.app worker -Q {queue}`, then fetch the answer with `imagefleet result {task}`."
        )


def joined(answers: Sequence[SearchAnswer]) -> SearchAnswer:
    """The answers to the parts of one search as one."""
    found = [answer for part in answers for answer in part.answers]
    return SearchAnswer(model=answers[0].model, library=answers[0].library, answers=found)


def total(pages: Iterable[PruneAnswer]) -> PruneAnswer:
    """The pages of one prune as one, with the first EXAMPLES examples."""
    looked_at = gone = deleted = 0
    examples: list[str] = []
    for page in pages:
        looked_at, gone, deleted = looked_at + page.looked_at, gone + page.gone, deleted + page.deleted
        examples += page.examples[: EXAMPLES - len(examples)]
    return PruneAnswer(looked_at=looked_at, gone=gone, deleted=deleted, next=None, examples=examples)


def _checked(kind: type[Answer], answer: dict[str, object]) -> Answer:
    if set(answer) == {"error"}:
        raise RequestFailed(str(answer["error"]))
    try:
        return kind.model_validate(answer)
    except ValidationError:
        raise RequestFailed(
            "That id belongs to something else, or the worker is of another version; install the same everywhere."
        ) from None
