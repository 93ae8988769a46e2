"""Why an image is found or not: what is known of it, and the first of the possible reasons that fits."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from producer.shown import shown
from producer.sources import LISTED
from workers.checks import Nearness, PastFailure, StoredImage, WhyAnswer
from workers.contract import LIMIT_MAX, Failure, Image
from workers.failure_policy import POLICIES
from workers.job_state import JobState

Verdict = Literal[
    "indexed", "stale", "orphaned", "failed", "queued", "cancelled", "interrupted", "lost", "skipped", "outside",
    "not_there", "never_seen",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facts:
    """All that can be found out about one image."""

    #: Relative to the image root.
    path: str
    #: As this machine sees the file; None where there is none.
    file: Image | None
    #: When the file came to this place or was last changed; seconds since the epoch.
    changed: float
    #: Why a walk passes over it, if it does.
    skipped: str | None
    #: What a worker knows.
    known: WhyAnswer
    #: Jobs of the same model and library, the newest first.
    jobs: Sequence[JobState]
    #: The job and the batch that hold it, while it is on its way.
    batch: tuple[str, int] | None = None
    #: The newest job among whose failures it is.
    listed: tuple[JobState, Failure] | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict, and in sentences what it rests on and what to do."""

    path: str
    model: str
    library: str
    verdict: Verdict
    sentences: tuple[str, ...]
    row: StoredImage | None = None
    failure: PastFailure | None = None
    nearness: Nearness | None = field(default=None)


def explain(facts: Facts) -> tuple[Verdict, str]:
    """The first reason that fits."""
    row = facts.known.row
    if facts.file is None:
        return _without_file(facts)
    if row and (row.size, row.mtime_ns) == (facts.file.size, facts.file.mtime_ns):
        return "indexed", f"Indexed on {moment(row.indexed_at)}; the file has not changed since."
    if facts.batch:
        return "queued", f"In batch {facts.batch[1]} of job {facts.batch[0]}, which is queued or with a worker."
    if facts.known.failure and facts.known.failure.same:
        return "failed", _failed(facts.known.failure)
    if row:
        return "stale", _stale(row)
    return _without_row(facts)


def also(facts: Facts) -> list[str]:
    """What else is worth knowing, whatever the verdict."""
    row, failure, said = facts.known.row, facts.known.failure, list[str]()
    if row and failure and failure.same and facts.file and row.mtime_ns != facts.file.mtime_ns:
        said.append(f"Searches still find the row of its content of {moment(row.indexed_at)}.")
    if facts.known.other_in_service:
        said.append("Searches are answered by another version of the model; see `imagefleet models switch`.")
    return said


def near(found: Nearness, query: str) -> str:
    """Rank and score in one sentence."""
    score = f"score {found.score:.4f}"
    if found.rank is not None:
        return f"For {shown(query)}: rank {found.rank:,} of {found.hits:,} hits, {score}."
    last = "" if found.last_score is None else f" (the last of {found.hits:,} hits has {found.last_score:.4f})"
    if found.overlooked:
        return f"For {shown(query)}: the index overlooked it, {score}{last}; an index of type FLAT is exact."
    return f"For {shown(query)}: beyond rank {LIMIT_MAX:,}, {score}{last}."


def moment(seconds: float) -> str:
    """Date and time of this machine's zone."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def covers(state: JobState, path: str) -> bool:
    """Whether the job walked a folder above this path, or was given it by name; what was on a list is not known."""
    folders = (folder for folder in state.folders if folder != LISTED)
    return any(folder in ("", path) or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _without_file(facts: Facts) -> tuple[Verdict, str]:
    if row := facts.known.row:
        parent = shown(os.path.dirname(facts.path))  # noqa: PTH120
        return "orphaned", (
            f"Indexed on {moment(row.indexed_at)}, and the file is gone; `imagefleet prune` on {parent or 'its folder'}"
            " takes it out of the index."
        )
    if facts.listed and facts.listed[1].kind == "not_found":
        return "not_there", f"There is no such file, as job {facts.listed[0].id} has found too."
    return "not_there", "There is no such file here, and none is known of that path."


def _without_row(facts: Facts) -> tuple[Verdict, str]:
    if failure := facts.known.failure:
        return "failed", (
            f"{_in_job(failure.kind, failure.reason, failure.job, failure.when)} The file or the limits on images have"
            " changed since: the next `imagefleet index` tries again."
        )
    if facts.listed:
        state, listed = facts.listed
        said = _in_job(listed.kind, listed.reason, state.id, state.changed or state.created)
        return "failed", f"{said} The next `imagefleet index` tries again."
    if facts.skipped:
        return "skipped", (
            f"A walk passes over it: {shown(facts.skipped)}. A file that is named itself is taken whatever its name."
        )
    return _by_jobs(facts)


def _by_jobs(facts: Facts) -> tuple[Verdict, str]:
    newest = next((state for state in facts.jobs if covers(state, facts.path)), None)
    again = "`imagefleet index` again."
    if newest is None:
        return "never_seen", "No job that is remembered was given it; run `imagefleet index` on its folder."
    if newest.phase == "cancelled":
        return "cancelled", f"Job {newest.id} over its folder was cancelled before all was done; run {again}"
    if newest.phase == "interrupted":
        return "interrupted", f"The walk of job {newest.id} was interrupted and may not have come to it; run {again}"
    if newest.phase == "queueing":
        return "queued", f"Job {newest.id} walks its folder now and may not have come to it yet."
    if facts.changed > newest.created:
        return "never_seen", f"It came there after job {newest.id} had begun to walk its folder; run {again}"
    return "lost", (
        f"Job {newest.id} walked its folder and there is no row: `imagefleet audit --repair` brings back what is lost."
    )


def _stale(row: StoredImage) -> str:
    return f"Indexed on {moment(row.indexed_at)}; the file has changed since: `imagefleet index` brings it up to date."


def _failed(failure: PastFailure) -> str:
    again = "Tried again when the file changes, or at once by `imagefleet index --retry-failed`."
    if not POLICIES[failure.kind].final:
        again = "The next `imagefleet index` tries again."
    return f"{_in_job(failure.kind, failure.reason, failure.job, failure.when)} {again}"


def _in_job(kind: str, reason: str, job: str, when: float) -> str:
    return f"{kind}: {shown(reason)} That was in job {job} on {moment(when)}."
