"""Jobs: feed them, follow them, stop them, try again what failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from producer import sources
from producer.connection import Connection, Place, ledger_errors, limited, several
from producer.errors import NotFinished, NothingFound, UnknownJob
from producer.feeding import Feeder
from producer.shown import shown
from producer.sources import Source
from workers.contract import Failure, FailureKind
from workers.job_state import JobSpec, JobState

#: Seconds between two looks at a job that is waited for.
POLL = 0.3
#: Characters of a whole id, which somebody got from a job that there was.
ID_LENGTH = 12
#: Jobs; the most that are listed.
JOBS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Job:
    """Handle of one job; made by `Client.index` and `Client.retry`."""

    id: str
    model: str
    jobs: Jobs = field(repr=False, compare=False)

    def status(self) -> JobState:
        return self.jobs.status(self.id)

    def wait(self, timeout: float | None = None) -> JobState:
        return self.jobs.wait(self.id, timeout)

    def cancel(self) -> bool:
        return self.jobs.cancel(self.id)

    def failures(self) -> Iterator[Failure]:
        return self.jobs.failures(self.id)


#: Hears of the jobs of a call as soon as they exist.
Started = Callable[[Sequence[Job]], None]


class Jobs(Connection):
    """The calls about jobs."""

    def index(
        self,
        folders: Place | Sequence[Place],
        models: Sequence[str] | None = None,
        library: str | None = None,
        *,
        retry_failed: bool = False,
        started: Started | None = None,
    ) -> list[Job]:
        """Queue all images below the folders, for each of the models one job; returns when all is queued.

        The folders are walked once, while workers already index. Unchanged images are found and passed over by the
        workers, so that the same call again is cheap; what failed and has not changed since is tried again only with
        `retry_failed`. `started` hears of the jobs when the first image is found.
        Raises FolderMissing, FolderUnreadable, OutsideImageRoot, NothingFound, UnknownModel, WrongValue.
        """
        return self.feed(self.walk(folders), models, library, retry_failed=retry_failed, started=started)

    def walk(self, folders: Place | Sequence[Place]) -> Source:
        """The images below the folders, found as they are asked for; nothing is queued."""
        return sources.of_folders(several(folders), self.settings.image_root, self.settings.formats)

    def listed(self, stream: BinaryIO, *, null: bool = False) -> Source:
        """The images of a list of paths, one a line or NUL-separated, relative to the working folder."""
        return sources.of_list(stream, self.settings.image_root, null=null)

    def feed(
        self,
        source: Source,
        models: Sequence[str] | None = None,
        library: str | None = None,
        *,
        retry_failed: bool = False,
        started: Started | None = None,
        retry_of: str | None = None,
    ) -> list[Job]:
        """Queue the images of any source, as `index` does for folders."""
        chosen = self.library_name(library)
        asked = [self.known_model(name) for name in models or self.settings.models]
        names = list(dict.fromkeys(self.in_service(name, chosen) for name in asked))
        specs = [JobSpec(chosen, name, source.folders, retry_of, retry_failed) for name in names]

        def handles(ids: Sequence[str]) -> list[Job]:
            return [Job(job, name, self) for job, name in zip(ids, names, strict=True)]

        with ledger_errors():
            self.ledger.ping()
            feeder = Feeder(self.ledger, self.broker.send_batch, self.settings)
            return handles(feeder.feed(source, specs, started and (lambda ids: started(handles(ids)))))

    def status(self, job: str | Job) -> JobState:
        """Counts and phase of a job; the beginning of its id is enough. Raises UnknownJob."""
        with ledger_errors():
            state = self.ledger.job(self.find(job))
        if state is None:
            raise unknown_job(_id(job))
        return state

    def find(self, job: str | Job) -> str:
        """The whole id of the job that begins so; raises UnknownJob if there is none, or more than one."""
        prefix = _id(job).strip().lower()
        with ledger_errors():
            found = self.ledger.find_jobs(prefix) if prefix else []
        if len(found) > 1 and prefix not in found:
            raise UnknownJob(f"Several jobs begin with {shown(prefix)}: {', '.join(found[:5])}; type more of the id.")
        if not found:
            raise unknown_job(prefix)
        return prefix if prefix in found else found[0]

    def wait(self, job: str | Job, timeout: float | None = None) -> JobState:
        """Return when the job is over; raises NotFinished after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not over(state := self.status(job)):
            if deadline is not None and time.monotonic() > deadline:
                raise NotFinished(f"Job {state.id} is not done after {timeout:g} s; it goes on, wait for it again.")
            time.sleep(POLL)
        return state

    def jobs(self, limit: int = 20) -> list[JobState]:
        """The jobs that are remembered, the newest first."""
        with ledger_errors():
            return self.ledger.jobs(limited(limit, 1, JOBS_MAX, "limit"))

    def cancel(self, job: str | Job) -> bool:
        """Take back what no worker is busy with; False if the job was over."""
        with ledger_errors():
            return self.ledger.cancel(self.find(job))

    def failures(self, job: str | Job, classes: Sequence[FailureKind] = ()) -> Iterator[Failure]:
        """The images of a job that could not be indexed, as they come, in no order; with `classes` those only."""
        with ledger_errors():
            found = self.ledger.failures(self.find(job))
            yield from (failure for failure in found if not classes or failure.kind in classes)

    def retry(self, job: str | Job, classes: Sequence[FailureKind] = (), *, started: Started | None = None) -> Job:
        """Queue the failed images of a job again, as a new job, whether they have changed or not; with `classes` those
        only. Raises NothingFound if there are none."""
        old = self.status(job)
        if next(self.failures(old.id, classes), None) is None:
            which = f" of class {' or '.join(classes)}" if classes else ""
            raise NothingFound(f"Job {old.id} has no failed images{which}; there is nothing to retry.")
        paths = (failure.path for failure in self.failures(old.id, classes))
        source = sources.of_paths(paths, self.settings.image_root, old.folders)
        fed = self.feed(source, [old.model], old.library, retry_failed=True, started=started, retry_of=old.id)
        return fed[0]


def over(state: JobState) -> bool:
    """Whether nothing will change any more, unless somebody does something."""
    stopped = state.phase in ("interrupted", "cancelled") and not state.open_batches
    return state.finished is not None or stopped


def unknown_job(name: str) -> UnknownJob:
    lost = "" if len(name) < ID_LENGTH else " If Redis lost its data, `imagefleet index` the folder again."
    return UnknownJob(f"There is no job {shown(name)}; `imagefleet jobs` lists those that are remembered.{lost}")


def _id(job: str | Job) -> str:
    return job if isinstance(job, str) else job.id
