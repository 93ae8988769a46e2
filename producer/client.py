"""The Python API of imagefleet: index folders, follow the jobs, search.

    from producer.client import index, search, wait

    for job in index(["~/Pictures"]):
        wait(job)
    for answer in search(["beach.jpg"], limit=5).answers:
        print(answer.query, [hit.path for hit in answer.hits])

Everything that goes wrong is a ClientError whose text says what to do. Nothing here loads a model or a picture: that is
the workers' part.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from producer.auditing import Audits
from producer.connection import Place
from producer.errors import ClientError
from producer.jobs import Job, over
from producer.searches import TIMEOUT, Asked
from producer.switching import Switching
from producer.whys import Whys
from workers.contract import SearchAnswer
from workers.job_state import JobState

__all__ = [
    "Asked",
    "Client",
    "ClientError",
    "Job",
    "JobState",
    "SearchAnswer",
    "index",
    "over",
    "search",
    "status",
    "wait",
]


class Client(Audits, Whys, Switching):
    """Asks the workers. Cheap to make: nothing is connected before the first call.

    Every call that needs Redis raises BrokerUnavailable within seconds if it does not answer.
    """


@lru_cache(maxsize=1)
def default_client() -> Client:
    """The client of the functions below, on the settings of the environment as they are at the first call."""
    return Client()


def index(
    folders: Place | Sequence[Place], models: Sequence[str] | None = None, library: str | None = None
) -> list[Job]:
    """See Client.index."""
    return default_client().index(folders, models, library)


def search(
    pictures: Place | Sequence[Place] = (),
    like: Place | Sequence[Place] = (),
    text: str | Sequence[str] = (),
    *,
    model: str | None = None,
    library: str | None = None,
    limit: int = 10,
    timeout: float = TIMEOUT,
) -> SearchAnswer:
    """See Client.search."""
    return default_client().search(pictures, like, text, model=model, library=library, limit=limit, timeout=timeout)


def status(job: str | Job) -> JobState:
    """See Client.status."""
    return default_client().status(job)


def wait(job: str | Job, timeout: float | None = None) -> JobState:
    """See Client.wait."""
    return default_client().wait(job, timeout)
