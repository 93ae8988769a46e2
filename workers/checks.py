"""The wire protocol, continued: questions about what is indexed, a page of files or one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from models.spec import Name
from workers.contract import (
    Bytes,
    Failure,
    FailureKind,
    Image,
    ImagePath,
    JobId,
    Library,
    Message,
    Nanoseconds,
    Query,
)

CHECK = "imagefleet.check"
WHY = "imagefleet.why"

#: Images; the most that one request asks about.
CHECK_MAX = 1000

#: How a file stands to the collection: its row is that of the file, there is no row, the row is that of another size or
#: time, or it failed for good and has not changed since.
Standing = Literal["indexed", "missing", "stale", "failed"]


class CheckRequest(Message):
    """Say how each of these files, as the asker sees them, stands to the collection; columns as in a batch."""

    model: Name
    library: Library
    paths: list[ImagePath] = Field(max_length=CHECK_MAX)
    sizes: list[Bytes] = Field(max_length=CHECK_MAX)
    mtimes: list[Nanoseconds] = Field(max_length=CHECK_MAX)

    @model_validator(mode="after")
    def _of_one_length(self) -> CheckRequest:
        if not len(self.paths) == len(self.sizes) == len(self.mtimes):
            raise ValueError("there is a path, a size and a time for each file")
        return self

    @classmethod
    def about(cls, images: Sequence[Image], model: str, library: str) -> CheckRequest:
        return cls(
            model=model,
            library=library,
            paths=[image.path for image in images],
            sizes=[image.size for image in images],
            mtimes=[image.mtime_ns for image in images],
        )

    @property
    def images(self) -> list[Image]:
        return [Image(*row) for row in zip(self.paths, self.sizes, self.mtimes, strict=True)]


class CheckAnswer(Message):
    """How the files stand, in the order of the request."""

    standings: list[Standing] = Field(default_factory=list)
    #: What is remembered of those that are not indexed.
    failures: list[Failure] = Field(default_factory=list)
    #: False where nothing was ever indexed with this model.
    exists: bool = True
    #: Fingerprint of the collection that searches are answered from, if it is another one.
    other_in_service: str | None = None
    #: A sentence if the request could not be carried out.
    error: str | None = None


class WhyRequest(Message):
    """Say all that is known of one image; with `query` also how near it is."""

    model: Name
    library: Library
    path: ImagePath
    #: As the asker sees the file; 0 where it sees none.
    size: Bytes
    mtime_ns: Nanoseconds
    query: Query | None = None


class StoredImage(Message):
    """The row of an image."""

    #: Bytes.
    size: int
    #: Nanoseconds since the epoch.
    mtime_ns: int
    #: Seconds since the epoch.
    indexed_at: int


class PastFailure(Message):
    """A failure of an earlier job."""

    kind: FailureKind
    reason: str
    job: JobId
    #: Seconds since the epoch.
    when: int
    #: The file and the limits on images are as they were then.
    same: bool


class Nearness(Message):
    """How near an image is to a query."""

    #: 1 is the best; None beyond LIMIT_MAX hits.
    rank: int | None
    #: As searches give it.
    score: float
    #: Of the last hit of a search for LIMIT_MAX; None if there is none.
    last_score: float | None
    #: Hits that the search gave.
    hits: int
    #: The image is nearer than the last hit and yet no hit: the index is not exact.
    overlooked: bool = False


class WhyAnswer(Message):
    """What a worker knows of one image."""

    row: StoredImage | None = None
    failure: PastFailure | None = None
    #: Only if there is a row and a query that could be understood.
    nearness: Nearness | None = None
    #: A sentence if the query could not be understood.
    query_error: str | None = None
    #: Fingerprint of the collection that searches are answered from, if it is another one.
    other_in_service: str | None = None
    #: A sentence if the request could not be carried out.
    error: str | None = None
