"""What commands print: tables and sentences about jobs, failures, hits and models. Names are escaped for terminals."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from producer.progress import clock
from producer.shown import amounts, counted, shown
from workers.contract import Answer, Failure, FailureKind, SearchAnswer
from workers.failure_policy import POLICIES
from workers.job_state import JobState

if TYPE_CHECKING:
    from rich.table import Table

#: Columns of a list of failures.
COLUMNS = ("path", "class", "reason")


def as_json(value: object) -> str:
    """JSON for other programs: ASCII, so that any file name survives."""
    return json.dumps(value, indent=2)


def job_document(state: JobState) -> dict[str, Any]:
    """A job as it is printed with --json."""
    return asdict(state) | {"phase": state.phase, "done": state.done, "skipped": dict(state.skipped)}


def folder_names(state: JobState, root: Path) -> str:
    """The folders of a job as this machine has them."""
    names = (folder if folder.startswith("(") else str(root / folder) for folder in state.folders)
    return ", ".join(shown(name) for name in names)


def elapsed(state: JobState) -> float:
    """Seconds from the making of the job to its end, or until now."""
    return max(0.0, (state.finished or state.now) - state.created)


def job_lines(state: JobState, root: Path) -> Iterator[str]:
    """Everything about one job, a line each."""
    total = "" if state.walked else " so far"
    yield f"Job {state.id}: {state.phase}, {state.model}, library {state.library}"
    yield f"  folders  {folder_names(state, root)}"
    yield f"  begun    {_ago(state.now - state.created)}, {'took' if state.finished else 'for'} {clock(elapsed(state))}"
    yield f"  images   {state.done:,} of {state.queued:,} done{total}: {_counts(state)}"
    if state.skipped:
        yield f"  skipped  {amounts(state.skipped)}"
    if state.retry_of:
        yield f"  retries  {state.retry_of}"
    if state.waiting:
        yield f"  waiting  {shown(state.waiting)}"
    yield from (f"  {line}" for line in _what_next(state))


def summary_lines(state: JobState) -> Iterator[str]:
    """How a job ended, for the one who waited for it."""
    seconds = elapsed(state)
    pace = f", {state.done / seconds:.1f} images/s" if seconds >= 1 else ""
    ended = "" if state.phase == "finished" else f" ({state.phase})"
    yield f"{state.model}: {_counts(state)} in {clock(seconds)}{pace}{ended}"
    yield from _what_next(state)


def jobs_table(states: Iterable[JobState], root: Path) -> Table:
    table = _table("job", "begun", "phase", "model", "library", "done", "failed", "folders", right=("done", "failed"))
    for state in states:
        begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.created))
        done = f"{state.done:,}/{state.queued:,}"
        row = (state.id, begun, state.phase, state.model, state.library, done, f"{state.failed:,}")
        table.add_row(*(_text(cell) for cell in (*row, folder_names(state, root))))
    return table


def failure_lines(failures: Iterable[Failure], root: Path) -> Iterator[str]:
    """One line each as they come, then how many of each class."""
    classes: Counter[FailureKind] = Counter()
    for failure in failures:
        classes[failure.kind] += 1
        yield f"{shown(str(root / failure.path))}: {failure.kind}: {shown(failure.reason)}"
    if classes:
        yield ""
        yield f"{counted(classes.total(), 'image')} failed:"
        yield from (f"  {number:,} {kind} ({POLICIES[kind].meaning})" for kind, number in classes.most_common())


def write_csv(failures: Iterable[Failure], stream: TextIO) -> int:
    """Write the columns COLUMNS and return the number of failures; a stream with `surrogateescape` keeps any name."""
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    number = 0
    for failure in failures:
        writer.writerow((failure.path, failure.kind, failure.reason))
        number += 1
    return number


def search_document(answer: SearchAnswer, root: Path) -> dict[str, Any]:
    """An answer as it is printed with --json: without thumbnails, and with the file of each hit on this machine."""
    document = answer.model_dump(
        exclude={"answers": {"__all__": {"thumbnail": True, "hits": {"__all__": {"thumbnail"}}}}}
    )
    for found in document["answers"]:
        for hit in found["hits"]:
            hit["file"] = str(root / hit["path"])
    return document


def hits_table(answer: Answer, root: Path) -> Table:
    table = _table("rank", "score", "image", right=("rank", "score"))
    for hit in answer.hits:
        table.add_row(_text(str(hit.rank)), _text(f"{hit.score:.4f}"), _text(shown(str(root / hit.path))))
    return table


def models_table(rows: Iterable[Sequence[str]]) -> Table:
    table = _table("model", "vector", "input", "licence", "file", "what it is", right=("vector",))
    for row in rows:
        table.add_row(*(_text(shown(cell)) for cell in row))
    return table


def _counts(state: JobState) -> str:
    numbers = {"indexed": state.indexed, "unchanged": state.unchanged, "failed": state.failed}
    parts = [f"{state.indexed:,} indexed"]
    parts += [f"{numbers[name]:,} {name}" for name in ("unchanged", "failed") if numbers[name]]
    if state.failed_before:
        parts[-1] += f" ({state.failed_before:,} as before)"
    parts += [f"{state.cancelled:,} cancelled"] if state.cancelled else []
    return ", ".join(parts)


def _what_next(state: JobState) -> Iterator[str]:
    if state.failed:
        yield f"{counted(state.failed, 'image')} failed: `imagefleet failures {state.id}` says why."
    if state.failed_before:
        number = counted(state.failed_before, "of them has", "of them have")
        yield f"{number} failed before and not changed since: `imagefleet retry {state.id}` tries again all the same."
    if state.phase == "interrupted":
        yield "The folder was not walked to its end: run the same `imagefleet index` again to queue the rest."


def _ago(seconds: float) -> str:
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{counted(int(seconds // size), name)} ago"
    return "just now"


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="fold",
            no_wrap=column in ("job", "begun"),
        )
    return table


def _text(cell: str) -> Any:
    from rich.text import Text  # a plain string would be read for markup

    return Text(cell)
