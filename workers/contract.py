"""The wire protocol between producers and workers: names of tasks and queues, and the messages on them.

Every message is JSON, is checked field by field when it arrives, and carries references instead of pixels; a query
picture is the one exception, since the asker's file need not lie under the image root. Unknown fields are refused.
"""

from __future__ import annotations

import base64
import os
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, InstanceOf, StringConstraints, model_validator

from models.spec import NAME_PATTERN, Name

INDEX_BATCH = "imagefleet.index_batch"
SEARCH = "imagefleet.search"
PRUNE = "imagefleet.prune"
SWITCH = "imagefleet.switch"

#: Bytes; the longest path that Linux takes.
PATH_MAX = 4096
#: Images; the most that one batch may hold.
BATCH_MAX = 1024
#: Hits; the most that one query may ask for (a limit of Milvus is 16,384).
LIMIT_MAX = 1000
#: Queries; the most that one message may carry.
QUERIES_MAX = 64
#: Characters; the longest text of a query.
TEXT_MAX = 1000
#: Bytes; the largest query picture that travels inside a message.
PICTURE_MAX = 16 * 2**20

LIBRARY_PATTERN = NAME_PATTERN
JOB_PATTERN = r"^[0-9a-f]{12}$"

FailureKind = Literal[
    "not_found", "no_access", "changing", "unreadable", "unsupported", "too_large", "refused", "timeout", "crashed"
]
Library = Annotated[str, StringConstraints(pattern=LIBRARY_PATTERN, max_length=64)]
JobId = Annotated[str, StringConstraints(pattern=JOB_PATTERN)]
#: What fits into the columns of the store.
Bytes = Annotated[int, Field(ge=0, lt=2**63)]
#: Since the epoch; before it too.
Nanoseconds = Annotated[int, Field(ge=-(2**63), lt=2**63)]


def _of_bytes(path: str) -> str:
    """Surrogates that stand for no byte name no file, and raise wherever the path is used."""
    os.fsencode(path)
    return path


#: `InstanceOf`, since pydantic's own str refuses the surrogate escapes of file names that are no UTF-8.
AnyPath = Annotated[InstanceOf[str], Field(max_length=PATH_MAX), AfterValidator(_of_bytes)]
ImagePath = Annotated[InstanceOf[str], Field(min_length=1, max_length=PATH_MAX), AfterValidator(_of_bytes)]


def index_queue(model: str) -> str:
    """The queue whose workers embed and store batches for `model`."""
    return f"index.{model}"


def search_queue(model: str) -> str:
    """The queue of requests that somebody waits for: searches, prunes and checks of `model`."""
    return f"search.{model}"


#: Nanoseconds; files of the year 2262 and later have this time, since the columns of the store end there.
MTIME_MAX = 2**63 - 1


class Image(NamedTuple):
    """One file under the image root, as the producer saw it."""

    #: Relative to the image root, with `/`; bytes that are no UTF-8 are kept as surrogate escapes.
    path: str
    #: Bytes.
    size: int
    #: Nanoseconds since the epoch.
    mtime_ns: int


class Message(BaseModel):
    """Base of all messages: strict, frozen, nothing beside what is declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BatchMessage(Message):
    """Index one batch; its images lie in the ledger, so that the message stays small and readable in Flower."""

    job: JobId
    batch: int = Field(ge=0, lt=2**32)
    count: int = Field(ge=1, le=BATCH_MAX)


class Failure(Message):
    """One image that could not be indexed."""

    path: ImagePath
    kind: FailureKind
    reason: str


class Query(Message):
    """One question: exactly one of `picture`, `like` and `text`."""

    #: What the asker calls it; comes back with the answer.
    name: AnyPath
    #: The bytes of a picture file, base64.
    picture: str | None = Field(default=None, max_length=PICTURE_MAX * 4 // 3 + 4)
    #: Path of an indexed image, relative to the image root.
    like: ImagePath | None = None
    #: Words, for models that have a text encoder.
    text: str | None = Field(default=None, min_length=1, max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _exactly_one(self) -> Query:
        if sum(given is not None for given in (self.picture, self.like, self.text)) != 1:
            raise ValueError("a query has one of: a picture, the path of an indexed image, a text")
        return self

    @classmethod
    def of_picture(cls, name: str, data: bytes) -> Query:
        return cls(name=name, picture=base64.b64encode(data).decode("ascii"))


class SearchRequest(Message):
    """Up to QUERIES_MAX queries against one library and model."""

    model: Name
    library: Library
    limit: int = Field(ge=1, le=LIMIT_MAX)
    queries: list[Query] = Field(min_length=1, max_length=QUERIES_MAX)
    #: Pixels of the longer side of the thumbnail that comes with each hit; 0 for none.
    thumbnail: int = Field(default=0, ge=0, le=512)


class Hit(Message):
    """One search result."""

    path: ImagePath
    #: Cosine similarity to the query, -1 to 1 (or what the metric of the settings gives).
    score: float
    #: 1 is the best.
    rank: int = Field(ge=1)
    #: A JPEG, base64; None if none was asked for or the file is gone.
    thumbnail: str | None = None


class Answer(Message):
    """What one query found, or the sentence that says why nothing could be looked for."""

    query: AnyPath
    hits: list[Hit] = []
    error: str | None = None
    #: Of the query picture, like that of a hit.
    thumbnail: str | None = None


class SearchAnswer(Message):
    """The result of one search task, in the order of the request's queries."""

    model: str
    library: str
    answers: list[Answer]


class PruneRequest(Message):
    """Look at up to `page` rows below `folder`, in the order of their ids, and say whose file is gone.

    The asker goes on from the answer's `next` until it is None: no task runs longer than one page.
    """

    model: Name
    library: Library
    #: Relative to the image root; empty for the root itself.
    folder: AnyPath
    #: Only rows whose id is greater; empty to begin.
    after: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32})?$")] = ""
    #: Rows looked at by one task.
    page: int = Field(default=2000, ge=1, le=10_000)
    #: False counts only.
    delete: bool = False


class PruneAnswer(Message):
    """What one page of a prune found."""

    looked_at: int
    gone: int
    deleted: int
    #: Where to go on; None at the end.
    next: str | None
    #: Some of the paths that are gone.
    examples: list[ImagePath] = []
    #: A sentence if the request could not be carried out.
    error: str | None = None


class SwitchRequest(Message):
    """Compare `model` with the one that answers for `name` now, and with `move` let it answer from now on."""

    #: The new one, on whose search queue this lies.
    model: Name
    library: Library
    #: What people ask for.
    name: Name
    #: The one that answers for `name` now.
    current: Name
    #: Images whose neighbours are compared.
    sample: int = Field(default=50, ge=1, le=200)
    move: bool = False


class SwitchAnswer(Message):
    """How the new model stands beside the current one."""

    current_rows: int = 0
    new_rows: int = 0
    sampled: int = 0
    #: Of the sampled images, those that the new collection does not have.
    missing: int = 0
    #: Share of the 10 nearest that both agree on, 0 to 1; None if there was nothing to compare.
    overlap: float | None = None
    #: A sentence if the request could not be carried out.
    error: str | None = None
